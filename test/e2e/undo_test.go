package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// putBack is what restore --json says.
type putBack struct {
	Files, Moved, Entries int
	Held                  int `json:"held_deletions_undone"`
	Point                 time.Time
	Paths, Removed        []string
	Left                  []struct {
		Path, Why, Device string
		Time              time.Time
	}
}

func (d *device) restoreJSON(args ...string) (r putBack) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.run(append([]string{"--json", "restore"}, args...)...).stdout), &r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

// now is a time that everything committed is before, and what comes is after:
// leaf times are milliseconds.
func now() string {
	next := func() time.Time {
		t := time.Now()
		for time.Now().UnixMilli() <= t.UnixMilli() {
		}
		return time.Now()
	}
	at := next()
	next()
	return at.UTC().Format(time.RFC3339Nano)
}

func encrypted(b []byte) []byte {
	out := append([]byte("LOCKED"), b...)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out
}

// ravage does to each file of a folder what ransomware does: one in three it
// writes over and renames, one in three it writes anew and deletes, one in three
// it writes over in place; and it leaves a letter in each folder.
func ravage(t *testing.T, dir string) (names int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folders, err := filepath.Glob(filepath.Join(dir, "*"))
	must(err)
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
		must(err)
		for i, f := range files {
			b, err := os.ReadFile(f)
			must(err)
			switch i % 3 {
			case 0:
				must(os.WriteFile(f, encrypted(b), 0o644))
				must(os.Rename(f, f+".locked"))
			case 1:
				must(os.WriteFile(f+".locked", encrypted(b), 0o600))
				must(os.Remove(f))
			case 2:
				must(os.WriteFile(f, encrypted(b), 0o644))
			}
			names++
		}
		must(os.WriteFile(filepath.Join(folder, "READ ME"), []byte("pay"), 0o644))
	}
	return names
}

// things is how many names a folder has, in which a daemon may be at work.
func things(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil { // gone meanwhile
			return nil
		}
		if filepath.Base(p) == ".signet" {
			return fs.SkipDir
		}
		n++
		return nil
	})
	return n
}

// A virus encrypts a folder under a daemon; one command on another device
// brings every byte back, on both, while what somebody did afterwards stays.
func TestUndoBringsBackWhatAVirusEncrypted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	n := 2000
	if testing.Short() {
		n = 150
	}
	w, one, two := pair(t, n)
	for _, d := range []*device{one, two} {
		d.up()
		d.ready()
	}
	wait(t, one, two)
	before, since := treeOf(t, one.dir), now()
	if got := ravage(t, filepath.Join(one.dir, "letters")); got != n {
		t.Fatalf("%d files", got)
	}
	// The guard may hold what the virus deleted: it is deleted for good only
	// if somebody says so. The worst is that somebody did.
	until(t, 3*time.Minute, "all that the virus did is on the other device", func() bool {
		for _, d := range []*device{one, two} {
			d.try("", "--timeout", "120s", "wait")
			d.run("approve-deletes")
		}
		return things(two.dir) == things(one.dir) && two.status()[0].HeldDeletes == 0 && one.status()[0].HeldDeletes == 0
	})
	wait(t, one, two)
	agree(t, one, two)
	mine := []string{"letters/000/file-00000.txt.locked", "letters/000/file-00002.txt", "mine.txt"}
	for _, f := range mine {
		two.write(f, "written afterwards: "+f)
	}
	wait(t, two, one)

	preview := two.restoreJSON("Docs", "--undo", "one", "--since", since, "--dry-run")
	if preview.Files < n-2 || len(preview.Left) != 2 || preview.Left[0].Device != "two" || preview.Left[0].Why != "changed" {
		t.Errorf("the preview says %d files of %d, left %+v", preview.Files, n, preview.Left)
	}
	two.fails(2, "usage", "restore", "Docs", "--undo", "one", "--since", since)
	if got := two.read("letters/000/file-00001.txt.locked"); !strings.HasPrefix(got, string(encrypted(nil))) {
		t.Error("a preview changed something")
	}
	objects := two.status()[0].Counters.ObjectsUp + one.status()[0].Counters.ObjectsUp
	did := two.restoreJSON("Docs", "--undo", "one", "--since", since, "--yes")
	if did.Files != preview.Files || len(did.Removed) != len(preview.Removed) {
		t.Errorf("it did %d, %d; the preview said %d, %d", did.Files, len(did.Removed), preview.Files, len(preview.Removed))
	}
	wait(t, two, one)
	if got := two.status()[0].Counters.ObjectsUp + one.status()[0].Counters.ObjectsUp; got != objects {
		t.Errorf("%d objects were sent", got-objects)
	}
	got := treeOf(t, two.dir)
	for _, f := range mine {
		if c := two.read(f); c != "written afterwards: "+f {
			t.Errorf("%s: %q", f, c)
		}
		delete(got, f)
	}
	delete(before, "letters/000/file-00000.txt") // its name was changed by the virus, and its content by its owner
	delete(before, "letters/000/file-00002.txt")
	sameTree(t, "what undo brought back", before, got)
	agree(t, one, two)
	two.fails(1, "not_found", "restore", "Docs", "--undo", "one", "--since", time.Now().UTC().Format(time.RFC3339Nano), "--yes")
	for _, d := range []*device{one, two} {
		d.down()
	}
	quiet(t, one, two)
	w.check()
}

