package transport_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/transport"
	"signet/transport/conformance"
	"signet/transport/transporttest"
)

// A fixture is a service in memory behind Serve, with one device enrolled.
type fixture struct {
	*transporttest.Memory
	url    string
	pin    []byte
	cert   tls.Certificate
	device signet.DeviceID
	signer *key.Private
	logs   *lockedBuffer
	stop   func() error // ends Serve and returns its error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t testing.TB, limits transport.Limits, plain bool) *fixture {
	t.Helper()
	f := &fixture{logs: &lockedBuffer{}}
	var org signet.OrgID
	rand.Read(org[:])
	rand.Read(f.device[:])
	f.Memory = transporttest.New(org)
	var err error
	if f.signer, err = key.Generate(); err != nil {
		t.Fatal(err)
	}
	f.Allow(f.device, f.signer.Public())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var config *tls.Config
	f.url = "http://" + ln.Addr().String()
	if !plain {
		cert, pin, err := transport.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		f.cert, f.pin = cert, pin[:]
		config = &tls.Config{Certificates: []tls.Certificate{cert}}
		f.url = "https://" + ln.Addr().String()
	}
	logger := slog.New(slog.NewJSONHandler(f.logs, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	h := transport.NewHandler(f.Memory, limits, logger)
	go func() { done <- transport.Serve(ctx, ln, config, h) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) config() transport.Config {
	return transport.Config{URL: f.url, Pin: f.pin, Org: f.Org, Device: f.device, Signer: f.signer}
}

// another is config for another device.
func (f *fixture) another() transport.Config {
	c := f.config()
	rand.Read(c.Device[:])
	f.Allow(c.Device, f.signer.Public())
	return c
}

func dial(t testing.TB, c transport.Config) *transport.Client {
	t.Helper()
	client, err := transport.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func kindOf(err error) transport.Kind {
	var e *transport.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func record(n int) signet.Record {
	r := signet.Record{Head: make([]byte, n), Blob: make([]byte, 2*n)}
	rand.Read(r.Head)
	rand.Read(r.Blob)
	return r
}

// subject makes the conformance suite's subject of two sessions on m.
func subject(m *transporttest.Memory, d signet.DeviceID, a, b transport.Session) conformance.Subject {
	s := conformance.Subject{Session: a, Second: b, Device: d}
	rand.Read(s.Region[:])
	s.Log = signet.Journal(s.Region)
	m.NewLog(s.Log)
	s.Next = func(*testing.T) (signet.Record, int64) { return record(700), time.Now().UnixMilli() }
	s.NewLog = func(*testing.T) signet.LogID {
		var id signet.RegionID
		rand.Read(id[:])
		m.NewLog(signet.Journal(id))
		return signet.Journal(id)
	}
	s.Sealed = func(*testing.T) (owner [32]byte, sealed []byte) {
		rand.Read(owner[:])
		return owner, append(owner[:], "sealed"...)
	}
	return s
}

func TestClientAndHandlerOverTLSConform(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		f := serve(t, transport.Limits{}, false)
		return subject(f.Memory, f.device, dial(t, f.config()), dial(t, f.another()))
	})
}

func TestClientAndHandlerOnLoopbackConform(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		f := serve(t, transport.Limits{}, true)
		return subject(f.Memory, f.device, dial(t, f.config()), dial(t, f.another()))
	})
}

func TestMemoryConforms(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		m := transporttest.New(signet.OrgID{1})
		k, err := key.Generate()
		if err != nil {
			t.Fatal(err)
		}
		open := func(d signet.DeviceID) transport.Session {
			m.Allow(d, k.Public())
			sig, err := k.Sign(key.LabelConnection, []byte("binding"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.Connect(t.Context(), d, []byte("binding"), sig)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return s
		}
		return subject(m, signet.DeviceID{1}, open(signet.DeviceID{1}), open(signet.DeviceID{2}))
	})
}

func TestPublicCallsNeedNoDevice(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, transport.Config{URL: f.url, Pin: f.pin})
	info, err := c.Info(within(t))
	if err != nil || info.Org != f.Org || info.Version != "memory" || info.Fresh {
		t.Fatalf("info %+v, %v", info, err)
	}
	if _, err := c.Enrol(within(t), record(10), 1); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		b, err := c.RelayGet(within(t), [32]byte{7}, 3)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	if err := c.RelayPut(within(t), [32]byte{7}, 3, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if b := <-got; string(b) != "hello" {
		t.Fatalf("relayed %q", b)
	}
	if err := c.RelayPut(within(t), [32]byte{7}, 3, []byte("other")); !errors.Is(err, signet.ErrConflict) {
		t.Fatalf("second message in a slot: %v", err)
	}
	if _, err := c.Read(within(t), signet.Directory(f.Org), 0, signet.Whole); !errors.Is(err, signet.ErrNotAllowed) {
		t.Fatalf("read without a device: %v", err)
	}
	if f.Sessions() != 0 {
		t.Fatalf("%d sessions are open", f.Sessions())
	}
}

func TestRelayGetAsksAgainAndEndsWithItsContext(t *testing.T) {
	f := serve(t, transport.Limits{Ping: time.Millisecond}, false)
	c := dial(t, transport.Config{URL: f.url, Pin: f.pin})
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		_, err := c.RelayGet(ctx, [32]byte{7}, 0)
		ended <- err
	}()
	for c.Counters().Requests < 4 {
		if err := c.RelayPut(within(t), [32]byte{8}, 0, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("ended with %v", err)
	}
}

func TestInvitationsSlotAnswersAtOnceAndTakesNothing(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, transport.Config{URL: f.url, Pin: f.pin})
	if _, err := c.Invitation(within(t), [32]byte{7}); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("no such invitation: %v", err)
	}
	err := c.RelayPut(within(t), [32]byte{7}, transport.InvitationSlot, []byte("x"))
	if kindOf(err) != transport.KindBadRequest {
		t.Errorf("put into the invitations' slot: %v", err)
	}
}

