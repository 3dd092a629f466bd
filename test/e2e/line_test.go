//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signet/test/slowline"
)

// newSlowWorld is a world whose first device is at the near end of a slow line;
// others are at its far end.
func newSlowWorld(t *testing.T, bits int) (w *world, l *slowline.Line, one, two *device) {
	t.Helper()
	l, err := slowline.Open(bits, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	w = newWorldBehind(t, l.Addr())
	l.Upstream.Store(w.upstream.Load())
	one = w.deviceIn("one", l.Near())
	two = w.deviceIn("two", l.Far())
	return w, l, one, two
}

// A cable that is pulled and put back: what changed meanwhile is there soon
// after, in both directions, though TCP would wait for longer.
func TestAChangeComesSoonAfterTheNetworkDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	_, l, one, two := newSlowWorld(t, 0)
	one.write("a.txt", "a")
	one.add()
	two.add()
	one.up()
	two.up()
	one.ready()
	two.ready()
	wait(t, one, two)
	if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	two.write("from-two.txt", "while the other is away")
	one.write("from-one.txt", "while the network is away")
	// It is down for 20 s: the time that passes is what the test is about.
	<-time.After(20 * time.Second)
	if err := l.Connect(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for _, there := range []string{filepath.Join(one.dir, "from-two.txt"), filepath.Join(two.dir, "from-one.txt")} {
		until(t, 30*time.Second, filepath.Base(there)+" comes", func() bool { _, err := os.Stat(there); return err == nil })
		took := time.Since(back)
		t.Logf("%s: %.2f s after the network, which was away for %.0f s", filepath.Base(there), took.Seconds(), back.Sub(cut).Seconds())
		if took > 5*time.Second {
			t.Errorf("%s came %v after the network", filepath.Base(there), took)
		}
	}
	wait(t, one, two)
	agree(t, one, two)
}

// The small version of the bench's slow line: over 10 Mbit/s a folder is seeded, and a
// document that is saved meanwhile is with the other device within 5 s. Nearly all
// small files are there before the large one, which goes on all the time.
func TestADocumentIsNotHeldUpByASeeding(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	_, _, one, two := newSlowWorld(t, 10_000_000)
	writeRandom(t, filepath.Join(one.dir, "film.mp4"), 16<<20, 1)
	const small = 300
	smallBytes := int64(0)
	for i := range small {
		size := int64(20<<10 + i*200)
		writeRandom(t, filepath.Join(one.dir, fmt.Sprintf("document-%03d", i)), size, uint64(2+i))
		smallBytes += size
	}
	one.add()
	two.add()
	two.up()
	two.ready()
	one.up()
	has := func(name string) bool { _, err := os.Stat(filepath.Join(two.dir, name)); return err == nil }
	until(t, time.Minute, "documents come", func() bool { return has("document-000") })
	for i := range 3 {
		name, start := fmt.Sprintf("letter-%d", i), time.Now()
		one.write(name, "Dear Sir or Madam")
		until(t, time.Minute, name+" comes", func() bool { return has(name) })
		took := time.Since(start)
		t.Logf("%s: %.2f s", name, took.Seconds())
		if took > 5*time.Second {
			t.Errorf("%s took %v beside a seeding", name, took)
		}
	}
	// What A sent from now on to the last look while there still were documents to be
	// sent: the line is the film's alone afterwards, while they come to B, and was for
	// a moment with each letter, which ends a turn.
	from := one.line().Up
	var up lineWay
	looked := 0
	until(t, time.Minute, "nine documents of ten come", func() bool {
		n := 0
		for i := range small {
			if has(fmt.Sprintf("document-%03d", i)) {
				n++
			}
		}
		if n >= looked+10 {
			looked = n
			if now := one.line().Up; now.Small < smallBytes*95/100 {
				up = now
			}
		}
		return n >= small*9/10
	})
	if has("film.mp4") {
		t.Error("the film was there before the documents")
	}
	film, documents := up.Largest-from.Largest, up.Small-from.Small
	if documents < smallBytes/10 {
		t.Fatalf("from %+v to %+v too little was sent to tell", from, up)
	}
	share := float64(film) / float64(film+documents)
	t.Logf("beside %s of documents the film had %s, %.0f %% of the line", mib(documents), mib(film), 100*share)
	if share < 0.15 || share > 0.35 { // it has what is left between two turns, too
		t.Errorf("the film had %.0f %% of the line, its share is 20 %%", 100*share)
	}
	wait(t, one, two)
	agree(t, one, two)
}
