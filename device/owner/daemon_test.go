package owner_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"signet/device/engine"
)

// run keeps the device's volumes in step until stop is called or the test
// ends. stop returns when everything has ended.
func (d *device) run() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Engine.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				d.t.Errorf("the daemon of %s ended with %v", d.dir, err)
			}
		case <-time.After(30 * time.Second):
			d.t.Errorf("the daemon of %s does not end", d.dir)
		}
	}
	d.t.Cleanup(stop)
	return stop
}

// settled waits until the device's volume is in step, and says what it is
// where it does not get there. Held deletions are approved if the device's
// approves says so.
func (d *device) settled() engine.VolumeStatus {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	for {
		changed := d.Engine.Changed()
		s, err := d.Engine.Settle(ctx, d.Engine.Volumes()[0].ID)
		if err != nil {
			d.t.Fatalf("%s: %v in state %s: %s, problems %+v", d.dir, err, s.State, s.Reason, s.Problems)
		}
		if s.State == engine.InStep {
			return s
		}
		if s.State == engine.Held && d.approves {
			if _, err := d.Engine.ApproveDeletes(d.Engine.Volumes()[0].ID); err != nil {
				d.t.Fatal(err)
			}
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// eventually waits for a condition.
func (d *device) eventually(what string, cond func() bool) {
	d.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			d.t.Fatalf("%s: never %s; the folder has\n%s", d.dir, what, d.listing())
		}
	}
}

func (d *device) has(name string) func() bool {
	return func() bool { _, err := os.Lstat(d.path(name)); return err == nil }
}

// counters are what the volume did since it was added.
func (d *device) counters() engine.Counters {
	return d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID).Counters
}

// pair is two devices in step, with daemons.
func pair(t *testing.T, files ...string) (a, b *device) {
	t.Helper()
	w := newWorld(t)
	a, b = w.device("a"), w.device("b")
	for _, f := range files {
		a.write(f, "content of "+f)
	}
	inStep(t, a, b)
	return a, b
}

// inStep lets both have a region and brings them in step, with daemons.
func inStep(t *testing.T, a, b *device) {
	t.Helper()
	a.add("R")
	b.add("R")
	a.run()
	a.settled()
	b.run()
	b.settled()
	same(t, a, b)
}

func TestRunningDaemonKeepsARenameThatCrossesTheCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b := pair(t, "first")
	for range 5 {
		a.afterNextEntry(func() { must(t, os.Rename(a.path("film.part"), a.path("film"))) })
		a.write("film.part", "a download")
		a.eventually("renamed", a.has("film"))
		a.settled()
		b.settled()
		a.wantNames("film", "first")
		same(t, a, b)
		must(t, os.Remove(a.path("film")))
		a.settled()
		b.settled()
	}
}

func TestMoveIntoAFolderMadeThisMomentIsAMove(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	a, b := pair(t, "src/f", "src/g")
	before := a.counters()
	for i := range 10 {
		must(t, os.MkdirAll(a.path("new/deep"), 0o755))
		must(t, os.Rename(a.path("src/f"), a.path("new/deep/f")))
		must(t, os.Rename(a.path("src"), a.path("old")))
		must(t, os.Mkdir(a.path("src"), 0o755))
		a.settled()
		b.settled()
		same(t, a, b)
		must(t, os.Rename(a.path("new/deep/f"), a.path("src/f")))
		must(t, os.Rename(a.path("old/g"), a.path("src/g")))
		must(t, os.RemoveAll(a.path("old")))
		must(t, os.RemoveAll(a.path("new")))
		a.settled()
		b.settled()
		same(t, a, b)
		if c := a.counters().Minus(before); c.FilesUp != 0 {
			t.Fatalf("round %d: a move was taken for a deletion and a new file: %+v", i, c)
		}
	}
}

func TestRemovedVolumeIsLeftAlone(t *testing.T) {
	a, b := pair(t, "f")
	v := a.Engine.Volumes()[0]
	asked := make(chan error, 1)
	must(t, a.Engine.Pause(v.ID, true))
	if s, err := a.Engine.Settle(t.Context(), v.ID); err != nil || s.State != engine.Paused {
		t.Errorf("asked while it is paused: %s, %v", s.State, err)
	}
	must(t, a.Engine.Pause(v.ID, false))
	go func() { _, err := a.Engine.Settle(t.Context(), v.ID); asked <- err }()
	must(t, a.Engine.RemoveVolume(v.ID))
	select {
	case <-asked: // answered or not, but not forgotten
	case <-time.After(30 * time.Second):
		t.Fatal("who asked a removed volume waits for ever")
	}
	a.write("f", "changed after the volume was removed")
	b.write("g", "of b")
	b.settled()
	if a.has("g")() {
		t.Error("a removed volume still follows")
	}
	must(t, a.CreateVolume(t.Context(), a.dir, v.Region, true))
	a.settled()
	b.settled()
	same(t, a, b)
	// The same id once more: its loop is another.
	id := a.Engine.Volumes()[0].ID
	must(t, a.Engine.AddVolume(id, a.dir, v.Region))
	b.write("h", "of b")
	b.settled()
	a.settled()
	same(t, a, b)
}

// Files that go one after the other, each seen by the daemon on its own, are
// the deletion of all files as much as if they had gone at once.
func TestFilesThatGoBitByBitAreHeldTogether(t *testing.T) {
	var files []string
	for i := range 12 {
		files = append(files, fmt.Sprintf("f%02d", i))
	}
	a, b := pair(t, files...)
	for _, f := range files {
		must(t, os.Remove(a.path(f)))
		seen := "seen-" + f
		must(t, os.Mkdir(a.path(seen), 0o755))
		b.eventually("given "+seen, b.has(seen))
	}
	held := func() int { return a.Engine.VolumeStatus(a.Engine.Volumes()[0].ID).HeldDeletes }
	a.eventually("asked about", func() bool { return held() == len(files) })
	for _, f := range files {
		if !b.has(f)() {
			t.Errorf("%s is gone before anybody was asked", f)
		}
	}
}