func TestUnknownDeviceIsNotEnrolled(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	for name, change := range map[string]func(*transport.Config){
		"device":       func(c *transport.Config) { c.Device[0] ^= 1 },
		"key":          func(c *transport.Config) { c.Signer, _ = key.Generate() },
		"organisation": func(c *transport.Config) { c.Org[0] ^= 1 },
	} {
		config := f.config()
		change(&config)
		_, err := dial(t, config).Read(within(t), signet.Directory(f.Org), 0, signet.Whole)
		if kindOf(err) != transport.KindNotEnrolled || !errors.Is(err, signet.ErrNotAllowed) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestRevocationEndsOpenSessions(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, f.config())
	dir := signet.Directory(f.Org)
	receipt, err := c.Append(within(t), dir, record(10), 1)
	if err != nil {
		t.Fatal(err)
	}
	waiting, ended := make(chan bool, 1), make(chan error, 1)
	go func() {
		ended <- c.Wait(within(t), map[signet.LogID]uint64{dir: receipt.Position}, func(signet.Page) error {
			waiting <- true
			return nil
		}, nil)
	}()
	<-waiting
	f.Revoke(f.device)
	if err := <-ended; kindOf(err) != transport.KindNotEnrolled {
		t.Fatalf("wait of a revoked device ended with %v", err)
	}
	if _, err := c.Append(within(t), dir, record(10), 1); kindOf(err) != transport.KindNotEnrolled {
		t.Fatalf("append of a revoked device: %v", err)
	}
	if err := f.AwaitSessions(within(t), 0); err != nil {
		t.Fatalf("sessions stay open: %v", err)
	}
	if _, err := c.Have(within(t), signet.RegionID{}, []signet.ObjectID{{}}); kindOf(err) != transport.KindNotEnrolled {
		t.Fatalf("have of a revoked device: %v", err)
	}
}

func TestSessionsEndWithTheirConnections(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, f.config())
	if _, err := c.Append(within(t), signet.Directory(f.Org), record(10), 1); err != nil {
		t.Fatal(err)
	}
	if err := f.AwaitSessions(within(t), 1); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := f.AwaitSessions(within(t), 0); err != nil {
		t.Fatal(err)
	}
}

// failing is a Backend whose sessions answer one error.
type failing struct {
	*transporttest.Memory
	err error
}

func (f failing) Enrol(context.Context, signet.Record, int64) (signet.Receipt, error) {
	return signet.Receipt{}, f.err
}

