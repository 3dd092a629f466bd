package owner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	raw, err := callOf(d.t, w, method, params, ui)
	return raw, ui, err
}

func callOf(t *testing.T, w *owner.Work, method string, params any, ui control.UI) (json.RawMessage, error) {
	m := owner.Methods(func(do func(*owner.Work) (any, error)) (any, error) { return do(w) })
	return control.Local(m, nil).Call(t.Context(), method, params, ui)
}

// restore restores, and takes what it did to the folder.
func (d *device) restore(p owner.RestoreParams) owner.Restored {
	d.t.Helper()
	if !filepath.IsAbs(p.Path) {
		p.Path = filepath.Join(d.dir, p.Path)
	}
	raw, _, err := d.call("restore", p)
	if err != nil {
		d.t.Fatalf("restore %s: %v", p.Path, err)
	}
	var r owner.Restored
	must(d.t, json.Unmarshal(raw, &r))
	d.sync()
	return r
}

// moment is a time that what was done is before, and what comes is after.
func moment() time.Time {
	t := time.Now()
	for time.Now().UnixMilli() <= t.UnixMilli() {
	}
	return t
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

// files lists all files and links below a folder, as "path=content".
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && e.Name() != ".signet" {
			return err
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(dir, p)
		if e.Type() == fs.ModeSymlink {
			to, err := os.Readlink(p)
			list = append(list, rel+"->"+to)
			return err
		}
		b, err := os.ReadFile(p)
		list = append(list, rel+"="+string(b))
		return err
	}))
	return list
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", filepath.Base(dir), got, want)
	}
}

func TestRestoreToAnotherFolderLeadsNowhereThroughALink(t *testing.T) {
	d := alone(t)
	victim, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	// A writer makes a link, and then a folder of that name.
	must(t, os.Mkdir(d.path("d"), 0o755))
	must(t, os.Symlink(victim, d.path("d/a")))
	d.sync()
	link := moment()
	must(t, os.Remove(d.path("d/a")))
	d.sync()
	d.write("d/a/authorized_keys", "the writer's")
	d.sync()
	folder := moment()
	must(t, os.RemoveAll(d.path("d")))
	d.sync()

	d.restore(owner.RestoreParams{Path: "d", To: out})
	wantFiles(t, victim)
	wantFiles(t, out, "d/a/authorized_keys=the writer's")

	// The link is there already, from an earlier restore or otherwise.
	out = filepath.Join(t.TempDir(), "out")
	d.restore(owner.RestoreParams{Path: "d", At: link, To: out})
	wantFiles(t, out, "d/a->"+victim)
	d.restore(owner.RestoreParams{Path: "d", At: folder, To: out})
	wantFiles(t, victim)
	got := files(t, out)
	if len(got) != 2 || got[1] != "d/a->"+victim && got[0] != "d/a->"+victim ||
		!strings.Contains(strings.Join(got, " "), "d/a (conflict ") || !strings.Contains(strings.Join(got, " "), "authorized_keys=the writer's") {
		t.Errorf("%q", got)
	}
	// The whole of it is what the link leads to.
	out = filepath.Join(t.TempDir(), "out")
	must(t, os.Mkdir(out, 0o755))
	must(t, os.Symlink(victim, filepath.Join(out, "d")))
	d.restore(owner.RestoreParams{Path: "d", At: folder, To: out})
	wantFiles(t, victim)
	// What has a file's name and type stays, and is said.
	d.write("f", "mine")
	d.sync()
	must(t, os.WriteFile(filepath.Join(out, "f"), []byte("there"), 0o600))
	_, _, err := d.call("restore", owner.RestoreParams{Path: d.path("f"), At: moment(), To: out})
	if f := control.FaultOf(err); f == nil || f.Kind != "exists" {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "f")); string(b) != "there" {
		t.Error("a file was overwritten")
	}
}

