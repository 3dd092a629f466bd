package owner_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/device/engine"
	"signet/device/line"
)

// A recorder is a service that notes which objects come and go, in order, by
// their size, and lets them do so one request at a time where it is told to.
type recorder struct {
	engine.Service
	one chan struct{} // nil, or has an element for each Put that may go

	mu       sync.Mutex
	put, got []int
}

func (s *recorder) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	if s.one != nil {
		select {
		case <-s.one:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	for _, o := range objects {
		s.put = append(s.put, len(o))
	}
	s.mu.Unlock()
	return s.Service.Put(ctx, r, objects)
}

func (s *recorder) Get(ctx context.Context, r signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	return s.Service.Get(ctx, r, ids, func(id signet.ObjectID, o []byte) error {
		s.mu.Lock()
		s.got = append(s.got, len(o))
		s.mu.Unlock()
		return each(id, o)
	})
}

func (s *recorder) sent() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.put)
}

func (d *device) record() *recorder {
	s := &recorder{Service: d.Engine.Service}
	d.Engine.Service = s
	return s
}

// slowly lets a device take its line for one of 1 MiB a second.
func (d *device) slowly() {
	d.Line.Assume(line.Up, 1<<20)
	d.Line.Assume(line.Down, 1<<20)
}

func TestWhatIsSavedGoesBeforeABacklogOfSmallerFiles(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	a.slowly()
	for i := range 300 {
		a.write(fmt.Sprintf("backlog-%03d", i), film(20<<10+i))
	}
	s := a.record()
	s.one = make(chan struct{})
	a.add("R")
	a.run()
	s.one <- struct{}{}
	a.eventually("sending", func() bool { return len(s.sent()) > 0 })
	const letter = 90 << 10
	a.write("letter", film(letter))
	for i := 0; ; i++ {
		sizes := s.sent()
		if at := slices.IndexFunc(sizes, func(n int) bool { return n > letter }); at >= 0 {
			t.Logf("the letter was object %d of 301, after %d requests", at+1, i)
			if at > 150 {
				t.Errorf("the letter was object %d of 301", at+1)
			}
			break
		}
		if len(sizes) > 250 {
			t.Fatalf("%d objects were sent, and the letter is none of them", len(sizes))
		}
		// A request takes its time on such a line.
		tick := time.NewTimer(125 * time.Millisecond)
		select {
		case s.one <- struct{}{}:
			<-tick.C
		case <-tick.C:
		}
	}
	close(s.one)
	a.settled()
	if m := a.Line.Moved(line.Up); m[line.Saved] < letter || m[line.Small] < 300*20<<10 {
		t.Errorf("let through by class: %d", m)
	}
}

func TestWhatIsSentComesInTheOrderOfSize(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	a.slowly()
	for i := range 120 {
		// The names are in another order than the sizes.
		a.write(fmt.Sprintf("f%03d", i*7919%120), film(1<<10+i<<10))
	}
	s := a.record()
	a.add("R")
	a.sync()
	if n := len(s.sent()); n != 120 {
		t.Fatalf("%d objects, want 120", n)
	}
	inOrder(t, s.sent())
}

// The watch speaks of what a turn places. Where that ended the turn, the next was
// planned from the start, for a few files more: with many of them nothing went on.
// On a line of 1 MiB a second each go is a second long at most, and most are longer
// than a turn goes on whatever it hears.
func TestWhatATurnPlacesIsNoReasonToEndIt(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.add("R")
	a.sync()
	b.slowly()
	b.Line.SetLimit(line.Down, 1<<20)
	b.add("R")
	did := b.book(false)
	b.run() // its watch is there before anything comes
	b.settled()
	for i := range 300 {
		a.write(fmt.Sprintf("d%d/f%03d", i%7, i), film(9<<10+i)) // 3 MB: two seconds and more
	}
	// How many entries a makes of them has to do with how fast it is. All are there
	// before b begins.
	v := b.Engine.Volumes()[0].ID
	must(t, b.Engine.Pause(v, true))
	a.sync()
	b.eventually("told of all", func() bool { return b.Engine.Regions()[0].Entries >= a.Engine.Regions()[0].Entries })
	did.since()
	began := time.Now()
	must(t, b.Engine.Pause(v, false))
	b.eventually("all of them", func() bool { return b.counters().FilesDown == 300 })
	took := time.Since(began)
	b.settled()
	did.mu.Lock()
	n := did.placed
	did.mu.Unlock()
	t.Logf("%d turns in %v", n, took)
	if most := 1 + int(took/(5*time.Second)); n > most { // after five seconds a turn looks around
		t.Errorf("%d turns, of at most %d, for 300 files that came at once", n, most)
	}
	same(t, a, b)
}