func TestErrorsKeepTheirKind(t *testing.T) {
	id := signet.ObjectID{1, 2, 3}
	for _, c := range []struct {
		err      error
		kind     transport.Kind
		sentinel error
	}{
		{signet.ErrNotFound, transport.KindNotFound, signet.ErrNotFound},
		{signet.ErrConflict, transport.KindConflict, signet.ErrConflict},
		{signet.ErrNotAllowed, transport.KindNotAllowed, signet.ErrNotAllowed},
		{signet.ErrStale, transport.KindStale, signet.ErrStale},
		{signet.ErrUnavailable, transport.KindUnavailable, signet.ErrUnavailable},
		{signet.ErrNotVerified, transport.KindInvalid, nil},
		{transport.MissingObjects([]signet.ObjectID{id}), transport.KindMissing, nil},
		{transport.Errorf(transport.KindClock, "clocks differ").WithHint("set it"), transport.KindClock, nil},
		{transport.Errorf(transport.KindRecovering, "wait"), transport.KindRecovering, signet.ErrUnavailable},
		{transport.Errorf("new_kind", "from a newer service"), transport.KindInternal, signet.ErrUnavailable},
		{transport.Errorf(transport.KindNotSignet, "not the service's to say"), transport.KindInternal, signet.ErrUnavailable},
		{errors.New("open /secret/path"), transport.KindInternal, signet.ErrUnavailable},
	} {
		f := serve(t, transport.Limits{}, true)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		h := transport.NewHandler(failing{f.Memory, c.err}, transport.Limits{}, slog.New(slog.DiscardHandler))
		go func() { done <- transport.Serve(ctx, ln, nil, h) }()
		client := dial(t, transport.Config{URL: "http://" + ln.Addr().String()})
		_, err = client.Enrol(within(t), record(10), 1)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if kindOf(err) != c.kind {
			t.Errorf("%v came as %v", c.err, err)
			continue
		}
		for _, s := range []error{signet.ErrNotFound, signet.ErrConflict, signet.ErrNotAllowed, signet.ErrStale, signet.ErrUnavailable, signet.ErrNotVerified} {
			if errors.Is(err, s) != (s == c.sentinel) {
				t.Errorf("%v: is %v: %v", c.err, s, !(s == c.sentinel))
			}
		}
		if bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("the service's own words left it: %v", err)
		}
		var m interface{ MissingObjects() []signet.ObjectID }
		if c.kind == transport.KindMissing && (!errors.As(err, &m) || len(m.MissingObjects()) != 1 || m.MissingObjects()[0] != id) {
			t.Errorf("missing objects did not arrive: %v", err)
		}
	}
}

func TestServeEndsStreamsAndFinishesRequests(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, f.config())
	dir := signet.Directory(f.Org)
	receipt, err := c.Append(within(t), dir, record(10), 1)
	if err != nil {
		t.Fatal(err)
	}
	waiting, ended := make(chan bool, 1), make(chan error, 1)
	go func() {
		ended <- c.Wait(within(t), map[signet.LogID]uint64{dir: receipt.Position}, func(signet.Page) error {
			waiting <- true
			return nil
		}, nil)
	}()
	<-waiting
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; kindOf(err) != transport.KindUnavailable {
		t.Fatalf("wait ended with %v", err)
	}
	if f.Sessions() != 0 {
		t.Fatalf("%d sessions are open", f.Sessions())
	}
	if _, err := c.Append(within(t), dir, record(10), 1); kindOf(err) != transport.KindUnreachable {
		t.Fatalf("append to a service that is gone: %v", err)
	}
}

