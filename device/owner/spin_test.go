package owner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"signet"
	"signet/device/engine"
)

func TestFileThatIsBeingWrittenIsNotReadAllTheTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a := w.device("a")
	a.write("other", "x")
	a.add("R")
	did := a.book(false)
	a.run()
	a.settled()
	f, err := os.Create(a.path("log"))
	must(t, err)
	did.since()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); <-tick.C {
		fmt.Fprintln(f, "one more line")
	}
	if n := did.since(); n["files read"]+n["stats"] > 60 {
		t.Errorf("a file that was being written for 1.5 s was looked at: %v", n)
	}
	// Closing it ends the wait.
	must(t, f.Close())
	closed := time.Now()
	a.eventually("committed", func() bool { return a.counters().FilesUp == 2 })
	if took := time.Since(closed); took > 1500*time.Millisecond {
		t.Errorf("sent %s after it was closed", took)
	}
}

func TestBrokenWatchIsNoReasonToSpin(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	a.write("f", "x")
	a.add("R")
	did := a.book(true)
	a.run()
	a.settled()
	did.since()
	<-time.After(time.Second)
	if n := did.since()["scans"]; n > 3 {
		t.Errorf("%d scans in a second", n)
	}
	a.write("g", "found by the next look")
	a.settled()
	if n := a.counters().FilesUp; n != 2 {
		t.Errorf("%d files sent", n)
	}
}

func TestAlarmAboutOneRegionStopsNoOther(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "x")
	a.add("R")
	a.sync()
	other, _, err := a.Engine.MakeRegion(t.Context(), "Other")
	must(t, err)
	must(t, b.Engine.Discover(t.Context()))
	b.add("R")
	// The service answers with what is none of Other's journal.
	b.Engine.Service = lying{b.Engine.Service, signet.Journal(other)}
	if err := b.Engine.Discover(t.Context()); !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("no alarm: %v", err)
	}
	b.sync()
	same(t, a, b)
	b.run()
	a.write("g", "y")
	a.sync()
	b.eventually("following", b.has("g"))
}

// A lying service answers with nonsense for one log.
type lying struct {
	engine.Service
	log signet.LogID
}

func (l lying) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	p, err := l.Service.Read(ctx, log, from, parts)
	if log == l.log {
		p.Checkpoint = []byte("nonsense")
	}
	return p, err
}
