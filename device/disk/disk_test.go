package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"signet/core/tree"
)

// A box is a volume under test and its folder.
type box struct {
	*Volume
	t   *testing.T
	dir string
}

func signNothing([]byte) ([]byte, error) { return []byte("signature"), nil }

func newBox(t *testing.T, parent string) *box {
	t.Helper()
	dir := filepath.Join(parent, "volume")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v, _, err := Create(dir, "vol", "reg_test", signNothing)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return &box{v, t, dir}
}

// onEach runs test on a volume of each file system there is: the one of the
// temporary folder, and tmpfs.
func onEach(t *testing.T, test func(t *testing.T, b *box)) {
	t.Run("tmp", func(t *testing.T) { test(t, newBox(t, t.TempDir())) })
	shm, err := os.MkdirTemp("/dev/shm", "signet-disk-")
	if err != nil {
		return
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	t.Run("tmpfs", func(t *testing.T) { test(t, newBox(t, shm)) })
}

func (b *box) path(p string) string { return filepath.Join(b.dir, p) }

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) wantErr(err, kind error) {
	b.t.Helper()
	if !errors.Is(err, kind) {
		b.t.Fatalf("got %v; want %v", err, kind)
	}
}

// write makes a file as a user's program does.
func (b *box) write(path, content string) tree.Stat {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(path)), 0o755))
	b.must(os.WriteFile(b.path(path), []byte(content), 0o644))
	return b.stat(path)
}

// save makes a file as an editor does: a new one renamed over the old.
func (b *box) save(path, content string) {
	b.t.Helper()
	b.must(os.WriteFile(b.dir+".new", []byte(content), 0o644))
	b.must(os.Rename(b.dir+".new", b.path(path)))
}

func (b *box) stat(path string) tree.Stat {
	b.t.Helper()
	s, err := b.Stat(path)
	b.must(err)
	return s
}

func (b *box) wantContent(path, want string) {
	b.t.Helper()
	got, err := os.ReadFile(b.path(path))
	if err != nil || string(got) != want {
		b.t.Fatalf("%s is %q, %v; want %q", path, got, err, want)
	}
}

func (b *box) wantGone(path string) {
	b.t.Helper()
	if _, err := os.Lstat(b.path(path)); !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatalf("%s: %v; want it gone", path, err)
	}
}

// stage is a file ready to be placed.
func (b *box) stage(content string) *Staged {
	b.t.Helper()
	s, err := b.Stage("")
	b.must(err)
	_, err = s.Write([]byte(content))
	b.must(err)
	b.must(s.Finish(0o644, 1_000_000_007))
	b.must(b.SyncStaged(context.Background(), []*Staged{s}))
	return s
}

func (b *box) trash() []TrashItem {
	b.t.Helper()
	var items []TrashItem
	b.must(b.TrashList(func(i TrashItem) error { items = append(items, i); return nil }))
	return items
}

// when does something once, between two steps of an operation.
func (b *box) when(step string, do func()) {
	before := b.hook
	done := false
	b.hook = func(s string) {
		if before != nil {
			before(s)
		}
		if s == step && !done {
			done = true
			do()
		}
	}
}

func TestCreateLeavesOnlyOneFolderAndOpenReadsItsMarker(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		names, err := os.ReadDir(b.dir)
		if err != nil || len(names) != 1 || names[0].Name() != private {
			t.Fatalf("volume has %v, %v; want only .signet", names, err)
		}
		b.must(b.Close())
		v, m, err := Open(b.dir)
		b.must(err)
		defer v.Close()
		if m.Volume != "vol" || m.Region != "reg_test" || string(m.Signature) != "signature" {
			t.Errorf("marker is %+v", m)
		}
		b.must(v.Check())
		free, total, err := v.Free()
		if err != nil || free == 0 || free > total {
			t.Errorf("free %d of %d, %v", free, total, err)
		}
	})
}

func TestMarkerBodyCoversEverythingButTheSignature(t *testing.T) {
	m := Marker{Format: 1, Volume: "v", Region: "r", Root: RootID{UUID: "u", FileSystem: "f", Inode: 1, Birth: 2}}
	base := string(m.Body())
	for name, change := range map[string]func(*Marker){
		"format": func(m *Marker) { m.Format = 2 }, "volume": func(m *Marker) { m.Volume = "w" },
		"region": func(m *Marker) { m.Region = "s" }, "uuid": func(m *Marker) { m.Root.UUID = "w" },
		"fs": func(m *Marker) { m.Root.FileSystem = "g" }, "inode": func(m *Marker) { m.Root.Inode++ },
		"birth": func(m *Marker) { m.Root.Birth++ },
	} {
		c := m
		change(&c)
		if string(c.Body()) == base {
			t.Errorf("%s is not in the body", name)
		}
	}
	m.Signature = []byte("x")
	if string(m.Body()) != base {
		t.Error("the signature is in the body")
	}
}

func TestCreateRefusesAVolumeAndRelinkReplacesItsMarker(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.must(b.Close())
	_, _, err := Create(b.dir, "other", "reg_x", signNothing)
	b.wantErr(err, ErrIsVolume)
	v, m, err := Relink(b.dir, "other", "reg_x", signNothing)
	b.must(err)
	defer v.Close()
	if m.Volume != "other" {
		t.Errorf("marker is %+v", m)
	}
	b.must(v.Check())
}

