//go:build !portable

package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE |
	unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF |
	unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// A watcher has one inotify watch for each folder. Watches are on folders, not
// on paths: a node of its tree says where each is now. One goroutine (run)
// owns all of it; it sleeps in the kernel while nothing happens.
type watcher struct {
	v     *Volume
	file  *os.File // the inotify descriptor, in the runtime's poller
	queue *eventQueue
	sc    *scratch
	walk  uint32 // number of the last walk over all folders
	limit int
	skip  func(path string) bool

	nodes map[int32]*watchNode
	root  *watchNode
	// Folders that were moved out of sight: they come back under another name
	// in a moment, or have left the volume.
	away    map[*watchNode]time.Time
	settled *time.Timer
}

type watchNode struct {
	wd       int32
	name     string
	parent   *watchNode // nil for the root and for what is away
	children map[string]*watchNode
	walk     uint32 // the last walk that came by
	missed   bool   // something happened in it while it was away, or before it was watched
}

// awayTime is how long a folder that was moved from a name may take to appear
// under another: both events come at once, unless one is read before the other
// is made.
const awayTime = time.Second

// Watch reports what happens in the volume until ctx ends, when the channel is
// closed (before that only if the system fails: watch and scan anew). It returns when every folder is watched: a Scan that begins then and
// the events together miss nothing. A new folder is watched before it is
// listed, and its files are reported. The channel may be read slowly: events
// of one path become one, and too many become Overflow.
//
// Where the system allows too few watches the rest is not seen; Overflow is
// sent once and Watches says so. Other mounts and .signet are not watched.
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

// newWatcher watches every folder. Tests set a limit of watches; 0 is the
// system's.
func (v *Volume) newWatcher(ctx context.Context, limit int, skip func(path string) bool) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &watcher{
		v: v, file: os.NewFile(uintptr(fd), "inotify"), queue: newEventQueue(), sc: new(scratch), limit: limit, skip: skip,
		nodes: map[int32]*watchNode{}, away: map[*watchNode]time.Time{},
	}
	v.watches.reset()
	if w.root, err = w.add("", nil, ""); err != nil {
		w.file.Close()
		return nil, err
	}
	w.below(ctx, "", w.root, false)
	return w, nil
}

func (w *watcher) start(ctx context.Context) <-chan Event {
	out := make(chan Event)
	ctx, cancel := context.WithCancel(ctx)
	go w.queue.deliver(ctx, out)
	context.AfterFunc(ctx, func() { w.file.Close() })
	go func() {
		defer cancel() // the reader sees the channel end, and watches anew
		w.run(ctx)
	}()
	return out
}

