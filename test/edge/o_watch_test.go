package edge

import (
	"context"
	"fmt"
	"testing"

	"signet/device/engine"
)

// O. The watch.

func TestCase152FilesInAFolderMadeThisMoment(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, _ := w.pair("f")
		stop := a.run()
		a.rest()
		var want []string
		for i := range 15 {
			f := fmt.Sprintf("d%d/e/f/g/file", i)
			a.write(f, f)
			want = append(want, f+"="+f)
		}
		a.eventually("sent", func() bool { return a.counters().FilesUp == 16 })
		a.rest()
		stop()
		w.want(append(want, "f=first f")...)
	})
}

// Two that run answer each other's changes with nothing.
func TestCase153OnesOwnWritesComeBackAsEvents(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "d/g")
		stops := []func(){a.run(), b.run()}
		a.write("f", "edited")
		a.mv("d", "moved")
		a.write("new/h", "new")
		b.eventually("given all", func() bool { return b.has("moved/g") && b.has("new/h") && b.says("f", "edited")() })
		a.rest()
		b.rest()
		entries, did := a.entries(), []engine.Counters{a.counters(), b.counters()}
		a.rest()
		b.rest()
		if n := a.entries(); n != entries {
			t.Errorf("%d entries, were %d", n, entries)
		}
		for i, d := range []*device{a, b} {
			if c := d.counters(); c != did[i] {
				t.Errorf("%s did %+v", d.name, c.Minus(did[i]))
			}
		}
		for _, stop := range stops {
			stop()
		}
		w.want("f=edited", "moved/g=first d/g", "new/h=new")
	})
}

func TestCase154ChangesWhileNothingRan(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g", "gone", "edited")
		stop := a.run()
		a.rest()
		stop()
		a.Close()
		a.mv("d", "moved/d")
		a.rm("gone")
		a.write("edited", "edited while nothing ran")
		a.write("new", "new")
		a.open()
		stop = a.run()
		a.rest()
		stop()
		if c := a.counters(); c.Moves != 1 || c.Deletes != 1 {
			t.Errorf("did %+v", c)
		}
		b.sync()
		w.want("edited=edited while nothing ran", "moved/d/f=first d/f", "moved/d/g=first d/g", "new=new")
	})
}

// A deaf volume's watch says nothing, and does not say so.
type deaf struct{ engine.Volume }

func (deaf) Watch(ctx context.Context, _ func(string) bool) (<-chan engine.Event, error) {
	out := make(chan engine.Event)
	context.AfterFunc(ctx, func() { close(out) })
	return out, nil
}

func TestCase155WatchThatSaysNothing(t *testing.T) {
	on(t, []disk{plain, cheap}, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.hook(func(v engine.Volume) engine.Volume { return deaf{v} })
		a.write("f", "seen by the first look")
		stop := a.run()
		a.rest()
		a.write("f", "found by somebody who asks, or within the hour")
		a.rest()
		stop()
		b.sync()
		w.want("f=found by somebody who asks, or within the hour")
	})
}
