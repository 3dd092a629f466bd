//go:build !portable

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// A watch collects events until what a test waits for has come.
type watch struct {
	*box
	events <-chan Event
	got    []Event
}

func (b *box) watch() *watch {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	events, err := b.Watch(ctx, nil)
	b.must(err)
	return &watch{box: b, events: events}
}

// until reads events until done says so; it fails after ten seconds.
func (w *watch) until(what string, done func(Event) bool) {
	w.t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				w.t.Fatalf("%s: the channel ended after %v", what, w.got)
			}
			w.got = append(w.got, e)
			if done(e) {
				return
			}
		case <-late:
			w.t.Fatalf("%s did not come; got %v", what, w.got)
		}
	}
}

func (w *watch) want(path string, kind EventKind) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s of %q", kind, path), func(e Event) bool { return e == Event{path, kind} })
}

func TestWatchTellsWhatHappenedAndWhatIsSettled(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.write("d/old", "x")
		w := b.watch()
		f, err := os.Create(b.path("d/f"))
		b.must(err)
		_, err = f.WriteString("x")
		b.must(err)
		w.want("d/f", Changed) // not settled: still open
		b.must(f.Close())
		w.want("d/f", Closed)
		b.must(os.Chmod(b.path("d/f"), 0o600))
		w.want("d/f", Meta)
		b.save("d/f", "saved")
		w.want("d/f", MovedTo)
		b.must(os.Rename(b.path("d/f"), b.path("g")))
		w.want("d/f", Left)
		w.want("g", MovedTo)
		b.must(os.Remove(b.path("g")))
		w.want("g", Gone)
		b.must(os.Symlink("x", b.path("l")))
		w.want("l", Changed)
		b.must(os.RemoveAll(b.path("d")))
		w.want("d", Gone)
	})
}

func TestWatchDoesNotSeeSignetsOwnFolder(t *testing.T) {
	b := newBox(t, t.TempDir())
	w := b.watch()
	s := b.stage("x")
	_, err := b.Place(s, "f")
	b.must(err)
	w.until("f", func(e Event) bool {
		if e.Path != "f" || e.Kind != MovedTo && e.Kind != Closed {
			t.Errorf("got %v", e)
		}
		return e.Kind == Closed // by Place, last
	})
}

// find keeps a set of the files that a reader of the events knows: it looks at
// what is named, and lists a folder that is.
func (w *watch) find(want int) {
	w.t.Helper()
	known := map[string]bool{}
	w.until(fmt.Sprintf("all of %d files", want), func(e Event) bool {
		st, err := w.Stat(e.Path)
		switch {
		case err != nil:
		case st.Type == tree.File:
			known[e.Path] = true
		case st.Type == tree.Dir:
			for _, f := range w.List(e.Path).Entries {
				if f.Stat.Type == tree.File {
					known[join(e.Path, f.Name)] = true
				}
			}
		}
		return len(known) == want
	})
}

func TestNothingInANewFolderIsMissedBeforeItIsWatched(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		w := b.watch()
		const n = 200
		go func() {
			for i := range n {
				dir := b.path(fmt.Sprintf("a%d/b/c/d", i%20))
				os.MkdirAll(dir, 0o755)
				os.WriteFile(fmt.Sprintf("%s/f%d", dir, i), nil, 0o644)
			}
		}()
		w.find(n)
		if have, want, err := b.Watches(); have != want || err != nil || have < 2 {
			t.Errorf("watches %d of %d, %v", have, want, err)
		}
	})
}

func TestAFolderMovedInFromOutsideIsReportedWhole(t *testing.T) {
	b := newBox(t, t.TempDir())
	outside := b.dir + ".outside"
	for i := range 20 {
		b.must(os.MkdirAll(fmt.Sprintf("%s/x/d%d", outside, i), 0o755))
		b.must(os.WriteFile(fmt.Sprintf("%s/x/d%d/f", outside, i), nil, 0o644))
	}
	w := b.watch()
	b.must(os.Rename(outside+"/x", b.path("x")))
	w.find(20)
}

func TestAMovedFolderKeepsItsWatchesUnderItsNewName(t *testing.T) {
	b := newBox(t, t.TempDir())
	for i := range 50 {
		b.write(fmt.Sprintf("a/d%d/e/f", i), "")
	}
	w := b.watch()
	have, _, _ := b.Watches()
	b.must(os.Rename(b.path("a"), b.path("z")))
	w.want("z", MovedTo)
	b.write("z/d7/e/new", "x")
	w.want("z/d7/e/new", Closed)
	if now, want, err := b.Watches(); now != have || want != have || err != nil {
		t.Errorf("watches %d of %d, %v; want %d", now, want, err, have)
	}
	for _, e := range w.got { // its files did not change: they are not to be looked at again
		if e != (Event{"a", Left}) && e != (Event{"z", MovedTo}) && e.Path != "z/d7/e/new" {
			t.Errorf("got %v", e)
		}
	}
}

