package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Config says which service a Client talks to, as whom.
type Config struct {
	// URL is https://HOST[:PORT], or http://HOST[:PORT] where HOST is a
	// loopback address. A path is refused.
	URL string
	// Pin is the SHA-256 of the service's certificate (DER), as invitations
	// and links carry it: no other is accepted, and this one whatever names
	// or dates it has. Nil: the certificate must chain to Roots.
	Pin []byte
	// Roots are the authorities trusted where there is no Pin; nil: the
	// system's.
	Roots *x509.CertPool
	// Unknown accepts any certificate, for a newcomer that has nothing but
	// the words of a link: only RelayPut and RelayGet work, and Fingerprint
	// says whom it met, to be compared with what the link's giver says.
	Unknown bool

	// Org, Device and Signer open connections. Signer nil: only the public
	// calls (Info, Enrol, RelayPut, RelayGet) work.
	Org    signet.OrgID
	Device signet.DeviceID
	Signer key.Signer

	Conns     int    // connections for bulk, default 4
	UserAgent string // default "signet"
	Meter     Meter  // nil: bytes move as fast as they can
	// Stall is how long the service may move no byte of a transfer or answer
	// before the connection counts as dead: default 60 s.
	Stall time.Duration
}

// A Meter is asked before bytes move, and may let them wait. It is used from
// many goroutines; its errors come to whoever made the request.
type Meter interface {
	// Begin says that a request begins which moves objects; end, that it ended.
	Begin(ctx context.Context, d Direction) (end func())
	// Move is called before n bytes of an object transfer are sent or after they
	// were received, n being 65,536 at most.
	Move(ctx context.Context, d Direction, n int) error
	// Message is called before or after n bytes of anything else.
	Message(ctx context.Context, d Direction, n int) error
}

// noMeter is none.
type noMeter struct{}

func (noMeter) Begin(context.Context, Direction) func()       { return func() {} }
func (noMeter) Move(context.Context, Direction, int) error    { return nil }
func (noMeter) Message(context.Context, Direction, int) error { return nil }

// A Direction is up (to the service) or down.
type Direction uint8

// Directions.
const (
	Up   Direction = 1
	Down Direction = 2
)

// A Client is the device's end: a Session, and the public calls. It is safe
// for use from many goroutines; connections are made when needed, kept for 90
// seconds, and each is opened by a fresh signature of the device. Every error
// is the context's, the caller's own (from a callback or Meter), or an
// *Error.
type Client struct {
	config   Config
	metered  bool // there is a Meter
	base     *url.URL
	loopback bool

	public  *http.Transport // without a device
	control *http.Transport // small requests
	bulk    *http.Transport // objects
	stream  *http.Transport // Wait: a connection for each

	fingerprint atomic.Pointer[[32]byte]
	counters    counters

	openMu sync.Mutex
	open   map[net.Conn]time.Time // connections and when they were made, for Drop
}

var _ Session = (*Client)(nil)

// NewClient makes a client; it connects to nothing yet.
func NewClient(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("service address %q is not https://HOST:PORT", oneLine(config.URL))
	}
	c := &Client{config: config, base: u, metered: config.Meter != nil}
	if !c.metered {
		c.config.Meter = noMeter{}
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !loopbackHost(u.Hostname()) {
			return nil, fmt.Errorf("service address %q: plain http is for loopback addresses only", oneLine(config.URL))
		}
		c.loopback = true
	default:
		return nil, fmt.Errorf("service address %q is not https://HOST:PORT", oneLine(config.URL))
	}
	if n := len(config.Pin); n != 0 && n != 32 {
		return nil, fmt.Errorf("certificate fingerprint of %d bytes, want 32", n)
	}
	if c.config.Conns <= 0 {
		c.config.Conns = 4
	}
	if c.config.UserAgent == "" {
		c.config.UserAgent = "signet"
	}
	if c.config.Stall <= 0 {
		c.config.Stall = 60 * time.Second
	}
	c.public = c.transport(false, 4, 4<<10)
	c.control = c.transport(true, 4, 16<<10)
	c.bulk = c.transport(true, c.config.Conns, 16<<10) // what is larger is copied once less
	c.stream = c.transport(true, 0, 4<<10)
	c.stream.DisableKeepAlives = true
	return c, nil
}

