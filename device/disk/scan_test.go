package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signet/core/tree"
)

// scanAll is every path of the volume but its top, as a scan finds them.
func (b *box) scanAll(opts ScanOptions) []string {
	b.t.Helper()
	var paths []string
	listed := map[string]bool{}
	b.must(b.Scan(context.Background(), opts, func(l Listing) error {
		if l.Err != nil || listed[l.Path] {
			b.t.Errorf("listed %q (again: %v): %v", l.Path, listed[l.Path], l.Err)
		}
		if folder, _ := split(l.Path); l.Path != opts.From && !listed[folder] {
			b.t.Errorf("%q came before its folder", l.Path)
		}
		listed[l.Path] = true
		for _, e := range l.Entries {
			paths = append(paths, join(l.Path, e.Name))
		}
		return nil
	}))
	slices.Sort(paths)
	return paths
}

func TestScanFindsWhatIsThereOnceWhateverTheNames(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		for i := range 40 {
			b.write(fmt.Sprintf("d%d/e%d/f%d", i%3, i%7, i), "x")
		}
		b.write("empty/x", "")
		b.must(os.Remove(b.path("empty/x")))
		for _, name := range []string{"new\nline", "\xff\xfe not utf-8", strings.Repeat("n", 255), " ", "...", "a:b\\c", ".signet2", "d0/.signet", "\U0001F600"} {
			b.write(name, "x")
		}
		b.must(os.Symlink("/", b.path("d1/up")))
		var want []string
		b.must(filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(b.dir, path)
			if rel == private {
				return fs.SkipDir
			}
			if rel != "." {
				want = append(want, rel)
			}
			return err
		}))
		slices.Sort(want)
		for workers := 1; workers <= 8; workers *= 2 {
			if got := b.scanAll(ScanOptions{Workers: workers}); !slices.Equal(got, want) {
				t.Fatalf("%d workers: scanned %q; want %q", workers, got, want)
			}
		}
		for _, p := range want {
			if st := b.stat(p); st.Type == tree.Link && st.Target != "/" {
				t.Errorf("%q is %+v", p, st)
			}
		}
		if got := b.scanAll(ScanOptions{From: "d0/e0"}); len(got) == 0 || !strings.HasPrefix(got[0], "d0/e0/") {
			t.Errorf("from d0/e0: %q", got)
		}
		got := b.scanAll(ScanOptions{Skip: func(p string) bool { return p == "d0" }})
		if !slices.Contains(got, "d0") || slices.Contains(got, "d0/e0") {
			t.Errorf("with d0 skipped: %q", got)
		}
	})
}

func TestAStatIsTheSameFromEveryCall(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.write("f", "content")
		b.must(os.Symlink("target", b.path("l")))
		b.write("d/x", "")
		for _, e := range b.List("").Entries {
			if st := b.stat(e.Name); st != e.Stat {
				t.Errorf("%s: listed %+v, stat %+v", e.Name, e.Stat, st)
			}
		}
		if st := b.List("d").Stat; st != b.stat("d") || st.Type != tree.Dir {
			t.Errorf("folder: listed %+v, stat %+v", st, b.stat("d"))
		}
		f, st, err := b.OpenFile("f")
		b.must(err)
		defer f.Close()
		if st != b.stat("f") || st.Size != 7 {
			t.Errorf("opened %+v, stat %+v", st, b.stat("f"))
		}
	})
}

func TestScanEndsWithItsContextAndWithItsReader(t *testing.T) {
	b := newBox(t, t.TempDir())
	for i := range 50 {
		b.write(fmt.Sprintf("d%d/f", i), "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := b.Scan(ctx, ScanOptions{}, func(Listing) error {
		if n++; n == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n > 40 {
		t.Errorf("%d listings, %v", n, err)
	}
	stop := errors.New("enough")
	n = 0
	err = b.Scan(context.Background(), ScanOptions{}, func(Listing) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("%d listings, %v", n, err)
	}
}

func TestAFolderThatCannotBeListedSaysSo(t *testing.T) {
	b := newBox(t, t.TempDir())
	b.write("f", "")
	b.wantErr(b.List("gone").Err, fs.ErrNotExist)
	b.wantErr(b.List("f").Err, ErrNotFolder)
	b.wantErr(b.List("../x").Err, ErrBadPath)
	b.must(os.Symlink(".", b.path("l")))
	b.wantErr(b.List("l").Err, ErrNotFolder)
}

// A file that is renamed to and fro all the time is in every listing, or the
// listing says that it is not to be trusted.
func TestAListingThatMayLackANameSaysSo(t *testing.T) {
	b := newBox(t, t.TempDir())
	for i := range 300 {
		b.write(fmt.Sprintf("d/other%d", i), "")
	}
	b.write("d/0", "")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				os.Rename(b.path(fmt.Sprintf("d/%d", i)), b.path(fmt.Sprintf("d/%d", i+1)))
			}
		}
	}()
	whole := 0
	for range 300 {
		l := b.List("d")
		if l.Err != nil {
			b.wantErr(l.Err, ErrChanging)
			continue
		}
		whole++
		n := 0
		for _, e := range l.Entries {
			if !strings.HasPrefix(e.Name, "other") {
				n++
			}
		}
		if n != 1 || len(l.Entries) != 301 {
			t.Errorf("a complete listing has the file %d times, %d names", n, len(l.Entries))
		}
	}
	close(stop)
	<-done
	if l := b.List("d"); l.Err != nil || len(l.Entries) != 301 {
		t.Errorf("at rest: %d names, %v (%d whole before)", len(l.Entries), l.Err, whole)
	}
}

func BenchmarkScan100k(b *testing.B) {
	dir := b.TempDir()
	for d := range 1000 {
		folder := filepath.Join(dir, fmt.Sprintf("d%d/e%d", d%40, d))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range 100 {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file%d.txt", f)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				if err := v.Scan(context.Background(), ScanOptions{Workers: workers}, func(l Listing) error {
					n += len(l.Entries)
					return l.Err
				}); err != nil || n != 101040 {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

func BenchmarkApply16KiB(b *testing.B) {
	dir := b.TempDir()
	v, _, err := Create(dir, "v", "r", signNothing)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	content := make([]byte, 16<<10)
	ctx := context.Background()
	for _, group := range []int{1, syncEach, 256} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			round := 0
			for b.Loop() {
				round++
				folder := fmt.Sprintf("g%d-%d-%d", group, round, b.N)
				if _, err := v.Mkdir(folder, 0o755); err != nil {
					b.Fatal(err)
				}
				var all []*Staged
				for range group {
					s, err := v.Stage("")
					if err != nil {
						b.Fatal(err)
					}
					_, e1 := s.Write(content)
					if err := errors.Join(e1, s.Finish(0o644, 1)); err != nil {
						b.Fatal(err)
					}
					all = append(all, s)
				}
				if err := v.SyncStaged(ctx, all); err != nil {
					b.Fatal(err)
				}
				for i, s := range all {
					if _, err := v.Place(s, fmt.Sprintf("%s/f%d", folder, i)); err != nil {
						b.Fatal(err)
					}
				}
				if err := v.SyncFolders(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(group*b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
