package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What people rename while nothing runs is found as renames: nothing is sent
// again, and the other device renames too.
func TestOfflineMovesSendNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	cases := []struct {
		name  string
		files []string // each with content of its own
		do    func(d *device)
		moves int // at most
	}{
		{"swap", []string{"a", "b"}, func(d *device) {
			d.move("a", "t")
			d.move("b", "a")
			d.move("t", "b")
		}, 3},
		{"rotation", []string{"a", "b", "c"}, func(d *device) {
			d.move("c", "t")
			d.move("b", "c")
			d.move("a", "b")
			d.move("t", "a")
		}, 4},
		{"shift with a new first", []string{"log", "log.1", "log.2"}, func(d *device) {
			d.move("log.2", "log.3")
			d.move("log.1", "log.2")
			d.move("log", "log.1")
			d.write("log", "") // empty: a new file without content to send
		}, 3},
		{"folder renamed, made again, part moved back", []string{"A/1", "A/2", "A/3"}, func(d *device) {
			d.move("A", "B")
			os.Mkdir(filepath.Join(d.dir, "A"), 0o755)
			d.move("B/2", "A/2")
		}, 2},
		{"folder and its child", []string{"A/B/1", "A/B/2"}, func(d *device) {
			d.move("A/B", "A/C")
			d.move("A", "D")
		}, 2},
		{"inversion", []string{"A/B/1", "A/2"}, func(d *device) {
			d.move("A/B", "B")
			d.move("A", "B/A")
		}, 2},
		{"deep reuse of names", []string{"A/A/A/1", "A/A/2", "A/3"}, func(d *device) {
			d.move("A/A/A", "X")
			d.move("A/A", "X/A")
			d.move("A", "X/A/A")
			d.move("X", "A")
		}, 3},
		{"swap of folders", []string{"A/1", "A/2", "B/3"}, func(d *device) {
			d.move("A", "T")
			d.move("B", "A")
			d.move("T", "B")
		}, 3},
		{"over an existing file", []string{"x", "y"}, func(d *device) { d.move("x", "y") }, 1},
		{"only in case", []string{"Readme"}, func(d *device) { d.move("Readme", "README") }, 1},
	}
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	top := one.dir
	for i, c := range cases {
		one.dir = filepath.Join(top, fmt.Sprintf("case-%d", i))
		for _, f := range c.files {
			one.write(f, fmt.Sprintf("%s of %s, long enough to be told from others", f, c.name))
		}
	}
	one.dir = top
	one.write("left alone", "no file of a case is all there is")
	one.add()
	one.sync()
	two.add()
	two.sync()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			one.t, two.t = t, t
			folder := fmt.Sprintf("case-%d", i)
			before := inodesByContent(t, filepath.Join(two.dir, folder))
			one.dir = filepath.Join(top, folder)
			c.do(one)
			one.dir = top
			got := one.sync()
			if got.BytesUp != 0 || got.ObjectsUp != 0 || got.Conflicts != 0 || int(got.Moves) > c.moves || got.Moves == 0 {
				t.Errorf("sync did %+v, want at most %d moves and nothing sent", got, c.moves)
			}
			if back := two.sync(); back.BytesDown != 0 || back.ObjectsDown != 0 || back.Conflicts != 0 {
				t.Errorf("the other device did %+v, want nothing fetched", back)
			}
			agree(t, one, two)
			for sum, inode := range inodesByContent(t, filepath.Join(two.dir, folder)) {
				if old, ok := before[sum]; ok && old != inode {
					t.Error("a file was copied, not renamed")
				}
			}
			quiet(t, one, two)
		})
	}
}

func inodesByContent(t *testing.T, dir string) map[[32]byte]uint64 {
	t.Helper()
	tree, inodes := treeOf(t, dir), inodesOf(t, dir)
	all := map[[32]byte]uint64{}
	for name, e := range tree {
		if e.size > 0 {
			all[e.sha] = inodes[name]
		}
	}
	return all
}

// Two devices move the same things in different ways, and both stay usable.
func TestConcurrentMovesConverge(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 20)
	one.many("a", 5)
	one.many("b", 5)
	one.sync()
	two.sync()
	one.move("a", "b/a") // a cycle, together with the next
	two.move("b", "a/b")
	one.move("letters/000/file-00001.txt", "to one.txt")
	two.move("letters/000/file-00001.txt", "to two.txt")
	one.move("letters/000/file-00002.txt", "same.txt")
	two.move("letters/000/file-00003.txt", "same.txt")
	two.write("letters/000/file-00004.txt", "edited while its folder moves")
	one.move("letters", "post")
	one.try("", "sync")
	two.try("", "sync")
	one.try("", "sync")
	two.try("", "sync")
	agree(t, one, two)
	files := 0
	for _, e := range treeOf(t, one.dir) {
		if e.mode.IsRegular() {
			files++
		}
	}
	if files != 30 {
		t.Errorf("%d files, want 30: none lost, none twice", files)
	}
	if got := one.read("post/000/file-00004.txt"); got != "edited while its folder moves" {
		t.Errorf("the edited file has %q", got)
	}
	quiet(t, one, two)
}
