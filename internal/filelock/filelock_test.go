package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestSharedLocksStandBesideEachOtherAndExcludeTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	want := func(got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	one, two := open(), open()
	want(Shared(one), nil)
	want(Shared(two), nil)
	x := open()
	want(Exclusive(x), ErrHeld)
	one.Close()
	want(Exclusive(x), ErrHeld)
	two.Close()
	want(Exclusive(x), nil)
	want(Shared(open()), ErrHeld)
	want(Exclusive(open()), ErrHeld)
	x.Close()
	want(Exclusive(open()), nil)
}
