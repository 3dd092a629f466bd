package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"signet/core/plan"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/ignore"
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

// A user moved a file to where rules ignore it that came when no device had sent the move
// yet, and gave its name to a new one: that is an edit, as where the rules were there
// before. The region keeps what was moved alone, or was in step where it is ignored now,
// or has given its name to a file that the region knew.
func TestRulesThatComeAfterAMoveFindWhatTookTheName(t *testing.T) {
	const moved, new = "was in step", "has its name"
	for _, x := range []struct {
		taken  string // by "new", or by a file that was in "step"
		sent   bool   // a pass comes between the move and the rules
		theirs bool   // the rules are the other device's
		by     string // a name that it has between the two
		onto   string // "two", a file, or "more", a folder: cannot be moved onto the folder "build"
		want   string // where the region has what was moved
	}{
		{taken: "new"}, {taken: "new", theirs: true},
		{want: "one"}, {theirs: true, want: "one"},
		{taken: "step", want: "one"}, {taken: "step", theirs: true, want: "one"},
		{sent: true, want: "build/one"}, {taken: "new", sent: true, want: "build/one"}, {taken: "new", sent: true, theirs: true, want: "build/one"},
		{taken: "new", onto: "two"}, {onto: "two", want: "one"}, {onto: "more", sent: true, want: "build/one"},
		{taken: "new", by: "between"}, {taken: "new", by: "build/two"}, {by: "between", want: "one"}, {taken: "step", by: "between", want: "one"},
	} {
		scene(t, func(r *run, a, b *device) {
			u, rules := &user{device: a, rnd: a.rnd}, &user{device: a, rnd: a.rnd}
			if x.theirs {
				rules.device = b
			}
			u.create("one", moved)
			u.create("two", new)
			u.create("more/one", "in another folder")
			a.pass()
			b.pass()
			if u.rename("one", cmp.Or(x.by, "build/one")); x.by != "" {
				u.rename(x.by, "build/one")
			}
			switch x.taken {
			case "new":
				u.create("one", "new")
			case "step":
				u.rename("two", "one")
			}
			if x.sent {
				a.pass()
			}
			u.rename(x.onto, "build")
			r.rules = append(r.rules, ignore.Parse([]byte("/build")))
			rules.create(ignore.File, "/build")
			rules.pass()
			r.programs[a] = a.start()
			defer r.close()
			for range 2 {
				r.programs[a].pass()
				b.pass()
			}
			at := ""
			r.programs[a].engine.WithRegion(r.org.region, func(now *region.Region) error {
				for p, n := range now.Tree.Walk() {
					if n.Hash == hashOf(moved) {
						at = p
					}
				}
				return nil
			})
			if at != x.want {
				t.Errorf("%+v: the region has it at %q", x, at)
			}
			if _, n := a.disk.find("build/one"); n == nil || n.content() != moved {
				t.Errorf("%+v: what was moved is gone from the disk", x)
			}
			if !r.history(map[[32]byte]bool{hashOf(moved): true})[hashOf(moved)] {
				t.Errorf("%+v: what was moved is not in the history", x)
			}
			if l := r.notKept(); len(l) > 0 {
				t.Errorf("%+v: %s", x, l)
			}
			// Without a move the law has a word to say; a move that was sent is none.
			if _, noted := a.moved[moved]; noted && x.sent {
				t.Errorf("%+v: it is noted as moved, though it was in step since", x)
			}
			clear(a.moved)
			if l := r.notKept(); (len(l) > 0) != (x.want == "") {
				t.Errorf("%+v: had it not been moved: %s", x, l)
			}
		})
	}
}

