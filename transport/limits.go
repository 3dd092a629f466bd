package transport

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"signet"
)

// Limits bounds what a Handler takes from the network. A zero field has the
// default that is named with it.
type Limits struct {
	Conns      int           // open connections altogether: 8192
	PerAddress int           // open connections of one address (IPv6: one /64): 1024; loopback is not counted
	ConnRate   float64       // requests per second of one connection, ten seconds' worth at once: 500
	DeviceRate float64       // requests per second of one device on all its connections, likewise: 1000
	PublicRate float64       // requests per second of one address without a device, and its failed connects, likewise: 50
	Uploads    int           // Put requests that hold a buffer of up to 8 MiB at once, one device at most half of them: 16
	Ping       time.Duration // between signs of life on a waiting stream: 25 s
	Stall      time.Duration // how long a peer may move no byte: 60 s
	Drain      time.Duration // how long running requests may take after Serve was told to end: 20 s
}

// WithDefaults returns l with every zero field set.
func (l Limits) WithDefaults() Limits {
	number := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	perSecond := func(f *float64, d float64) {
		if *f <= 0 {
			*f = d
		}
	}
	duration := func(t *time.Duration, d time.Duration) {
		if *t <= 0 {
			*t = d
		}
	}
	number(&l.Conns, 8192)
	number(&l.PerAddress, 1024)
	number(&l.Uploads, 16)
	perSecond(&l.ConnRate, 500)
	perSecond(&l.DeviceRate, 1000)
	perSecond(&l.PublicRate, 50)
	duration(&l.Ping, 25*time.Second)
	duration(&l.Stall, 60*time.Second)
	duration(&l.Drain, 20*time.Second)
	return l
}

// slowest is the rate in bytes per second below which a transfer is taken for
// dead, however large: a deadline is the stall time and this.
const slowest = 8 << 10

// patience is how long n bytes may take.
func patience(stall time.Duration, n int64) time.Duration {
	return stall + time.Duration(n)*time.Second/slowest
}

// longestDelay is how long a request over its rate waits before it is refused.
const longestDelay = time.Second

// limiters keeps one limiter per key, and forgets those that are full again.
type limiters struct {
	perSecond float64

	mu   sync.Mutex
	byID map[string]*rate.Limiter
}

func newLimiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(10*perSecond)))
}

func (l *limiters) get(id string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.byID[id]; x != nil {
		return x
	}
	// A full limiter is the same as a new one: dropping it forgives nothing.
	if len(l.byID) >= 1024 && len(l.byID)&(len(l.byID)-1) == 0 {
		for k, x := range l.byID {
			if x.Tokens() >= float64(x.Burst()) {
				delete(l.byID, k)
			}
		}
	}
	if l.byID == nil {
		l.byID = make(map[string]*rate.Limiter)
	}
	x := newLimiter(l.perSecond)
	l.byID[id] = x
	return x
}

// uploads bounds the large buffers: slots for all, a count for each device, so
// that one that sends slowly on many connections leaves room for the others.
type uploads struct {
	slots chan struct{}
	most  int // of one device

	mu sync.Mutex
	by map[signet.DeviceID]int
}

func newUploads(n int) *uploads {
	return &uploads{slots: make(chan struct{}, n), most: (n + 1) / 2, by: make(map[signet.DeviceID]int)}
}

// begin waits for a slot, or refuses a device that has its share.
func (u *uploads) begin(ctx context.Context, d signet.DeviceID) error {
	u.mu.Lock()
	if u.by[d] >= u.most {
		u.mu.Unlock()
		return Errorf(KindRate, "this device sends %d bodies already", u.most).WithHint("use fewer connections")
	}
	u.by[d]++
	u.mu.Unlock()
	select {
	case u.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		u.forget(d)
		return ctx.Err()
	}
}

func (u *uploads) end(d signet.DeviceID) {
	<-u.slots
	u.forget(d)
}

func (u *uploads) forget(d signet.DeviceID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by[d]--; u.by[d] == 0 {
		delete(u.by, d)
	}
}

// addressOf is what connections are counted by: the address, or an IPv6 /64,
// which one customer has whole.
func addressOf(remote string) (addr string, loopback bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote, false
	}
	a := ap.Addr().Unmap()
	if a.Is6() && !a.IsLoopback() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String(), false
		}
	}
	return a.String(), a.IsLoopback()
}
