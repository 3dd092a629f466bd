package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/device/engine"
	"signet/service"
	"signet/transport"
)

// The lies of a service, one kind a run. It lies to some devices, about every other
// time that it could, for some time; then it is honest again.
const (
	forks     = "forks"     // two histories to two groups of devices
	flips     = "flips"     // a bit in a record
	swaps     = "swaps"     // two records change places
	repeats   = "repeats"   // a record comes twice
	drops     = "drops"     // a record is not there, those after it are
	withholds = "withholds" // no records, and a checkpoint that covers some
	older     = "older"     // what it signed some time ago
	spoils    = "spoils"    // a bit in an object
	misleads  = "misleads"  // a receipt for another item
	ignores   = "ignores"   // entries of some, while others' are taken
)

// restores is no lie: what the service does that goes back to a backup.
const restores = "restores"

var lies = []string{forks, forks, flips, swaps, repeats, drops, withholds, older, spoils, misleads, ignores}

// A liar is a service while it lies.
type liar struct {
	kind    string
	rnd     *rand.Rand
	victims map[int]bool
	lying   bool
	always  bool                    // not every other time
	told    map[int]string          // what a device that lives yet has to say
	gap     map[int]signet.LogID    // it was not shown a record of this, and learns so from what follows
	heads   map[signet.LogID][]byte // some old checkpoint of each log
	fork    *service.Service        // the other history
	with    map[int]transport.Session
}

// alarms are the kinds of alarms that what the service does may be answered with.
func (r *run) alarms() []string {
	if r.restored {
		return []string{"fork", "rollback", "history", "not_verified"}
	}
	switch r.liar.kind {
	case forks:
		return []string{"fork", "rollback", "history", "not_verified"}
	case older:
		return []string{"rollback", "withheld"}
	case withholds:
		return []string{"withheld"}
	case spoils:
		return []string{"object"}
	case ignores:
		return nil
	}
	return []string{"not_verified", "history", "fork", "withheld"}
}

// newLiar makes a service that will lie in some runs, or nil.
func newLiar(seed uint64, devices int) *liar {
	rnd := rand.New(rand.NewPCG(seed, 400))
	kind := ""
	if rnd.IntN(5) == 0 && !off("lie") {
		kind = lies[rnd.IntN(len(lies))]
	}
	if kind = cmp.Or(*lieKind, kind); kind == "" || kind == restores || devices < 2 {
		return nil
	}
	l := &liar{kind: kind, rnd: rnd, victims: map[int]bool{}, told: map[int]string{}, gap: map[int]signet.LogID{}, heads: map[signet.LogID][]byte{}, with: map[int]transport.Session{}}
	l.victims[1+rnd.IntN(devices-1)] = true // never the first
	for n := 1; n < devices; n++ {
		if rnd.IntN(2) == 0 {
			l.victims[n] = true
		}
	}
	return l
}

// about reports whether a device is lied to now, and about this kind of thing.
func (l *liar) about(n int, kinds ...string) bool {
	return l != nil && l.lying && l.victims[n] && slices.Contains(kinds, l.kind)
}

// lies has the service begin to lie, or end it.
func (r *run) lies(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.liar
	l.lying = yes
	if l.kind != forks {
		return
	}
	if yes {
		dir := filepath.Join(r.dir, "fork")
		if err := copyFiles(filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN)), dir); err != nil {
			r.t.Fatal(err)
		}
		l.fork = r.org.serve(r.t, dir)
	}
	for n := range l.victims {
		delete(r.sessions, n)
	}
	// Last: while something is read from a real disk others go on, and which of
	// them draws first when it is to try again would be chance.
	for _, n := range sortedKeys(r.streams) {
		r.streams[n]()
	}
}

// close ends the other history.
func (l *liar) close() {
	if l != nil && l.fork != nil {
		l.fork.Close()
		l.fork = nil
	}
}

// page is a page as a device is shown it: see shown. Where one lacks a record, what
// there is does not reach what is signed, and the device asks for the rest: with that
// it has what it was not told the truth of.
func (l *liar) page(n int, p signet.Page, asked bool) signet.Page {
	if l == nil {
		return p
	}
	lacked, there := l.gap[n], len(p.Records)
	p = l.shown(n, p, asked)
	if asked && lacked == p.Log && there > 0 && len(p.Records) >= there {
		l.told[n] = fmt.Sprintf("%s in %s", l.kind, p.Log)
	}
	return p
}

