//go:build !portable

package disk

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// add watches the folder path, which is a child of parent. A folder that is
// watched already (it was moved) keeps its watch and gets its new place.
func (w *watcher) add(path string, parent *watchNode, name string) (*watchNode, error) {
	wd, err := w.watch(path)
	if err != nil {
		return nil, err
	}
	n := w.nodes[wd]
	if n == nil || n.wd != wd {
		n = &watchNode{wd: wd, missed: true}
		w.nodes[wd] = n
		w.count(1)
	}
	if n != w.root {
		w.detach(n)
		delete(w.away, n)
		w.attach(n, parent, name)
	}
	return n, nil
}

// watch sets the watch of the folder at path. It is the same one if the folder has
// one.
func (w *watcher) watch(path string) (int32, error) {
	fd, err := w.v.fs.open(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	wd, err := w.addWatch(procPath(fd), watchMask)
	if err == unix.ENOENT { // no /proc: by path, the last name not followed
		wd, err = w.addWatch(strings.TrimSuffix(w.v.dir+"/"+path, "/"), watchMask|unix.IN_DONT_FOLLOW)
	}
	return int32(wd), err
}

// count notes how many more folders are watched.
func (w *watcher) count(n int) {
	w.have += n
	w.v.watches.have.Store(int64(w.have))
}

// addWatch and rmWatch borrow the descriptor, so that the end of ctx, which
// closes it, cannot hand them another file's number.
func (w *watcher) addWatch(path string, mask uint32) (wd int, err error) {
	if w.file == nil {
		return 0, unix.EMFILE
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
	if w.limit > 0 && w.have >= w.limit && result == nil && w.nodes[int32(wd)] == nil {
		w.rmWatch(int32(wd))
		return 0, unix.ENOSPC
	}
	return wd, result
}

func (w *watcher) rmWatch(wd int32) {
	if w.file == nil {
		return
	}
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
	if w.settled.IsZero() {
		w.settled = time.Now().Add(awayTime)
	}
}

// come puts the folder at path, which is seen as name in parent, into the tree:
// watched, or polled if there is no watch for it. hot: something happens in it
// now, which is worth the watch of one where nothing does. It fails if the folder
// is not there any more, or is nobody's to look into.
func (w *watcher) come(path string, parent *watchNode, name string, hot bool) (n *watchNode, err error) {
	if err = unix.ENOSPC; !w.sketch || !w.full {
		n, err = w.add(path, parent, name)
	}
	if err != nil && hot && w.short(err) && w.room(time.Now()) {
		n, err = w.add(path, parent, name)
	}
	if err != nil {
		if !w.short(err) {
			return nil, err
		}
		n = &watchNode{wd: -1, missed: true}
		w.attach(n, parent, name)
		w.beginPoll(n)
	}
	if hot {
		n.heat = time.Now().UnixNano()
	}
	return n, nil
}

// meet is come for an entry of a listing of parent. A folder that is polled there
// already gets a watch if there is one.
func (w *watcher) meet(path string, parent *watchNode, e Entry) (*watchNode, error) {
	old := parent.children[e.Name]
	if old == nil || !old.polls(e.Stat) {
		n, err := w.come(path, parent, e.Name, false)
		if err == nil && n.heat == 0 {
			n.heat = min(e.Stat.MTime, time.Now().UnixNano())
		}
		return n, err
	}
	if w.full {
		return old, nil
	}
	n, err := w.give(old, path)
	if err == nil {
		n.missed = true
		return n, nil
	}
	if !w.short(err) {
		return nil, err
	}
	return old, nil
}

// below watches every folder in path, which n watches or polls already: first the
// watch, then the listing, so that what is made between shows in one of them.
// With report, folders that are new to it are reported, to be listed by the
// reader, and again if they know them; one that is watched has told what happened in it already. It says
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
		l := w.list(at.path, at.n)
		// A folder that keeps changing tells of its new folders itself.
		whole = whole && (l.Err == nil || errors.Is(l.Err, ErrChanging))
		if at.n.poll != nil && !w.sketch && at.n.poll.take(w.v.look(l)) && report {
			w.queue.put(at.path, Inside)
		}
		w.missing(at.n, l)
		for _, e := range l.Entries {
			if e.Stat.Type != tree.Dir {
				continue
			}
			path := join(at.path, e.Name)
			if w.skip != nil && w.skip(path) {
				continue
			}
			n, err := w.meet(path, at.n, e)
			if err != nil {
				continue
			}
			w.found(path, n, report)
			n.walk = w.walk
			todo = append(todo, item{path, n})
		}
	}
	return whole && ctx.Err() == nil
}

