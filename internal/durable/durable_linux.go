package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncData(f *os.File) error { return control(f, unix.Fdatasync) }

// syncFS does not believe file systems that have a program or another machine
// behind them: syncfs asks them nothing, and says that all is well.
func syncFS(f *os.File) error {
	var st unix.Statfs_t
	if err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return err
	}
	switch uint32(st.Type) {
	case unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.NFS_SUPER_MAGIC:
		return ErrUnsupported
	}
	return control(f, unix.Syncfs)
}

// begin ignores what the call says: what could not be written is reported by
// the Sync that follows.
func begin(f *os.File) {
	control(f, func(fd int) error { return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) })
}

// control calls call with f's descriptor, which stays open during the call,
// and again whenever a signal interrupts it.
func control(f *os.File, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = c.Control(func(fd uintptr) {
		for {
			if result = call(int(fd)); result != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, result)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
