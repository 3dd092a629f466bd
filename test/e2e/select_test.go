package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A daemon is killed at seeded moments while what is selected on its device
// changes, and the other device's user works. Nothing is deleted for it, and in
// the end each device has what it is to have.
func TestSelectionSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	want := map[string]string{}
	write := func(name, content string) {
		one.write(name, content)
		want[name] = content
	}
	random := rand.New(rand.NewPCG(25, 1))
	for i := range pick(600, 120) {
		write(fmt.Sprintf("photos/%d/%03d", 2020+i%4, i), fmt.Sprintf("photo %d", i))
	}
	writeRandom(t, filepath.Join(one.dir, "photos", "film"), pick[int64](40<<20, 9<<20), 1)
	write("letters/dear", "anna")
	one.add()
	one.sync()
	two.add()
	two.sync()
	one.up()
	two.up()
	one.ready()
	paths := []string{"photos", "photos/2020", "photos/2021", "photos/2022", "photos/film", "letters"}
	kills := 0
	for i := range pick(40, 8) {
		two.ready()
		p := "Docs:" + paths[random.IntN(len(paths))]
		switch random.IntN(3) {
		case 0:
			two.run("select", "remove", p)
		case 1:
			two.run("select", "add", p)
		default:
			two.run("select", []string{"add", "remove"}[random.IntN(2)], p, "--new-siblings", []string{"on", "off"}[random.IntN(2)])
		}
		if random.IntN(2) == 0 {
			write(fmt.Sprintf("photos/%d/new-%d", 2020+random.IntN(6), i), "new")
		}
		if random.IntN(3) == 0 {
			continue
		}
		<-time.After(time.Duration(random.Int64N(int64(150 * time.Millisecond))))
		two.kill()
		two.up()
		kills++
	}
	two.ready()
	two.run("select", "add", "Docs:photos", "--new-siblings", "on")
	two.run("select", "remove", "Docs:photos/2021", "Docs:photos/film")
	two.run("select", "add", "Docs:letters", "--new-siblings", "on")
	wait(t, one, two)
	for _, gone := range []string{"photos/2021", "photos/film"} {
		if _, err := os.Lstat(filepath.Join(two.dir, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is not selected, and still on the disk: %v", gone, err)
		}
	}
	if l, err := os.ReadDir(filepath.Join(two.dir, ".signet", "trash")); err != nil || kills == 0 && len(l) > 0 {
		t.Errorf("the trash has %v, %v", l, err)
	}
	two.run("select", "add", "Docs:photos/2021", "Docs:photos/film")
	wait(t, one, two)
	one.down()
	two.down()
	agree(t, one, two)
	tree := treeOf(t, one.dir)
	for name := range want {
		if one.read(name) != want[name] {
			t.Errorf("%s has %q", name, one.read(name))
		}
	}
	files := 0
	for name, e := range tree {
		if e.mode.IsRegular() {
			files++
			if _, ok := want[name]; !ok && name != "photos/film" {
				t.Errorf("%s came about", name)
			}
		}
	}
	if files != len(want)+1 {
		t.Errorf("%d files, want %d", files, len(want)+1)
	}
	for _, d := range []*device{one, two} {
		if n := d.status()[0].Counters.Deletes; n != 0 {
			t.Errorf("%s: %d deletions", d.name, n)
		}
	}
	quiet(t, one, two)
	w.stop()
	w.check()
	indexIsWhole(t, two)
	t.Logf("%d choices, %d kills, %d files", pick(40, 8), kills, files)
}
