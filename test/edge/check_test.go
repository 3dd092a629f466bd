package edge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
)

// check is what must hold after every case: nothing settled is lost (U1), all
// devices show one tree (U2), another pass does nothing (U3), all of it ends
// (U4; each pass has a time, and there are few), nothing outside the folders
// changed (U5).
func (w *world) check() {
	w.t.Helper()
	w.settle()
	for _, d := range w.devices {
		if c := d.sync(); c != (engine.Counters{}) {
			w.t.Errorf("U3: %s: another pass did %+v", d.name, c)
		}
	}
	w.equal()
	w.unlost()
	for _, d := range w.devices {
		if now := outside(w.t, d.out); now != d.was {
			w.t.Errorf("U5: %s: outside the folder is now\n%s\nand was\n%s", d.name, now, d.was)
		}
		for _, a := range d.Engine.Alarms() {
			if !w.attended[a.Kind] {
				w.t.Errorf("%s: alarm %+v", d.name, a)
			}
		}
	}
}

// settle has all devices pass until none has anything to do.
func (w *world) settle() {
	w.t.Helper()
	const passes = 7
	for range passes {
		did := false
		for _, d := range w.devices {
			if c := d.sync(); c != (engine.Counters{}) {
				did = true
			}
			if w.approves && d.status().HeldDeletes > 0 {
				_, err := d.Engine.ApproveDeletes(d.volume().ID)
				must(w.t, err)
				did = true
			}
		}
		if !did {
			return
		}
	}
	w.t.Errorf("U4: no rest after %d passes of all devices", passes)
}

// equal is U2: each device's folder is what the journal says, under the names
// that its disk has for it, and so they are each other.
func (w *world) equal() {
	w.t.Helper()
	first := w.devices[0]
	for _, d := range w.devices {
		got, want := d.lines(), d.journal(first)
		if !slices.Equal(got, want) {
			w.t.Errorf("U2: %s differs from the journal of %s:\n%s", d.name, first.name, apart(want, got))
		}
	}
}

// journal is what the journal, as of another device, says should be in this
// one's folder.
func (d *device) journal(of *device) (lines []string) {
	d.t.Helper()
	must(d.t, of.Engine.WithRegion(d.w.region, func(r *region.Region) error {
		d.below(r.Tree, signet.RootNode, "", &lines)
		return nil
	}))
	slices.Sort(lines)
	return lines
}

func (d *device) below(t *tree.Tree, folder signet.NodeID, prefix string, lines *[]string) {
	names := t.Names(folder, d.caps)
	for _, n := range t.Children(folder) {
		path := prefix + d.disk.spell(names[n.ID])
		switch n.Type {
		case tree.Dir:
			*lines = append(*lines, path+"/")
			d.below(t, n.ID, path+"/", lines)
		case tree.Link:
			*lines = append(*lines, path+" -> "+n.Target)
		default:
			*lines = append(*lines, d.line(path, n.Mode&0o777, n.MTime, n.Hash))
		}
	}
}

func (d *device) line(path string, mode uint32, mtime int64, sum [32]byte) string {
	if d.disk.tick > 0 || d.w.quick {
		mtime = 0
	}
	return fmt.Sprintf("%s %o %d %x", path, mode, mtime, sum[:6])
}

// lines is everything below the device's folder that syncs.
func (d *device) lines() []string { d.t.Helper(); return d.linesOf("") }

func (d *device) linesOf(folder string) (lines []string) {
	d.t.Helper()
	must(d.t, filepath.WalkDir(d.path(folder), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(d.dir, p)
		info, err := e.Info()
		switch {
		case rel == ".signet":
			return filepath.SkipDir
		case rel == "." || err != nil:
			return err
		case e.IsDir():
			lines = append(lines, rel+"/")
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			lines = append(lines, rel+" -> "+to)
			return err
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			lines = append(lines, d.line(rel, uint32(info.Mode().Perm()), info.ModTime().UnixNano(), sha256.Sum256(b)))
			return err
		default:
			lines = append(lines, rel+" "+info.Mode().Type().String())
		}
		return nil
	}))
	slices.Sort(lines)
	return lines
}

func (d *device) listing() string { return strings.Join(d.lines(), "\n") }

// apart is the lines that only one of two listings has.
func apart(want, got []string) string {
	var l []string
	for _, s := range want {
		if !slices.Contains(got, s) {
			l = append(l, "missing: "+s)
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) {
			l = append(l, "too many: "+s)
		}
	}
	slices.Sort(l)
	return strings.Join(l, "\n")
}

// note notes what is settled on the device's disk, and was not so before.
func (d *device) note() {
	d.t.Helper()
	filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(d.dir, p); rel == ".signet" {
			return filepath.SkipDir
		}
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		sign := fmt.Sprint(info.Size(), info.ModTime().UnixNano(), inode(info))
		if d.disk.tick == 0 && d.noted[p] == sign {
			return nil
		}
		if b, err := os.ReadFile(p); err == nil {
			d.noted[p] = sign
			d.w.settled[sha256.Sum256(b)] = d.name + ": " + p
		}
		return nil
	})
}

// knows reports whether somebody wrote a content.
func (w *world) knows(b []byte) bool { _, ok := w.settled[sha256.Sum256(b)]; return ok }

// entries is how many entries the region's journal has, as the service says.
func (d *device) entries() uint64 {
	d.t.Helper()
	must(d.t, d.Engine.SyncRegion(d.t.Context(), d.w.region))
	return d.Engine.Regions()[0].Entries
}

// forget takes a content from what must be kept: its user gave it up before a
// pass could have it.
func (w *world) forget(content string) { delete(w.settled, sha256.Sum256([]byte(content))) }

// unlost is U1. What the history alone has is fetched from the service and
// opened: an entry that names it does not bring it back.
func (w *world) unlost() {
	w.t.Helper()
	here := map[[32]byte]bool{}
	for _, d := range w.devices {
		filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if b, err := os.ReadFile(p); err == nil {
					here[sha256.Sum256(b)] = true
				}
			}
			return nil
		})
	}
	d, past := w.devices[0], map[[32]byte][]byte{}
	must(w.t, d.Engine.Events(w.region, func(_ tree.Event, op *tree.Op) error {
		if op != nil && op.Type == tree.File {
			past[op.Hash] = op.Content
		}
		return nil
	}))
	for sum, what := range w.settled {
		if here[sum] || sum == sha256.Sum256(nil) {
			continue
		}
		content, ok := past[sum]
		if !ok {
			w.t.Errorf("U1: lost: %s", what)
		} else if err := d.Engine.Fetch(w.t.Context(), w.region, content, sum, io.Discard); err != nil {
			w.t.Errorf("U1: %s is in the history, and cannot be had: %v", what, err)
		}
	}
}

// outside is what is in a folder, down to inode and times, links not followed.
func outside(t *testing.T, dir string) string {
	t.Helper()
	var l []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		sum := ""
		if e.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			sum = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		rel, _ := filepath.Rel(dir, p)
		l = append(l, fmt.Sprintf("%s %v %v %d %s %s", rel, info.Mode(), info.ModTime().UnixNano(), info.Size(), inode(info), sum))
		return err
	})
	must(t, err)
	return strings.Join(l, "\n")
}
