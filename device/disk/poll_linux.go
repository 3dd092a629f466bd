//go:build !portable

package disk

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"signet/core/tree"
)

// A rhythm is how often what is not watched is looked at, at most: a look that
// takes long comes less often, so that none costs more than its share.
type rhythm struct {
	names    time.Duration // a stat of each folder: a name came, went, or is another's
	contents time.Duration // a listing of each: a file was written where it is
	restless time.Duration // for how long a watched folder in which something happened keeps its watch
}

var usual = rhythm{names: 5 * time.Second, contents: 30 * time.Second, restless: time.Minute}

const (
	// pollShare is the share of one processor that each of the two looks has: a
	// fiftieth. hurryShare is that of looks that a rename asks for.
	pollShare  = 50
	hurryShare = 10

	statBatch = 512 // folders that are looked at in one go
	listBatch = 16
)

// polled is what is known of a folder that is not watched: how it looked.
type polled struct {
	names    uint64 // of its own stat; 0: not known
	contents uint64 // of its listing; 0: not known
	inode    uint64 // 0: not known
	at       int    // where it is among those that are polled
	news     bool   // this round found it changed
}

// A looked is how a folder looks.
type looked struct{ names, contents, inode uint64 }

// take takes in how a folder looks now, and says whether that is not how it was
// known to look.
func (p *polled) take(l looked) bool {
	same := l.names != 0 && l.names == p.names && l.contents != 0 && l.contents == p.contents
	p.names, p.contents = l.names, l.contents
	if l.inode != 0 {
		p.inode = l.inode
	}
	return !same
}

// polls reports whether a node is polled, and of the folder with that stat.
func (n *watchNode) polls(s tree.Stat) bool {
	return n.poll != nil && (n.poll.inode == 0 || n.poll.inode == s.Inode)
}

var lookSeed = maphash.MakeSeed()

// racy is for how long after a change another one may leave no trace, on a disk
// whose times come in ticks: some have ticks of two seconds.
const racy = 3 * time.Second

// trace is what a folder's own stat says of the names in it; 0 where the next
// change may not show.
func (v *Volume) trace(s tree.Stat) uint64 {
	if s.Type != tree.Dir || !v.fs.fineTimes && recent(max(s.MTime, s.CTime)) {
		return 0
	}
	return known(maphash.Comparable(lookSeed, [3]int64{int64(s.Inode), s.MTime, s.CTime}))
}

func recent(nanos int64) bool { return time.Since(time.Unix(0, nanos)) < racy }

func known(sum uint64) uint64 { return max(sum, 1) }

// look is how a folder looks by its listing. Of folders in it only what they are:
// they have a look of their own.
func (v *Volume) look(l Listing) looked {
	s := looked{names: v.trace(l.Stat), inode: l.Stat.Inode}
	if errors.Is(l.Err, ErrChanging) {
		return looked{inode: s.inode}
	}
	type entry struct {
		name                string
		inode, mtime, ctime int64
		size                int64
		mode                uint32
		kind                tree.Type
	}
	var sum uint64
	sure := true
	for _, e := range l.Entries {
		x := entry{name: e.Name, inode: int64(e.Stat.Inode), mode: e.Stat.Mode, kind: e.Stat.Type}
		if x.kind != tree.Dir {
			x.size, x.mtime, x.ctime = e.Stat.Size, e.Stat.MTime, e.Stat.CTime
			sure = sure && (v.fs.fineTimes || !recent(max(x.mtime, x.ctime)))
		}
		sum += maphash.Comparable(lookSeed, x)
	}
	if sure {
		s.contents = known(sum)
	}
	return s
}

// A lane is one of the two looks, which go round through all that is polled.
type lane struct {
	every time.Duration
	at    int // the next is the one before; 0: the round is over
	total int // how many there were when it began
	again bool
	began time.Time // the round
	pass  time.Time // when the round came by the first of them, for the last time
	due   time.Time
	ended time.Time
	work  time.Duration
}

// A poller has the folders that are not watched. A goroutine of its own looks at
// some of them at a time; everything else is done by run.
type poller struct {
	nodes    []*watchNode
	busy     bool
	done     chan round
	names    lane
	contents lane
	news     []*watchNode
	held     map[uint32]heldName
}

// A heldName was renamed to where nobody watches. It is held back until the next
// look at what is polled, so that the reader hears of both names together: a
// rename is one, wherever it goes to.
type heldName struct {
	path string
	at   time.Time
}

// holdMost is for how long a name is held back at most.
const holdMost = 10 * time.Second

