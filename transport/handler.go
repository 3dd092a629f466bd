package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Handler answers a service's requests from a Backend. It knows who is at the
// other end by the connection, so it works only under Serve.
type Handler struct {
	backend   Backend
	limits    Limits
	log       *slog.Logger
	devices   limiters
	addresses limiters
	uploads   *uploads
}

// NewHandler makes the handler of a service. Requests are logged at level Info
// with an id, the device's id, sizes, time and the kind of error; no body,
// name or address.
func NewHandler(b Backend, l Limits, log *slog.Logger) *Handler {
	l = l.WithDefaults()
	return &Handler{
		backend: b, limits: l, log: log,
		devices:   limiters{perSecond: l.DeviceRate},
		addresses: limiters{perSecond: l.PublicRate},
		uploads:   newUploads(l.Uploads),
	}
}

// A route is what is done at a path.
type route struct {
	max     int64 // bytes of body
	private bool  // only for a device
	do      func(*call) error
}

var routes = map[string]route{
	pathInfo:     {0, false, (*call).info},
	pathNonce:    {0, false, (*call).nonce},
	pathConnect:  {1 << 10, false, (*call).connect},
	pathEnrol:    {maxEnrol, false, (*call).enrol},
	pathRelayPut: {MaxRelay + 64, false, (*call).relayPut},
	pathRelayGet: {64, false, (*call).relayGet},
	pathAppend:   {maxRecord + 64, true, (*call).append},
	pathRead:     {64, true, (*call).read},
	pathWait:     {4 + 41*MaxHeads, true, (*call).wait},
	pathHave:     {36 + 32*MaxIDs, true, (*call).have},
	pathPut:      {maxPutBody, true, (*call).put},
	pathGet:      {36 + 32*MaxIDs, true, (*call).get},
	pathRecord:   {MaxSealedRecord, true, (*call).putRecord},
	pathRecords:  {32, true, (*call).records},
	pathUsage:    {32, true, (*call).usage},
	pathLost:     {0, true, (*call).recovering},
	pathReoffer:  {maxReoffer, true, (*call).reoffer},
	pathShow:     {34 + MaxGlimpse, true, (*call).show},
}

// A call is one request and its answer.
type call struct {
	*Handler
	w        http.ResponseWriter
	rc       *http.ResponseController
	r        *http.Request
	ch       *channel
	id       string
	in, out  int64
	answered bool
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{Handler: h, w: w, rc: http.NewResponseController(w), r: r}
	c.ch, _ = r.Context().Value(channelKey{}).(*channel)
	if c.ch == nil {
		http.Error(w, "not served by transport.Serve", http.StatusInternalServerError)
		return
	}
	c.id = c.ch.id + "-" + strconv.FormatUint(c.ch.requests.Add(1), 10)
	header := w.Header()
	header[headerSignet] = []string{headerVersion}
	header[headerRequest] = []string{c.id}
	header["Cache-Control"] = []string{"no-store"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	// The deadline of an earlier answer on this connection is not ours; that
	// of this answer is set when it is written.
	c.rc.SetWriteDeadline(time.Time{})
	err := c.serve()
	if errors.Is(err, ErrNotEnrolled) {
		c.ch.ended = true
	}
	if err != nil && !c.answered {
		c.refuse(err)
	}
	c.record(err, time.Since(start))
}

func (c *call) serve() error {
	route, ok := routes[c.r.URL.Path]
	switch {
	case !ok || c.r.URL.RawQuery != "":
		return Errorf(KindBadRequest, "no such path")
	case c.r.Method != http.MethodPost:
		return Errorf(KindBadRequest, "method %s, want POST", oneLine(c.r.Method))
	// A web page elsewhere can make a browser post here, but not with these
	// headers.
	case c.r.Header.Get(headerSignet) != headerVersion:
		return Errorf(KindBadRequest, "header Signet is not %s", headerVersion)
	case c.r.Header.Get("Content-Type") != contentType:
		return Errorf(KindBadRequest, "content type is not %s", contentType)
	case c.r.ContentLength < 0:
		return Errorf(KindBadRequest, "body without a length")
	case c.r.ContentLength > route.max:
		return Errorf(KindTooLarge, "body of %d bytes, at most %d allowed", c.r.ContentLength, route.max)
	case c.ch.ended:
		return ErrNotEnrolled
	case route.private && c.ch.session == nil:
		return Errorf(KindBadRequest, "no device opened this connection")
	}
	if err := c.admit(); err != nil {
		return err
	}
	return route.do(c)
}

// admit holds a request to its rates: one slightly over waits, one far over is
// refused.
func (c *call) admit() error {
	other := c.ch.public
	switch path := c.r.URL.Path; {
	case c.ch.session != nil:
		other = c.ch.perDevice
	case path == pathConnect || path == pathNonce:
		other = c.ch.limiter // a connect is charged to its address if it fails
	}
	for _, l := range [...]*rate.Limiter{c.ch.limiter, other} {
		r := l.Reserve()
		d := r.Delay()
		if d == 0 {
			continue
		}
		if d > longestDelay {
			r.Cancel()
			return Errorf(KindRate, "too many requests").WithHint("wait a little and try again")
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-c.r.Context().Done():
			t.Stop()
			return c.r.Context().Err()
		}
	}
	return nil
}

// refuse answers with an error.
func (c *call) refuse(err error) {
	e := answerOf(err)
	body := encodeError(e, c.id)
	header := c.w.Header()
	header.Set("Content-Type", contentTypeError)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	switch e.Kind {
	case KindNotEnrolled, KindTooLarge, KindBadRequest:
		header.Set("Connection", "close")
	}
	// A peer that is still sending reads no answer, and would see a cut
	// connection instead of the reason: take the rest of what it announced.
	if c.r.ContentLength > 0 && c.r.ContentLength <= maxPutBody {
		c.rc.SetReadDeadline(time.Now().Add(patience(c.limits.Stall, c.r.ContentLength)))
		io.Copy(io.Discard, c.r.Body)
	}
	c.answered = true
	c.deadline(len(body))
	status := kinds[e.Kind].status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	c.w.WriteHeader(status)
	c.w.Write(body)
	c.out = int64(len(body))
}

// record logs the request.
func (c *call) record(err error, took time.Duration) {
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.String("request", c.id))
	if c.ch.session != nil {
		attrs = append(attrs, slog.String("device", c.ch.device.String()))
	}
	path := c.r.URL.Path
	if _, ok := routes[path]; !ok {
		path = "unknown"
	}
	attrs = append(attrs, slog.String("path", path), slog.Int64("in", c.in), slog.Int64("out", c.out),
		slog.Float64("ms", float64(took.Microseconds())/1000))
	level := slog.LevelInfo
	if err != nil {
		e := answerOf(err)
		attrs = append(attrs, slog.String("kind", string(e.Kind)))
		if e.Kind == KindInternal {
			level = slog.LevelError
			attrs = append(attrs, slog.String("cause", err.Error()))
		}
	}
	c.log.LogAttrs(context.WithoutCancel(c.r.Context()), level, "request", attrs...)
}