// A user moved a file to where it is ignored, and removed the folder that it had been in,
// which took it for gone with the rest of that: other devices lost it. It is no deletion,
// whatever becomes of the folder, or of those that this was in.
func TestWhatIsMovedToWhereItIsIgnoredStaysThoughItsFolderGoes(t *testing.T) {
	for _, x := range []struct {
		before  bool   // the rules are in step already
		swapped bool   // what was where it is moved has its name
		to      string // "more/y.txt", ignored by its name, or in an ignored folder
		touched bool   // there, on a disk that tells of no births
		watched bool   // it is all done at once, and the device looks at what it is told of
	}{
		{}, {before: true}, {swapped: true}, {before: true, swapped: true},
		{to: "build/one"}, {to: "build/one", before: true}, {to: "build/one", swapped: true}, {to: "build/one", before: true, swapped: true},
		{touched: true}, {before: true, touched: true},
		{to: "build/in/one", before: true}, {to: "build/one", touched: true}, {to: "build/one", before: true, touched: true},
		{watched: true, before: true}, {to: "build/one", watched: true, before: true},
	} {
		for _, folder := range []string{"folder", "folder/deep", "folder/deep/down"} {
			scene(t, func(r *run, a, b *device) {
				u := &user{device: a, rnd: a.rnd}
				rules := func() { u.create(ignore.File, "*.txt\n/build") }
				one, two := folder+"/one", folder+"/two"
				to := cmp.Or(x.to, "more/y.txt")
				a.disk.reuse = x.touched
				u.create(one, "was in step")
				u.create(two, "goes with its folder")
				u.create("more/three", "another")
				u.create("build/in/three", "another")
				inStep(a, b)
				if x.before {
					rules()
					inStep(a, b)
				}
				switch {
				case x.watched:
					a.blind = false
					r.daemon(a, func(e *engine.Device) {
						a.ask(r.t.Context(), e)
						u.step("move "+one+", and remove its folder", func() {
							a.disk.move(one, to)
							for p := two; p != "."; p = path.Dir(p) {
								a.disk.remove(p)
							}
						})
						time.Sleep(time.Minute)
					})
				case x.swapped:
					u.create(to, "gets its name")
					u.swap(to, one)
					u.remove("folder")
				default:
					u.rename(one, to)
					if x.touched {
						time.Sleep(time.Second)
						u.touch(to, func(s *tree.Stat) { s.MTime = a.disk.now() })
					}
					u.remove("folder")
				}
				if !x.before {
					rules()
				}
				for range 3 {
					a.pass()
					b.pass()
					time.Sleep(5 * time.Minute)
				}
				for _, d := range []*device{a, b} {
					if _, n := d.disk.find(one); n == nil || n.content() != "was in step" {
						t.Errorf("%+v, %s: %s has\n%s", x, folder, d.name, d.disk.listing())
					}
					if _, n := d.disk.find(two); n != nil {
						t.Errorf("%+v, %s: %s has what was removed", x, folder, d.name)
					}
				}
			})
		}
	}
}

// A folder was removed with another one in it, whose number an ignored folder got, on a
// disk that tells of no births: that is not the other one, moved. If it was, with a file
// in it, this stays.
func TestAnIgnoredFolderThatGotANumberIsNotWhatHadIt(t *testing.T) {
	for _, moved := range []bool{false, true} {
		scene(t, func(r *run, a, b *device) {
			u := &user{device: a, rnd: a.rnd}
			a.disk.reuse = true
			u.create(ignore.File, "/build")
			u.create("build/two", "another")
			u.create("folder/deep/one", "is in step")
			inStep(a, b)
			was, _ := a.disk.find("folder/deep")
			if moved {
				u.rename("folder/deep", "build/deep")
			} else {
				u.remove("folder/deep")
				u.step("mkdir build/other", func() {
					a.disk.link("build/other", a.disk.create(tree.Stat{Type: tree.Dir, Mode: 0o755}, nil))
				})
			}
			u.remove("folder")
			got := false
			a.disk.walk("build", func(_ string, id uint64, n *node) { got = got || id == was && n.stat.Birth == 0 })
			if !got {
				t.Errorf("moved %v: no ignored folder has its number, %d", moved, was)
			}
			inStep(a, b)
			for _, d := range []*device{a, b} {
				if _, n := d.disk.find("folder/deep/one"); (n != nil) != moved {
					t.Errorf("moved %v: %s has\n%s", moved, d.name, d.disk.listing())
				}
			}
		})
	}
}