// A large folder that is moved in is read, sealed and stored for a while before the
// first plan knows of it. Nobody is told meanwhile that all is in step.
func TestWhatIsBeingReadIsNotInStep(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	s := a.record()
	a.add("R")
	a.run()
	a.settled()
	s.one = make(chan struct{}) // nothing is sent from here on
	aside := filepath.Join(filepath.Dir(a.dir), "aside")
	must(t, os.Mkdir(aside, 0o755))
	for i := range 600 {
		must(t, os.WriteFile(filepath.Join(aside, fmt.Sprint(i)), fmt.Append(nil, "content ", i), 0o644))
	}
	must(t, os.Rename(aside, a.path("in")))
	a.eventually("scanning", func() bool { return a.Engine.Status()[0].State == engine.Scanning })
	close(s.one)
	a.eventually("in step", func() bool { st := a.Engine.Status()[0]; return st.State == engine.InStep && st.SafeFiles == 600 })
}

// inOrder says that of a small and a large file the small one mostly comes first:
// several requests are under way at once, and the large ones have a share.
func inOrder(t *testing.T, sizes []int) {
	t.Helper()
	by := slices.Sorted(slices.Values(sizes))
	small, large := by[len(by)/3], by[2*len(by)/3]
	pairs, late, before := 0, 0, 0
	for _, n := range sizes {
		switch {
		case n >= large:
			before++
		case n < small:
			pairs, late = pairs+len(by)-2*len(by)/3, late+before
		}
	}
	t.Logf("%.1f %% of the small ones came after large ones", 100*float64(late)/float64(pairs))
	if float64(late) > 0.15*float64(pairs) {
		t.Errorf("the order of sizes was %d", sizes)
	}
}

func TestWhatIsFetchedComesInTheOrderOfSizeAfterWhatWasJustSaved(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	old := time.Now().Add(-24 * time.Hour)
	for i := range 120 {
		name := fmt.Sprintf("f%03d", i*7919%120)
		a.write(name, film(1<<10+i<<10))
		must(t, os.Chtimes(a.path(name), old, old))
	}
	const letter = 200 << 10
	a.write("letter", film(letter))
	a.add("R")
	a.sync()
	b.slowly()
	s := b.record()
	b.add("R")
	b.sync()
	same(t, a, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.got, func(n int) bool { return n > letter })
	first := slices.IndexFunc(s.got, func(n int) bool { return n > 1<<10 && n < 4<<10 })
	if at < 0 || first < 0 || at > first {
		t.Errorf("the letter was object %d, the smallest file %d of %d", at, first, len(s.got))
	}
	inOrder(t, slices.Delete(slices.Clone(s.got), at, at+1))
}

// Three large files and a small one, on a line that takes seconds for each: the
// largest has a share of its own, whatever else waits.
func TestLargeFilesAreOfTheirClasses(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.slowly()
	b.slowly()
	a.Line.SetLimit(line.Up, 8<<20)
	for i, n := range []int{1 << 20, 2 << 20, 6 << 20} {
		a.write(fmt.Sprintf("film-%d", i), film(n))
	}
	a.write("doc", film(100<<10))
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	same(t, a, b)
	for name, m := range map[string][]int64{"up": a.Line.Moved(line.Up), "down": b.Line.Moved(line.Down)} {
		t.Logf("%s: %d", name, m)
		if m[line.Largest] < 6<<20 || m[line.Next] < 1<<20 {
			t.Errorf("%s: let through by class: %d", name, m)
		}
	}
}
