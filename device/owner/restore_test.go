package owner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"signet/device/cli/control"
	"signet/device/owner"
)

// silent is a UI that keeps items and has nobody to ask.
type silent struct {
	items []json.RawMessage
	notes []string
}

func (s *silent) Note(text string)          { s.notes = append(s.notes, text) }
func (s *silent) Progress(control.Progress) {}
func (s *silent) Item(v any) error {
	b, err := json.Marshal(v)
	s.items = append(s.items, b)
	return err
}
func (s *silent) Ask(context.Context, control.Question) (string, error) {
	return "", errors.New("nobody is there")
}

// call runs a command's method on the device, as one without a daemon does.
func (d *device) call(method string, params any) (json.RawMessage, *silent, error) {
	d.t.Helper()
	return d.ask(&owner.Work{Owner: d.Owner}, method, params)
}

func (d *device) ask(w *owner.Work, method string, params any) (json.RawMessage, *silent, error) {
	d.t.Helper()
	ui := &silent{}
	m := owner.Methods(func(do func(*owner.Work) (any, error)) (any, error) { return do(w) })
	raw, err := control.Local(m, nil).Call(d.t.Context(), method, params, ui)
	return raw, ui, err
}

// alone is a device whose folder is in step with a region R.
func alone(t *testing.T, files ...string) *device {
	t.Helper()
	d := newWorld(t).device("a")
	for _, f := range files {
		d.write(f, "content of "+f)
	}
	d.add("R")
	d.sync()
	return d
}

func TestHistoryFindsADeletedFolderThroughALink(t *testing.T) {
	d := alone(t, "x/y/f", "stays")
	must(t, os.RemoveAll(d.path("x")))
	d.sync()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(d.dir, link))
	_, ui, err := d.call("history", map[string]string{"path": filepath.Join(link, "x/y/f")})
	if err != nil || len(ui.items) != 2 {
		t.Errorf("%s, %v", fmt.Sprint(ui.items), err)
	}
}
