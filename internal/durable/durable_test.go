package durable

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileReplacesWholeAndLeavesNoTemporary(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Fatalf("folder has %v, %v; want only f", names, err)
	}
}

func TestWriteFileThatCannotRenameKeepsTheOldAndCleansUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a file was written over a folder")
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Fatalf("folder has %v, %v; want only f", names, err)
	}
}

func TestWriteFileSetsPermissionsWhateverTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o666 {
		t.Fatalf("mode %v, %v; want 0666", st.Mode(), err)
	}
}

func TestEverySyncAcceptsAnOpenFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(SyncFile(f), SyncData(f), SyncDir(dir)); err != nil {
		t.Error(err)
	}
	if err := SyncFS(f); err != nil && !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestSyncOfAClosedFileFails(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, sync := range map[string]func(*os.File) error{"file": SyncFile, "data": SyncData, "fs": SyncFS} {
		if sync(f) == nil {
			t.Errorf("sync %s of a closed file succeeded", name)
		}
	}
}

func TestRenameAndRemove(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")
	if err := os.Mkdir(filepath.Dir(b), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(a, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Rename(a, b), Remove(b)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(b); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("removing what is gone: %v", err)
	}
}
