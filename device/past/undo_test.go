package past_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/tree"
	"signet/device/past"
)

func TestUndoBringsBackWhatOneDeviceDidAndNoMore(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.mkdir("d"))
	for _, f := range []string{"d/edited", "d/renamed", "d/both", "d/gone", "d/mode", "d/theirs", "d/replaced", "other"} {
		w.commit("a", w.write(f, "good "+f))
	}
	from := len(w.entries)
	w.commit("v", w.write("d/edited", "bad"), w.move("d/renamed", "d/renamed.locked"), w.write("d/both", "bad"), w.move("d/both", "d/both.locked"),
		w.delete("d/gone"), w.chmod("d/mode", 0o600), w.write("d/theirs", "bad"))
	w.commit("v", w.delete("d/replaced"), w.write("d/README", "pay"), w.mkdir("d/new"))
	w.commit("v", w.write("d/new/x", "bad"), w.write("d/replaced.locked", "bad"))
	w.commit("b", w.write("d/theirs", "opened and saved"), w.write("other", "worked on"), w.write("mine", "new"))
	w.commit("v", w.write("other", "bad"), w.move("other", "other.locked"))
	d := w.undo("v", from)
	w.wantFiles("d/", "d/edited=good d/edited", "d/renamed=good d/renamed", "d/both=good d/both", "d/gone=good d/gone", "d/mode=good d/mode",
		"d/replaced=good d/replaced", "d/theirs=opened and saved", "other=worked on", "mine=new")
	if got := whys(d.Left); !slices.Equal(got, []string{"d/theirs changed"}) {
		t.Errorf("left %q", got)
	}
	if again := w.undo("v", from); len(again.Ops) != 0 {
		t.Errorf("undone twice: %v", again.Ops)
	}
	for i, e := range w.entries {
		for _, it := range e.batch.Items {
			if it.Op.Content != nil && i > from && it.Op.Restored && !w.sealed(i)[string(it.Op.Content)] {
				t.Errorf("%q was never there", it.Op.Content)
			}
		}
	}
}

func TestUndoGivesANameBesideWhereSomebodyElseHasIt(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.write("f", "good"))
	w.commit("v", w.move("f", "f.locked"))
	w.commit("b", w.write("f", "written again"))
	w.undo("v", 1)
	w.wantFiles("f=written again", "f*=good")
}

func TestUndoLeavesWhatSomebodyElseDeletedOrFilled(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.write("f", "good"), w.write("g", "good"))
	w.commit("v", w.write("f", "bad"), w.mkdir("d"), w.delete("g"))
	w.commit("b", w.delete("f"), w.write("d/x", "into it"), w.write("g", "anew"))
	d := w.undo("v", 1)
	w.wantFiles("d/", "d/x=into it", "g=anew", "g*=good")
	if got := whys(d.Left); !slices.Equal(got, []string{"d not_empty", "f deleted"}) {
		t.Errorf("left %q", got)
	}
}

func TestUndoOfAFolderDeletedAndMadeAnewIsInPlace(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.mkdir("d"))
	w.commit("a", w.write("d/x", "good"), w.write("d/y", "good"))
	w.commit("v", w.delete("d"))
	w.commit("v", w.mkdir("d"))
	w.commit("v", w.write("d/x", "bad"))
	d := w.undo("v", 2)
	w.wantFiles("d/", "d/x=good", "d/y=good")
	if len(d.Gone) != 0 {
		t.Errorf("deleted %v", d.Gone)
	}
}

func TestUndoTurnsFoldersInsideOutBack(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.mkdir("a"))
	w.commit("a", w.mkdir("a/b"))
	w.commit("a", w.write("a/b/f", "good"), w.write("a/g", "good"))
	w.commit("v", w.move("a/b", "b"))
	w.commit("v", w.move("a", "b/a"))
	w.undo("v", 3)
	w.wantFiles("a/", "a/b/", "a/b/f=good", "a/g=good")
}

func TestUndoSetsPinsAgain(t *testing.T) {
	w := newWorld(t)
	w.commit("a", w.write("f", "good"))
	pin := tree.Op{Kind: tree.Mark, Node: w.id(), Name: "before", Seen: 0}
	w.commit("a", pin)
	w.commit("v", tree.Op{Kind: tree.Mark, Node: pin.Node})
	w.undo("v", 2)
	var pins tree.Pins
	for _, e := range w.entries {
		pins.Take(e.Entry, e.batch)
	}
	if l := pins; len(l) != 1 || l[0].Name != "before" || l[0].At != 0 {
		t.Errorf("%+v", l)
	}
	n := len(w.entries)
	if w.undo("v", 2); len(w.entries) != n {
		t.Error("set twice")
	}
}

// Whatever was done: undone for all devices, the region is what it was; restored
// to a time, too; and then there is nothing more to do.
func TestUndoingAllAndRestoringGiveTheSameTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		w.commit("a", w.mkdir("d0"), w.mkdir("d1"))
		random := func(steps int) {
			for range steps {
				w.random(r)
			}
		}
		random(rapid.IntRange(1, 15).Draw(r, "before"))
		from := len(w.entries)
		was := files(w.tree)
		random(rapid.IntRange(1, 15).Draw(r, "after"))
		back := func(d string) {
			if got := files(w.tree); got != was {
				r.Fatalf("%s: got\n%s\nwant\n%s", d, got, was)
			}
		}
		if rapid.Bool().Draw(r, "undo") {
			w.undo("", from)
			back("undo")
			if d := w.undo("", from); len(d.Ops) != 0 {
				r.Fatalf("undone twice: %+v", d.Ops)
			}
		} else {
			w.restore("", from-1)
			back("restore")
			if d := w.restore("", from-1); len(d.Ops) != 0 {
				r.Fatalf("restored twice: %+v", d.Ops)
			}
		}
	})
}

