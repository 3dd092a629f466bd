//go:build linux && !portable

package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

func TestFIFOsSocketsAndDevicesAreOtherAndBlockNobody(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.must(unix.Mkfifo(b.path("fifo"), 0o644))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		b.must(err)
		defer unix.Close(fd)
		names := map[string]bool{"fifo": true}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: b.path("socket")}); err == nil { // the path may be too long
			names["socket"] = true
		}
		if unix.Mknod(b.path("device"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) == nil { // needs privileges
			names["device"] = true
		}
		l := b.List("")
		b.must(l.Err)
		for _, e := range l.Entries {
			if !names[e.Name] || e.Stat.Type != tree.Other || e.OtherMount {
				t.Errorf("listed %+v", e)
			}
		}
		if len(l.Entries) != len(names) {
			t.Errorf("listed %d of %d", len(l.Entries), len(names))
		}
		for name := range names {
			if f, _, err := b.OpenFile(name); !errors.Is(err, ErrNotFile) {
				t.Errorf("%s opened as %v: %v", name, f, err)
			}
		}
		b.must(os.Symlink("fifo", b.path("link")))
		_, _, err = b.OpenFile("link")
		b.wantErr(err, ErrNotFile)
		b.must(os.Mkdir(b.path("dir"), 0o755))
		_, _, err = b.OpenFile("dir")
		b.wantErr(err, ErrNotFile)
	})
}

// asNobody runs do on a thread that has no rights of root's in files.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Getuid() == 0 {
			runtime.LockOSThread() // and never given back: the thread ends with this goroutine
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		do()
	}()
	<-done
}

func TestAnUnreadableFolderIsUnknownNotEmpty(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("d/f", "secret")
	b.write("open/f", "")
	b.must(os.Chmod(b.path("open/f"), 0))
	b.must(os.Chmod(b.path("d"), 0))
	t.Cleanup(func() { os.Chmod(b.path("d"), 0o755) })
	asNobody(t, func() {
		if l := b.List("d"); !errors.Is(l.Err, fs.ErrPermission) || len(l.Entries) != 0 {
			t.Errorf("listed %v, %v", l.Entries, l.Err)
		}
		if _, err := b.Stat("d/f"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("stat below it: %v", err)
		}
		_, _, err := b.OpenFile("open/f")
		var e *Error
		if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &e) || e.Path != "open/f" {
			t.Errorf("unreadable file: %v", err)
		}
		if l := b.List("open"); l.Err != nil || len(l.Entries) != 1 {
			t.Errorf("its folder: %v, %v", l.Entries, l.Err)
		}
	})
}

func TestATreeDeeperThanAnyPathMayBeIsWholeToUs(t *testing.T) {
	b := newBox(t, t.TempDir())
	path, name := "", strings.Repeat("d", 200)
	for range 60 { // 12,000 bytes
		path = join(path, name)
		_, err := b.Mkdir(path, 0o755)
		b.must(err)
	}
	st, err := b.Place(b.stage("deep"), path+"/f")
	b.must(err)
	if got := b.scanAll(ScanOptions{}); len(got) != 61 {
		t.Errorf("scanned %d names", len(got))
	}
	item, err := b.Trash(path+"/f", st, "k")
	b.must(err)
	_, err = b.TrashRestore(item, "f")
	b.must(err)
	b.wantContent("f", "deep")
}

func TestASecondProgramIsRefused(t *testing.T) {
	b := newBox(t, t.TempDir())
	_, _, err := Open(b.dir)
	b.wantErr(err, ErrInUse)
	b.must(b.Close())
	v, _, err := Open(b.dir)
	b.must(err)
	b.must(v.Close())
}

func TestReplaceHitByTwoChangesKeepsBoth(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("f", "old")
		b.when("swap", func() { b.save("f", "first") })
		b.when("swapped", func() { b.save("f", "second") })
		s := b.stage("new")
		_, item, err := b.Replace(s, "f", old, "k")
		b.wantErr(err, ErrChanged)
		b.wantContent("f", "second")
		b.wantContent(item.file(), "first")

		b.hook, old = nil, b.write("f", "old again")
		b.when("swap", func() { b.save("f", "first") })
		b.when("swapped", func() { b.must(os.Remove(b.path("f"))) })
		s = b.stage("new")
		_, _, err = b.Replace(s, "f", old, "k2")
		b.wantErr(err, ErrChanged)
		b.wantContent("f", "first")
	})
}

func TestExchangeSwapsExactlyTheExpected(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		x, y := b.write("x", "1"), b.write("d/y", "2")
		b.must(b.Exchange("x", "d/y", x, y))
		b.wantContent("x", "2")
		b.wantContent("d/y", "1")
		b.wantErr(b.Exchange("x", "d/y", x, y), ErrChanged)
		b.when("exchange", func() { b.save("x", "user's") })
		b.wantErr(b.Exchange("x", "d/y", y, x), ErrChanged)
		b.wantContent("x", "user's")
		b.wantContent("d/y", "1")
	})
}

