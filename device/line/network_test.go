package line

import (
	"net/netip"
	"testing"
	"time"
)

func TestALookTellsOfAddressesAndSleep(t *testing.T) {
	home, office := netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("10.1.2.3")
	has, wall, ran := map[netip.Addr]bool{home: true}, time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), time.Duration(0)
	n := newNetwork(func() map[netip.Addr]bool { return has }, func() time.Time { return wall }, func() time.Duration { return ran })
	old := wall.Add(-time.Minute)
	pass := func(awake, asleep time.Duration) Change {
		wall, ran = wall.Add(awake+asleep), ran+awake
		return n.Look()
	}
	if c := pass(2*time.Second, 0); c.Any() {
		t.Errorf("nothing happened: %+v", c)
	}
	if c := pass(2*time.Second, 3*time.Second); c.Any() {
		t.Errorf("the clock was corrected a little: %+v", c)
	}
	if c := pass(2*time.Second, time.Hour); !c.Slept || !c.Concerns(home, old) || !c.Concerns(office, old) {
		t.Errorf("after an hour of sleep: %+v", c)
	}
	if c := pass(time.Minute, 0); c.Any() {
		t.Errorf("a busy machine looks late: %+v", c)
	}
	has = map[netip.Addr]bool{}
	if c := pass(2*time.Second, 0); !c.Any() || c.Slept || !c.Concerns(home, old) || c.Concerns(office, old) {
		t.Errorf("the cable is pulled: %+v", c)
	}
	has = map[netip.Addr]bool{home: true, office: true}
	if c := pass(2*time.Second, 0); !c.Concerns(home, old) || !c.Concerns(office, old) || c.Concerns(home, wall.Add(-time.Second)) {
		t.Errorf("two addresses come, and one of two connections is from before they went: %+v", c)
	}
	has = map[netip.Addr]bool{home: true}
	if c := pass(2*time.Second, 0); c.Concerns(home, old) || !c.Concerns(netip.MustParseAddr("::ffff:10.1.2.3"), old) {
		t.Errorf("one of two goes: %+v", c)
	}
}

func TestThisMachineHasItsLoopbackAddress(t *testing.T) {
	if has := own(); !has[netip.MustParseAddr("127.0.0.1")] && !has[netip.MustParseAddr("::1")] {
		t.Errorf("no loopback address among %v", has)
	}
}
