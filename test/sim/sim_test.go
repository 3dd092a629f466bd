package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"signet/core/seal"
	"signet/core/tree"
	"signet/device/engine"
	"signet/transport"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "run this seed alone, and show its steps")
	firstSeed = flag.Uint64("first", 1, "the first of the seeds")
	seeds     = flag.Uint64("seeds", 12, "how many seeds")
	seconds   = flag.Int("seconds", 0, "as many seeds as there is time for, instead")
	workers   = flag.Uint64("workers", 1, "processes that share the seeds")
	stride    = flag.Uint64("stride", 1, "from one seed to the next")
	mostVerbs = flag.Int("verbs", 1000, "what each user does at most")
	mostUsers = flag.Int("devices", most, "devices at most")
	lieKind   = flag.String("lie", "", "the service does so in every run: "+strings.Join(append(lies, restores), ", "))
	without   = flag.String("without", "", "troubles that are left out, with commas between them: "+strings.Join(troubles, ", "))
)

// troubles are what a failing seed is tried without, to find what it takes.
var troubles = []string{"years", "horizon", "select", "ignore", "restore", "lie", "backup", "crash", "sick", "lost", "older", "restart", "revoke", "link", "slow", "coarse", "reuse", "blind", "fold"}

// off reports whether a trouble is left out. What a seed draws stays the same.
func off(trouble string) bool { return slices.Contains(strings.Split(*without, ","), trouble) }

// scratch is where homes and services lie: in memory, where that can be had.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "signet-sim-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { dropMemory(dir); os.RemoveAll(dir) })
	return dir
}

// once makes the organisation that all runs begin with.
func once(t *testing.T) (o *organisation) {
	t.Helper()
	dir := scratch(t)
	t.Run("found", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 0)
		bubble(t, func(t *testing.T) { o = found(t, dir) })
	})
	return o
}

func TestSeeds(t *testing.T) {
	if *workers > 1 {
		share(t)
		return
	}
	o := once(t)
	if *oneSeed != 0 {
		simulate(t, o, *oneSeed, true)
		return
	}
	most := *seeds
	if testing.Short() {
		most = min(most, 2)
	}
	began, runs, steps, verbs := time.Now(), uint64(0), 0, 0
	for seed := *firstSeed; ; seed += *stride {
		if took := time.Since(began); *seconds > 0 && took > time.Duration(*seconds)*time.Second || *seconds == 0 && runs == most {
			break
		}
		failed := t.Failed()
		r := simulate(t, o, seed, false)
		if t.Failed() && !failed {
			shrink(t, seed)
		}
		runs, steps, verbs = runs+1, steps+r.steps, verbs+int(r.verbs.Load())
	}
	t.Logf("%d seeds from %d by %d: %d verbs, %d steps, %.1f seeds a second", runs, *firstSeed, *stride, verbs, steps, float64(runs)/time.Since(began).Seconds())
}