// bare is a watcher whose events nobody reads yet.
func (b *box) bare(limit int) *watcher {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	w, err := b.newWatcher(ctx, limit, nil)
	b.must(err)
	b.t.Cleanup(w.close)
	return w
}

func TestAFolderThatLeavesTheVolumeIsNotWatchedAnyMore(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("a/b/c/f", "")
	b.write("d/f", "")
	w := b.bare(0)
	b.must(os.Rename(b.path("a"), b.dir+".left"))
	w.event(context.Background(), w.root.wd, unix.IN_MOVED_FROM|unix.IN_ISDIR, "a")
	for n := range w.away {
		w.away[n] = time.Now().Add(-2 * awayTime)
	}
	w.forget()
	if have, want, _ := b.Watches(); have != 2 || want != 2 {
		t.Errorf("watches %d of %d; want those of the top and d", have, want)
	}
	if got := w.queue.take(); len(got) != 1 || got[0] != (Event{"a", Left}) {
		t.Errorf("got %v", got)
	}
}

func TestLostEventsMakeEveryFolderWatchedAndAScanAskedFor(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("stays/f", "")
	b.write("leaves/f", "")
	w := b.bare(0)
	b.write("comes/deep/f", "")
	b.must(os.Rename(b.path("leaves"), b.dir+".left"))
	w.event(context.Background(), -1, unix.IN_Q_OVERFLOW, "")
	if got := w.queue.take(); len(got) != 1 || got[0].Kind != Overflow {
		t.Errorf("got %v", got)
	}
	if have, want, err := b.Watches(); have != 4 || want != 4 || err != nil {
		t.Errorf("watches %d of %d, %v; want 4", have, want, err)
	}
}

func TestTheKernelsOverflowArrives(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("f", "")
	w := b.bare(0)
	b.write("g", "")
	most := 1 << 14 // joined are only equal neighbours
	if data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		fmt.Sscan(string(data), &most)
	}
	for range most/2 + 1000 {
		b.must(os.Chmod(b.path("f"), 0o600))
		b.must(os.Chmod(b.path("g"), 0o600))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watched := &watch{box: b, events: w.start(ctx)}
	watched.until("overflow", func(e Event) bool { return e.Kind == Overflow })
}

func TestTooFewWatchesAreSaid(t *testing.T) {
	b := newBox(t, t.TempDir())
	for i := range 20 {
		b.write(fmt.Sprintf("d%d/e/f", i), "")
	}
	w := b.bare(10)
	have, want, err := b.Watches()
	if have != 10 || want != 41 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("watches %d of %d, %v", have, want, err)
	}
	if got := w.queue.take(); len(got) != 0 { // the reader is about to scan
		t.Errorf("got %v", got)
	}
}

func TestARootThatIsMovedOrUnmarkedIsReported(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		w := b.watch()
		b.must(os.Rename(b.path(private), b.dir+".was"))
		w.want("", RootGone)
		b.must(os.Rename(b.dir+".was", b.path(private)))
		b.must(os.Rename(b.dir, b.dir+".away"))
		w.want("", RootGone)
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	b := newBox(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	events, err := b.Watch(ctx, nil)
	b.must(err)
	cancel()
	for range events {
	}
}

func TestEventsOfOnePathBecomeOneAndTooManyBecomeOverflow(t *testing.T) {
	q := newEventQueue()
	for _, k := range []EventKind{Changed, Closed, Meta} {
		q.put("f", k)
	}
	q.put("g", Closed)
	q.put("g", Changed)
	q.put("h", Gone)
	q.put("h", Meta)
	want := []Event{{"f", Closed}, {"g", Changed}, {"h", Meta}}
	if got := q.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", got, want)
	}
	for i := range maxPending + 1 {
		q.put(fmt.Sprint(i), Closed)
	}
	q.put("", RootGone)
	if got := q.take(); len(got) != 2 || got[0].Kind != RootGone || got[1].Kind != Overflow {
		t.Errorf("got %d events", len(got))
	}
	if got := q.take(); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
}

func BenchmarkWatch10kFolders(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		if err := os.MkdirAll(fmt.Sprintf("%s/d%d/e%d", dir, i%100, i), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		if _, err := v.Watch(ctx, nil); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
}

func TestWatchLeavesOutWhatItIsToSkip(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("build/a/f", "")
	b.write("d/f", "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := b.newWatcher(ctx, 0, func(p string) bool { return p == "build" || p == "d/build" })
	b.must(err)
	defer w.close()
	have := func(n int) {
		t.Helper()
		if have, want, _ := b.Watches(); have != n || want != n {
			t.Errorf("watches %d of %d; want %d", have, want, n)
		}
	}
	have(2)
	// A folder of that name is named, and no more.
	b.write("d/build/x/y", "")
	for wd, n := range w.nodes {
		if n.name == "d" {
			w.event(ctx, wd, unix.IN_CREATE|unix.IN_ISDIR, "build")
		}
	}
	have(2)
	if got := w.queue.take(); len(got) != 1 || got[0] != (Event{"d/build", Changed}) {
		t.Errorf("got %v", got)
	}
}
