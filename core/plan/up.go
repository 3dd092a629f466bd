package plan

import (
	"signet"
	"signet/core/tree"
)

// compare brings base up to what disk and journal agree on, field by field,
// and looks into what base has and the disk has not.
func (p *planner) compare() {
	for _, n := range p.locals {
		l := p.local[n]
		r, live := p.remote[n]
		if !live || l.Type == tree.Other {
			continue
		}
		b, known := p.base[n]
		if !known {
			p.adopt(n, l)
			if b, known = p.base[n]; !known {
				continue
			}
		}
		if !l.Unsettled && sameAsRemote(l, r) {
			b.Content, b.Type = r.Content.Revision, l.Type
			b.Size, b.SHA256, b.Target = l.Size, l.SHA256, l.Target
		}
		if (place{l.Parent, l.Name}) == p.want[n] {
			b.Parent, b.Name, b.Place = l.Parent, l.Name, r.Place.Revision
		} else if r.Parent == l.Parent && r.Name == sentName(l, b, r) && p.ours(r.Place, b.Place) && !inTemp(n, l) {
			// The place is agreed; that the disk is to show it under an alias
			// is no user's move.
			b.Parent, b.Name, b.Place = l.Parent, l.Name, r.Place.Revision
		}
		lm, lt := attrOf(l.Type, l.Mode, l.MTime)
		rm, rt := attrOf(r.Type, r.Mode, r.MTime)
		bm, bt := attrOf(b.Type, b.Mode, b.MTime)
		switch {
		case rm == lm && rt == lt:
			b.Attr, b.Mode, b.MTime = r.Attr.Revision, l.Mode, l.MTime
		case rm == lm && rm != bm && rt == bt:
			b.Attr, b.Mode = r.Attr.Revision, l.Mode
		case rt == lt && rt != bt && rm == bm:
			b.Attr, b.MTime = r.Attr.Revision, l.MTime
		}
		p.agree(n, b)
	}
	p.forgetGone()
}

// forgetGone forgets what both deleted: folders after all that was in them,
// for they are the evidence of what became of it.
func (p *planner) forgetGone() {
	inside := map[id]int{}
	for _, b := range p.base {
		inside[b.Parent]++
	}
	for again := true; again; {
		again = false
		for _, n := range sortedKeys(p.base) {
			if _, live := p.remote[n]; live || !p.free(n) || inside[n] > 0 || p.absence(n) != gone {
				continue
			}
			up := p.base[n].Parent
			p.forget(n)
			inside[up]--
			again = again || inside[up] == 0 && up != signet.RootNode
		}
	}
}

// absence says what it means that a node of base is not on disk: it is gone
// only if the folder where it was is listed completely without it, or is
// itself gone.
func (p *planner) absence(n id) absence {
	if a, ok := p.absent[n]; ok {
		return a
	}
	p.absent[n] = unknown // until known; also stops at a loop in a broken base
	b := p.base[n]
	a := unknown
	switch _, parentKnown := p.base[b.Parent]; {
	case b.Parent == signet.RootNode || !p.free(b.Parent):
		if o, ok := p.at[place{b.Parent, b.Name}]; ok && p.local[o].Type == tree.Other {
			a = covered
		} else if p.in.Complete(b.Parent) {
			a = gone
		}
	case parentKnown:
		a = p.absence(b.Parent)
	}
	p.absent[n] = a
	return a
}

// ours reports whether a field of a remote node is what this device's file
// rests on: base has it, or this device put it.
func (p *planner) ours(s tree.Stamp, base signet.RevisionID) bool {
	return s.Revision == base || s.Device == p.in.Device
}

func inTemp(n id, l Local) bool {
	return l.Parent == signet.RootNode && l.Name == TempName(n)
}

// moved, edited and retouched say what the user did to n since base.
func moved(n id, l Local, b Base) bool {
	return (l.Parent != b.Parent || l.Name != b.Name) && !inTemp(n, l)
}

func edited(l Local, b Base) bool { return !l.Unsettled && !sameAsBase(l, b) }

func retouched(l Local, b Base) (mode, mtime bool) {
	lm, lt := attrOf(l.Type, l.Mode, l.MTime)
	bm, bt := attrOf(b.Type, b.Mode, b.MTime)
	return lm != bm, lt != bt
}

