package engine

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"signet"
	"signet/core/plan"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/line"
)

// Large files travel beside the loop of their volume, so that a document saved
// now does not wait for a film. A haul reads, seals or fetches one of them and
// ends with an observation: what was read, what it is sealed as, where it is
// staged. The loop takes it up in a later turn, if what it knows then still
// wants it; if not, it is as good as the work of a turn that a crash ended.

// heavySize is from which size on, in bytes, a file travels beside the loop,
// whatever the line; leastHeavy, from which size on it may, where the line takes
// half a second for it.
const (
	heavySize  = 8 << 20
	leastHeavy = 512 << 10
)

// A lane is a right to one request of a haul. The hauls of a device share them
// by class, and leave at least one of the connections to what cannot wait.
type lane chan struct{}

// laneCount is how many requests the hauls of a class make at once.
var laneCount = map[line.Class]int{line.Saved: 2, line.Next: 2, line.Largest: 3}

func newLanes() map[line.Class]lane {
	l := map[line.Class]lane{}
	for c, n := range laneCount {
		l[c] = make(lane, n)
	}
	return l
}

// A haul is one file on its way. What it is about does not change. What came of
// it is the loop's when it has ended; ended and dropped belong to besides.mu.
type haul struct {
	node   signet.NodeID
	class  line.Class
	cancel context.CancelFunc

	stat   tree.Stat    // what is read shows this
	hash   [32]byte     // what is sealed has this; zero where it is only read
	action *plan.Action // what is fetched
	sketch *sketch      // what of it was fetched before

	ended   bool
	dropped bool // nobody wants it; it keeps its place until it has ended

	read hashed     // of a reading
	out  sealedFile // of a sealing
	in   *fetched   // of a fetch
	err  error      // of a fetch: the volume's trouble, not the file's
}

// discard closes what a haul left. Its bytes stay staged under their name, if they
// have one.
func (h *haul) discard() {
	switch {
	case h.in == nil || h.in.staged == nil:
	case h.in.sketched:
		h.in.staged.Discard()
	default:
		h.in.staged.Suspend()
	}
}

// besides are the hauls of a volume. The loop alone begins and ends them.
type besides struct {
	ctx  context.Context
	wake func()
	work sync.WaitGroup

	mu       sync.Mutex
	up, down map[signet.NodeID]*haul
	over     bool // one ended since the loop looked last
}

// sends reports whether a node's content is being read or sealed; no besides, no
// haul.
func (b *besides) sends(n signet.NodeID) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.up[n] != nil
}

// newBesides prepares for hauls that end with ctx. wake is called when one has
// ended by itself.
func newBesides(ctx context.Context, wake func()) *besides {
	return &besides{ctx: ctx, wake: wake, up: map[signet.NodeID]*haul{}, down: map[signet.NodeID]*haul{}}
}

// begin lets do work at h, and says when it has ended.
func (b *besides) begin(in map[signet.NodeID]*haul, h *haul, do func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(b.ctx)
	h.cancel = cancel
	b.mu.Lock()
	in[h.node] = h
	b.mu.Unlock()
	b.work.Go(func() {
		do(ctx)
		cancel()
		b.mu.Lock()
		h.ended, b.over = true, true
		if h.dropped {
			delete(in, h.node)
			h.discard()
		}
		b.mu.Unlock()
		b.wake()
	})
}

// of is the haul of a node, and whether it has ended.
func (b *besides) of(in map[signet.NodeID]*haul, n signet.NodeID) (h *haul, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h = in[n]
	return h, h != nil && h.ended
}

// take is the haul of a node if it has ended: what it left is the caller's.
func (b *besides) take(in map[signet.NodeID]*haul, n signet.NodeID) *haul {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := in[n]
	if h == nil || !h.ended {
		return nil
	}
	delete(in, n)
	return h
}

// keep drops the hauls that are not wanted: those under way end soon.
func (b *besides) keep(in map[signet.NodeID]*haul, wanted func(*haul) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, h := range in {
		switch {
		case wanted(h):
		case h.ended:
			delete(in, n)
			h.discard()
		default:
			h.dropped = true
			h.cancel()
		}
	}
}

