package edge

import (
	"fmt"
	"strings"
	"testing"
)

// D. Moves against moves, chains and swaps.

func TestCase041SameFileMovedToTwoPlaces(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.mv("f", "x/f")
		b.mv("f", "y/f")
		a.sync()
		b.sync()
		a.sync()
		b.sync()
		w.settle()
		n := 0
		for _, f := range a.files() {
			if strings.HasSuffix(f, "=first f") {
				n++
			}
		}
		if n != 1 || !a.has("x/f") {
			t.Errorf("want one, where the first put it: %q", a.files())
		}
	})
}

func TestCase042SameFileMovedToTheSamePlace(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.mv("f", "x/g")
		b.mv("f", "x/g")
		a.sync()
		w.want("x/g=first f")
	})
}

func TestCase043TwoFilesMovedToOnePlace(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("x", "z")
		a.mv("x", "y")
		b.mv("z", "y")
		a.sync()
		w.want("y=first x", "y CC=first z")
	})
}

func TestCase044Swap(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("a", "b", "A dir/1", "B dir/2")
		a.mv("a", "t")
		a.mv("b", "a")
		a.mv("t", "b")
		a.mv("A dir", "t")
		a.mv("B dir", "A dir")
		a.mv("t", "B dir")
		if c := a.sync(); c.FilesUp != 0 || c.BytesUp != 0 || c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		b.followed()
		w.want("A dir/2=first B dir/2", "B dir/1=first A dir/1", "a=first b", "b=first a")
	})
}

func TestCase045Rotation(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("1", "2", "3", "4")
		a.mv("4", "t")
		a.mv("3", "4")
		a.mv("2", "3")
		a.mv("1", "2")
		a.mv("t", "1")
		if c := a.sync(); c.FilesUp != 0 || c.BytesUp != 0 || c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		b.followed()
		w.want("1=first 4", "2=first 1", "3=first 2", "4=first 3")
	})
}

func TestCase046LogRotation(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("log", "log.1", "log.2")
		a.mv("log.2", "log.3")
		a.mv("log.1", "log.2")
		a.mv("log", "log.1")
		a.write("log", "a new one")
		if c := a.sync(); c.FilesUp != 1 || c.Moves != 3 || c.Deletes != 0 {
			t.Errorf("did %+v, want 3 moves and a file", c)
		}
		if c := b.sync(); c.FilesDown != 1 {
			t.Errorf("the other did %+v", c)
		}
		w.want("log.1=first log", "log.2=first log.1", "log.3=first log.2", "log=a new one")
		if n := b.revisions("log"); n != 1 {
			t.Errorf("the new log has %d versions", n)
		}
	})
}

func TestCase047FolderMovedMadeAgainAndPartMovedBack(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("A/1", "A/2", "A/3")
		a.mv("A", "B")
		a.mkdir("A")
		a.mv("B/2", "A/2")
		if c := a.sync(); c.FilesUp != 0 || c.Moves != 2 || c.Deletes != 0 {
			t.Errorf("did %+v, want 2 moves", c)
		}
		b.followed()
		w.want("A/2=first A/2", "B/1=first A/1", "B/3=first A/3")
	})
}

func TestCase048FolderAndChildRenamedTogether(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g")
		a.mv("d/f", "d/renamed")
		a.mv("d", "e")
		a.moved(2)
		b.followed()
		w.want("e/g=first d/g", "e/renamed=first d/f")
	})
}

func TestCase049FolderRenamedHereChildThere(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g")
		a.mv("d", "e")
		b.mv("d/f", "d/renamed")
		a.sync()
		w.want("e/g=first d/g", "e/renamed=first d/f")
	})
}

func TestCase050Inversion(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("A/B/x", "A/y")
		a.mv("A/B", "B")
		a.mv("A", "B/A")
		a.moved(2)
		b.followed()
		w.want("B/A/y=first A/y", "B/x=first A/B/x")
	})
}

func TestCase051NamesUsedAgainOnAllLevels(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("A/A/A/1", "A/A/2", "A/3")
		a.mv("A/A/A", "t")
		a.mv("A/A", "t/A")
		a.mv("A", "t/A/A")
		a.mv("t", "A")
		if c := a.sync(); c.FilesUp != 0 || c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		b.followed()
		w.want("A/1=first A/A/A/1", "A/A/2=first A/A/2", "A/A/A/3=first A/3")
	})
}

func TestCase052RenamedThereAndBack(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, _ := w.pair("f", "d/g")
		a.mv("f", "t")
		a.mv("t", "f")
		a.mv("d", "u")
		a.mv("u", "d")
		if c := a.sync(); c.Entries != 0 || c.Moves != 0 {
			t.Errorf("did %+v", c)
		}
		w.want("d/g=first d/g", "f=first f")
	})
}

// On disks without a time of birth, where numbers are given again, a look that
// crosses a rename may find another folder: those are left out.
func TestCase053TwoRenameOneFolderAgainAndAgain(t *testing.T) {
	long(t)
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g")
		stops := []func(){a.run(), b.run()}
		a.rest()
		b.rest()
		// Who does not find the folder where it looks lets it be.
		for i := range 40 {
			for _, d := range []*device{a, b} {
				for _, e := range d.folders() {
					d.tryMove(e, fmt.Sprintf("of %s %d", d.name, i))
				}
			}
		}
		a.rest()
		b.rest()
		a.rest()
		for _, stop := range stops {
			stop()
		}
		w.settle()
		if n := len(a.folders()); n != 1 || len(a.files()) != 2 {
			t.Errorf("want one folder with two files: %q", a.files())
		}
	})
}

// A folder that was moved is one that somebody wants: it stays, with what the
// other did not know of. What went before the move was known goes.
func TestCase055FolderMovedHereDeletedThere(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		for _, first := range []string{"move", "delete"} {
			t.Run(fmt.Sprintf("%s first, new file %v", first, fresh), func(t *testing.T) {
				on(t, exact, func(t *testing.T, w *world) {
					a, b := w.pair("d/f", "kept")
					a.mv("d", "moved")
					b.rm("d")
					if fresh {
						a.write("moved/new", "new")
					}
					want := []string{"kept=first kept"}
					switch {
					case first == "move":
						a.sync()
						want = append(want, "moved/f=first d/f")
					case !fresh:
						want = append(want, "moved/")
					}
					if fresh {
						want = append(want, "moved/new=new")
					}
					b.sync()
					w.want(want...)
				})
			})
		}
	}
}
