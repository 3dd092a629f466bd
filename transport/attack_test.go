package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/wire"
	"signet/transport"
)

// unavailable checks that err is of a kind and says "try again later".
func unavailable(t *testing.T, err error, want transport.Kind) {
	t.Helper()
	if kindOf(err) != want || !errors.Is(err, signet.ErrUnavailable) {
		t.Errorf("got %v (kind %q), want kind %q", err, kindOf(err), want)
	}
}

// everything makes one call of each kind of connection.
func everything(t *testing.T, c *transport.Client, each func(error)) {
	t.Helper()
	_, err := c.Info(within(t))
	each(err)
	_, err = c.Read(within(t), signet.Directory(signet.OrgID{}), 0, signet.Whole)
	each(err)
	each(c.Put(within(t), signet.RegionID{}, [][]byte{make([]byte, 1<<20)}))
	each(c.Get(within(t), signet.RegionID{}, []signet.ObjectID{{}}, func(signet.ObjectID, []byte) error { return nil }))
	each(c.Wait(within(t), nil, func(signet.Page) error { return nil }, nil))
}

func TestAnotherCertificateThanPinnedIsRefused(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	config := f.config()
	config.Pin = bytes.Clone(f.pin)
	config.Pin[31] ^= 1
	everything(t, dial(t, config), func(err error) { unavailable(t, err, transport.KindCertificate) })
	config.Pin = nil // nor does the system know it
	everything(t, dial(t, config), func(err error) { unavailable(t, err, transport.KindCertificate) })
	if strings.Contains(f.logs.String(), "/v1/") {
		t.Error("a request reached a peer that was not the pinned one")
	}
}

func TestCertificateOfAKnownAuthorityNeedsNoPin(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	config := f.config()
	config.Pin, config.Roots = nil, rootsOf(t, f.cert)
	if _, err := dial(t, config).Read(within(t), signet.Directory(f.Org), 0, signet.Whole); err != nil {
		t.Fatal(err)
	}
	config.URL = strings.Replace(f.url, "127.0.0.1", "localhost", 1) // not in the certificate
	_, err := dial(t, config).Read(within(t), signet.Directory(f.Org), 0, signet.Whole)
	unavailable(t, err, transport.KindCertificate)
}

func rootsOf(t *testing.T, cert tls.Certificate) *x509.CertPool {
	x, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AddCert(x)
	return p
}

func TestCaptivePortalIsNotSignet(t *testing.T) {
	portal := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>Please sign in to the network</html>")
	}
	for name, h := range map[string]http.HandlerFunc{
		"html":          portal,
		"redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://portal.example/", 302) },
		"bad gateway":   func(w http.ResponseWriter, r *http.Request) { http.Error(w, "upstream", 502) },
		"no body":       func(w http.ResponseWriter, r *http.Request) {},
		"copied header": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Signet", "1"); portal(w, r) },
		"wrong error": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Signet", "1")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(403)
			io.WriteString(w, `{"message":"denied"}`)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Signet", "1")
			w.Header().Set("Content-Type", "application/signet")
			for {
				if _, err := w.Write(bytes.Repeat([]byte{1}, 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewTLSServer(h)
			defer s.Close()
			k, err := key.Generate()
			if err != nil {
				t.Fatal(err)
			}
			pin := sha256.Sum256(s.Certificate().Raw)
			c := dial(t, transport.Config{URL: s.URL, Pin: pin[:], Signer: k})
			everything(t, c, func(err error) { unavailable(t, err, transport.KindNotSignet) })
		})
	}
}

