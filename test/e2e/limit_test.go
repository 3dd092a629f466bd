package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// What a limit allows is what crosses the wire, whatever is sent: one large file
// and many small ones, with a daemon and without.
func TestALimitHoldsInBothDirections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	const rate = 1 << 20
	writeRandom(t, filepath.Join(one.dir, "large.bin"), 10<<20, 1)
	for i := range 400 {
		writeRandom(t, filepath.Join(one.dir, fmt.Sprintf("small-%03d", i)), 10<<10, uint64(2+i))
	}
	one.add()
	two.add()
	check := func(way string, got float64) {
		t.Helper()
		t.Logf("%s: %.3f of the limit", way, got/rate)
		if got < 0.9*rate || got > 1.1*rate {
			t.Errorf("%s: %.0f bytes a second, the limit is %d", way, got, rate)
		}
	}
	one.run("limit", "--up", "1M")
	one.up()
	// What passes between the first MiB and 10 more.
	from := w.up.Load() + rate
	until(t, time.Minute, "content flows", func() bool { return w.up.Load() > from })
	from, began := w.up.Load(), time.Now()
	until(t, time.Minute, "10 MiB pass", func() bool { return w.up.Load() > from+10*rate })
	check("up, by a daemon", float64(w.up.Load()-from)/time.Since(began).Seconds())
	one.ready()
	one.run("limit", "--up", "off")
	wait(t, one)
	two.run("limit", "--down", "1M")
	// All of it: what is under way fills the receiver's buffers first, so that the
	// wire is ahead of the limit by so much until the end.
	from = w.down.Load()
	r := two.run("sync")
	check("down, without a daemon", float64(w.down.Load()-from)/r.wall.Seconds())
	one.down()
	agree(t, one, two)
}
