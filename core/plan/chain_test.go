package plan

import (
	"slices"
	"strings"
	"testing"
)

// lostRace is a world in which ben's edit of f, "2", came after ann's, "1", and ben does not
// know it yet.
func lostRace(t *testing.T) (w *world, ben *device) {
	t.Helper()
	w = newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	ann.acknowledges, ben.acknowledges = true, true
	ann.write("f", "0")
	w.settle()
	ann.write("f", "1")
	step(ann)
	ben.write("f", "2")
	step(ben)
	return w, ben
}

// A file lost a race, and its user saved on. Whatever came between, what was saved since
// is in the conflict copy that was made first, and there is no other.
func TestWhatIsSavedOverAFileThatLostIsInItsCopy(t *testing.T) {
	// The device looks while a file is being written: the copy comes to its disk.
	unread := func(path string) deed {
		return func(d *device) {
			d.unsettled = map[id]bool{d.must(path): true}
			step(d)
			d.unsettled = nil
		}
	}
	// What is planned is sent, and then the device is ended.
	killed := func(d *device) {
		p := d.plan()
		d.note(p)
		d.commit(p.Up, false)
		d.pull()
	}
	// step of the other one, and what it does to the conflict copy.
	copied := func(f func(d *device, path string)) deed {
		return func(d *device) {
			o := d.w.devices[0]
			o.pull()
			step(o)
			step(o)
			f(o, copyOn(o))
			step(o)
		}
	}
	chmodded := func(mode uint32) deed { return func(d *device) { d.chmod("f", mode) } }
	copyGone := copied(func(d *device, path string) { d.rm(path) })
	copyMoved := copied(func(d *device, path string) { d.mv(path, "g") })
	copyEdited := copied(func(d *device, path string) { d.write(path, "9") })
	pulled := func(d *device) { d.pull() }
	for _, c := range []struct {
		name  string
		deeds deed
		want  string
	}{
		{"nothing", none, "f CC: 2\nf: 1"},
		{"saved", write("f", "3"), "f CC: 3\nf: 1"},
		{"saved by renaming", save("f", "3"), "f CC: 3\nf: 1"},
		{"saved often", do(write("f", "3"), step, write("f", "4"), step, write("f", "5")), "f CC: 3\nf: 5"},
		{"saved as it was at first", write("f", "0"), "f CC: 0\nf: 1"},
		{"saved as the other has it", write("f", "1"), "f CC: 2\nf: 1"},
		{"saved, being written", do(write("f", "3"), unread("f")), "f CC: 3\nf: 1"},
		{"saved, being written, with another mode", do(write("f", "3"), unread("f"), chmodded(0o700)), "f CC: 3\nf: 1 (x)"},
		{"another mode, being written", do(unread("f"), chmodded(0o700)), "f CC: 2\nf: 1 (x)"},
		{"being written often", do(write("f", "3"), unread("f"), step, write("f", "4"), unread("f"), write("f", "5")), "f CC: 5\nf: 1"},
		{"being written, the copy is removed here", do(write("f", "3"), unread("f"), func(d *device) { d.rm(copyOn(d)) }), "f CC: 3\nf: 1"},
		{"being written, the copy as it is is removed here", do(unread("f"), func(d *device) { d.rm(copyOn(d)) }), "f: 1"},
		{"being written, the copy gets the same here", do(write("f", "3"), unread("f"), func(d *device) { d.write(copyOn(d), "3") }), "f CC: 3\nf: 1"},
		{"being written, the copy gets another here", do(write("f", "3"), unread("f"), func(d *device) { d.write(copyOn(d), "4") }), "f CC: 3\nf CC: 4\nf: 1"},
		{"being written, the copy gets the same elsewhere", do(write("f", "9"), unread("f"), copyEdited, pulled), "f CC: 9\nf: 1"},
		{"being written, the copy is removed here, and it ends", do(write("f", "3"), unread("f"), func(d *device) { d.rm(copyOn(d)) }, killed), "f CC: 3\nf: 1"},
		{"removed", rm("f"), "f CC: 2\nf: 1"},
		{"the copy is removed", do(copyGone, write("f", "3"), pulled), "f CC: 3\nf: 1"},
		{"the copy is removed, nothing saved", do(copyGone, pulled), "f: 1"},
		{"the copy is moved", do(copyMoved, write("f", "3"), pulled), "f: 1\ng: 3"},
		{"being written, the copy is moved", do(write("f", "3"), unread("f"), copyMoved, pulled), "f: 1\ng: 3"},
		{"being written, the copy is removed", do(write("f", "3"), unread("f"), copyGone, pulled), "f CC: 3\nf: 1"},
		{"the copy is edited", do(copyEdited, pulled), "f CC: 9\nf: 1"},
		{"the copy is edited, and saved", do(copyEdited, write("f", "3"), pulled), "f CC: 3\nf CC: 9\nf: 1"},
		{"the node is removed", do(func(d *device) { o := d.w.devices[0]; o.rm("f"); step(o) }, write("f", "3"), pulled), "f CC: 3"},
		{"being written, the node is removed", do(write("f", "3"), unread("f"), func(d *device) { o := d.w.devices[0]; o.rm("f"); step(o) }, pulled), "f CC: 3"},
	} {
		w, ben := lostRace(t)
		c.deeds(ben)
		w.settle()
		lines := strings.Split(conflictsShort(ben.lines()), "\n")
		slices.Sort(lines)
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s: ben has\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// A file lost, cannot be read since, and gets another mode, which goes to its node once.
func TestModeOfAFileThatLostIsSentOnce(t *testing.T) {
	w, ben := lostRace(t)
	ben.unsettled = map[id]bool{ben.must("f"): true}
	step(ben) // the copy comes to the disk
	ben.chmod("f", 0o700)
	step(ben)
	if p := ben.turn(); len(p.Up) > 0 {
		t.Errorf("it was sent, and again is%s", p.text())
	}
	ben.unsettled = nil
	w.settle()
	if got := conflictsShort(w.devices[0].lines()); got != "f CC: 2\nf: 1 (x)" {
		t.Errorf("ann has\n%s", got)
	}
}

// A file that lost is saved by renaming another over it: that one is the copy at once, and
// the copy is not brought from the service first.
func TestWhatIsRenamedOverAFileThatLostIsItsCopy(t *testing.T) {
	_, ben := lostRace(t)
	ben.save("f", "3")
	file := ben.must("f")
	p := ben.plan()
	if len(p.Rebind) != 1 || len(p.Up) != 1 || p.Rebind[0].From != file || p.Up[0].Node != p.Rebind[0].To || ben.tree.Ref(p.Up[0].Node).ConflictOf().IsZero() {
		t.Errorf("%v is saved; planned is%s", file, p.text())
	}
}

// What is saved to a copy is not deleted with the folder that it lies in, where its user
// took the file that it is a copy of out of there.
func TestFolderOfACopyThatIsSavedToIsNotDeleted(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	ann.acknowledges, ben.acknowledges = true, true
	do(mkdir("d"), write("d/f", "0"))(ann)
	w.settle()
	ann.write("d/f", "1")
	step(ann)
	ben.write("d/f", "2")
	step(ben)
	ben.write("d/f", "3")
	ben.unsettled = map[id]bool{ben.must("d/f"): true}
	step(ben) // the copy comes to the disk
	ben.unsettled = nil
	do(mv("d/f", "f"), rm("d"))(ben)
	w.settle()
	if got := conflictsShort(ben.lines()); got != "d/\nd/f CC: 3\nf: 1" {
		t.Errorf("ben has\n%s", got)
	}
}

// copyOn is the path of a conflict copy on a disk.
func copyOn(d *device) string {
	d.w.t.Helper()
	for path := range d.paths() {
		if strings.Contains(path, " (conflict ") {
			return path
		}
	}
	d.w.t.Fatalf("%s has no conflict copy:\n%s", d.name, d.list())
	return ""
}
