package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"signet/core/plan"
	"signet/core/tree"
	"signet/device/engine"
)

// What seeds found, said in a few steps each: seeds mean something else when
// the world around them changes.

// agree has two devices take what there is, and says so where they differ then, or
// lack something.
func agree(t *testing.T, a, b *device, with string) {
	t.Helper()
	a.pass()
	b.pass()
	if l := a.disk.listing(); l != b.disk.listing() || !strings.Contains(l, with) {
		t.Errorf("a has\n%s\nb has\n%s", l, b.disk.listing())
	}
}

// scene runs f with two devices and no trouble but what f makes.
func scene(t *testing.T, f func(r *run, a, b *device)) {
	o := once(t)
	t.Run("scene", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 1)
		bubble(t, func(t *testing.T) {
			r := newRun(t, o, 1)
			defer func() { r.service.Close() }()
			r.flaky, r.liar, r.backs = 0, nil, false
			for _, d := range r.devices {
				d.disk.reuse, d.disk.grain, d.blind, d.disk.fault = false, 1, true, nil
			}
			r.act(func() { f(r, r.devices[0], r.devices[1]) })
			if err := r.run(20_000); err != nil {
				t.Error(err)
			}
		})
	})
}

// daemon lets a device's program run while f does something.
func (r *run) daemon(d *device, f func(e *engine.Device)) {
	ctx, cancel := context.WithCancel(r.t.Context())
	e, store := d.begin(&life{onCrash: func() {}}, 0)
	defer store.Close()
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	f(e)
	cancel()
	if err := <-ended; err != nil {
		r.t.Error(err)
	}
}

// A file that could not be written was handed on half made to be synced with
// all others of its batch, none of which came, now and ever after.
func TestFileThatCannotBeWrittenIsInNobodysWay(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		u.create("one", "1")
		u.create("two", "22")
		u.create("three", "333")
		a.pass()
		b.disk.fault = func(op, p string) error {
			if op == "write" && strings.HasPrefix(p, "2 ") {
				return errIO
			}
			return nil
		}
		b.pass()
		if l := b.disk.listing(); !strings.Contains(l, "one") || !strings.Contains(l, "three") || strings.Contains(l, "two") {
			t.Errorf("b has\n%s", l)
		}
		b.disk.fault = nil
		time.Sleep(5 * time.Minute)
		b.pass()
		if l := b.disk.listing(); l != a.disk.listing() {
			t.Errorf("b has\n%s", l)
		}
	})
}

// What a power cut left of a file was not noticed where the engine had moved
// the file since it was saved: names and times were as they should be.
func TestTornFileIsReadAgainThoughItWasMoved(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create("one", "what was saved")
		time.Sleep(5 * time.Second)
		a.pass()
		b.pass()
		other.rename("one", "two")
		b.pass()
		a.pass() // moves it
		id, n := a.disk.find("two")
		torn := *n
		torn.data = make([]byte, len(n.data))
		a.disk.nodes[id] = &torn
		time.Sleep(5 * time.Minute)
		a.pass()
		b.pass()
		a.pass()
		if l := b.disk.listing(); l != a.disk.listing() {
			t.Errorf("a has\n%s\nb has\n%s", a.disk.listing(), l)
		}
	})
}

// An edit that came between a look and the plan's move of that file was taken
// for what the plan knew: the next action of the plan replaced it, and it was in
// the trash alone.
func TestEditThatMeetsAMoveAndAReplacementIsKept(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create("one", "first")
		a.pass()
		b.pass()
		time.Sleep(5 * time.Minute)
		a.pass()
		b.pass()
		u.overwrite("one", "theirs")
		u.rename("one", "two")
		a.pass()
		b.disk.fault = func(op, p string) error {
			if id, n := b.disk.find("one"); op == "move" && n != nil { // at this very moment
				other.writeTo(id, "one", "mine")
			}
			return nil
		}
		b.pass()
		b.disk.fault = nil
		for range 3 {
			a.pass()
			b.pass()
			time.Sleep(5 * time.Minute)
		}
		l := a.disk.listing()
		if l != b.disk.listing() || !strings.Contains(l, `"mine"`) || !strings.Contains(l, `"theirs"`) {
			t.Errorf("a has\n%s\nb has\n%s", l, b.disk.listing())
		}
	})
}

