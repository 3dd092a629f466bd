package plan

import (
	"slices"

	"signet"
	"signet/core/tree"
)

// compare brings base up to what disk and journal agree on, field by field,
// and looks into what base has and the disk has not.
func (p *planner) compare() {
	for _, it := range p.locals {
		l, r := it.local, it.ref
		if !it.live() || l.Type == tree.Other {
			continue
		}
		if it.base == nil {
			if p.adopt(it); it.base == nil {
				continue
			}
		}
		b := *it.base
		content, placed, attr := r.Revisions()
		if !l.Unsettled && sameAsRemote(l, r) {
			b.Content, b.Type = content, l.Type
			b.Size, b.Hash, b.Target = l.Size, l.Hash, l.Target
		}
		if at(l) == p.want(it) {
			b.Parent, b.Name, b.Place = l.Parent, l.Name, placed
		} else if r.Parent() == l.Parent && r.Name() == sentName(l, &b, r) && p.ours(r.Place(), b.Place) && !inTemp(it.id, l) {
			// The place is agreed; that the disk is to show it under an alias
			// is no user's move.
			b.Parent, b.Name, b.Place = l.Parent, l.Name, placed
		}
		lm, lt := attrOf(l.Type, l.Mode, l.MTime)
		rm, rt := attrOf(r.Type(), r.Mode(), r.MTime())
		bm, bt := attrOf(b.Type, b.Mode, b.MTime)
		switch {
		case rm == lm && rt == lt:
			b.Attr, b.Mode, b.MTime = attr, l.Mode, l.MTime
		case rm == lm && rm != bm && rt == bt:
			b.Attr, b.Mode = attr, l.Mode
		case rt == lt && rt != bt && rm == bm:
			b.Attr, b.MTime = attr, l.MTime
		}
		p.agree(it, b)
	}
	p.forgetGone()
}

// forgetGone forgets what both deleted: folders after all that was in them,
// for they are the evidence of what became of it.
func (p *planner) forgetGone() {
	inside := map[id]int{}
	var todo []*item
	for _, it := range p.all {
		if it.base == nil {
			continue
		}
		inside[it.base.Parent]++
		if !it.live() && it.local == nil {
			todo = append(todo, it)
		}
	}
	for len(todo) > 0 {
		it := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if it.base == nil || inside[it.id] > 0 || p.absence(it) != gone {
			continue
		}
		up := it.base.Parent
		p.forget(it)
		if inside[up]--; inside[up] == 0 && up != signet.RootNode {
			if f := p.get(up); !f.live() && f.local == nil {
				todo = append(todo, f)
			}
		}
	}
	slices.SortFunc(p.out.Forget, id.Compare)
}

// absence says what it means that a node of base is not on disk: it is gone
// only if the folder where it was is listed completely without it, or is
// itself gone.
func (p *planner) absence(it *item) absence {
	if it.absent != 0 {
		return it.absent
	}
	it.absent = unknown // until known; also stops at a loop in a broken base
	b := it.base
	a := unknown
	if p.in.Away[it.id] {
		a = away
	} else if b.Parent == signet.RootNode || p.get(b.Parent).local != nil {
		if p.cover[p.slot(place{b.Parent, b.Name})] {
			a = covered
		} else if p.kept(b.Parent, b.Name) {
			a = away
		} else if p.in.Complete(b.Parent) {
			a = gone
		}
	} else if up := p.get(b.Parent); up.base != nil {
		a = p.absence(up)
	} else {
		a = away // nothing tells any more what became of it
	}
	it.absent = a
	return a
}

// ours reports whether a field of a remote node is what this device's file
// rests on: base has it, or this device put it.
func (p *planner) ours(s tree.Stamp, base signet.RevisionID) bool {
	return s.Revision == base || s.Device == p.in.Device
}

func inTemp(n id, l *Local) bool { return isTemp(n, l.Parent, l.Name) }

// moved, edited and retouched say what the user did to a node since base.
func moved(n id, l *Local, b *Base) bool {
	return (l.Parent != b.Parent || l.Name != b.Name) && !inTemp(n, l)
}

func edited(l *Local, b *Base) bool { return !l.Unsettled && !sameAsBase(l, b) }

func retouched(l *Local, b *Base) (mode, mtime bool) {
	lm, lt := attrOf(l.Type, l.Mode, l.MTime)
	bm, bt := attrOf(b.Type, b.Mode, b.MTime)
	return lm != bm, lt != bt
}

func (p *planner) planUp() {
	p.upMoves()
	n := 0
	for _, it := range p.locals {
		if it.isNew() {
			n++
		}
	}
	p.out.Up = slices.Grow(p.out.Up, n) // operations are large
	for _, it := range p.locals {
		if it.local.Type == tree.Dir {
			p.upCreate(it)
		}
	}
	p.sendMoves()
	for _, it := range p.locals {
		if t := it.local.Type; t == tree.File || t == tree.Link {
			p.upCreate(it)
			p.upEdit(it)
		}
	}
	for _, it := range p.locals {
		p.upAttr(it)
	}
	p.upDeletes()
}

