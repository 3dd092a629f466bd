package plan

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/tree"
)

// choose gives nodes the marks that a plan asks for.
func (d *device) choose(p *Plan) {
	d.w.t.Helper()
	for _, n := range p.Chosen {
		if _, here := d.disk[n]; !here || d.marks[n] != 0 {
			d.w.t.Fatalf("%s: %v is to be marked", d.name, n)
		}
		d.marks[n] = In
	}
}

// mark gives a node another mark.
func (d *device) mark(n id, m Mark) {
	if d.marks == nil {
		d.marks = Marks{}
	}
	if d.marks[n] = m; m == 0 {
		delete(d.marks, n)
	}
	d.before.Last = nil
}

func (d *device) markAt(path string, m Mark) {
	d.w.t.Helper()
	n, ok := d.tree.Lookup(path)
	if path != "" && !ok {
		d.w.t.Fatalf("the journal has no %q", path)
	}
	d.mark(n.ID, m)
}

func (d *device) selectAll() { d.marks, d.before.Last = nil, nil }

// releases checks that what is released is not selected. As in the engine, its
// base does not outlive it, whenever there is a crash.
func (d *device) releases(a Action) {
	d.w.t.Helper()
	if a.Verb != Release {
		return
	}
	r := d.tree.Ref(a.Node)
	if !r.Live() || d.marks.Selected(r) {
		d.w.t.Fatalf("%s releases %q, which is selected or not there", d.name, d.tree.Path(a.Node))
	}
	delete(d.base, a.Node)
}

// leftOut is what of the journal a disk is not to show.
func (d *device) leftOut(local map[id]Local) func(tree.Ref) bool {
	ignored := d.ignored(local)
	return func(r tree.Ref) bool { return ignored != nil && ignored(r) || !d.marks.Selected(r) }
}

// lingers reports whether something that is not observed, or waits for a name
// elsewhere, is in or below a folder.
func lingers(folder id, local map[id]Local, kept map[id]map[string]bool, held map[id]bool) bool {
	from := maps.Clone(held)
	for n := range kept {
		from[n] = true
	}
	for n := range from {
		for ; n != signet.RootNode; n = local[n].Parent {
			if n == folder {
				return true
			}
		}
	}
	return false
}

// TestSelectionDeletesNothing lets users of three devices do anything, and change
// what is selected on each at any time, and now and then the rules. A plan never
// deletes what nobody removed, no bytes are lost, and in the end each device has
// what is selected on it, and nothing else.
func TestSelectionDeletesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben", "cas")
		ruled := rapid.IntRange(0, 3).Draw(rt, "ruled") == 0
		for _, d := range w.devices {
			d.acknowledges = rapid.Bool().Draw(rt, "acknowledges")
		}
		seen := map[[32]byte]bool{}
		for range rapid.IntRange(1, 5).Draw(rt, "choices") {
			for _, d := range w.devices {
				d.drawMarks(rt)
				if ruled && rapid.Bool().Draw(rt, "changes") {
					d.setRules(rapid.SampledFrom(someRules).Draw(rt, "rules"))
				}
			}
			w.live(rt, seen)
		}
		if ruled {
			rules := rapid.SampledFrom(someRules).Draw(rt, "last rules")
			for _, d := range w.devices {
				d.setRules(rules)
			}
		}
		w.turns()
		there := map[[32]byte]bool{}
		for _, d := range w.devices {
			for _, l := range d.disk {
				there[l.Hash] = true
			}
		}
		for sum := range seen {
			if !w.inJournal(sum) && !there[sum] {
				rt.Fatalf("bytes %q are lost", w.bytes[sum])
			}
		}
		for _, d := range w.devices {
			d.setRules("")
			d.selectAll()
		}
		w.settle()
	})
}

// drawMarks changes some marks.
func (d *device) drawMarks(rt *rapid.T) {
	nodes := []id{signet.RootNode}
	for _, n := range d.tree.Walk() {
		nodes = append(nodes, n.ID)
	}
	for range rapid.IntRange(0, 3).Draw(rt, "marks") {
		n := rapid.SampledFrom(nodes).Draw(rt, "marked")
		m := Mark(rapid.IntRange(0, 3).Draw(rt, "mark"))
		if n == signet.RootNode && (m == Out || m == In) {
			m = 0
		}
		d.mark(n, m)
	}
}

