package owner_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/device/engine"
	"signet/device/line"
)

// A seam is a volume that notes how often each file is opened and read, and a service
// that notes what is stored. Tests change files between two of its steps.
type seam struct {
	engine.Volume
	*steps
}

type steps struct {
	mu           sync.Mutex
	opens, reads map[string]int
	opened       int64          // bytes of all files that were opened
	ahead        int64          // most of them that were not stored then
	stored       int64          // bytes of objects
	objects      int            // stored
	read         func(p string) // after the first reading of a file
	put          func()         // before objects are stored
}

type onceReading struct {
	engine.Reading
	s    *steps
	path string
}

func (v seam) Read(path string) (engine.Reading, error) {
	r, err := v.Volume.Read(path)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.opens[path]++
	v.opened += r.Stat().Size
	v.ahead = max(v.ahead, v.opened-v.stored)
	v.mu.Unlock()
	return onceReading{r, v.steps, path}, nil
}

func (r onceReading) Read(b []byte) (int, error) {
	n, err := r.Reading.Read(b)
	r.s.mu.Lock()
	r.s.reads[r.path]++
	first := r.s.reads[r.path] == 1
	r.s.mu.Unlock()
	if f := r.s.read; f != nil && first {
		f(r.path)
	}
	return n, err
}

type onceService struct {
	engine.Service
	s *steps
}

func (c onceService) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	if f := c.s.put; f != nil {
		f()
	}
	err := c.Service.Put(ctx, r, objects)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, o := range objects {
		c.s.stored += int64(len(o))
	}
	c.s.objects += len(objects)
	return err
}

// watched notes what the device does from here on.
func (d *device) watched() *steps {
	s := &steps{opens: map[string]int{}, reads: map[string]int{}}
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return seam{v, s}, err
	}
	d.Engine.Service = onceService{d.Engine.Service, s}
	return s
}

func (s *steps) wantOnce(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if s.opens[p] != 1 || s.reads[p] != 1 {
			t.Errorf("%s was opened %d times and read %d times", p, s.opens[p], s.reads[p])
		}
	}
}

func TestSmallNewFileIsOpenedAndReadOnce(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("empty", "")
	a.write("docs/one", "one")
	a.write("docs/two", "two")
	a.write("most", string(randomBytes(1, 256<<10-1)))
	a.write("parts", string(randomBytes(2, 256<<10)))
	a.add("R")
	s := a.watched()
	if c := a.sync(); c.FilesUp != 5 || c.ObjectsUp != 6 {
		t.Errorf("five files, one of two pieces: %+v", c)
	}
	s.wantOnce(t, "docs/one", "docs/two", "most")
	if s.opens["parts"] != 2 {
		t.Errorf("a file of several pieces was opened %d times", s.opens["parts"])
	}
	b.add("R")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)

	// So is one that was written over, and one of a region that others wrote to.
	b.write("of b", "theirs")
	b.sync()
	a.sync()
	clear(s.opens)
	clear(s.reads)
	a.write("docs/one", "another")
	a.write("docs/three", "three")
	a.sync()
	s.wantOnce(t, "docs/one", "docs/three")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestEqualSmallFilesAreOneObject(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	for i := range 40 {
		a.write(fmt.Sprintf("twin %d", i), "the same in all")
	}
	a.add("R")
	s := a.watched()
	if c := a.sync(); c.FilesUp != 40 || s.objects != 1 {
		t.Errorf("%d objects for 40 equal files: %+v", s.objects, c)
	}
	// Nor is one stored of what the region has from this device or another: a copy,
	// or a file that was but touched.
	b.add("R")
	b.sync()
	b.write("of b", "what b wrote")
	b.sync()
	a.sync()
	before := s.objects
	a.write("copy", "what b wrote")
	a.write("another", "the same in all")
	must(t, os.Chtimes(a.path("twin 0"), time.Time{}, time.Unix(1e9, 0)))
	if c := a.sync(); c.FilesUp != 2 || s.objects != before {
		t.Errorf("%d objects for two copies and a touched file: %+v", s.objects-before, c)
	}
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

// A folder that is joined has what the region has: nothing of that is stored again.
func TestNothingIsStoredOfAFolderThatIsJoined(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	for i := range 10 {
		for _, d := range []*device{a, b} {
			d.write(fmt.Sprintf("d/%d", i), fmt.Sprint("in both", i))
		}
	}
	a.add("R")
	a.sync()
	b.write("more", "of b alone")
	b.add("R")
	s := b.watched()
	if c := b.sync(); c.FilesUp != 1 || s.objects != 1 {
		t.Errorf("%d objects, %+v", s.objects, c)
	}
	s.wantOnce(t, "more")
}

func TestSmallFileThatChangesWhileItIsReadIsNotSealed(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "what it was")
	a.add("R")
	s := a.watched()
	s.read = func(string) { s.read = nil; a.write("f", "what it is!") }
	if c := a.sync(); c.FilesUp != 1 || s.objects != 1 {
		t.Errorf("%d objects: %+v", s.objects, c)
	}
	b.add("R")
	b.sync()
	same(t, a, b)
	if !b.says("f", "what it is!")() {
		t.Error("b has another")
	}
}