// The operations give the same on file systems and kernels that lack calls.
func TestOperationsWithoutModernCalls(t *testing.T) {
	for name, degrade := range map[string]func(*fsys){
		"no openat2":   func(f *fsys) { f.walk.Store(true) },
		"no swap":      func(f *fsys) { f.exchange = false },
		"no noreplace": func(f *fsys) { f.noReplace = false },
		"none":         func(f *fsys) { f.walk.Store(true); f.exchange, f.noReplace = false, false },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, t.TempDir())
			degrade(b.fs)
			outside := t.TempDir()
			b.must(os.Symlink(outside, b.path("out")))
			s := b.stage("x")
			_, err := b.Place(s, "out/f")
			b.wantErr(err, ErrNotFolder)
			_, err = b.Mkdir("a", 0o755)
			b.must(err)
			st, err := b.Place(s, "a/f")
			b.must(err)
			taken := b.stage("x")
			_, err = b.Place(taken, "a/f")
			b.wantErr(err, ErrExists)
			b.must(taken.Discard())
			st, item, err := b.Replace(b.stage("y"), "a/f", st, "k")
			b.must(err)
			b.wantContent("a/f", "y")
			b.wantContent(item.file(), "x")
			b.when("swap", func() { b.save("a/f", "user's") })
			_, _, err = b.Replace(b.stage("z"), "a/f", st, "k")
			b.wantErr(err, ErrChanged)
			b.wantContent("a/f", "user's")
			st, err = b.Move("a/f", "g", b.stat("a/f"))
			b.must(err)
			_, err = b.Move("a", "b", b.stat("a"))
			b.must(err)
			_, err = b.Move("b", "g", b.stat("b"))
			b.wantErr(err, ErrExists)
			_, err = b.Trash("g", st, "k")
			b.must(err)
			b.must(b.SyncFolders(context.Background()))
			if got := b.scanAll(ScanOptions{}); len(got) != 2 {
				t.Errorf("volume has %v", got)
			}
			if names, _ := os.ReadDir(outside); len(names) != 0 {
				t.Errorf("outside has %v", names)
			}
		})
	}
}

func TestAFolderKeepsTheBitsThatGiveItsFilesTheirGroup(t *testing.T) {
	b := newBox(t, t.TempDir())
	d, err := b.Mkdir("d", 0o755)
	b.must(err)
	b.must(unix.Chmod(b.path("d"), 0o2775))
	if os.Getuid() == 0 {
		b.must(os.Chown(b.path("d"), 0, 4242))
		b.must(unix.Chmod(b.path("d"), 0o2775))
	}
	d = b.stat("d")
	if d, err = b.SetMeta("d", d, 0o750, 1); err != nil || d.Mode != 0o2750 {
		t.Errorf("mode %o, %v", d.Mode, err)
	}
	_, err = b.Place(b.stage("x"), "d/f")
	b.must(err)
	var dir, f unix.Stat_t
	b.must(unix.Stat(b.path("d"), &dir))
	b.must(unix.Stat(b.path("d/f"), &f))
	if dir.Gid != f.Gid {
		t.Errorf("folder of group %d, file of %d", dir.Gid, f.Gid)
	}
}

func TestMetadataOfAFileThatCannotBeReadIsSet(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.must(os.Chmod(b.dir, 0o777))
	b.write("f", "x")
	b.must(os.Chmod(b.path("f"), 0))
	if os.Getuid() == 0 {
		b.must(os.Chown(b.path("f"), 65534, 65534))
	}
	asNobody(t, func() {
		st, err := b.Stat("f")
		if err != nil {
			t.Error(err)
			return
		}
		if st, err = b.SetMeta("f", st, 0o644, 3); err != nil || st.Mode != 0o644 || st.MTime != 3 {
			t.Errorf("now %+v, %v", st, err)
		}
	})
	link, err := b.Symlink("nowhere", "l")
	b.must(err)
	if link, err = b.SetMeta("l", link, 0, -9); err != nil || link.MTime != -9 || link.Target != "nowhere" {
		t.Errorf("link %+v, %v", link, err)
	}
}

// inMounts runs do where it may mount without anybody else seeing it; false if
// this user may not.
func inMounts(t *testing.T, do func()) bool {
	t.Helper()
	ran := make(chan bool)
	go func() {
		defer close(ran)
		runtime.LockOSThread() // the thread ends with this goroutine
		if unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS) != nil {
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		do()
		ran <- true
	}()
	return <-ran
}