func twoInStep(t *testing.T, deeds ...func(*device)) (ann, ben *device) {
	t.Helper()
	w := newWorld(t, "ann", "ben")
	do(deeds...)(w.devices[0])
	w.settle()
	return w.devices[0], w.devices[1]
}

func wantDisk(t *testing.T, d *device, lines ...string) {
	t.Helper()
	if got := d.list(); got != strings.Join(lines, "\n") {
		t.Fatalf("%s has\n%s\nwant\n%s", d.name, got, strings.Join(lines, "\n"))
	}
}

func TestUnselectedFolderGoesFromOneDiskAlone(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"), mkdir("d/e"), write("d/e/y", "2"), write("z", "3"))
	before := len(ann.w.journal)
	ann.markAt("d", Out)
	ann.w.turns()
	wantDisk(t, ann, "z: 3")
	wantDisk(t, ben, "d/", "d/e/", "d/e/y: 2", "d/x: 1", "z: 3")
	if n := len(ann.w.journal) - before; n != 0 {
		t.Errorf("it took %d entries", n)
	}
	// What others do in it, and with it, is theirs.
	do(write("d/new", "4"), rm("d/e"), mv("d", "f"))(ben)
	ann.w.turns()
	wantDisk(t, ann, "z: 3")
	ann.markAt("f", 0)
	ann.w.turns()
	wantDisk(t, ann, "f/", "f/new: 4", "f/x: 1", "z: 3")
}

func TestChangesOfWhatIsUnselectedAreSentFirst(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"), write("d/m", "1"))
	do(write("d/x", "ann's"), write("d/new", "2"), mv("d/m", "d/n"))(ann)
	ann.markAt("d", Out)
	ann.w.turns()
	wantDisk(t, ann, "")
	wantDisk(t, ben, "d/", "d/n: 1", "d/new: 2", "d/x: ann's")
}

func TestConflictInWhatIsUnselectedLosesNothing(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"))
	ann.write("d/x", "ann's")
	ben.write("d/x", "ben's")
	ben.sync()
	ann.markAt("d", Out)
	ann.w.turns()
	wantDisk(t, ann, "")
	if got := conflictsShort(ben.lines()); !strings.Contains(got, "ann's") || !strings.Contains(got, "ben's") {
		t.Fatalf("ben has\n%s", ben.list())
	}
}

func TestUnselectedFolderStaysForWhatIsNotSynchedInIt(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), mkdir("d/e"), write("d/x", "1"), write("d/e/y", "2"))
	for _, d := range ann.w.devices {
		d.setRules("*.o\n")
	}
	ann.write("d/e/x.o", "ann's own")
	ann.markAt("d", Out)
	ann.w.turns()
	wantDisk(t, ann, "d/", "d/e/", "d/e/x.o: ann's own")
	wantDisk(t, ben, "d/", "d/e/", "d/e/y: 2", "d/x: 1")
	if p := ann.plan(); len(p.Held) != 1 || p.Held[0].Why != Lingers || ann.tree.Path(p.Held[0].Node) != "d/e" {
		t.Fatalf("ann plans %s", p.text())
	}
	ann.rm("d/e/x.o")
	ann.w.turns()
	wantDisk(t, ann, "")
}

func TestFileInUseStaysUntilItIsSettled(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"), write("d/y", "2"))
	ann.write("d/x", "half")
	ann.unsettled = map[id]bool{ann.must("d/x"): true}
	ann.markAt("d", Out)
	for range 3 {
		p := ann.plan()
		ann.note(p)
		ann.apply(p.Down)
		ann.commit(p.Up, false)
		ann.pull()
	}
	wantDisk(t, ann, "d/", "d/x: half")
	ann.write("d/x", "whole")
	ann.unsettled = nil
	ann.w.turns()
	wantDisk(t, ann, "")
	wantDisk(t, ben, "d/", "d/x: whole", "d/y: 2")
}

func TestNewFolderOfAnUnselectedOnesNameIsAnother(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"))
	ann.markAt("d", Out)
	ann.w.turns()
	do(mkdir("d"), write("d/x", "ann's"))(ann)
	ann.w.turns()
	if got := conflictsShort(ann.lines()); got != "d CC/\nd CC/x: ann's" {
		t.Errorf("ann has\n%s", got)
	}
	if got := conflictsShort(ben.lines()); got != "d CC/\nd CC/x: ann's\nd/\nd/x: 1" {
		t.Errorf("ben has\n%s", got)
	}
}

