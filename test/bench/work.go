package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A workload is one thing that people wait for. prepare makes the input beside
// the folder, off the clock; change puts it there in one step; done says when
// b has all of it.
type workload struct {
	id, what string
	on       setting
	run      func(ctx context.Context, s *session) (took []time.Duration, err error)
}

// A setting is what a workload begins with.
type setting int

const (
	apair    setting = iota // two folders, and what the workloads before left there
	alone                   // folder a, and whatever stores it
	standing                // two folders that hold the large tree
)

var workloads = []workload{
	{id: "W1", what: "one large incompressible file", run: large},
	{id: "W3", what: "1 KiB inserted in it", run: insert},
	{id: "W2", what: "many small files", run: small},
	{id: "W6", what: "their folder renamed", run: rename},
	{id: "W5", what: "1 KiB file closed, readable on the other side", run: save},
	{id: "W8", what: "a large tree stored the first time, no second device", on: alone, run: first},
	{id: "W4", what: "a large tree, nothing changed, cold start", on: standing, run: start},
}

// A session is a pair at work, with what the workloads left in it.
type session struct {
	pair
	maker peer
	peer  string
	dir   string // on the file system of the folders
	seed  uint64
	size  sizes
	small []string // files below the folder of W2
	saved int
	warm  *reserve // while something is measured
}