// A program had a file open that another device edited and then deleted, and saved
// to it: what was replaced was forgotten with what had replaced it.
func TestWhatIsSavedToAFileThatWasReplacedAndDeletedComesBack(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create("docs/letter", "first")
		u.create("more", "so that this is not all")
		a.pass()
		b.pass()
		time.Sleep(5 * time.Minute)
		id, _ := b.disk.find("docs/letter")
		b.disk.open[id]++ // the program
		u.create("docs/letter", "second")
		a.pass()
		r.act(func() {
			time.Sleep(time.Second)
			u.remove("docs")
			a.pass()
			time.Sleep(5 * time.Second)
			r.do("b.user", "saves", nil, func() { other.writeTo(id, "docs/letter", "saved"); delete(b.disk.open, id) })
		})
		for range 3 {
			b.pass()
			time.Sleep(time.Minute)
			a.pass()
		}
		if l := a.disk.listing(); l != b.disk.listing() || !strings.Contains(l, `"saved"`) {
			t.Errorf("a has\n%s\nb has\n%s", l, b.disk.listing())
		}
	})
}

// A program had a file open that another device deleted, and saved to it: what
// it saved was in the trash alone.
func TestWhatIsSavedToAFileThatWasDeletedComesBack(t *testing.T) {
	for _, folder := range []string{"", "docs/deep/"} {
		scene(t, func(r *run, a, b *device) {
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			u.create(folder+"letter", "first")
			u.create("more", "so that this is not all")
			a.pass()
			b.pass()
			time.Sleep(5 * time.Minute)
			id, _ := b.disk.find(folder + "letter")
			b.disk.open[id]++ // the program
			top, _, _ := strings.Cut(folder+"letter", "/")
			u.remove(top)
			a.pass()
			r.act(func() {
				time.Sleep(time.Second)
				r.do("b.user", "saves", nil, func() { other.writeTo(id, folder+"letter", "saved"); delete(b.disk.open, id) })
			})
			for range 3 {
				b.pass()
				a.pass()
			}
			if l := a.disk.listing(); l != b.disk.listing() || !strings.Contains(l, `"saved"`) {
				t.Errorf("%q: a has\n%s\nb has\n%s", folder, l, b.disk.listing())
			}
		})
	}
}

// A folder became a file while what was in it was looked at by name: a disk says
// "not a folder" of such names, which were taken for things that cannot be read,
// below a file. Nothing looked there again, so they stayed, and held the file there
// when another device deleted it.
func TestNamesInWhatIsNoFolderAnyMoreAreNotThere(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		u.create("c/one", "1")
		u.create("c/two", "2")
		u.create("more", "so that this is not all")
		a.blind = false
		r.daemon(a, func(e *engine.Device) {
			a.ask(r.t.Context(), e)
			u.step("a file for the folder", func() {
				for _, p := range []string{"c/one", "c/two", "c"} {
					a.disk.remove(p)
				}
				a.disk.link("c", a.disk.create(tree.Stat{Type: tree.File, Mode: 0o644}, []byte("a file")))
			})
			time.Sleep(time.Minute)
			if st := e.VolumeStatus("v"); st.State != engine.InStep || len(st.Problems) > 0 {
				t.Errorf("%s, %+v", st.State, st.Problems)
			}
		})
		agree(t, a, b, `"a file"`)
	})
}

