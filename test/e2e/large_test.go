package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A folder of many files is renamed: that is one operation, whatever is in it.
func TestRenamedFolderIsOneOperationWithoutContent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	n := 10_000
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	one.many("photos", n)
	one.add()
	one.sync()
	two.add()
	two.sync()
	inodes := inodesOf(t, filepath.Join(two.dir, "photos"))
	one.move("photos", "pictures")

	up, down := w.up.Load(), w.down.Load()
	c := one.sync()
	sent := w.up.Load() - up
	t.Logf("%d files, folder renamed on one: %d moves in %d entries, %d bytes sent, %d received", n, c.Moves, c.Entries, sent, w.down.Load()-down)
	if c.Moves != 1 || c.Entries != 1 || c.FilesUp != 0 || c.BytesUp != 0 || c.Deletes != 0 || sent >= 64<<10 {
		t.Errorf("a rename did %+v and sent %d bytes, want one move, no content, under 64 KiB", c, sent)
	}
	up, down = w.up.Load(), w.down.Load()
	c = two.sync()
	got := w.down.Load() - down
	t.Logf("the same on two: %d moves, %d bytes sent, %d received", c.Moves, w.up.Load()-up, got)
	if c.Moves != 1 || c.FilesDown != 0 || c.BytesDown != 0 || c.Deletes != 0 || got >= 64<<10 {
		t.Errorf("the other device did %+v and received %d bytes, want one move", c, got)
	}
	if _, err := os.Lstat(filepath.Join(two.dir, "photos")); err == nil {
		t.Error("the old folder is still there")
	}
	for name, inode := range inodesOf(t, filepath.Join(two.dir, "pictures")) {
		if inodes[name] != inode {
			t.Fatalf("%s is another file than before: it was not renamed", name)
		}
	}
	agree(t, one, two)
	quiet(t, one, two)
}

func inodesOf(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		all[rel] = info.Sys().(*syscall.Stat_t).Ino
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// gigabyte is held while a test has files of that size on the disk several times.
var gigabyte sync.Mutex

// A small change of a large file costs about what changed, both ways.
func TestSmallChangeOfLargeFileSendsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	gigabyte.Lock()
	defer gigabyte.Unlock()
	const size = int64(1 << 30)
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	name := filepath.Join(one.dir, "large.bin")
	writeRandom(t, name, size, 69)
	one.add()
	measure := func(what string, d *device) (c counters, up, down int64) {
		t.Helper()
		u, n := w.up.Load(), w.down.Load()
		vs, r := d.synced(0)
		up, down = w.up.Load()-u, w.down.Load()-n
		t.Logf("%-24s %6.2f s, peak %s, sent %d bytes, received %d; %+v", what, r.wall.Seconds(), mib(r.rss), up, down, vs[0].Counters)
		return vs[0].Counters, up, down
	}
	measure("first upload", one)
	two.add()
	measure("first download", two)
	random := rand.New(rand.NewPCG(6, 9))
	off := 1 + random.Int64N(size-2)
	for off%4096 == 0 { // a border of pieces is a multiple of 128 KiB
		off++
	}
	for _, change := range []struct {
		what string
		do   func(t *testing.T)
	}{
		{"1 KiB inserted", func(t *testing.T) { insert(t, name, off, 1<<10) }},
		{"1 KiB overwritten", func(t *testing.T) { overwrite(t, name, size-off, 1<<10) }},
	} {
		t.Logf("%s near %d", change.what, off)
		change.do(t)
		if _, up, _ := measure(change.what+", one", one); up >= 1<<20 {
			t.Errorf("%s: %d bytes sent, want under 1 MiB", change.what, up)
		}
		if _, _, down := measure(change.what+", two", two); down >= 2<<20 {
			t.Errorf("%s: %d bytes received by the other device, want under 2 MiB", change.what, down)
		}
		agree(t, one, two)
	}
	quiet(t, one, two)
}