func TestMovesIntoAndOutOfWhatIsUnselected(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"), mkdir("s"), write("s/y", "2"))
	ann.markAt("d", Out)
	ann.w.turns()
	do(mv("s/y", "d/y"), mv("d/x", "s/x"))(ben)
	ann.w.turns()
	wantDisk(t, ann, "s/", "s/x: 1")
	wantDisk(t, ben, "d/", "d/y: 2", "s/", "s/x: 1")
	// A folder that is deleted here stays for what is not selected in it, and is
	// not made again for that.
	ben.mv("d", "s/d")
	ann.w.turns()
	ann.rm("s")
	ann.w.turns()
	wantDisk(t, ann, "")
	wantDisk(t, ben, "s/", "s/d/", "s/d/y: 2")
}

func TestNewSiblingsAreNotMadeInAFolderThatIsPart(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("a"), write("a/x", "1"), mkdir("b"), write("b/y", "2"))
	ann.markAt("", Part)
	ann.markAt("a", In)
	ann.markAt("b", Out)
	ann.w.turns()
	do(mkdir("c"), write("c/z", "3"), write("a/new", "4"))(ben)
	ann.w.turns()
	wantDisk(t, ann, "a/", "a/new: 4", "a/x: 1")
	// What is made here is selected here, and a deletion of it is one.
	do(mkdir("mine"), write("mine/w", "5"))(ann)
	ann.w.turns()
	wantDisk(t, ann, "a/", "a/new: 4", "a/x: 1", "mine/", "mine/w: 5")
	if n, _ := ann.tree.Lookup("mine"); ann.marks[n.ID] != In {
		t.Errorf("mine has mark %d", ann.marks[n.ID])
	}
	ben.write("mine/v", "6")
	ann.w.turns()
	ann.rm("mine")
	ann.w.turns()
	wantDisk(t, ben, "a/", "a/new: 4", "a/x: 1", "b/", "b/y: 2", "c/", "c/z: 3")
}

func TestTwoThatMakeOneFolderWhereNewOnesAreNotSelected(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("a"))
	ann.markAt("", Part)
	ann.markAt("a", In)
	ann.w.turns()
	do(mkdir("n"), write("n/same", "1"), write("n/b", "2"))(ben)
	do(mkdir("n"), write("n/same", "1"), write("n/a", "3"))(ann)
	p := ann.plan()
	ann.note(p)
	ben.sync()
	ann.commit(p.Up, false)
	ann.w.turns()
	if ann.list() != ben.list() || strings.Contains(ann.list(), "conflict") {
		t.Fatalf("ann has\n%s\nben has\n%s", ann.list(), ben.list())
	}
}

func TestReleasedAndSelectedAgainIsNoDeletion(t *testing.T) {
	ann, ben := twoInStep(t, mkdir("d"), write("d/x", "1"), write("d/y", "2"))
	ann.markAt("d", Out)
	p := ann.plan()
	ann.note(p)
	ann.apply(p.Down[:1]) // and then it crashes
	ann.markAt("d", 0)
	ann.w.turns()
	wantDisk(t, ann, "d/", "d/x: 1", "d/y: 2")
	wantDisk(t, ben, "d/", "d/x: 1", "d/y: 2")
}

func TestManyAreReleasedByAndBy(t *testing.T) {
	d := newWorld(t, "ann").devices[0]
	fill(d, 20, 1000)
	commitAll(d, Make(d.input()).Up)
	d.note(Make(d.input()))
	for i := range 20 {
		d.mark(id{1, byte(i)}, Out)
	}
	plans := 0
	for ; len(d.disk) > 0 && plans < 5; plans++ {
		in := d.input()
		in.Marks = d.marks
		p := Make(in)
		d.note(p)
		for _, a := range p.Down {
			if l := d.disk[a.Node]; a.Verb != Release || a.Remote.Hash != l.Hash {
				t.Fatalf("plans to %s %v", a.Verb, a.Node)
			}
			delete(d.disk, a.Node)
			delete(d.base, a.Node)
		}
	}
	if plans != 2 {
		t.Errorf("it took %d plans, and left %d", plans, len(d.disk))
	}
}
