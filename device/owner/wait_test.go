package owner_test

import (
	"encoding/json"
	"os"
	"testing"

	"signet/device/cli/control"
	"signet/device/owner"
)

// answers is what wait says without a daemon and, afterwards, with one.
func (d *device) answers(method string) (kinds [2]string) {
	d.t.Helper()
	for i, running := range []bool{false, true} {
		stop := func() {}
		if running {
			stop = d.run()
		}
		raw, _, err := d.ask(&owner.Work{Owner: d.Owner, Running: running}, method, struct{}{})
		stop()
		var r owner.SyncResult
		if err == nil {
			must(d.t, json.Unmarshal(raw, &r))
			if r.Fault != nil {
				err = r.Fault
			}
		}
		if f := control.FaultOf(err); f != nil {
			kinds[i] = f.Kind
			if f.Code != control.Attention {
				d.t.Errorf("%s with a daemon %v: exit %d, %v", method, running, f.Code, f)
			}
		}
	}
	return kinds
}

func TestWaitSaysTheSameWithAndWithoutADaemon(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "base")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	if got := b.answers("wait"); got != [2]string{} {
		t.Errorf("in step: %q", got)
	}
	a.write("f", "from a")
	b.write("f", "from b")
	a.sync()
	if got := b.answers("wait"); got != [2]string{"conflicts", "conflicts"} {
		t.Errorf("with a conflict copy: %q", got)
	}
	if got := b.answers("sync"); got != [2]string{} { // which made none
		t.Errorf("sync after the conflict: %q", got)
	}
	for _, f := range files(t, b.dir) {
		if f != "f=from a" {
			must(t, os.Remove(b.path(f[:len(f)-len("=from b")])))
		}
	}
	b.sync()
	v := b.Engine.Volumes()[0].ID
	must(t, b.Engine.Pause(v, true))
	b.write("g", "while it is paused")
	for _, m := range []string{"wait", "sync"} {
		if got := b.answers(m); got != [2]string{"paused", "paused"} {
			t.Errorf("%s of a paused volume: %q", m, got)
		}
	}
	must(t, b.Engine.Pause(v, false))
	b.sync()
	a.sync()
	same(t, a, b)
}
