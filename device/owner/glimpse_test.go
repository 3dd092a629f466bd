package owner_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/core/seal"
	"signet/device/engine"
)

// longFilm is the shortest film that is shown while it is sent, in 512 pieces.
const longFilm = seal.LongFile

// A stingy service takes so many bytes of large objects, and the others when told to.
type stingy struct {
	engine.Service
	left atomic.Int64
	gate chan struct{}
	show func(sealed []byte) []byte // what is shown instead; nil: nothing
}

func (d *device) stint(bytes int64) *stingy {
	s := &stingy{Service: d.Engine.Service, gate: make(chan struct{}), show: func(b []byte) []byte { return b }}
	s.left.Store(bytes)
	d.Engine.Service = s
	return s
}

func (s *stingy) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	n := int64(0)
	for _, o := range objects {
		n += int64(len(o))
	}
	if len(objects[0]) > 100<<10 && s.left.Add(-n) < 0 {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Service.Put(ctx, r, objects)
}

func (s *stingy) Show(ctx context.Context, r signet.RegionID, sealed []byte) (bool, error) {
	if sealed = s.show(sealed); sealed == nil {
		return true, nil
	}
	return s.Service.Show(ctx, r, sealed)
}

// shownPair is two daemons in step, the first of which sends only so much of a film.
func shownPair(t *testing.T, bytes int64) (a, b *device, s *stingy) {
	t.Helper()
	w := newWorld(t)
	a, b = w.device("a"), w.device("b")
	s = a.stint(bytes)
	a.write("d/doc", "one")
	inStep(t, a, b)
	return a, b, s
}

// staged is what lies in a device's staging folder.
func (d *device) staged() (names []string) {
	list, err := os.ReadDir(filepath.Join(d.dir, ".signet/staging"))
	must(d.t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestAFilmIsFetchedWhileItIsSent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b, s := shownPair(t, 32<<20)
	before := b.counters()
	big := film(longFilm + 1000)
	a.write("d/film", big)
	b.patiently("fetching what is there", func() bool { return b.counters().Minus(before).BytesDown > 24<<20 })
	if b.has("d/film")() {
		t.Error("it is there before its entry")
	}
	if st := b.Engine.VolumeStatus(b.Engine.Volumes()[0].ID); st.State != engine.InStep {
		t.Errorf("b is %s: no entry said anything yet", st.State)
	}
	close(s.gate)
	b.patiently("given the film", b.says("d/film", big))
	a.settled()
	b.settled()
	same(t, a, b)
	c := b.counters().Minus(before)
	if c.FilesDown != 1 || c.ObjectsDown > 513+4 || c.BytesDown > int64(len(big))*103/100 {
		t.Errorf("something came twice: %+v", c)
	}
	if l := b.staged(); len(l) > 0 {
		t.Errorf("left in staging: %s", l)
	}
	// What came so is known: a copy of it need not be sent.
	before = b.counters()
	must(t, os.WriteFile(b.path("copy"), []byte(big), 0o644))
	a.patiently("given the copy", a.says("copy", big))
	if c := b.counters().Minus(before); c.ObjectsUp > 4 {
		t.Errorf("a copy cost %d objects", c.ObjectsUp)
	}
}

// A pause, and a file that changes on its way and is read once more, leave nothing
// behind.
func TestASketchThatIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b, s := shownPair(t, 32<<20)
	before := b.counters()
	a.write("film", film(longFilm))
	some := func() bool { return b.counters().Minus(before).BytesDown > 8<<20 }
	b.patiently("fetching", some)
	id := b.Engine.Volumes()[0].ID
	must(t, b.Engine.Pause(id, true))
	b.eventually("without what was staged", func() bool { return len(b.staged()) == 0 })
	must(t, b.Engine.Pause(id, false))
	b.settled()
	big := film(longFilm + 10)
	must(t, os.WriteFile(a.path("new"), []byte(big), 0o644))
	must(t, os.Rename(a.path("new"), a.path("film")))
	close(s.gate)
	b.patiently("given the film", b.says("film", big))
	a.settled()
	b.settled()
	same(t, a, b)
	// Of what was given up, b may have heard once more before it was.
	must(t, b.Engine.Pause(id, true))
	b.eventually("without what was staged", func() bool { return len(b.staged()) == 0 })
}

// patiently is eventually for what the race detector makes slow.
func (d *device) patiently(what string, cond func() bool) {
	d.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 900 {
		if cond() {
			return
		}
		<-tick.C
	}
	d.eventually(what, cond)
}
