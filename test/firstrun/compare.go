//go:build unix

package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// A listing is what is in a folder: for each path a file's SHA-256 and
// executable bit, a link's target, or that it is a folder.
type listing map[string]string

// hidden is the one folder that Signet puts into a folder it keeps in step.
const hidden = ".signet"

// list reads a whole folder.
func list(dir string) (listing, error) {
	l := listing{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
			return err
		case name == hidden:
			return fs.SkipDir
		case e.IsDir():
			l[name] = "folder"
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			l[name] = "link to " + target
			return err
		case e.Type().IsRegular():
			sum, err := hash(path)
			l[name] = sum
			return err
		}
		return nil // a pipe, socket or device does not sync
	})
	return l, err
}

// hash is a file's mode and SHA-256.
func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	kind := "file"
	if info.Mode()&0o100 != 0 {
		kind = "program"
	}
	return fmt.Sprintf("%s %x", kind, h.Sum(nil)), nil
}

// files counts what is no folder.
func (l listing) files() (n int) {
	for _, v := range l {
		if v != "folder" {
			n++
		}
	}
	return n
}

// sum is one hash over the whole listing.
func (l listing) sum() string {
	names := make([]string, 0, len(l))
	for n := range l {
		names = append(names, n)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		fmt.Fprintf(h, "%q %q\n", n, l[n])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// differences are the paths that two listings do not agree on.
func differences(a, b listing) (paths []string) {
	for n, v := range a {
		if b[n] != v {
			paths = append(paths, n)
		}
	}
	for n := range b {
		if _, ok := a[n]; !ok {
			paths = append(paths, n)
		}
	}
	sort.Strings(paths)
	return paths
}

// same fails unless two folders are equal, and says that they are.
func (s *stage) same(what, a, b string) (listing, error) {
	la, err := list(a)
	if err != nil {
		return nil, err
	}
	lb, err := list(b)
	if err != nil {
		return nil, err
	}
	if d := differences(la, lb); len(d) > 0 {
		return nil, fmt.Errorf("%s: %d of %d paths differ, the first is %q", what, len(d), len(la), d[0])
	}
	s.note("%s: %d of %d files and %d of %d folders are equal, by SHA-256", what, la.files(), lb.files(), len(la)-la.files(), len(lb)-lb.files())
	s.note("over all of it: %s on one,", la.sum()[:32])
	s.note("                %s on the other", lb.sum()[:32])
	return la, nil
}
