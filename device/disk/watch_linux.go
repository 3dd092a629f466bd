//go:build !portable

package disk

import (
	"context"
	"encoding/binary"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE |
	unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF |
	unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// A watcher has one inotify watch for each folder, as long as the system gives
// them: the rest is polled (poll_linux.go), and which are watched then is a
// question of heat (heat_linux.go). Watches are on folders, not on paths: a node
// of its tree says where each is now. One goroutine (run) owns all of it; it
// sleeps in the kernel while nothing happens and nothing is polled.
type watcher struct {
	v      *Volume
	file   *os.File      // the inotify descriptor, in the runtime's poller; nil while the system gives none
	reads  <-chan []byte // what is read of it
	queue  *eventQueue
	sc     *scratch
	walk   uint32 // number of the last walk over all folders
	full   bool   // the walk that goes on found no more watches
	sketch bool   // it is the first, which only sees what folders there are
	limit  int
	skip   func(path string) bool
	rhythm rhythm
	cookie uint32 // of the event in hand: both halves of a rename have the same

	nodes map[int32]*watchNode
	have  int // how many of them are watched: the rest was, and the kernel has yet to say that it is not
	root  *watchNode
	// Folders that were moved out of sight: they come back under another name
	// in a moment, or have left the volume.
	away    map[*watchNode]time.Time
	settled time.Time // when to forget them

	poll    poller
	cold    []cooled
	chilled time.Time // when cold was filled last
}

type watchNode struct {
	name     string
	parent   *watchNode // nil for the root and for what is away
	children map[string]*watchNode
	poll     *polled // nil while it is watched
	heat     int64   // when something changed in it, as far as is known, in nanoseconds since 1970
	wd       int32   // its watch; -1 while it has none
	walk     uint32  // the last walk that came by
	missed   bool    // something happened in it while it was away, or before it was watched
}

// awayTime is how long a folder that was moved from a name may take to appear
// under another: both events come at once, unless one is read before the other
// is made.
const awayTime = time.Second

// Watch reports what happens in the volume until ctx ends, when the channel is
// closed (before that only if the system fails: watch and scan anew). It returns
// when every folder is watched or polled: a Scan that begins then and the events
// together miss nothing. A new folder is watched before it is listed, and its
// files are reported. The channel may be read slowly: events of one path become
// one, and too many become Overflow.
//
// Where the system allows too few watches, the folders that changed last have
// them. The others are polled, as Polls says, and Inside is sent of each in which
// something is not as it was. As soon as the system allows more they are watched.
// Other mounts and .signet are neither watched nor polled.
//
// Folders that skip names, with what is below them, are not watched, but their
// own names are; skip may be nil, and is called by one goroutine at a time.
//
// It fails where no watching is possible at all; Scan from time to time then,
// and in any case about hourly: some file systems (network, FUSE) are silent
// about what others do.
func (v *Volume) Watch(ctx context.Context, skip func(path string) bool) (<-chan Event, error) {
	w, err := v.newWatcher(ctx, 0, skip)
	if err != nil {
		return nil, wrap("watch", "", err)
	}
	return w.start(ctx), nil
}

// newWatcher watches every folder. Tests set a limit of watches, or -1 for no
// instance; 0 is the system's.
func (v *Volume) newWatcher(ctx context.Context, limit int, skip func(path string) bool) (*watcher, error) {
	w := &watcher{
		v: v, queue: newEventQueue(), sc: new(scratch), limit: limit, skip: skip, rhythm: usual,
		nodes: map[int32]*watchNode{}, away: map[*watchNode]time.Time{}, poll: newPoller(),
	}
	v.watches.reset()
	if err := w.instance(); err != nil && !w.short(err) {
		return nil, err
	}
	var err error
	if w.root, err = w.add("", nil, ""); err != nil {
		if !w.short(err) {
			w.close()
			return nil, err
		}
		w.root = &watchNode{wd: -1}
		w.beginPoll(w.root)
	}
	w.sketch = true
	w.below(ctx, "", w.root, false)
	if w.sketch = false; len(w.poll.nodes) > 0 {
		w.choose()
		w.full = true
		w.below(ctx, "", w.root, false)
	}
	return w, nil
}

// instance gets a descriptor to watch with.
func (w *watcher) instance() error {
	if w.limit < 0 {
		return unix.EMFILE
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	w.file = os.NewFile(uintptr(fd), "inotify")
	return nil
}

func (w *watcher) close() {
	if w.file != nil {
		w.file.Close()
	}
}

func (w *watcher) start(ctx context.Context) <-chan Event {
	out := make(chan Event)
	ctx, cancel := context.WithCancel(ctx)
	go w.queue.deliver(ctx, out)
	w.listen(ctx)
	go func() {
		defer cancel() // the reader sees the channel end, and watches anew
		w.run(ctx)
	}()
	return out
}

// listen begins to read the descriptor, and closes it with ctx.
func (w *watcher) listen(ctx context.Context) {
	if w.file == nil {
		return
	}
	reads, file := make(chan []byte), w.file
	w.reads = reads
	context.AfterFunc(ctx, func() { file.Close() })
	go func() {
		defer close(reads)
		// While one is taken apart, the other is filled.
		bufs := [2][]byte{make([]byte, 32<<10), make([]byte, 32<<10)}
		for i := 0; ; i ^= 1 {
			n, err := file.Read(bufs[i])
			if err != nil {
				return
			}
			select {
			case reads <- bufs[i][:n]:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (w *watcher) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var tick <-chan time.Time
		if at := w.next(); !at.IsZero() {
			timer.Reset(time.Until(at))
			tick = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case b, ok := <-w.reads:
			if !ok {
				return
			}
			w.events(ctx, b)
		case r := <-w.poll.done:
			w.polled(ctx, r)
		case <-tick:
			w.due(time.Now())
		}
	}
}

// next is when there is something to do though nothing happens.
func (w *watcher) next() time.Time {
	at := w.poll.next()
	if !w.settled.IsZero() && (at.IsZero() || w.settled.Before(at)) {
		at = w.settled
	}
	return at
}

func (w *watcher) due(now time.Time) {
	if !w.settled.IsZero() && !now.Before(w.settled) {
		w.forget()
	}
	w.look(now)
}

// events takes apart what was read.
func (w *watcher) events(ctx context.Context, b []byte) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		w.cookie = binary.NativeEndian.Uint32(b[8:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:size]), "\x00")
		b = b[size:]
		w.event(ctx, wd, mask, name)
	}
}

// event takes one event of the kernel.
func (w *watcher) event(ctx context.Context, wd int32, mask uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		// Folders may have come that nobody watches: first watch them, then
		// say that everything must be scanned.
		w.again(ctx)
		w.queue.put("", Overflow)
		return
	}
	n := w.nodes[wd]
	if n == nil {
		return
	}
	if mask&unix.IN_IGNORED != 0 {
		if n.wd == wd {
			w.drop(n)
		} else { // it is polled: that was the last event
			delete(w.nodes, wd)
		}
		return
	}
	if n == w.root {
		if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
			w.queue.put("", RootGone)
			return
		}
		if strings.EqualFold(name, private) {
			if mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0 {
				w.queue.put("", RootGone)
			}
			return
		}
	}
	folder, ok := w.path(n)
	if !ok {
		n.missed = true
		return
	}
	if name == "" { // of the folder itself; its parent hears the rest
		if n == w.root && mask&unix.IN_ATTRIB != 0 {
			w.queue.put("", Meta)
		}
		return
	}
	path := join(folder, name)
	n.heat = time.Now().UnixNano()
	if mask&unix.IN_MOVED_TO != 0 {
		w.arrived()
	}
	if mask&unix.IN_ISDIR != 0 {
		w.folderEvent(ctx, n, path, mask, name)
		return
	}
	w.put(path, mask)
}