// busy is how many hauls are under way.
func (b *besides) busy(in map[signet.NodeID]*haul) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range in {
		if !h.ended {
			n++
		}
	}
	return n
}

// look says that the loop sees now what has ended.
func (b *besides) look() {
	b.mu.Lock()
	b.over = false
	b.mu.Unlock()
}

// landed reports whether a haul has ended since the loop looked.
func (b *besides) landed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// pending reports whether the loop has something to wait for: a haul is under
// way, or has ended since it looked.
func (b *besides) pending() bool {
	b.mu.Lock()
	over := b.over
	b.mu.Unlock()
	return over || b.busy(b.up) > 0 || b.busy(b.down) > 0
}

// stop drops all hauls and returns when they have ended.
func (b *besides) stop() {
	for _, in := range []map[signet.NodeID]*haul{b.up, b.down} {
		b.keep(in, func(*haul) bool { return false })
	}
	b.work.Wait()
}

// readBeside reads files that are heavy, and seals them on the way where that
// is worth it. It returns what came of those that were read.
func (v *volume) readBeside(todo []*item) (done []hashed) {
	b := v.beside
	var idle []*item
	for _, it := range todo {
		h, ended := b.of(b.up, it.id)
		if h != nil && (h.hash != [32]byte{} || !identical(h.stat, it.stat)) { // of what it was before
			b.keep(b.up, func(x *haul) bool { return x != h })
			h, ended = b.of(b.up, it.id)
		}
		switch {
		case h == nil:
			idle = append(idle, it)
		case ended && !h.dropped:
			r := b.take(b.up, it.id).read
			r.it = it
			done = append(done, r)
		}
	}
	idle = slices.DeleteFunc(idle, func(it *item) bool { _, ok := v.index.path(it.id); return !ok })
	saved := func(it *item) bool { _, ok := v.savedNow(it.id); return ok }
	for _, c := range choose(b, b.up, idle, func(it *item) int64 { return it.stat.Size }, saved) {
		path, _ := v.index.path(c.what.id)
		h, disk, early := &haul{node: c.what.id, class: c.class, stat: c.what.stat}, v.disk, v.early(c.what)
		op := tree.Op{Node: h.node, Parent: c.what.parent, Type: tree.File}
		b.begin(b.up, h, func(ctx context.Context) {
			ctx, lanes := v.as(ctx, h.class)
			h.read = v.readHeavy(ctx, disk, path, op, early, lanes)
		})
	}
	return done
}

// sealBeside seals the heavy files that a plan wants sealed, and returns those
// that are.
func (v *volume) sealBeside(files []upFile) (done []sealedFile) {
	b := v.beside
	var idle []upFile
	for _, f := range files {
		h, ended := b.of(b.up, f.op.Node)
		switch {
		case h == nil:
			idle = append(idle, f)
		case ended: // prune left only what the plan wants
			b.take(b.up, f.op.Node)
			h.out.op = withContent(f.op, h.out.op)
			done = append(done, h.out)
		}
	}
	saved := func(f upFile) bool { _, ok := v.savedNow(f.op.Node); return ok }
	for _, c := range choose(b, b.up, idle, func(f upFile) int64 { return f.op.Size }, saved) {
		f, h, disk := c.what, &haul{node: c.what.op.Node, class: c.class, hash: c.what.op.Hash}, v.disk
		b.begin(b.up, h, func(ctx context.Context) {
			ctx, lanes := v.as(ctx, h.class)
			u := v.newUploader(ctx, lanes, false)
			defer u.stop()
			began, sent := v.d.Now(), v.sent()
			h.out = v.sealFile(ctx, disk, u, f)
			if err := u.flush(); h.out.err == nil {
				h.out.err = err
			}
			v.measure(v.d.Now().Sub(began), v.sent()-sent)
		})
	}
	return done
}

// withContent is op with the content that another operation of equal bytes has.
func withContent(op, other tree.Op) tree.Op {
	op.Content, op.PlaintextID, op.Size = other.Content, other.PlaintextID, other.Size
	return op
}

