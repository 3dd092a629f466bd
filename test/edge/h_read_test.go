package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signet/device/engine"
	"signet/test/edge/oddfs"
)

// H. Reading.

// An oddity is a disk that the case itself does things to.
func oddity(t *testing.T, o oddfs.Options) (*oddfs.Disk, disk) {
	t.Helper()
	d, at := mountOdd(t, o)
	return d, disk{name: "odd", tick: o.Tick, make: func(*testing.T) string { return at }}
}

// alone runs a case on an odd disk of its own, which is the first device's.
func alone(t *testing.T, o oddfs.Options, do func(t *testing.T, w *world, odd *oddfs.Disk)) {
	t.Helper()
	long(t)
	t.Parallel()
	t.Run("fuse", func(t *testing.T) {
		odd, d := oddity(t, o)
		w := newWorld(t, d, plain)
		do(t, w, odd)
		w.check()
	})
}

func TestCase086ErrorInTheMiddleOfReading(t *testing.T) {
	alone(t, oddfs.Options{}, cannotBeRead(syscall.EIO))
}

// Locks are advice on Linux; a file of a share that a program on Windows has locked
// answers so.
func TestCase089FileThatAnotherProgramLocks(t *testing.T) {
	alone(t, oddfs.Options{}, cannotBeRead(syscall.EBUSY))
}

// cannotBeRead has a file that was edited answer with an error: it alone waits, and the
// status says so.
func cannotBeRead(with syscall.Errno) func(*testing.T, *world, *oddfs.Disk) {
	return func(t *testing.T, w *world, odd *oddfs.Disk) {
		a, b := w.pair("bad", "good", "new bad")
		a.write("bad", "cannot be read")
		a.write("good", "goes on")
		odd.Break("bad", with)
		a.try()
		a.try()
		b.sync()
		if b.read("bad") != "first bad" || b.read("good") != "goes on" {
			t.Errorf("b has %q", b.files())
		}
		if p := a.status().Problems; len(p) != 1 || p[0].Path != "bad" || p[0].Kind != "unreadable" {
			t.Errorf("status says %+v", p)
		}
		odd.Break("bad", 0)
		a.late += 4 * time.Minute
		w.want("bad=cannot be read", "good=goes on", "new bad=first new bad")
	}
}

// A reader's disk does something before a file is opened, and while it is read.
type readers struct {
	engine.Volume
	opening, reading func(path string)
}

func (r readers) Read(path string) (engine.Reading, error) {
	if r.opening != nil {
		r.opening(path)
	}
	f, err := r.Volume.Read(path)
	if err != nil || r.reading == nil {
		return f, err
	}
	return &reading{Reading: f, then: func() { r.reading(path) }}, nil
}

type reading struct {
	engine.Reading
	then func()
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reading.Read(p[:min(len(p), 1<<16)])
	if r.then != nil {
		r.then()
		r.then = nil
	}
	return n, err
}

func TestCase087FileChangesWhileItIsRead(t *testing.T) {
	long(t)
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		old, new := strings.Repeat("1", 1<<20), strings.Repeat("2", 1<<20)
		var times atomic.Int32
		a.hook(func(v engine.Volume) engine.Volume {
			return readers{Volume: v, reading: func(path string) {
				if path == "f" && times.Add(1) == 1 {
					f, err := os.OpenFile(a.path("f"), os.O_WRONLY, 0)
					must(t, err)
					_, err = f.WriteAt([]byte(new[:1<<19]), 1<<19)
					must(t, errors.Join(err, f.Close()))
				}
			}}
		})
		a.write("f", old)
		a.sync()
		a.plainly()
		b.sync()
		torn := old[:1<<19] + new[:1<<19]
		if got := b.read("f"); got != torn && got != "first f" {
			t.Errorf("b has %d bytes that nobody wrote", len(got))
		}
		w.forget(old) // it was written over before it had settled
		w.want("f=" + torn)
	})
}

func TestCase088FileThatGrowsForEver(t *testing.T) {
	long(t)
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		defer a.run()()
		a.rest()
		f, err := os.OpenFile(a.path("log"), os.O_CREATE|os.O_WRONLY, 0o644)
		must(t, err)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		// Others are not held up.
		for n := 0; !b.has("g"); n++ {
			fmt.Fprintf(f, "line %d\n", n)
			if n == 20 {
				a.write("g", "of the same folder")
			}
			if n%100 == 99 {
				b.try()
			}
			if n > 20000 {
				t.Fatal("a file that grows holds up the others")
			}
			<-tick.C
		}
		must(t, f.Close())
		a.rest()
	})
}

