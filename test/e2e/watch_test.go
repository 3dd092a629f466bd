package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A watchLimit is a user namespace with few watches that a test holds open. What is
// said of limits in it holds for nobody else, as long as it is said below
// /proc/sys/user: what is below /proc/sys/fs is the whole machine's.
type watchLimit struct {
	t   *testing.T
	pid int
}

func newWatchLimit(t *testing.T, watches int) *watchLimit {
	t.Helper()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", "echo here; exec sleep 3600")
	p, line := startProcess(t, cmd, filepath.Join(t.TempDir(), "log"))
	if line != "here" {
		t.Fatalf("no user namespace: %s", p.words())
	}
	l := &watchLimit{t, p.Process.Pid}
	l.set("user.max_inotify_watches", watches)
	return l
}

// enter is what comes before a command to have it run there.
func (l *watchLimit) enter() []string {
	return []string{"nsenter", "--target", strconv.Itoa(l.pid), "--user", "--preserve-credentials", "--"}
}

func (l *watchLimit) set(name string, value int) {
	l.t.Helper()
	if !strings.HasPrefix(name, "user.") {
		l.t.Fatalf("%s is the whole machine's", name)
	}
	file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	all := append(l.enter(), "sh", "-c", fmt.Sprintf("echo %d > %s", value, file))
	if out, err := exec.Command(all[0], all[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s = %d: %v\n%s", name, value, err, out)
	}
}

// watch is what status says of how a volume is watched.
type watch struct {
	Watched, Polled int
	Names           float64 `json:"names_seconds"`
	Contents        float64 `json:"contents_seconds"`
	Setting         *struct {
		Name          string
		Value, Enough int
		File          string
	}
}

func (d *device) watch() (w watch, problems []string) {
	d.t.Helper()
	var s struct {
		Volumes []struct {
			Watch    watch
			Problems []struct{ Kind, Message, Hint string }
		}
	}
	r := d.run("--json", "status")
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		d.t.Fatalf("%s: status: %v", d.name, err)
	}
	for _, p := range s.Volumes[0].Problems {
		problems = append(problems, p.Kind+"\n"+p.Message+"\n"+p.Hint)
	}
	return s.Volumes[0].Watch, problems
}

// Where the system has too few watches, folders in which something happens are as
// quick as ever, all others have a time that status says, and so is the setting
// that would do; which once it is set does.
func TestTooFewWatchesAreSaidAndMakeTheRestSlower(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	w := newWorld(t)
	limit := newWatchLimit(t, 12)
	one := w.deviceIn("one", limit.enter())
	two := w.device("two")
	long := time.Now().Add(-1000 * time.Hour)
	for i := range 40 {
		one.write(fmt.Sprintf("cold/%02d/f", i), "first")
		if err := os.Chtimes(filepath.Join(one.dir, fmt.Sprintf("cold/%02d", i)), long, long); err != nil {
			t.Fatal(err)
		}
	}
	one.write("hot/f", "first")
	one.add()
	two.add()
	one.up()
	two.up()
	one.ready()
	two.ready()
	wait(t, one, two)

	// The volume's folder, hot, cold, and nine of the forty.
	got, problems := one.watch()
	if got.Watched != 12 || got.Polled != 31 || got.Names <= 0 || got.Contents <= 0 || got.Setting == nil || len(problems) != 1 {
		t.Fatalf("status says %+v, %q", got, problems)
	}
	set := *got.Setting
	if set.Name != "user.max_inotify_watches" || set.Value != 12 || set.Enough < 12+31 {
		t.Errorf("status says %+v", set)
	}
	said := one.run("status").stdout
	for _, part := range []string{"12 of 43 folders are watched", fmt.Sprintf("sysctl %s=%d", set.Name, set.Enough), set.File} {
		if !strings.Contains(said, part) || !strings.Contains(problems[0], part) {
			t.Errorf("status does not say %q\n%s\n%s", part, said, problems[0])
		}
	}
	if !strings.HasPrefix(problems[0], "few_watches\n") {
		t.Errorf("problem %q", problems[0])
	}
	// All syncs: nobody is called for.
	one.run("status", "--check")
	if there, none := two.watch(); there.Polled != 0 || there.Watched != 43 || there.Setting != nil || len(none) != 0 {
		t.Errorf("status of the other device says %+v, %q", there, none)
	}

	arrives := func(name, content string, most time.Duration) {
		t.Helper()
		begun := time.Now()
		until(t, most, name+" at the other device", func() bool {
			b, _ := os.ReadFile(filepath.Join(two.dir, name))
			return string(b) == content
		})
		t.Logf("%s after %s", name, time.Since(begun).Round(time.Millisecond))
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	const slack = 2 * time.Second
	one.write("hot/new", "in a hot folder")
	arrives("hot/new", "in a hot folder", slack)
	// Of the forty, most are polled: all that changes in each of them comes in time.
	for i := range 40 {
		one.write(fmt.Sprintf("cold/%02d/new", i), "in a cold folder")
	}
	arrives("cold/39/new", "in a cold folder", seconds(2*got.Names)+slack)
	arrives("cold/00/new", "in a cold folder", seconds(2*got.Names)+slack)
	// Its content is one more time.
	one.write("cold/20/f", "where it is")
	one.write("cold/21/f", "where it is")
	arrives("cold/20/f", "where it is", seconds(2*got.Contents)+slack)
	arrives("cold/21/f", "where it is", seconds(2*got.Contents)+slack)

	limit.set(set.Name, set.Enough)
	until(t, seconds(2*got.Names)+slack, "all watched", func() bool {
		now, problems := one.watch()
		return now.Polled == 0 && now.Watched == 43 && now.Setting == nil && len(problems) == 0
	})
	one.write("cold/33/f", "watched")
	arrives("cold/33/f", "watched", slack)
	wait(t, one, two)
	agree(t, one, two)
}
