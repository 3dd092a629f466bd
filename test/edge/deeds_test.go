package edge

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/owner"
)

// What people and programs do to a folder.

// write writes a file in place, and its folders if they are missing.
func (d *device) write(name, content string) {
	d.t.Helper()
	p := d.path(name)
	must(d.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(d.t, os.WriteFile(p, []byte(content), 0o644))
}

// save saves as editors do: a new file, renamed over the old one.
func (d *device) save(name, content string) {
	d.t.Helper()
	tmp := d.path(name) + ".new"
	must(d.t, os.WriteFile(tmp, []byte(content), 0o644))
	must(d.t, os.Rename(tmp, d.path(name)))
}

func (d *device) mv(from, to string) {
	d.t.Helper()
	must(d.t, os.MkdirAll(filepath.Dir(d.path(to)), 0o755))
	must(d.t, os.Rename(d.path(from), d.path(to)))
}

func (d *device) rm(name string)       { d.t.Helper(); must(d.t, os.RemoveAll(d.path(name))) }
func (d *device) mkdir(name string)    { d.t.Helper(); must(d.t, os.MkdirAll(d.path(name), 0o755)) }
func (d *device) link(to, name string) { d.t.Helper(); must(d.t, os.Symlink(to, d.path(name))) }
func (d *device) has(name string) bool { _, err := os.Lstat(d.path(name)); return err == nil }
func (d *device) chmod(name string, m fs.FileMode) {
	d.t.Helper()
	must(d.t, os.Chmod(d.path(name), m))
}

func (d *device) touch(name string, at time.Time) {
	d.t.Helper()
	must(d.t, os.Chtimes(d.path(name), at, at))
}

func (d *device) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(d.path(name))
	must(d.t, err)
	return string(b)
}

func (d *device) says(name, content string) func() bool {
	return func() bool { b, err := os.ReadFile(d.path(name)); return err == nil && string(b) == content }
}

// files are the files and links of a device's folder with what is in them,
// sorted; empty folders too. The suffix of a conflict copy is " CC".
func (d *device) files() (l []string) {
	d.t.Helper()
	must(d.t, filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(d.dir, p)
		switch {
		case err != nil || rel == ".":
			return err
		case rel == ".signet":
			return filepath.SkipDir
		}
		name := short(rel)
		switch {
		case e.IsDir():
			if in, err := os.ReadDir(p); err != nil || len(in) > 0 {
				return err
			}
			l = append(l, name+"/")
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			l = append(l, name+"->"+to)
			return err
		case e.Type().IsRegular():
			b, err := os.ReadFile(p)
			l = append(l, name+"="+string(b))
			return err
		}
		return nil
	}))
	slices.Sort(l)
	return l
}

// short is a path with " CC" for the suffixes of conflict copies.
func short(path string) string {
	for {
		a := strings.Index(path, " (conflict ")
		if a < 0 {
			return path
		}
		z := strings.IndexByte(path[a:], ')')
		path = path[:a] + " CC" + path[a+z+1:]
	}
}

// want says what all devices of the world must show, after as many passes as
// it takes.
func (w *world) want(files ...string) {
	w.t.Helper()
	w.settle()
	slices.Sort(files)
	for _, d := range w.devices {
		if got := d.files(); !slices.Equal(got, files) {
			w.t.Errorf("%s has %.80q, want %.80q", d.name, got, files)
		}
	}
}

// copies are the conflict copies in a device's folder, by path.
func (d *device) copies() (l []string) {
	filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && strings.Contains(e.Name(), " (conflict ") {
			rel, _ := filepath.Rel(d.dir, p)
			l = append(l, rel)
		}
		return nil
	})
	return l
}

// pair is two devices in step, with files of their own name's content.
func (w *world) pair(files ...string) (a, b *device) {
	w.t.Helper()
	ds := w.some(2, files...)
	return ds[0], ds[1]
}

// some is so many devices in step.
func (w *world) some(n int, files ...string) []*device {
	w.t.Helper()
	for i := range n {
		d := w.device(string(rune('a' + i)))
		if i == 0 {
			for _, f := range files {
				if folder, ok := strings.CutSuffix(f, "/"); ok {
					d.mkdir(folder)
				} else {
					d.write(f, "first "+f)
				}
			}
		}
		d.add()
		d.sync()
	}
	return w.devices
}

func (d *device) mode(name string) fs.FileMode {
	d.t.Helper()
	i, err := os.Lstat(d.path(name))
	must(d.t, err)
	return i.Mode().Perm()
}

// opened is a file as a program has it open that will save to it.
func (d *device) opened(name string) *os.File {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
	must(d.t, err)
	return f
}

// revisions is how many contents a file of a path has had, as the history
// command says.
func (d *device) revisions(name string) (n int) {
	d.t.Helper()
	var id signet.NodeID
	must(d.t, d.Engine.WithRegion(d.w.region, func(r *region.Region) error {
		node, ok := r.Tree.Lookup(name)
		if !ok {
			d.t.Fatalf("%s: no %s in the journal", d.name, name)
		}
		id = node.ID
		return nil
	}))
	must(d.t, d.Engine.Events(d.w.region, func(e tree.Event, op *tree.Op) error {
		if op != nil && op.Node == id && (op.Kind == tree.Create || op.Kind == tree.Edit) {
			n++
		}
		return nil
	}))
	return n
}

// trashed is how many files there are in the trash of the device's folder.
func (d *device) trashed() (n int) {
	filepath.WalkDir(d.path(".signet/trash"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			n++
		}
		return nil
	})
	return n
}

// folders are the folders at the top.
func (d *device) folders() (l []string) {
	d.t.Helper()
	list, err := os.ReadDir(d.dir)
	must(d.t, err)
	for _, e := range list {
		if e.IsDir() && e.Name() != ".signet" {
			l = append(l, e.Name())
		}
	}
	return l
}

func (d *device) tryMove(from, to string) { os.Rename(d.path(from), d.path(to)) }

// restore brings back what a path was at a time, or before it was deleted.
func (d *device) restore(name string, at time.Time) {
	d.t.Helper()
	m := owner.Methods(func(do func(*owner.Work) (any, error)) (any, error) { return do(&owner.Work{Owner: d.Owner}) })
	_, err := control.Local(m, nil).Call(d.t.Context(), "restore", owner.RestoreParams{Path: d.path(name), At: at}, silent{})
	must(d.t, err)
}

// silent is a UI that has nobody to ask.
type silent struct{}

func (silent) Note(string)               {}
func (silent) Progress(control.Progress) {}
func (silent) Item(any) error            { return nil }
func (silent) Ask(context.Context, control.Question) (string, error) {
	return "", errors.New("nobody is there")
}
