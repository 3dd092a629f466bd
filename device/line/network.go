package line

import (
	"net"
	"net/netip"
	"time"
)

// A Network is what a device knows of the machine's network and sleep, from
// looking now and then, and where the system tells of a change.
type Network struct {
	told      <-chan struct{} // a change of links or addresses; nil where the system does not tell
	unsure    func() bool     // whether the addresses may be others than at the last call
	addresses func() map[netip.Addr]bool
	wall      func() time.Time     // also goes on while the machine sleeps
	awake     func() time.Duration // does not
	had       map[netip.Addr]bool
	at        time.Time
	ran       time.Duration
	end       func()
}

// asleep is from when on the clock of the wall has gone on without the other.
const asleep = 5 * time.Second

// NewNetwork begins to look. Close ends it.
func NewNetwork() *Network {
	began := time.Now()
	told, unsure, end := addressChanges() // before the first look, so that none is missed
	n := newNetwork(own, func() time.Time { return time.Now().Round(0) }, func() time.Duration { return time.Since(began) })
	n.told, n.unsure, n.end = told, unsure, end
	return n
}

// Told says that it is time to look. It never does where the system does not tell.
func (n *Network) Told() <-chan struct{} { return n.told }

// Close gives back what NewNetwork took of the system.
func (n *Network) Close() { n.end() }

func newNetwork(addresses func() map[netip.Addr]bool, wall func() time.Time, awake func() time.Duration) *Network {
	n := &Network{unsure: func() bool { return true }, end: func() {}, addresses: addresses, wall: wall, awake: awake}
	n.had, n.at, n.ran = addresses(), wall(), awake()
	return n
}

// A Change is what happened since the last look.
type Change struct {
	Slept bool                // the machine slept, or its clock was set: no connection is to be trusted
	Gone  map[netip.Addr]bool // addresses that went, or whose cable was pulled
	Came  map[netip.Addr]bool // those that came, or whose cable was put back
	since time.Time           // the last look, when these were not there
}

// Any reports whether something happened.
func (c Change) Any() bool { return c.Slept || len(c.Came) > 0 || len(c.Gone) > 0 }

// Concerns reports whether a connection from a local address, made at some time,
// is to be made anew: it was there while its address was not.
func (c Change) Concerns(local netip.Addr, made time.Time) bool {
	local = local.Unmap()
	return c.Slept || c.Gone[local] || c.Came[local] && made.Before(c.since)
}

// Look says what happened since the last look.
func (n *Network) Look() (c Change) {
	has, at, ran := n.had, n.wall(), n.awake()
	c.Slept = at.Sub(n.at)-(ran-n.ran) > asleep
	if n.unsure() || c.Slept {
		has = n.addresses()
	}
	c.Gone, c.Came, c.since = map[netip.Addr]bool{}, map[netip.Addr]bool{}, n.at
	for a := range has {
		if !n.had[a] {
			c.Came[a] = true
		}
	}
	for a := range n.had {
		if !has[a] {
			c.Gone[a] = true
		}
	}
	n.had, n.at, n.ran = has, at, ran
	return c
}

// own are the addresses of the machine's interfaces that are up and have a
// carrier.
func own() map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	interfaces, err := net.Interfaces()
	if err != nil {
		return all
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagRunning == 0 {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all[p.Addr().Unmap().WithZone("")] = true
			}
		}
	}
	return all
}
