package sim

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/ignore"
)

// What seeds found of rules and of what they leave out, said in a few steps each.

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
