//go:build !linux || portable

package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"signet/core/tree"
	"signet/internal/durable"
)

// A fsys does single steps below one open folder, by os.Root: nothing outside
// the folder can be reached. That no link inside it is followed is checked
// before each step, by name; between check and step a link can still be
// slipped in, which then leads elsewhere inside the folder.
type fsys struct {
	dir  string
	root *os.Root
	self tree.Stat
}

func openFS(dir string) (*fsys, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &fsys{dir: dir, root: root}
	if f.self, err = f.lstat(""); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

func (f *fsys) close() error { return f.root.Close() }

// real refuses a path one of whose folders is a link.
func (f *fsys) real(path string) error {
	for i := range path {
		if path[i] != '/' {
			continue
		}
		fi, err := f.root.Lstat(path[:i])
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return ErrNotFolder
		}
	}
	return nil
}

func (f *fsys) lstat(path string) (tree.Stat, error) {
	if path == "" {
		fi, err := f.root.Stat(".")
		if err != nil {
			return tree.Stat{}, err
		}
		return statOf(fi), nil
	}
	if err := f.real(path); err != nil {
		return tree.Stat{}, err
	}
	fi, err := f.root.Lstat(path)
	if err != nil {
		return tree.Stat{}, err
	}
	s := statOf(fi)
	if s.Type == tree.Dir && s.Dev != f.self.Dev {
		s.Type = tree.Other
	}
	if s.Type == tree.Link {
		s.Target, err = f.root.Readlink(path)
	}
	return s, err
}

func (f *fsys) statFile(file *os.File) (tree.Stat, error) {
	fi, err := file.Stat()
	if err != nil {
		return tree.Stat{}, err
	}
	return statOf(fi), nil
}

// baseStat is what every system tells.
func baseStat(fi os.FileInfo) tree.Stat {
	s := tree.Stat{Type: tree.Other, Mode: uint32(fi.Mode().Perm()), MTime: fi.ModTime().UnixNano(), Links: 1}
	switch m := fi.Mode(); {
	case m.IsRegular():
		s.Type, s.Size = tree.File, fi.Size()
	case m.IsDir():
		s.Type = tree.Dir
	case m&fs.ModeSymlink != 0:
		s.Type, s.Size = tree.Link, fi.Size()
	}
	return s
}

func (f *fsys) openRead(path string) (*os.File, tree.Stat, error) {
	s, err := f.lstat(path)
	if err != nil {
		return nil, s, err
	}
	if s.Type != tree.File {
		return nil, s, ErrNotFile
	}
	file, err := f.root.Open(path)
	if err != nil {
		return nil, s, err
	}
	s, err = f.statFile(file)
	if err == nil && s.Type != tree.File {
		err = ErrNotFile
	}
	if err != nil {
		file.Close()
		return nil, s, err
	}
	return file, s, nil
}

