//go:build portable

package disk

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// The tag "portable" builds for Linux what other systems run, so that it is
// tested where tests run.

func statOf(fi os.FileInfo) tree.Stat {
	s := baseStat(fi)
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Mode = st.Mode & 0o7777
		s.CTime = st.Ctim.Nano()
		s.Dev, s.Inode, s.Links = st.Dev, st.Ino, uint32(st.Nlink)
	}
	return s
}

func (f *fsys) free() (bytes, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

func (f *fsys) fileSystem() (uuid, id string) {
	var st unix.Statfs_t
	if unix.Statfs(f.dir, &st) == nil {
		id = fmt.Sprintf("%x", st.Fsid.Val)
	}
	return "", id
}
