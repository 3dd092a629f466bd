package owner_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"signet/device/cli/control"
	"signet/device/owner"
)

// sure is a UI that says yes.
type sure struct{ *silent }

func (sure) Ask(context.Context, control.Question) (string, error) { return "yes", nil }

func (d *device) callYes(method string, params any) (json.RawMessage, error) {
	d.t.Helper()
	return callOf(d.t, &owner.Work{Owner: d.Owner}, method, params, sure{&silent{}})
}

// undo takes back what a device did, and brings that to the folder.
func (d *device) undo(by *device, since time.Time) (r owner.Restored) {
	d.t.Helper()
	raw, err := d.callYes("restore", owner.RestoreParams{Path: d.dir, Undo: by.Self.Device.String(), Since: since})
	must(d.t, err)
	must(d.t, json.Unmarshal(raw, &r))
	d.sync()
	return r
}

// What the device goes on writing, that is undone, is not lost: it is a change
// that came second.
func TestUndoWhileTheOtherGoesOn(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f", "good")
	a.write("d/x", "good")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	since := moment()
	b.write("f", "bad")
	b.write("new", "bad")
	must(t, os.Rename(b.path("d"), b.path("e")))
	b.sync()
	a.sync()
	b.write("f", "written while it was undone")
	b.write("new", "written on")
	b.write("e/y", "put into it")
	r := a.undo(b, since)
	if r.Files != 1 || r.Moved != 1 || len(r.Removed) != 1 || r.Removed[0] != "new" {
		t.Errorf("%+v", r)
	}
	wantFiles(t, a.dir, "d/x=good", "f=good")
	b.sync()
	a.sync()
	b.sync()
	got := strings.Join(files(t, a.dir), "\n")
	for _, want := range []string{"d/x=good", "d/y=put into it", "f=good", "=written while it was undone", "new=written on"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	same(t, a, b)
	quiet(t, a, b)
}

func TestUndoAsksAndTellsWhatItDidNotFind(t *testing.T) {
	d := alone(t, "f")
	since := moment()
	d.write("f", "another")
	d.sync()
	p := owner.RestoreParams{Path: d.dir, Since: since}
	if _, _, err := d.call("restore", p); err == nil || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("asked nobody: %v", err)
	}
	wantFiles(t, d.dir, "f=another")
	p.Undo = "nobody"
	if _, err := d.callYes("restore", p); control.FaultOf(err).Kind != "no_device" {
		t.Errorf("of nobody: %v", err)
	}
	p.Undo, p.Since = "", time.Now().Add(time.Hour)
	if _, err := d.callYes("restore", p); control.FaultOf(err).Kind != "not_found" {
		t.Errorf("of what is to come: %v", err)
	}
}
