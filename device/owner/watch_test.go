package owner_test

import (
	"context"
	"os"
	"testing"

	"signet/device/engine"
)

// A polled volume's watch says what the test says.
type polled struct {
	engine.Volume
	events chan engine.Event
}

func (p polled) Watch(ctx context.Context, _ func(string) bool) (<-chan engine.Event, error) {
	out := make(chan engine.Event, 1)
	go func() {
		defer close(out)
		for {
			select {
			case e := <-p.events:
				out <- e
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// A folder in which something is not as it was is listed, and no folder in it that is
// known: those have a word of their own.
func TestWhatAPollFindsIsListedAndNothingBelow(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	for _, f := range []string{"d/f", "d/sub/g", "e/h"} {
		a.write(f, "content of "+f)
	}
	a.add("R")
	events := make(chan engine.Event)
	open := a.Engine.OpenVolume
	a.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return polled{v, events}, err
	}
	a.run()
	a.settled()
	say := func(folders ...string) {
		for _, f := range folders {
			events <- engine.Event{Path: f, Kind: engine.Inside}
		}
	}
	did := a.counters()
	since := func() engine.Counters { return a.counters().Minus(did) }

	a.write("d/sub/unseen", "nobody looks there yet")
	a.write("d/new/deep/x", "new, with all below it")
	a.write("d/g", "new")
	must(t, os.Rename(a.path("d/f"), a.path("e/f")))
	say("d", "e")
	a.eventually("sent", func() bool { return since().FilesUp == 2 && since().Moves == 1 })
	if c := since(); c.Deletes != 0 {
		t.Errorf("did %+v", c)
	}
	must(t, os.Remove(a.path("d/g")))
	say("d")
	a.eventually("deleted", func() bool { return since().Deletes == 1 })
	say("d/sub")
	a.eventually("all sent", func() bool { return since().FilesUp == 3 })
	// The volume's own folder is one as well; of one that is gone its own folder tells.
	a.write("top", "new")
	must(t, os.RemoveAll(a.path("d/new")))
	say("", "d/new/deep", "d/new")
	a.eventually("both", func() bool { return since().FilesUp == 4 && since().Deletes == 2 })
	a.settled()
}
