package owner_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"signet/core/region"
	"signet/core/tree"
)

const rulesFile = ".signetignore"

// ruledPair is two devices in step, a having begun with files (path, content, …).
func ruledPair(t *testing.T, files ...string) (a, b *device) {
	t.Helper()
	w := newWorld(t)
	a, b = w.device("a"), w.device("b")
	for i := 0; i < len(files); i += 2 {
		a.write(files[i], files[i+1])
	}
	a.add("Work")
	a.sync()
	b.add("Work")
	b.sync()
	same(t, a, b)
	return a, b
}

// inRegion are the paths of files that the region has, as the device knows it.
func (d *device) inRegion() (l []string) {
	d.t.Helper()
	id := d.Engine.Volumes()[0].Region
	must(d.t, d.Engine.WithRegion(id, func(r *region.Region) error {
		for p, n := range r.Tree.Walk() {
			if n.Type == tree.File {
				l = append(l, p)
			}
		}
		return nil
	}))
	slices.Sort(l)
	return l
}

func (d *device) rm(path string) {
	d.t.Helper()
	must(d.t, os.RemoveAll(d.path(path)))
}

func (d *device) wantRegion(want ...string) {
	d.t.Helper()
	if got := d.inRegion(); !slices.Equal(got, want) {
		d.t.Fatalf("the region has %q, want %q", got, want)
	}
}

func TestRuleForFilesOfTheRegionDeletesNothing(t *testing.T) {
	a, b := ruledPair(t, "x.c", "1", "x.o", "2", "build/deep/y", "3")
	a.write(rulesFile, "*.o\nbuild/\n")
	if c := a.sync(); c.Deletes != 0 || c.FilesUp != 1 {
		t.Errorf("a rule cost %+v", c)
	}
	if c := b.sync(); c.Deletes != 0 || c.FilesDown != 1 {
		t.Errorf("a rule of another device cost %+v", c)
	}
	same(t, a, b)
	a.wantFiles(".signetignore=*.o\nbuild/\n", "build/deep/y=3", "x.c=1", "x.o=2")
	a.wantRegion(rulesFile, "build/deep/y", "x.c", "x.o")

	// From here on each has its own; the guard has nothing to weigh.
	a.rm("build")
	a.rm("x.o")
	b.write("build/deep/y", "b's")
	b.write("x.o", "b's")
	b.write("new.o", "b's")
	quiet(t, a, b)
	a.problems(0)
	b.problems(0)
	a.wantFiles(".signetignore=*.o\nbuild/\n", "x.c=1")
	b.wantFiles(".signetignore=*.o\nbuild/\n", "build/deep/y=b's", "new.o=b's", "x.c=1", "x.o=b's")
	a.wantRegion(rulesFile, "build/deep/y", "x.c", "x.o")

	// A third device makes none of them, and a restart changes nothing.
	a.Close()
	a.open()
	quiet(t, a)
	a.wantRegion(rulesFile, "build/deep/y", "x.c", "x.o")

	// Without the rules they meet by content: of a what the region has comes
	// back, b's stand beside it.
	a.rm(rulesFile)
	a.sync()
	a.wantFiles("build/deep/y=3", "x.c=1", "x.o=2")
	b.sync()
	a.sync()
	same(t, a, b)
	a.wantFiles("build/deep/y CC=b's", "build/deep/y=3", "new.o=b's", "x CC.o=b's", "x.c=1", "x.o=2")
	if n := len(a.inRegion()); n != 6 {
		t.Errorf("the region has %q", a.inRegion())
	}
}

func TestEqualFilesMeetWithoutConflictWhenARuleGoes(t *testing.T) {
	a, b := ruledPair(t, "x.o", "2", "d/y.o", "3")
	a.write(rulesFile, "*.o\n")
	a.sync()
	b.sync()
	a.write("z.o", "same")
	b.write("z.o", "same")
	quiet(t, a, b)
	b.write(rulesFile, "# none\n")
	if c := b.sync(); c.FilesUp != 2 || c.Conflicts != 0 {
		t.Errorf("cost %+v", c)
	}
	if c := a.sync(); c.Conflicts != 0 || c.Deletes != 0 {
		t.Errorf("cost %+v", c)
	}
	same(t, a, b)
	a.wantFiles(".signetignore=# none\n", "d/y.o=3", "x.o=2", "z.o=same")
	quiet(t, a, b)
}

func TestRulesComeBeforeWhatTheyLeaveOut(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("build/x", "1")
	a.add("Work")
	a.sync()
	a.write(rulesFile, "build/\n*.tmp\n")
	a.write("z.c", "2")
	a.sync()
	b.write("build/mine", "3")
	b.write("q.tmp", "4")
	b.add("Work")
	b.sync()
	b.wantFiles(".signetignore=build/\n*.tmp\n", "build/mine=3", "q.tmp=4", "z.c=2")
	b.wantRegion(rulesFile, "build/x", "z.c")
	quiet(t, b)
	b.problems(0)
}

