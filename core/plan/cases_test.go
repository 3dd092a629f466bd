package plan

import (
	"slices"
	"strings"
	"testing"

	"signet/core/tree"
)

// cases of two devices: what both have, what each does without knowing of the
// other, in the order in which they commit, and what both disks show then.
// "CC" stands for the suffix of a conflict copy.
var cases = []struct {
	name     string
	start    func(a *device)
	ann, ben func(d *device)
	want     string
}{
	{"edit and edit", write("f", "0"), write("f", "1"), write("f", "2"), "f CC: 2\nf: 1"},
	{"edit to the same", write("f", "0"), write("f", "1"), write("f", "1"), "f: 1"},
	{"save and save", write("f", "0"), save("f", "1"), save("f", "2"), "f CC: 2\nf: 1"},
	{"create and create", none, write("f", "1"), write("f", "2"), "f CC: 2\nf: 1"},
	{"create the same", none, write("f", "1"), write("f", "1"), "f: 1"},
	{"create the same folder", none, do(mkdir("d"), write("d/a", "1")), do(mkdir("d"), write("d/b", "2")), "d/\nd/a: 1\nd/b: 2"},
	{"chmod and edit", write("f", "0"), chmod("f"), write("f", "1"), "f: 1 (x)"},
	{"edit and delete", write("f", "0"), write("f", "1"), rm("f"), "f: 1"},
	{"delete and edit", write("f", "0"), rm("f"), write("f", "1"), "f: 1"},
	{"delete, recreate, and edit", write("f", "0"), do(rm("f"), step, write("f", "new")), write("f", "1"), "f CC: new\nf: 1"},
	{"delete and delete", write("f", "0"), rm("f"), rm("f"), ""},
	{"delete folder and edit inside", do(mkdir("d"), write("d/a", "0"), write("d/b", "0")), rm("d"), write("d/a", "1"), "d/\nd/a: 1"},
	{"edit inside and delete folder", do(mkdir("d"), write("d/a", "0"), write("d/b", "0")), write("d/a", "1"), rm("d"), "d/\nd/a: 1"},
	{"delete folder and add inside", do(mkdir("d"), write("d/a", "0")), rm("d"), write("d/b", "1"), "d/\nd/b: 1"},
	{"create and delete at once", none, do(write("f", "0"), rm("f")), none, ""},
	{"move and edit", write("f", "0"), mv("f", "g"), write("f", "1"), "g: 1"},
	{"edit and move", write("f", "0"), write("f", "1"), mv("f", "g"), "g: 1"},
	{"move folder and edit child", do(mkdir("d"), write("d/a", "0")), mv("d", "e"), write("d/a", "1"), "e/\ne/a: 1"},
	{"rename and edit in one", write("f", "0"), do(mv("f", "g"), write("g", "1")), none, "g: 1"},
	{"move where another creates", write("x", "0"), mv("x", "y"), write("y", "1"), "y CC: 1\ny: 0"},
	{"create where another moves", write("x", "0"), write("y", "1"), mv("x", "y"), "y CC: 0\ny: 1"},
	{"move over another", do(write("x", "0"), write("y", "1")), mv("x", "y"), none, "y: 0"},
	{"move to two places", write("f", "0"), mv("f", "a"), mv("f", "b"), "a: 0"},
	{"move to the same place", write("f", "0"), mv("f", "a"), mv("f", "a"), "a: 0"},
	{"two to one place", do(write("x", "0"), write("z", "1")), mv("x", "y"), mv("z", "y"), "y CC: 1\ny: 0"},
	{"swap", do(write("a", "1"), write("b", "2")), do(mv("a", "t"), mv("b", "a"), mv("t", "b")), none, "a: 2\nb: 1"},
	{"rotation", do(write("a", "1"), write("b", "2"), write("c", "3")),
		do(mv("c", "t"), mv("b", "c"), mv("a", "b"), mv("t", "a")), none, "a: 3\nb: 1\nc: 2"},
	{"log rotation", do(write("a", "1"), write("b", "2")), do(mv("b", "c"), mv("a", "b"), write("a", "3")), none, "a: 3\nb: 1\nc: 2"},
	{"log rotation with equal bytes", do(write("a", "1")), do(mv("a", "b"), write("a", "1")), none, "a: 1\nb: 1"},
	{"folder moved, made again, some moved back", do(mkdir("A"), write("A/1", "1"), write("A/2", "2")),
		do(mv("A", "B"), mkdir("A"), mv("B/1", "A/1")), none, "A/\nA/1: 1\nB/\nB/2: 2"},
	{"folder moved below its successor", do(mkdir("A"), write("A/1", "1")),
		do(mv("A", "t"), mkdir("A"), mv("t", "A/old")), none, "A/\nA/old/\nA/old/1: 1"},
	{"rename folder and child", do(mkdir("d"), write("d/a", "0")), do(mv("d/a", "d/b"), mv("d", "e")), none, "e/\ne/b: 0"},
	{"rename folder and, elsewhere, child", do(mkdir("d"), write("d/a", "0")), mv("d", "e"), mv("d/a", "d/b"), "e/\ne/b: 0"},
	{"inversion", do(mkdir("A"), mkdir("A/B"), write("A/B/x", "0")), do(mv("A/B", "B"), mv("A", "B/A")), none, "B/\nB/A/\nB/x: 0"},
	{"inversion against edit", do(mkdir("A"), mkdir("A/B"), write("A/B/x", "0")), do(mv("A/B", "B"), mv("A", "B/A")), write("A/B/x", "1"), "B/\nB/A/\nB/x: 1"},
	{"there and back", write("f", "0"), do(mv("f", "g"), mv("g", "f")), none, "f: 0"},
	{"into each other", do(mkdir("X"), mkdir("Y")), mv("X", "Y/X"), mv("Y", "X/Y"), "Y/\nY/X/"},
	{"move folder and delete it", do(mkdir("d"), write("d/a", "0")), mv("d", "e"), rm("d"), "e/\ne/a: 0"},
	{"delete folder and move it", do(mkdir("d"), write("d/a", "0")), rm("d"), mv("d", "e"), "e/\ne/a: 0"},
	{"delete folder and move into it", do(mkdir("d"), write("f", "0")), rm("d"), mv("f", "d/f"), "d/\nd/f: 0"},
	{"move into folder and delete it", do(mkdir("d"), write("f", "0")), mv("f", "d/f"), rm("d"), "d/\nd/f: 0"},
	{"file to folder", write("f", "0"), do(rm("f"), mkdir("f"), write("f/a", "1")), none, "f/\nf/a: 1"},
	{"folder to file", do(mkdir("d"), write("d/a", "0")), do(rm("d"), write("d", "1")), none, "d: 1"},
	{"folder to file while another adds", do(mkdir("d"), write("d/a", "0")), do(rm("d"), write("d", "1")), write("d/b", "2"), "d CC: 1\nd/\nd/b: 2"},
	{"edit, and elsewhere rename and a folder", write("a", "0"), write("a", "1"), do(mv("a", "b"), mkdir("a")), "a/\nb: 1"},
	{"file to link", write("f", "0"), do(rm("f"), symlink("f", "t")), none, "f -> t"},
	{"link to another target", symlink("f", "t"), do(rm("f"), symlink("f", "u")), none, "f -> u"},
}