// A round is some folders of a round, looked at.
type round struct {
	names bool
	list  []polling
	took  time.Duration
	gone  bool // the volume's folder is
}

// A polling is a folder being looked at: how it was known, and what was seen.
type polling struct {
	n       *watchNode
	path    string
	known   polled
	changed bool
	list    Listing
	looked  looked
}

func newPoller() poller {
	return poller{done: make(chan round, 1), held: map[uint32]heldName{}}
}

// beginPoll polls a folder from now on, of which nothing is known yet.
func (w *watcher) beginPoll(n *watchNode) {
	p := &w.poll
	if len(p.nodes) == 0 {
		now := time.Now()
		p.names = lane{every: w.rhythm.names, due: now.Add(w.rhythm.names)}
		p.contents = lane{every: w.rhythm.contents, due: now.Add(w.rhythm.contents)}
		w.v.watches.names.Store(int64(w.rhythm.names))
		w.v.watches.contents.Store(int64(w.rhythm.contents))
	}
	n.poll = &polled{at: len(p.nodes)}
	p.nodes = append(p.nodes, n)
	w.v.watches.polled.Store(int64(len(p.nodes)))
}

// endPoll ends that. The last one takes the place, which rounds go down to: so
// that none is left out, though one may come twice.
func (w *watcher) endPoll(n *watchNode) {
	p := &w.poll
	last := p.nodes[len(p.nodes)-1]
	p.nodes[n.poll.at], last.poll.at = last, n.poll.at
	p.nodes[len(p.nodes)-1] = nil
	p.nodes = p.nodes[:len(p.nodes)-1]
	n.poll = nil
	w.v.watches.polled.Store(int64(len(p.nodes)))
	if len(p.nodes) == 0 {
		w.v.watches.short.Store(nil)
		w.release(time.Now())
	}
}

// next is when the next look is due.
func (p *poller) next() (at time.Time) {
	switch {
	case p.busy || len(p.nodes) == 0:
	case p.names.due.Before(p.contents.due):
		at = p.names.due
	default:
		at = p.contents.due
	}
	return at
}

// look begins a look that is due.
func (w *watcher) look(now time.Time) {
	p := &w.poll
	switch {
	case p.busy || len(p.nodes) == 0:
	case !now.Before(p.names.due):
		w.begin(&p.names, true, statBatch, now)
	case !now.Before(p.contents.due):
		w.begin(&p.contents, false, listBatch, now)
	}
}

// begin looks at the next few folders of a lane.
func (w *watcher) begin(l *lane, names bool, most int, now time.Time) {
	p := &w.poll
	if l.at == 0 {
		if l.at, l.total, l.pass = len(p.nodes), len(p.nodes), now; !l.again {
			l.began, l.work = now, 0
		}
	}
	r := round{names: names}
	for l.at = min(l.at, len(p.nodes)); l.at > 0 && len(r.list) < most; {
		l.at--
		n := p.nodes[l.at]
		if path, ok := w.path(n); ok {
			r.list = append(r.list, polling{n: n, path: path, known: *n.poll})
		}
	}
	p.busy = true
	rootless := w.root.poll != nil
	go func() {
		began := time.Now()
		sc := new(scratch)
		if rootless { // nobody else tells
			err := w.v.Check()
			r.gone = errors.Is(err, ErrRootMissing) || errors.Is(err, ErrRootReplaced)
		}
		for i := range r.list {
			if names {
				w.v.pollNames(&r.list[i], sc)
			} else {
				w.v.pollContents(&r.list[i], sc)
			}
		}
		r.took = time.Since(began)
		p.done <- r
	}()
}

// pollNames lists a folder if its stat is not as it was.
func (v *Volume) pollNames(x *polling, sc *scratch) {
	st, err := v.fs.lstat(x.path)
	if err != nil || st.Type != tree.Dir {
		return // the folder that it is in tells
	}
	if t := v.trace(st); t != 0 && t == x.known.names {
		return
	}
	x.list, x.changed = v.fs.list(x.path, sc), true
	x.looked = v.look(x.list)
}

func (v *Volume) pollContents(x *polling, sc *scratch) {
	x.list = v.fs.list(x.path, sc)
	x.looked = v.look(x.list)
	x.changed = x.looked.contents == 0 || x.looked.contents != x.known.contents
	if !x.changed {
		x.list = Listing{}
	}
}

