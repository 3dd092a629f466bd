package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real tree of many folders: the toolchain's source. Three devices, the last
// linked when all is there; a second region that only two of them have.
func TestToolchainTreeIsEqualOnThreeDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src")
	least := 11000
	if testing.Short() {
		source, least = filepath.Join(source, "net"), 300
	}
	w := newWorld(t)
	one := w.device("one")
	files, bytes := copyTree(t, source, one.dir)
	if files < least {
		t.Fatalf("%d files in %s, want %d at least", files, source, least)
	}
	t.Logf("%d files, %s", files, mib(bytes))
	step := func(what string, d *device) counters {
		t.Helper()
		up, down := w.up.Load(), w.down.Load()
		vs, r := d.synced(0)
		c := vs[0].Counters
		t.Logf("%-26s %6.2f s, %5.2f s of CPU, peak %s; %d files up, %d down; on the wire %s up, %s down; service peak %s", what, r.wall.Seconds(), r.cpu.Seconds(),
			mib(r.rss), c.FilesUp, c.FilesDown, mib(w.up.Load()-up), mib(w.down.Load()-down), mib(peakMemory(w.service.Process.Pid)))
		return c
	}
	one.add()
	if c := step("device one, first upload", one); int(c.FilesUp) != files {
		t.Errorf("%d files went up, want %d", c.FilesUp, files)
	}
	two := w.device("two")
	two.add()
	if c := step("device two, first download", two); int(c.FilesDown) != files {
		t.Errorf("%d files came down, want %d", c.FilesDown, files)
	}
	three := w.device("three")
	three.add()
	step("device three, linked later", three)
	agree(t, one, two, three)

	// The second region.
	for _, d := range []*device{one, two} {
		dir := filepath.Join(filepath.Dir(d.dir), "private")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if d == one {
			copyTree(t, filepath.Join(source, pick("encoding", "netip")), dir)
		}
		d.run("add", dir, "--region", "Private")
	}
	one.synced(0)
	two.synced(0)
	sameTree(t, "the second region", treeOf(t, filepath.Join(filepath.Dir(one.dir), "private")), treeOf(t, filepath.Join(filepath.Dir(two.dir), "private")))
	if vs := three.status(); len(vs) != 1 {
		t.Errorf("device three has %d volumes, want one", len(vs))
	}
	start := time.Now()
	quiet(t, one, two, three)
	t.Logf("a sync that finds nothing to do, on three devices: %.2f s together", time.Since(start).Seconds())
	step("device one, nothing to do", one)
	agree(t, one, two, three)
	w.stop()
	w.check()
}
