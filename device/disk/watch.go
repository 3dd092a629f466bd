package disk

import (
	"context"
	"sync"
	"sync/atomic"
)

// An EventKind says what may have happened to a name.
type EventKind uint8

// The kinds. All are hints to look; what is true is what Stat and List say
// then.
const (
	Changed  EventKind = 1 // made or written, perhaps still being written; of a folder: list it
	Meta     EventKind = 2 // mode, times or attributes only: bytes are as they were
	Closed   EventKind = 3 // closed by a program that had it open for writing: settled
	MovedTo  EventKind = 4 // renamed to this name: settled; of a folder: list it
	Gone     EventKind = 5 // removed
	Overflow EventKind = 6 // anything may have happened anywhere: scan the volume
	RootGone EventKind = 7 // the volume's folder or its .signet was moved or removed: Check
	Left     EventKind = 8 // renamed from this name, to another one or out of the volume
)

// String is the kind's name.
func (k EventKind) String() string {
	names := [...]string{"none", "changed", "meta", "closed", "moved to", "gone", "overflow", "root gone", "left"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// An Event names a file or folder of the volume. Path is "" for Overflow and
// RootGone, and for the volume's own folder.
type Event struct {
	Path string
	Kind EventKind
}

// maxPending bounds the events that wait for the reader. More of them say no
// more than "scan".
const maxPending = 1 << 16

// An eventQueue holds one event for each path until it is taken.
type eventQueue struct {
	mu      sync.Mutex
	kinds   map[string]EventKind
	order   []string
	all     bool // Overflow; what came before it says nothing more
	rootGon bool
	ready   chan struct{} // has one element while there is something to take
}

func newEventQueue() *eventQueue {
	return &eventQueue{kinds: map[string]EventKind{}, ready: make(chan struct{}, 1)}
}

// put adds an event. The later one of a path counts, but that attributes
// changed does not unsettle what was closed.
func (q *eventQueue) put(path string, kind EventKind) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case kind == RootGone:
		q.rootGon = true
	case kind == Overflow:
		q.overflow()
	default:
		old, there := q.kinds[path]
		if there && kind == Meta && old != Gone && old != Left {
			return
		}
		if !there {
			if len(q.order) >= maxPending {
				q.overflow()
				break
			}
			q.order = append(q.order, path)
		}
		q.kinds[path] = kind
	}
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *eventQueue) overflow() {
	q.all = true
	q.kinds, q.order = map[string]EventKind{}, nil
}

// take returns what waits, Overflow first, and empties the queue.
func (q *eventQueue) take() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	var events []Event
	if q.rootGon {
		events = append(events, Event{Kind: RootGone})
	}
	if q.all {
		events = append(events, Event{Kind: Overflow})
	}
	for _, p := range q.order {
		events = append(events, Event{p, q.kinds[p]})
	}
	q.kinds, q.order, q.all, q.rootGon = map[string]EventKind{}, nil, false, false
	return events
}

// deliver passes events on until ctx ends, then closes out.
func (q *eventQueue) deliver(ctx context.Context, out chan<- Event) {
	defer close(out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.ready:
		}
		for _, e := range q.take() {
			select {
			case <-ctx.Done():
				return
			case out <- e:
			}
		}
	}
}

// watchCount is what Watches reports.
type watchCount struct {
	have, missing atomic.Int64
	err           atomic.Pointer[error]
}

func (c *watchCount) reset() {
	c.have.Store(0)
	c.clear()
}

func (c *watchCount) clear() {
	c.missing.Store(0)
	c.err.Store(nil)
}

// Watches reports how many folders are watched, how many there are, and, where
// fewer are watched, why (the system's limit): the rest is seen by scans only.
func (v *Volume) Watches() (have, want int, err error) {
	if e := v.watches.err.Load(); e != nil {
		err = *e
	}
	have = int(v.watches.have.Load())
	return have, have + int(v.watches.missing.Load()), err
}
