package attack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/enrol"
	"signet/device/keystore"
	"signet/device/owner"
	"signet/service"
	"signet/transport"
)

// A world is a service behind a liar, and devices of one member.
type world struct {
	t         *testing.T
	config    service.Config
	logKey    *key.Private
	connector *key.Private
	service   *service.Service
	liar      *liar
	log       *buffer // what the service logs
	inviter   *service.Inviter
	first     *device
	org       signet.OrgID
	address   string  // what devices are told
	traffic   *buffer // what went through the address
}

// newWorld starts a service behind TLS. Nobody lies yet.
func newWorld(t *testing.T) *world { return start(t, false, false) }

// start starts a service, behind TLS or where plain is set behind a loopback
// address; and where recorded is set with somebody on the wire.
func start(t *testing.T, plain, recorded bool) *world {
	t.Helper()
	w := &world{t: t, log: &buffer{}, traffic: &buffer{}}
	w.logKey, w.connector = generate(t), generate(t)
	record := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: w.connector.Public()}
	w.config = service.Config{Data: t.TempDir(), Key: w.logKey, Connector: record, Version: "test"}
	w.service = w.open(w.config.Data)
	w.liar = newLiar(w.service)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var config *tls.Config
	var pin []byte
	at := l.Addr().String()
	if recorded {
		at = w.record(at)
	}
	w.address = "http://" + at
	if !plain {
		cert, p, err := transport.SelfSigned(w.config.Data, []string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		config, pin = &tls.Config{Certificates: []tls.Certificate{cert}}, p[:]
		w.address = "https://" + at
	}
	if err := w.service.SetAddress(w.address, pin); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	limits := transport.Limits{Drain: time.Second, PublicRate: 1e6, ConnRate: 1e6, DeviceRate: 1e6}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { done <- transport.Serve(ctx, l, config, transport.NewHandler(w.liar, limits, logger)) }()
	t.Cleanup(func() {
		cancel()
		<-done
		w.service.Close()
	})
	w.inviter = &service.Inviter{Data: w.config.Data, LogKey: w.logKey.Public(), Connector: w.connector, Device: record, Clock: time.Now}
	return w
}

