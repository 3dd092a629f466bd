//go:build !portable

package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// quick is a rhythm for tests.
var quick = rhythm{names: 100 * time.Millisecond, contents: 300 * time.Millisecond, restless: time.Minute}

// long ago is when folders changed last that tests want to be cold.
var longAgo = time.Now().Add(-1000 * time.Hour)

// fewWatches is where a test runs again, in a user namespace of its own: what it
// says there of limits holds for nobody else.
const fewWatches = "SIGNET_FEW_WATCHES"

// allow sets one of the limits of the namespace that the test runs in. Those under
// /proc/sys/fs are the whole system's, whoever writes there.
func (b *box) allow(what string, n int) {
	b.t.Helper()
	b.must(os.WriteFile("/proc/sys/user/max_inotify_"+what, fmt.Appendln(nil, n), 0o644))
}

// underLimits runs a test where the kernel gives so few watches and instances. It
// gets the limit to tell newWatcher where the kernel does not let us, and otherwise
// 0.
func underLimits(t *testing.T, watches, instances int, test func(t *testing.T, b *box, limit int)) {
	t.Helper()
	if os.Getenv(fewWatches) != "" {
		b := newBox(t, t.TempDir())
		b.allow("watches", watches)
		b.allow("instances", instances)
		test(t, b, 0)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), fewWatches+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Logf("no user namespace (%v): the limit is the test's own", err)
		if instances == 0 {
			watches = -1
		}
		test(t, newBox(t, t.TempDir()), watches)
		return
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// folders makes folders of which each has a file, all of them cold.
func (b *box) folders(names ...string) {
	b.t.Helper()
	for _, n := range names {
		b.write(n+"/f", "first")
	}
	b.chill()
}

// chill makes every folder look as if nothing had changed in it for long.
func (b *box) chill() {
	b.t.Helper()
	b.must(filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && !strings.Contains(path, private) {
			err = os.Chtimes(path, longAgo, longAgo)
		}
		return err
	}))
}

// few is a watcher in a hurry, whose events nobody reads yet.
func (b *box) few(limit int) *watcher {
	b.t.Helper()
	w := b.bare(limit)
	w.rhythm = quick
	w.poll.names.every, w.poll.contents.every = quick.names, quick.contents
	w.poll.names.due, w.poll.contents.due = time.Now(), time.Now()
	return w
}

func (b *box) begin(w *watcher) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	return &watch{box: b, events: w.start(ctx)}
}

