package edge

import (
	"os"
	"syscall"
	"testing"
)

// E. Folders in each other, and folders that are gone.

func TestCase056FoldersMovedIntoEachOther(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("X/1", "Y/2", "Archives/Drafts/3")
		a.mv("X", "Y/X")
		b.mv("Y", "X/Y")
		a.mv("Archives/Drafts", "Drafts")
		a.mv("Archives", "Drafts/Archives")
		b.mkdir("Archives/Drafts/January")
		a.sync()
		w.want("Drafts/3=first Archives/Drafts/3", "Drafts/Archives/", "Drafts/January/", "Y/2=first Y/2", "Y/X/1=first X/1")
	})
}

func TestCase057ThreeFoldersMovedInACircle(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		ds := w.some(3, "X/1", "Y/2", "Z/3")
		ds[0].mv("X", "Y/X")
		ds[1].mv("Y", "Z/Y")
		ds[2].mv("Z", "X/Z")
		w.sync()
		w.want("Z/3=first Z/3", "Z/Y/2=first Y/2", "Z/Y/X/1=first X/1")
	})
}

func TestCase058MovedIntoAFolderThatAnotherDeletes(t *testing.T) {
	for _, first := range []string{"move", "delete"} {
		t.Run(first+" first", func(t *testing.T) {
			on(t, all, func(t *testing.T, w *world) {
				a, b := w.pair("d/old", "f", "sub/g")
				a.mv("f", "d/f")
				a.mv("sub", "d/sub")
				b.rm("d")
				if first == "move" {
					a.sync()
				} else {
					b.sync()
				}
				w.want("d/f=first f", "d/sub/g=first sub/g")
			})
		})
	}
}

func TestCase060FolderThatLeadsBackIntoItself(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/loop/")
		a.link("..", "d/up")
		must(t, syscall.Mount(a.dir, a.path("d/loop"), "", syscall.MS_BIND, ""))
		t.Cleanup(func() { syscall.Unmount(a.path("d/loop"), syscall.MNT_DETACH) })
		a.write("d/g", "beside a loop")
		if _, err := a.try(); err != nil {
			t.Errorf("with a loop: %v", err)
		}
		b.sync()
		if !b.has("d/g") || b.has("d/loop/d") || !b.has("d/loop") {
			t.Errorf("b has %q", b.files())
		}
		must(t, syscall.Unmount(a.path("d/loop"), syscall.MNT_DETACH))
		w.want("d/f=first d/f", "d/g=beside a loop", "d/loop/", "d/up->..")
	})
}