// put reports what happened to a name.
func (w *watcher) put(path string, mask uint32) {
	if kind := fileKind(mask); kind != Left || !w.hold(path) {
		w.queue.put(path, kind)
	}
}

func fileKind(mask uint32) EventKind {
	switch {
	case mask&unix.IN_MOVED_FROM != 0:
		return Left
	case mask&unix.IN_DELETE != 0:
		return Gone
	case mask&unix.IN_MOVED_TO != 0:
		return MovedTo
	case mask&unix.IN_CLOSE_WRITE != 0:
		return Closed
	case mask&(unix.IN_CREATE|unix.IN_MODIFY) != 0:
		return Changed
	}
	return Meta
}

func (w *watcher) folderEvent(ctx context.Context, n *watchNode, path string, mask uint32, name string) {
	switch {
	case mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		if child := n.children[name]; child != nil {
			w.lose(child)
		}
		w.put(path, mask)
	case w.skip != nil && w.skip(path):
		w.put(path, mask)
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		child, err := w.come(path, n, name, true)
		kind := Changed
		if mask&unix.IN_MOVED_TO != 0 {
			kind = MovedTo
		}
		if err == nil {
			w.found(path, child, true)
		}
		w.queue.put(path, kind)
		if err != nil {
			return
		}
		w.below(ctx, path, child, true)
	default:
		w.queue.put(path, Meta)
	}
}