// fetchBeside fetches the heavy files of a plan; landBeside puts them in place.
// Its error is what keeps some from coming: a service that is away, a full
// disk.
func (v *volume) fetchBeside(actions []plan.Action) (err error) {
	b := v.beside
	var idle []plan.Action
	for _, a := range actions {
		h, ended := b.of(b.down, a.Node)
		switch {
		case h == nil:
			idle = append(idle, a)
		case ended && h.err != nil:
			b.take(b.down, a.Node)
			h.discard()
			err = h.err
		}
	}
	var ready []*fetched
	idle = slices.DeleteFunc(idle, func(a plan.Action) bool {
		k := v.sketches.take(a.Remote) // there was room for it when it began
		if k == nil {
			return false
		}
		f, ok := v.toFetch(a)
		if !ok {
			v.sketches.rest(k)
			return true
		}
		v.haulDown(f, line.Largest, k)
		return true
	})
	idle, full := v.room(idle)
	for _, a := range idle {
		if f, ok := v.toFetch(a); ok {
			ready = append(ready, f)
		}
	}
	saved := func(f *fetched) bool { _, ok := v.fetchedNow(&f.action); return ok }
	for _, c := range choose(b, b.down, ready, func(f *fetched) int64 { return f.action.Remote.Size }, saved) {
		v.haulDown(c.what, c.class, nil)
	}
	if err == nil {
		err = full
	}
	return err
}

// haulDown begins to fetch a file. k is what was fetched of it before, or nil.
func (v *volume) haulDown(f *fetched, class line.Class, k *sketch) {
	h, disk := &haul{node: f.action.Node, class: class, action: &f.action, in: f, sketch: k}, v.disk
	v.beside.begin(v.beside.down, h, func(ctx context.Context) {
		ctx, lanes := v.as(ctx, h.class)
		h.err = v.fetchLarge(ctx, disk, f, lanes, k)
		if h.err == nil && f.staged != nil {
			h.err = disk.Settle(ctx, []Staged{f.staged})
		}
	})
}

// landBeside puts a heavy file in place, if it has come.
func (v *volume) landBeside(ctx context.Context, a plan.Action) (done bool, err error) {
	h, ended := v.beside.of(v.beside.down, a.Node)
	if !ended || h.err != nil || !sameContent(&a, h.action) {
		return false, nil
	}
	f, ok := v.toFetch(a)
	if !ok {
		return false, nil
	}
	v.beside.take(v.beside.down, a.Node)
	f.staged, f.err = h.in.staged, h.in.err
	done, err = v.land(ctx, f)
	if f.staged != nil {
		f.staged.Discard()
	}
	return done, err
}

// sameContent reports whether two actions want the same bytes, mode and time.
func sameContent(a, b *plan.Action) bool {
	return a.Verb == b.Verb && bytes.Equal(a.Remote.Data, b.Remote.Data) && a.Remote.Mode == b.Remote.Mode && a.Remote.MTime == b.Remote.MTime
}

// prune drops what a plan has no use for, and learns what sizes are in use.
func (v *volume) prune(p *plan.Plan) {
	b := v.beside
	up, hashes := map[signet.NodeID][32]byte{}, map[[32]byte]bool{}
	for _, op := range p.Up {
		if op.Kind == tree.Create || op.Kind == tree.Edit {
			up[op.Node], hashes[op.Hash] = op.Hash, true
			if v.sizes != nil {
				v.known(op.Type, op.Size)
			}
		}
	}
	b.keep(b.up, func(h *haul) bool {
		if h.hash == [32]byte{} {
			return v.index.unread[h.node] != nil
		}
		hash, ok := up[h.node]
		return ok && hash == h.hash
	})
	maps.DeleteFunc(v.sealed, func(hash [32]byte, _ sealedFile) bool { return !hashes[hash] })
	if maps.DeleteFunc(v.small, func(hash [32]byte, _ *seal.Ref) bool { return !hashes[hash] }); len(v.small) == 0 {
		v.small = nil
	}
	down := map[signet.NodeID]*plan.Action{}
	for i := range p.Down {
		if v.heavyFetch(&p.Down[i]) {
			down[p.Down[i].Node] = &p.Down[i]
			if v.sizes != nil {
				v.known(tree.File, p.Down[i].Remote.Size)
			}
		}
	}
	b.keep(b.down, func(h *haul) bool {
		a := down[h.node]
		return a != nil && sameContent(a, h.action)
	})
}
