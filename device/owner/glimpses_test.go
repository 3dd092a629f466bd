//go:build !race

package owner_test

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// Whatever is shown, what an entry names is what comes.
func TestNothingRestsOnAGlimpse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b, s := shownPair(t, 1<<40)
	var kept [][]byte
	did := map[string]int{}
	var mu sync.Mutex
	s.show = func(sealed []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, bytes.Clone(sealed))
		switch what := []string{"lost", "spoiled", "late", "twice", "as it is"}[len(kept)%5]; what {
		case "lost":
			sealed = nil
		case "spoiled":
			sealed[len(sealed)/2] ^= 1
		case "late":
			sealed = kept[len(kept)/2]
		case "twice":
			s.Service.Show(t.Context(), a.Engine.Regions()[0].ID, sealed)
			fallthrough
		default:
			did[what]++
		}
		return sealed
	}
	big := film(longFilm + 1)
	a.write("film", big)
	b.patiently("given the film", b.says("film", big))
	a.settled()
	b.settled()
	same(t, a, b)
	if l := b.staged(); len(l) > 0 {
		t.Errorf("left in staging: %s", l)
	}
	if st := b.Engine.VolumeStatus(b.Engine.Volumes()[0].ID); len(st.Problems) > 0 {
		t.Errorf("problems: %v", st.Problems)
	}
	mu.Lock()
	defer mu.Unlock()
	if did["twice"] == 0 {
		t.Errorf("%d glimpses were too few to try all: %v", len(kept), did)
	}
}

// A device that would not have the file does not fetch it.
func TestAGlimpseOfWhatIsNotSelected(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b, s := shownPair(t, 16<<20)
	b.choose(true, "", "d")
	b.settled()
	before := b.counters()
	shown := atomic.Int32{}
	s.show = func(b []byte) []byte { shown.Add(1); return b }
	a.write("d/film", film(longFilm))
	a.patiently("showing", func() bool { return shown.Load() > 3 })
	must(t, os.Remove(a.path("d/film")))
	close(s.gate)
	a.settled()
	b.settled()
	if c := b.counters().Minus(before); c.ObjectsDown > 0 {
		t.Errorf("of %d glimpses, %+v", shown.Load(), c)
	}
}