func (p *planner) planUp() {
	p.upMoves()
	for _, n := range p.locals {
		if l := p.local[n]; l.Type == tree.Dir {
			p.upCreate(n, l)
		}
	}
	p.sendMoves()
	for _, n := range p.locals {
		if l := p.local[n]; l.Type == tree.File || l.Type == tree.Link {
			p.upCreate(n, l)
			p.upEdit(n, l)
		}
	}
	for _, n := range p.locals {
		p.upAttr(n, p.local[n])
	}
	p.upDeletes()
}

// record is what the journal has of n, deleted or not.
func (p *planner) record(n id) (tree.Node, bool) {
	if r, ok := p.remote[n]; ok {
		return r, true
	}
	r, ok := p.in.Remote.Node(n)
	return r, ok && r.ID == n
}

func (p *planner) isNew(n id) bool {
	_, known := p.base[n]
	_, live := p.remote[n]
	return !known && !live
}

// canHold reports whether the journal will have folder n when what is planned
// is committed; a deleted one lives again with what is put into it.
func (p *planner) canHold(n id) bool {
	if n == signet.RootNode {
		return true
	}
	l, here := p.local[n]
	if !here || l.Type != tree.Dir {
		return false
	}
	if _, known := p.record(n); known {
		return true
	}
	return p.isNew(n) && p.canHold(l.Parent)
}

func (p *planner) upCreate(n id, l Local) {
	if !p.isNew(n) {
		return
	}
	switch {
	case l.Unsettled:
		p.hold(n, Unsettled)
		return
	case !p.canHold(l.Parent):
		p.hold(n, NoFolder)
		return
	}
	op := put(tree.Create, n, l)
	op.Parent, op.Name, op.Mode, op.Seen = l.Parent, l.Name, l.Mode&0o7777, p.in.Position
	p.out.Up = append(p.out.Up, op)
}

func put(k tree.Kind, n id, l Local) tree.Op {
	op := tree.Op{Kind: k, Node: n, Type: l.Type, MTime: l.MTime}
	switch l.Type {
	case tree.File:
		op.Size, op.SHA256 = l.Size, l.SHA256
	case tree.Link:
		op.Target = l.Target
	}
	return op
}

// upMoves chooses the local moves to commit: those of places that nobody else
// changed since base. A move that would make a loop with what others moved is
// not sent: what the journal has holds, and Down brings the disk to it.
func (p *planner) upMoves() {
	var moves []id
	for _, n := range p.locals {
		l := p.local[n]
		b, known := p.base[n]
		if !known || l.Type == tree.Other || !moved(n, l, b) {
			continue
		}
		r, ok := p.record(n)
		if !ok {
			p.hold(n, Unknown)
			continue
		}
		if !r.Deleted && (!p.ours(r.Place, b.Place) || (place{l.Parent, l.Name}) == p.want[n]) {
			continue
		}
		if !p.canHold(l.Parent) {
			p.hold(n, NoFolder)
			continue
		}
		moves = append(moves, n)
	}
	byDepth(moves, p.depth)
	for _, n := range moves {
		if !p.loops(n) {
			p.moveUp[n] = true
		}
	}
}

// loops reports whether moving n where it is on disk puts it below itself, as
// the journal is after the moves chosen so far. From the top of the disk's
// tree down, moves of one device never get in each other's way.
func (p *planner) loops(n id) bool {
	for at := p.local[n].Parent; at != signet.RootNode; {
		if at == n {
			return true
		}
		r, ok := p.record(at)
		if !ok || p.moveUp[at] {
			at = p.local[at].Parent
		} else {
			at = r.Parent
		}
	}
	return false
}

func (p *planner) sendMoves() {
	moves := sortedKeys(p.moveUp)
	byDepth(moves, p.depth)
	for _, n := range moves {
		l, b := p.local[n], p.base[n]
		r, _ := p.record(n)
		p.out.Up = append(p.out.Up, tree.Op{Kind: tree.Move, Node: n, BasePlace: r.Place.Revision,
			Parent: l.Parent, Name: sentName(l, b, r)})
	}
}

// sentName is the name that a local move gives a node: the one on disk, unless
// that is still the one of before, which may be an alias, this disk's affair.
func sentName(l Local, b Base, r tree.Node) string {
	if l.Name == b.Name {
		return r.Name
	}
	return l.Name
}

