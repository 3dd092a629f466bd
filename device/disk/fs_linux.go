//go:build !portable

package disk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"signet/core/tree"
	"signet/internal/durable"
)

// A fsys does single steps below one open folder. No step follows a link or
// crosses into another mount: every folder of a path is resolved by the kernel
// from the open root (openat2), so that a folder which is swapped for a link
// meanwhile makes the step fail instead of leading it outside.
type fsys struct {
	dir  string
	root *os.File
	self tree.Stat // of the root as it was opened

	walk      atomic.Bool // openat2 is missing: resolve name by name
	noReplace bool        // rename knows "only if the name is free"
	exchange  bool        // rename knows "swap"
	fineTimes bool        // every change after a stat has a time of its own
	locked    *os.File
}

func openFS(dir string) (*fsys, error) {
	fd, err := eintr(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := &fsys{dir: dir, root: os.NewFile(uintptr(fd), dir), noReplace: true, exchange: true}
	if f.self, err = f.statRoot(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fsys) close() error {
	var err error
	if f.locked != nil {
		err = f.locked.Close()
	}
	return errors.Join(err, f.root.Close())
}

// onRoot lends the root's descriptor. It stays open during do, so that a Close
// meanwhile cannot make its number another folder's.
func (f *fsys) onRoot(do func(fd int) error) error {
	conn, err := f.root.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if conn.Control(func(fd uintptr) { result = do(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return result
}

// eintr repeats call while a signal interrupts it, and where openat2 asks for
// another try because a rename passed by.
func eintr[T any](call func() (T, error)) (T, error) {
	for tries := 0; ; tries++ {
		v, err := call()
		if err != unix.EINTR && (err != unix.EAGAIN || tries > 100) {
			return v, err
		}
	}
}

func eintr0(call func() error) error {
	_, err := eintr(func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// open opens path ("" is the root) below the root. flags get O_NOFOLLOW and
// O_CLOEXEC. Paths longer than the kernel takes at once go in several steps.
func (f *fsys) open(path string, flags int, mode uint32) (fd int, err error) {
	fd = -1
	err = f.onRoot(func(root int) error {
		fd, err = f.openLong(root, path, flags, mode)
		return err
	})
	return fd, err
}

func (f *fsys) openLong(root int, path string, flags int, mode uint32) (int, error) {
	const most = 4000 // below PATH_MAX, with its NUL
	dirfd, owned := root, false
	for len(path) > most {
		cut := strings.LastIndexByte(path[:most], '/')
		if cut < 0 {
			break
		}
		next, err := f.openFrom(dirfd, path[:cut], unix.O_PATH|unix.O_DIRECTORY, 0)
		if owned {
			unix.Close(dirfd)
		}
		if err != nil {
			return -1, err
		}
		dirfd, owned, path = next, true, path[cut+1:]
	}
	fd, err := f.openFrom(dirfd, path, flags, mode)
	if owned {
		unix.Close(dirfd)
	}
	return fd, err
}

func (f *fsys) openFrom(dirfd int, path string, flags int, mode uint32) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if path == "" {
		path = "."
	}
	if !f.walk.Load() {
		fd, err := eintr(func() (int, error) {
			return unix.Openat2(dirfd, path, &unix.OpenHow{
				Flags: uint64(flags), Mode: uint64(mode),
				Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
			})
		})
		if err != unix.ENOSYS && err != unix.EPERM {
			return fd, err
		}
		if err == unix.EPERM && openat2Works() {
			return -1, err
		}
		f.walk.Store(true)
	}
	return f.openByName(dirfd, path, flags, mode)
}

// openat2Works tells a container that forbids the call from a file that may
// not be opened.
func openat2Works() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// openByName is openat2 in user space: one folder after the other, none of
// them a link (O_PATH with O_NOFOLLOW opens the link itself, which is then not
// a folder). Of mounts it sees only those of other devices.
func (f *fsys) openByName(dirfd int, path string, flags int, mode uint32) (int, error) {
	folder, name := split(path)
	owned := false
	if folder != "" {
		for part := range strings.SplitSeq(folder, "/") {
			next, err := eintr(func() (int, error) {
				return unix.Openat(dirfd, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			})
			if owned {
				unix.Close(dirfd)
			}
			if err != nil {
				return -1, err
			}
			dirfd, owned = next, true
			if s, err := f.statFD(next); err == nil && s.Dev != f.self.Dev {
				unix.Close(next)
				return -1, unix.EXDEV
			}
		}
	}
	fd, err := eintr(func() (int, error) { return unix.Openat(dirfd, name, flags, mode) })
	if owned {
		unix.Close(dirfd)
	}
	return fd, err
}

// at calls do with the open folder that holds path, and path's last name.
func (f *fsys) at(path string, do func(dirfd int, name string) error) error {
	folder, name := split(path)
	if folder == "" {
		return f.onRoot(func(fd int) error { return eintr0(func() error { return do(fd, name) }) })
	}
	fd, err := f.open(folder, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return eintr0(func() error { return do(fd, name) })
}

const (
	statMask  = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	statFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
)

// statx is the system call on a name that ends in NUL, which a listing has in
// its buffer: a million files, no million small allocations.
func statx(dirfd int, name *byte, flags int, st *unix.Statx_t) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(name)),
			uintptr(flags), statMask, uintptr(unsafe.Pointer(st)), 0)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

func nanos(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// signature turns what the kernel says into a Stat. A name that another mount
// covers is Other: what is below is not of this volume. Devices tell that of
// folders only: overlay file systems give files devices of their own.
func (f *fsys) signature(st *unix.Statx_t) (s tree.Stat, mount bool) {
	s = tree.Stat{
		Type: tree.Other, Mode: uint32(st.Mode) & 0o7777,
		MTime: nanos(st.Mtime), CTime: nanos(st.Ctime),
		Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino, Links: st.Nlink,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		s.Birth = nanos(st.Btime)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		s.Type, s.Size = tree.File, int64(st.Size)
	case unix.S_IFDIR:
		s.Type = tree.Dir
		mount = s.Dev != f.self.Dev && f.self.Inode != 0
	case unix.S_IFLNK:
		s.Type, s.Size = tree.Link, int64(st.Size)
	}
	if st.Attributes&st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		mount = true
	}
	if mount {
		s.Type, s.Size = tree.Other, 0
	}
	return s, mount
}

func (f *fsys) statFD(fd int) (tree.Stat, error) {
	var st unix.Statx_t
	var empty byte
	if err := statx(fd, &empty, statFlags|unix.AT_EMPTY_PATH, &st); err != nil {
		return tree.Stat{}, err
	}
	// Whoever holds a descriptor came here through this file system; the root
	// itself may well be a mount.
	st.Attributes_mask &^= unix.STATX_ATTR_MOUNT_ROOT
	s, _ := f.signature(&st)
	return s, nil
}

func (f *fsys) statRoot() (s tree.Stat, err error) {
	err = f.onRoot(func(fd int) error {
		s, err = f.statFD(fd)
		return err
	})
	return s, err
}

func (f *fsys) statFile(file *os.File) (tree.Stat, error) {
	return f.statFD(int(file.Fd()))
}

// lstat is what the file system says of path, links not followed.
func (f *fsys) lstat(path string) (tree.Stat, error) {
	if path == "" {
		return f.statRoot()
	}
	var s tree.Stat
	err := f.at(path, func(dirfd int, name string) error {
		p, err := unix.BytePtrFromString(name)
		if err != nil {
			return err
		}
		var st unix.Statx_t
		if err := statx(dirfd, p, statFlags, &st); err != nil {
			return err
		}
		s, _ = f.signature(&st)
		if s.Type == tree.Link {
			s.Target, err = readlink(dirfd, name)
		}
		return err
	})
	return s, err
}

func readlink(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, b)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// openRead opens a regular file for reading. O_NONBLOCK keeps a FIFO that took
// the name meanwhile from blocking the open for ever; it is then refused.
func (f *fsys) openRead(path string) (*os.File, tree.Stat, error) {
	fd, err := f.open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		if err == unix.ELOOP {
			if s, e := f.lstat(path); e == nil && s.Type == tree.Link {
				err = ErrNotFile
			}
		} else if err == unix.ENXIO { // a socket
			err = ErrNotFile
		}
		return nil, tree.Stat{}, err
	}
	s, err := f.statFD(fd)
	if err == nil && s.Type != tree.File {
		err = ErrNotFile
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0) // it blocks again
	}
	if err != nil {
		unix.Close(fd)
		return nil, s, err
	}
	return os.NewFile(uintptr(fd), path), s, nil
}

// create makes a private file that must not exist; openWrite opens one again.
func (f *fsys) create(path string) (*os.File, error) {
	return f.openRW(path, unix.O_CREAT|unix.O_EXCL)
}
func (f *fsys) openWrite(path string) (*os.File, error) { return f.openRW(path, unix.O_NONBLOCK) }

func (f *fsys) openRW(path string, flags int) (*os.File, error) {
	var mode uint32
	if flags&unix.O_CREAT != 0 { // openat2 takes a mode only then
		mode = 0o600
	}
	fd, err := f.open(path, unix.O_RDWR|flags, mode)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openFolder opens a folder for listing or syncing.
func (f *fsys) openFolder(path string) (*os.File, error) {
	fd, err := f.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (f *fsys) free() (bytes, total uint64, err error) {
	st, err := f.statfs()
	if err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

func (f *fsys) statfs() (st unix.Statfs_t, err error) {
	err = f.onRoot(func(fd int) error {
		return eintr0(func() error { return unix.Fstatfs(fd, &st) })
	})
	return st, err
}

// fileSystem tells this file system from every other: by its UUID (Linux 6.9
// on the common ones), and by the id of statfs, which some file systems derive
// from the device number.
func (f *fsys) fileSystem() (uuid, id string) {
	var u struct {
		length uint8
		uuid   [16]byte
	}
	const getUUID = 0x80111500 // FS_IOC_GETFSUUID
	f.onRoot(func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getUUID, uintptr(unsafe.Pointer(&u)))
		if errno == 0 && u.length <= 16 && u.uuid != [16]byte{} {
			uuid = hex.EncodeToString(u.uuid[:u.length])
		}
		return nil
	})
	if st, err := f.statfs(); err == nil {
		b := *(*[8]byte)(unsafe.Pointer(&st.Fsid))
		id = hex.EncodeToString(b[:])
	}
	return uuid, id
}

// lock keeps a second program from working on the volume, until close.
func (f *fsys) lock() error {
	d, err := f.openFolder(private)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if err == unix.EWOULDBLOCK {
			return ErrInUse
		}
		return nil // a file system without locks
	}
	f.locked = d
	return nil
}

// probe finds out what rename can do here, with two empty files in staging.
// What cannot be found out (no space, read-only) counts as supported: the
// rename itself will say.
func (f *fsys) probe() {
	a, b := stagingPath+"/probe-"+rand.Text()[:10], stagingPath+"/probe-"+rand.Text()[:10]
	defer f.unlink(a)
	defer f.unlink(b)
	for _, p := range []string{a, b} {
		file, err := f.create(p)
		if err != nil {
			return
		}
		file.Close()
	}
	f.fineTimes = f.probeTimes(a, b)
	f.exchange = !unsupported(f.rename(a, b, unix.RENAME_EXCHANGE))
	// To a free name: that one is taken the kernel says for every file system.
	f.unlink(b)
	f.noReplace = !unsupported(f.rename(a, b, unix.RENAME_NOREPLACE))
}

// probeTimes renames b over a several times, much faster than a kernel's clock
// ticks, and sees whether the folder's time differs after each.
func (f *fsys) probeTimes(a, b string) bool {
	before, err := f.lstat(stagingPath)
	for range 8 {
		if err != nil || f.renamePlain(b, a) != nil {
			return false
		}
		file, e := f.create(b)
		if e != nil {
			return false
		}
		file.Close()
		var after tree.Stat
		if after, err = f.lstat(stagingPath); after.CTime == before.CTime {
			return false
		}
		before = after
	}
	return err == nil
}

func unsupported(err error) bool {
	return err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP
}

// touch sets mtime of a folder of Signet's own to now.
func (f *fsys) touch(path string, now time.Time) error {
	return f.at(path, func(fd int, name string) error {
		t := unix.NsecToTimespec(now.UnixNano())
		return unix.UtimesNanoAt(fd, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// syncFolder makes the names in an open folder durable.
func syncFolder(d *os.File) error { return durable.SyncFile(d) }

// syncAll makes everything on the file system durable.
func (f *fsys) syncAll() error { return durable.SyncFS(f.root) }
