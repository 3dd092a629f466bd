package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exported is what export --json says.
type exported struct {
	Objects    uint64
	NewObjects int64  `json:"new_objects"`
	NewRecords uint64 `json:"new_records"`
	Missing    []string
}

func (d *device) export(args ...string) (e exported) {
	d.t.Helper()
	r := d.run(append([]string{"--json", "export", "Docs", "--to", d.w.disk()}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil {
		d.t.Fatalf("export says %q: %v", r.stdout, err)
	}
	return e
}

// disk is where exports are.
func (w *world) disk() string { return filepath.Join(w.dir, "disk") }

// below lists the files below a folder, with their size and time.
func below(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		rel, _ := filepath.Rel(dir, p)
		all[rel] = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// thawed is what restore --from and verify say under --json.
type thawed struct {
	Files, Behind int64
	Damage        []struct {
		File, Kind string
		Spared     bool
		Paths      []string
	}
	Problems []struct{ Path, Kind, File string }
}

// kit runs a command with a recovery kit and a home that nothing is in.
func (w *world) kit(args ...string) (out thawed, r result) {
	w.t.Helper()
	nobody := &device{t: w.t, w: w, name: "nobody", home: filepath.Join(w.dir, "nobody")}
	r = nobody.try("", append([]string{"--json", "--recovery-file", filepath.Join(w.dir, "kit")}, args...)...)
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
			w.t.Fatalf("%v says %q: %v", args, r.stdout, err)
		}
	}
	return out, r
}

// Every file comes back from the disk alone, with every run of export killed at
// some moment before, and a service that is no more.
func TestColdCopyBringsEverythingBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one := w.device("one")
	one.run("recovery", "new", "--to", filepath.Join(w.dir, "kit"))
	one.add()
	scribble(t, one, pick(20, 8))
	large := make([]byte, pick(64<<20, 8<<20))
	rand.Read(large)
	one.write("large", string(large))
	one.write("folder/script", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(one.dir, "folder", "script"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("script", filepath.Join(one.dir, "folder", "link")); err != nil {
		t.Fatal(err)
	}
	one.sync()

	// Killed before there is any, and the next goes on.
	random := mrand.New(mrand.NewPCG(26, 27))
	killed := func(most time.Duration) (n int) {
		t.Helper()
		for range pick(10, 5) {
			cmd := one.command("export", "Docs", "--to", w.disk())
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Duration(random.Int64N(int64(most))))
			cmd.Process.Signal(syscall.SIGKILL)
			if cmd.Wait() != nil {
				n++
			}
			if _, err := os.Stat(filepath.Join(w.disk(), "signet-export")); err != nil {
				continue // none was through yet
			}
			if _, r := w.kit("verify", w.disk(), "--deep"); r.code != 0 {
				t.Fatalf("after a kill: exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		}
		return n
	}
	if killed(pick(400*time.Millisecond, 150*time.Millisecond)) == 0 {
		t.Error("every run was through before it was killed")
	}
	first := one.export("--place", "bank")
	old := treeOf(t, one.dir)
	before := below(t, w.disk())

	// The second run, killed too: until one is through, the first is what counts.
	scribble(t, one, 4)
	one.write("large", string(large[:len(large)/2])+"in the middle"+string(large[len(large)/2:]))
	one.sync()
	for range pick(10, 5) {
		cmd := one.command("export", "Docs", "--to", w.disk())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(random.Int64N(int64(120 * time.Millisecond))))
		cmd.Process.Signal(syscall.SIGKILL)
		if cmd.Wait() == nil {
			continue
		}
		if _, r := w.kit("verify", w.disk(), "--deep"); r.code != 0 {
			t.Fatalf("after a kill: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	second := one.export()
	after := below(t, w.disk())
	fresh := 0
	for name, was := range after {
		if _, ok := before[name]; !ok && strings.HasPrefix(name, "objects/") {
			fresh++
		} else if ok && was != before[name] && !strings.HasPrefix(name, "signet-export") {
			t.Errorf("%s was written again", name)
		}
	}
	if want := second.Objects - first.Objects; uint64(fresh) != want || want == 0 || want > 40 {
		t.Errorf("%d new objects on the disk, %d in the export: of %d", fresh, want, second.Objects)
	}
	if again := one.export("--verify"); again.NewObjects != 0 || again.NewRecords != 0 || len(again.Missing) != 0 {
		t.Errorf("a third run: %+v", again)
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}

	// Everything is lost but the disk, and the paper.
	want := treeOf(t, one.dir)
	w.stop()
	if err := os.RemoveAll(w.data()); err != nil {
		t.Fatal(err)
	}
	one.run("restore", "--from", w.disk(), "--to", filepath.Join(w.dir, "mine")) // with the device's keys
	sameTree(t, "restored by the device", want, treeOf(t, filepath.Join(w.dir, "mine")))
	if err := os.RemoveAll(filepath.Join(w.dir, "one", "home")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	out, r := w.kit("restore", "--from", w.disk(), "--to", filepath.Join(w.dir, "back"))
	if r.code != 0 {
		t.Fatalf("restore: exit %d\n%s", r.code, r.stderr)
	}
	t.Logf("restored %d files in %v", out.Files, time.Since(start))
	sameTree(t, "restored by the kit", want, treeOf(t, filepath.Join(w.dir, "back")))
	if len(old) == 0 || len(want) <= len(old)-1 {
		t.Errorf("%d entries before, %d after", len(old), len(want))
	}
}

// One byte of each kind of file is flipped, one after the other.
func TestEachFlippedByteOfAnExportIsNoticedAndNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one := w.device("one")
	one.run("recovery", "new", "--to", filepath.Join(w.dir, "kit"))
	one.add()
	scribble(t, one, 4)
	one.write("long", strings.Repeat("a long file of several pieces\n", 40_000))
	one.sync()
	one.export()
	scribble(t, one, 5)
	one.export()
	w.stop()
	want := treeOf(t, one.dir)
	kinds := map[string][]string{}
	for name := range below(t, w.disk()) {
		if name != "lock" {
			kind, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Base(name))+strings.TrimRight(filepath.Base(name), "0123456789abcdef"), "/obj_")
			if strings.HasPrefix(kind, "objects/") {
				kind = "objects"
			}
			kinds[kind] = append(kinds[kind], name)
		}
	}
	if len(kinds) != 7 {
		t.Fatalf("kinds of files: %v", kinds)
	}
	random := mrand.New(mrand.NewPCG(1, 2))
	for kind, names := range kinds {
		slices.Sort(names)
		for i := range min(len(names), pick(6, 2)) {
			name := names[i*len(names)/min(len(names), pick(6, 2))]
			file := filepath.Join(w.disk(), name)
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			bad := slices.Clone(good)
			bad[random.IntN(len(bad))] ^= 1 << random.IntN(8)
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			out, r := w.kit("verify", w.disk(), "--deep")
			if f := r.fault(); r.code != 3 || f.Kind != "export_damaged" || !strings.Contains(f.Message, name) || len(out.Damage) != 1 || out.Damage[0].File != name {
				t.Errorf("%s: verify: exit %d, %+v, %+v", name, r.code, f, out.Damage)
			}
			to := filepath.Join(w.dir, "back", strings.ReplaceAll(name, "/", "-"))
			out, r = w.kit("restore", "--from", w.disk(), "--to", to)
			lost := map[string]bool{}
			for _, p := range out.Problems {
				if p.File != name || p.Kind != "export_damaged" {
					t.Errorf("%s: %+v", name, p)
				}
				lost[p.Path] = true
			}
			if kind != "objects" && (r.code != 3 || len(lost) > 0) || len(lost) > 1 {
				t.Errorf("%s: restore: exit %d, lost %v\n%s", name, r.code, lost, r.stderr)
			}
			if kind == "objects" && (r.code == 3) != (len(lost) > 0) || r.code != 0 && r.code != 3 {
				t.Errorf("%s: restore: exit %d, lost %v", name, r.code, lost) // one of an older version is not read
			}
			rest := treeOf(t, one.dir)
			for p := range lost {
				delete(rest, p)
			}
			sameTree(t, "all but what needs "+name, rest, treeOf(t, to))
			if err := os.WriteFile(file, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, r := w.kit("verify", w.disk(), "--deep"); r.code != 0 {
		t.Errorf("mended, and exit %d", r.code)
	}
	sameTree(t, "the folder", want, treeOf(t, one.dir))
}

// A service that forked shows one history to a device and had shown another to the
// one that exported.
func TestExportOfAnotherHistoryIsEvidence(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, two := pairOf(t)
	scribble(t, one, 6)
	one.export()
	w.lose()
	w.restore("--open")
	scribble(t, two, 3)
	if f := two.fails(3, "fork", "verify", w.disk()); !strings.Contains(f.Message, "two histories") {
		t.Errorf("says %q", f.Message)
	}
	to := filepath.Join(w.dir, "back")
	two.fails(3, "fork", "restore", "--from", w.disk(), "--to", to)
	if _, err := os.Stat(to); err == nil {
		t.Error("something was restored")
	}
	two.fails(3, "rollback", "export", "Docs", "--to", w.disk())
	// Also where the device's own history is the longer one.
	scribble(t, two, 9)
	two.fails(3, "fork", "verify", w.disk())
	two.fails(3, "fork", "export", "Docs", "--to", w.disk())
	evidence, _ := filepath.Glob(filepath.Join(two.home, "organisations", "*", "evidence", "*-fork"))
	if len(evidence) == 0 {
		t.Error("no evidence was kept")
	}
}

// An older export of the same region in the place of a newer one is a true one: its
// age is said, by the device that knows better.
func TestOlderExportSaysHowFarItIsBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one := w.device("one")
	one.add()
	scribble(t, one, 2)
	one.export("--place", "bank", "--every", "1d")
	scribble(t, one, 3)
	var list []struct {
		Copies []struct {
			Kind, State string
			Behind      int64
		}
	}
	if err := json.Unmarshal([]byte(one.run("--json", "status", "--copies").stdout), &list); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list[0].Copies, func(c struct {
		Kind, State string
		Behind      int64
	}) bool {
		return c.Kind == "export"
	})
	if c := list[0].Copies[i]; c.Behind == 0 || c.State != "behind" {
		t.Errorf("%+v", c)
	}
	var out thawed
	if err := json.Unmarshal([]byte(one.run("--json", "verify", w.disk()).stdout), &out); err != nil || out.Behind == 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