func TestPeersThatSpeakNoHTTPOrNoTLS(t *testing.T) {
	k, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, scheme string
		serve        func(net.Conn)
		want         transport.Kind
	}{
		{"banner instead of TLS", "https", func(c net.Conn) { io.WriteString(c, "220 mail.example ESMTP\r\n") }, transport.KindNotSignet},
		{"http instead of TLS", "https", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, transport.KindNotSignet},
		{"banner instead of http", "http", func(c net.Conn) { io.WriteString(c, "220 mail.example ESMTP\r\n") }, transport.KindNotSignet},
		{"closed at once", "https", func(net.Conn) {}, transport.KindUnreachable},
		{"closed at once, no TLS", "http", func(net.Conn) {}, transport.KindUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln := listen(t, func(conn net.Conn) {
				conn.Read(make([]byte, 4096))
				c.serve(conn)
			})
			client := dial(t, transport.Config{URL: c.scheme + "://" + ln, Pin: make([]byte, 32), Signer: k})
			everything(t, client, func(err error) { unavailable(t, err, c.want) })
		})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	everything(t, dial(t, transport.Config{URL: "https://" + ln.Addr().String(), Signer: k}), func(err error) {
		unavailable(t, err, transport.KindUnreachable)
	})
}

// listen serves each connection with f, then closes it.
func listen(t *testing.T, f func(net.Conn)) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// intercept is a proxy with a certificate of its own that opens and passes on
// everything.
func intercept(t *testing.T, f *fixture) (url string, cert tls.Certificate) {
	cert, _, err := transport.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, func(c net.Conn) {
		in := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
		if in.Handshake() != nil {
			return
		}
		out, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			return
		}
		defer out.Close()
		go io.Copy(out, in)
		io.Copy(in, out)
	})
	return "https://" + addr, cert
}

func TestInterceptionOfTLSIsNoticed(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	url, cert := intercept(t, f)
	config := f.config()
	config.URL = url
	_, err := dial(t, config).Read(within(t), signet.Directory(f.Org), 0, signet.Whole)
	unavailable(t, err, transport.KindCertificate)

	// A machine that trusts the proxy's authority: TLS does not notice, the
	// device's proof does.
	config.Pin, config.Roots = nil, rootsOf(t, cert)
	c := dial(t, config)
	_, err = c.Read(within(t), signet.Directory(f.Org), 0, signet.Whole)
	unavailable(t, err, transport.KindCertificate)
	if _, err := c.Info(within(t)); err != nil {
		t.Errorf("the proxy is not in between: %v", err)
	}
	if f.Sessions() != 0 {
		t.Error("a session was opened through a proxy")
	}
}

func TestFailedProofsAreCountedAgainstTheirAddress(t *testing.T) {
	f := serve(t, transport.Limits{PublicRate: 0.2}, false)
	for range 20 { // good ones are not
		c := dial(t, f.config())
		if _, err := c.Read(within(t), signet.Directory(f.Org), 0, signet.LeafOnly); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	config := f.config()
	config.Signer = newKey(t)
	var err error
	for i := 0; i < 5 && kindOf(err) != transport.KindRate; i++ {
		_, err = dial(t, config).Read(within(t), signet.Directory(f.Org), 0, signet.LeafOnly)
	}
	unavailable(t, err, transport.KindRate)
}

func TestUnknownPeerGetsRelayRequestsOnly(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, transport.Config{URL: f.url, Unknown: true, Signer: f.signer, Device: f.device, Org: f.Org})
	if err := c.RelayPut(within(t), [32]byte{1}, 0, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Fingerprint(), f.pin) {
		t.Errorf("fingerprint %x, want %x", c.Fingerprint(), f.pin)
	}
	everything(t, c, func(err error) {
		if kindOf(err) != transport.KindNotAllowed {
			t.Errorf("got %v", err)
		}
	})
}

// A wireConn speaks the protocol by hand, as spec/transport.md says.
type wireConn struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
	f    *fixture
}