func generate(t *testing.T) *key.Private {
	t.Helper()
	k, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// open opens a service over a data folder.
func (w *world) open(data string) *service.Service {
	w.t.Helper()
	c := w.config
	c.Data = data
	s, err := service.Open(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// copyData is a copy of the service's data folder, made while it is stopped.
func (w *world) copyData() string {
	w.t.Helper()
	to := filepath.Join(w.t.TempDir(), "copy")
	w.stop()
	if err := os.CopyFS(to, os.DirFS(w.config.Data)); err != nil {
		w.t.Fatal(err)
	}
	w.run(w.config.Data)
	return to
}

// stop ends the service; devices find nobody behind the address.
func (w *world) stop() {
	w.t.Helper()
	w.liar.serve(nil)
	if err := w.service.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// run opens the service over a data folder, for all devices.
func (w *world) run(data string) {
	w.t.Helper()
	w.config.Data = data
	w.service = w.open(data)
	w.liar.serve(w.service)
}

// second runs another service with the same keys over a copy of the data.
func (w *world) second() *service.Service {
	w.t.Helper()
	s := w.open(w.copyData())
	w.t.Cleanup(func() { s.Close() })
	return s
}

// record listens in front of an address and keeps what passes, both ways.
func (w *world) record(to string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			for from, to := range map[net.Conn]net.Conn{c: s, s: c} {
				go func() {
					io.Copy(to, io.TeeReader(from, w.traffic))
					to.Close()
					from.Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

// A buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.b)
}

// A device is a home with one folder.
type device struct {
	*owner.Owner
	w    *world
	t    *testing.T
	name string
	home home.Dir
	dir  string
	late atomic.Int64 // ns that its clock is before ours
}

// now is by the device's clock, which a running engine reads as well.
func (d *device) now() time.Time { return time.Now().Add(time.Duration(d.late.Load())) }

// device makes a device: the world's first makes the organisation, the others
// are linked by it.
func (w *world) device(name string) *device {
	w.t.Helper()
	d := &device{w: w, t: w.t, name: name, home: home.Dir(filepath.Join(w.t.TempDir(), "home")), dir: filepath.Join(w.t.TempDir(), name)}
	o := account.Options{Home: d.home, Use: keystore.Never, Now: time.Now, Name: name, Version: "test"}
	if w.first == nil {
		i, err := w.inviter.Invite("alice")
		if err != nil {
			w.t.Fatal(err)
		}
		invite, err := ring.ParseInvite(i.URL)
		if err != nil {
			w.t.Fatal(err)
		}
		j, err := account.Redeem(w.t.Context(), o, invite)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := j.SayName(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.org = j.Account.Org
		j.Close()
		w.first = d
	} else if err := w.link(o); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	d.open()
	w.t.Cleanup(d.close)
	return d
}

// link lets the first device give its ring to a newcomer.
func (w *world) link(o account.Options) error {
	f := w.first
	g, err := account.Give(w.t.Context(), f.Account, f.Keys, f.Engine, f.Client, time.Now().Add(time.Minute))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	codes := make(chan enrol.Code, 1)
	added := make(chan error, 1)
	go func() {
		_, err := g.Add(ctx, func(_ context.Context, q enrol.Request) (bool, error) { return q.Code == <-codes, nil })
		added <- err
	}()
	j, err := account.LinkByURL(ctx, o, g.Invitation, func(_ context.Context, _ string, c enrol.Code) (bool, error) {
		codes <- c
		return true, nil
	})
	if err != nil {
		cancel()
		<-added
		return err
	}
	defer j.Close()
	return errors.Join(<-added, j.SayName(ctx))
}

// member makes a device of another member, admitted by the service's
// connector.
func (w *world) member(name string) *device {
	w.t.Helper()
	d := &device{w: w, t: w.t, name: name, home: home.Dir(filepath.Join(w.t.TempDir(), "home")), dir: filepath.Join(w.t.TempDir(), name)}
	w.allowConnector()
	i, err := w.inviter.Invite(name)
	if err != nil {
		w.t.Fatal(err)
	}
	invite, err := ring.ParseInvite(i.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := account.Redeem(w.t.Context(), account.Options{Home: d.home, Use: keystore.Never, Now: time.Now, Name: name, Version: "test"}, invite)
	if err != nil {
		w.t.Fatal(err)
	}
	j.Close()
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	d.open()
	w.t.Cleanup(d.close)
	return d
}

func (d *device) open() {
	d.t.Helper()
	var err error
	if d.Owner, err = owner.OpenAt(d.home, "test", d.now); err != nil {
		d.t.Fatal(err)
	}
	if err := d.Engine.LoadVolumes(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) close() {
	if d.Owner != nil {
		d.Owner.Close()
		d.Owner = nil
	}
}

// add keeps the device's folder in step with the region of a name.
func (d *device) add(name string) signet.RegionID {
	d.t.Helper()
	ctx := d.t.Context()
	if err := d.Engine.Discover(ctx); err != nil {
		d.t.Fatal(err)
	}
	id, found := signet.RegionID{}, false
	for _, r := range d.Engine.Regions() {
		if r.Name == name {
			id, found = r.ID, true
		}
	}
	if !found {
		var err error
		if id, _, err = d.Engine.MakeRegion(ctx, name); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.CreateVolume(ctx, d.dir, id, false); err != nil {
		d.t.Fatal(err)
	}
	return id
}

// try does what the command sync does, and returns how it went.
func (d *device) try() (engine.Counters, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	if err := d.Engine.Discover(ctx); err != nil {
		return engine.Counters{}, err
	}
	if err := d.Engine.FreshenRing(ctx); err != nil && !errors.Is(err, signet.ErrConflict) {
		return engine.Counters{}, err
	}
	return d.Engine.SyncVolume(ctx, d.Engine.Volumes()[0].ID)
}

func (d *device) sync() engine.Counters {
	d.t.Helper()
	c, err := d.try()
	if err != nil {
		d.t.Fatalf("sync of %s: %v", d.name, err)
	}
	return c
}

// listing is everything below the device's folder that syncs, with hashes.
func (d *device) listing() string {
	d.t.Helper()
	var lines []string
	err := filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(d.dir, p)
		switch {
		case rel == ".signet":
			return filepath.SkipDir
		case rel == ".":
		case e.IsDir():
			lines = append(lines, rel+"/")
		case e.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			lines = append(lines, rel+" -> "+to)
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%s %d %x", rel, len(b), sha256.Sum256(b)))
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (d *device) write(name, content string) {
	d.t.Helper()
	p := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// pair is two devices in step with one region, each knowing the other's work.
func pair(t *testing.T) (w *world, a, b *device, id signet.RegionID) {
	t.Helper()
	w = newWorld(t)
	a, b = w.device("a"), w.device("b")
	a.write("letter.txt", "dear all")
	a.write("folder/inside", "inside")
	id = a.add("Documents")
	a.sync()
	b.add("Documents")
	b.sync()
	b.write("reply.txt", "dear a")
	b.sync()
	a.sync()
	same(t, a, b)
	return w, a, b, id
}

func same(t *testing.T, a, b *device) {
	t.Helper()
	if x, y := a.listing(), b.listing(); x != y {
		t.Fatalf("folders differ:\n%s\n--- and\n%s", x, y)
	}
}

// refused checks that a device's sync ends with an alarm of a kind whose
// message has the words, and that its folder is as it was.
func refused(t *testing.T, d *device, kind string, words ...string) error {
	t.Helper()
	before := d.listing()
	_, err := d.try()
	if !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("%s: want an alarm, have: %v", d.name, err)
	}
	var k interface{ ErrorKind() string }
	if !errors.As(err, &k) || k.ErrorKind() != kind {
		t.Errorf("%s: want kind %s of: %v (%+v)", d.name, kind, err, k)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: the message does not say %q: %v", d.name, word, err)
		}
	}
	if after := d.listing(); after != before {
		t.Errorf("%s: something was applied:\n%s\n--- and before\n%s", d.name, after, before)
	}
	if len(d.Engine.Alarms()) == 0 {
		t.Errorf("%s: no alarm is kept", d.name)
	}
	return err
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