// What changes after it was hashed is a change of the version that was: both are whole.
func TestSmallFileThatChangesBeforeItIsCommittedIsTwoVersions(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "what it was")
	a.add("R")
	s := a.watched()
	s.put = func() { s.put = nil; a.write("f", "what it is!") }
	a.sync()
	b.add("R")
	b.sync()
	if !b.says("f", "what it was")() && !b.says("f", "what it is!")() {
		t.Error("b has what never was")
	}
	a.sync()
	b.sync()
	same(t, a, b)
	if !b.says("f", "what it is!")() {
		t.Error("b has another")
	}
	quiet(t, a, b)
}

func TestSmallFileThatVanishesBeforeItIsCommittedHoldsNothingUp(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "short")
	a.write("g", "stays")
	a.write("h", "moves")
	a.add("R")
	s := a.watched()
	s.put = func() {
		s.put = nil
		must(t, os.Remove(a.path("f")))
		must(t, os.Rename(a.path("h"), a.path("i")))
	}
	a.sync()
	a.sync()
	b.add("R")
	b.sync()
	same(t, a, b)
	a.wantNames("g", "i")
	quiet(t, a, b)
}

// What was sealed and could not be stored, or not be committed, is sent all the same.
func TestWhatWasSealedWhileItWasHashedIsNotReliedOn(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "content")
	a.add("R")
	a.Engine.Service = &failing{Service: a.Engine.Service, puts: 1}
	if _, err := a.Engine.SyncVolume(t.Context(), a.Engine.Volumes()[0].ID); err != nil {
		t.Logf("told of it: %v", err) // or tried again
	}
	a.sync()
	a.write("g", "content of g")
	a.Engine.Service = &failing{Service: a.Engine.Service, loses: 1}
	a.sync()
	b.add("R")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

// A failing service refuses some requests to store, or says that it did and did not.
type failing struct {
	engine.Service
	mu          sync.Mutex
	puts, loses int
}

func (f *failing) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	f.mu.Lock()
	refuse, lose := f.puts > 0, f.loses > 0
	f.puts, f.loses = f.puts-1, f.loses-1
	f.mu.Unlock()
	switch {
	case refuse:
		return fmt.Errorf("cut: %w", signet.ErrUnavailable)
	case lose:
		return nil
	}
	return f.Service.Put(ctx, r, objects)
}

// What is sealed waits in bounded memory: while nothing is stored, reading stops.
func TestReadingDoesNotRunAheadOfTheLine(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	const n, size = 100, 60 << 10
	for i := range n {
		a.write(fmt.Sprintf("f%d", i), string(randomBytes(int64(i), size)))
	}
	a.add("R")
	s := a.watched()
	a.Engine.Line = line.New(time.Now)
	a.Engine.Line.SetLimit(line.Up, 1<<20) // 0.75 s of it may be on its way
	var first sync.Once
	s.put = func() {
		first.Do(func() { <-time.After(500 * time.Millisecond) }) // all could be read meanwhile
	}
	if c := a.sync(); c.FilesUp != n {
		t.Errorf("%+v", c)
	}
	if most := int64(768<<10 + 3*128<<10 + 4*size); s.ahead > most {
		t.Errorf("%d bytes were read and not stored yet, more than %d", s.ahead, most)
	}
	var names []string
	for p := range s.opens {
		if !strings.HasPrefix(p, ".") {
			names = append(names, p)
		}
	}
	s.wantOnce(t, names...)
}
