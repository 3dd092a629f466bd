package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"signet/core/key"
	"signet/core/wire"
)

// How long making a connection may take: the TCP part, and then TLS and the
// device's proof.
const (
	dialTimeout    = 10 * time.Second
	connectTimeout = 20 * time.Second
)

// dial makes a connection and, for a private one, opens it as the device
// before net/http gets it: the session is the connection.
func (c *Client) dial(ctx context.Context, addr string, private bool) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &Error{Kind: KindUnreachable, Message: "the service is not reachable", cause: err}
	}
	c.counters.connections.Add(1)
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	raw.SetDeadline(time.Now().Add(connectTimeout))
	conn, b, err := c.secure(ctx, raw)
	if err == nil && private {
		err = c.prove(conn, b)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		raw.Close()
		return nil, err
	}
	raw.SetDeadline(time.Time{})
	c.keep(raw)
	return conn, nil
}

// keep remembers a connection for Drop, until it is closed.
func (c *Client) keep(raw net.Conn) {
	c.openMu.Lock()
	defer c.openMu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]time.Time{}
	}
	c.open[raw] = time.Now()
}

func (c *Client) forget(raw net.Conn) {
	c.openMu.Lock()
	defer c.openMu.Unlock()
	delete(c.open, raw)
}

// Drop cuts the connections that are lost, by their local address and when they
// were made: where the network was away, TCP notices late. Requests under way fail
// with KindUnreachable, or are made again.
func (c *Client) Drop(lost func(local netip.Addr, made time.Time) bool) {
	c.openMu.Lock()
	var cut []net.Conn
	for raw, made := range c.open {
		if a, ok := raw.LocalAddr().(*net.TCPAddr); ok && lost(a.AddrPort().Addr().Unmap(), made) {
			cut = append(cut, raw)
		}
	}
	c.openMu.Unlock()
	for _, raw := range cut {
		raw.Close()
	}
	if len(cut) > 0 {
		c.Close() // and what nobody uses
	}
}

// secure does the TLS handshake and begins the binding of what it made.
func (c *Client) secure(ctx context.Context, raw net.Conn) (net.Conn, *binding, error) {
	b := &binding{org: c.config.Org, device: c.config.Device}
	guarded := &patientConn{Conn: raw, stall: c.config.Stall, closed: func() { c.forget(raw) }}
	if c.loopback {
		b.channel = channelLoopback
		return guarded, b, nil
	}
	below := &gatherer{Conn: guarded}
	conn := tls.Client(below, c.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, handshakeError(err)
	}
	state := conn.ConnectionState()
	b.certificate = sha256.Sum256(state.PeerCertificates[0].Raw)
	c.fingerprint.Store(&b.certificate)
	if err := b.export(&state); err != nil {
		return nil, nil, err
	}
	return &gatheringConn{conn, below}, b, nil
}

// keyAgreement is the only one of either end: a peer that knows none but
// classical ones could be recorded now and read later, so there is no fallback.
var keyAgreement = []tls.CurveID{tls.X25519MLKEM768}

func (c *Client) tlsConfig() *tls.Config {
	config := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: keyAgreement,
		NextProtos:       []string{"http/1.1"},
		ServerName:       c.base.Hostname(),
		RootCAs:          c.config.Roots,
	}
	if c.config.Pin != nil || c.config.Unknown {
		// The certificate is compared with the pin instead: who made the
		// pin known vouches for it. An unknown peer gets relay requests
		// only, which protect themselves.
		config.InsecureSkipVerify = true
		config.VerifyConnection = c.verifyPin
	}
	return config
}

// errPin is a certificate that is not the pinned one.
var errPin = errors.New("the certificate is not the one that the invitation named")

func (c *Client) verifyPin(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	if c.config.Pin == nil {
		return nil
	}
	if f := sha256.Sum256(s.PeerCertificates[0].Raw); !bytes.Equal(f[:], c.config.Pin) {
		return errPin
	}
	return nil
}