// polled takes in what a look brought.
func (w *watcher) polled(ctx context.Context, r round) {
	p := &w.poll
	p.busy = false
	if r.gone {
		w.queue.put("", RootGone)
	}
	l := &p.contents
	if r.names {
		l = &p.names
	}
	l.work += r.took
	for i := range r.list {
		x := &r.list[i]
		// One that moved meanwhile, or is watched, has another to tell of it.
		if path, ok := w.path(x.n); !x.changed || x.n.poll == nil || !ok || path != x.path {
			continue
		}
		if r.names {
			w.stirred(ctx, x)
		} else {
			w.written(ctx, x)
		}
	}
	now := time.Now()
	switch {
	case r.names:
		w.afterNames(ctx, now)
	case l.at > 0:
		l.due = now.Add((pollShare - 1) * r.took)
		if p := time.Duration(float64(now.Sub(l.began)) * float64(l.total) / float64(max(1, l.total-l.at))); p > time.Duration(w.v.watches.contents.Load()) {
			w.v.watches.contents.Store(int64(p))
		}
	default:
		l.due = now.Add((pollShare - 1) * r.took)
		if next := l.began.Add(l.every); l.due.Before(next) {
			l.due = next
		}
		w.v.watches.contents.Store(int64(l.due.Sub(l.began)))
	}
}

// stirred takes in that names of a folder came or went.
func (w *watcher) stirred(ctx context.Context, x *polling) {
	n := x.n
	if x.known.names != 0 { // and not because it is polled from now on
		n.heat = time.Now().UnixNano()
	}
	n.poll.take(x.looked)
	w.adopt(ctx, x.path, n, x.list)
	if !n.poll.news {
		n.poll.news = true
		w.poll.news = append(w.poll.news, n)
	}
}

// written takes in that a file of a folder was written where it is. If the names
// are other ones too, that is for the look at names to tell, of all at once.
func (w *watcher) written(ctx context.Context, x *polling) {
	n := x.n
	if x.looked.names == 0 || x.looked.names != n.poll.names {
		w.hurry(time.Now())
		return
	}
	if n.poll.contents = x.looked.contents; x.known.contents != 0 {
		n.heat = time.Now().UnixNano()
		if w.warm(ctx, n, x.path) != nil { // it stays polled
			w.adopt(ctx, x.path, n, x.list) // on a disk where names leave no trace in their folder
		}
	}
	w.queue.put(x.path, Inside)
}

// afterNames goes on with a round of the look at names, or ends it. Where it found
// something, it goes round once more first: what was moved meanwhile, from a folder
// that was to come yet to one that had been, is reported with both of its names.
func (w *watcher) afterNames(ctx context.Context, now time.Time) {
	p := &w.poll
	l := &p.names
	l.due = now
	if l.at > 0 {
		w.release(now.Add(-holdMost))
		return
	}
	if l.again = !l.again && len(p.news) > 0; l.again {
		return
	}
	news := p.news
	p.news = nil
	for _, n := range news {
		path, ok := w.path(n)
		if !ok {
			continue
		}
		if n.poll != nil {
			n.poll.news = false
			if n.heat > l.began.UnixNano() {
				_ = w.warm(ctx, n, path) // it stays polled where it must
			}
		}
		w.queue.put(path, Inside)
	}
	w.release(l.pass)
	w.retry(ctx)
	l.ended = now
	l.due = now.Add((pollShare - 1) * l.work)
	if next := l.began.Add(l.every); l.due.Before(next) {
		l.due = next
	}
	w.v.watches.names.Store(int64(l.due.Sub(l.began)))
	if len(p.held) > 0 {
		w.hurry(now)
	}
}

// hurry has names looked at soon: what is known says that there is something.
func (w *watcher) hurry(now time.Time) {
	l := &w.poll.names
	if at := l.ended.Add((hurryShare - 1) * l.work); at.After(now) {
		now = at
	}
	if now.Before(l.due) {
		l.due = now
	}
}

// hold keeps a name back that was renamed to where nobody watches.
func (w *watcher) hold(path string) bool {
	if len(w.poll.nodes) == 0 || w.cookie == 0 {
		return false
	}
	now := time.Now()
	w.poll.held[w.cookie] = heldName{path, now}
	w.hurry(now)
	return true
}

// arrived reports the first half of the rename in hand, if it was held back.
func (w *watcher) arrived() {
	if h, ok := w.poll.held[w.cookie]; ok {
		delete(w.poll.held, w.cookie)
		w.queue.put(h.path, Left)
	}
}

// release reports the names that were held back since before a time.
func (w *watcher) release(before time.Time) {
	for c, h := range w.poll.held {
		if !h.at.After(before) {
			delete(w.poll.held, c)
			w.queue.put(h.path, Left)
		}
	}
}