// timed makes a change and waits until b shows it.
func (s *session) timed(ctx context.Context, change func() error, done func() (bool, error)) (time.Duration, error) {
	began := time.Now()
	if err := change(); err != nil {
		return 0, err
	}
	if err := s.push(ctx); err != nil {
		return 0, err
	}
	if err := until(ctx, time.Millisecond, done); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

func (s *session) a(name string) string { a, _ := s.folders(); return filepath.Join(a, name) }
func (s *session) b(name string) string { _, b := s.folders(); return filepath.Join(b, name) }

// aside is a place for input, on the same file system but in no folder.
func (s *session) aside(name string) string { return filepath.Join(s.dir, "aside-"+name) }

// ready puts what was written so far to disk, so that no peer pays for it.
func (s *session) ready(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.calm(ctx)
}

// calm lets the disk come to rest, where anything is measured, and holds memory for
// what comes, until cool.
func (s *session) calm(ctx context.Context) error {
	if s.size == quick {
		return nil
	}
	s.cool()
	if err := flush(ctx, s.dir); err != nil {
		return err
	}
	s.warm = hold(3 * s.size.Large)
	go s.warm.give()
	return nil
}

// cool gives back what calm held.
func (s *session) cool() {
	if s.warm != nil {
		s.warm.drop()
		s.warm = nil
	}
}

// same compares what both folders have below a name.
func (s *session) same(name string) error {
	a, err := digest(s.a(name), true)
	if err != nil {
		return err
	}
	b, err := digest(s.b(name), true)
	if err == nil && a != b {
		err = fmt.Errorf("%s: %s differs between the folders", s.peer, name)
	}
	return err
}

// arrives reports whether a file has a size.
func arrives(path string, size int64) func() (bool, error) {
	return func() (bool, error) {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && info.Size() == size, err
	}
}

// arriveAll reports whether all files are below a folder. It asks for the
// first that was missing last, so that watching costs the peers nothing.
func arriveAll(dir string, names []string) func() (bool, error) {
	return func() (bool, error) {
		for len(names) > 0 {
			if _, err := os.Lstat(filepath.Join(dir, names[0])); errors.Is(err, fs.ErrNotExist) {
				return false, nil
			} else if err != nil {
				return false, err
			}
			names = names[1:]
		}
		return true, nil
	}
}

func large(ctx context.Context, s *session) ([]time.Duration, error) {
	if err := writeLarge(s.aside("large"), s.seed, s.size.Large, -1, 0); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	d, err := s.timed(ctx, func() error { return os.Rename(s.aside("large"), s.a("large.bin")) }, arrives(s.b("large.bin"), s.size.Large))
	if err != nil {
		return nil, err
	}
	return []time.Duration{d}, s.same("large.bin")
}

func insert(ctx context.Context, s *session) ([]time.Duration, error) {
	if _, err := os.Lstat(s.a("large.bin")); err != nil {
		if _, err := large(ctx, s); err != nil {
			return nil, err
		}
	}
	at := int64(float64(s.size.Large) * 0.37)
	if at%4096 == 0 {
		at += 1001 // no border of a piece of any peer
	}
	if err := writeLarge(s.aside("large"), s.seed, s.size.Large, at, 1024); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	d, err := s.timed(ctx, func() error { return os.Rename(s.aside("large"), s.a("large.bin")) }, arrives(s.b("large.bin"), s.size.Large+1024))
	if err != nil {
		return nil, err
	}
	return []time.Duration{d}, s.same("large.bin")
}

func small(ctx context.Context, s *session) (took []time.Duration, err error) {
	if s.small, err = writeTree(s.aside("small"), s.seed, s.size.Small, s.size.Mean); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	d, err := s.timed(ctx, func() error { return os.Rename(s.aside("small"), s.a("small")) }, arriveAll(s.b("small"), s.small))
	if err != nil {
		return nil, err
	}
	return []time.Duration{d}, s.same("small")
}

func rename(ctx context.Context, s *session) ([]time.Duration, error) {
	if s.small == nil {
		if _, err := small(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	all := arriveAll(s.b("renamed"), s.small)
	d, err := s.timed(ctx, func() error { return os.Rename(s.a("small"), s.a("renamed")) }, func() (bool, error) {
		if ok, err := all(); !ok {
			return false, err
		}
		_, err := os.Lstat(filepath.Join(s.b("small"), s.small[0]))
		return errors.Is(err, fs.ErrNotExist), nil
	})
	if err != nil {
		return nil, err
	}
	return []time.Duration{d}, s.same("renamed")
}

func save(ctx context.Context, s *session) (took []time.Duration, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	for range s.size.Saves {
		s.saved++
		name := fmt.Sprintf("note-%04d.txt", s.saved)
		b := make([]byte, 1024)
		if _, err := noise(s.seed + uint64(s.saved)<<20).Read(b); err != nil {
			return nil, err
		}
		d, err := s.timed(ctx, func() error { return os.WriteFile(s.a(name), b, 0o644) }, arrives(s.b(name), 1024))
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		// The next begins when nothing is on its way, as a person's would.
		if err := until(ctx, 30*time.Millisecond, after(2)); err != nil {
			return nil, err
		}
	}
	return took, s.same(fmt.Sprintf("note-%04d.txt", s.saved))
}

// after is true the n-th time.
func after(n int) func() (bool, error) {
	return func() (bool, error) { n--; return n <= 0, nil }
}

// first stores a large tree that nothing is known of.
func first(ctx context.Context, s *session) ([]time.Duration, error) {
	if _, err := writeTree(s.aside("tree"), s.seed, s.size.Tree, 1024); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	began := time.Now()
	if err := os.Rename(s.aside("tree"), s.a("tree")); err != nil {
		return nil, err
	}
	if err := s.pair.(storing).store(ctx); err != nil {
		return nil, err
	}
	return []time.Duration{time.Since(began)}, nil
}

// fill gives a pair the tree that W4 looks at.
func fill(ctx context.Context, s *session) (time.Duration, error) {
	names, err := writeTree(s.aside("tree"), s.seed, s.size.Tree, 1024)
	if err != nil {
		return 0, err
	}
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	s.fresh()
	d, err := s.timed(ctx, func() error { return os.Rename(s.aside("tree"), s.a("tree")) }, arriveAll(s.b("tree"), names))
	if err != nil {
		return 0, err
	}
	return d, s.ready(ctx)
}

func start(ctx context.Context, s *session) ([]time.Duration, error) {
	if err := s.stop(ctx); err != nil {
		return nil, err
	}
	if err := s.calm(ctx); err != nil {
		return nil, err
	}
	s.fresh()
	began := time.Now()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return []time.Duration{time.Since(began)}, nil
}