// list lists a folder. Of one that is watched nobody asks for the files.
func (w *watcher) list(path string, n *watchNode) Listing {
	w.sc.folders = n.poll == nil || w.sketch
	return w.v.fs.list(path, w.sc)
}

// found reports a folder that is watched, or polled, from now on. Whoever knows it
// already, because they came by meanwhile, may have listed it before that. One that
// came from elsewhere told what happened in it; but where folders are polled, it may
// have told so under the name that it had before.
func (w *watcher) found(path string, n *watchNode, report bool) {
	switch {
	case !report:
	case n.missed:
		w.queue.put(path, Changed)
		w.queue.put(path, Inside)
	case len(w.poll.nodes) > 0:
		w.queue.put(path, Inside)
	}
	n.missed = false
}

// adopt brings the folders in n up to date with a listing of it: for one that was
// polled until then. What is new among them is reported.
func (w *watcher) adopt(ctx context.Context, path string, n *watchNode, l Listing) {
	w.missing(n, l)
	for _, e := range l.Entries {
		if e.Stat.Type != tree.Dir {
			continue
		}
		p, old := join(path, e.Name), n.children[e.Name]
		if old != nil && old.polls(e.Stat) || w.skip != nil && w.skip(p) {
			continue
		}
		c, err := w.come(p, n, e.Name, false)
		if err != nil || c == old {
			continue
		}
		c.heat = time.Now().UnixNano()
		w.found(p, c, true)
		w.below(ctx, p, c, true)
	}
}

// missing loses the folders of n that a listing of it has not: those of which no
// event tells.
func (w *watcher) missing(n *watchNode, l Listing) {
	if l.Err != nil || len(n.children) == 0 {
		return
	}
	there := map[string]bool{}
	for _, e := range l.Entries {
		if e.Stat.Type == tree.Dir {
			there[e.Name] = true
		}
	}
	for name, c := range n.children {
		if !there[name] {
			w.lose(c)
		}
	}
}

// again walks over everything after events were lost: watches folders that
// came and lets go of those that left.
func (w *watcher) again(ctx context.Context) {
	w.walk++
	w.full = false
	w.root.walk = w.walk
	if !w.below(ctx, "", w.root, false) {
		return
	}
	for wd, n := range w.nodes {
		if n.wd == wd && n.walk != w.walk {
			w.detach(n)
			w.unwatch(n)
		}
	}
	for _, n := range slices.Clone(w.poll.nodes) {
		if n.walk != w.walk {
			w.detach(n)
			w.unwatch(n)
		}
	}
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

// drop forgets a folder whose watch is gone: it was removed.
func (w *watcher) drop(n *watchNode) {
	for _, c := range n.children {
		w.lose(c)
	}
	w.detach(n)
	delete(w.nodes, n.wd)
	delete(w.away, n)
	n.wd = -1
	w.count(-1)
}

// forget ends the watches of folders that left the volume.
func (w *watcher) forget() {
	w.settled = time.Time{}
	for n, since := range w.away {
		if time.Since(since) < awayTime/2 {
			w.settled = time.Now().Add(awayTime)
			continue
		}
		delete(w.away, n)
		w.unwatch(n)
	}
}

// unwatch ends the watches of a folder and of those in it, or their polling.
func (w *watcher) unwatch(n *watchNode) {
	for _, c := range n.children {
		w.unwatch(c)
	}
	if n.poll != nil {
		w.endPoll(n)
	}
	if n.wd >= 0 {
		w.rmWatch(n.wd)
		delete(w.nodes, n.wd)
		n.wd = -1
		w.count(-1)
	}
}
