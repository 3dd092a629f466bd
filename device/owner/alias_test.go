package owner_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/disk"
	"signet/device/engine"
)

// A strange disk takes names for one, or spells them in its own way, as others
// than those that tests run on do. Names made beside it, with os, are to be
// such as it would have made.
type strange struct {
	engine.Volume
	dir    string
	names  tree.Caps
	hidden bool // it does not say so
}

// strangely gives the device's folder such a disk, from the next opening on.
func (d *device) strangely(names tree.Caps, hidden bool) {
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return &strange{v, dir, names, hidden}, err
	}
}

// folds is a disk that does not tell upper from lower case.
var folds = tree.Caps{Key: strings.ToLower}

// decomposes is a disk that decomposes what it is given.
var decomposes = tree.Caps{Key: norm.NFD.String, Mend: norm.NFD.String, Unfit: func(s string) bool { return !norm.NFD.IsNormalString(s) }}

func (s *strange) Caps() tree.Caps {
	if s.hidden {
		return tree.Caps{}
	}
	return s.names
}

// has is the name that a folder, as it is spelt on the disk, has for a name.
func (s *strange) has(folder, name string) (string, bool) {
	list, _ := os.ReadDir(filepath.Join(s.dir, folder))
	for _, e := range list {
		if s.names.Equal(e.Name(), name) {
			return e.Name(), true
		}
	}
	if s.names.Mend != nil {
		name = s.names.Mend(name)
	}
	return name, false
}

// real is a path as the disk spells it.
func (s *strange) real(path string) (real string, there bool) {
	there = true
	if path == "" {
		return "", true
	}
	for name := range strings.SplitSeq(path, "/") {
		var ok bool
		name, ok = s.has(real, name)
		there = there && ok
		real = strings.TrimPrefix(real+"/"+name, "/")
	}
	return real, there
}

// old is a path of what should be there.
func (s *strange) old(path string) string { p, _ := s.real(path); return p }

// free is a path of what should not be there yet.
func (s *strange) free(path string) (string, error) {
	p, there := s.real(path)
	if there {
		return p, disk.ErrExists
	}
	return p, nil
}

func (s *strange) Scan(ctx context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	return s.Volume.Scan(ctx, s.old(from), skip, emit)
}
func (s *strange) Stat(path string) (tree.Stat, error)      { return s.Volume.Stat(s.old(path)) }
func (s *strange) Read(path string) (engine.Reading, error) { return s.Volume.Read(s.old(path)) }

func (s *strange) Place(f engine.Staged, path string) (tree.Stat, error) {
	p, err := s.free(path)
	if err != nil {
		return tree.Stat{}, err
	}
	return s.Volume.Place(f, p)
}

func (s *strange) Replace(f engine.Staged, path string, e tree.Stat, trash string) (tree.Stat, engine.Displaced, error) {
	return s.Volume.Replace(f, s.old(path), e, trash)
}

func (s *strange) Mkdir(path string, mode uint32) (tree.Stat, error) {
	p, err := s.free(path)
	if err != nil {
		return tree.Stat{}, err
	}
	return s.Volume.Mkdir(p, mode)
}

// Move is that of Linux, where a name is not free for another spelling of it.
func (s *strange) Move(from, to string, e tree.Stat) (tree.Stat, error) {
	p, err := s.free(to)
	if err != nil {
		return tree.Stat{}, err
	}
	return s.Volume.Move(s.old(from), p, e)
}

func (s *strange) SetMeta(path string, e tree.Stat, mode uint32, mtime int64) (tree.Stat, error) {
	return s.Volume.SetMeta(s.old(path), e, mode, mtime)
}
func (s *strange) Trash(path string, e tree.Stat, id string) (engine.Displaced, error) {
	return s.Volume.Trash(s.old(path), e, id)
}
func (s *strange) RemoveDir(path string) error { return s.Volume.RemoveDir(s.old(path)) }

// files are the paths of a device's folder with what is in them, sorted. The
// suffix of an alias is " CC".
func (d *device) files() (l []string) {
	d.t.Helper()
	must(d.t, filepath.WalkDir(d.dir, func(p string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(d.dir, p)
		switch {
		case err != nil || rel == ".":
			return err
		case rel == ".signet":
			return filepath.SkipDir
		case e.IsDir():
			return nil
		}
		b, err := os.ReadFile(p)
		if a, z := strings.Index(rel, " (conflict "), strings.LastIndexByte(rel, ')'); a >= 0 {
			rel = rel[:a] + " CC" + rel[z+1:]
		}
		l = append(l, rel+"="+string(b))
		return err
	}))
	slices.Sort(l)
	return l
}

func (d *device) wantFiles(want ...string) {
	d.t.Helper()
	if got := d.files(); !slices.Equal(got, want) {
		d.t.Fatalf("%s has %q, want %q", d.dir, got, want)
	}
}

