package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/device/engine"
	"signet/device/ignore"
	"signet/service"
	"signet/transport"
)

// An organisation is one with a region, made once and copied for every run:
// making it takes longer than running it.
type organisation struct {
	dir    string
	log    *key.Private
	region signet.RegionID
	selves []region.Self
	late   *newcomer
}

// A newcomer has keys, and is in the ring from some moment of a run on.
type newcomer struct {
	self   region.Self
	device *ring.Device
	agrees []byte
}

const most = 4 // devices

const regionName = "Sim"

// found makes an organisation of one member in dir.
func found(t *testing.T, dir string) *organisation {
	t.Helper()
	ctx := t.Context()
	o := &organisation{dir: dir}
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var err error
	o.log, err = key.Generate()
	must(err)
	o.log.RememberOwn()
	s := o.serve(t, o.serviceDir())
	defer s.Close()
	must(s.SetAddress("https://127.0.0.1:1", nil))
	inviter := &service.Inviter{Data: o.serviceDir(), LogKey: o.log.Public(), Clock: time.Now}
	i, err := inviter.Invite("owner")
	must(err)
	invite, err := ring.ParseInvite(i.URL)
	must(err)

	var devices []*ring.Device
	keys := func() (*ring.Device, region.Self) {
		signer, err := key.Generate()
		must(err)
		opener, err := seal.New()
		must(err)
		d := &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: signer.Public(), Seal: opener.Public()}
		return d, region.Self{Device: d.ID(), Signer: signer, Opener: opener}
	}
	for n := range most {
		d, self := keys()
		self.Label = deviceName(n)
		devices = append(devices, d)
		o.selves = append(o.selves, self)
	}
	founder := region.Founder{Device: devices[0], Signer: o.selves[0].Signer}
	root, org, err := founder.Root(o.log.Public(), invite.Secret)
	must(err)
	_, err = s.Enrol(ctx, root, time.Now().UnixMilli())
	must(err)
	genesis, ringID, err := founder.Genesis(org, nil, nil)
	must(err)
	_, err = s.Enrol(ctx, genesis, time.Now().UnixMilli())
	must(err)
	for n := range o.selves {
		o.selves[n].Org, o.selves[n].Ring = org, ringID
	}
	for n := range most {
		must(os.MkdirAll(filepath.Join(dir, deviceName(n)), 0o700))
	}
	x, err := o.connect(t, s, 0)
	must(err)
	first, store := o.open(t, 0, filepath.Join(dir, deviceName(0)), x, nil, nil, nil, nil)
	for n := 1; n < most; n++ {
		agrees, err := ring.SignNewcomer(o.selves[n].Signer, org, ringID, devices[n])
		must(err)
		must(first.AppendStatement(ctx, func(dir *ring.State, keys *region.Keys) (signet.Record, error) {
			return o.selves[0].Add(dir, keys, devices[n], agrees)
		}))
	}
	o.region, _, err = first.MakeRegion(ctx, regionName)
	must(err)
	must(store.Close())
	for n := range most {
		x, err := o.connect(t, s, n)
		must(err)
		d, store := o.open(t, n, filepath.Join(dir, deviceName(n)), x, nil, nil, nil, nil)
		must(d.Discover(ctx))
		must(d.AddVolume("v", "/", o.region))
		must(store.Close())
	}
	late, self := keys()
	self.Org, self.Ring = org, ringID
	agrees, err := ring.SignNewcomer(self.Signer, org, ringID, late)
	must(err)
	o.late = &newcomer{self, late, agrees}
	return o
}

// with is the organisation with the newcomer as the device of a number, which is not in
// the ring yet.
func (o *organisation) with(n int) *organisation {
	x := *o
	x.selves = append(slices.Clone(o.selves[:n]), o.late.self)
	x.selves[n].Label = deviceName(n)
	return &x
}

func deviceName(n int) string { return string(rune('a' + n)) }

func (o *organisation) serviceDir() string { return filepath.Join(o.dir, "service") }