// Whatever two devices did, undoing one of them costs nothing of the other: what
// it wrote is there, and what was there before either; and it ends.
func TestUndoingOneDeviceKeepsWhatTheOtherWrote(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		w.commit("a", w.mkdir("d0"), w.mkdir("d1"))
		for range rapid.IntRange(1, 10).Draw(r, "before") {
			w.random(r)
		}
		from := len(w.entries)
		for range rapid.IntRange(1, 20).Draw(r, "after") {
			w.random(r)
		}
		named := map[signet.NodeID]bool{} // by the other
		for _, e := range w.entries[from:] {
			for _, it := range e.batch.Items {
				named[it.Op.Node] = named[it.Op.Node] || e.Device == device("b")
			}
		}
		kept := map[string]bool{}
		for _, n := range w.tree.Walk() {
			if n.Type == tree.File && (n.Content.Device == device("b") || n.Content.Position < uint64(from)) {
				kept[string(n.Data)] = true
			}
		}
		before := files(w.tree)
		w.undo("a", from)
		there := map[string]bool{}
		for _, n := range w.tree.Walk() {
			there[string(n.Data)] = true
			if n.Type == tree.File && n.Content.Device == device("a") && n.Content.Position >= uint64(from) && !named[n.ID] {
				r.Fatalf("%s of the device that was undone is there\n%s\nwas\n%s", n.Name, files(w.tree), before)
			}
		}
		for c := range kept {
			if !there[c] {
				r.Fatalf("%q is not there:\n%s\nwas\n%s", c, files(w.tree), before)
			}
		}
		// Folders that were given up may take a second time, not a third.
		for i := 0; len(w.undo("a", from).Ops) > 0; i++ {
			if i == 2 {
				r.Fatalf("it does not end\n%s", files(w.tree))
			}
		}
	})
}

// random writes an entry of one random operation by one of two devices.
func (w *world) random(r *rapid.T) {
	by := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "by")
	var all, dirs []string
	dirs = append(dirs, "")
	seen := map[string]bool{}
	for p, n := range w.tree.Walk() {
		if seen[p] {
			continue
		}
		seen[p] = true
		all = append(all, p)
		if n.Type == tree.Dir {
			dirs = append(dirs, p+"/")
		}
	}
	at := rapid.SampledFrom(dirs).Draw(r, "in") + rapid.SampledFrom([]string{"x", "y", "z"}).Draw(r, "name")
	some := "d0"
	if len(all) > 0 {
		some = rapid.SampledFrom(all).Draw(r, "some")
	}
	kind := rapid.IntRange(0, 5).Draw(r, "kind")
	there, taken := w.tree.Lookup(at)
	switch {
	case kind <= 1 && (!taken || there.Type == tree.File):
		w.commit(by, w.write(at, fmt.Sprint("content ", len(w.entries))))
	case kind == 2 && !taken:
		w.commit(by, w.mkdir(at))
	case kind == 3 && seen[some] && !taken:
		w.commit(by, w.move(some, at)) // into itself, too: nothing
	case kind == 4 && seen[some]:
		w.commit(by, w.delete(some))
	case kind == 5 && seen[some]:
		w.commit(by, w.chmod(some, rapid.SampledFrom([]uint32{0o600, 0o755}).Draw(r, "mode")))
	}
}

func BenchmarkUndoAndRestoreOf100000Files(b *testing.B) {
	w := newWorld(&testing.T{})
	var ops []tree.Op
	for d := range 100 {
		w.commit("a", w.mkdir(fmt.Sprint("d", d)))
	}
	for d := range 100 {
		dir := w.node(fmt.Sprint("d", d))
		for f := range 1000 {
			op := w.write("x", fmt.Sprint(d, " ", f))
			op.Parent, op.Name = dir.ID, fmt.Sprint("file ", f)
			ops = append(ops, op)
		}
	}
	w.commit("a", ops...)
	from, was := len(w.entries), w.at(len(w.entries)-1)
	ops = nil
	for p, n := range w.tree.Walk() {
		if n.Type == tree.File {
			edit := w.write(p, "locked")
			ops = append(ops, edit, tree.Op{Kind: tree.Move, Node: n.ID, BasePlace: n.Place.Revision, Parent: n.Parent, Name: n.Name + ".locked"})
		}
	}
	w.commit("v", ops...)
	b.Run("undo", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u := past.Undo{Of: func(e tree.Entry) bool { return e.Position >= uint64(from) }}
			t := tree.New()
			for _, e := range w.entries {
				u.Before(t, e.Entry, e.batch)
				u.Take(t, e.Entry, e.batch, t.Apply(e.Entry, e.batch))
			}
			wants, _ := u.Wants(w.tree)
			if d := past.Become(w.tree, wants); len(d.Ops) < 200_000 {
				b.Fatalf("%d operations", len(d.Ops))
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, _ := past.FolderThen(was, w.tree, "")
			wants, _ := f.Wants(w.tree)
			if d := past.Become(w.tree, wants); len(d.Ops) < 200_000 {
				b.Fatalf("%d operations", len(d.Ops))
			}
		}
	})
}
