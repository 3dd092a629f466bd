// Package line shares a device's line to its service: all that a device sends
// and fetches asks it first, or is counted by it.
//
// It promises an order and shares for objects, whoever sends them: what a person
// just saved goes before small files, these before large ones, and what waits
// longest by that order still gets the share that it is promised, of whatever the
// line carries. It promises that no direction carries more than its limit, over
// seconds. Messages (entries, pages, questions) wait for no object; what they
// use, objects have less of. It does not know how fast the line is: shares are
// kept by counting what moved, so that the slower of two transfers paces the
// other.
//
// Design: doc/design/0028.
package line

import (
	"context"
	"math"
	"sync"
	"time"
)

// A Direction is up (to the service) or down.
type Direction uint8

// Directions.
const (
	Up Direction = iota
	Down
)

// A Class says how urgent the objects of a transfer are.
type Class uint8

// The classes, the most urgent first.
const (
	Saved   Class = iota // what a person saved a moment ago
	Small                // small files, and what nobody says anything of
	Next                 // of large files, the smallest that waits
	Largest              // the largest file that waits
	classes
)

// shares are what each class gets at least of what moves while it has something
// to move.
var shares = [classes]float64{Small: 0.1, Next: 0.05, Largest: 0.2}

const (
	// owed is the most, in bytes, that a class is behind or ahead of its share:
	// how far back it remembers.
	owed = 256 << 10
	// silent is after how long a transfer that moves nothing holds nobody up.
	silent = 2 * time.Second
	// burst is how much of a limit's time may be used at once after a rest, and
	// patience how far messages may run ahead of it before they wait too.
	burst    = 50 * time.Millisecond
	patience = time.Second
)

type classKey struct{}

// With is a context whose transfers are of a class.
func With(ctx context.Context, c Class) context.Context {
	return context.WithValue(ctx, classKey{}, c)
}

// classOf is the class of a context: Small if nobody said.
func classOf(ctx context.Context) Class {
	if c, ok := ctx.Value(classKey{}).(Class); ok && c < classes {
		return c
	}
	return Small
}

// A Line is both directions. It is safe for use from many goroutines.
type Line struct {
	now func() time.Time

	mu   sync.Mutex
	ways [2]way
}

// New is a line without limits.
func New(now func() time.Time) *Line {
	l := &Line{now: now}
	for d := range l.ways {
		w := &l.ways[d]
		w.line = l
	}
	return l
}

// SetLimit bounds a direction to so many bytes a second; 0: no limit.
func (l *Line) SetLimit(d Direction, rate int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.ways[d]
	if now := l.now(); w.limit != rate {
		w.limit, w.free = rate, now
		w.pump(now)
	}
}

// Limit is the limit of a direction now, in bytes a second; 0: there is none.
func (l *Line) Limit(d Direction) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ways[d].limit
}

// Begin says that a request begins which moves objects; end, that it has its
// answer. Between the two its class has something to move.
func (l *Line) Begin(ctx context.Context, d Direction) (end func()) {
	c, w := classOf(ctx), &l.ways[d]
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	w.tick(now)
	w.open[c]++
	w.last[c] = now
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		now := l.now()
		w.tick(now)
		w.open[c]--
		w.pump(now)
	})
}

// Move waits until n bytes of objects may be sent, or until the next may be
// received after n were. n is 65,536 at most. The error is the context's.
func (l *Line) Move(ctx context.Context, d Direction, n int) error {
	c, w := classOf(ctx), &l.ways[d]
	l.mu.Lock()
	now := l.now()
	if len(w.queue[c]) == 0 && w.may(c, now) && !w.other(c, now) {
		w.grant(c, n, now)
		w.pump(now)
		l.mu.Unlock()
		return nil
	}
	x := &waiter{n: n, ready: make(chan struct{})}
	w.queue[c] = append(w.queue[c], x)
	w.pump(now)
	l.mu.Unlock()
	select {
	case <-x.ready:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, y := range w.queue[c] {
			if x == y {
				w.queue[c] = append(w.queue[c][:i:i], w.queue[c][i+1:]...)
				w.pump(l.now())
			}
		}
		return ctx.Err()
	}
}

// Message counts n bytes of a message against the limit. It waits for no object,
// and for the limit only where messages alone are more than it allows.
func (l *Line) Message(ctx context.Context, d Direction, n int) error {
	l.mu.Lock()
	w, now := &l.ways[d], l.now()
	w.tick(now)
	w.bytes += float64(n)
	w.spend(n, now)
	ahead := w.free.Sub(now) - patience
	if w.limit == 0 || ahead <= 0 {
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	t := time.NewTimer(ahead)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Rate is how many bytes a second the line carried lately while it had something
// to carry; 0: nothing says. It is no more than the limit.
func (l *Line) Rate(d Direction) float64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.ways[d]
	w.tick(l.now())
	rate := 0.0
	if w.busy >= 0.2 {
		rate = w.bytes / w.busy
	}
	if limit := float64(w.limit); limit > 0 && (rate == 0 || rate > limit) {
		rate = limit
	}
	return rate
}

// Assume says how fast a direction is, as long as nothing was measured.
func (l *Line) Assume(d Direction, rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := &l.ways[d]; rate > 0 && w.busy == 0 {
		w.busy, w.bytes = 0.5, 0.5*rate
	}
}

// Moved is how many bytes of objects of each class were let through, the most
// urgent class first.
func (l *Line) Moved(d Direction) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int64(nil), l.ways[d].moved[:]...)
}

