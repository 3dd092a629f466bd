package owner_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/device/engine"
)

// A slow service moves objects of a film only when told to.
type slow struct {
	engine.Service
	gate    chan struct{} // closed when they may go
	open    sync.Once
	waiting atomic.Int32
	film    sync.Map // ids of objects that are large
}

func (s *slow) release() { s.open.Do(func() { close(s.gate) }) }

func (s *slow) pass(ctx context.Context) error {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	select {
	case <-s.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	if len(objects[0]) > 100<<10 {
		if err := s.pass(ctx); err != nil {
			return err
		}
	}
	return s.Service.Put(ctx, r, objects)
}

func (s *slow) Get(ctx context.Context, r signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	return s.Service.Get(ctx, r, ids, func(id signet.ObjectID, o []byte) error {
		if len(o) > 100<<10 {
			if err := s.pass(ctx); err != nil {
				return err
			}
		}
		return each(id, o)
	})
}

// hold makes the device's large objects wait until release.
func (d *device) hold() *slow {
	s := &slow{Service: d.Engine.Service, gate: make(chan struct{})}
	d.t.Cleanup(s.release)
	d.Engine.Service = s
	return s
}

func film(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

// holding is pair, whose large objects do not move.
func holding(t *testing.T, sender bool) (a, b *device, s *slow) {
	w := newWorld(t)
	a, b = w.device("a"), w.device("b")
	if sender {
		s = a.hold()
	} else {
		s = b.hold()
	}
	a.write("doc", "one")
	a.write("gone", "soon")
	inStep(t, a, b)
	return a, b, s
}

func (d *device) says(name, content string) func() bool {
	return func() bool { b, err := os.ReadFile(d.path(name)); return err == nil && string(b) == content }
}

func TestADocumentDoesNotWaitForAFilm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, sender := range map[string]bool{"on its way up": true, "on its way down": false} {
		t.Run(name, func(t *testing.T) {
			a, b, s := holding(t, sender)
			big, clip := film(20<<20), film(9<<20)
			a.write("film", big)
			a.write("clip", clip)
			a.eventually("stuck", func() bool { return s.waiting.Load() > 0 })
			a.write("doc", "two")
			b.eventually("given the document", b.says("doc", "two"))
			must(t, os.Remove(a.path("gone")))
			b.eventually("told of the deletion", func() bool { return !b.has("gone")() })
			b.write("answer", "of b")
			a.eventually("given the answer", a.says("answer", "of b"))
			if b.has("film")() {
				t.Error("the film came through a closed gate")
			}
			for d, state := range map[*device]bool{a: sender, b: !sender} {
				if st := d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID); state && st.State != engine.Syncing {
					t.Errorf("%s is %s while its film is on the way", d.dir, st.State)
				}
			}
			s.release()
			b.eventually("given the film", b.says("film", big))
			b.eventually("given the clip", b.says("clip", clip))
			a.settled()
			b.settled()
			same(t, a, b)
			before := []engine.Counters{a.counters(), b.counters()}
			a.settled()
			b.settled()
			for i, d := range []*device{a, b} {
				if c := d.counters().Minus(before[i]); c != (engine.Counters{}) {
					t.Errorf("in step, and yet %s did %+v", d.dir, c)
				}
			}
		})
	}
}

// What happens to a large file while it is on its way: the last state arrives,
// nothing is lost, nothing hangs.
func TestAFilmThatChangesOnItsWay(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, sender := range map[string]bool{"up": true, "down": false} {
		for what, change := range map[string]func(t *testing.T, a *device){
			"edited": func(t *testing.T, a *device) {
				b, err := os.ReadFile(a.path("film"))
				must(t, err)
				copy(b[5<<20:], bytes.Repeat([]byte("x"), 1000))
				must(t, os.WriteFile(a.path("film.new"), b, 0o644))
				must(t, os.Rename(a.path("film.new"), a.path("film")))
			},
			"renamed": func(t *testing.T, a *device) { must(t, os.Rename(a.path("film"), a.path("movie"))) },
			"deleted": func(t *testing.T, a *device) { must(t, os.Remove(a.path("film"))) },
			"made small": func(t *testing.T, a *device) {
				must(t, os.WriteFile(a.path("film"), []byte("cut"), 0o644))
			},
			"other mode": func(t *testing.T, a *device) { must(t, os.Chmod(a.path("film"), 0o600)) },
			"in a folder": func(t *testing.T, a *device) {
				must(t, os.Mkdir(a.path("d"), 0o755))
				must(t, os.Rename(a.path("film"), a.path("d/film")))
			},
			"made a link": func(t *testing.T, a *device) {
				must(t, os.Remove(a.path("film")))
				must(t, os.Symlink("doc", a.path("film")))
			},
			"made another": func(t *testing.T, a *device) {
				a.write("film.new", film(10<<20))
				must(t, os.Rename(a.path("film.new"), a.path("film")))
			},
		} {
			if testing.Short() && what != "edited" && what != "renamed" {
				continue
			}
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				a, b, s := holding(t, sender)
				a.write("film", film(12<<20))
				a.eventually("stuck", func() bool { return s.waiting.Load() > 0 })
				change(t, a)
				a.write("doc", "after the change")
				b.eventually("given the document", b.says("doc", "after the change"))
				s.release()
				a.settled()
				b.settled()
				same(t, a, b)
				if c := a.Engine.VolumeStatus(a.Engine.Volumes()[0].ID).Conflicts; c != 0 {
					t.Errorf("%d conflicts", c)
				}
			})
		}
	}
}

func TestAFilmOnItsWayIsLeftByAPauseAndGoesOnAfter(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, sender := range map[string]bool{"up": true, "down": false} {
		t.Run(name, func(t *testing.T) {
			a, b, s := holding(t, sender)
			d := map[bool]*device{true: a, false: b}[sender]
			big := film(16 << 20)
			a.write("film", big)
			a.eventually("stuck", func() bool { return s.waiting.Load() > 0 })
			id := d.Engine.Volumes()[0].ID
			must(t, d.Engine.Pause(id, true))
			d.eventually("paused", func() bool { return s.waiting.Load() == 0 })
			must(t, d.Engine.Pause(id, false))
			a.eventually("stuck again", func() bool { return s.waiting.Load() > 0 })
			s.release()
			b.eventually("given the film", b.says("film", big))
			a.settled()
			b.settled()
			same(t, a, b)
		})
	}
}

// A single pass of sync returns when the film has arrived, too.
func TestSyncWaitsForWhatTravelsBeside(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.add("R")
	b.add("R")
	big := film(9 << 20)
	a.write("film", big)
	a.write("film 2", big+"and more")
	a.write("doc", "one")
	a.sync()
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
	s := a.hold()
	a.write("film", film(9<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := a.Engine.SyncVolume(ctx, a.Engine.Volumes()[0].ID); err == nil {
		t.Error("in step, though the film is still on its way")
	}
	s.release()
	a.sync()
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}
