package edge

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"signet/core/tree"
	"signet/device/engine"
	"signet/test/edge/oddfs"
)

// K and N. Room, roots and mounts.

// A file that finds no inode waits; what needs none goes on.
func TestCase118DiskWithoutInodes(t *testing.T) {
	long(t)
	t.Parallel()
	t.Run("tmpfs", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root mounts")
		}
		at := t.TempDir()
		must(t, syscall.Mount("tmpfs", at, "tmpfs", 0, "nr_inodes=60,size=64m"))
		t.Cleanup(func() { syscall.Unmount(at, syscall.MNT_DETACH) })
		w := newWorld(t, plain, disk{name: "few inodes", make: func(*testing.T) string { return at }})
		a, b := w.pair("f", "g")
		for i := range 80 {
			a.write(fmt.Sprintf("many/%02d", i), fmt.Sprint("file ", i))
		}
		a.sync()
		for range 3 {
			b.try()
		}
		a.write("f", "edited")
		a.sync()
		b.try()
		if c, err := a.try(); err != nil || c != (engine.Counters{}) {
			t.Errorf("the sender did %+v, %v", c, err)
		}
		must(t, syscall.Mount("", at, "", syscall.MS_REMOUNT, "nr_inodes=1000,size=64m"))
		b.late += 3 * 60e9
		w.settle()
		w.check()
	})
}

// A disk that hangs, goes away under its file system, or denies all.
type failing struct {
	engine.Volume
	with *atomic.Int32 // an errno; 0: none
}

func (f failing) err(op, path string) error {
	if n := f.with.Load(); n != 0 {
		return &os.PathError{Op: op, Path: path, Err: syscall.Errno(n)}
	}
	return nil
}

func (f failing) Stat(path string) (tree.Stat, error) {
	if err := f.err("stat", path); err != nil && path != "" {
		return tree.Stat{}, err
	}
	return f.Volume.Stat(path)
}

func (f failing) Read(path string) (engine.Reading, error) {
	if err := f.err("open", path); err != nil {
		return nil, err
	}
	return f.Volume.Read(path)
}

func (f failing) Scan(ctx context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	return f.Volume.Scan(ctx, from, skip, func(l engine.Listing) error {
		if err := f.err("readdir", l.Path); err != nil {
			l.Err, l.Entries = err, nil
		}
		return emit(l)
	})
}

// A roomy disk says that it has so much.
type roomy struct {
	engine.Volume
	free, total uint64
}

func (r roomy) Free() (free, total uint64, err error) { return r.free, r.total, nil }

func TestCase120FloorOfFreeSpace(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		const free, total = 10 << 30, 1 << 40
		b.hook(func(v engine.Volume) engine.Volume { return roomy{v, free, total} })
		a.write("small", "fits")
		a.sync()
		keep := func(n uint64) { b.Engine.KeepFree(&n) }
		keep(free - 2)
		b.try()
		if b.has("small") {
			t.Error("b went below its floor")
		}
		b.write("mine", "is sent all the same")
		b.try()
		a.sync()
		if a.read("mine") != "is sent all the same" {
			t.Errorf("a has %q", a.files())
		}
		keep(free - 1000)
		b.late += 4 * time.Minute
		b.sync()
		if b.read("small") != "fits" {
			t.Errorf("b has %q", b.files())
		}
		b.Engine.KeepFree(nil)
		b.plainly()
		w.want("f=first f", "small=fits", "mine=is sent all the same")
	})
}

func TestCase144DiskThatAnswersWithErrors(t *testing.T) {
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g", "h")
		with := new(atomic.Int32)
		a.hook(func(v engine.Volume) engine.Volume { return failing{v, with} })
		for _, errno := range []syscall.Errno{syscall.ESTALE, syscall.EIO, syscall.ETIMEDOUT, syscall.EACCES} {
			with.Store(int32(errno))
			b.write("h", "edited while "+errno.Error())
			b.sync()
			if c, _ := a.try(); c.Deletes+c.Moves != 0 {
				t.Errorf("%v: did %+v", errno, c)
			}
			if c := b.sync(); c.Deletes != 0 {
				t.Errorf("%v: the other did %+v", errno, c)
			}
			with.Store(0)
			a.late += 3 * 60e9 / 4
			a.again()
		}
		a.plainly()
		w.want("d/f=first d/f", "d/g=first d/g", "h=edited while permission denied")
	})
}

