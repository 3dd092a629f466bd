//go:build !linux || portable

package disk

import (
	"context"
	"time"
)

// pollTime is how often Watch asks for a scan.
const pollTime = 30 * time.Second

// Watch on this system watches nothing: it sends Overflow, which asks for a
// scan, every 30 seconds, and RootGone instead when Check fails, until ctx
// ends. It does without skip.
func (v *Volume) Watch(ctx context.Context, _ func(path string) bool) (<-chan Event, error) {
	q := newEventQueue()
	out := make(chan Event)
	go q.deliver(ctx, out)
	go func() {
		tick := time.NewTicker(pollTime)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if v.Check() != nil {
				q.put("", RootGone)
			} else {
				q.put("", Overflow)
			}
		}
	}()
	return out, nil
}
