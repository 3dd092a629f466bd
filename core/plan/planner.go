package plan

import (
	"cmp"
	"slices"

	"signet"
	"signet/core/key"
	"signet/core/tree"
)

type id = signet.NodeID

// place is where something is, or is wanted, on disk.
type place struct {
	parent id
	name   string
}

// planner holds what the steps of Make pass on.
type planner struct {
	in  Input
	out *Plan

	set     map[id]*item   // open nodes, and others that were looked up
	all     []*item        // the open ones
	folders map[id]*folder // remote ones whose names were asked for
	seen    map[id]bool    // what look looked at
	aliased map[id]id      // for the next State
	files   int            // in base

	order  []*item         // open live remote nodes, parents first
	locals []*item         // open nodes on disk, parents first, then by id
	names  map[place]*item // order, by the slot where it belongs on this disk
	cover  map[place]bool  // slots of things that are not synched

	was      map[id]id         // folders that were bound to another node until now, by the new one
	hollows  map[tree.Ref]bool // what hollow said
	choices  map[tree.Ref]choice
	absentAt map[place][]*item // nodes of base that are nowhere on disk, by the slot where they were
}

// An item is a node in the three trees.
type item struct {
	id    id
	local *Local   // with Rebind applied; nil if not on disk
	base  *Base    // with Agree and Forget applied; nil if there is none
	ref   tree.Ref // what the journal has, deleted or not
	name  string   // that a live one has on this disk
	below []*item  // open nodes on disk whose folder it is
	kids  []*item  // open remote children, as order has them
	depth int      // on disk, from 1; -1 if it hangs on no folder

	open   bool
	named  bool // name is known
	absent absence
	moveUp bool // a local move to be committed
	looped bool // a local move that is not: it would make a loop
	clash  bool // an edit that another device was faster with
	edit   bool // Up has its content
	del    bool // Up deletes it
	sheds  bool // so it does, and moves a folder out of it
	woken  bool // something dead in it lives again by what Up has
	back   bool // deleted here, and comes back because others changed its folder
	held   bool
	move   moving
}

func (it *item) live() bool { return it.ref.Live() }

type absence uint8

const (
	unknown absence = iota + 1 // not looked for well enough
	gone                       // not there, on evidence
	covered                    // something unsynched has its name
	away                       // it is, or may be, where nothing is observed
)

func newPlanner(in Input) *planner {
	return &planner{in: in, out: &Plan{Agree: map[id]Base{}}, set: map[id]*item{}, folders: map[id]*folder{}}
}

// get is the item of a node, whatever it is.
func (p *planner) get(n id) *item {
	if it := p.set[n]; it != nil {
		return it
	}
	it := &item{id: n, ref: p.in.Remote.Ref(n)}
	if l, ok := p.in.Local.Get(n); ok {
		if l.Type == tree.File && l.Hash == [32]byte{} {
			l.Unsettled = true
		}
		it.local = &l
	}
	if b, ok := p.in.Base.Get(n); ok {
		// A folder whose creation was adopted is another one since.
		b.Parent = p.in.Remote.Adopter(b.Parent)
		it.base = &b
	}
	p.set[n] = it
	return it
}

// want is where a live remote node belongs on this disk.
func (p *planner) want(it *item) place {
	if !it.named {
		it.name, it.named = p.nameOf(it.ref), true
	}
	return place{it.ref.Parent(), it.name}
}

func at(l *Local) place { return place{l.Parent, l.Name} }

// slot is what all places are that are one for the disk: two nodes cannot be
// there at once.
func (p *planner) slot(w place) place { return place{w.parent, p.key(w.name)} }

func (p *planner) key(name string) string {
	if p.in.Caps.Key == nil {
		return name
	}
	return p.in.Caps.Key(name)
}

// index lists the local nodes. Those that hang on no folder of the disk (a
// scan that a rename crossed) are left out: the next scan knows.
func (p *planner) index() {
	p.locals, p.cover = p.locals[:0], map[place]bool{}
	for _, it := range p.set {
		it.below, it.depth = nil, 0
	}
	slices.SortFunc(p.all, func(a, b *item) int { return a.id.Compare(b.id) })
	for _, it := range p.all {
		if it.local == nil {
			continue
		}
		if it.local.Type == tree.Other {
			p.cover[p.slot(at(it.local))] = true
		}
		if p.depth(it) > 0 {
			p.locals = append(p.locals, it)
		}
		if it.local.Parent != signet.RootNode {
			up := p.get(it.local.Parent)
			up.below = append(up.below, it)
		}
	}
	slices.SortStableFunc(p.locals, func(a, b *item) int { return cmp.Compare(a.depth, b.depth) })
}