func (it *item) isNew() bool { return it.base == nil && !it.live() }

// canHold reports whether the journal will have folder n when what is planned
// is committed; a deleted one lives again with what is put into it.
func (p *planner) canHold(n id) bool {
	if n == signet.RootNode {
		return true
	}
	it := p.get(n)
	if it.local == nil || it.local.Type != tree.Dir {
		return false
	}
	return it.ref.OK() || it.isNew() && p.canHold(it.local.Parent)
}

func (p *planner) upCreate(it *item) {
	if !it.isNew() {
		return
	}
	l := it.local
	switch {
	case l.Unsettled:
		p.hold(it, Unsettled)
		return
	case !p.canHold(l.Parent):
		p.hold(it, NoFolder)
		return
	}
	op := put(tree.Create, it.id, l)
	op.Parent, op.Name, op.Mode, op.Seen = l.Parent, l.Name, l.Mode&0o7777, p.in.Position
	p.out.Up = append(p.out.Up, op)
}

func put(k tree.Kind, n id, l *Local) tree.Op {
	op := tree.Op{Kind: k, Node: n, Type: l.Type, MTime: l.MTime}
	switch l.Type {
	case tree.File:
		op.Size, op.Hash = l.Size, l.Hash
	case tree.Link:
		op.Target = l.Target
	}
	return op
}

// upMoves chooses the local moves to commit: those of places that nobody else
// changed since base. A move that would make a loop with what others moved is
// not sent: what the journal has holds, and Down brings the disk to it, or takes it
// off the disk if the journal deleted it.
func (p *planner) upMoves() {
	var moves []*item
	for _, it := range p.locals {
		l, b := it.local, it.base
		if b == nil || l.Type == tree.Other || !moved(it.id, l, b) {
			continue
		}
		if !it.ref.OK() {
			p.hold(it, Unknown)
			continue
		}
		if it.live() && (!p.ours(it.ref.Place(), b.Place) || at(l) == p.want(it)) {
			continue
		}
		if !p.canHold(l.Parent) {
			p.hold(it, NoFolder)
			continue
		}
		moves = append(moves, it)
	}
	for _, it := range moves {
		it.looped = p.loops(it)
		it.moveUp = !it.looped
	}
}

// loops reports whether moving a node where it is on disk puts it below
// itself, as the journal is after the moves chosen so far. From the top of the
// disk's tree down, moves of one device never get in each other's way.
func (p *planner) loops(it *item) bool {
	for n := it.local.Parent; n != signet.RootNode; {
		if n == it.id {
			return true
		}
		up := p.get(n)
		switch {
		case up.ref.OK() && !up.moveUp:
			n = up.ref.Parent()
		case up.local != nil:
			n = up.local.Parent
		default:
			return false
		}
	}
	return false
}

func (p *planner) sendMoves() {
	for _, it := range p.locals {
		if !it.moveUp {
			continue
		}
		p.out.Up = append(p.out.Up, tree.Op{Kind: tree.Move, Node: it.id, BasePlace: it.ref.Place().Revision,
			Parent: it.local.Parent, Name: sentName(it.local, it.base, it.ref)})
	}
}

// sentName is the name that a local move gives a node: the one on disk, unless
// that is still the one of before, which may be an alias, this disk's affair.
func sentName(l *Local, b *Base, r tree.Ref) string {
	if l.Name == b.Name {
		return r.Name()
	}
	return l.Name
}

// upEdit sends new content. If others changed it too, the base is sent as it
// was: replay makes the conflict copy. If it made one of what was put before, that base
// leads there, and the node is no matter.
func (p *planner) upEdit(it *item) {
	l, b, r := it.local, it.base, it.ref
	if it.isNew() {
		return
	}
	if !r.OK() {
		p.hold(it, Unknown)
		return
	}
	content := r.Content()
	var known signet.RevisionID
	if b != nil {
		known = b.Content
	}
	if l.Unsettled {
		if b == nil || content.Revision != known {
			p.hold(it, Unsettled)
		}
		return
	}
	if b != nil && sameAsBase(l, b) || it.live() && sameAsRemote(l, r) {
		return
	}
	op := put(tree.Edit, it.id, l)
	op.BaseContent = known
	if p.strayed(it) == nil && (r.Deleted() || p.ours(content, known)) {
		op.BaseContent = content.Revision
	} else {
		it.clash = true
	}
	p.out.Up = append(p.out.Up, op)
	it.edit = true
}

// attr compares mode and mtime, and gives those that the disk is to have. What
// only the user changed is sent; where the journal has others' attributes too,
// they come to the disk first, and win if they are the same field: sending
// against them would go to and fro between two devices for ever.
func (p *planner) attr(it *item) (sendMode, sendMTime bool, mode uint32, mtime int64) {
	l, b, r := it.local, it.base, it.ref
	mode, mtime = r.Mode(), r.MTime()
	lm, lt := attrOf(l.Type, l.Mode, l.MTime)
	rm, rt := attrOf(r.Type(), mode, mtime)
	bm, bt := attrOf(b.Type, b.Mode, b.MTime)
	ours := r.Deleted() || p.ours(r.Attr(), b.Attr)
	apart := (rm != bm || rt != bt) && (lm == bm || rm == bm) && (lt == bt || rt == bt)
	if !ours && !apart {
		return false, false, mode, mtime
	}
	if lm != bm {
		mode = l.Mode
		sendMode = ours && (lm != rm || r.Deleted())
	}
	if lt != bt {
		mtime = l.MTime
		sendMTime = ours && (lt != rt || r.Deleted())
	}
	return sendMode, sendMTime, mode, mtime
}