func (f *fsys) create(path string) (*os.File, error) {
	if err := f.real(path); err != nil {
		return nil, err
	}
	return f.root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func (f *fsys) openWrite(path string) (*os.File, error) {
	if s, err := f.lstat(path); err != nil {
		return nil, err
	} else if s.Type != tree.File {
		return nil, ErrNotFile
	}
	return f.root.OpenFile(path, os.O_RDWR, 0)
}

func (f *fsys) openFolder(path string) (*os.File, error) {
	s, err := f.lstat(path)
	if err != nil {
		return nil, err
	}
	if s.Type != tree.Dir {
		return nil, ErrNotFolder
	}
	if path == "" {
		path = "."
	}
	return f.root.Open(path)
}

func (f *fsys) renamePlain(from, to string) error {
	if err := errors.Join(f.real(from), f.real(to)); err != nil {
		return err
	}
	return f.root.Rename(from, to)
}

// renameNew renames only if to is free: a file gets a second name before it
// loses the first; where that is not possible, and for folders, after a look.
func (f *fsys) renameNew(from, to string) error {
	s, err := f.lstat(from)
	if err != nil {
		return err
	}
	if s.Type == tree.File {
		if err := f.link(from, to); err == nil {
			return f.root.Remove(from)
		} else if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := f.lstat(to); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.root.Rename(from, to)
}

func (f *fsys) canSwap() bool                { return false }
func (f *fsys) renameSwap(_, _ string) error { return errors.ErrUnsupported }

func (f *fsys) link(from, to string) error {
	if err := errors.Join(f.real(from), f.real(to)); err != nil {
		return err
	}
	return f.root.Link(from, to)
}

func (f *fsys) unlink(path string) error {
	s, err := f.lstat(path)
	if err != nil {
		return err
	}
	if s.Type == tree.Dir {
		return ErrNotFile
	}
	return f.root.Remove(path)
}

func (f *fsys) rmdir(path string) error {
	s, err := f.lstat(path)
	if err != nil {
		return err
	}
	if s.Type != tree.Dir {
		return ErrNotFolder
	}
	return f.root.Remove(path) // of a folder, only if it is empty
}

func (f *fsys) mkdir(path string, mode uint32) error {
	if err := f.real(path); err != nil {
		return err
	}
	return f.root.Mkdir(path, os.FileMode(mode))
}

func (f *fsys) symlink(target, path string) error {
	if err := f.real(path); err != nil {
		return err
	}
	return f.root.Symlink(target, path)
}

// setFile sets mode and mtime of an open file, which path names.
func (f *fsys) setFile(file *os.File, path string, mode uint32, mtime int64) error {
	if err := file.Chmod(os.FileMode(mode)); err != nil && runtime.GOOS != "windows" {
		return err
	}
	return f.root.Chtimes(path, time.Time{}, time.Unix(0, mtime))
}

func (f *fsys) setMeta(path string, mode uint32, mtime int64, check func(tree.Stat) error) (tree.Stat, error) {
	s, err := f.lstat(path)
	if err == nil {
		err = check(s)
	}
	if err != nil || s.Type == tree.Link {
		return s, err
	}
	if err := f.root.Chmod(path, os.FileMode(mode)); err != nil {
		return s, err
	}
	if err := f.root.Chtimes(path, time.Time{}, time.Unix(0, mtime)); err != nil {
		return s, err
	}
	return f.lstat(path)
}

func (f *fsys) setMode(path string, mode uint32) (tree.Stat, error) {
	if err := f.root.Chmod(path, os.FileMode(mode)); err != nil {
		return tree.Stat{}, err
	}
	return f.lstat(path)
}

func (f *fsys) touch(path string, now time.Time) error { return f.root.Chtimes(path, time.Time{}, now) }
func (f *fsys) adoptGroup(*os.File, string)            {}
func (f *fsys) lock() error                            { return nil }
func (f *fsys) probe()                                 {}

// syncFolder makes the names in an open folder durable.
func syncFolder(d *os.File) error {
	if runtime.GOOS == "windows" { // names are journalled, and a folder cannot be flushed
		return nil
	}
	return durable.SyncFile(d)
}

// syncAll makes everything on the file system durable, where that is possible.
func (f *fsys) syncAll() error { return durable.ErrUnsupported }

// A scratch is what one worker needs for one listing after the other.
type scratch struct{}

// list reads one folder, again if it changed meanwhile: a name that is renamed
// while a folder is read may be seen twice or not at all.
func (f *fsys) list(path string, _ *scratch) Listing {
	const tries = 3
	for try := 1; ; try++ {
		l := f.listOnce(path)
		if l.Err == nil {
			after, err := f.lstat(path)
			if err == nil && after.MTime == l.Stat.MTime && after.CTime == l.Stat.CTime {
				return l
			}
			l.Err = ErrChanging
		}
		if !errors.Is(l.Err, ErrChanging) || try == tries {
			l.Err = wrap("list", path, l.Err)
			return l
		}
	}
}

func (f *fsys) listOnce(path string) Listing {
	l := Listing{Path: path}
	dir, err := f.openFolder(path)
	if err != nil {
		l.Err = err
		return l
	}
	defer dir.Close()
	if l.Stat, l.Err = f.statFile(dir); l.Err != nil {
		return l
	}
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if path == "" && strings.EqualFold(name, private) {
				continue
			}
			e := Entry{Name: name}
			e.Stat, err = f.lstat(join(path, name))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				l.Err = ErrChanging
				continue
			case err != nil:
				e.Err, e.Stat.Type = wrap("stat", join(path, name), err), tree.Other
			case e.Stat.Type == tree.Other && e.Stat.Dev != f.self.Dev:
				e.OtherMount = true
			}
			l.Entries = append(l.Entries, e)
		}
		if len(names) == 0 {
			if err != nil && err != io.EOF {
				l.Err = err
			}
			return l
		}
	}
}