// upEdit sends new content. If others changed it too, the base is sent as it
// was: replay makes the conflict copy.
func (p *planner) upEdit(n id, l Local) {
	b, known := p.base[n]
	r, ok := p.record(n)
	if p.isNew(n) {
		return
	}
	if !ok {
		p.hold(n, Unknown)
		return
	}
	if l.Unsettled {
		if !known || r.Content.Revision != b.Content {
			p.hold(n, Unsettled)
		}
		return
	}
	if known && sameAsBase(l, b) || !r.Deleted && sameAsRemote(l, r) {
		return
	}
	op := put(tree.Edit, n, l)
	op.BaseContent = b.Content
	if r.Deleted || p.ours(r.Content, b.Content) {
		op.BaseContent = r.Content.Revision
	} else {
		p.clash[n] = true
	}
	p.out.Up = append(p.out.Up, op)
	p.edit[n] = true
}

// attr compares mode and mtime. What only the user changed is sent; where the
// journal has others' attributes too, they come to the disk first, and win if
// they are the same field: sending against them would go to and fro between
// two devices for ever.
func (p *planner) attr(l Local, b Base, r tree.Node) (sendMode, sendMTime bool, want tree.Node) {
	want = r
	lm, lt := attrOf(l.Type, l.Mode, l.MTime)
	rm, rt := attrOf(r.Type, r.Mode, r.MTime)
	bm, bt := attrOf(b.Type, b.Mode, b.MTime)
	ours := r.Deleted || p.ours(r.Attr, b.Attr)
	apart := (rm != bm || rt != bt) && (lm == bm || rm == bm) && (lt == bt || rt == bt)
	if !ours && !apart {
		return false, false, want
	}
	if lm != bm {
		want.Mode = l.Mode
		sendMode = ours && (lm != rm || r.Deleted)
	}
	if lt != bt {
		want.MTime = l.MTime
		sendMTime = ours && (lt != rt || r.Deleted)
	}
	return sendMode, sendMTime, want
}

// upAttr sends a changed mode or mtime. An edit carries its own mtime.
func (p *planner) upAttr(n id, l Local) {
	b, known := p.base[n]
	r, ok := p.record(n)
	if !known || !ok || p.clash[n] || l.Type == tree.Other {
		return
	}
	op := tree.Op{Kind: tree.Attr, Node: n, BaseContent: b.Content, BaseAttr: b.Attr}
	op.HasMode, op.HasMTime, _ = p.attr(l, b, r)
	if l.Unsettled || p.edit[n] || r.Content.Revision != b.Content {
		op.HasMTime = false
	}
	if op.HasMode {
		op.Mode = l.Mode & 0o7777
	}
	if op.HasMTime {
		op.MTime = l.MTime
	}
	if op.HasMode || op.HasMTime {
		p.out.Up = append(p.out.Up, op)
	}
}

// upDeletes deletes what is gone from disk and unchanged in the journal. A
// folder goes with everything below it if all of that does.
func (p *planner) upDeletes() {
	// Where others moved or changed a folder that was deleted here, it comes
	// back as it was, with what it held: replay does the same.
	back := map[id]bool{}
	for _, n := range p.order {
		up := p.remote[n].Parent
		if b, known := p.base[up]; up != signet.RootNode && p.free(up) && known {
			back[n] = back[up] || !p.unchanged(p.remote[up], b)
		}
	}
	for i := len(p.order) - 1; i >= 0; i-- { // children before parents
		n := p.order[i]
		b, known := p.base[n]
		if !known || !p.free(n) || p.absence(n) != gone || back[n] || !p.unchanged(p.remote[n], b) {
			continue
		}
		all := true
		for _, k := range p.kids[n] {
			all = all && (p.del[k] || p.moveUp[k])
		}
		if !all {
			continue
		}
		p.del[n] = true
		if b.Type != tree.Dir {
			p.out.Guard.Up++
		}
	}
	for _, n := range p.order {
		r := p.remote[n]
		if !p.del[n] || p.del[r.Parent] {
			continue
		}
		if p.in.HoldUp {
			p.hold(n, Guarded)
			continue
		}
		op := tree.Op{Kind: tree.Delete, Node: n,
			BaseContent: r.Content.Revision, BasePlace: r.Place.Revision, BaseAttr: r.Attr.Revision}
		for _, k := range p.kids[n] {
			if p.del[k] {
				op.Whole, op.Complete = true, p.in.Position
			}
		}
		p.out.Up = append(p.out.Up, op)
	}
}

// unchanged reports whether nobody else changed a node since base.
func (p *planner) unchanged(r tree.Node, b Base) bool {
	return (r.Type == tree.Dir || p.ours(r.Content, b.Content)) && p.ours(r.Place, b.Place) && p.ours(r.Attr, b.Attr)
}
