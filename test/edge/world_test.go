package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/enrol"
	"signet/device/keystore"
	"signet/device/owner"
	"signet/service"
	"signet/transport"
)

// A world is a service over TLS and devices of one member, whose folders lie on
// given disks.
type world struct {
	t       *testing.T
	on      []disk // of the first device, the second...; the last is that of all others
	inviter *service.Inviter
	devices []*device

	region   signet.RegionID
	settled  map[[32]byte]string // what was on a disk, closed and quiet, when a pass of sync began
	quick    bool                // files of this case may not be compared by time
	approves bool                // deletions that the guard holds
	attended map[string]bool     // kinds of alarms that the case makes
}

func newWorld(t *testing.T, on ...disk) *world {
	t.Helper()
	dir := scratch(t)
	logKey, err := key.Generate()
	must(t, err)
	connector, err := key.Generate()
	must(t, err)
	record := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: connector.Public()}
	s, err := service.Open(service.Config{Data: dir, Key: logKey, Connector: record, Version: "test"})
	must(t, err)
	cert, pin, err := transport.SelfSigned(dir, []string{"127.0.0.1"})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, s.SetAddress("https://"+l.Addr().String(), pin[:]))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}},
			transport.NewHandler(s, transport.Limits{Drain: time.Second, PublicRate: 1e6}, slog.New(slog.DiscardHandler)))
	}()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	return &world{t: t, on: on, settled: map[[32]byte]string{}, attended: map[string]bool{},
		inviter: &service.Inviter{Data: dir, LogKey: logKey.Public(), Connector: connector, Device: record, Clock: time.Now}}
}

// A device is a home with one volume.
type device struct {
	*owner.Owner
	t    *testing.T
	w    *world
	name string
	disk disk
	home home.Dir
	dir  string // the folder that is kept in step
	out  string // a folder beside it, which nobody may touch
	was  string // what is in it

	noted map[string]string // files whose content was noted, by path: what stat said of them

	runs    bool      // as a daemon does
	caps    tree.Caps // of its disk, as it was opened last
	hooks   []func(engine.Volume) engine.Volume
	late    time.Duration // by how much the device's clock is ahead
	service engine.Service
}

// device enrols the next device of the member. Its folder is made, and not
// added yet.
func (w *world) device(name string) *device {
	w.t.Helper()
	on := w.on[min(len(w.devices), len(w.on)-1)]
	d := &device{t: w.t, w: w, name: name, disk: on, noted: map[string]string{}, home: home.Dir(filepath.Join(scratch(w.t), "home"))}
	top := on.folder(w.t)
	d.dir, d.out = filepath.Join(top, name), filepath.Join(top, "beside")
	must(w.t, os.Mkdir(d.dir, 0o755))
	must(w.t, os.MkdirAll(filepath.Join(d.out, "sub"), 0o755))
	for _, f := range []string{"precious", "sub/precious"} {
		must(w.t, os.WriteFile(filepath.Join(d.out, f), []byte("not of any volume"), 0o644))
	}
	d.was = outside(w.t, d.out)
	o := account.Options{Home: d.home, Use: keystore.Never, Now: time.Now, Name: name, Version: "test"}
	if len(w.devices) == 0 {
		w.join(o)
	} else {
		w.link(o)
	}
	d.open()
	w.t.Cleanup(func() { d.Close() })
	w.devices = append(w.devices, d)
	return d
}

func (w *world) join(o account.Options) {
	i, err := w.inviter.Invite("alice")
	must(w.t, err)
	invite, err := ring.ParseInvite(i.URL)
	must(w.t, err)
	j, err := account.Redeem(w.t.Context(), o, invite)
	must(w.t, err)
	must(w.t, j.Close())
}

// link has the first device take the next one in.
func (w *world) link(o account.Options) { w.t.Helper(); w.linkBy(w.devices[0], o) }

// linkBy has a device's program take the next one in: what another program signed
// with its keys would count as a twin's.
func (w *world) linkBy(f *device, o account.Options) {
	w.t.Helper()
	g, err := account.Give(w.t.Context(), f.Account, f.Keys, f.Engine, f.Client, time.Now().Add(time.Minute))
	must(w.t, err)
	codes := make(chan enrol.Code, 1)
	added := make(chan error, 1)
	go func() {
		_, err := g.Add(w.t.Context(), func(_ context.Context, q enrol.Request) (bool, error) { return q.Code == <-codes, nil })
		added <- err
	}()
	j, err := account.LinkByURL(w.t.Context(), o, g.Invitation, func(_ context.Context, _ string, c enrol.Code) (bool, error) {
		codes <- c
		return true, nil
	})
	must(w.t, err)
	must(w.t, <-added)
	j.Close()
}