// A region as it was: what was deleted, renamed, changed and made since.
func TestRestoreOfARegionToATimeSendsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 60)
	before, at := treeOf(t, one.dir), now()
	one.run("pin", "add", "Docs", "before the move")
	one.move("letters/000", "archive")
	one.write("letters/new.txt", "made since")
	one.sync()
	two.sync()
	for i := range 20 {
		two.write(fmt.Sprintf("archive/file-%05d.txt", i), "changed")
	}
	two.remove("archive/file-00059.txt")
	two.sync()
	one.sync()

	out := filepath.Join(one.w.dir, "then")
	one.run("restore", "Docs", "--at", at, "--to", out)
	if got := treeOf(t, out); len(got) != len(before) {
		t.Errorf("%d names written beside, want %d", len(got), len(before))
	}
	start := one.status()[0].Counters
	r := one.restoreJSON("Docs", "--at", at)
	if r.Point.IsZero() || len(r.Removed) == 0 || r.Removed[0] != "letters/new.txt" {
		t.Errorf("%+v", r)
	}
	one.sync()
	end := one.status()[0].Counters
	if end.ObjectsUp != start.ObjectsUp {
		t.Errorf("%d objects were sent", end.ObjectsUp-start.ObjectsUp)
	}
	two.sync()
	sameTree(t, "the region", before, treeOf(t, one.dir))
	agree(t, one, two)
	quiet(t, one, two)
	// Made since, and to be had.
	if got := two.run("cat", "Docs:letters/000/file-00001.txt").stdout; got != "file 1 of letters\n" {
		t.Errorf("%q", got)
	}
	one.run("restore", "Docs:letters/new.txt")
	one.sync()
	if got := one.read("letters/new.txt"); got != "made since" {
		t.Errorf("%q", got)
	}
	// The pin is on both devices, and undoing all since it is the same again.
	if got := two.run("pin", "list").stdout; !strings.Contains(got, "before the move") || !strings.Contains(got, "by one") {
		t.Errorf("pins: %s", got)
	}
	two.restoreJSON("Docs", "--since", at, "--yes")
	two.sync()
	one.sync()
	sameTree(t, "undone", before, treeOf(t, two.dir))
	agree(t, one, two)
}

// What an undo takes away is not held, on no device, also by who was away: a
// person saw the number. Without it so many deletions are.
func TestWhatAnUndoTakesAwayIsNotHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 40)
	before, since := treeOf(t, one.dir), now()
	one.many("spam", 150)
	one.sync()
	two.sync()
	r := two.restoreJSON("Docs", "--since", since, "--undo", "one", "--yes")
	if len(r.Removed) != 153 { // with the folders
		t.Errorf("%d removed", len(r.Removed))
	}
	two.sync()
	one.sync() // each fails if something is held
	sameTree(t, "after undo", before, treeOf(t, one.dir))
	agree(t, one, two)
	// The next deletion is weighed by itself.
	one.remove("letters/000/file-00000.txt")
	one.sync()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
}

// The guard holds what the virus deleted, so only the encrypted files went out:
// undoing takes these away, and brings the others back to the disk.
func TestUndoWhereTheGuardHeldTheDeletions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 150)
	before, since := treeOf(t, one.dir), now()
	for i := range 150 {
		name := fmt.Sprintf("letters/%03d/file-%05d.txt", i/100, i)
		one.write(name+".locked", "bad")
		one.remove(name)
	}
	if vs, _ := one.synced(5); vs[0].HeldDeletes != 150 {
		t.Fatalf("%d held", vs[0].HeldDeletes)
	}
	r := one.restoreJSON("Docs", "--since", since, "--undo", "one", "--yes")
	if len(r.Removed) != 150 || r.Held != 150 {
		t.Errorf("%d removed, %d held deletions undone", len(r.Removed), r.Held)
	}
	one.sync()
	two.sync()
	sameTree(t, "after undo", before, treeOf(t, one.dir))
	agree(t, one, two)
	quiet(t, one, two)
}
