//go:build unix

package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFile uses flock, which belongs to the open file and so ends with the
// process however it ends.
func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrHeld
		default:
			return err
		}
	}
}

// private fails where another user owns the folder or may write in it.
func private(dir string, info fs.FileInfo) error {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Getuid() {
		return &notPrivate{"home_owner", fmt.Sprintf("home %s: belongs to user %d, and this is user %d", dir, s.Uid, os.Getuid()),
			"use a home of your own: --home DIR"}
	}
	if m := info.Mode().Perm(); m&0o022 != 0 {
		return &notPrivate{"home_mode", fmt.Sprintf("home %s: mode %04o lets others write in it", dir, m), "chmod 700 " + dir}
	}
	return nil
}

// notPrivate says that a home is not this user's alone.
type notPrivate struct{ kind, text, hint string }

func (e *notPrivate) Error() string     { return e.text }
func (e *notPrivate) ErrorKind() string { return e.kind }
func (e *notPrivate) ErrorHint() string { return e.hint }