// shown is a page as a device is shown it. asked says that it is the answer to a
// question for what follows what the device has.
func (l *liar) shown(n int, p signet.Page, asked bool) signet.Page {
	if l.heads[p.Log] == nil || !l.lying && l.rnd.IntN(4) == 0 {
		l.heads[p.Log] = p.Checkpoint
	}
	if !l.about(n, flips, swaps, repeats, drops, withholds, older) || !l.always && l.rnd.IntN(2) == 0 {
		return p
	}
	if l.kind == older {
		p.Records, p.Checkpoint = nil, l.heads[p.Log]
		return p
	}
	if len(p.Records) == 0 {
		return p
	}
	p.Records = slices.Clone(p.Records)
	i := l.rnd.IntN(len(p.Records))
	sure := true
	switch l.kind {
	case withholds:
		p.Records = nil
	case repeats:
		p.Records = slices.Insert(p.Records, i, p.Records[i])
		sure = i+1 < len(p.Records)-1 // the last is beyond what is signed
	case drops:
		if sure = false; asked && i+1 < len(p.Records) { // else it is asked for again
			l.gap[n] = p.Log
		}
		p.Records = slices.Delete(p.Records, i, i+1)
	case swaps:
		j := l.rnd.IntN(len(p.Records))
		p.Records[i], p.Records[j] = p.Records[j], p.Records[i]
		sure = i != j
	case flips:
		rec := &p.Records[i]
		part := []*[]byte{&rec.Leaf, &rec.Head, &rec.Blob}[l.rnd.IntN(3)]
		if sure = len(*part) > 0; sure {
			*part = l.flip(*part)
		}
	}
	if sure && asked {
		l.told[n] = fmt.Sprintf("%s in %s from %d", l.kind, p.Log, p.From)
	}
	return p
}

// flip changes a bit in a copy.
func (l *liar) flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[l.rnd.IntN(len(b))] ^= 1 << l.rnd.IntN(8)
	return b
}

// object is an object as a device is shown it, and whether that is spoilt: it is told
// so when it is handed the object, which it may not be where it gives up before.
func (l *liar) object(n int, b []byte) (shown []byte, spoilt bool) {
	if !l.about(n, spoils) || len(b) == 0 || !l.always && l.rnd.IntN(2) == 0 {
		return b, false
	}
	return l.flip(b), true
}

// receipt is one as a device is shown it.
func (l *liar) receipt(n int, r signet.Receipt) signet.Receipt {
	if !l.about(n, misleads) || l.rnd.IntN(2) == 0 {
		return r
	}
	l.told[n] = "a receipt for something else"
	switch {
	case l.rnd.IntN(2) == 0 && len(r.Proof) > 0:
		r.Proof = slices.Clone(r.Proof)
		r.Proof[0][0] ^= 1
	default:
		r.Leaf = l.flip(r.Leaf)
	}
	return r
}

// alarm is what a device says. That it says it is right where it was lied to: an
// alarm of a fork convinces a stranger.
func (r *run) alarm(n int, kind, message string, evidence []byte) {
	if !r.doubtful(n) || !slices.Contains(r.alarms(), kind) {
		r.t.Errorf("%s: alarm: %s: %s", deviceName(n), kind, message)
		return
	}
	if len(evidence) > 0 {
		e, err := chain.ParseEvidence(evidence)
		if err == nil {
			err = e.Verify(r.org.log.Public())
		}
		if err != nil {
			r.t.Errorf("%s: the evidence of %s convinces nobody: %v", deviceName(n), message, err)
		}
	}
}

// stands reports whether an error is that of a lie, and fails where the device does
// not say so: with an alarm, and with the state of its volume after a moment.
func (d *device) stands(e *engine.Device, l *life, err error) bool {
	if !d.doubtful(d.n) || !errors.Is(err, signet.ErrNotVerified) {
		return false
	}
	time.Sleep(30 * time.Second)
	alarms, st := e.Alarms(), e.VolumeStatus("v")
	if l.dead.Load() { // asked last: a program that is killed meanwhile says that it stopped
		return true
	}
	ended := true
	for _, a := range alarms {
		ended = ended && a.State == engine.AlarmEnded
	}
	switch {
	case len(alarms) == 0:
		d.t.Errorf("%s: %v, and no alarm", d.name, err)
	case !ended && st.State != engine.AlarmedAt && st.State != engine.Recover:
		d.t.Errorf("%s: %v, and its state is %s: %s", d.name, err, st.State, st.Reason)
	}
	return true
}