// insert puts n random bytes into a file, as an editor does: a new file beside
// it takes its name.
func insert(t *testing.T, name string, off, n int64) {
	t.Helper()
	old, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	f, err := os.Create(name + ".new")
	if err != nil {
		t.Fatal(err)
	}
	extra := rand.NewChaCha8([32]byte{42})
	for _, r := range []io.Reader{io.LimitReader(old, off), io.LimitReader(extra, n), old} {
		if _, err := io.Copy(f, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// overwrite changes n bytes of a file in place.
func overwrite(t *testing.T, name string, off, n int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{43}).Read(b)
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// An upload over a slow link, killed again and again: what the service has it
// does not get again.
func TestKilledUploadGoesOnWhereItWas(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	gigabyte.Lock()
	defer gigabyte.Unlock()
	killedUpload(t, 1<<30, 10)
}

func killedUpload(t *testing.T, size int64, kills int) {
	w := newWorld(t)
	w.limit.Store(50 << 20)
	one := w.device("one")
	writeRandom(t, filepath.Join(one.dir, "large.bin"), size, 67)
	one.add()
	random := rand.New(rand.NewPCG(6, 7))
	start, before := time.Now(), w.up.Load()
	for i := range kills {
		from := w.up.Load()
		cmd := one.command("sync")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The moment counts from when content flows: the file is read first.
		until(t, time.Minute, "content flows", func() bool { return w.up.Load() > from+1<<20 })
		<-time.After(time.Second + time.Duration(random.Int64N(int64(700*time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("the upload ended before kill %d of %d", i+1, kills)
		}
		// What the kernel still had of it arrives, and counts as sent.
		last, since := w.up.Load(), time.Now()
		until(t, time.Minute, "the wire is quiet", func() bool {
			if n := w.up.Load(); n != last {
				last, since = n, time.Now()
			}
			return time.Since(since) > 200*time.Millisecond
		})
		t.Logf("kill %d after %s of this run, %.1f s since the beginning", i+1, mib(w.up.Load()-from), time.Since(start).Seconds())
	}
	vs, r := one.synced(0)
	sent := w.up.Load() - before
	t.Logf("%s over %s/s, killed %d times: %.1f s; %.4f × size sent; the last run took %.1f s, peak %s: %+v", mib(size), mib(w.limit.Load()), kills,
		time.Since(start).Seconds(), float64(sent)/float64(size), r.wall.Seconds(), mib(r.rss), vs[0].Counters)
	if float64(sent) > 1.05*float64(size) {
		t.Errorf("%d bytes sent for a file of %d, want at most 1.05 times as many", sent, size)
	}
	w.limit.Store(0)
	two := w.device("two")
	two.add()
	two.sync()
	agree(t, one, two)
	quiet(t, one, two)
	w.stop()
	w.check()
}

// A device that is shown a long file while another sends it is killed again and
// again, and so is the service once. It has the file in the end, and of what it
// fetched ahead nothing is left.
func TestWhoIsShownAFileIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	for _, d := range w.devices {
		d.add()
		d.sync()
		d.up()
		d.ready()
	}
	w.limit.Store(32 << 20)
	const size = 320 << 20
	writeRandom(t, filepath.Join(one.dir, "film.bin"), size, 71)
	random := rand.New(rand.NewPCG(7, 1))
	ahead := 0
	for i := range 4 {
		from := w.down.Load()
		until(t, time.Minute, "two fetches what one sends", func() bool { return w.down.Load() > from+4<<20 })
		<-time.After(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
		if staged(t, two) > 0 {
			ahead++
		}
		if w.up.Load() >= size {
			t.Fatalf("all was sent before kill %d", i+1)
		}
		if i == 2 {
			w.upstream.Store(nil)
			w.service.end(syscall.SIGKILL)
			w.start()
			continue
		}
		two.kill()
		two.up()
		two.ready()
	}
	if ahead == 0 {
		t.Error("nothing was ever fetched ahead: this test shows nothing")
	}
	w.limit.Store(0)
	wait(t, one, two)
	agree(t, one, two)
	for _, d := range w.devices {
		d.down()
	}
	if n := staged(t, two); n > 0 {
		t.Errorf("%s are left of what was fetched ahead", mib(n))
	}
	quiet(t, one, two)
	w.stop()
	w.check()
}

// staged is how many bytes a device has in files that are not placed yet.
func staged(t *testing.T, d *device) (n int64) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(d.dir, ".signet", "staging"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil { // or it was placed meanwhile
			n += info.Size()
		}
	}
	return n
}

// A long file's hash in the journal is not its SHA-256. Listings have that all
// the same where the file is here, whether a daemon is at work or not.
func TestListingsHaveTheSHA256OfALongFile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	one := newWorld(t).device("one")
	one.add()
	name := filepath.Join(one.dir, "large.bin")
	listed := func(t *testing.T, args ...string) {
		t.Helper()
		sum, err := hashFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`"sha256":"%x"`, sum)
		if out := one.run(append([]string{"--json"}, args...)...).stdout; !strings.Contains(out, want) {
			t.Errorf("signet --json %s does not say %s:\n%s", strings.Join(args, " "), want, out)
		}
	}
	for i, command := range [][]string{{"tree", "Docs:"}, {"history", "Docs:large.bin"}} {
		t.Run(command[0]+" without a daemon", func(t *testing.T) {
			writeRandom(t, name, 64<<20+3, uint64(2*i))
			one.sync()
			listed(t, command...)
		})
		t.Run(command[0]+" with one", func(t *testing.T) {
			writeRandom(t, name, 64<<20+3, uint64(2*i+1)) // what was listed once is remembered
			one.up()
			one.ready()
			one.run("wait")
			listed(t, command...)
			one.down()
		})
	}
}