// A user moved a file to where it is ignored and touched it there, on a disk that tells
// of no births: it was taken for another that had got its number, and other devices lost
// it. By its bytes it is known again. Where they are others, it may be another indeed.
func TestWhatIsTouchedWhereItIsIgnoredIsKnownByItsBytes(t *testing.T) {
	const text = "was in step"
	for _, x := range []struct {
		to     string
		folder bool // it goes there with another folder, into which it was moved
		before bool // the rules are in step already
		again  bool // it is removed, and the file there is a new one with its number
		bytes  string
		busy   bool // nobody can read it
		goes   bool // that is a deletion
	}{
		{to: "build/one"}, {to: "build/one", before: true}, {to: "one.o"}, {to: "one.o", before: true},
		{to: "build/in/one", folder: true}, {to: "build/in/one", folder: true, before: true},
		{to: "build/one", again: true, bytes: "has its num", goes: true}, {to: "one.o", again: true, bytes: "has its num", goes: true},
		{to: "build/one", again: true, bytes: "has its num", busy: true},
		{to: "build/one", again: true, bytes: "is of another size", goes: true},
	} {
		scene(t, func(r *run, a, b *device) {
			u := &user{device: a, rnd: a.rnd}
			a.disk.reuse = true
			rules := func() { u.create(ignore.File, "/build\n*.o") }
			u.create("more/two", "another")
			u.create("build/two", "another")
			u.create("folder/one", text)
			a.pass()
			b.pass()
			if x.before {
				rules()
				a.pass()
				b.pass()
			}
			was, _ := a.disk.find("folder/one")
			switch {
			case x.again:
				u.remove("folder/one")
				u.create(x.to, x.bytes)
			case x.folder:
				u.rename("folder/one", "more/one")
				u.rename("more", "build/in")
			default:
				u.rename("folder/one", x.to)
			}
			time.Sleep(time.Second)
			u.touch(x.to, func(s *tree.Stat) { s.MTime = a.disk.now() })
			if !x.before {
				rules()
			}
			if is, n := a.disk.find(x.to); n == nil || is != was || n.stat.Birth != 0 {
				t.Errorf("%+v: it has another number: %d, %d", x, was, is)
			}
			a.disk.fault = func(op, p string) error {
				if x.busy && op == "read" && p == x.to {
					return errIO
				}
				return nil
			}
			for range 3 {
				a.pass()
				b.pass()
				time.Sleep(5 * time.Minute)
			}
			for _, d := range []*device{a, b} {
				if _, n := d.disk.find("folder/one"); (n == nil) != x.goes || n != nil && n.content() != text {
					t.Errorf("%+v: %s has\n%s", x, d.name, d.disk.listing())
				}
			}
			if _, n := a.disk.find(x.to); n == nil {
				t.Errorf("%+v: what is ignored is gone", x)
			}
		})
	}
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

// A file of rules got longer than rules may be, or something else got its name: the rules
// that were read last go on. What they leave out stays, and what the long text would leave
// out is a file as any, which the law had taken for ignored.
func TestRulesThatAreTooLongLeaveThoseOfBefore(t *testing.T) {
	for _, folder := range []bool{false, true} {
		scene(t, func(r *run, a, b *device) {
			r.devices = r.devices[:2]
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			u.create(ignore.File, "left")
			u.create("left", "is left out")
			u.create("sent", "is in step")
			inStep(a, b)
			if folder {
				u.remove(ignore.File)
				u.create(ignore.File+"/sent", "in a folder")
			} else {
				u.overwrite(ignore.File, "sent\n"+strings.Repeat("#", ignore.MaxSize))
			}
			other.overwrite("sent", "is in step, edited")
			for _, settled := range []bool{false, true} {
				var at []string
				list := r.ignoredNow()
				for _, i := range list {
					at = append(at, i.d.name+":"+i.path)
				}
				if !slices.Equal(at, []string{"a:left"}) {
					t.Errorf("a folder: %v, settled: %v: ignored are %q", folder, settled, at)
				}
				inStep(a, b)
				r.stayed(list)
			}
			if _, n := a.disk.find("sent"); n == nil || n.content() != "is in step, edited" {
				t.Errorf("a folder: %v: a has\n%s", folder, a.disk.listing())
			}
			if _, n := b.disk.find("left"); n != nil {
				t.Errorf("a folder: %v: b has\n%s", folder, b.disk.listing())
			}
		})
	}
}

// A file of rules grew between the look at its size and the reading of it. What of it fits
// is not the rules: its last line would be cut, and leave out other things than it says.
func TestRulesThatGrewSinceTheirSizeWasLookedAtAreNotCut(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		u.create(ignore.File, "left")
		u.create("left", "is left out")
		inStep(a, b)
		const end = "\nsent-not"
		long := strings.Repeat("#", ignore.MaxSize-len("\nsent")) + end
		u.overwrite(ignore.File, "left\n")
		u.create("sent", "is to be sent")
		a.disk.fault = func(op, p string) error {
			if op == "read" && p == ignore.File {
				a.disk.fault = nil
				id, _ := a.disk.find(p)
				u.writeTo(id, p, long)
			}
			return nil
		}
		p := a.start()
		p.pass()
		if text := p.noted(); text != "left" {
			t.Errorf("rules of %d bytes are taken, %.20q", len(text), text)
		}
		p.end()
		inStep(a, b)
		if _, n := b.disk.find("sent"); n == nil {
			t.Errorf("b has\n%s", b.disk.listing())
		}
		if _, n := b.disk.find("left"); n != nil {
			t.Errorf("b has\n%s", b.disk.listing())
		}
	})
}

