package transport

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// TLS writes and reads a record of 16 KiB at a time. Where objects move, a system
// call for each, and a segment of TCP, and waking up the other end, cost as much as
// encrypting it does, so that there several records are moved at once.
const gatherSize = 64 << 10

// gatherRoom is what gatherSize bytes take as records, with a margin.
const gatherRoom = gatherSize + 4<<10

var gatherBuffers = sync.Pool{New: func() any { b := make([]byte, gatherRoom); return &b }}

// A gatherer is the connection below TLS. It holds buffers only while objects
// move: thousands of connections may be idle.
type gatherer struct {
	net.Conn

	mu  sync.Mutex // TLS may answer a key update while somebody writes
	out *[]byte    // nil: what is written goes out at once
	n   int        // bytes in out
}

// gather holds back what is written until flush, as far as there is room.
func (g *gatherer) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil {
		g.out, g.n = gatherBuffers.Get().(*[]byte), 0
	}
}

// flush sends what was held back, and ends holding back.
func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil {
		return nil
	}
	err := g.send()
	gatherBuffers.Put(g.out)
	g.out = nil
	return err
}

// send sends what is in out. mu is held.
func (g *gatherer) send() error {
	b := (*g.out)[:g.n]
	g.n = 0
	if len(b) == 0 {
		return nil
	}
	_, err := g.Conn.Write(b)
	return err
}

// Write implements net.Conn.
func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil {
		return g.Conn.Write(b)
	}
	if g.n+len(b) > len(*g.out) {
		if err := g.send(); err != nil {
			return 0, err
		}
		if len(b) > len(*g.out) {
			return g.Conn.Write(b)
		}
	}
	g.n += copy((*g.out)[g.n:], b)
	return len(b), nil
}

// A gatheringConn is a device's connection: what is written at once goes out at
// once, however many records it is.
type gatheringConn struct {
	*tls.Conn
	below *gatherer
}

// Write implements net.Conn.
func (c *gatheringConn) Write(b []byte) (n int, err error) {
	if len(b) <= gatherSize/4 {
		return c.Conn.Write(b)
	}
	c.below.gather()
	n, err = c.Conn.Write(b)
	if ferr := c.below.flush(); err == nil {
		err = ferr
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom, which net/http copies bodies with.
func (c *gatheringConn) ReadFrom(r io.Reader) (n int64, err error) {
	bp := gatherBuffers.Get().(*[]byte)
	defer gatherBuffers.Put(bp)
	buf := (*bp)[:gatherSize]
	for {
		k, rerr := r.Read(buf)
		if k > 0 {
			w, err := c.Write(buf[:k])
			n += int64(w)
			if err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