// depth is how deep an item lies on disk; -1 if it hangs on no folder.
func (p *planner) depth(it *item) int {
	switch {
	case it.depth != 0:
	case it.local == nil:
		it.depth = -1
	case it.local.Parent == signet.RootNode:
		it.depth = 1
	default:
		it.depth = -1 // until known; also stops at a loop
		if d := p.depth(p.get(it.local.Parent)); d > 0 {
			it.depth = d + 1
		}
	}
	return it.depth
}

// listRemote lists the open live nodes in the order of a walk, and where the
// disk would have them.
func (p *planner) listRemote() {
	live := 0
	for _, it := range p.all {
		it.kids = nil
		if it.live() {
			live++
		}
	}
	p.names = make(map[place]*item, live)
	p.order = make([]*item, 0, live)
	kids := map[tree.Ref][]tree.Ref{}
	met := map[tree.Ref]bool{}
	root := p.in.Remote.Ref(signet.RootNode)
	for _, it := range p.all {
		if !it.live() {
			continue
		}
		p.names[p.slot(p.want(it))] = it
		for r := it.ref; r != root && !met[r]; r = r.Folder() {
			if r.Type() == tree.Dir { // only they can be met again
				met[r] = true
			}
			kids[r.Folder()] = append(kids[r.Folder()], r)
		}
	}
	stack := []tree.Ref{root}
	for len(stack) > 0 {
		r := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if it := p.set[r.ID()]; it != nil && it.open {
			p.order = append(p.order, it)
			if up := p.set[r.Parent()]; up != nil {
				up.kids = append(up.kids, it)
			}
		}
		l := kids[r]
		slices.SortFunc(l, func(a, b tree.Ref) int { return b.Compare(a) })
		stack = append(stack, l...)
	}
}

func (p *planner) hold(it *item, why Why) {
	if !it.held {
		it.held = true
		p.out.Held = append(p.out.Held, Held{it.id, why})
	}
}

func (p *planner) agree(it *item, b Base) {
	if it.base != nil && *it.base == b {
		return
	}
	it.base = &b
	p.out.Agree[it.id] = b
}

func (p *planner) forget(it *item) {
	if it.base == nil {
		return
	}
	it.base = nil
	delete(p.out.Agree, it.id)
	if _, had := p.in.Base.Get(it.id); had {
		p.out.Forget = append(p.out.Forget, it.id)
	}
}

// bind finds out which local files are nodes that they are not bound to: one
// that a program saved by renaming a new file over it; one that this device
// put and replay adopted or made a conflict copy; one that this device has
// without knowing (its index is new, or another device put the same).
func (p *planner) bind() {
	copies := map[id][]*item{}
	for _, it := range p.order {
		if of := it.ref.ConflictOf(); !of.IsZero() {
			copies[of] = append(copies[of], it)
		}
	}
	// From the top down: a folder's node decides where its children are.
	renamed, more := map[id]id{}, false
	for _, it := range p.locals {
		l := it.local
		if to, ok := renamed[l.Parent]; ok {
			l.Parent = to
		}
		to, keepBase := p.boundTo(it, copies[it.id])
		of := it // whose base is of what the disk had before
		if keepBase {
			of = p.get(to)
		}
		var sent *Base
		if c := p.descends(l, of); c != nil {
			to, sent = c.id, of.base
			p.forget(of)
		}
		if to == it.id {
			continue
		}
		renamed[it.id] = to
		if p.was == nil {
			p.was = map[id]id{}
		}
		p.was[to] = it.id
		other := p.get(to)
		out := p.leaves() && other.live() && p.leftOut(other.ref)
		more = more || !other.open // an ignored one
		p.open(to)
		it.local, other.local = nil, l
		if out && other.ref.Type() == tree.Dir && len(p.in.Marks) > 0 {
			p.choices = nil
			p.appear(other.ref)
			p.listRemote() // where those in it belong that are bound next
		}
		p.forget(it)
		if !keepBase {
			p.forget(other)
		}
		p.out.Rebind = append(p.out.Rebind, Rebind{it.id, to})
		if sent != nil {
			_, place, attr := other.ref.Revisions()
			b := *sent
			b.Parent, b.Name, b.Place, b.Attr = l.Parent, l.Name, place, attr
			p.agree(other, b)
		}
		if other.base == nil {
			p.adopt(other)
		}
	}
	if len(renamed) > 0 {
		p.index()
	}
	if more {
		p.listRemote()
	}
}

