package owner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
)

// A counted volume counts what is asked of the disk, and may have a watch that
// breaks at once.
type counted struct {
	engine.Volume
	scans, stats, reads *atomic.Int64
	broken              bool
}

func (c counted) Scan(ctx context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	c.scans.Add(1)
	return c.Volume.Scan(ctx, from, skip, emit)
}

func (c counted) Stat(path string) (tree.Stat, error) {
	c.stats.Add(1)
	return c.Volume.Stat(path)
}

func (c counted) Read(path string) (engine.Reading, error) {
	c.reads.Add(1)
	return c.Volume.Read(path)
}

func (c counted) Watch(ctx context.Context, skip func(string) bool) (<-chan engine.Event, error) {
	if !c.broken {
		return c.Volume.Watch(ctx, skip)
	}
	out := make(chan engine.Event)
	close(out)
	return out, nil
}

// count makes the device's volumes counted ones, from the next opening on.
func (d *device) count(broken bool) counted {
	c := counted{scans: new(atomic.Int64), stats: new(atomic.Int64), reads: new(atomic.Int64), broken: broken}
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return counted{v, c.scans, c.stats, c.reads, c.broken}, err
	}
	return c
}

func TestFileThatIsBeingWrittenIsNotReadAllTheTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a := w.device("a")
	a.write("other", "x")
	a.add("R")
	c := a.count(false)
	a.run()
	a.settled()
	f, err := os.Create(a.path("log"))
	must(t, err)
	before := c.reads.Load() + c.stats.Load()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); <-tick.C {
		fmt.Fprintln(f, "one more line")
	}
	if n := c.reads.Load() + c.stats.Load() - before; n > 60 {
		t.Errorf("a file that was being written for 1.5 s was looked at %d times", n)
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
	c := a.count(true)
	a.run()
	a.settled()
	before := c.scans.Load()
	<-time.After(time.Second)
	if n := c.scans.Load() - before; n > 3 {
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