// watchedBy lists the folders that have a watch. Nothing may run yet.
func watchedBy(w *watcher) (list []string) {
	for wd, n := range w.nodes {
		if p, ok := w.path(n); ok && n.wd == wd {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

func names(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%02d", prefix, i))
	}
	return list
}

func TestFewWatchesGoToTheHottestFoldersAndTheRestIsPolled(t *testing.T) {
	underLimits(t, 6, 1, func(t *testing.T, b *box, limit int) {
		cold, hot := names("cold", 30), names("hot", 5)
		b.folders(append(cold, hot...)...)
		for i, h := range hot {
			at := time.Now().Add(-time.Duration(i) * time.Hour)
			b.must(os.Chtimes(b.path(h), at, at))
		}
		w := b.few(limit)
		if got := watchedBy(w); !slices.Equal(got, append([]string{""}, hot...)) {
			t.Fatalf("watched are %v", got)
		}
		have, want, err := b.Watches()
		if have != 6 || want != 36 || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("watches %d of %d, %v", have, want, err)
		}
		if limit == 0 {
			if p := b.Polls(); p.Folders != 30 || p.Limit != (Limit{nsWatches, 6}) {
				t.Errorf("polls %+v", p)
			}
		}
		r := b.begin(w)
		b.write("hot03/new", "x")
		r.want("hot03/new", Closed)
		b.write("cold17/new", "x")
		r.want("cold17", Inside)
		b.must(os.Remove(b.path("cold18/f")))
		r.want("cold18", Inside)
		b.must(os.Mkdir(b.path("cold19/sub"), 0o755))
		r.want("cold19", Inside)
		b.write("cold19/sub/deep", "x")
		r.want("cold19/sub", Inside)
		b.must(os.WriteFile(b.path("cold20/f"), []byte("where it is"), 0o644))
		r.want("cold20", Inside)
		b.must(os.Chmod(b.path("cold21"), 0o700)) // this the folder that it is in tells
		r.want("cold21", Meta)
	})
}

func TestAFolderThatTurnsOutHotTakesTheWatchOfTheColdest(t *testing.T) {
	underLimits(t, 4, 1, func(t *testing.T, b *box, limit int) {
		b.folders("a", "b", "c", "d", "e")
		for i, n := range []string{"a", "b", "c"} { // a is the hottest
			at := longAgo.Add(time.Duration(10-i) * time.Hour)
			b.must(os.Chtimes(b.path(n), at, at))
		}
		w := b.few(limit)
		if got := watchedBy(w); !slices.Equal(got, []string{"", "a", "b", "c"}) {
			t.Fatalf("watched are %v", got)
		}
		r := b.begin(w)
		b.write("e/found", "by a poll")
		r.want("e", Inside)
		// Its second file it tells of itself, and c is polled.
		b.write("e/second", "x")
		r.want("e/second", Closed)
		b.write("c/found", "by a poll")
		r.want("c", Inside)
		b.write("a/new", "x")
		r.until("of a", func(e Event) bool {
			if e.Kind == Inside && e.Path == "a" {
				t.Error("a lost its watch")
			}
			return e == Event{"a/new", Closed}
		})
		if have, want, _ := b.Watches(); have != 4 || want != 6 {
			t.Errorf("watches %d of %d", have, want)
		}
	})
}

// A folder in which something happened a moment ago keeps its watch: if all of
// them are such, taking turns would cost much and help nobody.
func TestHotFoldersDoNotTakeTurns(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.folders(names("d", 20)...)
	w := b.few(5)
	now := time.Now()
	for _, n := range w.nodes {
		n.heat = now.UnixNano()
	}
	if w.room(now.Add(quick.restless / 2)) {
		t.Error("a hot folder lost its watch")
	}
	if !w.room(now.Add(2 * quick.restless)) {
		t.Error("no folder ever loses its watch")
	}
	if w.root.poll != nil {
		t.Error("the volume's own folder lost its watch")
	}
}

// When the limit is raised nobody needs to be told.
func TestARaisedLimitIsUsed(t *testing.T) {
	underLimits(t, 5, 1, func(t *testing.T, b *box, limit int) {
		const n = 100
		b.folders(names("d", n)...)
		w := b.few(limit)
		if have, want, _ := b.Watches(); have != 5 || want != n+1 {
			t.Fatalf("watches %d of %d", have, want)
		}
		if limit > 0 {
			w.limit = b.Polls().Limit.Enough(n)
		} else {
			b.allow("watches", b.Polls().Limit.Enough(n-4))
		}
		r := b.begin(w)
		r.until("a scan", func(e Event) bool { return e.Kind == Overflow })
		if have, want, err := b.Watches(); have != n+1 || want != n+1 || err != nil || b.Polls().Folders != 0 {
			t.Errorf("watches %d of %d, %v", have, want, err)
		}
		b.write("d77/new", "x")
		r.want("d77/new", Closed)
	})
}

func TestWithoutAnInstanceEverythingIsPolled(t *testing.T) {
	underLimits(t, 100, 0, func(t *testing.T, b *box, limit int) {
		b.folders("a", "b/c")
		w := b.few(limit)
		have, want, err := b.Watches()
		if have != 0 || want != 4 || !errors.Is(err, unix.EMFILE) || limit == 0 && b.Polls().Limit != (Limit{nsInstances, 0}) {
			t.Errorf("watches %d of %d, %v, %+v", have, want, err, b.Polls())
		}
		r := b.begin(w)
		b.write("top", "x")
		r.want("", Inside)
		b.write("b/c/new", "x")
		r.want("b/c", Inside)
		b.must(os.Rename(b.dir, b.dir+".away"))
		r.want("", RootGone)
		b.must(os.Rename(b.dir+".away", b.dir))
		if limit < 0 {
			return
		}
		b.allow("instances", 1)
		b.must(os.MkdirAll(b.path("later"), 0o755))
		r.until("watched", func(e Event) bool { have, want, _ := b.Watches(); return have == want })
		if have, want, err := b.Watches(); have != 5 || want != 5 || err != nil {
			t.Errorf("watches %d of %d, %v", have, want, err)
		}
		b.write("b/c/newer", "x")
		r.want("b/c/newer", Closed)
	})
}

// hotAlone is a volume in which the folder hot is watched, cold and cold/sub are not,
// and nobody looks at them but for a reason.
func hotAlone(t *testing.T) (*box, *watcher) {
	t.Helper()
	b := newBox(t, t.TempDir())
	b.folders("cold/sub", "hot")
	w := b.few(2)
	if got := watchedBy(w); !slices.Equal(got, []string{"", "hot"}) {
		// Both were made in the same moment: have it as the test wants it.
		for _, n := range w.poll.nodes {
			if n.name == "hot" {
				n.heat = time.Now().UnixNano()
			}
		}
		w.choose()
		w.below(context.Background(), "", w.root, false)
	}
	if got := watchedBy(w); !slices.Equal(got, []string{"", "hot"}) {
		t.Fatalf("watched are %v", got)
	}
	w.rhythm.names, w.poll.names.every = time.Hour, time.Hour
	w.poll.names.due = time.Now().Add(time.Hour)
	return b, w
}

// What leaves a watched folder for no place of the volume is told once a look found
// it nowhere.
func TestWhatLeavesTheVolumeIsTold(t *testing.T) {
	b, w := hotAlone(t)
	b.write("hot/g", "x")
	r := b.begin(w)
	b.must(os.Rename(b.path("hot/g"), b.dir+".left"))
	r.want("hot/g", Left)
}

// Where a folder or file goes from where a watch is to where none is, both of its
// names are reported together: it was moved, not deleted.
func TestAMoveToWhereNobodyWatchesIsOne(t *testing.T) {
	b, w := hotAlone(t)
	b.must(os.Mkdir(b.path("hot/x"), 0o755))
	b.write("hot/x/f", "x")
	r := b.begin(w)
	for _, name := range []string{"f", "x"} {
		b.must(os.Rename(b.path("hot/"+name), b.path("cold/sub/"+name)))
		told := false
		r.until("both", func(e Event) bool {
			// What was found changed by a look may have taken the watch of hot: then
			// it is the other way round.
			told = told || e == Event{"cold/sub", Inside} || e == Event{"cold/sub/" + name, MovedTo}
			if e == (Event{"hot/" + name, Left}) && !told {
				t.Errorf("that %s left was told alone", name)
			}
			return e == Event{"hot/" + name, Left} || told && e == Event{"hot", Inside}
		})
	}
}

// A follower knows the folder by its first look and by what the watch says, as a
// reader of events does.
type follower struct {
	*watch
	known map[string]tree.Stat
}

// see takes in what lies at a path, and all below it if it is new there, or deep.
func (f *follower) see(path string, s tree.Stat, deep bool) {
	old, ok := f.known[path]
	if ok && (old.Inode != s.Inode || old.Birth != s.Birth) {
		f.lose(path)
		ok = false
	}
	f.known[path] = s
	if s.Type == tree.Dir && (deep || !ok) {
		f.list(path, true)
	}
}

func (f *follower) lose(path string) {
	maps.DeleteFunc(f.known, func(p string, _ tree.Stat) bool { return p == path || strings.HasPrefix(p, path+"/") })
}

func (f *follower) list(path string, deep bool) {
	l := f.List(path)
	if l.Err != nil && !errors.Is(l.Err, ErrChanging) {
		return
	}
	there := map[string]bool{}
	for _, e := range l.Entries {
		p := join(path, e.Name)
		there[p] = true
		f.see(p, e.Stat, deep)
	}
	for p := range f.known {
		if dir, _ := split(p); dir == path && !there[p] && l.Err == nil {
			f.lose(p)
		}
	}
}

func (f *follower) event(e Event) {
	switch e.Kind {
	case Overflow:
		f.list("", true)
	case Inside:
		f.list(e.Path, false)
	default:
		s, err := f.Stat(e.Path)
		if err != nil {
			f.lose(e.Path)
			return
		}
		f.see(e.Path, s, e.Kind == MovedTo)
	}
}

// shows is what there is: names, kinds, sizes, times of files.
func (f *follower) shows() string {
	var lines []string
	for p, s := range f.known {
		if s.Type == tree.Dir {
			lines = append(lines, p+"/")
		} else {
			lines = append(lines, fmt.Sprint(p, " ", s.Size, " ", s.MTime, " ", s.Inode))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Whatever happens, whoever follows the events knows everything in the end, and
// the watches are as many as there may be.
func TestNothingIsMissedWhateverIsWatched(t *testing.T) {
	for seed := range uint64(4) {
		onEach(t, func(t *testing.T, b *box) {
			rng := rand.New(rand.NewPCG(seed, 0))
			dirs := func() (list []string) {
				filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						if d.Name() == private {
							return filepath.SkipDir
						}
						list = append(list, path)
					}
					return nil
				})
				return list
			}
			pick := func() string { l := dirs(); return l[rng.IntN(len(l))] }
			name := func() string { return string(rune('a' + rng.IntN(6))) }
			for range 40 {
				os.Mkdir(filepath.Join(pick(), name()), 0o755)
			}
			b.chill()
			w := b.few(8)
			w.rhythm.restless = time.Duration(rng.IntN(2)) * time.Minute
			f := &follower{b.begin(w), map[string]tree.Stat{}}
			f.list("", true)
			for range 300 {
				p := filepath.Join(pick(), name())
				switch rng.IntN(10) {
				case 0, 1:
					os.Mkdir(p, 0o755)
				case 2, 3:
					os.WriteFile(p+".f", []byte(name()), 0o644)
				case 4, 5: // where it is
					if file, err := os.OpenFile(p+".f", os.O_WRONLY|os.O_APPEND, 0); err == nil {
						file.WriteString(name())
						file.Close()
					}
				case 6, 7:
					to := filepath.Join(pick(), name())
					if !strings.HasPrefix(to, p) {
						os.Rename(p, to)
						os.Rename(p+".f", to+".f")
					}
				case 8:
					os.Remove(p + ".f")
				case 9:
					if rng.IntN(4) == 0 {
						os.RemoveAll(p)
					}
				}
				for rng.IntN(3) > 0 {
					select {
					case e := <-f.events:
						f.event(e)
					case <-time.After(time.Millisecond): // nothing waits
					}
				}
			}
			end := time.After(20 * time.Second)
			check := time.NewTicker(20 * time.Millisecond)
			defer check.Stop()
			for {
				select {
				case e := <-f.events:
					f.event(e)
					continue
				case <-check.C:
				case <-end:
					truth := &follower{f.watch, map[string]tree.Stat{}}
					truth.list("", true)
					have, want, _ := b.Watches()
					t.Fatalf("seed %d: %d watched and %d polled of %d folders (-there +known)\n%s", seed, have, want-have, len(dirs()),
						cmp.Diff(strings.Split(truth.shows(), "\n"), strings.Split(f.shows(), "\n")))
				}
				truth := &follower{f.watch, map[string]tree.Stat{}}
				truth.list("", true)
				have, want, _ := b.Watches()
				if f.shows() == truth.shows() && have+b.Polls().Folders == want && want == len(dirs()) {
					break
				}
			}
		})
	}
}

// Each look has its share of a processor, however long it takes.
func TestPollsTakeNoMoreThanTheirShare(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.folders("a", "b")
	w := b.few(1)
	ctx, now := context.Background(), time.Now()
	w.polled(ctx, round{names: true, took: time.Second})
	if wait := w.poll.names.due.Sub(now); wait < 49*time.Second || wait > 51*time.Second {
		t.Errorf("names are looked at again after %s", wait)
	}
	w.polled(ctx, round{took: time.Second})
	if wait := w.poll.contents.due.Sub(now); wait < 49*time.Second || wait > 51*time.Second {
		t.Errorf("contents are looked at again after %s", wait)
	}
	// What makes it look sooner has a share as well.
	w.hurry(now)
	if wait := w.poll.names.due.Sub(now); wait < 9*time.Second || wait > 11*time.Second {
		t.Errorf("in a hurry names are looked at again after %s", wait)
	}
	if p := b.Polls(); p.Names < 49*time.Second || p.Contents < 49*time.Second {
		t.Errorf("status would say %+v", p)
	}
}

func TestEnoughIsMoreThanIsUsedAndLacking(t *testing.T) {
	for _, c := range []struct {
		limit   Limit
		lacking int
		want    int
	}{
		{Limit{maxWatches, 8192}, 1, 16384},
		{Limit{maxWatches, 190_000}, 60_000, 270_336},
		{Limit{maxWatches, 1<<31 - 2}, 60_000, 1<<31 - 1},
		{Limit{maxInstances, 128}, 1, 256},
		{Limit{nsWatches, 20}, 41, 8192},
	} {
		if got := c.limit.Enough(c.lacking); got != c.want {
			t.Errorf("%+v lacking %d: %d, want %d", c.limit, c.lacking, got, c.want)
		}
	}
}