// alias is the path that a name has on the device's disk, as its status says.
func (d *device) alias(path string) string {
	d.t.Helper()
	for _, p := range d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID).Problems {
		if p.Kind == "alias" && p.Path == path {
			if p.Hint == "" {
				d.t.Errorf("no hint: %+v", p)
			}
			_, m, _ := strings.Cut(p.Message, `"`)
			m, _, _ = strings.Cut(m, `"`)
			return m
		}
	}
	d.t.Fatalf("status says nothing of %s: %+v", path, d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID).Problems)
	return ""
}

func (d *device) problems(n int) {
	d.t.Helper()
	if p := d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID).Problems; len(p) != n {
		d.t.Errorf("status has problems %+v, want %d", p, n)
	}
}

func (d *device) mv(from, to string) {
	d.t.Helper()
	must(d.t, os.Rename(d.path(from), d.path(to)))
}

// twoDisks are devices in one region: b's disk is a strange one.
func twoDisks(t *testing.T, names tree.Caps, hidden bool) (a, b *device) {
	w := newWorld(t)
	a, b = w.device("a"), w.device("b")
	b.strangely(names, hidden)
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	return a, b
}

func TestNamesThatAreOneOnADiskAreBothThere(t *testing.T) {
	a, b := twoDisks(t, folds, false)
	a.write("d/readme", "1")
	a.sync()
	a.write("d/README", "2")
	a.sync()
	b.sync()
	b.wantFiles("d/README CC=2", "d/readme=1")
	alias := b.alias("d/README")
	if !strings.HasPrefix(alias, "d/README (conflict ") {
		t.Errorf("status says %q", alias)
	}
	quiet(t, a, b)
	b.problems(1)
	a.problems(0)
	// Who waits is told, a script too; a pass of sync that does nothing is no news,
	// as with conflict copies that stand.
	raw, _, err := b.call("wait", map[string]any{})
	f := control.FaultOf(err)
	if f == nil {
		f = faultIn(t, raw)
	}
	if f == nil || f.Kind != "alias" || f.Code != control.Attention || f.Hint == "" {
		t.Errorf("wait: %+v", f)
	}
	if raw, _, err := b.call("sync", map[string]any{}); err != nil || faultIn(t, raw) != nil {
		t.Errorf("sync: %v, %s", err, raw)
	}
	// With a new index it is the same file still.
	b.Close()
	b.open()
	b.strangely(folds, false)
	quiet(t, b)
	b.alias("d/README")

	b.write(alias, "2, from b")
	if c := b.sync(); c.FilesUp != 1 || c.Moves != 0 || c.Deletes != 0 {
		t.Errorf("an edit of the alias did %+v", c)
	}
	a.sync()
	a.wantFiles("d/README=2, from b", "d/readme=1")
	quiet(t, a, b)

	b.mv("d/readme", "d/old") // now the name is free
	b.sync()
	b.sync()
	b.wantFiles("d/README=2, from b", "d/old=1")
	b.problems(0)
	a.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestAliasThatIsDeletedIsTheRightFile(t *testing.T) {
	a, b := twoDisks(t, folds, false)
	a.write("readme", "1")
	a.sync()
	a.write("README", "2")
	a.sync()
	b.sync()
	must(t, os.Remove(b.path(b.alias("README"))))
	b.sync()
	a.sync()
	a.wantFiles("readme=1")
	same(t, a, b)
	quiet(t, a, b)
	b.problems(0)
}

func TestChangeOfCaseIsARenameOnADiskThatFoldsIt(t *testing.T) {
	for _, watched := range []bool{false, true} {
		a, b := twoDisks(t, folds, false)
		a.write("readme", "1")
		a.write("docs/letter", "2")
		a.sync()
		b.sync()
		if watched {
			b.run()
			b.settled()
		}
		before := b.counters()
		b.mv("readme", "README")
		b.mv("docs", "Docs")
		if watched {
			b.eventually("sent", func() bool { return b.counters().Moves == before.Moves+2 })
			b.settled()
		} else {
			b.sync()
		}
		if c := b.counters().Minus(before); c.Moves != 2 || c.FilesUp != 0 || c.Deletes != 0 || c.FilesDown != 0 {
			t.Errorf("watched %v: a change of case did %+v", watched, c)
		}
		a.sync()
		a.wantFiles("Docs/letter=2", "README=1")
		before = b.counters()
		a.mv("README", "ReadMe")
		a.mv("Docs", "DOCS")
		a.sync()
		if watched {
			b.eventually("renamed", func() bool { return slices.Equal(b.files(), []string{"DOCS/letter=2", "ReadMe=1"}) })
			b.settled()
		} else {
			b.sync()
		}
		b.wantFiles("DOCS/letter=2", "ReadMe=1")
		if c := b.counters().Minus(before); c.FilesUp != 0 || c.Deletes != 0 || c.FilesDown != 0 || c.Entries != 0 {
			t.Errorf("watched %v: following a change of case did %+v", watched, c)
		}
		same(t, a, b)
		quiet(t, a)
		b.problems(0)
	}
}

func TestFileSavedUnderAnotherCaseIsNoSecondOne(t *testing.T) {
	a, b := twoDisks(t, folds, false)
	a.write("readme", "1")
	a.sync()
	b.sync()
	b.run()
	b.settled()
	must(t, os.Remove(b.path("readme")))
	b.write("README", "2")
	b.eventually("sent", func() bool {
		a.sync()
		return slices.Equal(a.files(), []string{"README=2"})
	})
	b.wantFiles("README=2")
}

func TestFoldersThatAreOneOnADiskAreNotMixed(t *testing.T) {
	a, b := twoDisks(t, folds, false)
	a.write("docs/a", "1")
	a.sync()
	a.write("Docs/a", "2")
	a.write("Docs/b", "3")
	a.sync()
	b.sync()
	b.wantFiles("Docs CC/a=2", "Docs CC/b=3", "docs/a=1")
	b.write(b.alias("Docs")+"/c", "4")
	b.write("docs/d", "5")
	b.sync()
	a.sync()
	a.wantFiles("Docs/a=2", "Docs/b=3", "Docs/c=4", "docs/a=1", "docs/d=5")
	quiet(t, a, b)
	must(t, os.RemoveAll(a.path("docs")))
	a.sync()
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestNamesThatAreOneAndWereMadeAtOnceAreBothKept(t *testing.T) {
	a, b := twoDisks(t, folds, false)
	a.write("readme", "1")
	b.write("README", "2")
	a.sync()
	b.sync()
	a.sync()
	b.sync()
	a.wantFiles("README=2", "readme=1")
	b.wantFiles("README CC=2", "readme=1")
	quiet(t, a, b)
}

func TestFolderIsJoinedWhereNamesAreOneForTheDisk(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("Docs/Letter", "1")
	a.add("R")
	a.sync()
	b.strangely(folds, false)
	b.write("docs/letter", "1")
	b.add("R")
	if c := b.sync(); c.FilesUp != 0 || c.FilesDown != 0 || c.Deletes != 0 {
		t.Errorf("joining did %+v", c)
	}
	a.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestNameThatADiskDecomposesStaysAsItWas(t *testing.T) {
	a, b := twoDisks(t, decomposes, false)
	a.write("été/é", "1")
	a.sync()
	b.sync()
	b.wantFiles("e\u0301te\u0301/e\u0301=1")
	b.problems(0)
	quiet(t, a, b)
	b.write("e\u0301te\u0301/e\u0301", "2")
	b.sync()
	a.sync()
	a.wantFiles("été/é=2")
	a.write("été/e\u0301", "3")
	a.sync()
	b.sync()
	b.wantFiles("e\u0301te\u0301/e\u0301 CC=3", "e\u0301te\u0301/e\u0301=2")
	b.alias("été/e\u0301")
	quiet(t, a, b)
}

func TestNameThatADiskRefusesIsAnotherOneThere(t *testing.T) {
	refuses := tree.Caps{Unfit: func(s string) bool { return strings.Contains(s, ":") }, Mend: func(s string) string { return strings.ReplaceAll(s, ":", "_") }}
	a, b := twoDisks(t, refuses, false)
	a.write("12:30", "1")
	a.sync()
	b.sync()
	b.wantFiles("12_30=1")
	if got := b.alias("12:30"); got != "12_30" {
		t.Errorf("status says %q", got)
	}
	b.write("12_30", "2")
	b.sync()
	a.sync()
	a.wantFiles("12:30=2")
	quiet(t, a, b)
}

// A folder with rules of its own, as Linux and Windows have them.
func TestDiskThatTakesNamesForOneUnawaresLosesNothing(t *testing.T) {
	a, b := twoDisks(t, folds, true)
	a.write("readme", "1")
	a.write("docs/x", "1")
	a.sync()
	b.sync()
	a.write("README", "2")
	a.write("Docs/x", "2")
	a.write("third", "3")
	a.sync()
	b.run()
	b.eventually("told", func() bool {
		return len(b.Engine.VolumeStatus(b.Engine.Volumes()[0].ID).Problems) == 2 && b.has("third")()
	})
	b.wantFiles("docs/x=1", "readme=1", "third=3")
	for _, p := range b.Engine.VolumeStatus(b.Engine.Volumes()[0].ID).Problems {
		if p.Kind != "name_taken" || p.Hint == "" {
			t.Errorf("status says %+v", p)
		}
	}
	a.sync()
	a.wantFiles("Docs/x=2", "README=2", "docs/x=1", "readme=1", "third=3")
}

// faultIn is what a result says went wrong.
func faultIn(t *testing.T, raw json.RawMessage) *control.Fault {
	t.Helper()
	var r struct {
		Fault *control.Fault `json:"fault"`
	}
	must(t, json.Unmarshal(raw, &r))
	return r.Fault
}