// add watches the folder path, which is a child of parent. A folder that is
// watched already (it was moved) keeps its watch and gets its new place.
func (w *watcher) add(path string, parent *watchNode, name string) (*watchNode, error) {
	fd, err := w.v.fs.open(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	wd, err := w.addWatch(procPath(fd), watchMask)
	if err == unix.ENOENT { // no /proc: by path, the last name not followed
		wd, err = w.addWatch(strings.TrimSuffix(w.v.dir+"/"+path, "/"), watchMask|unix.IN_DONT_FOLLOW)
	}
	if err != nil {
		return nil, err
	}
	n := w.nodes[int32(wd)]
	if n == nil {
		n = &watchNode{wd: int32(wd), missed: true}
		w.nodes[n.wd] = n
		w.v.watches.have.Add(1)
	}
	if n != w.root {
		w.detach(n)
		delete(w.away, n)
		w.attach(n, parent, name)
	}
	return n, nil
}

// addWatch and rmWatch borrow the descriptor, so that the end of ctx, which
// closes it, cannot hand them another file's number.
func (w *watcher) addWatch(path string, mask uint32) (wd int, err error) {
	if w.limit > 0 && len(w.nodes) >= w.limit {
		return 0, unix.ENOSPC
	}
	conn, err := w.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var result error
	err = conn.Control(func(fd uintptr) { wd, result = unix.InotifyAddWatch(int(fd), path, mask) })
	if err != nil {
		return 0, err
	}
	return wd, result
}

func (w *watcher) rmWatch(wd int32) {
	if conn, err := w.file.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

func (w *watcher) attach(n, parent *watchNode, name string) {
	n.parent, n.name = parent, strings.Clone(name)
	if parent == nil {
		return
	}
	if old := parent.children[name]; old != nil && old != n {
		w.lose(old) // the name is another folder's now; where this one is will show
	}
	if parent.children == nil {
		parent.children = map[string]*watchNode{}
	}
	parent.children[n.name] = n
}

func (w *watcher) detach(n *watchNode) {
	if n.parent != nil && n.parent.children[n.name] == n {
		delete(n.parent.children, n.name)
	}
	n.parent = nil
}

// lose takes a folder out of the tree, for awayTime.
func (w *watcher) lose(n *watchNode) {
	w.detach(n)
	w.away[n] = time.Now()
	if w.settled == nil {
		// The read deadline ends the sleep of run, which then forgets.
		w.settled = time.AfterFunc(awayTime, func() { w.file.SetReadDeadline(time.Now()) })
	}
}

// below watches every folder in path, which n watches already: first the
// watch, then the listing, so that what is made between shows in one of them.
// With report, folders that are new to it are reported, to be listed by the
// reader; one that is known has told what happened in it already. It says
// whether every folder could be listed.
func (w *watcher) below(ctx context.Context, path string, n *watchNode, report bool) bool {
	type item struct {
		path string
		n    *watchNode
	}
	whole := true
	todo := []item{{path, n}}
	for len(todo) > 0 && ctx.Err() == nil {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		l := w.v.fs.list(at.path, w.sc)
		// A folder that keeps changing tells of its new folders itself.
		whole = whole && (l.Err == nil || errors.Is(l.Err, ErrChanging))
		for _, e := range l.Entries {
			if e.Stat.Type != tree.Dir {
				continue
			}
			path := join(at.path, e.Name)
			if w.skip != nil && w.skip(path) {
				continue
			}
			if at.n == nil { // below what is not watched: counted only
				w.short(unix.ENOSPC)
				todo = append(todo, item{path, nil})
				continue
			}
			n, err := w.add(path, at.n, e.Name)
			if err != nil {
				if w.short(err) {
					todo = append(todo, item{path, nil})
				}
				continue
			}
			if report && n.missed {
				w.queue.put(path, Changed)
			}
			n.missed, n.walk = false, w.walk
			todo = append(todo, item{path, n})
		}
	}
	return whole && ctx.Err() == nil
}

// again walks over everything after events were lost: watches folders that
// came and lets go of those that left.
func (w *watcher) again(ctx context.Context) {
	w.walk++
	w.v.watches.clear()
	w.root.walk = w.walk
	if !w.below(ctx, "", w.root, false) {
		return
	}
	for _, n := range w.nodes {
		if n.walk != w.walk {
			w.detach(n)
			w.unwatch(n)
		}
	}
}

// short notes that a folder is not watched for want of watches. One that
// vanished, or may not be read, is no matter of theirs.
func (w *watcher) short(err error) bool {
	if err != unix.ENOSPC && err != unix.ENOMEM {
		return false
	}
	w.v.watches.missing.Add(1)
	why := fmt.Errorf("the system's limit of watches (fs.inotify.max_user_watches) is reached: %w", err)
	if w.v.watches.err.Swap(&why) == nil {
		w.queue.put("", Overflow)
	}
	return true
}

// path is where a folder is now; false if it is away or was removed.
func (w *watcher) path(n *watchNode) (string, bool) {
	var parts []string
	for ; n != w.root; n = n.parent {
		if n == nil {
			return "", false
		}
		parts = append(parts, n.name)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String(), true
}

func (w *watcher) run(ctx context.Context) {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.file.SetReadDeadline(time.Time{})
			w.forget()
			continue
		}
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			b = b[size:]
			w.event(ctx, wd, mask, name)
		}
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
		w.drop(n)
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
	if mask&unix.IN_ISDIR != 0 {
		w.folderEvent(ctx, n, path, mask, name)
		return
	}
	w.queue.put(path, fileKind(mask))
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
		w.queue.put(path, fileKind(mask))
	case w.skip != nil && w.skip(path):
		w.queue.put(path, fileKind(mask))
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		child, err := w.add(path, n, name)
		kind := Changed
		if mask&unix.IN_MOVED_TO != 0 {
			kind = MovedTo
		}
		w.queue.put(path, kind)
		if err != nil {
			w.short(err)
			return
		}
		child.missed = false
		w.below(ctx, path, child, true)
	default:
		w.queue.put(path, Meta)
	}
}

// drop forgets a folder whose watch is gone: it was removed.
func (w *watcher) drop(n *watchNode) {
	w.detach(n)
	delete(w.nodes, n.wd)
	delete(w.away, n)
	w.v.watches.have.Add(-1)
}

// forget ends the watches of folders that left the volume.
func (w *watcher) forget() {
	w.settled = nil
	for n, since := range w.away {
		if time.Since(since) < awayTime/2 {
			if w.settled == nil {
				w.settled = time.AfterFunc(awayTime, func() { w.file.SetReadDeadline(time.Now()) })
			}
			continue
		}
		delete(w.away, n)
		w.unwatch(n)
	}
}

func (w *watcher) unwatch(n *watchNode) {
	for _, c := range n.children {
		w.unwatch(c)
	}
	w.rmWatch(n.wd)
	if w.nodes[n.wd] == n {
		delete(w.nodes, n.wd)
		w.v.watches.have.Add(-1)
	}
}
