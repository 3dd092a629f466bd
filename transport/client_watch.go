package transport

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// errStalled is the cause of a context that a watchdog ended.
var errStalled = errors.New("no byte moved for too long")

// A watchdog ends a request's context when nothing of the answer's body comes
// for a while: a peer that vanished says nothing, and TCP may wait for ever.
type watchdog struct {
	cancel context.CancelFunc
	timer  *time.Timer
	limit  time.Duration
	fired  atomic.Bool
}

func watched(ctx context.Context, after time.Duration) (context.Context, *watchdog) {
	w := &watchdog{limit: after}
	ctx, w.cancel = context.WithCancel(ctx)
	return ctx, w
}

// stop frees the watchdog and the context.
func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel()
}

// reading is called before a read of the body, rested after it: what the
// caller does between two reads is not the peer's silence.
func (w *watchdog) reading() {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, func() {
			w.fired.Store(true)
			w.cancel()
		})
		return
	}
	w.timer.Reset(w.limit)
}

func (w *watchdog) rested() { w.timer.Stop() }

// watchedBody is an answer's body under a watchdog.
type watchedBody struct {
	io.ReadCloser
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.reading()
	n, err := b.ReadCloser.Read(p)
	b.watch.rested()
	if err != nil && b.watch.fired.Load() {
		err = errStalled
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.stop()
	return err
}
