package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// A file that a person moves from one volume to another is a deletion in the one and a
// new file in the other, of which nobody knows that they are the same. Its deletion is
// sent when the service has it from the other volume: a device that were lost in between
// would leave it in the history alone. Volumes know nothing of each other, so one that
// is to send deletions asks the others of this device.

// A leaving file is one whose deletion is to be sent.
type leaving struct {
	node        signet.NodeID // that the operation deletes
	size, mtime int64
	hash        [32]byte
}

// An inquiry asks a volume which of some files it has that the service has not.
type inquiry struct {
	files  []leaving
	by     *volume
	of     *volume
	answer chan answered // room for one
	again  bool          // it is put off for what there is to look at
}

// answered is what a volume had at a time, by the nodes that were asked about.
type answered struct {
	at  time.Time
	has map[signet.NodeID]bool
}

// askAgain is after how long a volume asks again whether a file is safe elsewhere, and
// holdsFor how long an answer is good: deletions wait for more of them (quietMost).
const (
	askAgain = time.Second
	holdsFor = 2 * quietMost
)

// moving is what a volume knows of files that leave it for another one. Of its loop,
// or of the pass that syncs it.
type moving struct {
	asked  []*inquiry
	about  map[signet.NodeID]bool // the deletions that these are about
	held   map[signet.NodeID]bool // that wait
	looked map[*volume]bool       // those without a loop that a pass has looked at
}

// keepLeaving takes out of a plan the deletions of files that are on their way to the
// service from another volume of this device, or may be, and says when to try again:
// never where there are none.
func (v *volume) keepLeaving(ctx context.Context, p *plan.Plan) (due time.Time) {
	others := v.d.others(v)
	if len(others) == 0 {
		return time.Time{}
	}
	ops := map[signet.NodeID][]leaving{}
	var files []leaving
	for _, op := range p.Up {
		if op.Kind != tree.Delete {
			continue
		}
		if l := v.leaving(op); len(l) > 0 {
			ops[op.Node] = l
			files = append(files, l...)
		}
	}
	if len(ops) == 0 {
		return time.Time{}
	}
	there, known := v.elsewhere(ctx, others, files)
	v.moving.held = map[signet.NodeID]bool{}
	p.Up = slices.DeleteFunc(slices.Clone(p.Up), func(op tree.Op) bool {
		l := ops[op.Node]
		if op.Kind != tree.Delete || len(l) == 0 || known && !there[op.Node] {
			return false
		}
		v.moving.held[op.Node] = true
		p.Guard.Up = max(p.Guard.Up-len(l), 0)
		return true
	})
	if len(v.moving.held) == 0 {
		return time.Time{}
	}
	return v.d.Now().Add(askAgain)
}

// leaving are the files with content that a deletion takes from the region.
func (v *volume) leaving(op tree.Op) (list []leaving) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	nodes := []signet.NodeID{op.Node}
	for len(nodes) > 0 {
		id := nodes[len(nodes)-1]
		nodes = nodes[:len(nodes)-1]
		if b := v.index.base.of(id); b.Type == tree.File && b.Size > 0 {
			list = append(list, leaving{op.Node, b.Size, b.MTime, b.Hash})
		}
		if op.Whole {
			for _, k := range v.region.Tree.Children(id) {
				nodes = append(nodes, k.ID)
			}
		}
	}
	return list
}

// others are the other volumes of the device.
func (d *Device) others(v *volume) (list []*volume) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.volumes {
		if w != v {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *volume) int { return strings.Compare(a.id, b.id) })
	return list
}

