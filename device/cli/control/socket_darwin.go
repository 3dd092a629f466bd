package control

import (
	"net"

	"golang.org/x/sys/unix"

	"signet/device/cli/home"
)

func throughDescriptor(home.Dir, string) (place, bool) { return place{}, false }

// ownPeer fails unless the other end is this user's process, or root's.
func ownPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Xucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	return ownUser(int(cred.Uid))
}