// noticed fails where a device was lied to, lived on, and says nothing.
func (d *device) noticed(e *engine.Device) {
	d.do(d.name+".look", "alarms", nil, func() {
		if what := d.told(); what != "" && len(e.Alarms()) == 0 {
			d.t.Errorf("%s was told %s, and says nothing", d.name, what)
		}
	})
}

// told is what a device was told and has to say, once.
func (d *device) told() (what string) {
	if d.liar != nil {
		what = d.liar.told[d.n]
		delete(d.liar.told, d.n)
		delete(d.liar.gap, d.n)
	}
	return what
}

// doubtful reports whether a device may say that the service is not as it should be:
// it was lied to, or the service was restored.
func (r *run) doubtful(n int) bool {
	return !r.trusted && (r.restored || r.liar != nil && r.liar.victims[n])
}

// twoPasts reports whether there was another history than the service's, which had
// what nobody has any more.
func (r *run) twoPasts() bool { return r.restored || r.liar != nil && r.liar.kind == forks }

// honest looks at what is left behind, once the service is honest again, or has back
// what it lost: a person has seen the alarms; who followed another history joins
// anew, with the files that are there and an index without a past.
func (r *run) honest() {
	if r.t.Failed() {
		return
	}
	r.liar.close()
	r.flaky, r.slow = 0, 0
	r.act(func() {
		waits := false
		for round := range 3 {
			waits = false
			for _, d := range r.left() {
				if d.sick = nil; r.doubtful(d.n) && d.judge() {
					waits = true
				}
			}
			// It was shown what nobody has any more, where an older index came back: a
			// person ends the wait.
			if round == 1 && waits && r.aged {
				r.note("the service is opened")
				if err := service.OpenRestored(filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN))); err != nil {
					r.t.Error(err)
				}
			}
		}
		if waits && !r.t.Failed() {
			r.t.Errorf("the restored service waits for ever")
		}
		r.trusted = true
	})
	if err := r.run(200_000); err != nil {
		r.t.Error(err)
	}
}

// judge has a device look at the service, and reports whether that waits yet for what
// devices have.
func (d *device) judge() (waits bool) {
	p := d.start()
	before := d.disk.listing()
	err := p.engine.Discover(d.t.Context()) // as the command does
	if err == nil {
		_, err = p.engine.SyncVolume(d.t.Context(), "v")
	}
	forked := d.twoPasts() && d.stands(p.engine, &life{}, err)
	switch {
	case forked:
		if after := d.disk.listing(); after != before {
			d.t.Errorf("%s knows of two histories, and its files changed from\n%s\nto\n%s", d.name, before, after)
		}
	case d.restored && errors.Is(err, signet.ErrUnavailable):
		waits = true
	case err != nil:
		d.t.Errorf("%s: the service is honest again: %v", d.name, err)
	}
	if err := p.engine.Seen(); err != nil {
		d.t.Error(err)
	}
	p.end()
	if forked {
		d.note(d.name + ": joins anew")
		d.joinAnew()
	}
	return waits
}

// backUp keeps the service's data as they are; restore goes back to them. The streams
// end last, see lies.
func (r *run) backUp() {
	if err := copyFiles(filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN)), filepath.Join(r.dir, "backup")); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restored = true
	r.service.Close()
	r.serviceN++
	next := filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN))
	err := copyFiles(filepath.Join(r.dir, "backup"), next)
	if err == nil {
		_, err = service.MarkRestored(next, time.Now())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.service, r.sessions = r.org.serve(r.t, next), map[int]transport.Session{}
	for _, n := range sortedKeys(r.streams) {
		r.streams[n]()
	}
}

// joinAnew gives a device an index that knows nothing.
func (d *device) joinAnew() {
	d.gens++
	d.home = filepath.Join(d.dir, fmt.Sprintf("%s-%d", d.name, d.gens))
	if err := os.MkdirAll(d.home, 0o700); err != nil {
		d.t.Fatal(err)
	}
	p := d.start()
	defer p.end()
	err := p.engine.Discover(d.t.Context())
	if err == nil {
		err = p.engine.AddVolume("v", "/", d.org.region)
	}
	if err != nil {
		d.t.Errorf("%s: joins anew: %v", d.name, err)
	}
}