// A waiter wants to move n bytes.
type waiter struct {
	n     int
	ready chan struct{}
}

// A way is one direction. All of it is under the line's lock.
type way struct {
	line  *Line
	limit int64
	free  time.Time // when the limit lets the next byte go

	open   [classes]int
	last   [classes]time.Time // when a class moved something
	credit [classes]float64   // bytes that a class is behind its share
	queue  [classes][]*waiter
	moved  [classes]int64
	timer  *time.Timer

	at          time.Time // of the measuring
	bytes, busy float64   // moved lately, and the seconds that took, each counting less the longer ago it was
}

// lately is after how many busy seconds a byte counts for a third.
const lately = 3.0

// tick lets measured time pass: it counts while something is to be moved.
func (w *way) tick(now time.Time) {
	dt := now.Sub(w.at).Seconds()
	w.at = now
	for c := range classes {
		if w.open[c] > 0 && dt > 0 {
			fade := math.Exp(-dt / lately)
			w.busy, w.bytes = w.busy*fade+lately*(1-fade), w.bytes*fade
			return
		}
	}
}

// active reports whether a class has something to move, and moves it.
func (w *way) active(c Class, now time.Time) bool {
	return len(w.queue[c]) > 0 || w.open[c] > 0 && now.Sub(w.last[c]) < silent
}

// may reports whether a class may move something now.
func (w *way) may(c Class, now time.Time) bool {
	if w.limit > 0 && w.free.After(now) {
		return false
	}
	if w.credit[c] > 0 {
		return true
	}
	for x := range classes {
		// One that is far behind its share does not ask because its connection is
		// slow beside those of the others: they wait for it, but for what was
		// saved.
		behind := x != c && c != Saved && w.credit[x] >= owed
		if (x < c || behind) && w.active(x, now) {
			return false
		}
	}
	return true
}

// other reports whether a waiter of another class comes before c: one that is
// owed more, or is more urgent.
func (w *way) other(c Class, now time.Time) bool {
	x, ok := w.pick(now)
	return ok && (w.credit[x] > max(w.credit[c], 0) || w.credit[c] <= 0 && x < c)
}

// pick is the class whose turn it is among those that wait.
func (w *way) pick(now time.Time) (best Class, ok bool) {
	for c := range classes {
		if len(w.queue[c]) == 0 || !w.may(c, now) {
			continue
		}
		if !ok || w.credit[c] > max(w.credit[best], 0) {
			best, ok = c, true
		}
	}
	return best, ok
}

// grant lets n bytes of a class through.
func (w *way) grant(c Class, n int, now time.Time) {
	w.tick(now)
	for x := range classes {
		if x == c || w.active(x, now) {
			w.credit[x] += shares[x] * float64(n)
		}
	}
	w.credit[c] -= float64(n)
	for x := range classes {
		w.credit[x] = min(max(w.credit[x], -owed), owed)
	}
	w.last[c], w.bytes = now, w.bytes+float64(n)
	w.moved[c] += int64(n)
	w.spend(n, now)
}

// spend takes n bytes from the limit.
func (w *way) spend(n int, now time.Time) {
	if w.limit == 0 {
		return
	}
	if rested := now.Add(-burst); w.free.Before(rested) {
		w.free = rested
	}
	w.free = w.free.Add(time.Duration(float64(n) / float64(w.limit) * float64(time.Second)))
}

// pump lets through who may go, and sees to it that the next is looked at in
// time: when the limit allows, or when whoever holds it up has been silent.
func (w *way) pump(now time.Time) {
	for {
		c, ok := w.pick(now)
		if !ok {
			break
		}
		x := w.queue[c][0]
		w.queue[c] = w.queue[c][1:]
		w.grant(c, x.n, now)
		close(x.ready)
	}
	var next time.Time
	for c := range classes {
		if len(w.queue[c]) == 0 {
			continue
		}
		at := now.Add(silent)
		if w.limit > 0 && w.free.After(now) {
			at = w.free
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if next.IsZero() {
		return
	}
	w.timer = time.AfterFunc(max(next.Sub(now), time.Millisecond), func() {
		w.line.mu.Lock()
		defer w.line.mu.Unlock()
		w.pump(w.line.now())
	})
}