func TestAnotherMountInTheVolumeIsUnknownAndUntouched(t *testing.T) {
	parent := t.TempDir()
	check := func(t *testing.T, dir string) {
		v, _, err := Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer v.Close()
		b := &box{v, t, dir}
		seen := map[string]Entry{}
		if err := b.Scan(context.Background(), ScanOptions{}, func(l Listing) error {
			for _, e := range l.Entries {
				seen[join(l.Path, e.Name)] = e
			}
			return l.Err
		}); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"tmpfs", "bind", "file"} {
			if e := seen[name]; !e.OtherMount || e.Stat.Type != tree.Other {
				t.Errorf("%s is %+v", name, e)
			}
		}
		if len(seen) != 5 { // and real, real/f
			t.Errorf("scanned %v", seen)
		}
		if l := b.List("bind"); !errors.Is(l.Err, ErrMount) {
			t.Errorf("listed the mount: %v", l.Err)
		}
		if _, err := b.Mkdir("bind/new", 0o755); !errors.Is(err, ErrMount) {
			t.Errorf("made a folder in the mount: %v", err)
		}
		if err := b.RemoveDir("tmpfs"); !errors.Is(err, ErrBusy) {
			t.Errorf("removed the mount: %v", err)
		}
	}
	dir := filepath.Join(parent, "volume")
	for _, d := range []string{"tmpfs", "bind", "real"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"real/f", "file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	if !inMounts(t, func() {
		p := func(s string) string { return filepath.Join(dir, s) }
		if err := errors.Join(unix.Mount("tmpfs", p("tmpfs"), "tmpfs", 0, ""),
			unix.Mount(p("real"), p("bind"), "", unix.MS_BIND, ""),
			unix.Mount(p("real/f"), p("file"), "", unix.MS_BIND, "")); err != nil {
			t.Error(err)
			return
		}
		check(t, dir)
	}) {
		t.Log("this user may not mount; nothing was tested")
	}
}

func TestAnUnmountedVolumeIsNotAnEmptyOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if !inMounts(t, func() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Error(err)
			return
		}
		v, _, err := Create(dir, "v", "r", signNothing)
		if err != nil {
			t.Error(err)
			return
		}
		defer v.Close()
		if err := v.Check(); err != nil {
			t.Errorf("mounted: %v", err)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := v.Check(); !errors.Is(err, ErrRootReplaced) {
			t.Errorf("unmounted: %v", err)
		}
		if err := v.Scan(context.Background(), ScanOptions{}, func(Listing) error {
			t.Error("an unmounted volume was listed")
			return nil
		}); !errors.Is(err, ErrRootReplaced) {
			t.Errorf("scan: %v", err)
		}
		if _, _, err := Open(dir); !errors.Is(err, ErrNoMarker) {
			t.Errorf("opened: %v", err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil { // another disk in its place
			t.Error(err)
		}
		if err := v.Check(); !errors.Is(err, ErrRootReplaced) {
			t.Errorf("another mount: %v", err)
		}
	}) {
		t.Log("this user may not mount; TestCheckTellsMissingReplacedAndUnmarkedRoots is what remains")
	}
}

func TestAFullOrReadOnlyDiskIsNamedAndChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if !inMounts(t, func() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
			t.Error(err)
			return
		}
		v, _, err := Create(dir, "v", "r", signNothing)
		if err != nil {
			t.Error(err)
			return
		}
		defer v.Close()
		s, err := v.Stage("")
		if err == nil {
			_, err = s.Write(make([]byte, 1<<20))
		}
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("full: %v", err)
		}
		if err := s.Discard(); err != nil {
			t.Error(err)
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Error(err)
		}
		if _, err = v.Stage(""); !errors.Is(err, ErrReadOnly) {
			t.Errorf("read-only: %v", err)
		}
		if _, err = v.Mkdir("d", 0o755); !errors.Is(err, ErrReadOnly) {
			t.Errorf("read-only: %v", err)
		}
		v.Close()
		if v, _, err = Open(dir); err != nil {
			t.Errorf("a read-only volume does not open: %v", err)
			return
		}
		if l := v.List(""); l.Err != nil {
			t.Error(l.Err)
		}
		v.Close()
	}) {
		t.Log("this user may not mount; nothing was tested")
	}
}

func TestAFolderIsListedWholeWhereTimesComeInTicks(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.fs.fineTimes = false
	b.write("d/f", "")
	if l := b.List("d"); l.Err != nil || len(l.Entries) != 1 {
		t.Errorf("just changed: %v, %v", l.Entries, l.Err)
	}
	if d := b.stat("d"); time.Since(time.Unix(0, d.CTime)) < tick {
		t.Error("the listing did not wait for the end of the tick")
	}
}

func TestAHoleThatZerosAreWrittenToStaysOne(t *testing.T) {
	dir := t.TempDir()
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s, err := v.Stage("")
	if err != nil {
		t.Fatal(err)
	}
	const size = 4 << 20
	want := make([]byte, size)
	copy(want[size/2+100:], "in the middle")
	// What was written before, zeros replace.
	if _, err := s.WriteAt([]byte("what was there"), 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, cut := range [][2]int{{0, 3}, {3, size/2 + 105}, {size/2 + 105, size}} {
		if n, err := s.WriteAt(want[cut[0]:cut[1]], int64(cut[0])); err != nil || n != cut[1]-cut[0] {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if err := errors.Join(s.Finish(0o644, 1), v.SyncStaged(t.Context(), []*Staged{s})); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Place(s, "f"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("another content: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "f"), &st); err != nil || st.Blocks*512 > size/4 {
		t.Errorf("%d bytes on the disk, %v", st.Blocks*512, err)
	}
}