func TestCreateGoesOnAfterACrashAndFailsWithoutASignature(t *testing.T) {
	dir := t.TempDir()
	bad := errors.New("no key")
	if _, _, err := Create(dir, "v", "r", func([]byte) ([]byte, error) { return nil, bad }); !errors.Is(err, bad) {
		t.Fatalf("got %v", err)
	}
	if _, _, err := Open(dir); !errors.Is(err, ErrNoMarker) || !errors.Is(err, ErrRootReplaced) {
		t.Fatalf("open of a half made volume: %v", err)
	}
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
}

func TestCheckTellsMissingReplacedAndUnmarkedRoots(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.write("f", "x")
		away := b.dir + ".away"
		b.must(os.Rename(b.dir, away))
		b.wantErr(b.Check(), ErrRootMissing)
		err := b.Scan(context.Background(), ScanOptions{}, func(Listing) error { t.Error("a missing root was listed"); return nil })
		b.wantErr(err, ErrRootMissing)
		_, _, err = Open(b.dir)
		b.wantErr(err, ErrRootMissing)

		b.must(os.Mkdir(b.dir, 0o755)) // what an unmounted mount point looks like
		b.wantErr(b.Check(), ErrRootReplaced)
		_, _, err = Open(b.dir)
		b.wantErr(err, ErrNoMarker)

		// Somebody follows the advice to make the marker again.
		b.must(os.CopyFS(filepath.Join(b.dir, private), os.DirFS(filepath.Join(away, private))))
		b.wantErr(b.Check(), ErrRootReplaced)
		_, _, err = Open(b.dir)
		b.wantErr(err, ErrRootReplaced)

		b.must(os.RemoveAll(b.dir))
		b.must(os.Rename(away, b.dir))
		b.must(b.Check())
		b.must(os.Remove(b.path(markerPath)))
		b.wantErr(b.Check(), ErrNoMarker)
	})
}

func TestScanOfARootThatVanishesMeanwhileFails(t *testing.T) {
	b := newBox(t, t.TempDir())
	err := b.Scan(context.Background(), ScanOptions{}, func(Listing) error { return os.Rename(b.dir, b.dir+".away") })
	b.wantErr(err, ErrRootMissing)
}

func TestOverlapComparesFoldersNotNames(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("in/f", "")
	up := filepath.Dir(b.dir)
	side := filepath.Join(up, "side")
	b.must(os.Mkdir(side, 0o755))
	b.must(os.Symlink(b.path("in"), filepath.Join(side, "link")))
	for dir, overlaps := range map[string]bool{
		b.path("in"): true, filepath.Join(side, "link"): true, up: true, b.dir: true, side: false,
	} {
		err := Overlap(dir, b.dir)
		if overlaps != errors.Is(err, ErrOverlap) {
			t.Errorf("%s: %v; want overlap %v", dir, err, overlaps)
		}
	}
	if err := Overlap(b.path("in")); !errors.Is(err, ErrOverlap) {
		t.Errorf("a folder in somebody else's volume: %v", err)
	}
}

func TestPathsThatAreNotBelowTheVolumeAreRefused(t *testing.T) {
	b := newBox(t, t.TempDir())
	here := b.write("f", "x")
	for _, path := range []string{"", "/", "/f", "f/", "a//b", ".", "..", "../f", "a/../b", "./f", "a\x00b",
		private, markerPath, ".SIGNET", ".Signet/marker"} {
		s := b.stage("x")
		_, e1 := b.Place(s, path)
		_, _, e2 := b.Replace(s, path, here, "k")
		_, e3 := b.Mkdir(path, 0o755)
		_, e4 := b.Symlink("t", path)
		_, e5 := b.Move("f", path, here)
		_, e6 := b.Trash(path, here, "k")
		_, e7 := b.SetMeta(path, here, 0, 0)
		_, _, e8 := b.OpenFile(path)
		e9 := b.RemoveDir(path)
		e10 := b.Exchange("f", path, here, here)
		_, _, e11 := b.ReplaceLink("t", path, here, "k")
		for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11} {
			if !errors.Is(err, ErrBadPath) {
				t.Errorf("%q, operation %d: %v", path, i+1, err)
			}
		}
		b.must(s.Discard())
	}
	for _, id := range []string{"", ".", "..", "a/b", "a b", ".x"} {
		if _, err := b.Trash("f", here, id); !errors.Is(err, ErrBadPath) {
			t.Errorf("trash id %q: %v", id, err)
		}
	}
	b.wantContent("f", "x")
}

func TestErrorsNamePathAndKind(t *testing.T) {
	b := newBox(t, t.TempDir())
	_, err := b.Stat("missing")
	var e *Error
	if !errors.As(err, &e) || e.Path != "missing" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	b.write("f", "")
	_, err = b.Stat("f/x")
	b.wantErr(err, ErrNotFolder)
	_, err = b.Mkdir(string(longName(300)), 0o755)
	b.wantErr(err, ErrBadName)
}

func longName(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

func TestAClosedVolumeDoesNothing(t *testing.T) {
	b := newBox(t, t.TempDir())
	st := b.write("f", "x")
	s := b.stage("y")
	b.must(b.Close())
	_, e1 := b.Stat("f")
	_, e2 := b.Place(s, "g")
	_, e3 := b.Trash("f", st, "k")
	e4 := b.List("").Err
	for i, err := range []error{e1, e2, e3, e4} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("operation %d: %v", i+1, err)
		}
	}
	b.wantContent("f", "x")
}