func (f *fixture) raw(t *testing.T) *wireConn {
	scheme, addr, _ := strings.Cut(f.url, "://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if scheme == "https" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &wireConn{t, conn, bufio.NewReader(conn), f}
}

func (w *wireConn) exporter() []byte {
	tc := w.conn.(*tls.Conn)
	if err := tc.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	s := tc.ConnectionState()
	e, err := s.ExportKeyingMaterial("EXPORTER-signet-v1", nil, 32)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// post sends headers and a body as they are, and returns status and answer.
func (w *wireConn) post(path string, length int, header string, body []byte) (int, string) {
	w.t.Helper()
	fmt.Fprintf(w.conn, "POST %s HTTP/1.1\r\nHost: x\r\nSignet: 1\r\nContent-Type: application/signet\r\nContent-Length: %d\r\n%s\r\n", path, length, header)
	w.conn.Write(body)
	res, err := http.ReadResponse(w.br, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// proof is the body of a connect.
func (f *fixture) proof(t *testing.T, channel uint8, exporter, nonce, certificate []byte) []byte {
	var b wire.Writer
	b.U8(1)
	b.U8(1)
	b.Raw(f.Org[:])
	b.Raw(f.device[:])
	b.U8(channel)
	b.Raw(exporter)
	b.Raw(nonce)
	b.Raw(certificate)
	sig, err := f.signer.Sign(key.LabelConnection, b.B)
	if err != nil {
		t.Fatal(err)
	}
	var w wire.Writer
	w.Raw(f.Org[:])
	w.Raw(f.device[:])
	w.Raw(certificate)
	w.Vec16(sig)
	return w.B
}

func (w *wireConn) connect(body []byte) int {
	w.t.Helper()
	status, _ := w.post("/v1/connect", len(body), "", body)
	return status
}

var zero = make([]byte, 32)

func TestProofIsForOneTLSChannel(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	a, b := f.raw(t), f.raw(t)
	good := f.proof(t, 1, a.exporter(), zero, f.pin)
	if s := b.connect(good); s != 401 {
		t.Errorf("a proof replayed on another connection is answered %d", s)
	}
	if s := a.connect(good); s != 200 {
		t.Errorf("the proof on its own connection is answered %d", s)
	}
	if s := a.connect(good); s != 400 {
		t.Errorf("a second device on one connection is answered %d", s)
	}
	c := f.raw(t)
	if s := c.connect(f.proof(t, 2, zero, zero, f.pin)); s != 401 {
		t.Errorf("a proof for a channel without TLS is answered %d", s)
	}
	d := f.raw(t)
	if s := d.connect(f.proof(t, 1, d.exporter(), zero, zero)); s != 421 {
		t.Errorf("a proof for another certificate is answered %d", s)
	}
}

func TestProofIsForOneNonceOnLoopback(t *testing.T) {
	f := serve(t, transport.Limits{}, true)
	a, b := f.raw(t), f.raw(t)
	_, nonce := a.post("/v1/nonce", 0, "", nil)
	good := f.proof(t, 2, zero, []byte(nonce), zero)
	if s := b.connect(good); s != 400 {
		t.Errorf("a proof without a nonce is answered %d", s)
	}
	c := f.raw(t)
	c.post("/v1/nonce", 0, "", nil)
	if s := c.connect(good); s != 401 {
		t.Errorf("a proof for another connection's nonce is answered %d", s)
	}
	if s := a.connect(good); s != 200 {
		t.Errorf("the proof on its own connection is answered %d", s)
	}
}

func TestRequestsThatBreakTheProtocolAreRefused(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	public := func(t *testing.T) *wireConn { return f.raw(t) }
	private := func(t *testing.T) *wireConn {
		c := f.raw(t)
		if s := c.connect(f.proof(t, 1, c.exporter(), zero, f.pin)); s != 200 {
			t.Fatal(s)
		}
		return c
	}
	region := strings.Repeat("r", 32)
	for _, c := range []struct {
		name   string
		open   func(*testing.T) *wireConn
		path   string
		length int
		header string
		body   string
		want   int
		kind   string
	}{
		{"private path without a device", public, "/v1/read", 0, "", "", 400, "bad_request"},
		{"put without a device", public, "/v1/put", 36, "", region + "\x00\x00\x00\x00", 400, "bad_request"},
		{"unknown path", public, "/v2/info", 0, "", "", 400, "bad_request"},
		{"query", public, "/v1/info?a=b", 0, "", "", 400, "bad_request"},
		{"body of an info", public, "/v1/info", 1, "", "x", 413, "too_large"},
		{"another content type", public, "/v1/info", 0, "Content-Type: text/plain\r\n", "", 200, ""}, // the first counts
		{"nonce under TLS", public, "/v1/nonce", 0, "", "", 400, "bad_request"},
		{"relay message too long", public, "/v1/relay/put", 64<<10 + 65, "", "", 413, "too_large"},
		{"enrolment too long", public, "/v1/enrol", 1<<20 + 1, "", "", 413, "too_large"},
		{"relay slot of invitations", public, "/v1/relay/put", 36, "", region + "\x07\x00\x00\x00", 400, "bad_request"},
		{"relay slot out of range", public, "/v1/relay/get", 33, "", region + "\x08", 400, "bad_request"},
		{"append too long", private, "/v1/append", 10 << 20, "", "", 413, "too_large"},
		{"put too long", private, "/v1/put", 17 << 20, "", "", 413, "too_large"},
		{"endless announced", private, "/v1/put", 1 << 60, "", "", 413, "too_large"},
		{"object longer than the body", private, "/v1/put", 41, "", region + "\x00\x00\x00\x01\x00\x00\x00\x02x", 400, "bad_request"},
		{"object over its limit", private, "/v1/put", 41, "", region + "\x00\x00\x00\x01\x7f\x00\x00\x00x", 413, "too_large"},
		{"more objects than bytes", private, "/v1/put", 37, "", region + "\xff\xff\xff\xffx", 400, "bad_request"},
		{"bytes after the objects", private, "/v1/put", 42, "", region + "\x00\x00\x00\x01\x00\x00\x00\x01xy", 400, "bad_request"},
		{"more ids than bytes", private, "/v1/have", 36, "", region + "\x00\x00\x00\x01", 400, "bad_request"},
		{"log of no kind", private, "/v1/read", 42, "", "\x07" + region + strings.Repeat("\x00", 9), 400, "bad_request"},
		{"parts of no kind", private, "/v1/read", 42, "", "\x01" + region + strings.Repeat("\x00", 8) + "\x04", 400, "bad_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == 413 && c.length <= 17<<20 {
				c.body += strings.Repeat("x", c.length-len(c.body))
			}
			status, answer := c.open(t).post(c.path, c.length, c.header, []byte(c.body))
			if status != c.want || !strings.Contains(answer, c.kind) {
				t.Errorf("answered %d %s, want %d %s", status, answer, c.want, c.kind)
			}
		})
	}
}

func TestRequestsWithoutOurHeadersAreRefused(t *testing.T) {
	f := serve(t, transport.Limits{}, true)
	addr := strings.TrimPrefix(f.url, "http://")
	for _, head := range []string{
		"GET /v1/info HTTP/1.1\r\nSignet: 1\r\nContent-Type: application/signet\r\n",
		"POST /v1/info HTTP/1.1\r\nContent-Type: application/signet\r\nContent-Length: 0\r\n",
		"POST /v1/info HTTP/1.1\r\nSignet: 1\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n",
		"POST /v1/info HTTP/1.1\r\nSignet: 1\r\nContent-Type: application/signet\r\nTransfer-Encoding: chunked\r\n",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, head+"Host: x\r\n\r\n0\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 400 || res.Header.Get("Signet") != "1" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%q is answered %d %v", head, res.StatusCode, res.Header)
		}
		conn.Close()
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	_, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Fatal("TLS 1.2 is accepted")
	}
	c, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s := c.ConnectionState(); s.CurveID != tls.X25519MLKEM768 || s.Version != tls.VersionTLS13 {
		t.Errorf("agreed on version %x, %s", s.Version, s.CurveID)
	}
}

