package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The guard's thresholds: of files files, delete deletes.
var guardCases = []struct {
	files, deletes int
	held           bool
}{
	{9, 9, false},     // all, but fewer than ten
	{10, 10, true},    // all of ten
	{10, 9, false},    // not all
	{150, 100, false}, // a hundred is not too many
	{150, 101, true},
	{800, 200, false}, // a quarter
	{800, 201, true},
}

func TestManyDeletionsAreHeldUntilApproved(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	for _, c := range guardCases {
		if testing.Short() && c.files > 10 {
			continue
		}
		t.Run(fmt.Sprintf("%d of %d", c.deletes, c.files), func(t *testing.T) {
			_, one, two := pair(t, c.files)
			all := treeOf(t, one.dir)
			for i := range c.deletes {
				one.remove(fmt.Sprintf("letters/%03d/file-%05d.txt", i/100, i))
			}
			one.write("beside.txt", "everything else goes on")
			if !c.held {
				if got := one.sync(); int(got.Deletes) != c.deletes {
					t.Errorf("sync did %+v, want %d deletions", got, c.deletes)
				}
				two.sync()
				agree(t, one, two)
				return
			}
			vs, r := one.synced(5)
			if f := r.fault(); f.Kind != "held" || !strings.Contains(f.Hint, "approve-deletes") || !strings.Contains(f.Hint, "restore") {
				t.Errorf("sync says %+v", f)
			}
			if vs[0].HeldDeletes != c.deletes || vs[0].Counters.Deletes != 0 || vs[0].Counters.FilesUp != 1 {
				t.Errorf("sync did %+v, want %d deletions held and one file sent", vs[0], c.deletes)
			}
			// Held before the entry is written: the other device gets no deletion.
			two.sync()
			all["beside.txt"] = treeOf(t, one.dir)["beside.txt"]
			sameTree(t, "the other device", all, treeOf(t, two.dir))

			// Approved, they go through here; the other device asks again.
			one.run("approve-deletes", one.dir)
			one.sync()
			if got := one.status()[0].Counters; int(got.Deletes) != c.deletes {
				t.Errorf("after approval, %+v in all, want %d deletions", got, c.deletes)
			}
			if c.deletes == c.files { // of one file more, beside.txt: not all
				two.sync()
			} else {
				vs, _ = two.synced(5)
				if vs[0].HeldDeletes != c.deletes || vs[0].Counters.Deletes != 0 {
					t.Errorf("the receiver did %+v, want %d deletions held", vs[0], c.deletes)
				}
				sameTree(t, "the receiver", all, treeOf(t, two.dir))
				two.run("approve-deletes")
				two.sync()
			}
			agree(t, one, two)
			quiet(t, one, two)

			// And all of it is still in the history.
			two.run("restore", filepath.Join(two.dir, "letters"))
			two.sync()
			one.sync()
			sameTree(t, "what restore brought back", all, treeOf(t, one.dir))
			agree(t, one, two)
		})
	}
}

func TestRestoreUndoesHeldDeletions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 40)
	all := treeOf(t, one.dir)
	one.remove("letters")
	vs, _ := one.synced(5)
	if vs[0].HeldDeletes != 40 {
		t.Errorf("%d held, want 40", vs[0].HeldDeletes)
	}
	// What was said stays said: no later command lets them go by itself.
	one.write("beside.txt", "a file more")
	one.synced(5)
	if vs := one.status(); vs[0].State != "held" || vs[0].HeldDeletes != 40 {
		t.Errorf("status says %s, %d held, want held, 40", vs[0].State, vs[0].HeldDeletes)
	}
	one.run("restore", filepath.Join(one.dir, "letters"))
	one.sync()
	all["beside.txt"] = treeOf(t, one.dir)["beside.txt"]
	sameTree(t, "what restore brought back", all, treeOf(t, one.dir))
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
}

// Under a daemon the guard holds as well, and says so in the status.
func TestDaemonHoldsDeletionsAndSaysSo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 30)
	one.up()
	two.up()
	one.ready()
	two.ready()
	wait(t, one, two)
	all := treeOf(t, two.dir)
	// At once, as a person does who drags a folder elsewhere. What is deleted
	// one by one is noticed when it is too much, or all.
	if err := os.Rename(filepath.Join(one.dir, "letters"), one.dir+"-elsewhere"); err != nil {
		t.Fatal(err)
	}
	one.fails(5, "held", "wait")
	vs := one.status()
	if vs[0].State != "held" || vs[0].HeldDeletes != 30 || !strings.Contains(vs[0].Hint, "approve-deletes") {
		t.Errorf("status says %s, %d held, hint %q", vs[0].State, vs[0].HeldDeletes, vs[0].Hint)
	}
	if r := one.try("", "status", "--check"); r.code != 5 {
		t.Errorf("status --check: exit %d, want 5", r.code)
	}
	two.run("wait")
	sameTree(t, "the other device", all, treeOf(t, two.dir))
	one.run("approve-deletes")
	one.run("wait")
	two.fails(5, "held", "wait")
	two.run("approve-deletes")
	two.run("wait")
	agree(t, one, two)
	if n := len(treeOf(t, two.dir)); n != 0 {
		t.Errorf("%d names are left", n)
	}
	one.down()
	two.down()
	quiet(t, one, two)
}
