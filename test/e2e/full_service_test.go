package e2e

import (
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Case 117: the service has no room for a film. It is not sent, and all else goes
// on, over a kill of the service as well; when there is room it goes by itself.
func TestFullServiceTakesWhatFitsAndTheRestLater(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	one.write("first.txt", "first")
	one.add()
	one.sync()
	two.add()
	two.sync()
	w.quota(3 << 20)
	// One that runs takes up what quota wrote after a while: one that starts has it.
	w.upstream.Store(nil)
	w.service.end(syscall.SIGTERM)
	w.start()
	before := w.up.Load()
	one.random("film", 12<<20)
	for i := range 20 {
		one.random(filepath.Join("small", strconv.Itoa(i)), 10<<10)
	}
	one.up()
	two.up()
	state := func(want string) func() bool {
		return func() bool {
			vs := one.status()
			return len(vs) == 1 && vs[0].State == want
		}
	}
	until(t, time.Minute, "the film has no room", state("over_quota"))
	until(t, time.Minute, "the small files are on the other device", func() bool { return two.has("small/0") && two.has("small/19") })
	if two.has("film") {
		t.Error("the film is on the other device")
	}
	if sent := w.up.Load() - before; sent > 3<<20 {
		t.Errorf("%s were sent of a file for which there was no room", mib(sent))
	}

	// What others write arrives, deletions go.
	two.write("from-two.txt", "from two")
	one.remove("first.txt")
	until(t, time.Minute, "what others write arrives", func() bool { return one.has("from-two.txt") })
	until(t, time.Minute, "a deletion goes", func() bool { return !two.has("first.txt") })

	// The service is killed: it has counted what it has.
	w.upstream.Store(nil)
	w.service.end(syscall.SIGKILL)
	w.check()
	w.start()
	one.write("after.txt", "after")
	until(t, time.Minute, "it goes on after a kill", func() bool { return two.has("after.txt") })
	until(t, time.Minute, "the film has no room still", state("over_quota"))

	w.quota(50 << 20)
	until(t, 2*time.Minute, "the film goes when there is room", func() bool { return two.has("film") })
	wait(t, one, two)
	agree(t, one, two)
	one.down()
	two.down()
	w.stop()
	w.check()
}
