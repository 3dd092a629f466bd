package e2e

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy is the network between devices and service: it counts what crosses
// it, may be slow, and stays where it is while the service comes and goes.
type proxy struct {
	l        net.Listener
	upstream atomic.Pointer[string] // nil: nobody there
	up, down atomic.Int64           // bytes from and to devices
	limit    atomic.Int64           // bytes a second from devices; 0: none

	mu    sync.Mutex
	ready time.Time // when the next byte from a device may pass
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) serve(device net.Conn) {
	defer device.Close()
	to := p.upstream.Load()
	if to == nil {
		return
	}
	service, err := net.Dial("tcp", *to)
	if err != nil {
		return
	}
	defer service.Close()
	var both sync.WaitGroup
	both.Go(func() { p.carry(service, device, &p.up, true) })
	both.Go(func() { p.carry(device, service, &p.down, false) })
	both.Wait()
}

func (p *proxy) carry(to, from net.Conn, count *atomic.Int64, limited bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		count.Add(int64(n))
		if limited {
			p.wait(n)
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			if err != io.EOF {
				break
			}
			to.(*net.TCPConn).CloseWrite()
			return
		}
	}
	// One side is gone: the other hears of it at once.
	to.Close()
	from.Close()
}

// wait lets n bytes pass at the limit, over all connections together.
func (p *proxy) wait(n int) {
	limit := p.limit.Load()
	if limit == 0 || n == 0 {
		return
	}
	p.mu.Lock()
	now := time.Now()
	if p.ready.Before(now) {
		p.ready = now
	}
	p.ready = p.ready.Add(time.Duration(int64(n) * int64(time.Second) / limit))
	pause := p.ready.Sub(now)
	p.mu.Unlock()
	<-time.After(pause)
}