// share lets several processes run a part of the seeds each.
func share(t *testing.T) {
	var wg sync.WaitGroup
	for n := range *workers {
		wg.Go(func() {
			out, err := exec.Command(os.Args[0], "-test.run=^TestSeeds$", "-test.timeout=0", "-test.v", fmt.Sprint("-first=", *firstSeed+n), fmt.Sprint("-stride=", *workers),
				fmt.Sprint("-seeds=", (*seeds+*workers-1-n) / *workers), fmt.Sprint("-seconds=", *seconds), "-lie="+*lieKind, "-without="+*without).CombinedOutput()
			for l := range strings.Lines(string(out)) {
				if err != nil || strings.Contains(l, " seeds a second") {
					t.Log(strings.TrimRight(l, "\n"))
				}
			}
			if err != nil {
				t.Errorf("worker %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

// taught are seeds that failed, and what of (doc/design/0022-simulation.md). They mean
// something else once the world around them changed.
var taught = []uint64{
	62,        // things below a file
	20_051,    // a loop that never slept
	20_203,    // an entry that rests on another history
	1_000_763, // somebody chose with an older index, before it met its folder
}

func TestSeedsThatFailed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	o := once(t)
	for _, seed := range taught {
		simulate(t, o, seed, false)
	}
}

// shrink finds fewer troubles, devices and verbs with which a seed still fails:
// the trouble that is over first is the easiest to follow.
func shrink(t *testing.T, seed uint64) {
	args := []string{"-seed", fmt.Sprint(seed)}
	if *lieKind != "" {
		args = append(args, "-lie", *lieKind)
	}
	fails := func(more ...string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return exec.CommandContext(ctx, os.Args[0], append(append([]string{"-test.run=^TestSeeds$"}, args...), more...)...).Run() != nil && ctx.Err() == nil
	}
	if !fails() {
		t.Logf("seed %d does not fail again", seed)
		return
	}
	var left []string
	for _, x := range troubles {
		if with := strings.Join(append(left, x), ","); fails("-without", with) {
			left = append(left, x)
		}
	}
	if len(left) > 0 {
		args = append(args, "-without", strings.Join(left, ","))
	}
	for n := 2; n < most; n++ {
		if fails("-devices", fmt.Sprint(n)) {
			args = append(args, "-devices", fmt.Sprint(n))
			break
		}
	}
	verbs := 81
	for step := 40; step > 0; step /= 2 {
		if n := verbs - step; n > 0 && fails("-verbs", fmt.Sprint(n)) {
			verbs = n
		}
	}
	t.Logf("smaller: go test ./test/sim -run TestSeeds -args %s -verbs %d", strings.Join(args, " "), verbs)
}

// bubble runs f with a clock of its own. Coders that the last run left in pools have
// channels of its bubble: two collections empty the pools.
func bubble(t *testing.T, f func(t *testing.T)) {
	runtime.GC()
	runtime.GC()
	synctest.Test(t, f)
}

// simulate runs one seed and holds it against the laws.
func simulate(t *testing.T, o *organisation, seed uint64, tracing bool) (r *run) {
	t.Helper()
	ok := t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
		defer func() {
			if t.Failed() {
				t.Logf("again: go test ./test/sim -run TestSeeds -args -seed %d", seed)
			}
		}()
		cryptotest.SetGlobalRandom(t, seed)
		bubble(t, func(t *testing.T) {
			r = newRun(t, o, seed)
			r.tracing = tracing
			for _, d := range r.devices {
				if d.disk.letters.fold {
					r.note(fmt.Sprintf("%s: the disk is %+v", d.name, d.disk.letters))
				}
			}
			defer func() {
				if t.Failed() && tracing {
					for i, l := range r.trace {
						t.Logf("%4d %s", i, l)
					}
				}
				r.close()
				r.liar.close()
				r.service.Close()
			}()
			r.play(seed)
			r.honest()
			ignored := r.ignoredNow()
			r.settle()
			r.stayed(ignored)
			r.regionKeeps()
			if r.showSelected() {
				r.settle()
			}
			r.unrule()
			r.anew()
			r.laws()
			r.close()
			if testing.Verbose() {
				t.Logf("%d: %d steps, %s", seed, r.steps, r.digest())
			}
			if seed%r.shape.years == 0 && !off("years") && !r.restored {
				r.years(seed%(2*r.shape.years) == 0 && !off("horizon"))
			}
		})
	})
	if !ok && r == nil {
		t.FailNow()
	}
	return r
}

func newRun(t *testing.T, o *organisation, seed uint64) *run {
	dir := scratch(t)
	r := &run{world: newWorld(seed), shape: shapeOf(seed), t: t, org: o, dir: dir, sessions: map[int]transport.Session{}, streams: map[int]context.CancelFunc{}, programs: map[*device]*program{}, owed: map[string]string{}, removed: map[string]bool{}, hid: map[string]string{}, torn: map[string]bool{}, written: map[string]bool{}}
	if err := copyFiles(o.serviceDir(), filepath.Join(dir, "service-0")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour) // later than all that was made before
	r.service = o.serve(t, filepath.Join(dir, "service-0"))
	rnd := rand.New(rand.NewPCG(seed, 1))
	if rnd.IntN(2) == 0 {
		r.flaky = 3 + rnd.IntN(30)
	}
	if off("lost") {
		r.flaky = 0
	}
	for n := range min(r.shape.devices[rnd.IntN(len(r.shape.devices))], *mostUsers) {
		r.newDevice(seed, n, rnd).copyHome()
	}
	r.drawLetters(seed)
	r.liar = newLiar(seed, len(r.devices))
	r.backs = r.liar == nil && !off("backup") && (rand.New(rand.NewPCG(seed, 500)).IntN(8) == 0 || *lieKind == restores)
	for _, d := range r.devices {
		// What is not selected is on the service alone, and that of the other history
		// is gone with it.
		d.chooses = d.chooses && !r.backs && (r.liar == nil || r.liar.kind != forks)
		if r.backs {
			d.kept = engine.OpenKept(filepath.Join(r.dir, "kept-"+d.name), 1<<30, time.Now)
			t.Cleanup(d.kept.Close)
		}
	}
	if rnd := rand.New(rand.NewPCG(seed, 600)); r.shape.links > 0 && r.liar == nil && !r.backs && rnd.IntN(r.shape.links) == 0 && !off("link") {
		n := len(r.devices)
		r.org = o.with(n)
		r.newDevice(seed, n, rnd).coming = true
	}
	r.lag = rand.New(rand.NewPCG(seed, 602))
	if r.shape.slows > 0 && r.liar == nil && r.lag.IntN(r.shape.slows) == 0 && !off("slow") {
		r.slow = []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second}[r.lag.IntN(3)]
	}
	return r
}

// newDevice makes the device of a number, with what rnd says of it.
func (r *run) newDevice(seed uint64, n int, rnd *rand.Rand) *device {
	d := &device{run: r, n: n, name: deviceName(n), rnd: rand.New(rand.NewPCG(seed, uint64(10+n))), taste: rand.New(rand.NewPCG(seed, uint64(200+n))), whim: rand.New(rand.NewPCG(seed, uint64(300+n))), stagings: map[string]*staged{}, safe: map[string]bool{}, moved: map[string][]string{}}
	d.ignores = d.whim.IntN(5) == 0 && !off("ignore")
	d.brings = d.whim.IntN(5) == 0 && !off("restore")
	d.disk = newDisk(r.world, d.name)
	d.blind = rnd.IntN(4) == 0 && !off("blind")
	d.chooses = rnd.IntN(3) == 0 && !off("select")
	d.disk.reuse = rnd.IntN(4) == 0 && !off("reuse")
	if rnd.IntN(4) == 0 {
		d.disk.grain = []time.Duration{4 * time.Millisecond, time.Second, 2 * time.Second}[rnd.IntN(3)]
	}
	if off("coarse") {
		d.disk.grain = 1
	}
	d.disk.fault = d.trouble
	d.home = filepath.Join(r.org.dir, d.name)
	r.devices = append(r.devices, d)
	return d
}

// play lets users and programs go on side by side.
func (r *run) play(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	verbs := r.shape.verbs + rnd.IntN(r.shape.spread)
	r.working.Store(int32(len(r.devices)))
	for _, d := range r.devices {
		u := &user{device: d, rnd: rand.New(rand.NewPCG(seed, uint64(100+d.n)))}
		mine := min(verbs/len(r.devices)+1, *mostVerbs)
		joined := make(chan struct{})
		r.act(func() {
			if d.coming {
				<-joined
			}
			for range mine {
				time.Sleep(time.Duration(u.rnd.IntN(r.shape.pause)) * time.Millisecond)
				if u.rnd.IntN(r.shape.breaks) == 0 {
					time.Sleep(time.Minute) // a break
				}
				u.verb()
			}
			r.working.Add(-1)
		})
		r.act(func() {
			if d.coming {
				d.arrive()
			}
			close(joined)
			for r.working.Load() > 0 {
				l := &life{}
				d.sick = nil
				if d.rnd.IntN(6) == 0 {
					d.sick = []error{errNoSpace, errIO, fs.ErrPermission}[d.rnd.IntN(3)]
				}
				if off("sick") {
					d.sick = nil
				}
				if d.rnd.IntN(2) == 0 {
					l.crashAt, l.before = 1+d.rnd.IntN(r.shape.crash), d.rnd.IntN(2) == 0
				}
				if off("crash") {
					l.crashAt = 0
				}
				if !off("older") {
					d.older()
				}
				d.live(r.shape.passes+d.rnd.IntN(r.shape.more), d.rnd.IntN(2) == 0, l)
				time.Sleep(upTo(d.rnd, r.shape.down))
			}
		})
	}
	settled := len(r.devices)
	if last := r.devices[settled-1]; last.coming {
		settled--
		wait := upTo(rand.New(rand.NewPCG(seed, 601)), 2*r.shape.within)
		r.act(func() {
			time.Sleep(wait)
			r.do("owner", "wants to link", nil, func() { r.link = last })
		})
	}
	if rnd.IntN(5) == 0 && settled > 2 && !off("revoke") && r.liar == nil && !r.backs {
		wait := upTo(rnd, r.shape.within)
		r.act(func() {
			time.Sleep(wait)
			gone := settled - 1
			r.do("owner", "wants to revoke", nil, func() { r.revoke = &gone })
		})
	}
	if l := r.liar; l != nil {
		r.act(func() {
			time.Sleep(upTo(l.rnd, r.shape.within))
			r.do("service", l.kind, nil, func() { r.lies(true) })
			time.Sleep(5*time.Second + upTo(l.rnd, r.shape.within))
			r.do("service", "is honest", nil, func() { r.lies(false) })
		})
	}
	if r.backs {
		r.act(func() {
			rnd := rand.New(rand.NewPCG(seed, 501))
			time.Sleep(upTo(rnd, r.shape.within))
			r.do("service", "is backed up", nil, r.backUp)
			time.Sleep(upTo(rnd, r.shape.within))
			r.do("service", "is restored", nil, r.restore)
		})
	}
	if rnd.IntN(4) == 0 && !off("restart") {
		r.act(func() { // the last to draw
			for range 1 + rnd.IntN(2) {
				time.Sleep(upTo(rnd, r.shape.within))
				r.do("service", "restart", nil, r.restart)
			}
		})
	}
	if err := r.run(200_000); err != nil {
		r.t.Error(err)
	}
}

// arrive waits until the owner has linked the device, and has it join.
func (d *device) arrive() {
	for d.coming {
		time.Sleep(time.Second)
	}
	d.joinAnew()
}

// settle lets all devices sync, one after the other and without trouble, until
// nothing happens any more. Their programs go on until close.
func (r *run) settle() {
	if r.t.Failed() {
		return
	}
	r.flaky, r.slow = 0, 0
	for _, d := range r.devices {
		d.sick = nil
		if d.gone { // or it was asked for, and did not come to pass
			_, err := r.org.connect(r.t, r.service, d.n)
			d.gone = err != nil
		}
	}
	r.act(func() {
		quiet := 0
		for round := 0; quiet < 2; round++ {
			busy := r.round()
			if r.t.Failed() || r.failed != nil {
				return
			}
			if quiet++; busy != "" {
				quiet = 0
			}
			if round == 20 {
				r.t.Errorf("still at work after %d rounds: %s", round, busy)
				return
			}
			time.Sleep(3 * time.Minute) // racy files, what waits
		}
	})
	if err := r.run(400_000); err != nil {
		r.t.Error(err)
	}
}

// round is a pass of each device, and says who did something.
func (r *run) round() (busy string) {
	for _, d := range r.left() {
		if r.programs[d] == nil {
			r.programs[d] = d.start()
		}
		if c := r.programs[d].pass(); c != (engine.Counters{}) {
			busy = fmt.Sprintf("%s: %+v", d.name, c)
		}
		if r.t.Failed() || r.failed != nil {
			break
		}
	}
	return busy
}

// close ends the programs that settle began.
func (r *run) close() {
	for _, p := range r.programs {
		p.end()
	}
	clear(r.programs)
}

// anew begins all programs again: where nothing happened any more, nothing does.
func (r *run) anew() {
	r.close()
	if r.t.Failed() {
		return
	}
	r.act(func() {
		if busy := r.round(); busy != "" && !r.t.Failed() {
			r.t.Errorf("U3: all was at rest, and a pass of another program did something: %s", busy)
		}
	})
	if err := r.run(400_000); err != nil {
		r.t.Error(err)
	}
}

// left are the devices that were not revoked.
func (r *run) left() []*device {
	return slices.DeleteFunc(slices.Clone(r.devices), func(d *device) bool { return d.gone })
}

// A program of a device that nothing kills.
type program struct {
	*device
	engine *engine.Device
	store  *engine.Store
}

func (d *device) start() *program {
	e, store := d.begin(&life{onCrash: func() {}}, 0)
	return &program{d, e, store}
}

func (p *program) end() { p.store.Close() }

// pass is one sync without trouble, in a program of its own.
func (d *device) pass() engine.Counters {
	p := d.start()
	defer p.end()
	return p.pass()
}

// pass is one sync without trouble.
func (p *program) pass() (c engine.Counters) {
	d, e := p.device, p.engine
	before := d.seen()
	c, err := e.SyncVolume(d.t.Context(), "v")
	if err != nil {
		d.t.Errorf("%s: sync: %v", d.name, err)
		return c
	}
	d.passed(before, e)
	status := e.VolumeStatus("v")
	for _, p := range status.Problems {
		d.note(fmt.Sprintf("%s: %s: %s: %s %s", d.name, p.Path, p.Kind, p.Message, p.Hint))
	}
	if status.HeldDeletes > 0 {
		if _, err := e.ApproveDeletes("v"); err != nil {
			d.t.Error(err)
		}
		c.Deletes++ // there is more to do
	}
	return c
}

// laws looks for what must hold of every run (U1 to U3; U4 is that it ended).
func (r *run) laws() {
	if r.t.Failed() {
		return
	}
	r.alike("U2")
	if r.cased() {
		r.showTree("U2", r.programs[r.left()[0]].engine)
		for _, d := range r.left() {
			r.programs[d].saysAliases()
		}
	}
	// Where a folder could not be looked at, what is moved into it at that moment
	// is taken for deleted (doc/design/0022-simulation.md): it is in the history
	// alone then.
	//
	// What a device kept for itself alone (U1 does not count its trash) is lost
	// with it, but that of a device that was revoked is where it was. An older index
	// does not know which file a program had open when it was displaced: what was saved
	// to that stays in the trash.
	kept, aside := map[string]bool{}, map[string]bool{}
	for _, d := range r.devices {
		for c := range d.disk.contents() {
			kept[c] = true
		}
		for _, n := range d.disk.trash {
			if d.gone || d.aged {
				kept[n.content()] = true
			}
			if d.aged {
				aside[n.content()] = true
			}
		}
	}
	for _, d := range r.devices {
		for _, c := range sortedKeys(d.disk.contents()) {
			if !r.written[c] {
				r.t.Errorf("%s has what nobody wrote: %.60q", d.name, c)
			}
		}
	}
	var missing []string
	for _, c := range sortedKeys(r.owed) {
		switch {
		case !kept[c]:
			missing = append(missing, c)
		case !r.hidden && !r.removed[c] && !aside[c] && !r.left()[0].disk.anywhere(c) && !r.devices[r.owed[c][0]-'a'].gone:
			r.t.Errorf("U1: nobody removed what was saved at %s, and it is in no file: %.40q", r.owed[c], c)
		}
	}
	if len(missing) == 0 {
		return
	}
	wanted := map[[32]byte]bool{}
	for _, c := range missing {
		wanted[hashOf(c)] = true
	}
	history := r.history(wanted)
	for _, c := range missing {
		switch {
		case r.removed[c] && r.twoPasts(): // it may have been in the other history
		case !history[hashOf(c)]:
			r.t.Errorf("U1: what was saved at %s is lost: %.40q", r.owed[c], c)
		case !r.removed[c] && !r.hidden:
			r.t.Errorf("U1: nobody removed what was saved at %s, and it is in the history alone: %.40q", r.owed[c], c)
		}
	}
}

func hashOf(c string) [32]byte {
	h := seal.NewFileHasher(int64(len(c)))
	h.Write([]byte(c))
	return h.Sum()
}

// history says of which contents, by their hashes, the region's history has one and
// gives it back.
func (r *run) history(wanted map[[32]byte]bool) map[[32]byte]bool {
	found := map[[32]byte]bool{}
	d := r.devices[0]
	s, err := r.session(0)
	if err != nil {
		r.t.Error(err)
		return found
	}
	e, store := r.org.open(r.t, 0, d.home, s, nil, nil, nil, nil)
	defer store.Close()
	err = e.Events(r.org.region, func(_ tree.Event, op *tree.Op) error {
		if op == nil || op.Type != tree.File || op.Kind != tree.Create && op.Kind != tree.Edit || found[op.Hash] || !wanted[op.Hash] {
			return nil
		}
		found[op.Hash] = e.Fetch(r.t.Context(), r.org.region, op.Content, op.Hash, &strings.Builder{}) == nil
		return nil
	})
	if err != nil {
		r.t.Error(err)
	}
	return found
}

// listing is what all devices must show alike.
func (d *disk) listing() string {
	var b strings.Builder
	d.walk("", func(p string, _ uint64, n *node) {
		switch n.stat.Type {
		case tree.File:
			fmt.Fprintf(&b, "%s file %x %d %d %.30q\n", p, n.stat.Mode&0o111, n.stat.MTime, len(n.data), n.data)
		case tree.Link:
			fmt.Fprintf(&b, "%s -> %s\n", p, n.stat.Target)
		default:
			fmt.Fprintf(&b, "%s/\n", p)
		}
	})
	return b.String()
}

// TestMain keeps to one processor, and to goroutines that go on until they
// wait: what else happens first is chance. Several runs go side by side in
// several processes.
func TestMain(m *testing.M) {
	const steady = "asyncpreemptoff=1"
	if set := os.Getenv("GODEBUG"); !strings.Contains(set, steady) { // is read once, at the start
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), "GODEBUG="+strings.TrimPrefix(set+","+steady, ","))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			os.Exit(exit.ExitCode())
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := keepInMemory(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	runtime.GOMAXPROCS(1)
	// Each run begins with two collections (bubble), and has not made this much by its
	// end: none comes in the midst of it, and the memory is not given back between two.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(300 << 20)
	os.Exit(m.Run())
}
