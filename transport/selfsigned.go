package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"signet/internal/durable"
)

// selfFile holds key and certificate together, so that there is never one
// without the other.
const selfFile = "tls-self.pem"

// SelfSigned returns the service's own certificate and its fingerprint, which
// invitations carry as the pin. The first call makes it (ECDSA P-256, good for
// 30 years, for hosts: names and addresses) and stores it with its key in dir,
// readable by the owner only; later calls return the stored one whatever hosts
// they name, because every device has pinned it.
func SelfSigned(dir string, hosts []string) (tls.Certificate, [32]byte, error) {
	path := filepath.Join(dir, selfFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = makeCertificate(hosts); err == nil {
			err = durable.WriteFile(path, b, 0o600)
		}
	}
	if err != nil {
		return tls.Certificate{}, [32]byte{}, fmt.Errorf("self-made certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(b, b)
	if err != nil {
		return tls.Certificate{}, [32]byte{}, fmt.Errorf("self-made certificate %s: %w", path, err)
	}
	return cert, sha256.Sum256(cert.Certificate[0]), nil
}

func makeCertificate(hosts []string) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "signet service"},
		NotBefore:             now.Add(-24 * time.Hour), // devices' clocks differ
		NotAfter:              now.AddDate(30, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	return append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}
