//go:build !portable

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What is here decides which folders are watched when not all can be
// (doc/design/0037-when-watches-run-out.md).

// A cooled folder is watched, and nothing happened in it for a while when it was
// noted; if something has since, its heat is another.
type cooled struct {
	n    *watchNode
	heat int64
}

const (
	coldMost   = 1024            // so many are noted at once
	chillEvery = 5 * time.Second // and no more often: it costs a look at every node
)

// room ends the watch of the coldest folder. It does not where something happened
// in all of them a moment ago: taking turns would help nobody.
func (w *watcher) room(now time.Time) bool {
	for {
		for len(w.cold) > 0 {
			c := w.cold[len(w.cold)-1]
			w.cold = w.cold[:len(w.cold)-1]
			if c.n.wd >= 0 && c.n.heat == c.heat {
				w.yield(c.n)
				return true
			}
		}
		if now.Sub(w.chilled) < chillEvery {
			return false
		}
		w.chilled = now
		before := now.Add(-w.rhythm.restless).UnixNano()
		for wd, n := range w.nodes {
			if n.wd == wd && n != w.root && n.heat < before {
				w.cold = append(w.cold, cooled{n, n.heat})
			}
		}
		slices.SortFunc(w.cold, func(a, b cooled) int { return byHeat(a.n, b.n) })
		w.cold = slices.Clone(w.cold[max(0, len(w.cold)-coldMost):])
		if len(w.cold) == 0 {
			return false
		}
	}
}

// byHeat puts the hottest first.
func byHeat(a, b *watchNode) int {
	switch {
	case a.heat > b.heat:
		return -1
	case a.heat < b.heat:
		return 1
	}
	return 0
}

// yield ends the watch of a folder, which is polled from then on. What the kernel
// said of it before is read yet; the first poll reports it, because nobody knows
// how it looked when the watch ended.
func (w *watcher) yield(n *watchNode) {
	w.rmWatch(n.wd)
	n.wd = -1
	w.count(-1)
	w.beginPoll(n)
}

// give watches a folder that is polled, if there is a watch: only then anything
// about it may be looked at. If another node has the watch of what lies there,
// that folder was moved to here, and its node takes the place.
func (w *watcher) give(n *watchNode, path string) (*watchNode, error) {
	wd, err := w.watch(path)
	if err != nil {
		return nil, err
	}
	if other := w.nodes[wd]; other != nil && other != n && other.wd == wd {
		parent, name := n.parent, n.name
		w.detach(n)
		w.unwatch(n)
		w.detach(other)
		delete(w.away, other)
		w.attach(other, parent, name)
		return other, nil
	}
	w.endPoll(n)
	n.wd = wd
	w.nodes[wd] = n
	w.count(1)
	return n, nil
}

// warm watches a folder that is polled and in which something happens.
func (w *watcher) warm(ctx context.Context, n *watchNode, path string) error {
	now, err := w.give(n, path)
	if err != nil && w.short(err) && w.room(time.Now()) {
		now, err = w.give(n, path)
	}
	if err != nil {
		return err
	}
	if now != n {
		w.below(ctx, path, now, true)
		return nil
	}
	w.adopt(ctx, path, n, w.list(path, n))
	return nil
}

// choose gives what watches there are to the hottest folders, after the first walk
// gave them to the first that it met. Each watch that ended by itself would be an
// event, and events have a limit too: so all end with their descriptor. What came
// meanwhile the next walk sees; what happened the reader does, who scans after it.
func (w *watcher) choose() {
	if w.file == nil || w.root.poll != nil {
		return
	}
	all := slices.Clone(w.poll.nodes)
	for wd, n := range w.nodes {
		if n.wd == wd && n != w.root {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, byHeat)
	best := all[:w.have-1]
	if !slices.ContainsFunc(best, func(n *watchNode) bool { return n.poll != nil }) {
		return
	}
	w.file.Close()
	w.file = nil
	w.nodes = map[int32]*watchNode{}
	w.count(-w.have)
	for _, n := range append(all, w.root) {
		if n.wd = -1; n.poll == nil {
			w.beginPoll(n)
		}
	}
	err := w.instance()
	for _, n := range append([]*watchNode{w.root}, best...) {
		path, ok := w.path(n)
		if !ok || err != nil && w.short(err) {
			break
		}
		_, err = w.give(n, path)
	}
}

// few is of how many folders each is reported alone that got their watches back.
const few = 64

// retry watches what is polled, the hottest first, as far as there are watches
// again. The reader scans once where it is much.
func (w *watcher) retry(ctx context.Context) {
	if len(w.poll.nodes) == 0 {
		return
	}
	if w.file == nil {
		if err := w.instance(); err != nil {
			w.note(err)
			return
		}
		w.listen(ctx)
	}
	list := []*watchNode{slices.MinFunc(w.poll.nodes, byHeat)}
	if w.root.poll != nil {
		list[0] = w.root
	}
	got := 0
	for i := 0; i < len(list); i++ {
		n := list[i]
		path, ok := w.path(n)
		if !ok || n.poll == nil {
			continue
		}
		given, err := w.give(n, path)
		switch {
		case err == nil && given != n:
			w.below(ctx, path, given, true)
		case err == nil:
			w.adopt(ctx, path, n, w.list(path, n))
		case w.short(err):
			w.note(err)
			list = nil // the rest stays as it is
			continue
		default:
			continue
		}
		if got++; got <= few {
			w.queue.put(path, Inside)
		}
		if i == 0 {
			rest := slices.Clone(w.poll.nodes)
			slices.SortFunc(rest, byHeat)
			list = append(list, rest...)
		}
	}
	if got > few {
		w.queue.put("", Overflow)
	}
}

// short reports whether a folder is not watched for want of watches, and notes
// why. One that vanished, or may not be read, is no matter of theirs.
func (w *watcher) short(err error) bool {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
		return false
	}
	w.full = true
	if w.v.watches.short.Load() == nil {
		w.note(err)
	}
	return true
}

// note keeps why there are too few watches, for Watches and Polls.
func (w *watcher) note(err error) {
	s := &shortage{limit: limitOf(err)}
	switch {
	case s.limit.Instances():
		s.err = fmt.Errorf("the system's limit of programs that watch (%s = %d) is reached: %w", s.limit.Name, s.limit.Value, err)
	case s.limit.Name != "":
		s.err = fmt.Errorf("the system's limit of watches (%s = %d) is reached: %w", s.limit.Name, s.limit.Value, err)
	case errors.Is(err, unix.ENOMEM):
		s.err = fmt.Errorf("the system has no memory for more watches: %w", err)
	default:
		s.err = fmt.Errorf("more files cannot be opened: %w", err)
	}
	w.v.watches.short.Store(s)
}

// limitOf is the setting that made an error. That a process may not open more files
// looks like a limit of instances; but then nothing else can be opened either.
func limitOf(err error) Limit {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return lower(maxWatches, nsWatches)
	case errors.Is(err, unix.EMFILE):
		f, err := os.Open(os.DevNull)
		if err != nil {
			return Limit{}
		}
		f.Close()
		return lower(maxInstances, nsInstances)
	}
	return Limit{}
}

// lower is that of two settings which is reached first. The second is of this user
// namespace, and the same one as the first outside of any.
func lower(system, namespace string) Limit {
	l := Limit{system, setting(system)}
	if n := setting(namespace); n >= 0 && n < l.Value {
		l = Limit{namespace, n}
	}
	return l
}

// setting is the value of one of the system's settings; -1 if it cannot be read.
func setting(name string) int {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	n, bad := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || bad != nil {
		return -1
	}
	return n
}