// boundTo is the node that a local file is; keepBase if its base is the base
// of what the disk had before.
func (p *planner) boundTo(it *item, copies []*item) (to id, keepBase bool) {
	l := it.local
	lost := it.base == nil || !sameAsBase(l, it.base) && (!it.live() || it.ref.Content().Revision != it.base.Content)
	if it.live() && lost && !l.Unsettled && !sameAsRemote(l, it.ref) {
		for _, c := range copies {
			if c.local == nil && sameAsRemote(l, c.ref) && c.ref.Content().Device == p.in.Device {
				return c.id, false
			}
		}
	}
	if m := p.refill(it); m != nil {
		return m.id, false
	}
	if p.moulted(it) {
		return p.another(it.id, l.Parent), false
	}
	if it.base != nil || it.live() || l.Type == tree.Other {
		return it.id, true
	}
	// A creation that replay gave to another node.
	if other := p.in.Remote.Adopter(it.id); other != it.id && p.in.Remote.Ref(other).Live() {
		if p.get(other).local == nil {
			return other, false
		}
		// The disk has both: this one needs an id that is not spoken for.
		return p.another(it.id, other), false
	}
	if m := p.lostAt(at(l)); m != nil && m.live() && m.local == nil && m.base.Type == l.Type && (l.Type != tree.Dir || !p.ignored(m)) {
		return m.id, true
	}
	m := p.names[p.slot(at(l))]
	if m != nil && m.base == nil && m.local == nil && (!p.ignored(m) || p.mayBeHere(m.ref)) && m.ref.Type() == l.Type && !l.Unsettled && sameAsRemote(l, m.ref) {
		return m.id, false
	}
	return it.id, true
}

// another is an id that nobody has, the same each time.
func (p *planner) another(n, by id) id {
	h := key.Sum(key.LabelNode, n[:], by[:], p.in.Device[:])
	return id(h[:16])
}

// lostAt is the node that base had at a place and that is nowhere on disk now.
// One that the journal deleted does not count, even if it lives again: what was
// put in its place after that is new, even if the bytes are not.
func (p *planner) lostAt(w place) *item {
	if p.absentAt == nil {
		p.absentAt = map[place][]*item{}
		for _, it := range p.all {
			if it.base != nil && it.local == nil && !it.base.Place.IsZero() {
				s := p.slot(place{it.base.Parent, it.base.Name})
				p.absentAt[s] = append(p.absentAt[s], it)
			}
		}
	}
	var m *item
	for _, it := range p.absentAt[p.slot(w)] {
		if it.base == nil {
			continue
		}
		was, best := it.base.Name == w.name, m != nil && m.base.Name == w.name
		if m == nil || was && !best || was == best && it.id.Compare(m.id) < 0 {
			m = it
		}
	}
	return m
}

// adopt makes the base of a node that disk and journal both have, where they
// hold the same: what differs besides is the journal's to say.
func (p *planner) adopt(it *item) {
	l := it.local
	if !it.live() || l.Unsettled || !sameAsRemote(l, it.ref) {
		return
	}
	content, place, attr := it.ref.Revisions()
	p.agree(it, Base{
		Parent: l.Parent, Name: l.Name, Type: l.Type,
		Content: content, Place: place, Attr: attr,
		Size: l.Size, Hash: l.Hash, Target: l.Target, Mode: l.Mode, MTime: l.MTime,
	})
}

func sameAsBase(l *Local, b *Base) bool {
	switch l.Type {
	case tree.File:
		return b.Type == tree.File && l.Hash == b.Hash
	case tree.Link:
		return b.Type == tree.Link && l.Target == b.Target
	}
	return l.Type == b.Type
}

func sameAsRemote(l *Local, r tree.Ref) bool {
	switch l.Type {
	case tree.File:
		return r.Type() == tree.File && l.Hash == r.Hash()
	case tree.Link:
		return r.Type() == tree.Link && l.Target == r.Target()
	}
	return l.Type == r.Type()
}

// permissions are the bits of a mode that are compared: what lies above them
// no device takes from another.
const permissions = 0o777

// attrOf is what of mode and mtime is compared: links have neither, a folder's
// mtime follows its children.
func attrOf(t tree.Type, mode uint32, mtime int64) (uint32, int64) {
	switch t {
	case tree.Link:
		return 0, 0
	case tree.Dir:
		return mode & permissions, 0
	}
	return mode & permissions, mtime
}