// body reads the whole body, whose length was checked.
func (c *call) body() (*wire.Reader, error) {
	b := make([]byte, c.r.ContentLength)
	if err := c.fill(b); err != nil {
		return nil, err
	}
	return wire.NewReader(b), nil
}

// fill reads exactly len(b) bytes of the body. The deadline is taken away
// again: net/http watches the connection while we work, and would take a
// passed deadline for a device that went away.
func (c *call) fill(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	c.rc.SetReadDeadline(time.Now().Add(patience(c.limits.Stall, int64(len(b)))))
	n, err := io.ReadFull(c.r.Body, b)
	c.rc.SetReadDeadline(time.Time{})
	c.in += int64(n)
	if err != nil {
		return &Error{Kind: KindBadRequest, Message: "body ends early", cause: err}
	}
	return nil
}

// deadline gives the next n bytes of the answer their time.
func (c *call) deadline(n int) {
	c.rc.SetWriteDeadline(time.Now().Add(patience(c.limits.Stall, int64(n))))
}

// malformed is the refusal of a body that does not parse.
func malformed(err error) error {
	return &Error{Kind: KindBadRequest, Message: "body is malformed", cause: err}
}

// answer sends a whole body.
func (c *call) answer(body []byte) error {
	header := c.w.Header()
	header["Content-Type"] = []string{contentType}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.answered = true
	c.deadline(len(body))
	n, err := c.w.Write(body)
	c.out += int64(n)
	return err
}

func (c *call) info() error {
	i, err := c.backend.Info(c.r.Context())
	if err != nil {
		return err
	}
	var w wire.Writer
	putInfo(&w, i)
	return c.answer(w.B)
}

// nonce gives a connection that has no TLS exporter something to sign.
func (c *call) nonce() error {
	if c.ch.tls {
		return Errorf(KindBadRequest, "under TLS there is no nonce")
	}
	c.ch.nonce = new([32]byte)
	rand.Read(c.ch.nonce[:])
	return c.answer(c.ch.nonce[:])
}

// connect opens a session on this connection. One that fails counts as a
// public request: a whole office may come back at once, nobody may try keys.
func (c *call) connect() error {
	if c.ch.public.Tokens() < 1 {
		return Errorf(KindRate, "too many requests").WithHint("wait a little and try again")
	}
	err := c.open()
	if err != nil {
		c.ch.public.Allow()
	}
	return err
}

// open makes the session of a good proof. The binding is computed from
// what this end sees, so a signature made for another channel, or through
// somebody in between, does not verify.
func (c *call) open() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	var b binding
	r.Raw(b.org[:])
	r.Raw(b.device[:])
	var seen [32]byte
	r.Raw(seen[:])
	signature := r.Vec16(key.BothSize)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	if c.ch.session != nil {
		return Errorf(KindBadRequest, "this connection has a device already")
	}
	info, err := c.backend.Info(c.r.Context())
	if err != nil {
		return err
	}
	if info.Fresh || info.Org != b.org {
		return Errorf(KindNotEnrolled, "this service has another organisation").WithHint("check the address of the service")
	}
	// The signature covers the certificate too; comparing it first only
	// gives interception its name, instead of a device that is not known.
	if seen != c.ch.certificate {
		return Errorf(KindCertificate, "the certificate that the device saw is not the service's").
			WithHint("a proxy in between opens the connection: let Signet's traffic pass it, or end TLS at the service itself")
	}
	if err := c.bind(&b); err != nil {
		return err
	}
	s, err := c.backend.Connect(c.r.Context(), b.device, b.bytes(), signature)
	var e *Error
	if errors.Is(err, signet.ErrNotVerified) || errors.Is(err, signet.ErrNotAllowed) && !errors.As(err, &e) {
		return ErrNotEnrolled
	} else if err != nil {
		return err
	}
	c.ch.session, c.ch.device = s, b.device
	c.ch.perDevice = c.devices.get(string(b.device[:]))
	return c.answer(nil)
}

func (c *call) bind(b *binding) error {
	if c.ch.tls {
		b.certificate = c.ch.certificate
		return b.export(c.r.TLS)
	}
	if c.ch.nonce == nil {
		return Errorf(KindBadRequest, "no nonce was asked for")
	}
	b.channel, b.nonce = channelLoopback, *c.ch.nonce
	c.ch.nonce = nil
	return nil
}
