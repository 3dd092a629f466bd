package edge

import (
	"os"
	"strings"
	"testing"
	"time"

	"signet/device/engine"
)

// I. Times and clocks.

func TestCase095EditThatRestoresSizeAndTime(t *testing.T) {
	on(t, append(real, nfd), func(t *testing.T, w *world) {
		a, _ := w.pair("volume.img")
		info, err := os.Stat(a.path("volume.img"))
		must(t, err)
		a.write("volume.img", "FIRST volume.img")
		a.touch("volume.img", info.ModTime())
		w.want("volume.img=FIRST volume.img")
	})
}

func TestCase096OlderFileCopiedOverANewer(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, _ := w.pair("f")
		a.write("f", "reverted to something old")
		a.touch("f", time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC))
		w.want("f=reverted to something old")
	})
}

func TestCase097TimesFarAway(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		times := map[string]time.Time{
			"zero": time.Unix(0, 0), "negative": time.Unix(-86400, 500), "1902": time.Date(1902, 1, 1, 0, 0, 0, 0, time.UTC),
			"2038": time.Unix(1<<31, 1), "2200": time.Date(2200, 12, 31, 23, 59, 59, 999999999, time.UTC),
		}
		a, _ := w.pair("zero", "negative", "1902", "2038", "2200")
		for name, at := range times {
			a.touch(name, at)
		}
		if c := a.sync(); c.FilesUp != 0 || c.BytesUp > 4096 {
			t.Errorf("did %+v", c)
		}
	})
}

func TestCase098Touch(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		a.write("f", strings.Repeat("some content, ", 1e4))
		w.settle()
		a.touch("f", time.Now().Add(time.Hour))
		if c := a.sync(); c.FilesUp != 0 || c.ObjectsUp != 0 || c.Conflicts != 0 {
			t.Errorf("did %+v", c)
		}
		if c := b.sync(); c.FilesDown != 0 {
			t.Errorf("the other did %+v", c)
		}
	})
}

func TestCase099TimesInStepsOfTwoSeconds(t *testing.T) {
	beside(t, []disk{coarse, cheap}, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g", "h")
		times := a.listing()
		// No time that is rounded is a change, after a new start either.
		b.again()
		for _, d := range w.devices {
			if c := d.sync(); c != (engine.Counters{}) {
				t.Errorf("%s did %+v", d.name, c)
			}
		}
		b.mv("d/f", "d/moved")
		b.mv("d/moved", "d/f")
		b.sync()
		a.sync()
		if got := a.listing(); got != times {
			t.Errorf("the times of the files are now\n%s\nand were\n%s", got, times)
		}
		// An edit of the same size in the same step shows in no stat; it is found
		// when the time in which that can be is over.
		b.write("h", "second")
		b.sync()
		b.write("h", "third!")
		b.late += 2 * time.Minute
		w.want("d/f=first d/f", "d/g=first d/g", "h=third!")
	})
}

// What a device wrote that is kept from sending, its user wrote over: that is in
// no history.
func TestCase100ClockThatJumps(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		for _, to := range []time.Duration{-50 * 365 * 24 * time.Hour, 20 * 365 * 24 * time.Hour, 0} {
			b.late = to
			b.again()
			b.write("f", "edited with a clock that is off by "+to.String())
			if _, err := b.try(); err != nil {
				w.forget(b.read("f"))
			}
			a.try()
		}
		w.want("f=edited with a clock that is off by 0s")
		a.write("f", "of a")
		b.write("f", "of b")
		b.touch("f", time.Unix(0, 0))
		b.sync()
		w.want("f=of b", "f CC=of a")
	})
}