func TestPeerWithoutPostQuantumKeyAgreementIsRefused(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	for _, only := range []tls.CurveID{tls.X25519, tls.CurveP256} {
		c, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "https://"), &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{only}})
		if err == nil {
			c.Close()
			t.Errorf("the service agrees on a key by %s", only)
		}
		// The same the other way round: not even the pinned certificate helps.
		addr := listen(t, func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{f.cert}, CurvePreferences: []tls.CurveID{only}})
			if s.Handshake() == nil {
				t.Errorf("a device agrees on a key by %s", only)
			}
			c.Close()
		})
		config := f.config()
		config.URL = "https://" + addr
		everything(t, dial(t, config), func(err error) {
			unavailable(t, err, transport.KindCertificate)
			var e *transport.Error
			if errors.As(err, &e) && (!strings.Contains(e.Message, "post-quantum") || e.Hint == "") {
				t.Errorf("%s: %v, hint %q", only, err, e.Hint)
			}
		})
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for _, url := range []string{"http://192.0.2.1:80", "http://signet.example", "http://localhost.example", "ftp://127.0.0.1", "https://", "https://h/path", "https://u@h", "127.0.0.1:80"} {
		if _, err := transport.NewClient(transport.Config{URL: url}); err == nil {
			t.Errorf("address %s is accepted", url)
		}
	}
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	h := transport.NewHandler(serve(t, transport.Limits{}, true).Memory, transport.Limits{}, nil)
	if err := transport.Serve(context.Background(), ln, nil, h); err == nil {
		t.Fatal("plain http is served to everybody")
	}
}

