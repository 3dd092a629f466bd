package disk

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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
	Inside   EventKind = 9 // in this folder, which is not watched, something is not as it was: list it
)

// String is the kind's name.
func (k EventKind) String() string {
	names := [...]string{"none", "changed", "meta", "closed", "moved to", "gone", "overflow", "root gone", "left", "inside"}
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
		if kind == Inside {
			path += "/" // what happened to its name is another matter
		}
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
		events = append(events, Event{strings.TrimSuffix(p, "/"), q.kinds[p]})
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

// watchCount is what Watches and Polls report.
type watchCount struct {
	have, polled    atomic.Int64
	names, contents atomic.Int64 // how often what is polled is looked at, in nanoseconds
	short           atomic.Pointer[shortage]
}

// A shortage is why not every folder is watched.
type shortage struct {
	limit Limit
	err   error
}

func (c *watchCount) reset() {
	c.have.Store(0)
	c.polled.Store(0)
	c.short.Store(nil)
}

// Watches reports how many folders are watched, how many there are, and, where
// fewer are watched, why (the system's limit): the rest is polled.
func (v *Volume) Watches() (have, want int, err error) {
	if s := v.watches.short.Load(); s != nil {
		err = s.err
	}
	have = int(v.watches.have.Load())
	return have, have + int(v.watches.polled.Load()), err
}

// Polls is how folders are looked at that are not watched.
type Polls struct {
	Folders  int           // how many they are
	Names    time.Duration // how often it is seen that a name came or went
	Contents time.Duration // how often it is seen that a file was written where it is
	Limit    Limit         // why they are not watched
}

// Polls reports how what Watches does not count as watched is looked at.
func (v *Volume) Polls() Polls {
	c := &v.watches
	p := Polls{Folders: int(c.polled.Load()), Names: time.Duration(c.names.Load()), Contents: time.Duration(c.contents.Load())}
	if s := c.short.Load(); s != nil {
		p.Limit = s.limit
	}
	return p
}

// A Limit is a setting of the system that is used up; the zero value where it is
// not that, but memory, or what this process may open.
type Limit struct {
	Name  string // as sysctl calls it
	Value int    // what it is: all of it is in use, by this user's programs together
}

// Settings that are limits to watches. In a user namespace (a container without
// privileges) its own ones may be the lower ones.
const (
	maxWatches   = "fs.inotify.max_user_watches"
	maxInstances = "fs.inotify.max_user_instances"
	nsWatches    = "user.max_inotify_watches"
	nsInstances  = "user.max_inotify_instances"
)

// Instances reports whether it is a limit to how many programs may watch, and
// not to how much.
func (l Limit) Instances() bool { return l.Name == maxInstances || l.Name == nsInstances }

// Enough is a value of the setting that suffices for so many more: what is in use,
// what is lacking, a quarter of that for what comes, rounded up.
func (l Limit) Enough(lacking int) int {
	step := 8192
	if l.Instances() {
		step = 128
	}
	n := l.Value + lacking + lacking/4
	return min((n+step-1)/step*step, math.MaxInt32)
}