// A file had just been taken from the disk, as it was not selected any more, when the
// power went: it was back, and torn. That is an edit as any, and what it had is in the
// history, with right; nobody did away with what came back whole, or not at all.
func TestWhatPowerCutsBringBackTornIsInTheHistory(t *testing.T) {
	met := map[string]int{}
	for seed := range uint64(12) {
		scene(t, func(r *run, a, b *device) {
			const saved = "what somebody saved"
			r.devices = r.devices[:2]
			u := &user{device: a, rnd: a.rnd}
			u.create("one", saved)
			u.create("two", "so that this is not all")
			a.pass()
			b.pass()
			chosen := func(m plan.Marks) {
				p := a.start()
				defer p.end()
				err := p.engine.Select("v", func(tr *tree.Tree, _ plan.Marks) (plan.Marks, error) {
					for path, n := range tr.Walk() {
						if m != nil && path == "one" {
							m[n.ID] = plan.Out
						}
					}
					return m, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			chosen(plan.Marks{})
			a.rnd = rand.New(rand.NewPCG(seed, 0))
			l := &life{}
			a.disk.fault = func(op, _ string) error {
				if op == "drop" { // it is in the trash, and no folder is synced
					l.die()
					return errDead
				}
				return nil
			}
			a.live(1, false, l)
			a.disk.fault = nil
			became := "gone"
			if _, n := a.disk.find("one"); n != nil && n.content() == saved {
				became = "whole"
			} else if n != nil {
				became = "torn"
			}
			met[became]++
			if r.removed[saved] != (became == "torn") {
				t.Errorf("it is %s, and counts as done away with: %v", became, r.removed[saved])
			}
			chosen(nil)
			for range 3 {
				a.pass()
				b.pass()
				time.Sleep(5 * time.Minute)
			}
			r.laws()
		})
	}
	if met["gone"] == 0 || met["whole"] == 0 || met["torn"] == 0 {
		t.Errorf("met %v", met)
	}
}

// What a program saved to a file that had been replaced could not be brought back at
// first, as its disk failed, and there was more to do. It stays noted, and is tried again.
func TestWhatCouldNotBeBroughtBackIsTriedAgain(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		x, y := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		x.create("d/f", "one")
		a.pass()
		b.pass()
		id, _ := b.disk.find("d/f")
		y.step("open d/f", func() { b.disk.open[id]++ })
		x.create("d/f", "two")
		a.pass()
		b.pass()
		y.step("save d/f", func() {
			if !y.writeTo(id, "d/f", "mine") {
				t.Error("the file is nowhere")
			}
			delete(b.disk.open, id)
		})
		p := b.start()
		defer p.end()
		failed := 0
		b.disk.fault = func(op, _ string) error {
			if op == "rescue" {
				failed++
				return errIO
			}
			return nil
		}
		sent := make(chan struct{})
		r.act(func() {
			time.Sleep(time.Second) // b waits for what the file had to settle, and goes on after that
			x.create("g", "more")
			a.pass()
			close(sent)
		})
		p.pass()
		<-sent
		b.disk.fault = nil
		time.Sleep(2 * time.Minute)
		p.pass()
		a.pass()
		if l := a.disk.listing(); failed == 0 || !strings.Contains(l, `"mine"`) || l != b.disk.listing() {
			t.Errorf("failed %d times, a has\n%s\nb has\n%s", failed, l, b.disk.listing())
		}
	})
}

// A program opened a file at the very moment when it was replaced, Signet ended, and the
// program saved.
func TestWhatWasOpenedAsItWasReplacedComesBack(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		x, y := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		x.create("f", "one")
		a.pass()
		b.pass()
		id, _ := b.disk.find("f")
		x.create("f", "two")
		a.pass()
		b.disk.fault = func(op, _ string) error {
			if op == "replace" {
				b.disk.open[id] = 1
			}
			return nil
		}
		b.pass()
		b.disk.fault = nil
		y.step("save f", func() {
			if b.disk.open[id] == 0 || !y.writeTo(id, "f", "mine") {
				t.Error("it was not opened, or is nowhere")
			}
			delete(b.disk.open, id)
		})
		b.pass()
		a.pass()
		agree(t, a, b, `"mine"`)
	})
}

// On a disk with coarse times a file was saved twice within a tick, with a look between the
// two, and another device's edit came before the file was to be hashed once more.
func TestWhatLeftNoTraceIsNotReplacedUnread(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		x, y := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		b.disk.grain = 2 * time.Second
		x.create("f", "one")
		x.create("g", "one")
		a.pass()
		b.pass()
		time.Sleep(time.Until(time.Now().Truncate(b.disk.grain).Add(b.disk.grain))) // a tick begins
		for _, p := range []string{"f", "g"} {
			y.create(p, "saved once, "+p)
		}
		saved := make(chan struct{})
		r.act(func() {
			time.Sleep(500 * time.Millisecond) // they were read by then
			for _, p := range []string{"f", "g"} {
				y.step("save "+p, func() {
					id, _ := b.disk.find(p)
					if before := b.disk.nodes[id].stat; !y.writeTo(id, p, "saved more, "+p) || b.disk.nodes[id].stat != before {
						t.Errorf("%s has a trace of it", p)
					}
				})
			}
			close(saved)
		})
		b.pass()
		<-saved
		a.pass()
		x.create("f", "by a")
		x.remove("g")
		a.pass()
		b.pass()
		time.Sleep(2 * time.Minute)
		b.pass()
		a.pass()
		agree(t, a, b, `"saved more, f"`)
		if l := b.disk.listing(); !strings.Contains(l, `"saved more, g"`) || !strings.Contains(l, `"by a"`) {
			t.Errorf("b has\n%s", l)
		}
	})
}

