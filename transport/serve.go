package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"signet"
)

// Serve answers connections of ln with h until ctx ends; then it takes no new
// ones, ends waiting streams with a word to come back, lets running requests
// finish for at most Limits.Drain, and returns nil. config needs certificates
// only: versions, key agreement, protocols and session tickets are set here. Without config
// it serves plain HTTP, and only on a loopback address.
func Serve(ctx context.Context, ln net.Listener, config *tls.Config, h *Handler) error {
	if config == nil && !isLoopback(ln.Addr()) {
		ln.Close()
		return fmt.Errorf("listen on %s: plain http is for loopback addresses only", ln.Addr())
	}
	s := &server{handler: h, stop: make(chan struct{}), perAddress: make(map[string]int), slots: make(chan struct{}, h.limits.Conns)}
	var listener net.Listener = &listener{Listener: ln, server: s, tls: config != nil}
	if config != nil {
		c, err := s.tlsConfig(config)
		if err != nil {
			ln.Close()
			return err
		}
		listener = tls.NewListener(listener, c)
	}
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, channelKey{}, channelOf(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			// Closed comes when the last handler of the connection is done.
			if state == http.StateClosed {
				channelOf(c).end()
				s.open.Done()
			}
		},
		ErrorLog: log.New(logWriter{h.log}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	close(s.stop)
	drain, cancel := context.WithTimeout(context.Background(), h.limits.Drain)
	defer cancel()
	if err := hs.Shutdown(drain); err != nil {
		hs.Close()
	}
	// Accept may see stop before net/http knows of its shutdown.
	if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return s.ended()
}

// ended waits until every session is closed: the backend goes after us.
func (s *server) ended() error {
	closed := make(chan struct{})
	go func() {
		s.open.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-time.After(s.handler.limits.Drain):
		return errors.New("stop serving: requests do not end")
	}
}

func isLoopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// server is what the connections of one Serve share.
type server struct {
	handler *Handler
	stop    chan struct{}  // closed when Serve was told to end
	slots   chan struct{}  // one per open connection
	open    sync.WaitGroup // likewise, until its session is closed

	mu         sync.Mutex
	perAddress map[string]int
}

// tlsConfig hardens c and makes each connection remember the certificate that
// was shown on it, because the device's proof names it.
func (s *server) tlsConfig(c *tls.Config) (*tls.Config, error) {
	if c.GetConfigForClient != nil {
		return nil, errors.New("tls configuration: GetConfigForClient is not supported")
	}
	if c.GetCertificate == nil && len(c.Certificates) == 0 {
		return nil, errors.New("tls configuration: no certificate")
	}
	own := c.Clone()
	own.MinVersion = tls.VersionTLS13
	own.CurvePreferences = keyAgreement
	own.NextProtos = []string{"http/1.1"}
	// A resumed session shows no certificate.
	own.SessionTicketsDisabled = true
	own.Certificates = nil
	own.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := chooseCertificate(c, hello)
		if err != nil {
			return nil, err
		}
		if len(cert.Certificate) == 0 {
			return nil, errors.New("certificate is empty")
		}
		channelOf(hello.Conn).certificate = sha256.Sum256(cert.Certificate[0])
		return cert, nil
	}
	return own, nil
}

func chooseCertificate(c *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.GetCertificate != nil {
		if cert, err := c.GetCertificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range c.Certificates {
		if hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i], nil
		}
	}
	if len(c.Certificates) == 0 {
		return nil, errors.New("no certificate for this name")
	}
	return &c.Certificates[0], nil
}

// listener wraps connections into channels and counts them.
type listener struct {
	net.Listener
	server *server
	tls    bool
}

// Accept waits while there are too many connections, and closes those of an
// address that has too many of its own.
func (l *listener) Accept() (net.Conn, error) {
	for {
		select {
		case l.server.slots <- struct{}{}:
		case <-l.server.stop:
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.server.slots
			return nil, err
		}
		ch := newChannel(c, l.server, l.tls)
		if ch.admit() {
			l.server.open.Add(1)
			return ch, nil
		}
		c.Close()
		<-l.server.slots
	}
}

type channelKey struct{}

// A channel is one connection and who is at its other end. HTTP/1.1 answers
// one request of a connection at a time, so session and device change only
// between requests.
type channel struct {
	*gatherer
	server   *server
	tls      bool
	id       string
	address  string
	loopback bool
	requests atomic.Uint64
	limiter  *rate.Limiter // of this connection
	public   *rate.Limiter // of this address
	release  sync.Once

	certificate [32]byte  // what we showed; set during the handshake
	nonce       *[32]byte // given out and not used yet
	session     Session   // nil until a device proved itself
	device      signet.DeviceID
	perDevice   *rate.Limiter
	ended       bool // the device was revoked: nothing more on this connection
}

func newChannel(c net.Conn, s *server, tls bool) *channel {
	var id [6]byte
	rand.Read(id[:])
	ch := &channel{gatherer: &gatherer{Conn: c}, server: s, tls: tls, id: hex.EncodeToString(id[:])}
	ch.address, ch.loopback = addressOf(c.RemoteAddr().String())
	ch.limiter = newLimiter(s.handler.limits.ConnRate)
	ch.public = s.handler.addresses.get(ch.address)
	return ch
}

func (ch *channel) admit() bool {
	s := ch.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ch.loopback && s.perAddress[ch.address] >= s.handler.limits.PerAddress {
		return false
	}
	s.perAddress[ch.address]++
	return true
}

// Close gives the connection's place to the next.
func (ch *channel) Close() error {
	ch.release.Do(func() {
		s := ch.server
		s.mu.Lock()
		if s.perAddress[ch.address]--; s.perAddress[ch.address] == 0 {
			delete(s.perAddress, ch.address)
		}
		s.mu.Unlock()
		<-s.slots
	})
	return ch.gatherer.Close()
}

// end closes the session after the last request.
func (ch *channel) end() {
	if ch.session != nil {
		ch.session.Close()
		ch.session = nil
	}
}

// channelOf finds the channel below what net/http holds.
func channelOf(c net.Conn) *channel {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*channel)
}

// logWriter takes net/http's own complaints (mostly failed handshakes), which
// name addresses: they are for debugging only.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("http", "text", string(bytes.TrimSpace(b)))
	return len(b), nil
}
