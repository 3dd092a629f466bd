package owner

import (
	"os"

	"golang.org/x/sys/unix"
)

// writing reports whether a program has f open for writing. A read lease is
// granted only where nobody has (fcntl(2), F_SETLEASE); it is given back at
// once. Where leases are not to be had (another user's file, some file
// systems) nobody is said to write, and the torn-read guard has to do.
func writing(f *os.File) bool {
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	busy := false
	c.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
		busy = err == unix.EAGAIN
	})
	return busy
}
