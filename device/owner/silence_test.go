package owner_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/owner"
)

// A stuck disk does not answer whether it is still there, until it is let go.
type stuck struct {
	engine.Volume
	asked chan<- struct{}
	until <-chan struct{}
}

func (s stuck) Check() error {
	select {
	case s.asked <- struct{}{}:
	case <-s.until:
	}
	<-s.until
	return s.Volume.Check()
}

// A command gives up a disk that answers nothing, and says why.
func TestSyncEndsThoughADiskAnswersNothing(t *testing.T) {
	d := newWorld(t).device("a")
	d.write("f", "one")
	d.add("R")
	d.sync()
	var later atomic.Int64 // by how much the clock is ahead
	now, open := d.Engine.Now, d.Engine.OpenVolume
	asked, until := make(chan struct{}), make(chan struct{})
	d.Engine.Now = func() time.Time { return now().Add(time.Duration(later.Load())) }
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return stuck{v, asked, until}, err
	}
	id := d.Engine.Volumes()[0].ID
	type result struct {
		raw json.RawMessage
		err error
	}
	done := make(chan result)
	go func() {
		raw, _, err := d.ask(&owner.Work{Owner: d.Owner}, "sync", struct{}{})
		done <- result{raw, err}
	}()
	select {
	case r := <-done:
		t.Fatalf("came back from a disk that says nothing: %s, %v", r.raw, r.err)
	case <-asked:
	}
	later.Store(int64(3 * time.Minute))
	r := <-done
	must(t, r.err)
	var out owner.SyncResult
	must(t, json.Unmarshal(r.raw, &out))
	f := out.Fault
	if f == nil || f.Kind != "stopped" || f.Code != control.Attention || !strings.Contains(f.Message, "the disk has not answered for 3m") || f.Hint == "" {
		t.Errorf("sync ends with %+v", f)
	}
	close(until)
	for d.Engine.Silent(id) != 0 {
		<-time.After(time.Millisecond)
	}
}
