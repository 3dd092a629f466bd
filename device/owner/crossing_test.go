package owner_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
)

// A hooked service does something right after it took an entry of a region,
// once.
type hooked struct {
	engine.Service
	after func()
}

func (h *hooked) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	c, err := h.Service.Append(ctx, log, r, sent)
	if f := h.after; f != nil && err == nil && log.Kind == signet.RegionLog {
		h.after = nil
		f()
	}
	return c, err
}

// afterNextEntry does something while the device's next entry is on its way
// back from the service.
func (d *device) afterNextEntry(f func()) { d.Engine.Service = &hooked{d.Engine.Service, f} }

func (d *device) path(name string) string { return filepath.Join(d.dir, name) }

func (d *device) wantNames(names ...string) {
	d.t.Helper()
	var got []string
	for l := range strings.SplitSeq(d.listing(), "\n") {
		got = append(got, strings.Fields(l)[0])
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		d.t.Errorf("folder has %q, want %q", got, names)
	}
}

func TestRenameWhileTheCreationIsCommittedIsKept(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	a.write("film.part", "a download that ends now")
	a.afterNextEntry(func() { must(t, os.Rename(a.path("film.part"), a.path("film"))) })
	a.sync()
	a.sync()
	a.wantNames("film")
	b.sync()
	same(t, a, b)

	a.afterNextEntry(func() { must(t, os.Rename(a.path("film 1"), a.path("film 2"))) })
	must(t, os.Rename(a.path("film"), a.path("film 1")))
	a.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	if l := a.listing(); !strings.Contains(l, "film 2") {
		t.Errorf("the second of two quick renames was undone: %s", l)
	}
	quiet(t, a, b)
}

func TestEditWhileTheEditIsCommittedIsKept(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "one")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	a.write("f", "two")
	a.afterNextEntry(func() { a.write("f", "three") })
	a.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	if got, _ := os.ReadFile(b.path("f")); string(got) != "three" {
		t.Errorf("b has %q", got)
	}
	if strings.Contains(b.listing(), "conflict") {
		t.Error("a device is in conflict with itself:\n" + b.listing())
	}
	quiet(t, a, b)
}

func TestRelinkedFolderDeletesNothingThatThisDeviceMade(t *testing.T) {
	for _, kept := range []bool{false, true} {
		w := newWorld(t)
		a, b := w.device("a"), w.device("b")
		for _, n := range []string{"1", "2", "3", "4", "5"} {
			a.write(n, "content "+n)
		}
		a.add("R")
		a.sync()
		b.add("R")
		b.sync()
		before := b.listing()
		id := a.Engine.Volumes()[0].Region
		if !kept { // the folder is lost
			must(t, os.RemoveAll(a.dir))
			must(t, os.Mkdir(a.dir, 0o755))
		}
		must(t, a.CreateVolume(t.Context(), a.dir, id, true))
		a.Close()
		a.open()
		if c := a.sync(); c.Deletes != 0 || c.FilesUp != 0 {
			t.Errorf("joining the folder again (files there: %v) did %+v", kept, c)
		}
		b.sync()
		if b.listing() != before {
			t.Errorf("the other device now has\n%s", b.listing())
		}
		same(t, a, b)
		quiet(t, a, b)
	}
}

// A program that has a file open when the file is replaced, and saves to it a
// moment after, has that as a file of its own, also where nothing runs but one
// pass of sync.
func TestOnePassWaitsForWhatAProgramHasOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "one")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	open, err := os.OpenFile(b.path("f"), os.O_WRONLY, 0)
	must(t, err)
	defer open.Close()
	a.write("f", "two, by a")
	a.sync()
	saved := make(chan error, 1)
	go func() {
		b.eventually("given what a wrote", b.says("f", "two, by a"))
		_, err := open.WriteString("mine")
		saved <- errors.Join(err, open.Close())
	}()
	b.sync()
	must(t, <-saved)
	b.sync()
	a.sync()
	same(t, a, b)
	if l := a.listing(); strings.Count(l, "\n") != 1 || !strings.Contains(l, fmt.Sprintf("%x", sha256.Sum256([]byte("mine")))) {
		t.Errorf("what the program saved is nowhere:\n%s", l)
	}
}

// The same where nothing runs when the program saves: who comes next finds what
// it saved, because the file was noted before it was replaced or deleted. A disk that
// cannot say whether it has it is asked again by the next.
func TestWhatAProgramSavesWhileNothingRunsComesBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for _, x := range []struct {
		what   string
		change func(a *device)
		sick   bool
	}{
		{"replaced", func(a *device) { a.write("d/f", "two, by a") }, false},
		{"deleted", func(a *device) { a.rm("d") }, false},
		{"replaced, and the disk fails", func(a *device) { a.write("d/f", "two, by a") }, true},
	} {
		t.Run(x.what, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.device("a"), w.device("b")
			a.write("d/f", "one")
			a.write("g", "so that this is not all")
			a.add("R")
			a.sync()
			b.add("R")
			b.sync()
			f, err := os.OpenFile(b.path("d/f"), os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			stop := b.run()
			x.change(a)
			a.sync()
			b.eventually("followed", func() bool { return b.listing() == a.listing() })
			stop()
			b.Close()
			b.open() // with what the index has
			_, err = f.WriteString("mine")
			must(t, errors.Join(err, f.Close()))
			if x.sick {
				open := b.Engine.OpenVolume
				b.Engine.OpenVolume = func(dir string) (engine.Volume, error) { v, err := open(dir); return unsure{v}, err }
				b.sync()
				b.Engine.OpenVolume = open
			}
			b.sync()
			a.sync()
			same(t, a, b)
			if l := a.listing(); !strings.Contains(l, fmt.Sprintf("%x", sha256.Sum256([]byte("mine")))) {
				t.Errorf("what the program saved is nowhere:\n%s", l)
			}
		})
	}
}

// An unsure disk cannot say what lies in its trash.
type unsure struct{ engine.Volume }

func (unsure) Displaced(id, path string, was tree.Stat) (engine.Displaced, error) {
	return nil, fmt.Errorf("find %s: %w", path, syscall.EIO)
}