// loopbackHost reports whether a host is a loopback address by itself: a name
// could be made to resolve to something else.
func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (c *Client) transport(private bool, conns, buffer int) *http.Transport {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) { return c.dial(ctx, addr, private) }
	return &http.Transport{
		DialContext:            dial,
		DialTLSContext:         dial,
		DisableCompression:     true,
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    max(conns, 1),
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  c.config.Stall,
		MaxResponseHeaderBytes: 16 << 10,
		WriteBufferSize:        buffer,
		ReadBufferSize:         buffer,
	}
}

// Close ends idle connections; those in use end with their requests.
func (c *Client) Close() {
	for _, t := range []*http.Transport{c.public, c.control, c.bulk, c.stream} {
		t.CloseIdleConnections()
	}
}

// Fingerprint is the SHA-256 of the certificate that the service showed last;
// nil before any connection and on loopback.
func (c *Client) Fingerprint() []byte {
	if f := c.fingerprint.Load(); f != nil {
		return f[:]
	}
	return nil
}

// Info asks the service what it is.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	err = c.call(ctx, c.public, pathInfo, nil, 4<<10, func(r *wire.Reader) { i = takeInfo(r) })
	return i, err
}

// Enrol offers a directory record that authenticates itself. sent is this
// device's time in milliseconds since 1970.
func (c *Client) Enrol(ctx context.Context, x signet.Record, sent int64) (receipt signet.Receipt, err error) {
	if err := checkRecord(x); err != nil {
		return receipt, err
	}
	var w wire.Writer
	w.I64(sent)
	putRecord(&w, x)
	err = c.call(ctx, c.public, pathEnrol, w.B, maxReceipt, func(r *wire.Reader) { receipt = takeReceipt(r) })
	return receipt, err
}

const maxReceipt = 8 + 1 + MaxLeaf + 2 + MaxCheckpoint + 1 + 32*MaxProof

// RelayPut leaves a message of at most MaxRelay bytes for whoever knows the
// place, in a slot from 0 to MaxSlot.
func (c *Client) RelayPut(ctx context.Context, place [32]byte, slot uint8, message []byte) error {
	if slot == InvitationSlot {
		return Errorf(KindBadRequest, "relay slot %d is for invitations", slot)
	}
	if len(message) > MaxRelay {
		return Errorf(KindTooLarge, "relay message of %d bytes, at most %d allowed", len(message), MaxRelay)
	}
	var w wire.Writer
	w.Raw(place[:])
	w.U8(slot)
	w.Vec24(message)
	return c.call(ctx, c.public, pathRelayPut, w.B, 0, nil)
}

// RelayGet waits for the message at a place and slot until ctx ends.
func (c *Client) RelayGet(ctx context.Context, place [32]byte, slot uint8) ([]byte, error) {
	for {
		there, message, err := c.relayGet(ctx, place, slot)
		if err != nil || there {
			return message, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("relay: %w", err)
		}
	}
}

// Invitation asks once for the invitation that a link's key claims, which the
// link is too short to hold; KindNotFound where the service has none.
func (c *Client) Invitation(ctx context.Context, claim [32]byte) ([]byte, error) {
	there, message, err := c.relayGet(ctx, claim, InvitationSlot)
	if err == nil && !there {
		err = Errorf(KindNotFound, "%s: no such invitation", op(pathRelayGet))
	}
	return message, err
}

func (c *Client) relayGet(ctx context.Context, place [32]byte, slot uint8) (there bool, message []byte, err error) {
	var w wire.Writer
	w.Raw(place[:])
	w.U8(slot)
	err = c.call(ctx, c.public, pathRelayGet, w.B, MaxRelay+64, func(r *wire.Reader) {
		there = takeFlag(r)
		message = r.Vec24(MaxRelay)
	})
	return there, message, err
}