func TestCase090FileVanishesBeforeItIsOpened(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, _ := w.pair("f", "kept")
		var times atomic.Int32
		a.hook(func(v engine.Volume) engine.Volume {
			return readers{Volume: v, opening: func(path string) {
				if path == "f" && times.Add(1) == 1 {
					a.mv("f", "moved")
				}
				if path == "gone" {
					os.Remove(a.path("gone"))
				}
			}}
		})
		a.write("f", "edited, and renamed")
		a.write("gone", "gone in a moment")
		c := a.sync()
		if c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		w.forget("gone in a moment")
		a.plainly()
		w.want("kept=first kept", "moved=edited, and renamed")
	})
}

// A store to a page that is dirty already shows in no time.
func TestCase091WriteThroughAMemoryMap(t *testing.T) {
	on(t, []disk{plain, ext4, xfs, tmpfs}, func(t *testing.T, w *world) {
		a, _ := w.pair("f")
		a.write("f", strings.Repeat("0", 8192))
		f, err := os.OpenFile(a.path("f"), os.O_RDWR, 0)
		must(t, err)
		m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		defer unix.Munmap(m)
		m[0] = '1'
		a.sync()
		m[1] = '2' // no stat says so
		m[8191] = '3'
		must(t, f.Close())
		a.late += 2 * time.Minute
		want := "12" + strings.Repeat("0", 8189) + "3"
		w.want("f=" + want)
	})
}

// What rots does not replace what is good elsewhere.
func TestCase092BytesThatChangeWithoutATrace(t *testing.T) {
	alone(t, oddfs.Options{}, func(t *testing.T, w *world, odd *oddfs.Disk) {
		a, b := w.pair("f", "kept")
		a.late += 2 * time.Minute
		a.sync() // hashed once more, after the window
		if !odd.Alter("f", []byte("rotten!")) {
			t.Fatal("no f")
		}
		for range 2 {
			a.again()
			if c := a.sync(); c != (engine.Counters{}) {
				t.Errorf("did %+v", c)
			}
		}
		b.sync()
		if got := b.read("f"); got != "first f" {
			t.Errorf("b has %q", got)
		}
		a.rereads(engine.FileTrouble{Region: w.region, Path: "f"})
		odd.Alter("f", []byte("first f"))
		a.rereads()
		w.forget("rotten!")
	})
}

func TestCase093SparseFile(t *testing.T) {
	long(t)
	on(t, []disk{ext4, xfs}, func(t *testing.T, w *world) {
		a, b := w.pair()
		const size = 40 << 20
		f, err := os.Create(a.path("sparse"))
		must(t, err)
		must(t, f.Truncate(size))
		_, err = f.WriteAt([]byte("in the middle"), size/2)
		must(t, errors.Join(err, f.Close()))
		if c := a.sync(); c.BytesUp > size/4 {
			t.Errorf("sent %d bytes of holes", c.BytesUp)
		}
		b.sync()
		var st syscall.Stat_t
		must(t, syscall.Stat(b.path("sparse"), &st))
		if st.Blocks*512 > size/4 {
			t.Errorf("%d bytes on the disk of what is nearly all holes", st.Blocks*512)
		}
		if sum(t, a.path("sparse")) != sum(t, b.path("sparse")) {
			t.Error("the files differ")
		}
	})
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, f)
	must(t, err)
	return fmt.Sprint(b.Len(), bytes.Count(b.Bytes(), []byte{0}), bytes.Index(b.Bytes(), []byte("in the middle")))
}

func TestCase094FilesOfOneByteOverAndOver(t *testing.T) {
	long(t)
	on(t, []disk{plain, xfs, cheap}, func(t *testing.T, w *world) {
		a, b := w.pair()
		for i := range 4 {
			a.write(fmt.Sprintf("zero %d", i), strings.Repeat("\x00", 6<<20+i))
			a.write(fmt.Sprintf("equal %d", i), strings.Repeat("abcdefgh", 1<<18))
		}
		if c := a.sync(); c.BytesUp > 8<<20 {
			t.Errorf("sent %d bytes", c.BytesUp)
		}
		b.sync()
	})
}