func TestSilentStreamIsTakenForDead(t *testing.T) {
	for name, frame := range map[string]string{
		"no ping":        "\x01\x00\x00\x00\x04\x00\x00\x00\x0a",
		"page cut short": "\x01\x00\x00\x00\x04\x00\x00\x00\x0a" + "\x02\x00\x00\x10\x00half",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, transport.Config{URL: "http://" + listen(t, func(conn net.Conn) {
				br := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					head := "HTTP/1.1 200 OK\r\nSignet: 1\r\nContent-Type: application/signet\r\n"
					switch req.URL.Path {
					case "/v1/nonce":
						fmt.Fprintf(conn, "%sContent-Length: 32\r\n\r\n%s", head, zero)
					case "/v1/connect":
						fmt.Fprintf(conn, "%sContent-Length: 0\r\n\r\n", head)
					default:
						fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(frame), frame)
					}
				}
			}), Signer: newKey(t)})
			err := c.Wait(within(t), nil, func(signet.Page) error { return nil }, nil)
			unavailable(t, err, transport.KindUnreachable)
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is taken for the caller's own", err)
			}
		})
	}
}

func newKey(t *testing.T) *key.Private {
	k, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestServiceThatTakesNothingIsTakenForDead(t *testing.T) {
	hold := make(chan bool)
	defer close(hold)
	c := dial(t, transport.Config{URL: "http://" + listen(t, func(net.Conn) { <-hold }), Stall: 50 * time.Millisecond})
	_, err := c.Info(within(t))
	unavailable(t, err, transport.KindUnreachable)
}

func TestCutTransferIsUnreachableAndEndsWell(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	addr := listen(t, func(c net.Conn) {
		out, err := net.Dial("tcp", strings.TrimPrefix(f.url, "https://"))
		if err != nil {
			return
		}
		defer out.Close()
		go io.Copy(c, out)
		io.CopyN(out, c, 3<<20)
	})
	config := f.config()
	config.URL = "https://" + addr
	object := make([]byte, 8<<20)
	rand.Read(object)
	err := dial(t, config).Put(within(t), signet.RegionID{}, [][]byte{object})
	unavailable(t, err, transport.KindUnreachable)
	// The caller may use its memory again at once: the race detector looks.
	clear(object)
}

func TestKeptConnectionThatWasClosedIsMadeAnew(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	var conns []net.Conn
	made := make(chan net.Conn, 10)
	addr := listen(t, func(c net.Conn) {
		made <- c
		out, err := net.Dial("tcp", strings.TrimPrefix(f.url, "https://"))
		if err != nil {
			return
		}
		defer out.Close()
		go io.Copy(out, c)
		io.Copy(c, out)
	})
	config := f.config()
	config.URL = "https://" + addr
	c := dial(t, config)
	for i := range 5 {
		if _, err := c.Append(within(t), signet.Directory(f.Org), record(100), 1); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		conns = append(conns, <-made)
		conns[i].Close()
	}
}
