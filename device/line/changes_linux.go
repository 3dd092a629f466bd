package line

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// addressChanges returns what the kernel says when a link or an address of the
// machine changed, whether it did since that was last asked, and what ends it. To
// list the addresses takes some 40 system calls, and done every other second they
// were half of what an idle daemon used; to be told takes none (rtnetlink(7), its
// multicast groups). Where the kernel does not tell, they may always have changed.
func addressChanges() (told <-chan struct{}, unsure func() bool, end func()) {
	always := func() bool { return true }
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, always, func() {}
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	if err := unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(s)
		return nil, always, func() {}
	}
	f := os.NewFile(uintptr(s), "netlink")
	tell := make(chan struct{}, 1)
	var changed, over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		message := make([]byte, 1) // what it says does not matter: the rest of it is cut off
		for {
			_, err := f.Read(message)
			if err != nil && !errors.Is(err, unix.ENOBUFS) { // that is: there were more than it keeps
				over.Store(true)
				return
			}
			changed.Store(true) // first: who is told finds it
			select {
			case tell <- struct{}{}:
			default:
			}
		}
	}()
	return tell, func() bool { return changed.Swap(false) || over.Load() }, func() { f.Close(); <-ended }
}
