package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// deleteIndex removes the local index and what belongs to it.
func (d *device) deleteIndex() {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.home, "organisations", "*", "index.db*"))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("no index: %v %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			d.t.Fatal(err)
		}
	}
}

// The index is a memory of what was seen. Without it all is found again.
func TestDeletedIndexIsRebuiltByContent(t *testing.T) {
	t.Parallel()
	w, one, two := pair(t, pick(3000, 300))
	all := treeOf(t, one.dir)
	one.deleteIndex()
	before := w.up.Load()
	// Without an index the device does not know its folders: they are added
	// again, over the markers that are there.
	r := one.try("", "--json", "sync")
	if r.code != 0 {
		t.Logf("sync without an index: exit %d, %+v", r.code, r.fault())
		one.run("add", one.dir, "--region", "Docs", "--relink")
		r = one.run("--json", "sync")
	}
	t.Logf("rebuilt in %.2f s, %d bytes sent: %s", r.wall.Seconds(), w.up.Load()-before, r.stdout)
	if sent := w.up.Load() - before; sent > 128<<10 {
		t.Errorf("%d bytes sent: something was uploaded again", sent)
	}
	quiet(t, one)
	sameTree(t, "the device without its index", all, treeOf(t, one.dir))
	untouched(t, all, two)
	quiet(t, one, two)

	// It stays a device like any other, with the same name and keys.
	one.write("letters/after.txt", "after the loss")
	one.move("letters/000/file-00001.txt", "moved.txt")
	one.remove("letters/000/file-00002.txt")
	if c := one.sync(); c.FilesUp != 1 || c.Moves != 1 || c.Deletes != 1 || c.Conflicts != 0 {
		t.Errorf("after the loss, sync did %+v, want one file up, one move, one deletion", c)
	}
	two.sync()
	agree(t, one, two)
}

// What changed on both sides while the index was lost: nothing is taken for a
// deletion, what differs is kept beside each other.
func TestChangesAroundALostIndexAreKept(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 30)
	one.deleteIndex()
	one.write("letters/000/file-00000.txt", "changed on one")
	one.write("new on one.txt", "new")
	one.remove("letters/000/file-00007.txt")
	two.write("letters/000/file-00000.txt", "changed on two")
	two.remove("letters/000/file-00009.txt")
	two.sync()
	if r := one.try("", "sync"); r.code == 1 {
		one.run("add", one.dir, "--region", "Docs", "--relink")
		if r = one.try("", "sync"); r.code != 5 && r.code != 0 {
			t.Fatalf("sync: exit %d\n%s", r.code, r.stderr)
		}
	}
	two.try("", "sync")
	one.try("", "sync")
	agree(t, one, two)
	all := treeOf(t, two.dir)
	contents := map[string]bool{}
	for name, e := range all {
		if e.mode.IsRegular() {
			contents[two.read(name)] = true
		}
	}
	for _, want := range []string{"changed on one", "changed on two", "new", "file 7 of letters\n"} {
		if !contents[want] {
			t.Errorf("%q is nowhere", want)
		}
	}
	quiet(t, one, two)
}

// An index from an older backup of the machine, with or without the folder's
// files of that time: what is newer elsewhere is not deleted, comes back where
// it is missing, and is not sent again.
func TestOlderIndexIsNoReasonToDelete(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	for _, c := range []struct {
		name  string
		files bool
	}{{"index alone", false}, {"index and files", true}} {
		t.Run(c.name, func(t *testing.T) {
			_, one, two := pair(t, 40)
			saved := map[string][]byte{}
			files, _ := filepath.Glob(filepath.Join(one.home, "organisations", "*", "index.db*"))
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				saved[f] = b
			}
			one.many("newer", 20)
			one.write("letters/000/file-00001.txt", "newer content")
			one.move("letters/000/file-00002.txt", "newer name.txt")
			one.sync()
			two.sync()
			want := treeOf(t, two.dir)
			one.deleteIndex()
			for f, b := range saved {
				if err := os.WriteFile(f, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.files {
				one.remove("newer")
			}
			got := one.sync()
			t.Logf("%+v", got)
			if got.Deletes != 0 || got.Conflicts != 0 || got.FilesUp != 0 {
				t.Errorf("sync did %+v, want nothing deleted or sent", got)
			}
			sameTree(t, "the device with the older index", want, treeOf(t, one.dir))
			untouched(t, want, two)
			quiet(t, one, two)
		})
	}
}