func (o *organisation) serve(t *testing.T, dir string) *service.Service {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := service.Open(service.Config{Data: dir, Key: o.log, Version: "sim"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect opens a device's session with a service.
func (o *organisation) connect(t *testing.T, s *service.Service, n int) (transport.Session, error) {
	t.Helper()
	self, binding := o.selves[n], make([]byte, 32)
	sig, err := self.Signer.Sign(key.LabelConnection, binding)
	if err != nil {
		t.Fatal(err)
	}
	return s.Connect(t.Context(), self.Device, binding, sig)
}

// open begins a device's program.
func (o *organisation) open(t *testing.T, n int, home string, s engine.Service, folder engine.Volume, step func(string), alarm func(n int, kind, message string, evidence []byte), kept *engine.Kept) (*engine.Device, *engine.Store) {
	t.Helper()
	store, err := engine.OpenStore(filepath.Join(home, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := engine.Open(engine.Config{
		Self: o.selves[n], Service: s, Store: store, Kept: kept, Now: time.Now, LogKeys: chain.KeysHash(o.log.Public()), Owner: true,
		Alarm: func(kind, message string, evidence []byte) string {
			if alarm == nil {
				t.Errorf("%s: alarm: %s: %s", deviceName(n), kind, message)
			} else {
				alarm(n, kind, message, evidence)
			}
			return ""
		},
		OpenVolume: func(string) (engine.Volume, error) { return folder, nil },
		Classify:   classify,
		Hands:      1, KeepAfter: 20,
		Step: step,
	})
	if err != nil {
		t.Fatalf("%s: open: %v", deviceName(n), err)
	}
	return d, store
}

// A device is a disk, a home, and whatever program runs on them now.
type device struct {
	*run
	n     int
	name  string
	disk  *disk
	home  string
	gens  int // homes so far: a crash goes on with a copy of the index as it was
	rnd   *rand.Rand
	taste *rand.Rand // of its user, who chooses while the engine works
	whim  *rand.Rand // of its user, who takes back and says what is ignored
	line  *line

	blind    bool  // its disk cannot be watched
	chooses  bool  // its user selects and unselects
	ignores  bool  // its user changes what is ignored
	brings   bool  // its user takes things back
	ruled    int   // how often the rules were changed here
	sick     error // of its disk
	gone     bool  // revoked
	coming   bool  // it is not in the ring yet
	stagings map[string]*staged
	kept     *engine.Kept        // of what was sent; nil: nothing
	safe     map[string]bool     // contents that a pass of this device saw from its beginning to its end
	moved    map[string][]string // contents that its user moved since they were in step, and all names they had
}

// copyHome makes the index as it is now the one that the next life opens.
func (d *device) copyHome() {
	d.gens++
	next := filepath.Join(d.dir, fmt.Sprintf("%s-%d", d.name, d.gens))
	if err := copyFiles(d.home, next); err != nil {
		d.t.Fatal(err)
	}
	d.home = next
}

// older is somebody who brings an older copy of the index back, now and then.
func (d *device) older() {
	if d.gens < 2 || d.rnd.IntN(12) > 0 {
		return
	}
	d.note(d.name + ": the index is an older one")
	d.aged = true
	d.home = filepath.Join(d.dir, fmt.Sprintf("%s-%d", d.name, 1+d.rnd.IntN(d.gens-1)))
	d.copyHome()
}

// copyFiles copies a folder, with what SQLite has in it.
func copyFiles(from, to string) error {
	copyMemory(from, to)
	return filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// begin starts a program, which has its folder. The disk is watched by it alone.
func (d *device) begin(l *life, flaky int) (*engine.Device, *engine.Store) {
	d.do(d.name+".look", "begins", nil, func() {
		d.disk.watch = nil
		d.told() // one that was killed between two passes asked once more
	})
	folder := &folderOf{disk: d.disk, life: l, volume: "v", region: d.org.region.String(), stagings: d.stagings, blind: d.blind}
	d.line = &line{w: d.world, run: d.run, n: d.n, name: d.name, rnd: d.rnd, flaky: flaky}
	d.line.life.Store(l)
	e, store := d.org.open(d.t, d.n, d.home, d.line, folder, func(what string) { d.do(d.name+".asks", what, l, func() {}) }, d.alarm, d.kept)
	if err := e.LoadVolumes(); err != nil {
		d.t.Errorf("%s: %v", d.name, err)
	}
	return e, store
}

// live runs one program until it crashes or has done some passes: either one
// after the other, or as a daemon that is asked so often whether it is in step.
func (d *device) live(passes int, daemon bool, l *life) {
	ctx, cancel := context.WithCancel(d.t.Context())
	defer cancel()
	l.onCrash = func() {
		d.told()
		d.note(d.name + ": the program is killed")
		d.line.life.Store(nil)
		d.copyHome()
		if d.rnd.IntN(2) == 0 {
			d.cut()
		}
		cancel()
	}
	e, store := d.begin(l, d.flaky)
	defer store.Close()
	if daemon {
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				d.t.Errorf("%s: daemon: %v", d.name, err)
			}
		}()
	}
	if d.n == 0 && d.revoke != nil {
		gone := *d.revoke
		d.devices[gone].gone = true // from now on it may be
		if err := d.retire(ctx, e, gone); err == nil {
			d.note(d.name + ": revoked " + deviceName(gone))
			d.revoke = nil
		}
	}
	if d.n == 0 && d.link != nil {
		if err := d.admit(ctx, e); err == nil || errors.Is(err, errThere) {
			d.note(d.name + ": linked " + d.link.name)
			d.link.coming, d.link = false, nil
		}
	}
	defer func() {
		if !l.dead.Load() {
			d.noticed(e)
		}
	}()
	last := false
	for range passes {
		if last {
			return // settle looks at the rest
		}
		last = d.shape.ends && d.working.Load() == 0
		if d.chooses && d.taste.IntN(4) == 0 {
			d.choose(e)
		}
		if d.ignores && d.whim.IntN(6) == 0 {
			d.rule()
		}
		if d.brings && d.whim.IntN(6) == 0 {
			if err := d.bring(ctx, e, l); err != nil {
				d.t.Errorf("%s: taking back: %v", d.name, err)
			}
		}
		before := d.seen()
		var err error
		if daemon {
			err = d.ask(ctx, e)
		} else {
			_, err = e.SyncVolume(ctx, "v")
		}
		if l.dead.Load() {
			return
		}
		switch {
		case err == nil:
			d.passed(before, e)
		case d.stands(e, l, err):
			return
		case d.gone && errors.Is(err, signet.ErrNotAllowed):
			return
		case !errors.Is(err, signet.ErrUnavailable) && (d.sick == nil || !errors.Is(err, d.sick)):
			d.t.Errorf("%s: sync: %v", d.name, err)
			return
		}
		time.Sleep(upTo(d.rnd, d.shape.between))
	}
}

var errBusy = fmt.Errorf("not in step yet: %w", signet.ErrUnavailable)

// ask asks a daemon whether it is in step.
func (d *device) ask(ctx context.Context, e *engine.Device) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	st, err := e.Settle(ctx, "v")
	if ctx.Err() != nil || err == nil && st.State != engine.InStep {
		return errBusy
	}
	return err
}

// retire has the owner remove another device.
func (d *device) retire(ctx context.Context, e *engine.Device, gone int) error {
	self := d.org.selves[d.n]
	return e.AppendStatement(ctx, func(s *ring.State, k *region.Keys) (signet.Record, error) {
		return self.Revoke(s, k, d.org.selves[gone].Device, time.Now().UnixMilli())
	})
}

// admit has the owner take a newcomer into the ring, whose answer may get lost.
func (d *device) admit(ctx context.Context, e *engine.Device) error {
	return e.AppendStatement(ctx, func(s *ring.State, k *region.Keys) (signet.Record, error) {
		if s.Device(d.org.late.self.Device) != nil {
			return signet.Record{}, errThere
		}
		return d.org.selves[d.n].Add(s, k, d.org.late.device, d.org.late.agrees)
	})
}

var errThere = errors.New("it is in the ring")

// trouble is what a disk does to the engine while it is in a bad mood.
func (d *device) trouble(op, _ string) error {
	if d.sick == nil || d.rnd.IntN(20) > 0 {
		return nil
	}
	switch {
	case d.sick == errNoSpace && !slices.Contains([]string{"stage", "write", "place", "replace", "mkdir", "link"}, op):
		return nil // what takes room, fails
	case op == "check":
		return nil
	}
	if op == "list" || op == "stat" {
		d.hidden = true
	}
	return fmt.Errorf("%s: %w", op, d.sick)
}

// cut takes the power. What a user saved and no disk or service had yet is lost
// with right.
func (d *device) cut() {
	d.note(d.name + ": the power is cut")
	before := d.disk.contents()
	tore := d.disk.powerCut(d.rnd)
	after := d.disk.contents()
	for c := range before {
		if !after[c] {
			d.removed[c] = true
			d.forgive(c)
		}
	}
	// A file that the engine had taken from the disk, as it is not selected, and that is
	// back torn, is an edit. What it had is in the history, where it has to be.
	for c := range tore {
		if !after[c] {
			d.removed[c] = true
		}
	}
	// What it tore nobody saved, and who copies that does not either.
	for c := range after {
		if !before[c] {
			d.torn[c], d.written[c] = true, true
			delete(d.owed, c)
		}
	}
}

// passed notes what a pass that went well has seen for all of its time. A file
// that programs go on writing to is not among what is said to be safe, nor one that
// was moved meanwhile, which a look at one folder after another may not meet.
func (d *device) passed(before map[string]string, e *engine.Device) {
	if st := e.VolumeStatus("v"); !d.troubled(st.Problems) && st.SafeFiles == st.Files {
		d.do(d.name+".look", "after", nil, func() { d.keepSafe(before) })
	}
}

// seen is what the device's files have.
func (d *device) seen() (m map[string]string) {
	d.do(d.name+".look", "before", nil, func() { m = d.observed() })
	return m
}

func (d *device) keepSafe(before map[string]string) {
	now := d.observed()
	for _, p := range sortedKeys(now) {
		if c := now[p]; before[p] == c {
			if !d.safe[c] {
				d.note(fmt.Sprintf("%s: safe is %.12q", d.name, c))
			}
			d.safe[c] = true
			delete(d.moved, c) // the region has it where it is now
		}
	}
}

// A line is the way from a device to the service.
type line struct {
	w     *world
	run   *run
	n     int
	name  string
	life  atomic.Pointer[life] // of the program; nil once it was killed
	rnd   *rand.Rand
	flaky int // one in so many requests is lost, on its way there or back; 0: none
}

var errLost = fmt.Errorf("the network lost it: %w", signet.ErrUnavailable)

func (l *line) call(ctx context.Context, what string, f func(ctx context.Context, s transport.Session) error) error {
	return l.callFor(ctx, what, "", f)
}

// callFor makes a request, which once it is on its way nobody takes back: whether
// a service that has it looks first at it or at who gave up waiting is chance.
func (l *line) callFor(ctx context.Context, what, more string, f func(ctx context.Context, s transport.Session) error) (err error) {
	ctx = context.WithoutCancel(ctx)
	var late time.Duration
	if e := l.w.doOne(&step{who: l.name + ".net", what: what, more: more, life: l.life.Load(), grant: make(chan error)}, func() {
		lost := l.flaky > 0 && l.rnd.IntN(l.flaky) == 0
		if lost { // and the connection with it, which is the session
			defer l.run.hangUp(l.n)
		}
		back := lost && l.rnd.IntN(2) == 0
		if lost && !back {
			err = errLost
			return
		}
		s, e := l.run.session(l.n)
		if err = e; err == nil {
			err = f(ctx, s)
		}
		if back {
			err = errLost
			l.run.devices[l.n].told() // it never heard of it
		}
		if l.run.slow > 0 {
			late = time.Duration(l.run.lag.Int64N(int64(l.run.slow)))
		}
	}); e != nil {
		return e
	}
	time.Sleep(late)
	return err
}

func (l *line) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (receipt signet.Receipt, err error) {
	err = l.call(ctx, "append", func(ctx context.Context, s transport.Session) (err error) {
		if l.run.liar.about(l.n, ignores) {
			return fmt.Errorf("not now: %w", signet.ErrUnavailable)
		}
		receipt, err = s.Append(ctx, log, r, sent)
		if err == nil {
			receipt = l.run.liar.receipt(l.n, receipt)
		}
		return err
	})
	return receipt, err
}

func (l *line) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (p signet.Page, err error) {
	err = l.call(ctx, fmt.Sprintf("read %d from %d", log.Kind, from), func(ctx context.Context, s transport.Session) (err error) {
		if p, err = s.Read(ctx, log, from, parts); err == nil {
			p = l.run.liar.page(l.n, p, true)
		}
		return err
	})
	return p, err
}

// Wait ends with the service, or with what the network does at some time.
func (l *line) Wait(ctx context.Context, heads map[signet.LogID]uint64, each func(signet.Page) error, _ func(signet.Glimpse)) error {
	var end time.Duration
	if err := l.call(ctx, "wait", func(context.Context, transport.Session) error {
		if l.flaky > 0 {
			end = time.Duration(1+l.rnd.IntN(60)) * time.Second
		}
		return nil
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if end > 0 {
		t := time.AfterFunc(end, cancel)
		defer t.Stop()
	}
	defer l.run.waits(cancel)()
	s, err := l.run.session(l.n)
	if err != nil {
		return err
	}
	err = s.Wait(ctx, heads, func(p signet.Page) error {
		if ctx.Err() != nil { // and it was chance that a page came first
			return errLost
		}
		// That it came is a step too: else it would race with the answer to
		// whoever caused it.
		if err := l.w.do(l.name+".net", "news", l.life.Load(), func() { p = l.run.liar.page(l.n, p, false) }); err != nil {
			return err
		}
		return each(p)
	}, nil)
	if ctx.Err() != nil {
		return errLost
	}
	return err
}

func (l *line) Have(ctx context.Context, r signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	err = l.call(ctx, fmt.Sprintf("have %d", len(ids)), func(ctx context.Context, s transport.Session) (err error) {
		missing, err = s.Have(ctx, r, ids)
		return err
	})
	return missing, err
}

func (l *line) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	return l.callFor(ctx, fmt.Sprintf("put %d", len(objects)), fmt.Sprintf("%x", sha256.Sum256(bytes.Join(objects, nil))), func(ctx context.Context, s transport.Session) error { return s.Put(ctx, r, objects) })
}

// Show is for files longer than any here.
func (l *line) Show(context.Context, signet.RegionID, []byte) (bool, error) {
	return false, errors.ErrUnsupported
}

func (l *line) Get(ctx context.Context, r signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	type object struct {
		id     signet.ObjectID
		b      []byte
		spoilt bool
	}
	var got []object // calling each wants steps of its own
	err := l.callFor(ctx, fmt.Sprintf("get %d", len(ids)), fmt.Sprint(ids), func(ctx context.Context, s transport.Session) error {
		return s.Get(ctx, r, ids, func(id signet.ObjectID, b []byte) error {
			b, spoilt := l.run.liar.object(l.n, append([]byte(nil), b...))
			got = append(got, object{id, b, spoilt})
			return nil
		})
	})
	for _, o := range got {
		if err != nil { // it looks at no more of them
			break
		}
		if o.spoilt {
			l.run.liar.told[l.n] = "a spoilt object"
		}
		err = each(o.id, o.b)
	}
	return err
}

func (l *line) Recovering(ctx context.Context) (logs []signet.LogID, err error) {
	err = l.call(ctx, "recovering", func(ctx context.Context, s transport.Session) (err error) {
		logs, err = s.Recovering(ctx)
		return err
	})
	return logs, err
}

func (l *line) Reoffer(ctx context.Context, o signet.Reoffer) (size uint64, whole bool, err error) {
	err = l.callFor(ctx, "re-offer", fmt.Sprint(o.Log, o.From), func(ctx context.Context, s transport.Session) (err error) {
		size, whole, err = s.Reoffer(ctx, o)
		return err
	})
	return size, whole, err
}

func (l *line) Usage(ctx context.Context, region signet.RegionID) (u signet.Usage, err error) {
	err = l.call(ctx, "usage", func(ctx context.Context, s transport.Session) (err error) {
		u, err = s.Usage(ctx, region)
		return err
	})
	return u, err
}

func (l *line) PutRecord(ctx context.Context, record []byte) error {
	return l.call(ctx, "put record", func(ctx context.Context, s transport.Session) error { return s.PutRecord(ctx, record) })
}

func (l *line) Records(ctx context.Context, owner [32]byte) (list [][]byte, err error) {
	err = l.call(ctx, "records", func(ctx context.Context, s transport.Session) (err error) {
		list, err = s.Records(ctx, owner)
		return err
	})
	return list, err
}

// A run is one seed's world with its devices and service.
type run struct {
	*world
	shape   shape
	t       *testing.T
	org     *organisation
	dir     string
	devices []*device
	flaky   int

	mu       sync.Mutex
	service  *service.Service
	sessions map[int]transport.Session
	serviceN int
	streams  map[int]context.CancelFunc
	nth      int
	revoke   *int              // the device that the owner is to remove
	link     *device           // that the owner is to link
	slow     time.Duration     // the network: answers take so long, at most
	lag      *rand.Rand        // how long each takes
	owed     map[string]string // contents that users saved, and where
	hidden   bool              // some folder could not be looked at, at some time
	removed  map[string]bool   // contents that somebody did away with somewhere, or a power cut did
	hid      map[string]string // contents that users moved to where they may be ignored, and from where
	torn     map[string]bool   // contents that are what a power cut left
	programs map[*device]*program
	liar     *liar           // the service, where it will lie
	backs    bool            // the service is to go back to a backup
	restored bool            // and did
	aged     bool            // an older index was brought back
	trusted  bool            // the service is honest, and everybody was told so
	written  map[string]bool // contents that users wrote, or that a power cut left of them
	words    []string        // names that users give, where a disk may fold them; nil: names
	rules    []*ignore.Rules // that any device had, as far as that is known
	verbs    atomic.Int32
	working  atomic.Int32 // users that are not through
}

// waits has a stream end with the service, until the function that it returns
// is called.
func (r *run) waits(cancel context.CancelFunc) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nth++
	n := r.nth
	r.streams[n] = cancel
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.streams, n)
	}
}

// hangUp ends a device's session.
func (r *run) hangUp(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, n)
}