// upAttr sends a changed mode or mtime. An edit carries its own mtime.
func (p *planner) upAttr(it *item) {
	l, b := it.local, it.base
	if b == nil || !it.ref.OK() || it.clash || l.Type == tree.Other {
		return
	}
	op := tree.Op{Kind: tree.Attr, Node: it.id, BaseContent: b.Content, BaseAttr: b.Attr}
	if p.strayed(it) != nil {
		op.BaseContent = it.ref.Content().Revision // else it would go there, and this node's would stay as it is for ever
	}
	op.HasMode, op.HasMTime, _, _ = p.attr(it)
	if l.Unsettled || it.edit || it.ref.Content().Revision != b.Content {
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
	for _, it := range p.order {
		if it.ref.Parent() == signet.RootNode {
			continue
		}
		if up := p.get(it.ref.Parent()); up.local == nil && up.base != nil {
			it.back = up.back || !p.unchanged(up)
		}
	}
	p.wake()
	for _, it := range slices.Backward(p.order) { // children before parents
		b := it.base
		if b == nil || it.local != nil || p.absence(it) != gone || it.back || it.woken || !p.unchanged(it) || !p.allGo(it) {
			continue
		}
		it.del = true
		it.sheds = slices.ContainsFunc(it.kids, func(k *item) bool { return k.moveUp && k.local.Type == tree.Dir || k.del && k.sheds })
		if b.Type != tree.Dir {
			p.out.Guard.Up++
		}
	}
	for _, it := range p.order {
		r := it.ref
		if !it.del {
			continue
		}
		if up := p.set[r.Parent()]; up != nil && up.del {
			continue
		}
		if p.in.HoldUp {
			p.hold(it, Guarded)
			continue
		}
		content, placed, attr := r.Revisions()
		op := tree.Op{Kind: tree.Delete, Node: it.id, BaseContent: content, BasePlace: placed, BaseAttr: attr}
		for _, k := range it.kids {
			if k.del {
				op.Whole, op.Complete = true, p.in.Position
			}
		}
		// A folder's move out of it may do nothing, where others moved a folder the
		// other way: what it holds would go with the rest. The next plan knows. But what
		// has its name now would get another until then.
		if op.Whole && it.sheds && !p.replaced(it) {
			continue
		}
		p.out.Up = append(p.out.Up, op)
	}
}

// wake finds the folders in which something dead lives again by what is sent before the
// deletions: others moved it there and deleted it, and this disk has it elsewhere, where
// it was changed or something was put into it. To delete such a folder with all in it
// would take that along, as what this device put counts as seen. So it stays, as it
// would had what was put come first; what else is in it goes.
func (p *planner) wake() {
	for i := range p.out.Up {
		op := &p.out.Up[i]
		n := op.Node
		if op.Kind == tree.Create || op.Kind == tree.Move {
			n = op.Parent
		} else if to, ok := p.in.Remote.Revision(op.BaseContent); ok && op.Kind == tree.Edit {
			n = to
		}
		for n != signet.RootNode {
			it := p.get(n)
			if it.moveUp || !it.ref.OK() { // where it comes to, its own operation says
				break
			}
			if it.live() {
				it.woken = true
				break
			}
			n = it.ref.Parent()
		}
	}
}

// replaced reports whether something else has the name of a node that is gone.
func (p *planner) replaced(it *item) bool {
	s := p.slot(place{it.base.Parent, it.base.Name})
	return slices.ContainsFunc(p.locals, func(k *item) bool { return p.slot(at(k.local)) == s })
}

// allGo reports whether nothing that a folder has in the journal is left in it
// when what is planned is committed.
func (p *planner) allGo(it *item) bool {
	for k := range it.ref.Kids() {
		if kid := p.set[k.ID()]; kid == nil || !kid.del && !kid.moveUp {
			return false
		}
	}
	return true
}

// unchanged reports whether nobody else changed a node since base, or made it
// live again.
func (p *planner) unchanged(it *item) bool {
	r, b := it.ref, it.base
	return !b.Place.IsZero() && (r.Type() == tree.Dir || p.ours(r.Content(), b.Content)) && p.ours(r.Place(), b.Place) && p.ours(r.Attr(), b.Attr)
}

// weigh completes what the guard needs to judge deletions.
func (p *planner) weigh() {
	g := &p.out.Guard
	switch {
	case p.in.Files > 0:
		p.files = p.in.Files
	case p.in.Last != nil && p.files == 0 && g.Up+g.Down > 0:
		for _, b := range p.in.Base.All() {
			if b.Type != tree.Dir {
				p.files++
			}
		}
	}
	g.Total = p.files
}
