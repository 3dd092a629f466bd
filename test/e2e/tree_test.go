package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func netListen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// An entry is what two devices must agree on under one name.
type entry struct {
	mode   fs.FileMode
	size   int64
	mtime  int64 // of files: those of folders and links do not sync (spec/operations.md)
	sha    [32]byte
	target string
}

func (e entry) String() string {
	return fmt.Sprintf("%v, %d bytes, %s, %x %s", e.mode, e.size, time.Unix(0, e.mtime).UTC().Format(time.RFC3339Nano), e.sha[:4], e.target)
}

// treeOf is everything below a folder that syncs.
func treeOf(t *testing.T, dir string) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch rel {
		case ".":
			return nil
		case ".signet":
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{mode: info.Mode()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			e.mode = fs.ModeSymlink
			e.target, err = os.Readlink(p)
		case info.Mode().IsRegular():
			e.size, e.mtime = info.Size(), info.ModTime().UnixNano()
			e.sha, err = hashFile(p)
		}
		all[rel] = e
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// sameTree says how two trees differ.
func sameTree(t *testing.T, what string, want, got map[string]entry) {
	t.Helper()
	var diffs []string
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[p]; !ok {
			diffs = append(diffs, fmt.Sprintf("%q is missing", p))
		} else if g != want[p] {
			diffs = append(diffs, fmt.Sprintf("%q: %v, want %v", p, g, want[p]))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[p]; !ok {
			diffs = append(diffs, fmt.Sprintf("%q should not be there", p))
		}
	}
	if len(diffs) > 0 {
		n := len(diffs)
		t.Errorf("%s: %d differences\n%s", what, n, strings.Join(diffs[:min(n, 20)], "\n"))
	}
}

// agree says that devices show the same tree.
func agree(t *testing.T, ds ...*device) {
	t.Helper()
	want := treeOf(t, ds[0].dir)
	for _, d := range ds[1:] {
		sameTree(t, d.name+" and "+ds[0].name, want, treeOf(t, d.dir))
	}
}

// write writes a file below the device's folder.
func (d *device) write(name, content string) {
	d.t.Helper()
	p := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

func (d *device) move(from, to string) {
	d.t.Helper()
	if err := os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) remove(name string) {
	d.t.Helper()
	if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

// many makes n small files in folders of a hundred.
func (d *device) many(folder string, n int) {
	d.t.Helper()
	for i := range n {
		d.write(fmt.Sprintf("%s/%03d/file-%05d.txt", folder, i/100, i), fmt.Sprintf("file %d of %s\n", i, folder))
	}
}

// writeRandom makes a file of seeded bytes.
func writeRandom(t *testing.T, path string, size int64, seed uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(src, size), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyTree copies a folder with modes and times, to the nanosecond.
func copyTree(t *testing.T, from, to string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		q := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(q, 0o755)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, q)
		case !info.Mode().IsRegular():
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+int64(len(b))
		if err := os.WriteFile(q, b, 0o644|info.Mode().Perm()&0o111); err != nil {
			return err
		}
		return os.Chtimes(q, info.ModTime(), info.ModTime())
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}
