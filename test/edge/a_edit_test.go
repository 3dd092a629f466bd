package edge

import (
	"strings"
	"testing"
	"time"
)

// A. Both sides edit.

func TestCase001BothEditOneFile(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f.txt")
		a.write("f.txt", "of a")
		b.write("f.txt", "of b, longer")
		a.sync()
		w.want("f.txt=of a", "f CC.txt=of b, longer")
	})
}

func TestCase002BothEditToTheSame(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.write("f", "the same")
		b.write("f", "the same")
		a.sync()
		w.want("f=the same")
	})
}

func TestCase003EditsOfOneSizeInOneSecond(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		now := time.Now().Truncate(2 * time.Second)
		for d, s := range map[*device]string{a: "of ann", b: "of ben"} {
			d.write("f", s)
			d.touch("f", now)
		}
		a.sync()
		w.want("f=of ann", "f CC=of ben")
	})
}

// A clock that is off by hours is refused and named. One that is off by what
// goes through decides nothing, and neither do the times of files.
func TestCase004ClockOfTheSecondIsAhead(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.write("f", "first by the journal")
		b.write("f", "first by the clock")
		b.touch("f", time.Now().Add(5*time.Hour))
		a.sync()
		b.late = 5 * time.Hour
		if _, err := b.try(); err == nil || !strings.Contains(err.Error(), "clock") {
			t.Errorf("a clock that is five hours ahead: %v", err)
		}
		b.late = 4 * time.Minute
		w.want("f=first by the journal", "f CC=first by the clock")
	})
}

func TestCase005ThreeEdit(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		ds := w.some(3, "f")
		for _, d := range ds {
			d.write("f", "of "+d.name)
		}
		w.sync()
		w.want("f=of a", "f CC=of b", "f CC=of c")
	})
}

func TestCase006EditWhileTheEditIsSent(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		one, two := strings.Repeat("1", 3<<20), strings.Repeat("2", 3<<20+1)
		for _, call := range []string{"put", "append"} {
			a.write("f", one+call)
			done := a.once(call, func() { a.write("f", two+call) })
			a.sync()
			a.plug()
			if !*done {
				t.Errorf("no %s", call)
			}
			b.sync()
			if got := b.read("f"); got != one+call && got != two+call {
				t.Errorf("after %s: %d bytes, %.10q…%.10q: a mixture", call, len(got), got, got[max(0, len(got)-10):])
			}
			w.want("f=" + two + call)
		}
	})
}

func TestCase007SaveOfWhatWasOpenBeforeARemoteEdit(t *testing.T) {
	long(t)
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		f := b.opened("f")
		a.write("f", "of a")
		a.sync()
		saved := make(chan error, 1)
		go func() {
			b.eventually("given what a wrote", b.says("f", "of a"))
			_, err := f.WriteString("saved by a program on b")
			f.Close()
			saved <- err
		}()
		b.sync()
		must(t, <-saved)
		w.want("f=of a", "f CC=saved by a program on b")
	})
}

func TestCase008BothEditAConflictCopy(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f.txt")
		a.write("f.txt", "of a")
		b.write("f.txt", "of b")
		a.sync()
		w.want("f.txt=of a", "f CC.txt=of b")
		for i := range 4 {
			cc := a.copies()[0]
			a.write(cc, "copy by a "+strings.Repeat("!", i))
			b.write(cc, "copy by b "+strings.Repeat("!", i))
			a.sync()
			w.sync()
			w.sync()
			w.sync()
			if n := len(a.copies()); n != 2+i {
				t.Fatalf("%d copies after round %d: %q", n, i, a.copies())
			}
		}
		for _, c := range a.copies() {
			if strings.Count(c, "(conflict") > 1 {
				t.Errorf("a name that grows: %s", c)
			}
		}
	})
}

func TestCase009TwelveConflictsOfOneFile(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		const n = 12
		for i := range n {
			a.write("f", "of a "+strings.Repeat("!", i))
			b.write("f", "of b "+strings.Repeat("!", i))
			a.sync()
			b.sync()
			a.sync()
		}
		w.sync()
		if got := len(b.copies()); got != n {
			t.Errorf("%d copies, want %d: %q", got, n, b.copies())
		}
	})
}

func TestCase010BothMakeAFileOfOneName(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair()
		a.write("d/f.tar.gz", "of a")
		b.write("d/f.tar.gz", "of b")
		a.sync()
		w.want("d/f.tar.gz=of a", "d/f CC.tar.gz=of b")
	})
}

func TestCase011BothMakeTheSameFile(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair()
		content := strings.Repeat("the same on both, ", 1e5)
		a.write("d/f", content)
		b.write("d/f", content)
		a.sync()
		if c := b.sync(); c.BytesUp > 20000 || c.Conflicts != 0 {
			t.Errorf("the second did %+v", c)
		}
		w.want("d/f=" + content)
	})
}

func TestCase012ModeHereContentThere(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("mode first", "content first")
		a.chmod("mode first", 0o755)
		b.write("mode first", "edited")
		a.sync()
		b.sync()
		a.chmod("content first", 0o755)
		b.write("content first", "edited")
		b.sync()
		w.want("content first=edited", "mode first=edited")
		for _, d := range w.devices {
			for _, f := range []string{"mode first", "content first"} {
				if got := d.mode(f); got != 0o755 {
					t.Errorf("%s: %s has mode %o", d.name, f, got)
				}
			}
		}
	})
}

func TestCase013IndexLostAndBothChanged(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("same", "differs", "gone", "kept")
		a.write("same", "of both")
		a.write("differs", "of a")
		b.lose()
		b.write("same", "of both")
		b.write("differs", "of b, longer")
		b.rm("gone")
		a.sync()
		w.want("differs CC=of b, longer", "differs=of a", "gone=first gone", "kept=first kept", "same=of both")
	})
}
