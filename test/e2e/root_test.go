package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// untouched says that the others have everything and that nothing was deleted.
func untouched(t *testing.T, want map[string]entry, other *device) {
	t.Helper()
	if c := other.sync(); c.Deletes != 0 || c.Moves != 0 {
		t.Errorf("the other device did %+v", c)
	}
	sameTree(t, "the other device", want, treeOf(t, other.dir))
}

// stopped says that status names a volume's trouble.
func (d *device) stopped(words ...string) {
	d.t.Helper()
	vs := d.status()
	if len(vs) != 1 || vs[0].HeldDeletes != 0 {
		d.t.Fatalf("status: %+v", vs)
	}
	for _, word := range words {
		if !strings.Contains(vs[0].Reason+" "+vs[0].Hint, word) {
			d.t.Errorf("%s: status says %q, hint %q: want %q in it", d.name, vs[0].Reason, vs[0].Hint, word)
		}
	}
}

func pair(t *testing.T, files int) (w *world, one, two *device) {
	t.Helper()
	w = newWorld(t)
	one, two = w.device("one"), w.device("two")
	one.many("letters", files)
	one.add()
	one.sync()
	two.add()
	two.sync()
	agree(t, one, two)
	return w, one, two
}

func TestMissingFolderDeletesNothing(t *testing.T) {
	t.Parallel()
	_, one, two := pair(t, 200)
	want := treeOf(t, one.dir)
	away := one.dir + "-away"
	if err := os.Rename(one.dir, away); err != nil {
		t.Fatal(err)
	}
	if f := one.fails(5, "root_missing", "sync"); !strings.Contains(f.Message, "nothing was deleted") || !strings.Contains(f.Hint, "--relink") {
		t.Errorf("sync says %+v", f)
	}
	untouched(t, want, two)

	// Back under its name it goes on as if nothing had been.
	if err := os.Rename(away, one.dir); err != nil {
		t.Fatal(err)
	}
	quiet(t, one, two)

	// Moved for good: add --relink where it is now.
	if err := os.Rename(one.dir, away); err != nil {
		t.Fatal(err)
	}
	one.dir = away
	one.fails(1, "exists", "add", one.dir, "--region", "Docs")
	one.run("add", one.dir, "--region", "Docs", "--relink")
	if c := one.sync(); c.FilesUp+c.FilesDown+c.Deletes+c.Conflicts != 0 {
		t.Errorf("after relink of a moved folder, sync did %+v", c)
	}
	sameTree(t, "the moved folder", want, treeOf(t, one.dir))
	untouched(t, want, two)
	one.write("letters/new.txt", "after the move")
	one.sync()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
}

func TestReplacedFolderDeletesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 200)
	want := treeOf(t, one.dir)
	away := one.dir + "-away"
	if err := os.Rename(one.dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(one.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	one.write("letters/000/file-00000.txt", "something else under a name that is known")
	one.fails(5, "root_replaced", "sync")
	untouched(t, want, two)

	// A marker that somebody made by hand proves nothing.
	if err := os.MkdirAll(filepath.Join(one.dir, ".signet"), 0o700); err != nil {
		t.Fatal(err)
	}
	marker, err := os.ReadFile(filepath.Join(away, ".signet", "marker"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(one.dir, ".signet", "marker"), marker, 0o600); err != nil {
		t.Fatal(err)
	}
	one.fails(5, "root_replaced", "sync")
	untouched(t, want, two)

	// Relinked, the folder is joined by content: all comes back, and what
	// differs is kept beside.
	one.run("add", one.dir, "--region", "Docs", "--relink")
	if c := one.sync(); c.Deletes != 0 || c.FilesUp != 1 || int(c.FilesDown) != 200 {
		t.Errorf("after relink, sync did %+v, want one file up and all down", c)
	}
	two.sync()
	agree(t, one, two)
	after := treeOf(t, two.dir)
	if len(after) != len(want)+1 {
		t.Errorf("%d names, want %d and the one that differed", len(after), len(want))
	}
	for name, e := range want {
		if after[name] != e {
			t.Errorf("%s: %v, want %v", name, after[name], e)
		}
	}
	quiet(t, one, two)
}

// A mount is a mount namespace that a test holds open, so that it may mount
// things without anybody else seeing them.
type mount struct {
	t   *testing.T
	pid int
}

func newMount(t *testing.T) *mount {
	t.Helper()
	args := []string{"--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		args = append(args, "--map-root-user")
	}
	cmd := exec.Command("unshare", append(args, "sh", "-c", "echo here; exec sleep 3600")...)
	p, line := startProcess(t, cmd, filepath.Join(t.TempDir(), "log"))
	if line != "here" {
		t.Fatalf("no mount namespace: %s", p.words())
	}
	return &mount{t, p.Process.Pid}
}

// enter is what comes before a command to have it run there.
func (m *mount) enter() []string {
	args := []string{"nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--wd=/"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--preserve-credentials")
	}
	return append(args, "--")
}

func (m *mount) run(args ...string) {
	m.t.Helper()
	all := append(m.enter(), args...)
	if out, err := exec.Command(all[0], all[1:]...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// path is how the test sees a path of the namespace.
func (m *mount) path(p string) string {
	return filepath.Join("/proc", strconv.Itoa(m.pid), "root", p)
}

func TestUnmountedFolderDeletesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	m := newMount(t)
	one.inside = m.enter()
	disk := one.dir + "-disk"
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	point := one.dir
	one.dir = disk
	one.many("letters", 200)
	want := treeOf(t, disk)
	one.dir = point
	m.run("mount", "--bind", disk, point)
	one.add()
	one.sync()
	two.add()
	two.sync()

	m.run("umount", point)
	one.fails(5, "root_replaced", "sync")
	one.stopped()
	untouched(t, want, two)

	// With the daemon running: it must not take the empty mount point for the
	// volume, and goes on when the disk is back.
	m.run("mount", "--bind", disk, point)
	one.up()
	one.ready()
	one.run("wait")
	m.run("umount", "--lazy", point)
	one.fails(5, "", "sync")
	one.stopped("--relink")
	if vs := one.status(); vs[0].State != "stopped" {
		t.Errorf("state %s, want stopped", vs[0].State)
	}
	untouched(t, want, two)
	m.run("mount", "--bind", disk, point)
	one.run("wait")
	if vs := one.status(); vs[0].State != "in_step" {
		t.Errorf("state %s after the disk is back, want in_step", vs[0].State)
	}
	one.down()
	untouched(t, want, two)
	quiet(t, one, two)
}

// Another mount inside the volume is not synched, and said; what was synched
// below the name that it covers is not deleted elsewhere.
func TestMountInsideVolumeIsUnknown(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	m := newMount(t)
	one.inside = m.enter()
	one.many("letters", 50)
	one.many("covered", 50)
	want := treeOf(t, one.dir)
	one.add()
	one.sync()
	two.add()
	two.sync()
	m.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", filepath.Join(one.dir, "covered"))
	if err := os.WriteFile(m.path(filepath.Join(one.dir, "covered", "foreign.txt")), []byte("on another file system"), 0o644); err != nil {
		t.Fatal(err)
	}
	vs, _ := one.synced(5)
	if len(vs[0].Problems) != 1 || vs[0].Problems[0].Path != "covered" {
		t.Errorf("problems %+v, want one at covered", vs[0].Problems)
	}
	if c := vs[0].Counters; c != (counters{}) {
		t.Errorf("sync did %+v", c)
	}
	untouched(t, want, two)
	m.run("umount", filepath.Join(one.dir, "covered"))
	quiet(t, one, two)
}

func TestClonedFolderIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 20)
	want := treeOf(t, one.dir)
	clone := one.dir + "-clone"
	if out, err := exec.Command("cp", "-a", one.dir, clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Neither this device nor another takes a marked folder for a new one.
	one.fails(1, "", "add", clone, "--region", "Copy")
	two.fails(1, "is_volume", "add", clone, "--region", "Copy")
	// In the place of the original it is refused too.
	if err := os.Rename(one.dir, one.dir+"-original"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(clone, one.dir); err != nil {
		t.Fatal(err)
	}
	one.remove("letters/000/file-00003.txt")
	one.fails(5, "root_replaced", "sync")
	untouched(t, want, two)
	one.run("add", one.dir, "--region", "Docs", "--relink")
	one.sync()
	sameTree(t, "the relinked clone", want, treeOf(t, one.dir))
	untouched(t, want, two)
	quiet(t, one, two)
}

// A running daemon notices that its folder was moved away under it.
func TestDaemonNoticesThatItsFolderMoved(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 50)
	want := treeOf(t, one.dir)
	one.up()
	one.ready()
	one.run("wait")
	away := one.dir + "-away"
	if err := os.Rename(one.dir, away); err != nil {
		t.Fatal(err)
	}
	until(t, 20*time.Second, "status says that the folder is gone", func() bool { return one.status()[0].State == "stopped" })
	one.stopped("nothing was deleted", "--relink")
	if r := one.try("", "status", "--check"); r.code != 5 {
		t.Errorf("status --check: exit %d, want 5\n%s", r.code, r.stderr)
	}
	untouched(t, want, two)
	// The daemon takes a relink too.
	one.dir = away
	one.run("add", one.dir, "--region", "Docs", "--relink")
	one.write("letters/later.txt", "after the move")
	one.run("wait")
	two.sync()
	agree(t, one, two)
	if err := one.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-one.daemon.ended
	quiet(t, one, two)
}