// Rules went, as a file of that name came from another device, and came back. What they
// leave out was a file as any between the two, and got an edit: the law saw the same rules
// before and after. Where nothing else had their name, what they leave out is not to go.
func TestRulesThatWentAndCameBackDidNotHoldAllTheTime(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		r.devices = r.devices[:2]
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create(ignore.File, "left")
		u.create("left", "is left out")
		inStep(a, b)
		list := r.ignoredNow()
		other.create(ignore.File, "something else")
		inStep(a, b)
		other.create("left", "is left out, edited")
		inStep(a, b)
		other.create(ignore.File, "left")
		inStep(a, b)
		if _, n := a.disk.find("left"); n == nil || n.content() != "is left out, edited" || len(list) != 1 {
			t.Errorf("%d were ignored, a has\n%s", len(list), a.disk.listing())
		}
		r.stayed(list)
		list = r.ignoredNow()
		inStep(a, b)
		r.removed["is left out, edited"] = true
		a.disk.remove("left")
		if l := r.notStayed(list); len(l) != 1 || !strings.Contains(l[0], "a: left ") {
			t.Errorf("of %d that are ignored one was removed, and it says %q", len(list), l)
		}
	})
}

// Another device moved a folder, and with it here what rules leave out in it, to where they
// do not: it is a file as any there, and got an edit. The law had taken it for ignored as
// long as the rules are the same. What is left out there as well is not to go, nor what is
// in a folder that is left out itself.
func TestWhatWentWithItsFolderToWhereItIsNotIgnoredIsAFileAsAny(t *testing.T) {
	for _, back := range []bool{false, true} {
		scene(t, func(r *run, a, b *device) {
			r.devices = r.devices[:2]
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			u.create(ignore.File, "c/*")
			u.create("c/left", "is left out")
			inStep(a, b)
			list := r.ignoredNow()
			other.rename("c", "e")
			inStep(a, b)
			other.overwrite("e/left", "is left out, edited")
			inStep(a, b)
			at := "e/left"
			if back {
				other.rename("e", "c")
				inStep(a, b)
				at = "c/left"
			}
			if _, n := a.disk.find(at); n == nil || n.content() != "is left out, edited" || len(list) != 1 {
				t.Errorf("back: %v: %d were ignored, a has\n%s", back, len(list), a.disk.listing())
			}
			r.stayed(list)
		})
	}
	for _, rules := range []string{"left", "c/*\ne/*", "/c"} {
		scene(t, func(r *run, a, b *device) {
			r.devices = r.devices[:1]
			u := &user{device: a, rnd: a.rnd}
			u.create(ignore.File, rules)
			u.create("c/left", "is left out")
			inStep(a, b)
			a.disk.move("c", "before")
			a.disk.move("before", "c")
			list := r.ignoredNow()
			a.disk.move("c", "e")
			a.disk.remove("e/left")
			r.removed["is left out"] = true
			if l := r.notStayed(list); len(l) != 1 || !strings.Contains(l[0], "a: c/left ") {
				t.Errorf("%q: of %d that are ignored one was removed, and it says %q", rules, len(list), l)
			}
		})
	}
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