// handshakeError tells a peer that fails TLS from one that went away.
func handshakeError(err error) *Error {
	var (
		record  tls.RecordHeaderError
		network net.Error
	)
	switch {
	case errors.As(err, &record):
		return &Error{Kind: KindNotSignet, Message: "connect: the peer does not speak TLS", cause: err,
			Hint: "check the address and port of the service"}
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), isCut(err):
		return &Error{Kind: KindUnreachable, Message: "connect: the service is not reachable", cause: err}
	}
	e := &Error{Kind: KindCertificate, Message: "connect: the peer is not the service", cause: err,
		Hint: "something may stand in between and open the connection; or the service has a new certificate"}
	if noKeyAgreement(err) {
		e.Message = "connect: the peer does not know the post-quantum key agreement (X25519MLKEM768) of a Signet service"
		e.Hint = "something older may stand in between and open the connection, such as a proxy; or this is not the address of a Signet service"
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		e.Message, e.Hint = "connect: the service's certificate is not valid now", "check this machine's clock, then the service's certificate"
	}
	return e
}

// noKeyAgreement reports that the two ends have no key agreement in common. The
// library has no types for that: the peer says so by an alert, or picks one
// that it was not offered.
func noKeyAgreement(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.HasSuffix(op.Err.Error(), "handshake failure") ||
		strings.Contains(err.Error(), "unsupported group") || strings.Contains(err.Error(), "unsupported curve")
}

// isCut reports an operating system's word that the connection is gone. TLS
// alerts are net.OpErrors too, with another operation.
func isCut(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "read" || op.Op == "write")
}

// prove opens the connection as the device: one exchange, and on loopback one
// before it for a nonce.
func (c *Client) prove(conn net.Conn, b *binding) error {
	if c.config.Signer == nil {
		return Errorf(KindNotEnrolled, "connect: this client has no device")
	}
	br := bufio.NewReader(io.LimitReader(conn, 2*maxError))
	if b.channel == channelLoopback {
		nonce, err := c.exchange(conn, br, pathNonce, nil)
		if err != nil {
			return err
		}
		if copy(b.nonce[:], nonce) != 32 || len(nonce) != 32 {
			return notSignet(pathNonce, fmt.Errorf("nonce of %d bytes", len(nonce)))
		}
	}
	signature, err := c.config.Signer.Sign(key.LabelConnection, b.bytes())
	if err != nil {
		return ownError{fmt.Errorf("connect: %w", err)}
	}
	var w wire.Writer
	w.Raw(b.org[:])
	w.Raw(b.device[:])
	w.Raw(b.certificate[:])
	w.Vec16(signature)
	if _, err := c.exchange(conn, br, pathConnect, w.B); err != nil {
		return err
	}
	if br.Buffered() != 0 {
		return notSignet(pathConnect, errors.New("bytes after the answer"))
	}
	return nil
}

// exchange is one request and answer on a connection that net/http does not
// have yet.
func (c *Client) exchange(conn net.Conn, br *bufio.Reader, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, c.base.Scheme+"://"+c.base.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{headerSignet: {headerVersion}, "Content-Type": {contentType}, "User-Agent": {c.config.UserAgent}}
	ctx := context.Background() // the connection has a deadline
	if err := req.Write(conn); err != nil {
		return nil, c.failure(ctx, path, err)
	}
	res, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, c.failure(ctx, path, err)
	}
	defer res.Body.Close()
	if err := c.check(ctx, path, res); err != nil {
		return nil, err
	}
	if res.ContentLength < 0 || res.ContentLength > 32 {
		return nil, notSignet(path, fmt.Errorf("answer of %d bytes", res.ContentLength))
	}
	b := make([]byte, res.ContentLength)
	if _, err := io.ReadFull(res.Body, b); err != nil {
		return nil, c.failure(ctx, path, err)
	}
	return b, nil
}

// patientConn gives each write its time: a peer that takes nothing is gone,
// and without a deadline a write to it waits for as long as TCP tries.
type patientConn struct {
	net.Conn
	stall time.Duration
	set   time.Time // when the deadline was set last

	closed func() // called by Close
}

// Close implements net.Conn.
func (p *patientConn) Close() error {
	p.closed()
	return p.Conn.Close()
}

// Write implements net.Conn. Writers of one connection take turns (TLS and
// net/http see to it), so set needs no lock.
func (p *patientConn) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.set) > p.stall/4 {
		p.set = now
		p.Conn.SetWriteDeadline(now.Add(p.stall + p.stall/4))
	}
	return p.Conn.Write(b)
}