func TestFolderDeletedElsewhereKeepsWhatIsIgnored(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "*.o\ncache/\n", "p/x.c", "1", "p/q/y.c", "2")
	b.write("p/x.o", "3")
	b.write("p/q/cache/deep/z", "4")
	quiet(t, b)
	a.rm("p")
	a.sync()
	a.wantRegion(rulesFile)
	if c := b.sync(); c.Deletes != 2 {
		t.Errorf("cost %+v", c)
	}
	b.wantFiles(".signetignore=*.o\ncache/\n", "p/q/cache/deep/z=4", "p/x.o=3")
	quiet(t, b, a)
	b.problems(0)
	b.Close()
	b.open()
	quiet(t, b)

	// The folder of that name is this one again, and a file put there lives.
	a.write("p/new.c", "5")
	a.sync()
	b.sync()
	b.problems(0)
	b.wantFiles(".signetignore=*.o\ncache/\n", "p/new.c=5", "p/q/cache/deep/z=4", "p/x.o=3")
	b.write("p/q/more.c", "6")
	b.sync()
	a.sync()
	a.wantFiles(".signetignore=*.o\ncache/\n", "p/new.c=5", "p/q/more.c=6")
	a.rm("p")
	a.sync()
	b.rm("p/q/cache")
	b.rm("p/x.o")
	b.sync()
	if b.has("p")() {
		t.Errorf("the folder stays empty: %q", b.files())
	}
}

func TestFolderMovesWithWhatIsIgnored(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "/old/out/\n*.o\n", "old/x.c", "1")
	b.write("old/x.o", "2")
	b.write("old/out/y", "3")
	quiet(t, b)
	a.mv("old", "new")
	a.sync()
	if c := b.sync(); c.Moves != 1 || c.FilesDown != 0 {
		t.Errorf("cost %+v", c)
	}
	// What is not ignored any more where it is now is sent.
	b.wantFiles(".signetignore=/old/out/\n*.o\n", "new/out/y=3", "new/x.c=1", "new/x.o=2")
	a.sync()
	a.wantFiles(".signetignore=/old/out/\n*.o\n", "new/out/y=3", "new/x.c=1")
	a.mv("new", "old")
	a.sync()
	b.sync()
	quiet(t, a, b)
	b.wantFiles(".signetignore=/old/out/\n*.o\n", "old/out/y=3", "old/x.c=1", "old/x.o=2")
	a.wantRegion(rulesFile, "old/out/y", "old/x.c")
}

func TestMoveToWhereItIsIgnoredDeletesNothing(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "build/\n*.o\n", "x.c", "1", "src/y", "2", "z", "3")
	must(t, os.MkdirAll(a.path("build/in"), 0o755))
	quiet(t, a)
	a.mv("x.c", "x.o")
	a.mv("src", "build/in/src")
	a.mv("z", "build/z")
	if c := a.sync(); c.Deletes != 0 || c.FilesDown != 3 {
		t.Errorf("cost %+v", c)
	}
	a.problems(3)
	for _, p := range a.Engine.VolumeStatus(a.Engine.Volumes()[0].ID).Problems {
		if p.Kind != "moved_to_ignored" || p.Hint == "" {
			t.Errorf("status says %+v", p)
		}
	}
	a.wantFiles(".signetignore=build/\n*.o\n", "build/in/src/y=2", "build/z=3", "src/y=2", "x.c=1", "x.o=1", "z=3")
	quiet(t, a, b)
	a.problems(0)
	// What is deleted then is deleted.
	a.rm("z")
	if c := a.sync(); c.Deletes != 1 {
		t.Errorf("cost %+v", c)
	}
	// A second name of what was deleted is no move.
	must(t, os.Link(a.path("x.c"), a.path("build/link")))
	quiet(t, a)
	a.rm("x.c")
	if c := a.sync(); c.Deletes != 1 {
		t.Errorf("cost %+v", c)
	}
}

func TestGuardCountsNothingThatIsIgnored(t *testing.T) {
	var files []string
	for i := range 150 {
		files = append(files, fmt.Sprintf("build/%d", i), fmt.Sprint(i))
	}
	a, b := ruledPair(t, append(files, "x", "1", "y", "2")...)
	a.write(rulesFile, "build/\n")
	a.sync()
	b.sync()
	a.rm("build")
	a.write("x", "3")
	a.sync()
	b.sync()
	for _, d := range []*device{a, b} {
		if n := d.Engine.VolumeStatus(d.Engine.Volumes()[0].ID).HeldDeletes; n != 0 {
			t.Errorf("%d deletions held", n)
		}
	}
	if n := len(b.inRegion()); n != 153 {
		t.Errorf("the region has %d files", n)
	}
	if !b.has("build/149")() {
		t.Error("another device lost what is ignored")
	}
}