func TestRestoringADeletedFolderBringsBackWhatWentWithIt(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("d/keep", "kept")
	a.write("d/deep/x", "first")
	a.write("d/old", "deleted by itself")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	must(t, os.Remove(b.path("d/old"))) // long before, and by somebody else
	b.sync()
	a.sync()
	must(t, os.RemoveAll(a.path("d/deep"))) // an earlier generation
	a.sync()
	a.write("d/deep/x", "second")
	a.sync()
	must(t, os.RemoveAll(a.path("d")))
	a.sync()
	if r := a.restore(owner.RestoreParams{Path: "d"}); r.Files != 2 {
		t.Errorf("%+v", r)
	}
	wantFiles(t, a.dir, "d/deep/x=second", "d/keep=kept")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
	// And where it is, what else was deleted in it.
	if r := a.restore(owner.RestoreParams{Path: "d"}); r.Files != 1 {
		t.Errorf("%+v", r)
	}
	wantFiles(t, a.dir, "d/deep/x=second", "d/keep=kept", "d/old=deleted by itself")
	if _, _, err := a.call("restore", owner.RestoreParams{Path: a.path("d")}); control.FaultOf(err).Kind != "not_found" {
		t.Errorf("restored twice: %v", err)
	}
	quiet(t, a)
}