// A file came, or got its time, from another device within the tick of a coarse clock in
// which it was saved there. What is saved over it in that tick leaves no trace.
func TestWhatIsSavedInTheTickInWhichItCameIsSent(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		x, y := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		a.disk.grain, b.disk.grain = 2*time.Second, 2*time.Second
		x.create("g", "by a")
		x.create("h", "by a")
		a.pass()
		b.pass()
		time.Sleep(time.Hour)
		time.Sleep(time.Until(time.Now().Truncate(b.disk.grain).Add(b.disk.grain))) // a tick begins
		x.create("f", "by a")
		x.touch("g", func(s *tree.Stat) { s.MTime = a.disk.now() })
		x.overwrite("h", "it's a")
		a.pass()
		b.pass()
		for _, p := range []string{"f", "g", "h"} {
			id, n := b.disk.find(p)
			if before := n.stat; !y.writeTo(id, p, strings.Replace(n.content(), "a", "b", 1)) || b.disk.nodes[id].stat != before {
				t.Errorf("%s has a trace of it", p)
			}
		}
		b.pass()
		time.Sleep(2 * time.Minute)
		b.pass()
		a.pass()
		for _, p := range []string{"f", "g", "h"} {
			if _, n := a.disk.find(p); n == nil || !strings.HasSuffix(n.content(), "b") {
				t.Errorf("%s is not as b has it:\n%s", p, a.disk.listing())
			}
		}
		agree(t, a, b, "by b")
	})
}

// A user saves a file fifty times over a slow line, while another's edit of it is on its
// way: whoever comes first, there is one conflict copy at most, and the last save is there.
// There is none where the other's edit was on the disk before the first save.
func TestSavesOverASlowLineAreOneConflictCopyAtMost(t *testing.T) {
	copies := map[int]int{}
	for later := range 12 {
		scene(t, func(r *run, a, b *device) {
			x, y := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			x.create("f", "common")
			a.pass()
			b.pass()
			a.blind = false
			r.lag, r.slow = rand.New(rand.NewPCG(uint64(later), 0)), 10*time.Second
			last := ""
			r.daemon(a, func(e *engine.Device) {
				if err := a.ask(r.t.Context(), e); err != nil {
					t.Error(err)
				}
				y.create("f", "the other's")
				sent := make(chan struct{})
				r.act(func() { b.pass(); close(sent) })
				time.Sleep(time.Duration(later) * 2 * time.Second)
				for n := range 50 {
					last = fmt.Sprintf("saved %d times", n+1)
					x.create("f", last)
					time.Sleep(300 * time.Millisecond)
				}
				<-sent
				time.Sleep(time.Minute)
				a.ask(r.t.Context(), e)
			})
			r.slow = 0
			a.pass()
			agree(t, a, b, last)
			l := a.disk.listing()
			n := strings.Count(l, "(conflict ")
			copies[n]++
			if n > 1 || strings.Count(l, "\n") != 1+n || n == 1 && !strings.Contains(l, "the other's") {
				t.Errorf("a has\n%s", l)
			}
		})
	}
	if copies[0] == 0 || copies[1] == 0 {
		t.Errorf("conflict copies, and how often there were so many: %v", copies)
	}
}

// On a disk that cannot be watched a file was gone when it was to be read, or replaced. Then
// the folder that it had been in was looked at, or its name, and what had been moved from
// there to somewhere else counted as gone: its deletion was sent, and what nobody had removed
// was in the history alone, or there twice. The same while all was looked at: what was listed
// is looked at again where it changed since, and then something moved to what came before.
func TestWhatALookAtAPartMissesIsLookedForEverywhere(t *testing.T) {
	const kept = "nobody removes this"
	for _, x := range []struct{ op, of, from, to, has string }{
		{"read", "docs/f", "docs/more", "else", "else/g"},
		{"read", "docs/f", "docs", "else", "else/more/g"},
		{"replace", "docs/f", "docs/f", "else/f", "docs/more/g"},
		{"stat", "docs", "docs/more", "else", "else/g"},
	} {
		scene(t, func(r *run, a, b *device) {
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			u.create("docs/f", "one")
			u.create("docs/more/g", kept)
			u.create("d", "so that this is not all")
			inStep(a, b)
			switch x.op {
			case "read":
				u.create("docs/f", "two")
			case "replace":
				other.create("docs/f", "two")
				b.pass()
			case "stat":
				u.remove("docs/f") // what is missed has folders looked at again
			}
			a.disk.fault = func(op, p string) error {
				if op != x.op || p != x.of {
					return nil
				}
				a.disk.fault = nil // at this very moment
				if op == "read" {
					a.disk.remove(p)
				}
				if !u.renameNow(x.from, x.to) {
					t.Errorf("%s is not moved", x.from)
				}
				return nil
			}
			a.pass()
			b.pass()
			for _, d := range []*device{a, b} {
				if _, n := d.disk.find(x.has); a.disk.fault != nil || n == nil || n.content() != kept {
					t.Errorf("%+v: %s has\n%s", x, d.name, d.disk.listing())
				}
			}
			inStep(a, b)
			agree(t, a, b, kept)
			_, n := a.disk.find("else/f")
			if l := a.disk.listing(); x.op == "replace" && (n == nil || strings.Count(l, `"two"`) != 1 || strings.Contains(l, `"one"`)) {
				t.Errorf("a has\n%s", l)
			}
		})
	}
}
