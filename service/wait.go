package service

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"signet"
	"signet/core/journal"
	"signet/transport"
)

// A waiter is a session that waits for logs to grow.
type waiter struct {
	*session
	mu    sync.Mutex
	dirty map[signet.LogID]bool
	all   bool // look at every log: who may see what may have changed
	shown []signet.Glimpse
	bell  chan struct{}
}

// mostShown is how many glimpses wait for one stream: 1 MiB. Who takes them more
// slowly than they come misses some.
const mostShown = 64

func newWaiter(x *session) *waiter {
	return &waiter{session: x, dirty: map[signet.LogID]bool{}, all: true, bell: make(chan struct{}, 1)}
}

func (w *waiter) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// wake tells that a log grew; wakeAll that any may have.
func (w *waiter) wake(log signet.LogID) {
	w.mu.Lock()
	w.dirty[log] = true
	w.mu.Unlock()
	w.ring()
}

func (w *waiter) wakeAll() {
	w.mu.Lock()
	w.all = true
	w.mu.Unlock()
	w.ring()
}

// show tells what another device shows.
func (w *waiter) show(g signet.Glimpse) {
	w.mu.Lock()
	if len(w.shown) < mostShown {
		w.shown = append(w.shown, g)
	}
	w.mu.Unlock()
	w.ring()
}

// take returns what to look at and forgets it.
func (w *waiter) take() (dirty map[signet.LogID]bool, all bool, shown []signet.Glimpse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dirty, all, shown = w.dirty, w.all, w.shown
	w.dirty, w.all, w.shown = map[signet.LogID]bool{}, false, nil
	return dirty, all, shown
}

// Show implements signet.Chunks. What is shown is in memory until the streams took
// it, and nowhere else.
func (x *session) Show(_ context.Context, region signet.RegionID, sealed []byte) (seen bool, err error) {
	if _, err := x.region(region, journal.Writer); err != nil {
		return false, err
	}
	if len(sealed) > transport.MaxGlimpse {
		return false, transport.Errorf(transport.KindTooLarge, "glimpse of %d bytes, at most %d allowed", len(sealed), transport.MaxGlimpse)
	}
	g := signet.Glimpse{Region: region, From: x.device, Sealed: bytes.Clone(sealed)}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for w := range x.waiters {
		if w.device == x.device {
			continue
		}
		if _, err := w.reads(signet.Journal(region)); err == nil {
			w.show(g)
			seen = true
		}
	}
	return seen, nil
}

// Wait implements signet.Log. Growth while a page is being sent is merged into
// the next one. A glimpse goes before the pages that are newer.
func (x *session) Wait(ctx context.Context, heads map[signet.LogID]uint64, each func(signet.Page) error, shown func(signet.Glimpse)) error {
	next := make(map[signet.LogID]uint64, len(heads))
	for l, n := range heads {
		next[l] = n
	}
	w := newWaiter(x)
	x.mu.Lock()
	x.waiters[w] = struct{}{}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.waiters, w)
		x.mu.Unlock()
	}()
	for first := true; ; first = false {
		dirty, all, glimpses := w.take()
		if err := x.check(all); err != nil {
			return err
		}
		for _, g := range glimpses {
			if shown != nil {
				shown(g)
			}
		}
		if all {
			dirty = x.visible(next)
		}
		for _, log := range slices.SortedFunc(maps.Keys(dirty), inTurn) {
			if err := x.follow(ctx, log, next, each); err != nil {
				return err
			}
		}
		if first {
			if err := x.caughtUp(next, each); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.bell:
		}
	}
}

// inTurn orders logs for those who wait: the directory before the journals, which
// are checked against it.
func inTurn(a, b signet.LogID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.ID[:], b.ID[:]))
}

// caughtUp tells a waiter that what there was is through.
func (x *session) caughtUp(next map[signet.LogID]uint64, each func(signet.Page) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, h := range x.logs {
		if id.Kind != signet.DirectoryLog {
			continue
		}
		c, err := x.fulls.checkpoint(h, x.config.Key)
		if err != nil {
			return err
		}
		page := signet.Page{Log: id, From: next[id], Checkpoint: c.Bytes()}
		x.mu.Unlock()
		err = each(page)
		x.mu.Lock()
		return err
	}
	return nil
}

// check is active, asked where the directory may have changed.
func (x *session) check(all bool) error {
	if !all {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.active()
}

// visible lists the logs that the device may read and has not seen the end of.
func (x *session) visible(next map[signet.LogID]uint64) map[signet.LogID]bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := map[signet.LogID]bool{}
	for id, h := range x.logs {
		if h.tip == nil || h.Size == next[id] {
			continue
		}
		if _, err := x.reads(id); err == nil {
			out[id] = true
		}
	}
	return out
}

// follow sends pages of a log until its end. A device that is ahead of the log
// gets an empty page, so that it sees that the service went back.
func (x *session) follow(ctx context.Context, log signet.LogID, next map[signet.LogID]uint64, each func(signet.Page) error) error {
	for ctx.Err() == nil {
		page, more, err := x.notice(log, next[log])
		if err != nil || !more {
			return err
		}
		if err := each(page); err != nil {
			return err
		}
		next[log] = page.From + uint64(len(page.Records))
		if len(page.Records) == 0 {
			return nil
		}
	}
	return ctx.Err()
}

// notice makes the page that follows position from; more is false where there
// is nothing to send.
func (x *session) notice(log signet.LogID, from uint64) (page signet.Page, more bool, err error) {
	x.mu.Lock()
	h, err := x.reads(log)
	if err != nil {
		x.mu.Unlock()
		// A log that the device may not read any more, or not yet, is not
		// spoken of; a device that was revoked is told.
		if e := x.check(true); e != nil {
			return page, false, e
		}
		return page, false, nil
	}
	if from == h.Size {
		x.mu.Unlock()
		return page, false, nil
	}
	c, err := x.fulls.checkpoint(h, x.config.Key)
	size, num, sees := h.Size, h.Num, x.sees(h)
	recent, inMemory := h.since(from)
	x.mu.Unlock()
	if err != nil {
		return page, false, err
	}
	page = signet.Page{Log: log, From: from, Checkpoint: c.Bytes()}
	switch {
	case from > size:
		page.From = size
	case inMemory:
		page.Records = make([]signet.Record, len(recent))
		for i, r := range recent {
			page.Records[i] = shown(r, sees)
		}
	default:
		if page.Records, err = x.records(num, from, size, signet.Whole, sees); err != nil {
			return page, false, err
		}
		for i := range page.Records {
			if len(page.Records[i].Blob) > maxNoticeBlob {
				page.Records[i].Blob = nil
			}
		}
	}
	return page, true, nil
}
