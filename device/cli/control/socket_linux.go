package control

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"signet/device/cli/home"
)

// throughDescriptor names a socket whose path is too long by an open
// descriptor of its folder.
func throughDescriptor(d home.Dir, path string) (place, bool) {
	fd, err := unix.Open(string(d), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, false
	}
	via := fmt.Sprintf("/proc/self/fd/%d", fd)
	if _, err := os.Stat(via); err != nil { // no /proc here
		unix.Close(fd)
		return place{}, false
	}
	return place{path, via + "/" + filepath.Base(path), func() { unix.Close(fd) }}, true
}

// ownPeer fails unless the other end is this user's process, or root's.
func ownPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	return ownUser(int(cred.Uid))
}
