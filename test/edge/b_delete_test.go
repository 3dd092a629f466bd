package edge

import (
	"fmt"
	"strings"
	"testing"
)

// B. One edits, another deletes.

func TestCase014EditAndDelete(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		a.write("f", "edited")
		b.rm("f")
		b.write("g", "edited")
		a.rm("g")
		a.sync()
		w.want("f=edited", "g=edited")
	})
}

// The write lands at the last instant before the file is moved to the trash,
// and at the first after it.
func TestCase015WriteWhileTheDeletionIsCarriedOut(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "before", true: "after"}[after], func(t *testing.T) {
			on(t, exact, func(t *testing.T, w *world) {
				a, b := w.pair("f", "kept")
				save := func(s step) error {
					if s.verb == "trash" && s.path == "f" {
						b.write("f", "saved at the last instant")
					}
					return nil
				}
				if after {
					b.meddle(nil, save)
				} else {
					b.meddle(save, nil)
				}
				a.rm("f")
				a.sync()
				b.try()
				b.plainly()
				w.want("f=saved at the last instant", "kept=first kept")
			})
		})
	}
}

func TestCase016DeletedAndMadeAgainAgainstAnEdit(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.rm("f")
		a.sync()
		a.write("f", "made again, by a")
		b.write("f", "an edit of the old one, by b")
		a.sync()
		w.settle()
		got := strings.Join(a.files(), "\n")
		for _, want := range []string{"made again, by a", "an edit of the old one, by b"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not live: %s", want, got)
			}
		}
		if n := len(a.files()); n != 2 {
			t.Errorf("%d files: %s", n, got)
		}
	})
}

func TestCase017BothDelete(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "g")
		a.rm("d")
		b.rm("d")
		a.sync()
		w.want("g=first g")
	})
}

func TestCase018FolderDeletedAndAFileInItEdited(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/e/f", "d/e/g", "d/h", "kept")
		a.rm("d")
		b.write("d/e/f", "edited")
		a.sync()
		w.want("d/e/f=edited", "kept=first kept")
		b.rm("d")
		a.write("d/e/f", "edited again")
		a.sync()
		w.want("d/e/f=edited again", "kept=first kept")
	})
}

func TestCase019FolderDeletedAndAFileAddedToIt(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/e/f", "kept")
		a.rm("d")
		b.write("d/e/new", "of b")
		a.sync()
		w.want("d/e/new=of b", "kept=first kept")
	})
}

func TestCase020DeletedWhileANewVersionIsSent(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "kept")
		content := strings.Repeat("a new version, ", 1<<18)
		b.write("f", content)
		done := b.once("put", func() { a.rm("f"); a.sync() })
		b.sync()
		b.plug()
		if !*done {
			t.Error("nothing was sent")
		}
		w.want("f="+content, "kept=first kept")
	})
}

func TestCase022OfflineForLongWithDeletedFiles(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f", "d/g", "kept")
		a.rm("f")
		a.rm("d")
		a.sync()
		for i := range 12 {
			a.write("kept", fmt.Sprint("version ", i, strings.Repeat("!", i)))
			a.sync()
		}
		b.again()
		w.want("kept=version 11" + strings.Repeat("!", 11))
	})
}

func TestCase023MadeAndDeletedWithinASecond(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "d/g")
		stop := a.run()
		a.rest()
		for i := range 20 {
			a.write(fmt.Sprint("d/quick", i), "gone in a moment")
			a.rm(fmt.Sprint("d/quick", i))
		}
		a.rest()
		stop()
		w.want("d/g=first d/g", "f=first f")
		if b.status().HeldDeletes != 0 {
			t.Error("deletions are held")
		}
	})
}

func TestCase024TreeDeletedAndRestoredFromABackupAtOnce(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/e/g", "kept")
		a.rm("d")
		a.sync()
		a.write("d/f", "first d/f")
		a.write("d/e/g", "of the backup, and older")
		b.sync()
		w.want("d/e/g=of the backup, and older", "d/f=first d/f", "kept=first kept")
	})
}

func TestCase026FolderMadeAndRemovedBesideAThirdsFiles(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		ds := w.some(3, "kept")
		a, b, c := ds[0], ds[1], ds[2]
		a.mkdir("d")
		a.sync()
		w.settle()
		b.rm("d")
		b.sync()
		b.mkdir("d")
		c.write("d/of c", "of c")
		a.rm("d")
		a.sync()
		c.sync()
		w.want("d/of c=of c", "kept=first kept")
	})
}
