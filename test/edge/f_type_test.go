package edge

import (
	"fmt"
	"path/filepath"
	"testing"
)

// F. A name becomes something else.

func TestCase061FileBecomesAFolder(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		a.rm("f")
		a.write("f/inside", "in the folder")
		a.sync()
		b.rm("g")
		b.mkdir("g")
		w.want("f/inside=in the folder", "g/")
	})
}

func TestCase062FolderBecomesAFile(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, _ := w.pair("d/e/f", "d/g", "kept")
		a.rm("d")
		a.write("d", "a file now")
		w.want("d=a file now", "kept=first kept")
	})
}

func TestCase063FolderBecomesAFileWhileAFileIsAddedToIt(t *testing.T) {
	for _, first := range []string{"file", "add"} {
		t.Run(first+" first", func(t *testing.T) {
			on(t, all, func(t *testing.T, w *world) {
				a, b := w.pair("d/f", "kept")
				a.rm("d")
				a.write("d", "a file now")
				b.write("d/new", "of b")
				if first == "file" {
					a.sync()
				} else {
					b.sync()
				}
				w.settle()
				got := fmt.Sprint(a.files())
				if got != "[d CC/new=of b d=a file now kept=first kept]" && got != "[d CC=a file now d/new=of b kept=first kept]" {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

func TestCase064EditedHereRenamedAndAFolderInItsPlaceThere(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("a")
		a.write("a", "edited")
		b.mv("a", "b")
		b.mkdir("a")
		a.sync()
		w.want("a/", "b=edited")
	})
}

// The link leads to a file outside, which the check of U5 looks at.
func TestCase065FileBecomesALinkAndBack(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		out, err := filepath.Rel(a.dir, filepath.Join(a.out, "precious"))
		must(t, err)
		a.rm("f")
		a.link(out, "f")
		a.sync()
		w.want("f->"+out, "g=first g")
		b.write("g", "edited while it becomes a link")
		a.rm("g")
		a.link(out, "g")
		a.sync()
		w.settle()
		a.rm("f")
		a.write("f", "a file again, which must not go through the link")
		a.sync()
		b.sync()
		if got := b.read("f"); got != "a file again, which must not go through the link" {
			t.Errorf("b has %q", got)
		}
	})
}

func TestCase066ManyFilesReplacedByALink(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		var files []string
		for i := range 12 {
			files = append(files, fmt.Sprintf("big/%02d", i))
		}
		a, b := w.pair(files...)
		a.mv("big", "../elsewhere")
		a.link("../elsewhere", "big")
		a.try()
		b.sync()
		if n := a.status().HeldDeletes; n != 12 {
			t.Errorf("%d deletions are held, want 12", n)
		}
		if got := len(b.files()); got < 12 {
			t.Errorf("b has %d files before anybody was asked", got)
		}
		_, err := a.Engine.ApproveDeletes(a.volume().ID)
		must(t, err)
		a.sync()
		b.sync()
		if b.status().HeldDeletes > 0 {
			_, err := b.Engine.ApproveDeletes(b.volume().ID)
			must(t, err)
		}
		w.want("big->../elsewhere")
	})
}