func TestRestoringAFolderLeavesOutConflictCopiesThatWereDealtWith(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("d/f.txt", "first")
	a.write("d/deep/g", "first")
	a.write("d/other", "deleted by mistake")
	a.write("d/talk (conflict of interest).txt", "no copy")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	for _, f := range []string{"d/f.txt", "d/deep/g"} {
		a.write(f, "by a")
		b.write(f, "by b")
	}
	a.sync()
	b.sync()
	a.sync()
	copyOf := func(pattern string) string {
		t.Helper()
		found, err := filepath.Glob(a.path(pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		rel, _ := filepath.Rel(a.dir, found[0])
		return rel
	}
	f, g := copyOf("d/f (conflict *).txt"), copyOf("d/deep/g (conflict *)")
	must(t, os.Remove(a.path(f))) // merged
	must(t, os.Remove(a.path("d/other")))
	must(t, os.Remove(a.path("d/talk (conflict of interest).txt")))
	a.sync()
	must(t, os.RemoveAll(a.path("d/deep"))) // the copy in it was not
	a.sync()
	if r := a.restore(owner.RestoreParams{Path: "d"}); r.Files != 4 {
		t.Errorf("%+v", r)
	}
	all := []string{"d/deep/g=by a", g + "=by b", "d/f.txt=by a", "d/other=deleted by mistake", "d/talk (conflict of interest).txt=no copy"}
	wantFiles(t, a.dir, all...)
	if _, _, err := a.call("restore", owner.RestoreParams{Path: a.dir}); control.FaultOf(err).Kind != "not_found" {
		t.Errorf("the whole of it: %v", err)
	}
	a.restore(owner.RestoreParams{Path: f})
	wantFiles(t, a.dir, slices.Insert(all, 2, f+"=by b")...)
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestRestoringAFileMadeAnewBringsBackTheOneBefore(t *testing.T) {
	d := alone(t, "f", "g")
	must(t, os.Remove(d.path("f")))
	d.sync()
	d.write("f", "made anew")
	d.sync()
	d.restore(owner.RestoreParams{Path: "f"})
	wantFiles(t, d.dir, "f=content of f", "g=content of g")
	d.restore(owner.RestoreParams{Path: "f"}) // undoes it
	wantFiles(t, d.dir, "f=made anew", "g=content of g")
	quiet(t, d)
}

func TestRestoreAtATimeBringsBackPlacesAndModes(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	for _, f := range []string{"d/edited", "d/renamed", "d/sub/moved", "d/sub/mode", "d/swap1", "d/swap2", "d/gone/x"} {
		a.write(f, "content of "+f)
	}
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	before, then := a.listing(), moment()

	a.write("d/edited", "another content")
	must(t, os.Rename(a.path("d/renamed"), a.path("d/other")))
	must(t, os.Rename(a.path("d/sub/moved"), a.path("top")))
	must(t, os.Chmod(a.path("d/sub/mode"), 0o600))
	must(t, os.Rename(a.path("d/sub"), a.path("d/sub2")))
	must(t, os.Rename(a.path("d/swap1"), a.path("x")))
	must(t, os.Rename(a.path("d/swap2"), a.path("d/swap1")))
	must(t, os.Rename(a.path("x"), a.path("d/swap2")))
	must(t, os.RemoveAll(a.path("d/gone")))
	a.sync()
	if a.listing() == before {
		t.Fatal("nothing changed")
	}
	dry, _, err := a.call("restore", owner.RestoreParams{Path: a.path("d"), At: then, DryRun: true})
	must(t, err)
	a.write("d/new", "made since")
	a.sync()
	if r := a.restore(owner.RestoreParams{Path: "d", At: then}); !slices.Equal(r.Removed, []string{"d/new"}) || len(r.Left) != 0 {
		t.Errorf("%+v", r)
	}
	b.sync()
	if a.listing() != before {
		t.Errorf("folder is\n%s\nand was\n%s\ndry run: %s", a.listing(), before, dry)
	}
	same(t, a, b)
	quiet(t, a, b)
	if _, _, err := a.call("restore", owner.RestoreParams{Path: a.path("d"), At: then}); control.FaultOf(err).Kind != "not_found" {
		t.Errorf("restored twice: %v", err)
	}
}

func TestRestoreAtATimeByThePresentNameKeepsIt(t *testing.T) {
	d := alone(t, "old/f", "other")
	then := moment()
	d.write("old/f", "changed")
	d.sync()
	must(t, os.Rename(d.path("old"), d.path("new")))
	d.sync()
	d.restore(owner.RestoreParams{Path: "new", At: then})
	wantFiles(t, d.dir, "new/f=content of old/f", "other=content of other")
	// By the name that it had it comes back to that.
	d.restore(owner.RestoreParams{Path: "old", At: then})
	wantFiles(t, d.dir, "old/f=content of old/f", "other=content of other")
	quiet(t, d)
}

func TestRestoreAtATimeTakesWhatHasTheNameNow(t *testing.T) {
	d := alone(t, "p/a", "p/b/c", "p/same", "x/elsewhere")
	then := moment()
	must(t, os.Rename(d.path("x/elsewhere"), d.path("p/elsewhere")))
	d.sync()
	must(t, os.Rename(d.path("p"), d.path("q")))
	must(t, os.Rename(d.path("q/elsewhere"), d.path("elsewhere")))
	must(t, os.RemoveAll(d.path("q")))
	d.sync()
	d.write("p/a/deep", "a folder now")
	d.write("p/b", "a file now")
	d.write("p/same", "made anew")
	must(t, os.Rename(d.path("elsewhere"), d.path("p/elsewhere")))
	d.sync()
	r := d.restore(owner.RestoreParams{Path: "p", At: then})
	wantFiles(t, d.dir, "p/a=content of p/a", "p/b/c=content of p/b/c", "p/elsewhere=content of x/elsewhere", "p/same=content of p/same")
	if len(r.Left) != 1 || r.Left[0].Path != "p/elsewhere" || r.Left[0].Why != "moved_here" || r.Left[0].Device == "" {
		t.Errorf("%+v", r.Left)
	}
	quiet(t, d)
	// What went can be had: it is the newest that was deleted there.
	d.restore(owner.RestoreParams{Path: "p/a/deep"})
	if got := strings.Join(files(t, d.dir), " "); !strings.Contains(got, "=a folder now") {
		t.Errorf("%s", got)
	}
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
	d.restore(owner.RestoreParams{Path: filepath.Join(link, "x/y/f")})
	wantFiles(t, d.dir, "stays=content of stays", "x/y/f=content of x/y/f")
}

func TestWhatAKilledCatLeftGoesWithTheNextStart(t *testing.T) {
	d := alone(t, "f")
	left, atWork := filepath.Join(string(d.home), "cat-1"), filepath.Join(string(d.home), "cat-2")
	for _, dir := range []string{left, atWork} {
		must(t, os.Mkdir(dir, 0o700))
		to := filepath.Join(dir, "file")
		if _, _, err := d.call("cat", map[string]any{"path": d.path("f"), "to": to, "private": true}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	old := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(left, old, old))
	d.Close()
	d.open()
	if _, err := os.Stat(left); err == nil {
		t.Error("it is there")
	}
	if _, err := os.Stat(atWork); err != nil {
		t.Error(err)
	}
}
