package owner_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/owner"
)

// take asks a device what a command asks, and takes the result, or all lines.
func (d *device) take(method string, params, out any) error {
	d.t.Helper()
	raw, ui, err := d.call(method, params)
	if err != nil || out == nil {
		return err
	}
	if len(ui.items) > 0 {
		if raw, err = json.Marshal(ui.items); err != nil {
			return err
		}
	}
	if string(raw) != "{}" {
		err = json.Unmarshal(raw, out)
	}
	return err
}

// choose selects paths of the device's folder, or unselects them.
func (d *device) choose(remove bool, siblings string, paths ...string) (c owner.Chosen) {
	d.t.Helper()
	p := owner.SelectParams{Remove: remove, Siblings: siblings}
	for _, s := range paths {
		p.Paths = append(p.Paths, d.path(s))
	}
	must(d.t, d.take("select", p, &c))
	return c
}

// unselected is what select list says, in short.
func (d *device) unselected() (l []string) {
	d.t.Helper()
	var lines []owner.Unselected
	must(d.t, d.take("select.list", struct{}{}, &lines))
	for _, u := range lines {
		s := strings.TrimPrefix(strings.TrimPrefix(u.Path, d.dir), "/")
		if u.Selected {
			s += "/*"
		}
		if u.Here {
			s += " here"
		}
		l = append(l, s)
	}
	return l
}

func (d *device) wantUnselected(want ...string) {
	d.t.Helper()
	if got := d.unselected(); !slices.Equal(got, want) {
		d.t.Fatalf("not selected: %q, want %q", got, want)
	}
}

// wantNoTrash fails where the trash has anything: what goes makes room.
func (d *device) wantNoTrash() {
	d.t.Helper()
	if l, _ := os.ReadDir(d.path(".signet/trash")); len(l) > 0 {
		d.t.Errorf("the trash has %v", l)
	}
}

func TestUnselectedFolderGoesFromOneDeviceAlone(t *testing.T) {
	a, b := ruledPair(t, "keep/x", "1", "big/y", "22", "big/deep/z", "333")
	entries := a.Engine.Regions()[0].Entries
	if c := a.choose(true, "", "big"); c.Files != 2 || c.Bytes != 5 || !c.Paths[0].Changed {
		t.Errorf("chosen %+v", c)
	}
	a.wantUnselected("big here")
	if c := a.sync(); c.Released != 2 || c.Deletes != 0 || c.Entries != 0 {
		t.Errorf("it cost %+v", c)
	}
	a.wantFiles("keep/x=1")
	a.wantNoTrash()
	a.wantUnselected("big")
	if s := a.Engine.Status()[0]; s.Unselected != 1 || s.State != engine.InStep || len(s.Problems) > 0 {
		t.Errorf("status %+v", s)
	}
	quiet(t, a, b)
	b.wantFiles("big/deep/z=333", "big/y=22", "keep/x=1")
	if n := b.Engine.Regions()[0].Entries; n != entries {
		t.Errorf("the journal has %d entries, had %d", n, entries)
	}
	// Others go on there; a restart changes nothing; then it comes back.
	b.write("big/new", "4")
	b.sync()
	a.Close()
	a.open()
	quiet(t, a)
	a.wantFiles("keep/x=1")
	if c := a.choose(false, "", "big"); c.Files != 3 {
		t.Errorf("chosen %+v", c)
	}
	a.sync()
	same(t, a, b)
	a.wantUnselected()
}

func TestWhatIsUnsentIsSentBeforeItGoes(t *testing.T) {
	a, b := ruledPair(t, "d/x", "1", "d/y", "2")
	a.write("d/x", "edited")
	a.write("d/new", "3")
	a.choose(true, "", "d")
	if c := a.sync(); c.FilesUp != 2 || c.Released != 3 {
		t.Errorf("it cost %+v", c)
	}
	a.wantFiles()
	b.sync()
	b.wantFiles("d/new=3", "d/x=edited", "d/y=2")
}

func TestWhatIsIgnoredOrInUseKeepsItsPlace(t *testing.T) {
	a, b := ruledPair(t, rulesFile, "*.o\n", "d/x", "1", "d/e/y", "2")
	a.write("d/e/y.o", "a's own")
	f, err := os.OpenFile(a.path("d/x"), os.O_WRONLY, 0)
	must(t, err)
	a.choose(true, "", "d")
	a.sync()
	a.wantFiles(rulesFile+"=*.o\n", "d/e/y.o=a's own", "d/x=1")
	said := map[string]bool{}
	for _, p := range a.Engine.Status()[0].Problems {
		said[p.Kind+" "+p.Path] = true
	}
	if len(said) != 2 || !said["unselected d/e"] || !said["unselected d/x"] {
		t.Errorf("problems: %v", said)
	}
	// What the program saves at last is sent, and goes then.
	if _, err := f.WriteString("saved"); err != nil {
		t.Fatal(err)
	}
	must(t, f.Close())
	a.rm("d/e/y.o")
	a.sync()
	a.wantFiles(rulesFile + "=*.o\n")
	a.problems(0)
	b.sync()
	b.wantFiles(rulesFile+"=*.o\n", "d/e/y=2", "d/x=saved")
}

