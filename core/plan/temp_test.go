package plan

import (
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/tree"
)

// aside is where a device has a node at the top for a moment, as a crash between
// two moves of one plan leaves it.
func (d *device) aside(from string) (n id, path string) {
	d.w.t.Helper()
	n = d.must(from)
	path = TempName(n, 1)
	d.mv(from, path)
	return n, path
}

// A user saves over a node's name for a moment, where a crash left the node: what
// he saved has that name everywhere from then on, and the node needs another.
func TestWhatIsSavedOverANameForAMomentKeepsIt(t *testing.T) {
	w, ann, ben := twoDisks(t)
	write("a", "1")(ann)
	w.settle()
	n, temp := ben.aside("a")
	ben.write("a", "1") // is that node from now on: its name was agreed
	ben.save(temp, "mine")
	w.settle()
	if _, ok := ann.find(temp); !ok {
		t.Fatalf("ann has\n%s", ann.list())
	}
	ann.mv("a", "A")
	ann.sync()
	p := ben.sync()
	if len(p.Down) != 2 || p.Down[0].Name != TempName(n, 2) || p.Down[1].Name != "A" {
		t.Errorf("done %s", p.text())
	}
	w.settle()
	ben.wants(temp + ": mine\nA: 1")
}

// The names that all of a ring would have for a moment are taken: none of them
// could go aside, and all waited.
func TestARingGoesAsideThoughItsNamesForAMomentAreTaken(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(write("a", "1"), write("b", "2"))(ann)
	w.settle()
	var want []string
	for _, n := range []id{ann.must("a"), ann.must("b")} {
		ann.write(TempName(n, 1), "mine")
		ann.write(TempName(n, 2), "mine too")
		want = append(want, TempName(n, 1)+": mine", TempName(n, 2)+": mine too")
	}
	w.settle()
	do(mv("a", "t"), mv("b", "a"), mv("t", "b"))(ann)
	ann.sync()
	p := ben.sync()
	if len(p.Down) != 3 || !strings.HasSuffix(p.Down[0].Name, "-3") {
		t.Errorf("done %s", p.text())
	}
	w.settle()
	slices.Sort(want)
	ben.wants(strings.Join(append(want, "a: 2", "b: 1"), "\n"))
}

// A name that a node of the same plan is to have is none for a moment: both would
// be in each other's way.
func TestANameForAMomentIsWantedByNobody(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(write("a", "1"), write("b", "2"))(ann)
	w.settle()
	n, m := ann.must("a"), ann.must("b")
	do(mv("a", "t"), mv("b", "a"), mv("t", "b"), write(TempName(n, 1), "3"), write(TempName(m, 1), "4"))(ann)
	ann.sync()
	p := ben.sync()
	for _, a := range p.Down {
		if a.Name == TempName(n, 1) && a.Node == n || a.Name == TempName(m, 1) && a.Node == m {
			t.Errorf("done %s", p.text())
		}
	}
	w.settle()
}

// What has the name for a moment may be spelled in other letters, or be left out.
func TestANameForAMomentIsFreeAsTheDiskSeesIt(t *testing.T) {
	for _, rules := range []string{"", ".SIGNET*\n"} {
		w, ann, ben := twoDisks(t)
		write("a", "1")(ann)
		w.settle()
		n := ben.must("a")
		mine := strings.ToUpper(TempName(n, 1))
		ben.setRules(rules)
		ben.write(mine, "mine")
		w.settle()
		ann.mv("a", "A")
		ann.sync()
		if p := ben.sync(); len(p.Down) != 2 || p.Down[0].Name != TempName(n, 2) {
			t.Errorf("done %s", p.text())
		}
		w.settle()
		ben.wants(mine + ": mine\nA: 1")
	}
}

// Whoever has a name for a moment goes on from there; no device is told.
func TestNoNameForAMomentIsAMove(t *testing.T) {
	for _, i := range []int{1, 2, 3, 10} {
		w := newWorld(t, "ann", "ben")
		ann, ben := w.devices[0], w.devices[1]
		write("f", "1")(ann)
		w.settle()
		n, before := ben.must("f"), len(w.journal)
		ben.mv("f", TempName(n, i))
		if p := ben.sync(); len(p.Up) > 0 || len(p.Down) != 1 || p.Down[0].Verb != Move || p.Down[0].Name != "f" {
			t.Errorf("from name %d: %s", i, p.text())
		}
		w.settle()
		l := Local{Name: TempName(n, i), Type: tree.File}
		if b, ok := Carried(ben.base[n], l, Action{Verb: Move, Node: n, Name: l.Name}); ok {
			t.Errorf("name %d is agreed: %v", i, b)
		}
		if len(w.journal) != before || ann.list() != "f: 1" {
			t.Errorf("ann has\n%s", ann.list())
		}
	}
}

func TestOthersNamesAreNoNamesForAMoment(t *testing.T) {
	n, dir := id{1}, id{2}
	for i := 1; i < 20; i++ {
		if !isTemp(n, signet.RootNode, TempName(n, i)) {
			t.Errorf("%q is not taken for one", TempName(n, i))
		}
		if isTemp(n, dir, TempName(n, i)) || isTemp(dir, signet.RootNode, TempName(n, i)) {
			t.Errorf("%q is taken for one, in a folder or of another", TempName(n, i))
		}
	}
	for _, tail := range []string{"-", "-0", "-1", "-02", "-+2", "--2", "2", "-2x", " (conflict 2026-01-01 1200 one ab12)"} {
		if s := TempName(n, 1) + tail; isTemp(n, signet.RootNode, s) {
			t.Errorf("%q is taken for one", s)
		}
	}
	// A move into a folder under such a name is one like any other.
	l := Local{Parent: dir, Name: TempName(n, 1), Type: tree.File}
	if _, ok := Carried(Base{Type: tree.File}, l, Action{Verb: Move, Node: n, Parent: dir, Name: l.Name}); !ok {
		t.Error("a move into a folder is not agreed")
	}
}