func TestBadRulesAreProblemsAndStopNothing(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "*.o\n[oops\n", "x", "1")
	a.problems(1)
	if p := a.Engine.VolumeStatus(a.Engine.Volumes()[0].ID).Problems[0]; p.Kind != "ignore_rule" || p.Path != rulesFile || !strings.Contains(p.Message, `line 2, "[oops"`) {
		t.Errorf("status says %+v", p)
	}
	a.write("y.o", "2")
	a.write("z", "3")
	a.sync()
	b.sync()
	b.wantRegion(rulesFile, "x", "z")
	// What cannot be read leaves the rules as they were.
	for what, make := range map[string]func(){
		"large":  func() { a.write(rulesFile, strings.Repeat("#", 70<<10)) },
		"a link": func() { must(t, os.Symlink("x", a.path(rulesFile))) },
		"folder": func() { must(t, os.Mkdir(a.path(rulesFile), 0o755)) },
	} {
		a.rm(rulesFile)
		make()
		a.sync()
		a.problems(2)
		b.sync()
		if slices.Contains(b.inRegion(), "y.o") {
			t.Errorf("%s: what is ignored was sent", what)
		}
	}
}

// TestDaemonLeavesOutWhatIsIgnored has a daemon whose watch does not enter what
// is ignored, and rules that come and go meanwhile.
func TestDaemonLeavesOutWhatIsIgnored(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "build/\n*.log\n", "x", "1", "src/y", "2")
	stop := a.run()
	a.settled()
	for i := range 50 {
		a.write(fmt.Sprintf("build/%d/o", i), "3")
		a.write(fmt.Sprintf("%d.log", i), "3")
	}
	a.write("z", "4")
	b.run()
	b.eventually("has z", b.has("z"))
	a.settled()
	a.wantRegion(rulesFile, "src/y", "x", "z")

	// A move out of sight is no deletion; a deletion is one, and not sought for.
	a.mv("src", "build/src")
	a.eventually("has src again", a.has("src/y"))
	a.settled()
	a.wantRegion(rulesFile, "src/y", "x", "z")
	a.rm("x")
	b.eventually("lost x", func() bool { return !b.has("x")() })

	// Other rules hold at once, on both.
	b.write(rulesFile+".new", "*.log\n")
	b.mv(rulesFile+".new", rulesFile)
	b.eventually("has what was ignored", b.has("build/49/o"))
	a.write("build/new", "5")
	b.eventually("has what came after", b.has("build/new"))
	a.write(rulesFile, "build/\n*.log\n")
	b.eventually("has the rules", b.says(rulesFile, "build/\n*.log\n"))
	a.settled()
	b.settled()
	a.rm("build")
	a.write("last", "6")
	b.eventually("has the last", b.has("last"))
	if !b.has("build/49/o")() || !b.has("build/src/y")() {
		t.Error("what is ignored was deleted on another device")
	}
	stop()
	if c := a.counters(); c.Deletes != 1 {
		t.Errorf("counters %+v", c)
	}
}

// TestSavingTheRulesIsNotLosingThem has an editor that removes the file, and
// writes it again a moment later.
func TestSavingTheRulesIsNotLosingThem(t *testing.T) {
	a, _ := ruledPair(t, rulesFile, "*.o\n", "x", "1")
	a.write("y.o", "2")
	a.write("z", "3")
	a.rm(rulesFile)
	a.afterNextEntry(func() { a.write(rulesFile, "*.o\n") })
	a.sync()
	a.wantRegion(rulesFile, "x", "z")
	// One that stays away is deleted, and its rules end.
	a.rm(rulesFile)
	a.sync()
	a.wantRegion("x", "y.o", "z")
}

func TestRulesTellCaseOnEveryDisk(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	a.strangely(tree.Caps{Key: strings.ToLower}, false)
	a.write(rulesFile, "build/\n")
	a.write("Build/x", "1")
	a.add("Work")
	a.sync()
	a.wantRegion(rulesFile, "Build/x")
}

// Rules that something else of their name keeps under another name on this disk are
// none once that is gone here, and not still to come.
func TestRulesThatHaveAnotherNameHereAreNone(t *testing.T) {
	a, b := ruledPair(t, "t/skip", "1", "skip", "2")
	a.write(rulesFile, "skip\n")
	b.mv("t", rulesFile)
	b.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	a.wantFiles(".signetignore CC=skip\n", ".signetignore/skip=1", "skip=2")
	a.rm(rulesFile) // the folder
	a.write("new/skip", "3")
	a.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	a.wantFiles(".signetignore CC=skip\n", ".signetignore/skip=1", "new/skip=3", "skip=2")
	quiet(t, a, b)
}
