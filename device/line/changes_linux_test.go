package line

import (
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// In a network of its own, where nobody else changes anything: a look lists the
// addresses after the kernel told of a change, and else asks once.
func TestAddressesAreListedWhereTheKernelTellsOfAChange(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread, with its network, ends here
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("SIGNET_TEST_ALL") == "" {
			return // networks are made by root alone
		}
		t.Fatal(err)
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
	}
	n := NewNetwork()
	defer n.Close()
	lists := 0
	n.addresses = func() map[netip.Addr]bool { lists++; return own() }
	self, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.9.8.7")
	// A change is told in several messages, some of which may come after a look.
	look := func(what string, came, gone []netip.Addr) {
		t.Helper()
		all := Change{Came: map[netip.Addr]bool{}, Gone: map[netip.Addr]bool{}}
		wait := 10 * time.Second
		for told := true; told; wait = 200 * time.Millisecond {
			select {
			case <-n.Told():
			case <-time.After(wait):
				told = false
			}
			c := n.Look()
			maps.Copy(all.Came, c.Came)
			maps.Copy(all.Gone, c.Gone)
		}
		for _, a := range came {
			if !all.Came[a] {
				t.Errorf("%s: %v did not come: %+v", what, a, all)
			}
		}
		for _, a := range gone {
			if !all.Gone[a] {
				t.Errorf("%s: %v did not go: %+v", what, a, all)
			}
		}
		before := lists
		if c := n.Look(); c.Any() || lists != before {
			t.Errorf("nothing happened after %s: %+v, listed %d times", what, c, lists-before)
		}
	}
	if c := n.Look(); c.Any() || lists > 0 {
		t.Errorf("nothing happened yet: %+v, listed %d times", c, lists)
	}
	ip("link", "set", "lo", "up")
	look("the link is up", []netip.Addr{self}, nil)
	ip("addr", "add", "10.9.8.7/24", "dev", "lo")
	look("an address is added", []netip.Addr{other}, nil)
	batch := exec.Command("ip", "-batch", "-")
	batch.Stdin = strings.NewReader(strings.Repeat("addr del 10.9.8.7/24 dev lo\naddr add 10.9.8.7/24 dev lo\n", 2000)) // more than a socket keeps
	if out, err := batch.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v %s", err, out)
	}
	look("one came and went, and is back", nil, nil)
	ip("link", "set", "lo", "down")
	look("the link is down", nil, []netip.Addr{self, other})
}
