package transport

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"signet"
	"signet/core/wire"
)

// wait streams pages as logs grow, and pings between them so that a device
// sees a dead stream. It ends when the device goes, when the session ends, and
// with a frame that says so when the service goes down.
func (c *call) wait() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	heads := takeHeads(r)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	// The stream has its connection to itself, and ends with it.
	c.w.Header().Set("Connection", "close")
	ctx, cancel := context.WithCancel(c.r.Context())
	n := &notices{stream: stream{c: c, buf: make([]byte, 0, 4<<10)}}
	var hello [4]byte
	binary.BigEndian.PutUint32(hello[:], uint32(c.limits.Ping.Milliseconds()))
	if err := n.send(frameHello, hello[:]); err != nil {
		cancel()
		return err
	}
	var pings sync.WaitGroup
	pings.Go(func() {
		// A device that takes no ping is gone.
		defer cancel()
		n.ping(ctx, c.limits.Ping, c.ch.server.stop)
	})
	err = c.ch.session.Wait(ctx, heads, n.page, n.shown)
	cancel()
	pings.Wait()
	if n.failed != nil {
		return nil
	}
	select {
	case <-c.ch.server.stop:
		return n.last(nil)
	case <-c.r.Context().Done():
		return nil
	default:
	}
	if err == nil {
		err = Errorf(KindUnavailable, "the service ended the stream")
	}
	return n.last(err)
}

// notices is the stream of a wait: pages and pings come from two goroutines.
type notices struct {
	mu sync.Mutex
	stream
	w wire.Writer
}

func (n *notices) send(kind uint8, body []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.frame(kind, body, nil); err != nil {
		return err
	}
	if err := n.flush(); err != nil {
		return err
	}
	if err := n.c.rc.Flush(); err != nil {
		n.failed = err
	}
	return n.failed
}

func (n *notices) ping(ctx context.Context, every time.Duration, stop <-chan struct{}) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if n.send(framePing, nil) != nil {
				return
			}
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// shown sends a glimpse. That a stream failed, the next page or ping finds.
func (n *notices) shown(g signet.Glimpse) {
	var w wire.Writer
	putGlimpse(&w, g)
	n.send(frameShown, w.B)
}

// page sends a page, in parts where it is larger than a page may be. Each part
// has the same checkpoint: the device sees from it that more follows.
func (n *notices) page(p signet.Page) error {
	if err := checkPage(p); err != nil {
		return err
	}
	for {
		n.w.B = n.w.B[:0]
		k := putPage(&n.w, p)
		if err := n.send(framePage, n.w.B); err != nil {
			return err
		}
		if cap(n.w.B) > smallBuffer {
			n.w.B = nil
		}
		if k == len(p.Records) {
			return nil
		}
		p.From += uint64(k)
		p.Records = p.Records[k:]
	}
}
