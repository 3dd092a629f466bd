package engine_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"signet/device/engine"
)

func TestStoreIsClosedToOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // modes say nothing there; the home's folder is the owner's
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as one that was made by mistake
		t.Fatal(err)
	}
	s, err := engine.OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetNote("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		n++
		if m := info.Mode().Perm(); m&0o077 != 0 {
			t.Errorf("%s has mode %o", e.Name(), m)
		}
		return nil
	})
	if err != nil || n < 2 {
		t.Fatalf("%d files, %v", n, err)
	}
}