// elsewhere says which deletions are of files that other volumes have and the service
// has not. known is false as long as one of them has not answered.
func (v *volume) elsewhere(ctx context.Context, others []*volume, files []leaving) (there map[signet.NodeID]bool, known bool) {
	there = map[signet.NodeID]bool{}
	covered := !slices.ContainsFunc(files, func(f leaving) bool { return !v.moving.about[f.node] })
	if v.moving.asked == nil || !covered {
		v.moving.asked, v.moving.about = nil, map[signet.NodeID]bool{}
		for _, f := range files {
			v.moving.about[f.node] = true
		}
		for _, w := range others {
			if w.loops() {
				q := &inquiry{files: files, by: v, of: w, answer: make(chan answered, 1)}
				w.mu.Lock()
				w.inquiries = append(w.inquiries, q)
				w.mu.Unlock()
				w.wake()
				v.moving.asked = append(v.moving.asked, q)
			}
		}
	}
	for _, w := range others {
		if w.loops() {
			continue
		}
		if !v.moving.looked[w] { // once in a pass: what it says then is of what its index has
			if v.moving.looked == nil {
				v.moving.looked = map[*volume]bool{}
			}
			v.moving.looked[w] = true
			w.lookOver(ctx)
		}
		maps.Copy(there, w.unsafeOf(files))
	}
	old := false
	for _, q := range v.moving.asked {
		if !slices.Contains(others, q.of) {
			continue // it was removed
		}
		select {
		case a := <-q.answer:
			q.answer <- a // for the next look at it
			old = old || v.d.Now().Sub(a.at) > holdsFor
			maps.Copy(there, a.has)
		default:
			return nil, false
		}
	}
	v.moving.asked = nil
	return there, !old
}

// loops reports whether a volume has a loop, which answers for it.
func (v *volume) loops() bool {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	select {
	case <-v.ended: // never of one that did not begin
		return false
	default:
		return v.ended != nil
	}
}

// lookOver looks at the folder of a volume that no loop has. Where it cannot be looked
// at, it is known as it was seen last.
func (v *volume) lookOver(ctx context.Context) {
	was := v.Status()
	defer func() { v.setState(was.State, was.Reason, was.Hint) }()
	v.beside = newBesides(ctx, v.wake)
	defer v.closeDisk()
	if v.lookOnce(ctx) == nil {
		_ = v.d.Store.flush(v.id, v.index) // else it is read again
	}
}

// answerInquiries answers other volumes. Of the loop, which has to have looked at what
// the watch told of so far: what left there and came here is told of at once.
func (v *volume) answerInquiries() {
	v.mu.Lock()
	asked := v.inquiries
	v.inquiries = nil
	v.mu.Unlock()
	if len(asked) == 0 {
		return
	}
	v.drain()
	for _, q := range asked {
		if len(v.look) > 0 && !q.again { // once: what cannot be looked at would hold up the answer for ever
			q.again = true
			v.mu.Lock()
			v.inquiries = append(v.inquiries, q)
			v.mu.Unlock()
			v.wake()
			continue
		}
		q.answer <- answered{v.d.Now(), v.unsafeOf(q.files)}
		q.by.wake()
	}
}

// unsafeOf says which of some files the folder has and the service has not. Of one
// that was not read yet, size and time tell.
func (v *volume) unsafeOf(files []leaving) map[signet.NodeID]bool {
	bySize := map[int64][]leaving{}
	for _, f := range files {
		bySize[f.size] = append(bySize[f.size], f)
	}
	has := map[signet.NodeID]bool{}
	for id, it := range v.index.items {
		if it.stat.Type != tree.File || bySize[it.stat.Size] == nil || v.isSafe(id, it) {
			continue
		}
		for _, f := range bySize[it.stat.Size] {
			if it.sha == f.hash || it.sha == [32]byte{} && it.stat.MTime == f.mtime {
				has[f.node] = true
			}
		}
	}
	return has
}

// waitsForOthers says how many deletions wait for other volumes; "" for none.
func (v *volume) waitsForOthers() string {
	if n := len(v.moving.held); n > 0 {
		return fmt.Sprintf("%d deletions wait until what was moved to another folder is safe there", n)
	}
	return ""
}

// Leaving reports whether deletions of a volume wait for others: once these are in
// step, another pass sends them.
func (d *Device) Leaving(id string) bool {
	v, err := d.volume(id)
	return err == nil && !v.loops() && len(v.moving.held) > 0
}