// Of a disk that answers nothing it is said, nobody else waits for it, nothing is
// concluded, and it goes on by itself.
func TestCase144DiskThatAnswersNothing(t *testing.T) {
	alone(t, oddfs.Options{}, func(t *testing.T, w *world, odd *oddfs.Disk) {
		a, b := w.pair("d/f", "d/g", "h")
		b.write("h", "edited meanwhile")
		b.sync()
		var later atomic.Int64 // by how much the clock of a is ahead
		a.Engine.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		thaw := sync.OnceFunc(odd.Freeze())
		defer thaw()
		done := make(chan error)
		go func() { _, err := a.Engine.SyncVolume(t.Context(), a.volume().ID); done <- err }()
		for a.Engine.Silent(a.volume().ID) == 0 {
			select {
			case err := <-done:
				t.Fatalf("came back from a disk that says nothing: %v", err)
			case <-time.After(time.Millisecond):
			}
		}
		if s := a.Engine.VolumeStatus(a.volume().ID); s.State == engine.Stopped {
			t.Errorf("is %s before it was given time: %s", s.State, s.Reason)
		}
		later.Store(int64(40 * time.Second))
		if s := a.Engine.VolumeStatus(a.volume().ID); s.State != engine.Stopped || !strings.Contains(s.Reason, "has not answered for 4") || s.Hint == "" {
			t.Errorf("is %s: %q, %q", s.State, s.Reason, s.Hint)
		}
		b.write("d/f", "edited too")
		b.sync()
		thaw()
		must(t, <-done)
		if s := a.Engine.VolumeStatus(a.volume().ID); s.State != engine.InStep {
			t.Errorf("is %s: %s", s.State, s.Reason)
		}
		w.settle()
		w.want("d/f=edited too", "d/g=first d/g", "h=edited meanwhile")
	})
}

// A daemon ends though a disk answers nothing.
func TestCase144DaemonEndsBesideASilentDisk(t *testing.T) {
	long(t)
	alone(t, oddfs.Options{}, func(t *testing.T, w *world, odd *oddfs.Disk) {
		a, b := w.pair("d/f", "h")
		b.write("h", "edited meanwhile")
		b.sync()
		var later atomic.Int64 // by how much the clock of a is ahead
		a.Engine.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		thaw := sync.OnceFunc(odd.Freeze())
		defer thaw()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error)
		go func() { done <- a.Engine.Run(ctx) }()
		for a.Engine.Silent(a.volume().ID) == 0 {
			<-time.After(time.Millisecond)
		}
		later.Store(int64(40 * time.Second))
		stop()
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(time.Minute):
			t.Fatal("does not end")
		}
		thaw()
		for a.Engine.Silent(a.volume().ID) != 0 {
			<-time.After(time.Millisecond)
		}
		a.Close() // with what may still be at work
		a.open()
		w.settle()
		w.want("d/f=first d/f", "h=edited meanwhile")
	})
}

// Each start finds all under other numbers: what is equal is the same.
func TestCase145NumbersThatChangeWithEachMount(t *testing.T) {
	alone(t, oddfs.Options{}, func(t *testing.T, w *world, odd *oddfs.Disk) {
		a, _ := w.pair("d/f", "d/g", "h")
		for i := range 3 {
			a.Close()
			odd.Renumber()
			a.was = outside(t, a.out) // under other numbers, too
			a.open()
			if c := a.sync(); c.Deletes+c.FilesUp+c.FilesDown+c.Conflicts != 0 {
				t.Errorf("did %+v", c)
			}
			a.write("h", fmt.Sprint("edit ", i))
			w.settle()
		}
		w.want("d/f=first d/f", "d/g=first d/g", "h=edit 2")
	})
}

func TestCase147ManyDeletionsAreHeldAndTheRestGoesOn(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		var files []string
		for i := range 15 {
			files = append(files, fmt.Sprintf("d/%02d", i))
		}
		a, b := w.pair(files...)
		a.rm("d")
		a.write("new", "goes on")
		a.try()
		b.sync()
		if n := a.status().HeldDeletes; n != 15 {
			t.Errorf("%d are held, want 15", n)
		}
		if !b.has("new") || !b.has("d/07") {
			t.Errorf("b has %q", b.files())
		}
		// Approved, they go once, on the other side too.
		_, err := a.Engine.ApproveDeletes(a.volume().ID)
		must(t, err)
		w.approves = true
		w.want("new=goes on")
	})
}

func TestCase149PopulatedFolderJoinsAPopulatedRegion(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.device("a"), w.device("b")
		for _, d := range []*device{a, b} {
			d.write("same", "the same on both")
			d.write("d/differs", "of "+d.name)
			d.write("of "+d.name, "alone")
			d.mkdir("empty of " + d.name)
		}
		b.write("moved/same elsewhere", "the same on both")
		a.add()
		a.sync()
		b.add()
		if c := b.sync(); c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		w.want("d/differs=of a", "d/differs CC=of b", "empty of a/", "empty of b/", "moved/same elsewhere=the same on both",
			"of a=alone", "of b=alone", "same=the same on both")
	})
}