// call sends a small request and reads its whole answer with parse; nil parse:
// the answer is empty.
func (c *Client) call(ctx context.Context, t *http.Transport, path string, body []byte, limit int64, parse func(*wire.Reader)) error {
	c.counters.otherUp.Add(uint64(len(body)))
	if err := c.config.Meter.Message(ctx, Up, len(body)); err != nil {
		return err
	}
	res, err := c.send(ctx, t, path, int64(len(body)), bodyOf(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := readBody(res, limit)
	c.counters.otherDown.Add(uint64(len(b)))
	if err != nil {
		return c.failure(ctx, path, err)
	}
	if err := c.config.Meter.Message(ctx, Down, len(b)); err != nil {
		return err
	}
	r := wire.NewReader(b)
	if parse != nil {
		parse(r)
	}
	if err := r.Done(); err != nil {
		return notSignet(path, err)
	}
	return nil
}

// readBody reads an answer of at most limit bytes; where its length is known,
// at one go.
func readBody(res *http.Response, limit int64) ([]byte, error) {
	if n := res.ContentLength; n >= 0 {
		if n > limit {
			return nil, fmt.Errorf("answer of %d bytes, at most %d allowed: %w", n, limit, wire.ErrMalformed)
		}
		b := make([]byte, n)
		k, err := io.ReadFull(res.Body, b)
		return b[:k], err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("answer of more than %d bytes: %w", limit, wire.ErrMalformed)
	}
	return b, err
}

// send makes a request and returns its answer once it is known to be a good
// one of this protocol. All our requests may be sent twice, because records
// and objects are named by their content, so net/http may repeat one whose
// kept connection turned out closed.
func (c *Client) send(ctx context.Context, t *http.Transport, path string, length int64, body func() io.ReadCloser) (*http.Response, error) {
	if c.config.Unknown && path != pathRelayPut && path != pathRelayGet {
		return nil, Errorf(KindNotAllowed, "%s: the service is not known yet", op(path))
	}
	if t != c.public && c.config.Signer == nil {
		return nil, Errorf(KindNotEnrolled, "%s: this client has no device", op(path))
	}
	u := *c.base
	u.Path = path
	ctx, watch := watched(ctx, c.config.Stall)
	req := &http.Request{
		Method: http.MethodPost, URL: &u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			headerSignet:      {headerVersion},
			"Content-Type":    {contentType},
			"User-Agent":      {c.config.UserAgent},
			"Idempotency-Key": nil, // says so to net/http, is not sent
		},
	}
	if length > 0 {
		req.ContentLength = length
		req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
		req.Body = body()
	}
	c.counters.requests.Add(1)
	res, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = c.failure(ctx, path, err)
		watch.stop()
		return nil, err
	}
	res.Body = &watchedBody{res.Body, watch}
	if err := c.check(ctx, path, res); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

// check reads the head of an answer: only one that carries our header and type
// is from a Signet service; anything else is from what stands in between.
func (c *Client) check(ctx context.Context, path string, res *http.Response) error {
	if v := res.Header.Get(headerSignet); v != headerVersion {
		return notSignet(path, fmt.Errorf("answer %d without the header Signet: %s", res.StatusCode, headerVersion))
	}
	kind := res.Header.Get("Content-Type")
	if res.StatusCode == http.StatusOK && kind == contentType {
		return nil
	}
	if res.StatusCode < 400 || kind != contentTypeError {
		return notSignet(path, fmt.Errorf("answer %d of type %q", res.StatusCode, oneLine(kind)))
	}
	b, err := readBody(res, maxError)
	if errors.Is(err, wire.ErrMalformed) {
		return notSignet(path, err)
	} else if err != nil {
		return c.failure(ctx, path, err)
	}
	e, err := decodeError(b)
	if err != nil {
		return notSignet(path, err)
	}
	return e
}

// op is the name of a request in messages.
func op(path string) string { return strings.TrimPrefix(path, "/v1/") }

func notSignet(path string, err error) *Error {
	return &Error{
		Kind: KindNotSignet, Message: op(path) + ": the peer does not speak Signet's protocol",
		Hint: "a sign-in page of the network, or a proxy, may stand in between", cause: err,
	}
}

// ownError carries an error of the caller (its signer, its meter) through
// net/http, so that it is not taken for the network's.
type ownError struct{ error }

// failure gives a failed exchange its kind.
func (c *Client) failure(ctx context.Context, path string, err error) error {
	var e *Error
	var own ownError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &own):
		return own.error
	case errors.Is(err, errStalled):
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", op(path), ctx.Err())
	case errors.Is(err, wire.ErrMalformed), strings.Contains(err.Error(), "malformed"):
		// net/http has no type for an answer that is not HTTP.
		return notSignet(path, err)
	}
	return &Error{Kind: KindUnreachable, Message: op(path) + ": the service is not reachable", cause: err}
}