func TestPartsOfFoldersAndWhatIsNewInThem(t *testing.T) {
	a, b := ruledPair(t, "p/1/x", "1", "p/2/x", "2", "p/3/x", "3", "p/top", "t", "q/x", "q")
	b.choose(true, "", "p")
	b.sync()
	// One of what is not selected: what others put beside it later is not, either.
	b.choose(false, "", "p/2")
	b.wantUnselected("p/*", "p/1", "p/3", "p/top")
	b.sync()
	b.wantFiles("p/2/x=2", "q/x=q")
	a.write("p/4/x", "4")
	a.write("q/new", "n")
	a.sync()
	b.sync()
	b.wantFiles("p/2/x=2", "q/new=n", "q/x=q")
	b.wantUnselected("p/*", "p/1", "p/3", "p/4", "p/top")
	// What is made here is selected, and what becomes of it is sent.
	b.write("p/mine/x", "m")
	quiet2(t, b, a)
	b.wantFiles("p/2/x=2", "p/mine/x=m", "q/new=n", "q/x=q")
	b.rm("p/mine")
	quiet2(t, b, a)
	a.wantFiles("p/1/x=1", "p/2/x=2", "p/3/x=3", "p/4/x=4", "p/top=t", "q/new=n", "q/x=q")
	// The other way round.
	b.choose(false, "on", "p/3")
	b.wantUnselected("p/1", "p/4", "p/top")
	a.write("p/5/x", "5")
	a.sync()
	b.sync()
	b.wantFiles("p/2/x=2", "p/3/x=3", "p/5/x=5", "q/new=n", "q/x=q")
	b.choose(true, "off", "p/5")
	a.write("p/6/x", "6")
	a.sync()
	b.sync()
	b.wantFiles("p/2/x=2", "p/3/x=3", "q/new=n", "q/x=q")
	// The choice is about nodes, whatever they and their folders are called.
	a.mv("p/1", "p/one")
	a.mv("p", "q/p")
	a.sync()
	b.sync()
	b.wantFiles("q/new=n", "q/p/2/x=2", "q/p/3/x=3", "q/x=q")
	b.wantUnselected("q/p/*", "q/p/4", "q/p/5", "q/p/6", "q/p/one", "q/p/top")
	b.choose(false, "", "q/p")
	b.wantUnselected()
	b.sync()
	same(t, a, b)
}

// quiet2 lets a, then b, sync, as often as it takes what came of it to settle.
func quiet2(t *testing.T, a, b *device) {
	t.Helper()
	a.sync()
	b.sync()
	a.sync()
}

func TestFolderThatBeginsWithAPart(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("p/1/x", "1")
	a.write("p/2/x", "2")
	a.write("q/x", "q")
	a.write(rulesFile, "*.o\n")
	a.add("Work")
	a.sync()
	b.write("q/other", "b's")
	add := func(more owner.AddParams) (r owner.Added, err error) {
		more.Dir, more.Region = b.dir, "Work"
		err = b.take("add", more, &r)
		return r, err
	}
	if _, err := add(owner.AddParams{Only: []string{"p/2"}}); err == nil || !strings.Contains(err.Error(), "q is there") {
		t.Fatalf("a folder that holds what is not selected: %v", err)
	}
	if _, err := add(owner.AddParams{Only: []string{"nope"}}); err == nil || !strings.Contains(err.Error(), "nothing of that name") {
		t.Fatalf("what is not there: %v", err)
	}
	b.rm("q")
	if r, err := add(owner.AddParams{Only: []string{"p/2"}}); err != nil || r.Unselected != 2 {
		t.Fatalf("added %+v, %v", r, err)
	}
	if c := b.sync(); c.FilesDown != 2 {
		t.Errorf("it cost %+v", c)
	}
	b.wantFiles(rulesFile+"=*.o\n", "p/2/x=2")
	b.wantUnselected("/*", "p/*", "p/1", "q")
	a.write("new/x", "n")
	a.write(rulesFile, "*.o\n*.tmp\n")
	a.sync()
	b.sync()
	b.wantFiles(rulesFile+"=*.o\n*.tmp\n", "p/2/x=2")
}

