package plan

import (
	"signet"
	"signet/core/tree"
)

// ignored reports whether a node is in the journal alone, and to stay so.
func (p *planner) ignored(it *item) bool {
	return p.leaves() && it.local == nil && it.live() && p.leftOut(it.ref)
}

// passedOver reports whether a live node that is not on disk, nor in base, is
// nothing that a plan looks at. A conflict copy may be what this device has
// under the name of another.
func (p *planner) passedOver(r tree.Ref) bool {
	return p.leaves() && r.ConflictOf().IsZero() && p.leftOut(r) && !p.mayBeHere(r)
}

// keeps reports whether a folder on disk holds things that are not observed;
// kept, whether one of them has a name.
func (p *planner) keeps(folder id) bool { return len(p.in.Kept[p.before(folder)]) > 0 }

func (p *planner) kept(folder id, name string) bool {
	names := p.in.Kept[p.before(folder)]
	if len(names) == 0 || p.in.Caps.Key == nil {
		_, ok := names[name]
		return ok
	}
	for n := range names {
		if p.in.Caps.Equal(n, name) {
			return true
		}
	}
	return false
}

// before is what a folder was bound to when it was looked at.
func (p *planner) before(folder id) id {
	if f, ok := p.was[folder]; ok {
		return f
	}
	return folder
}

// letGo forgets what disk and journal agreed on about nodes that are not
// observed any more, or not selected, or that were in a folder of which nothing is
// known any more. If they are again, they meet as if they never had.
func (p *planner) letGo() {
	var list []*item
	for _, it := range p.all {
		if it.base != nil && it.local == nil && (p.absence(it) == away || p.ignored(it)) {
			list = append(list, it)
		}
	}
	for _, it := range list {
		if p.in.Away[it.id] && it.live() && !p.ignored(it) && !p.in.Away[it.base.Parent] {
			p.out.Stayed = append(p.out.Stayed, it.id)
		}
	}
	for _, it := range list {
		p.forget(it)
	}
}

// shell reports whether a folder which the journal deleted is still there for
// what is not observed in it or in folders like it, and for nothing else.
func (p *planner) shell(it *item) bool {
	l, b := it.local, it.base
	if l == nil || b == nil || l.Type != tree.Dir || !it.ref.OK() || !it.ref.Deleted() || moved(it.id, l, b) || !p.keeps(it.id) && len(it.below) == 0 {
		return false
	}
	for _, k := range it.below {
		if !p.shell(k) {
			return false
		}
	}
	return true
}

// refill finds the folder that has a shell's name now: the shell is that one.
// Shells in it stay what they are, but lie where the journal never had them.
func (p *planner) refill(it *item) *item {
	if len(p.in.Kept) == 0 {
		return nil
	}
	m := p.names[p.slot(at(it.local))]
	if m == nil || m.base != nil || m.local != nil || m.ref.Type() != tree.Dir || p.ignored(m) || !p.shell(it) {
		return nil
	}
	for _, k := range it.below {
		b := *k.base
		b.Parent, b.Place = m.id, signet.RevisionID{}
		p.agree(k, b)
	}
	return m
}

// moulted reports whether a shell that lies where the journal never had it is
// none any more: it is a new folder, as the old one would live again elsewhere.
func (p *planner) moulted(it *item) bool {
	b := it.base
	return b != nil && b.Place == signet.RevisionID{} && it.local.Type == tree.Dir && it.ref.OK() && it.ref.Deleted() && len(it.below) > 0 && !p.shell(it)
}

// hollow reports whether a folder of the journal, which is not on disk, holds
// something, and nothing that is to be on disk: it is not made for that.
func (p *planner) hollow(r tree.Ref) bool {
	if !p.leaves() || r.Type() != tree.Dir {
		return false
	}
	if h, ok := p.hollows[r]; ok {
		return h
	}
	n, h := 0, true
	for k := range r.Kids() {
		kid := p.get(k.ID())
		if kid.del {
			continue
		}
		n++
		if kid.local != nil || !p.leftOut(k) && !p.hollow(k) {
			h = false
			break
		}
	}
	h = h && n > 0
	if p.hollows == nil {
		p.hollows = map[tree.Ref]bool{}
	}
	p.hollows[r] = h
	return h
}