// What is told is said, and nothing of it is applied; and a daemon that has an alarm
// rests, also where its disk cannot be watched: it once asked at the very moment when
// that was to be tried again whether the moment was past, for ever.
func TestADaemonThatWasLiedToSaysSoAndRests(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		r.liar = &liar{kind: withholds, always: true, rnd: a.rnd, victims: map[int]bool{b.n: true}, told: map[int]string{}, gap: map[int]signet.LogID{}, heads: map[signet.LogID][]byte{}}
		r.daemon(b, func(e *engine.Device) {
			b.ask(r.t.Context(), e)
			r.liar.lying = true
			u.create("f", "after the lie")
			a.pass()
			for range 20 {
				b.ask(r.t.Context(), e)
			}
			time.Sleep(time.Hour)
			if st := e.VolumeStatus("v"); st.State != engine.AlarmedAt || len(e.Alarms()) != 1 || e.Alarms()[0].Kind != "withheld" {
				t.Errorf("%s, %+v", st.State, e.Alarms())
			}
			if l := b.disk.listing(); l != "" {
				t.Errorf("b has\n%s", l)
			}
		})
		r.liar.lying, r.trusted = false, true
		b.pass()
		agree(t, a, b, "after the lie")
	})
}

// A device was handed an object that is spoilt, and one that is not in the same answer,
// for which its disk had no room: that ended all that was asked for, and what had been
// seen was not said. One that it was not handed, as the disk was full before, it cannot
// say anything of.
func TestASpoiltObjectIsSaidThoughTheDiskIsFull(t *testing.T) {
	for _, two := range []string{"22", strings.Repeat("22", 200_000)} { // of one piece, and of some
		met := map[bool]int{}
		for seed := range uint64(8) {
			scene(t, func(r *run, a, b *device) {
				u := &user{device: a, rnd: a.rnd}
				b.pass()
				u.create("one", "1")
				u.create("two", two)
				a.pass()
				r.liar = &liar{kind: spoils, lying: true, rnd: rand.New(rand.NewPCG(seed, 0)), victims: map[int]bool{b.n: true}, told: map[int]string{}, gap: map[int]signet.LogID{}, heads: map[signet.LogID][]byte{}}
				b.disk.fault = func(op, what string) error {
					if op == "stage" && what != "again" { // what is whole, not what is in parts
						return errNoSpace
					}
					return nil
				}
				p := b.start()
				_, err := p.engine.SyncVolume(r.t.Context(), "v")
				if errors.Is(err, errNoSpace) {
					met[r.liar.told[b.n] != ""]++
				}
				b.noticed(p.engine)
				p.end()
				b.disk.fault, r.liar.lying = nil, false
				time.Sleep(5 * time.Minute)
				agree(t, a, b, "22")
			})
		}
		if met[true] == 0 || met[false] == 0 {
			t.Errorf("the disk was full after a lie %d times, and before one or without any %d times", met[true], met[false])
		}
	}
}

// A device appended to a long file, and was shown a spoilt list of the pieces that the
// region has of it. It seals all of the file, which nothing keeps from being right, and
// says what it saw: nobody may ever fetch that version.
func TestASpoiltListOfTheVersionBeforeIsSaid(t *testing.T) {
	for _, lying := range []bool{false, true} {
		scene(t, func(r *run, a, b *device) {
			r.devices = r.devices[:2]
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			long := strings.Repeat("22", 200_000)
			u.create("long", long)
			u.create("small", "of one piece")
			inStep(a, b)
			r.liar = &liar{kind: spoils, always: true, lying: lying, rnd: b.rnd, victims: map[int]bool{b.n: true}, told: map[int]string{}, gap: map[int]signet.LogID{}, heads: map[signet.LogID][]byte{}}
			other.overwrite("long", long+", appended")
			other.overwrite("small", "asks for no list")
			p := b.start()
			p.pass()
			if told := r.liar.told[b.n] != ""; told != lying {
				t.Errorf("lying: %v, and it was told: %v", lying, told)
			}
			b.noticed(p.engine)
			alarms := p.engine.Alarms()
			if lying != (len(alarms) == 1 && alarms[0].Kind == "object" && strings.HasPrefix(alarms[0].Message, "long: ")) {
				t.Errorf("lying: %v: %+v", lying, alarms)
			}
			p.end()
			r.liar.lying, r.trusted = false, true
			inStep(a, b)
			r.holds(a, "long", long+", appended", "small", "asks for no list")
		})
	}
}
