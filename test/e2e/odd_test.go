package e2e

import (
	"crypto/sha256"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sum(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// Names, links, modes and times that are not the usual ones.
func TestOddNamesModesAndTimesAreExact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	names := []string{
		"latin-1 \xe9\xff", "broken \xc3", "new\nline", "tab\t and \x01", "-rf", "--", " leading and trailing ", "...",
		"right-to-left \u202etxt.exe", "zero\u200bwidth", "NFC \u00e9", "NFD e\u0301", "CON", "aux.txt", "back\\slash", "colon:name", "star*?<>|\"",
		"Case", "case", "CASE", ".hidden", "~$lock.docx", "file (conflict 2026-01-01 1200 one ab12).txt", ".signet-moving-abc", "%2F", "emoji \U0001F600",
		strings.Repeat("n", 255), strings.Repeat("ü", 127), "folder \xff/inside \xfe",
	}
	for i, name := range names {
		one.write(name, strings.Repeat("content of a name ", i))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(one.dir, name) }
	must(os.MkdirAll(at("empty/folders/only"), 0o755))
	must(os.Symlink("emptied/by nobody", at("dangling")))
	must(os.Symlink("/etc/hostname", at("absolute")))
	must(os.Symlink("loop", at("loop")))
	must(os.Symlink("to bytes \xff\xfe", at("link \xfd")))
	one.write("script.sh", "#!/bin/sh\n")
	must(os.Chmod(at("script.sh"), 0o755))
	must(os.Chmod(at("Case"), 0o600))
	for name, when := range map[string]time.Time{
		"case": time.Unix(0, 0), "CASE": time.Unix(-1000, 123456789), "CON": time.Date(2200, 2, 3, 4, 5, 6, 789012345, time.UTC), "aux.txt": time.Unix(1, 1),
	} {
		must(os.Chtimes(at(name), when, when))
	}
	one.add()
	one.sync()
	two.add()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
	// All of it also moves, changes and goes.
	for i, name := range names[:8] {
		if i%2 == 0 {
			one.move(name, name+" moved \xfe")
		} else {
			one.write(name, "changed")
		}
	}
	one.remove("folder \xff")
	one.sync()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
	if !strings.Contains(one.run("--json", "tree", "Docs").stdout, "path_b64") {
		t.Error("tree --json has no exact bytes of a name that is not UTF-8")
	}
}

// What is neither file, folder nor link is reported, not synched; and where it
// took the name of a file, that file is not deleted elsewhere.
func TestPipesAndSocketsAreReportedNotDeleted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	_, one, two := pair(t, 12)
	want := treeOf(t, one.dir)
	victim := filepath.Join(one.dir, "letters/000/file-00003.txt")
	if err := os.Remove(victim); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(victim, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(one.dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A socket's path must be short.
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	l, err := net.Listen("unix", filepath.Join(short, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(filepath.Join(short, "s"), filepath.Join(one.dir, "socket")); err != nil {
		t.Fatal(err)
	}
	vs, r := one.synced(5)
	if f := r.fault(); f.Kind != "not_synched" {
		t.Errorf("sync says %+v", f)
	}
	var paths []string
	for _, p := range vs[0].Problems {
		paths = append(paths, p.Path)
	}
	if got, want := strings.Join(paths, " "), "letters/000/file-00003.txt pipe socket"; got != want {
		t.Errorf("problems with %q, want %q", got, want)
	}
	if n := len(one.status()[0].Problems); n != 3 {
		t.Errorf("status has %d problems, want 3", n)
	}
	untouched(t, want, two)
	// An edit from the other side must not replace the pipe, and is not lost.
	two.write("letters/000/file-00003.txt", "edited on two")
	two.sync()
	one.synced(5)
	if info, err := os.Lstat(victim); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe was replaced: %v %v", info, err)
	}
	if got := two.read("letters/000/file-00003.txt"); got != "edited on two" {
		t.Errorf("two has %q", got)
	}
	for _, name := range []string{"letters/000/file-00003.txt", "pipe", "socket"} {
		one.remove(name)
	}
	one.try("", "sync")
	two.try("", "sync")
	one.try("", "sync")
	agree(t, one, two)
	quiet(t, one, two)
}

// What cannot be read is reported, not deleted.
func TestUnreadableIsReportedNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var user *syscall.Credential
	if os.Getuid() == 0 { // who may read everything: the device runs as nobody
		user = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	one, two := w.deviceOf("one", user), w.device("two")
	one.many("letters", 20)
	one.many("closed", 20)
	if user != nil {
		err := filepath.WalkDir(one.dir, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(p, 65534, 65534)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	one.add()
	one.sync()
	two.add()
	two.sync()
	want := treeOf(t, one.dir)
	file, folder := filepath.Join(one.dir, "letters/000/file-00001.txt"), filepath.Join(one.dir, "closed/000")
	now := time.Now()
	if err := os.WriteFile(file, []byte("changed, and not readable"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, folder} {
		if err := os.Chmod(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(folder, 0o755)
	vs, r := one.synced(5)
	t.Logf("%s; %+v; since %v", r.fault().Message, vs[0].Problems, time.Since(now).Round(time.Millisecond))
	for _, p := range []string{"letters/000/file-00001.txt", "closed/000"} {
		if !slices.ContainsFunc(vs[0].Problems, func(q struct {
			Path, Kind, Message string
			PathB64             []byte `json:"path_b64"`
		}) bool {
			return q.Path == p && q.Kind == "unreadable"
		}) {
			t.Errorf("%s is not said to be unreadable", p)
		}
	}
	if c := vs[0].Counters; c.Deletes != 0 || c.FilesUp != 0 {
		t.Errorf("sync did %+v", c)
	}
	two.sync()
	got := treeOf(t, two.dir)
	for name, e := range want {
		if got[name].sha != e.sha {
			t.Errorf("%s: %v, want %v", name, got[name], e)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	one.sync()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
}

// The receiver's disk is full: said clearly, nothing half done, and when there
// is space it goes on with what it has.
func TestFullDiskOfReceiver(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	m := newMount(t)
	two.inside = m.enter()
	m.run("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", two.dir)
	seen := &device{t: t, w: w, name: "two", dir: m.path(two.dir)}

	one.write("small.txt", "small")
	writeRandom(t, filepath.Join(one.dir, "large.bin"), 8<<20, 1)
	one.add()
	one.sync()
	two.add()
	two.sync()
	agree(t, one, seen)
	want := treeOf(t, seen.dir)

	// A new version and a file that do not both fit beside the old version.
	writeRandom(t, filepath.Join(one.dir, "large.bin"), 24<<20, 2)
	writeRandom(t, filepath.Join(one.dir, "other.bin"), 24<<20, 3)
	one.write("small too.txt", "small too")
	one.sync()
	f := two.fails(5, "no_space", "sync")
	if !strings.Contains(f.Hint, "space") {
		t.Errorf("hint %q", f.Hint)
	}
	now := treeOf(t, seen.dir)
	for name, e := range now {
		if old, ok := want[name]; ok && e != old && name != "large.bin" {
			t.Errorf("%s: %v, was %v", name, e, old)
		}
	}
	all := treeOf(t, one.dir)
	for name, e := range now {
		if e != want[name] && e != all[name] {
			t.Errorf("%s is half done: %v", name, e)
		}
	}
	t.Logf("%s; %d of %d names there", f.Message, len(now), len(all))
	if now["small too.txt"] != all["small too.txt"] {
		t.Error("a small file that fits did not arrive")
	}
	// What is received must not be taken for a change, or for a deletion.
	if c := one.sync(); c != (counters{}) {
		t.Errorf("the sender did %+v", c)
	}
	// With space, a daemon goes on by itself.
	two.up()
	two.ready()
	until(t, 20*time.Second, "status says that there is no space", func() bool { return strings.Contains(two.status()[0].Reason, "space") })
	m.run("mount", "-o", "remount,size=200m", two.dir)
	until(t, 30*time.Second, "all is there", func() bool { return things(seen.dir) == len(all)+1 && two.status()[0].State == "in_step" })
	agree(t, one, seen)
	two.down()
	quiet(t, one, two)
}

// The disk that the device's own home is on is full: nothing is taken for
// deleted, the index stays whole, and with space all goes on.
func TestFullDiskOfHome(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	m := newMount(t)
	two.inside = m.enter()
	moved := two.home + "-on-disk"
	if err := os.Rename(two.home, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(two.home, 0o700); err != nil {
		t.Fatal(err)
	}
	m.run("mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", two.home)
	m.run("cp", "-a", moved+"/.", two.home)
	one.many("letters", 100)
	one.add()
	one.sync()
	two.add()
	two.sync()
	want := treeOf(t, one.dir)

	// Nothing is left but what is in use.
	m.run("sh", "-c", "dd if=/dev/zero of="+two.home+"/filler bs=4096 2>/dev/null; true")
	one.many("more", 3000)
	one.sync()
	r := two.try("", "--json", "sync")
	t.Logf("exit %d, %+v", r.code, r.fault())
	if r.code != 1 && r.code != 5 || r.fault().Kind != "no_space" {
		t.Errorf("sync on a full home: exit %d, %+v, want a failure of kind no_space", r.code, r.fault())
	}
	got := treeOf(t, two.dir)
	for name, e := range want {
		if got[name] != e {
			t.Errorf("%s: %v, want %v", name, got[name], e)
		}
	}
	one.sync()
	m.run("rm", two.home+"/filler")
	m.run("mount", "-o", "remount,size=64m", two.home)
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
}