// open opens the home, as the start of a program does.
func (d *device) open() {
	d.t.Helper()
	var err error
	d.Owner, err = owner.Open(d.home, "test")
	must(d.t, err)
	d.Engine.Now = func() time.Time { return time.Now().Add(d.late) }
	d.service = d.Engine.Service
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		if err == nil {
			d.caps = v.Caps()
			for _, h := range d.hooks {
				v = h(v)
			}
		}
		return v, err
	}
	must(d.t, d.Engine.LoadVolumes())
}

// again ends the device's program and starts it anew.
func (d *device) again() {
	d.t.Helper()
	d.Close()
	d.open()
}

// hook puts something between engine and disk, from the next start on.
func (d *device) hook(h func(engine.Volume) engine.Volume) {
	d.hooks = append(d.hooks, h)
	d.again()
}

// add keeps the device's folder in step with the world's region.
func (d *device) add() {
	d.t.Helper()
	ctx := d.t.Context()
	if d.w.region == (signet.RegionID{}) {
		id, _, err := d.Engine.MakeRegion(ctx, "R")
		must(d.t, err)
		d.w.region = id
	}
	must(d.t, d.Engine.Discover(ctx))
	must(d.t, d.CreateVolume(ctx, d.dir, d.w.region, false))
}

// relink says that the device's folder is the volume's, whatever it was before.
func (d *device) relink() {
	d.t.Helper()
	must(d.t, d.CreateVolume(d.t.Context(), d.dir, d.w.region, true))
}

// rereads says what reading all of the device's files once more finds.
func (d *device) rereads(want ...engine.FileTrouble) {
	d.t.Helper()
	r, err := d.Engine.Reread(d.t.Context(), nil)
	must(d.t, err)
	if !slices.Equal(r.Faults, want) || r.Files == 0 {
		d.t.Errorf("%s: of %d files and more are not as they were hashed: %v, want %v", d.name, r.Files, r.Faults, want)
	}
}

// most is how long one pass of sync may take (U4).
const most = 60 * time.Second

// try is a pass of sync, or, where the device runs, all that it does until it is
// in step. What is settled on the disk as it begins is noted.
func (d *device) try() (engine.Counters, error) {
	d.t.Helper()
	d.note()
	if d.runs {
		before := d.counters()
		d.rest()
		return d.counters().Minus(before), nil
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), most)
	defer cancel()
	c, err := d.Engine.SyncVolume(ctx, d.volume().ID)
	if ctx.Err() != nil {
		d.t.Fatalf("%s: does not end: %v, status %+v", d.name, err, d.status())
	}
	return c, err
}

func (d *device) sync() engine.Counters {
	d.t.Helper()
	c, err := d.try()
	if err != nil {
		d.t.Fatalf("sync of %s: %v; %+v", d.name, err, d.status())
	}
	return c
}

func (d *device) volume() engine.VolumeInfo   { return d.Engine.Volumes()[0] }
func (d *device) status() engine.VolumeStatus { return d.Engine.VolumeStatus(d.volume().ID) }
func (d *device) path(name string) string     { return filepath.Join(d.dir, name) }
func (d *device) counters() engine.Counters   { return d.status().Counters }
func (w *world) sync()                        { w.t.Helper(); w.each(func(d *device) { d.sync() }) }
func (w *world) each(f func(d *device)) {
	w.t.Helper()
	for _, d := range w.devices {
		f(d)
	}
}

// run keeps the device's volumes in step, as a daemon does, until stop is
// called or the test ends.
func (d *device) run() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	e := d.Engine
	go func() { done <- e.Run(ctx) }()
	d.runs = true
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended, d.runs = true, false
		cancel()
		select {
		case err := <-done:
			if err != nil {
				d.t.Errorf("the daemon of %s ended with %v", d.name, err)
			}
		case <-time.After(30 * time.Second):
			d.t.Errorf("the daemon of %s does not end", d.name)
		}
	}
	d.t.Cleanup(stop)
	return stop
}

// rest waits until the running device's volume is in step.
func (d *device) rest() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), most)
	defer cancel()
	for {
		changed := d.Engine.Changed()
		s, err := d.Engine.Settle(ctx, d.volume().ID)
		if err != nil {
			d.t.Fatalf("%s: %v in state %s: %s, problems %+v", d.name, err, s.State, s.Reason, s.Problems)
		}
		if s.State == engine.InStep {
			d.note()
			return
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// eventually waits for a condition.
func (d *device) eventually(what string, cond func() bool) {
	d.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			d.t.Fatalf("%s: never %s; %+v; the folder has\n%s", d.name, what, d.status(), d.listing())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// indexes are the files of the device's index.
func (d *device) indexes() []string {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(string(d.home), "organisations", "*", "index.db*"))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("no index: %v", err)
	}
	return files
}

// lose is the loss of the device's index, after which its folder is added anew.
func (d *device) lose() {
	d.t.Helper()
	d.Close()
	for _, f := range d.indexes() {
		must(d.t, os.Remove(f))
	}
	d.open()
	must(d.t, d.Engine.Discover(d.t.Context()))
	d.relink()
}