func TestRelinkedFolderKeepsItsSelection(t *testing.T) {
	a, b := ruledPair(t, "p/x", "1", "q/x", "q")
	b.choose(true, "", "p")
	b.sync()
	moved := b.dir + "-moved"
	must(t, os.Rename(b.dir, moved))
	b.dir = moved
	must(t, b.take("add", owner.AddParams{Dir: b.dir, Region: "Work", Relink: true}, nil))
	quiet2(t, b, a)
	b.wantFiles("q/x=q")
	b.wantUnselected("p")
	// One that has what was not selected has all of it: it is joined by content.
	b.write("p/x", "1")
	must(t, b.take("add", owner.AddParams{Dir: b.dir, Region: "Work", Relink: true}, nil))
	quiet2(t, b, a)
	b.wantUnselected()
	same(t, a, b)
	a.wantFiles("p/x=1", "q/x=q")
}

func TestFilesOfUnselectedNamesAndMoves(t *testing.T) {
	a, b := ruledPair(t, "d/x", "1", "s/y", "2")
	b.choose(true, "", "d")
	b.sync()
	// Another folder of that name is another one, on all devices.
	b.write("d/x", "b's")
	quiet2(t, b, a)
	b.wantFiles("d CC/x=b's", "s/y=2")
	a.wantFiles("d CC/x=b's", "d/x=1", "s/y=2")
	// What others move there goes from here, what they take from there comes.
	must(t, os.Rename(a.path("s/y"), a.path("d/y")))
	must(t, os.Rename(a.path("d/x"), a.path("s/x")))
	a.sync()
	if c := b.sync(); c.Deletes != 0 {
		t.Errorf("it cost %+v", c)
	}
	b.wantFiles("d CC/x=b's", "s/x=1")
	// Renamed and deleted elsewhere it is neither.
	must(t, os.Rename(a.path("d"), a.path("e")))
	a.sync()
	b.sync()
	b.wantUnselected("e")
	a.rm("e")
	quiet2(t, a, b)
	b.wantUnselected()
	b.wantFiles("d/x=b's", "s/x=1") // the name is free
	same(t, a, b)
}

func TestLostObjectsAreSentAgainBeforeAFileGoes(t *testing.T) {
	a, b := ruledPair(t, "d/x", strings.Repeat("only here", 1000), "z", "2")
	service := &forgetful{Service: a.Engine.Service}
	a.Engine.Service = service
	a.choose(true, "", "d")
	if c := a.sync(); c.FilesUp != 1 || c.Released != 1 || len(service.gone) == 0 {
		t.Errorf("it cost %+v", c)
	}
	a.wantFiles("z=2")
	a.choose(false, "", "d")
	a.sync()
	b.sync()
	same(t, a, b)
}

// forgetful is a service that has lost the first objects that it is asked for.
type forgetful struct {
	engine.Service
	gone map[signet.ObjectID]bool
}