type deed = func(*device)

func none(*device) {}

// step lets the device look and commit in between.
func step(d *device) { d.commit(d.turn().Up, false); d.pull() }

func (d *device) turn() *Plan {
	p := d.plan()
	d.note(p)
	d.apply(p.Down)
	return p
}

func write(path, s string) deed   { return func(d *device) { d.write(path, s) } }
func save(path, s string) deed    { return func(d *device) { d.save(path, s) } }
func mkdir(path string) deed      { return func(d *device) { d.mkdir(path) } }
func mv(from, to string) deed     { return func(d *device) { d.mv(from, to) } }
func rm(path string) deed         { return func(d *device) { d.rm(path) } }
func chmod(path string) deed      { return func(d *device) { d.chmod(path, 0o755) } }
func symlink(path, t string) deed { return func(d *device) { d.symlink(path, t) } }

func do(deeds ...deed) deed {
	return func(d *device) {
		for _, f := range deeds {
			f(d)
		}
	}
}

// conflictsShort replaces the suffixes of conflict copies by " CC".
func conflictsShort(lines []string) string {
	for i, l := range lines {
		for {
			a := strings.Index(l, " (conflict ")
			if a < 0 {
				break
			}
			z := strings.IndexByte(l[a:], ')')
			l = l[:a] + " CC" + l[a+z+1:]
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}

func TestTwoDevices(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "ann", "ben")
			ann, ben := w.devices[0], w.devices[1]
			c.start(ann)
			w.settle()
			c.ann(ann)
			c.ben(ben)
			ann.commit(ann.turn().Up, false)
			ben.commit(ben.turn().Up, false) // without having pulled
			w.settle()
			if got := conflictsShort(ann.lines()); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// The same three changes committed in all orders lead all devices to one tree.
func TestThreeDevicesInAllOrders(t *testing.T) {
	deeds := []deed{mv("d", "e"), write("d/a", "1"), do(rm("d/b"), mv("d/a", "a")), rm("d"), do(mkdir("d/s"), mv("d/a", "d/s/a")), write("d/n", "9")}
	for i := range deeds {
		for j := range deeds {
			for k := range deeds {
				w := newWorld(t, "ann", "ben", "cas")
				do(mkdir("d"), write("d/a", "0"), write("d/b", "0"))(w.devices[0])
				w.settle()
				for n, x := range []int{i, j, k} {
					deeds[x](w.devices[n])
				}
				for _, d := range w.devices {
					d.commit(d.turn().Up, false)
				}
				w.settle()
			}
		}
	}
}

func TestIndexLostAdoptsWhatIsEqual(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(mkdir("d"), write("d/a", "1"), write("d/b", "2"), symlink("d/l", "x"))(ann)
	w.settle()
	fresh := map[id]id{}
	for n := range ben.disk {
		fresh[n] = w.newID()
	}
	disk := map[id]Local{}
	for n, l := range ben.disk {
		if to, ok := fresh[l.Parent]; ok {
			l.Parent = to
		}
		disk[fresh[n]] = l
	}
	ben.disk, ben.base = disk, map[id]Base{}
	before := len(w.journal)
	w.settle()
	if len(w.journal) != before {
		t.Errorf("a lost index made operations:\n%s", ben.list())
	}
}

func TestAbsenceBelowAnUnlistedFolderIsNoDeletion(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann := w.devices[0]
	do(mkdir("d"), write("d/a", "1"))(ann)
	w.settle()
	ann.rm("d/a")
	ann.incomplete = map[id]bool{ann.must("d"): true}
	if p := ann.plan(); !p.Empty() || len(p.Held) != 1 || p.Held[0].Why != Unlisted {
		t.Errorf("plan: %s", p.text())
	}
}

func TestUnsynchedThingInTheWayIsNoDeletion(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann := w.devices[0]
	write("f", "1")(ann)
	w.settle()
	ann.rm("f")
	ann.disk[w.newID()] = Local{Name: "f", Type: tree.Other}
	if p := ann.plan(); !p.Empty() || len(p.Held) != 1 || p.Held[0].Why != Unsynched {
		t.Errorf("plan: %s", p.text())
	}
}

func TestGuardDoesNotCountWhatARestoreTookAway(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(mkdir("d"), write("d/a", "1"), write("d/b", "2"), write("c", "3"))(ann)
	w.settle()
	asked := ann.must("d/a")
	ann.rm("d/a")
	ann.rm("c")
	p := ann.plan()
	for i := range p.Up {
		p.Up[i].Restored = p.Up[i].Node == asked
	}
	ann.commit(p.Up, false)
	ben.holdDown = true
	p = ben.sync()
	if p.Guard.Down != 1 || len(p.Down) != 1 || !p.Down[0].Undone {
		t.Errorf("%v %s", p.Guard, p.text())
	}
}

func TestGuardCountsAndHolds(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(mkdir("d"), write("d/a", "1"), write("d/b", "2"), write("c", "3"))(ann)
	w.settle()
	ann.rm("d")
	ann.holdUp = true
	p := ann.plan()
	if !p.Empty() || p.Guard != (Guard{Up: 2, Total: 3}) {
		t.Errorf("held: %v %s", p.Guard, p.text())
	}
	ann.holdUp = false
	if p = ann.sync(); len(p.Up) != 1 || !p.Up[0].Whole {
		t.Errorf("let through: %s", p.text())
	}
	ben.holdDown = true
	if p = ben.sync(); !p.Empty() || p.Guard.Down != 2 {
		t.Errorf("held below: %v %s", p.Guard, p.text())
	}
	ben.holdDown = false
	w.settle()
	for _, c := range []struct {
		n, total int
		want     bool
	}{{100, 200, false}, {101, 200, true}, {101, 1000, false}, {251, 1000, true}, {10, 10, true}, {9, 9, false}} {
		if Exceeds(c.n, c.total) != c.want {
			t.Errorf("%d of %d", c.n, c.total)
		}
	}
}

func TestRenamedFolderIsOneOperation(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	mkdir("d")(ann)
	for _, n := range strings.Split("abcdefghij", "") {
		ann.write("d/"+n, n)
	}
	w.settle()
	ann.mv("d", "e")
	if p := ann.sync(); len(p.Up) != 1 {
		t.Errorf("sent %s", p.text())
	}
	if p := ben.sync(); len(p.Down) != 1 || p.Down[0].Verb != Move {
		t.Errorf("done %s", p.text())
	}
}

func TestChangeOfOnesOwnNewFileIsNoConflict(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	ann.acknowledges = true
	write("f", "1")(ann)
	ann.commit(ann.turn().Up, false)
	ben.sync()
	ben.sync()
	write("f", "2")(ben)
	ben.sync()
	w.settle()
	if got := ann.list(); got != "f: 2" {
		t.Errorf("got\n%s", got)
	}
}

func TestWhatFollowsAnAppliedChangeIsNoConflict(t *testing.T) {
	for name, c := range map[string]struct {
		first, second func(d *device)
		want          string
	}{
		"edit and edit":     {write("f", "1"), write("f", "2"), "f: 2"},
		"move and move":     {mv("f", "g"), mv("g", "h"), "h: 0"},
		"move and edit":     {mv("f", "g"), write("g", "1"), "g: 1"},
		"create and edit":   {write("n", "1"), write("n", "2"), "f: 0\nn: 2"},
		"create and move":   {write("n", "1"), mv("n", "m"), "f: 0\nm: 1"},
		"folder and move":   {mkdir("d"), mv("d", "e"), "e/\nf: 0"},
		"edit and delete":   {write("f", "1"), rm("f"), ""},
		"create and delete": {write("n", "1"), rm("n"), "f: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann", "ben")
			ann, ben := w.devices[0], w.devices[1]
			ann.acknowledges, ben.acknowledges = true, true
			write("f", "0")(ann)
			w.settle()
			c.first(ann)
			ann.sync()
			ben.sync() // applies the first
			c.second(ann)
			ann.sync()
			if p := ben.sync(); len(p.Up) > 0 { // plans with the second
				t.Errorf("what ben got is taken for what ben did: %s", p.text())
			}
			w.settle()
			if got := ben.list(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A file that others edited and then deleted goes also where its time was
// touched meanwhile: that time is of bytes that nobody has any more, so it is
// not sent, and must not keep the file on one disk alone.
func TestATouchDoesNotKeepWhatWasReplacedAndDeleted(t *testing.T) {
	w := newWorldOn(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	ann.write("a", "one")
	w.settle()
	n, _ := ben.find("a")
	l := ben.disk[n]
	l.MTime++
	ben.disk[n] = l
	ann.write("a", "two")
	ann.sync()
	ann.rm("a")
	ann.sync()
	w.settle()
	if len(ben.disk) != 0 {
		t.Errorf("ben has\n%s", ben.list())
	}
}

// Two moved two folders into each other, and the one that was first was deleted
// with the other in it. The second's move would make a loop; on its disk both
// folders waited for ever to be moved where nothing lives.
func TestFolderMovedIntoWhatWasDeletedInItGoes(t *testing.T) {
	for _, c := range []struct {
		more deed
		want string
	}{{none, ""}, {write("c/e/new", "1"), "e/\ne/new: 1"}, {write("c/e/x", "1"), "e/\ne/x: 1"}} {
		w := newWorld(t, "ann", "ben")
		ann, ben := w.devices[0], w.devices[1]
		do(mkdir("c"), mkdir("e"), write("e/x", "0"))(ann)
		w.settle()
		do(mv("c", "e/c"), step, rm("e"))(ben)
		ben.sync()
		do(mv("e", "c/e"), c.more)(ann)
		w.settle()
		if got := ann.list(); got != c.want {
			t.Errorf("ann has\n%s\nwant\n%s", got, c.want)
		}
	}
}

// One moved something into a folder and deleted it there; the other, which knows of
// neither, changes it or puts something into it, and deletes that folder with the rest.
// What is put where nothing lives wakes it, in the folder: a deletion of all that is in
// there would take along what was saved a moment ago.
func TestFolderInWhichSomethingWakesIsNotDeleted(t *testing.T) {
	start := do(mkdir("D"), write("D/y", "0"), mkdir("D/s"), write("D/s/z", "0"),
		mkdir("X"), write("X/x", "0"), mkdir("X/t"), write("f", "0"), write("g", "0"))
	file := do(mv("f", "D/f"), step, rm("D/f"))
	folder := do(mv("X", "D/X"), step, rm("D/X"))
	below := do(mv("X", "D/s/X"), step, rm("D/s/X"))
	for _, c := range []struct {
		name     string
		ann, ben deed
		want     string // but for what neither touched
	}{
		{"a file is edited", file, do(write("f", "1"), rm("D")), "D/\nD/f: 1"},
		{"its mode is changed", file, do(chmod("f"), rm("D")), "D/\nD/f: 0 (x)"},
		{"a file is made in a folder", folder, do(write("X/new", "1"), rm("D")), "D/\nD/X/\nD/X/new: 1"},
		{"in a new folder", folder, do(mkdir("X/n"), write("X/n/new", "1"), rm("D")), "D/\nD/X/\nD/X/n/\nD/X/n/new: 1"},
		{"a file in a folder is edited", folder, do(write("X/x", "1"), rm("D")), "D/\nD/X/\nD/X/x: 1"},
		{"one is moved there", folder, do(mv("g", "X/g"), rm("D")), "D/\nD/X/\nD/X/g: 0"},
		{"a folder's mode is changed", folder, do(func(d *device) { d.chmod("X", 0o700) }, rm("D")), "D/\nD/X/\nD/X/t/\nD/X/x: 0"},
		{"it is moved away", folder, do(write("X/new", "1"), mv("X", "Y"), rm("D")), "Y/\nY/new: 1\nY/t/\nY/x: 0"},
		{"far down", below, do(write("X/t/new", "1"), rm("D")), "D/\nD/s/\nD/s/X/\nD/s/X/t/\nD/s/X/t/new: 1"},
		{"below what was deleted too", do(mv("X", "D/s/X"), step, rm("D/s")), do(write("X/new", "1"), rm("D")), "D/\nD/s/\nD/s/X/\nD/s/X/new: 1"},
		{"another has the name", folder, do(write("X/new", "1"), rm("D"), write("D", "2")), "D CC: 2\nD/\nD/X/\nD/X/new: 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "ann", "ben")
			ann, ben := w.devices[0], w.devices[1]
			start(ann)
			w.settle()
			c.ann(ann)
			ann.sync()
			c.ben(ben)
			w.settle()
			got := slices.DeleteFunc(ben.lines(), func(l string) bool { return l[0] != 'D' && l[0] != 'Y' })
			if got := conflictsShort(got); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A folder that another takes the name of is deleted in the same entry, though
// something moves out of it: the new one would have another name until then.
func TestFolderThatIsReplacedIsDeletedAtOnce(t *testing.T) {
	for _, c := range []struct {
		then deed
		ops  int
	}{{none, 1}, {write("d", "new"), 3}, {mv("s", "d"), 2}} {
		w := newWorld(t, "ann", "ben")
		ann := w.devices[0]
		do(mkdir("d"), write("d/a", "1"), mkdir("d/s"), write("d/s/y", "2"))(ann)
		w.settle()
		do(mv("d/s", "s"), rm("d"), c.then)(ann)
		if p := ann.sync(); len(p.Up) != c.ops {
			t.Errorf("sent %s", p.text())
		}
		for range 3 {
			if p := ann.sync(); len(p.Down) > 0 {
				t.Errorf("done %s", p.text())
			}
		}
		w.settle()
	}
}
