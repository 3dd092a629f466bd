package edge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// C. One moves, another edits.

// moved says what a device's pass did, which must be so many moves and nothing
// sent.
func (d *device) moved(n int) {
	d.t.Helper()
	if c := d.sync(); c.BytesUp != 0 || c.ObjectsUp != 0 || c.FilesUp != 0 || c.Conflicts != 0 || c.Deletes != 0 || int(c.Moves) != n {
		d.t.Errorf("%s: did %+v, want %d moves and nothing else", d.name, c, n)
	}
}

// followed says that a device's pass fetched nothing.
func (d *device) followed() {
	d.t.Helper()
	if c := d.sync(); c.BytesDown != 0 || c.FilesDown != 0 || c.Entries != 0 || c.Conflicts != 0 || c.Deletes != 0 {
		d.t.Errorf("%s: did %+v, want moves alone", d.name, c)
	}
}

func TestCase027MoveHereEditThere(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		a.mv("f", "d/moved")
		b.write("f", "edited")
		b.mv("g", "d/moved too")
		a.write("g", "edited too")
		a.sync()
		w.want("d/moved too=edited too", "d/moved=edited")
		if n := a.revisions("d/moved"); n != 2 {
			t.Errorf("%d versions in the history, want 2", n)
		}
	})
}

func TestCase028FolderMovedHereFileInItEditedThere(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/e/f", "d/g")
		a.mv("d", "moved")
		b.write("d/e/f", "edited")
		a.sync()
		w.want("moved/e/f=edited", "moved/g=first d/g")
	})
}

func TestCase029FolderRenamedWhileItsFilesAreSent(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, _ := w.pair("kept")
		var want []string
		for i := range 20 {
			content := strings.Repeat(fmt.Sprint(i), 20000)
			a.write(fmt.Sprintf("d/%02d", i), content)
			want = append(want, fmt.Sprintf("renamed again/%02d=%s", i, content))
		}
		done := a.once("put", func() { a.mv("d", "renamed") })
		a.sync()
		if !*done {
			t.Error("nothing was sent")
		}
		a.once("append", func() { a.mv("renamed", "renamed again") })
		a.write("kept", "a reason for one more entry")
		a.sync()
		a.plug()
		w.want(append(want, "kept=a reason for one more entry")...)
	})
}

func TestCase030FolderRenamedElsewhereWhileItsFilesArrive(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("kept")
		var want []string
		for i := range 20 {
			content := strings.Repeat(fmt.Sprint(i), 20000)
			a.write(fmt.Sprintf("d/%02d", i), content)
			want = append(want, fmt.Sprintf("renamed/%02d=%s", i, content))
		}
		a.sync()
		done := b.once("get", func() { a.mv("d", "renamed"); a.sync() })
		b.sync()
		b.plug()
		if !*done {
			t.Error("nothing was fetched")
		}
		w.want(append(want, "kept=first kept")...)
	})
}

// Where a disk gives the number of a file that is gone to the next one, and
// tells no time of birth, nothing says that they are the same: cheap is left out.
func TestCase031RenamedAndEditedBeforeALook(t *testing.T) {
	on(t, append(real, nfd), func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.mv("f", "g")
		a.write("g", "edited")
		if c := a.sync(); c.Moves != 1 || c.FilesUp != 1 || c.Deletes != 0 {
			t.Errorf("did %+v, want a move and a version", c)
		}
		w.want("g=edited")
		if n := b.revisions("g"); n != 2 {
			t.Errorf("%d versions in the history, want 2", n)
		}
	})
}

func TestCase032RenamedAndEditedWithSizeAndTimeAsBefore(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		a, _ := w.pair("f")
		info, err := os.Stat(a.path("f"))
		must(t, err)
		a.mv("f", "g")
		a.write("g", "FIRST F")
		a.touch("g", info.ModTime())
		if c := a.sync(); c.Moves != 1 || c.FilesUp != 1 || c.Deletes != 0 {
			t.Errorf("did %+v, want a move and a version", c)
		}
		w.want("g=FIRST F")
	})
}

func TestCase036MovedOutOfTheFolder(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g", "kept")
		must(t, os.Rename(a.path("d"), filepath.Join(filepath.Dir(a.dir), "elsewhere")))
		if c := a.sync(); c.Deletes == 0 {
			t.Errorf("did %+v, want deletions", c)
		}
		w.want("kept=first kept")
		// On the others it is in the trash, and for everybody in the history.
		if n := b.trashed(); n != 2 {
			t.Errorf("%d files in the trash, want 2", n)
		}
	})
}

func TestCase037MovedWhereAnotherMadeAFile(t *testing.T) {
	for _, first := range []string{"move", "create"} {
		t.Run(first+" first", func(t *testing.T) {
			on(t, all, func(t *testing.T, w *world) {
				a, b := w.pair("x")
				a.mv("x", "y")
				b.write("y", "new, by b")
				if first == "move" {
					a.sync()
					w.want("y CC=new, by b", "y=first x")
				} else {
					b.sync()
					w.want("y CC=first x", "y=new, by b")
				}
			})
		})
	}
}

func TestCase038MovedOverAnother(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("x", "y")
		a.mv("x", "y")
		if c := a.sync(); c.FilesUp != 0 || c.BytesUp != 0 || c.Conflicts != 0 {
			t.Errorf("did %+v", c)
		}
		b.followedButDeletes()
		w.want("y=first x")
	})
}

// followedButDeletes is followed where a file had to go.
func (d *device) followedButDeletes() {
	d.t.Helper()
	if c := d.sync(); c.BytesDown != 0 || c.FilesDown != 0 || c.Entries != 0 || c.Conflicts != 0 {
		d.t.Errorf("%s: did %+v", d.name, c)
	}
}

func TestCase039CopiedThenTheOriginalDeleted(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, _ := w.pair("kept")
		content := strings.Repeat("content that is worth sending once, ", 1<<15)
		a.write("f", content)
		a.sync()
		a.write("d/copy", content)
		a.sync()
		a.rm("f")
		if c := a.sync(); c.BytesUp > 4096 {
			t.Errorf("sent again: %+v", c)
		}
		a.write("at once", content)
		a.rm("d")
		if c := a.sync(); c.BytesUp > 4096 {
			t.Errorf("sent again: %+v", c)
		}
		w.want("at once="+content, "kept=first kept")
	})
}

func TestCase040HardLinkedPairOneReplaced(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, _ := w.pair("f")
		must(t, os.Link(a.path("f"), a.path("linked")))
		w.want("f=first f", "linked=first f")
		a.save("linked", "another")
		c := a.sync()
		if c.Moves != 0 || c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		w.want("f=first f", "linked=another")
		// And once more with both changed through one name.
		a.rm("linked")
		must(t, os.Link(a.path("f"), a.path("linked")))
		a.sync()
		a.write("f", "in place, so both")
		w.want("f=in place, so both", "linked=in place, so both")
	})
}