func (f *forgetful) Have(_ context.Context, _ signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	if f.gone == nil {
		f.gone = map[signet.ObjectID]bool{}
		for _, id := range ids {
			f.gone[id] = true
		}
	}
	for _, id := range ids {
		if f.gone[id] {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

func TestNothingGoesWhileTheServiceIsAway(t *testing.T) {
	a, _ := ruledPair(t, "d/x", "1")
	a.choose(true, "", "d")
	a.Engine.Service = mute{a.Engine.Service}
	if _, err := a.Engine.SyncVolume(t.Context(), a.Engine.Volumes()[0].ID); !errors.Is(err, signet.ErrUnavailable) {
		t.Errorf("nobody says what the service has: %v", err)
	}
	a.wantFiles("d/x=1")
}

// mute is a service that does not say what it has.
type mute struct{ engine.Service }

func (mute) Have(context.Context, signet.RegionID, []signet.ObjectID) ([]signet.ObjectID, error) {
	return nil, signet.ErrUnavailable
}

// The loop and whoever chooses share what is selected.
func TestChoicesWhileTheDaemonWorks(t *testing.T) {
	a, b := ruledPair(t, "d/x", "1", "d/e/y", "2", "s/z", "3")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Engine.Run(ctx) }()
	id := b.Engine.Volumes()[0].ID
	for i := range 24 {
		b.choose(i%2 == 0, []string{"", "on", "off"}[i%3], []string{"d", "d/e", "s"}[i/2%3])
		if i%4 == 0 {
			if _, err := b.Engine.Settle(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			b.unselected()
		}
	}
	b.choose(false, "on", "s/z", "d/e/y")
	b.choose(true, "on", "d")
	if s, err := b.Engine.Settle(t.Context(), id); err != nil || s.Unselected != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	stop()
	must(t, <-ended)
	b.wantFiles("s/z=3")
	a.sync()
	a.wantFiles("d/e/y=2", "d/x=1", "s/z=3")
}

// A home that was restored from a backup knows nothing of what went since.
func TestOlderIndexDoesNotTakeWhatWentForDeleted(t *testing.T) {
	a, b := ruledPair(t, "d/x", "1", "d/y", "2", "s", "3")
	index := b.home.IndexFile(b.Account.Org)
	b.Close()
	old, err := os.ReadFile(index)
	must(t, err)
	b.open()
	b.choose(true, "", "d")
	b.sync()
	b.wantFiles("s=3")
	b.Close()
	for _, end := range []string{"-wal", "-shm"} {
		os.Remove(index + end)
	}
	must(t, os.WriteFile(index, old, 0o600))
	b.open()
	if c := b.sync(); c.Deletes != 0 || c.FilesDown != 2 {
		t.Errorf("it cost %+v", c)
	}
	quiet(t, a, b)
	a.wantFiles("d/x=1", "d/y=2", "s=3")
	same(t, a, b)
	// A deletion is one again.
	b.rm("d/x")
	b.sync()
	a.sync()
	a.wantFiles("d/y=2", "s=3")
}

// A mortal's process ends at one of the steps by which a file goes.
type mortal struct {
	engine.Volume
	left  *int
	after bool // the step was done
}

func (m mortal) step(do func() error) error {
	*m.left--
	if *m.left == 0 && !m.after {
		runtime.Goexit()
	}
	err := do()
	if *m.left == 0 {
		runtime.Goexit()
	}
	return err
}

func (m mortal) Trash(path string, e tree.Stat, id string) (old engine.Displaced, err error) {
	err = m.step(func() (err error) { old, err = m.Volume.Trash(path, e, id); return err })
	return mortalFile{old, m}, err
}

func (m mortal) RemoveDir(path string) error {
	return m.step(func() error { return m.Volume.RemoveDir(path) })
}

func (m mortal) Sync(ctx context.Context) error {
	return m.step(func() error { return m.Volume.Sync(ctx) })
}

type mortalFile struct {
	engine.Displaced
	m mortal
}

func (f mortalFile) Drop() error { return f.m.step(f.Displaced.Drop) }

// TestCrashWhileFilesGo ends the process at each step by which files go, and then
// goes on, or has them selected again before anybody looks. Nothing is deleted,
// and what was edited meanwhile is sent.
func TestCrashWhileFilesGo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("d/x", "1")
	a.write("d/e/y", "2")
	a.write("d/z", "3")
	a.write("s", "4")
	a.add("Work")
	a.sync()
	b.add("Work")
	b.sync()
	all := []string{"d/e/y=2", "d/x=1", "d/z=3", "s=4"}
	ends := 0
	for step := 1; step < 30; step++ {
		for _, how := range []string{"goes on", "selected again", "edited", "deleted"} {
			b.choose(true, "", "d")
			left := step
			open := b.Engine.OpenVolume
			b.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
				v, err := open(dir)
				return mortal{v, &left, step%2 == 0}, err
			}
			died := make(chan bool, 1)
			go func() {
				dead := true
				defer func() { died <- dead }()
				b.Engine.SyncVolume(context.Background(), b.Engine.Volumes()[0].ID)
				dead = false
			}()
			dead := <-died
			if dead {
				ends++
			}
			b.Close()
			b.open()
			edited := false
			switch how {
			case "selected again":
				b.choose(false, "", "d")
			case "edited":
				if _, err := os.Lstat(b.path("d/x")); err == nil {
					b.write("d/x", "edited")
					edited = true
				}
			case "deleted": // by its user, who has no use for it any more
				b.rm("d")
			}
			if c := b.sync(); c.Deletes > 0 {
				t.Fatalf("step %d, %s: %+v", step, how, c)
			}
			if how != "selected again" {
				b.wantFiles("s=4")
				b.choose(false, "", "d")
				b.sync()
			}
			a.sync()
			b.sync()
			if edited {
				a.wantFiles("d/e/y=2", "d/x=edited", "d/z=3", "s=4")
				a.write("d/x", "1")
				a.sync()
				b.sync()
			}
			a.wantFiles(all...)
			b.wantFiles(all...)
			if !dead && how == "deleted" {
				if ends < 4*8 {
					t.Errorf("%d ends in %d steps", ends, step)
				}
				return
			}
		}
	}
	t.Error("it never came to its end")
}