func TestServeEndsWellWithAllPlacesTaken(t *testing.T) {
	// Accept is told to end too: whether it or net/http hears first is chance.
	for range 30 {
		f := serve(t, transport.Limits{Conns: 1}, true)
		c := dial(t, f.config())
		if _, err := c.Info(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogsHoldIdsOnly(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, f.config())
	if _, err := c.Append(within(t), signet.Directory(f.Org), signet.Record{Head: []byte("canary-head")}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(within(t), signet.Journal(signet.RegionID{9}), 0, signet.Whole); !errors.Is(err, signet.ErrNotFound) {
		t.Fatal(err)
	}
	c.Close()
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	text := f.logs.String()
	for _, s := range []string{"canary", "127.0.0.1", signet.RegionID{9}.String()} {
		if bytes.Contains([]byte(text), []byte(s)) {
			t.Errorf("the log holds %q", s)
		}
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	paths := map[string]bool{}
	for {
		var line struct{ Request, Device, Path, Kind string }
		if err := d.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		paths[line.Path+" "+line.Kind] = line.Request != "" && line.Device == f.device.String()
	}
	if !paths["/v1/append "] || !paths["/v1/read not_found"] {
		t.Errorf("logged %v", paths)
	}
}

func TestRequestsOverTheRateAreRefused(t *testing.T) {
	f := serve(t, transport.Limits{PublicRate: 0.2}, false)
	c := dial(t, transport.Config{URL: f.url, Pin: f.pin})
	var err error
	for i := 0; i < 4 && err == nil; i++ {
		_, err = c.Info(within(t))
	}
	if kindOf(err) != transport.KindRate || !errors.Is(err, signet.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}

func TestCountersCountBodies(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	config := f.config()
	var mu sync.Mutex
	moved, messages, most := map[transport.Direction]int{}, map[transport.Direction]int{}, 0
	open := 0
	config.Meter = meter{
		begin: func(transport.Direction) func() {
			mu.Lock()
			defer mu.Unlock()
			open++
			return func() { mu.Lock(); open--; mu.Unlock() }
		},
		move: func(d transport.Direction, n int) error {
			mu.Lock()
			defer mu.Unlock()
			if open == 0 {
				t.Error("bytes move of no request")
			}
			moved[d] += n
			most = max(most, n)
			return nil
		},
		message: func(d transport.Direction, n int) error {
			mu.Lock()
			defer mu.Unlock()
			messages[d] += n
			return nil
		},
	}
	c := dial(t, config)
	objects := [][]byte{make([]byte, 1000), make([]byte, 2000)}
	if err := c.Put(within(t), signet.RegionID{}, objects); err != nil {
		t.Fatal(err)
	}
	n := c.Counters()
	if n.ObjectsUp != 2 || n.BulkUp != 36+4+1000+4+2000 || n.OtherUp != 0 || n.Connections != 1 || moved[transport.Up] != int(n.BulkUp) {
		t.Fatalf("counted %+v, throttled %v", n, moved)
	}
	object := make([]byte, 1<<20)
	id := signet.ObjectID(sha256.Sum256(object))
	if err := c.Put(within(t), signet.RegionID{}, [][]byte{object}); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(within(t), signet.RegionID{}, []signet.ObjectID{id}, func(signet.ObjectID, []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := c.Counters(); n.ObjectsDown != 1 || n.BulkDown != 5+32+1<<20+5 || moved[transport.Down] != 32+1<<20 || most > 64<<10 {
		t.Fatalf("counted %+v, throttled %v, most %d", n, moved, most)
	}
	if open != 0 {
		t.Errorf("%d requests did not end", open)
	}
	if missing, err := c.Have(within(t), signet.RegionID{}, []signet.ObjectID{id}); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	if n := c.Counters(); messages[transport.Up] != int(n.OtherUp)+68 || messages[transport.Down] != int(n.OtherDown) {
		t.Errorf("counted %+v, and messages of %v; a Get asks with 68", n, messages)
	}
	broken := func(transport.Direction, int) error { return os.ErrDeadlineExceeded }
	config.Meter = meter{begin: func(transport.Direction) func() { return func() {} }, move: broken, message: broken}
	if err := dial(t, config).Put(within(t), signet.RegionID{}, objects); err != os.ErrDeadlineExceeded {
		t.Fatalf("a meter's own error came as %v", err)
	}
	if _, err := dial(t, config).Have(within(t), signet.RegionID{}, []signet.ObjectID{id}); err != os.ErrDeadlineExceeded {
		t.Fatalf("a meter's own error came as %v", err)
	}
}

// A meter is one for tests.
type meter struct {
	begin         func(transport.Direction) func()
	move, message func(transport.Direction, int) error
}

func (m meter) Begin(_ context.Context, d transport.Direction) func() { return m.begin(d) }

func (m meter) Move(_ context.Context, d transport.Direction, n int) error { return m.move(d, n) }

func (m meter) Message(_ context.Context, d transport.Direction, n int) error {
	return m.message(d, n)
}

func TestSelfSignedIsMadeOnceForTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	_, a, err := transport.SelfSigned(dir, []string{"one.example", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	_, b, err := transport.SelfSigned(dir, []string{"two.example"})
	if err != nil || a != b {
		t.Fatalf("second call: %x, %v; first %x", b, err, a)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if i, err := files[0].Info(); err != nil || i.Mode().Perm() != 0o600 {
		t.Fatal(i.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, files[0].Name()), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := transport.SelfSigned(dir, nil); err == nil {
		t.Fatal("a damaged certificate is replaced, and every pin with it")
	}
}

func TestDropCutsWhatIsLostAndNothingElse(t *testing.T) {
	f := serve(t, transport.Limits{}, false)
	c := dial(t, f.config())
	waiting, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		ended <- c.Wait(within(t), map[signet.LogID]uint64{signet.Directory(f.config().Org): 0}, func(signet.Page) error {
			once.Do(func() { close(waiting) })
			return nil
		}, nil)
	}()
	<-waiting
	began := time.Now()
	c.Drop(func(local netip.Addr, made time.Time) bool { return !local.IsLoopback() || made.After(began) })
	if _, err := c.Have(within(t), signet.RegionID{}, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the stream ended for nothing: %v", err)
	default:
	}
	c.Drop(func(local netip.Addr, made time.Time) bool { return local.IsLoopback() && made.Before(began) })
	if err := <-ended; kindOf(err) != transport.KindUnreachable {
		t.Fatalf("the stream ended with %v", err)
	}
	before := c.Counters().Connections
	if _, err := c.Have(within(t), signet.RegionID{}, []signet.ObjectID{{1}}); err != nil || c.Counters().Connections == before {
		t.Fatalf("after a drop: %v, %d connections", err, c.Counters().Connections)
	}
}
