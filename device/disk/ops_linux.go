//go:build !portable

package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// Steps that change names and metadata.

func (f *fsys) rename(from, to string, flags uint) error {
	return f.at(from, func(fromFD int, fromName string) error {
		return f.at(to, func(toFD int, toName string) error {
			return unix.Renameat2(fromFD, fromName, toFD, toName, flags)
		})
	})
}

// renamePlain replaces what to names.
func (f *fsys) renamePlain(from, to string) error { return f.rename(from, to, 0) }

// renameNew renames only if to is free. Where the file system cannot do that
// in one step a file gets a second name before it loses the first (a crash
// between leaves both), and a folder is renamed after a look.
func (f *fsys) renameNew(from, to string) error {
	if f.noReplace {
		return f.rename(from, to, unix.RENAME_NOREPLACE)
	}
	s, err := f.lstat(from)
	if err != nil {
		return err
	}
	if s.Type != tree.Dir {
		if err := f.link(from, to); err == nil {
			return f.unlink(from)
		} else if errors.Is(err, fs.ErrExist) || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EMLINK) {
			return err
		}
	}
	if _, err := f.lstat(to); err == nil {
		return unix.EEXIST
	} else if err != unix.ENOENT {
		return err
	}
	return f.renamePlain(from, to)
}

// renameSwap exchanges what a and b name, or returns errors.ErrUnsupported.
func (f *fsys) renameSwap(a, b string) error {
	if !f.exchange {
		return errors.ErrUnsupported
	}
	return f.rename(a, b, unix.RENAME_EXCHANGE)
}

// link gives a file or link a second name.
func (f *fsys) link(from, to string) error {
	return f.at(from, func(fromFD int, fromName string) error {
		return f.at(to, func(toFD int, toName string) error {
			return unix.Linkat(fromFD, fromName, toFD, toName, 0)
		})
	})
}

func (f *fsys) unlink(path string) error {
	return f.at(path, func(fd int, name string) error { return unix.Unlinkat(fd, name, 0) })
}

func (f *fsys) rmdir(path string) error {
	return f.at(path, func(fd int, name string) error { return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) })
}

func (f *fsys) mkdir(path string, mode uint32) error {
	return f.at(path, func(fd int, name string) error { return unix.Mkdirat(fd, name, mode) })
}

func (f *fsys) symlink(target, path string) error {
	return f.at(path, func(fd int, name string) error { return unix.Symlinkat(target, fd, name) })
}

// setFile sets mode and mtime of an open file.
func (f *fsys) setFile(file *os.File, _ string, mode uint32, mtime int64) error {
	fd := int(file.Fd())
	if err := eintr0(func() error { return unix.Fchmod(fd, mode) }); err != nil {
		return err
	}
	return setTime(fd, mtime)
}

// setTime sets the mtime of whatever fd is open on, a link itself included.
func setTime(fd int, mtime int64) error {
	t := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtime)}
	err := eintr0(func() error { return unix.UtimesNanoAt(fd, "", t, unix.AT_EMPTY_PATH) })
	if err == unix.EINVAL { // before Linux 5.8
		err = eintr0(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd), t, 0) })
	}
	return err
}

// setMeta sets mode (of files and folders) and mtime of path, if check likes
// what it is. Both go through one descriptor: a name that is swapped after the
// check changes nothing else. A folder keeps its set-group-id and sticky bits,
// which are how its files get their group.
func (f *fsys) setMeta(path string, mode uint32, mtime int64, check func(tree.Stat) error) (tree.Stat, error) {
	fd, err := f.open(path, unix.O_PATH, 0)
	if err != nil {
		return tree.Stat{}, err
	}
	defer unix.Close(fd)
	s, err := f.statFD(fd)
	if err == nil && s.Type == tree.Link {
		s.Target, err = readlink(fd, "")
	}
	if err == nil {
		err = check(s)
	}
	if err != nil {
		return s, err
	}
	if s.Type == tree.Dir {
		mode |= s.Mode & 0o7000
	}
	if s.Type != tree.Link && s.Mode != mode {
		if err := chmodPath(fd, mode); err != nil {
			return s, err
		}
	}
	if s.MTime != mtime {
		if err := setTime(fd, mtime); err != nil {
			return s, err
		}
	}
	target := s.Target
	s, err = f.statFD(fd)
	s.Target = target
	return s, err
}

// chmodPath changes the mode of what an O_PATH descriptor is open on, which
// needs no permission to read it.
func chmodPath(fd int, mode uint32) error {
	err := eintr0(func() error { return unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH) })
	if err == unix.ENOSYS || err == unix.EOPNOTSUPP || err == unix.EINVAL || err == unix.EPERM {
		err = eintr0(func() error { return unix.Chmod(procPath(fd), mode) })
	}
	return err
}

// adoptGroup gives a file that was staged elsewhere the group that it would
// have got if it had been made in folder: shared folders rely on it. Best
// effort, since the group may be one that this user cannot give.
func (f *fsys) adoptGroup(file *os.File, folder string) {
	fd, err := f.open(folder, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_ISGID != 0 {
		unix.Fchown(int(file.Fd()), -1, int(st.Gid))
	}
}

func (f *fsys) canSwap() bool { return f.exchange }

// setMode is setMeta without a look and without a time, for a folder just made.
func (f *fsys) setMode(path string, mode uint32) (tree.Stat, error) {
	fd, err := f.open(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return tree.Stat{}, err
	}
	defer unix.Close(fd)
	s, err := f.statFD(fd)
	if err == nil && s.Mode != s.Mode&0o7000|mode {
		err = chmodPath(fd, s.Mode&0o7000|mode)
	}
	if err != nil {
		return s, err
	}
	return f.statFD(fd)
}