func (r *run) session(n int) (transport.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[n] == nil {
		shown := r.service
		if r.liar.about(n, forks) {
			shown = r.liar.fork
		}
		s, err := r.org.connect(r.t, shown, n)
		if err != nil {
			return nil, err
		}
		r.sessions[n] = s
	}
	return r.sessions[n], nil
}

// restart kills the service and begins another one on what it left.
func (r *run) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN+1))
	if err := copyFiles(filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN)), next); err != nil {
		r.t.Fatal(err)
	}
	for _, n := range sortedKeys(r.streams) {
		r.streams[n]() // in this order: each draws when it is to try again
	}
	r.service.Close()
	r.serviceN++
	r.service, r.sessions = r.org.serve(r.t, next), map[int]transport.Session{}
}

// rest ends the service, lets time pass, and begins it again on the same data. A
// service that runs looks every few seconds for something to do: over weeks in
// which nobody asks for anything that was most of a run's work. Nobody else may
// be at work.
func (r *run) rest(long time.Duration) {
	for _, n := range sortedKeys(r.streams) {
		r.streams[n]()
	}
	r.service.Close()
	time.Sleep(long)
	r.sessions = map[int]transport.Session{}
	r.service = r.org.serve(r.t, filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN)))
}

// forgive says that a content is not owed any more, unless some device had it
// safe.
func (r *run) forgive(c string) {
	for _, d := range r.devices {
		if d.safe[c] {
			return
		}
	}
	delete(r.owed, c)
}
