package plan

import (
	"slices"
	"strings"

	"signet"
	"signet/core/tree"
)

// moving is an item on the disk as the actions so far leave it.
type moving struct {
	wants  Verb // MkDir, Move or Fetch of a live remote node
	trash  bool // Down removes it
	out    bool // because it is not selected
	there  bool
	where  place
	within int // how many children, of open ones
}

// planDown makes the disk show the journal: folders and moves first, names
// freed by temporary moves where they wait for each other; then content; then
// what is to go, from the leaves up.
func (p *planner) planDown() {
	d := &downer{planner: p, slots: make(map[place]*item, len(p.all))}
	for _, it := range p.all {
		if it.local != nil {
			d.put(it, at(it.local))
		}
	}
	d.chooseWants()
	d.chooseTrash()
	d.dropImpossible()
	d.structure()
	d.contents()
	d.fetches()
	d.removals()
}

type downer struct {
	*planner
	slots map[place]*item // open nodes on disk, by slot
	temps map[string]bool // what settledTemp found
}

func (d *downer) put(it *item, w place) {
	d.slots[d.slot(w)] = it
	it.move.there, it.move.where = true, w
	if up := d.set[w.parent]; up != nil {
		up.move.within++
	}
}

func (d *downer) take(it *item) {
	w := it.move.where
	if s := d.slot(w); d.slots[s] == it {
		delete(d.slots, s)
	}
	it.move.there, it.move.where = false, place{}
	if up := d.set[w.parent]; up != nil {
		up.move.within--
	}
}

// chooseTrash finds what the journal deleted, or what is not selected, and nobody
// touched here. A folder goes if all in it goes, or moves away.
func (d *downer) chooseTrash() {
	for _, it := range slices.Backward(d.locals) {
		l, b := it.local, it.base
		out := d.unselected(it)
		if b == nil || !it.ref.OK() || !it.ref.Deleted() && !out || l.Unsettled || l.Type == tree.Other {
			continue
		}
		mode, mtime := retouched(l, b)
		if it.ref.Content().Revision != b.Content {
			mtime = false // of bytes that others replaced before: upAttr does not send it
		}
		if out { // to what others made it: nothing to send
			lm, lt := attrOf(l.Type, l.Mode, l.MTime)
			rm, rt := attrOf(it.ref.Type(), it.ref.Mode(), it.ref.MTime())
			mode, mtime = mode && lm != rm, mtime && lt != rt
		}
		if edited(l, b) || mode || mtime || moved(it.id, l, b) && !it.looped && (!out || it.moveUp || it.held) {
			continue
		}
		stays := d.keeps(it.id)
		lingers := stays
		for _, k := range it.below {
			stays = stays || !k.move.trash && k.move.wants != Move
			lingers = lingers || k.local.Unsettled || k.local.Type == tree.Other
		}
		if out && lingers {
			d.hold(it, Lingers)
		}
		if stays {
			continue
		}
		if it.move.trash, it.move.out = out, out; out {
			continue // the guard has nothing to say: nothing is deleted
		}
		if !it.undone() {
			if l.Type != tree.Dir {
				d.out.Guard.Down++
			}
			if d.in.HoldDown {
				d.hold(it, Guarded)
				continue
			}
		}
		it.move.trash = true
	}
}

// chooseWants finds the live remote nodes that are not where they belong.
func (d *downer) chooseWants() {
	for _, it := range d.order {
		known := it.base != nil
		switch {
		case it.local != nil:
			if !it.moveUp && known && !it.clash && at(it.local) != d.want(it) && !d.unselected(it) {
				it.move.wants = Move
			}
		case it.del, d.ignored(it):
		case known && d.absence(it) == unknown:
			d.hold(it, Unlisted)
		case known && d.absence(it) == covered:
			d.hold(it, Unsynched)
		case d.hollow(it.ref):
		case it.ref.Type() == tree.Dir:
			it.move.wants = MkDir
		default:
			it.move.wants = Fetch
		}
	}
}

// dropImpossible drops what wants a name that will not be free, or a folder
// that will not be there; and what therefore cannot be either.
func (d *downer) dropImpossible() {
	for _, it := range d.order {
		if it.move.wants == 0 {
			continue
		}
		w := d.want(it)
		if !d.willBe(w.parent) {
			why := NoFolder
			if up := d.get(w.parent); it.move.wants == Move && up.move.wants == 0 && d.ignored(up) {
				why = InIgnored
			}
			d.drop(it, why)
		} else if o := d.slots[d.slot(w)]; o != nil && o != it && o.move.wants != Move && !o.move.trash {
			why := NameTaken
			if d.shell(o) {
				why = Unsynched
			}
			d.drop(it, why)
		} else if d.kept(w.parent, w.name) {
			d.drop(it, Unsynched)
		}
	}
}

func (d *downer) willBe(folder id) bool {
	if folder == signet.RootNode {
		return true
	}
	it := d.get(folder)
	return it.move.wants == MkDir || it.local != nil && it.local.Type == tree.Dir
}

// drop gives up what a node wants, and all that waits for it.
func (d *downer) drop(it *item, why Why) {
	type waiting struct {
		it  *item
		why Why
	}
	todo := []waiting{{it, why}}
	for len(todo) > 0 {
		it, why := todo[len(todo)-1].it, todo[len(todo)-1].why
		todo = todo[:len(todo)-1]
		verb := it.move.wants
		if verb == 0 {
			continue
		}
		it.move.wants = 0
		d.hold(it, why)
		if verb == MkDir {
			for _, k := range it.kids {
				todo = append(todo, waiting{k, NoFolder})
			}
			continue
		}
		if verb != Move {
			continue
		}
		// It stays: so does its name, and every folder around it.
		for at := it; ; at = d.get(at.local.Parent) {
			if at != it {
				if !at.move.trash {
					break
				}
				at.move.trash = false
			}
			if waiter := d.names[d.slot(at.move.where)]; waiter != nil && waiter != at {
				todo = append(todo, waiting{waiter, NameTaken})
			}
			if at.local.Parent == signet.RootNode {
				break
			}
		}
	}
}

func (d *downer) act(a Action) { d.out.Down = append(d.out.Down, a) }

// structure makes folders and moves nodes, parents first, as names get free.
// Where all that is left waits for each other, the way of the first one for which
// that can be is cleared by a move to a temporary name at the top.
func (d *downer) structure() {
	var pending []*item
	for _, it := range d.order {
		if v := it.move.wants; v == MkDir || v == Move {
			pending = append(pending, it)
		}
	}
	for len(pending) > 0 {
		left := pending[:0]
		for _, it := range pending {
			if !d.step(it) {
				left = append(left, it)
			}
		}
		if n := len(left); n == len(pending) && n > 0 && !slices.ContainsFunc(left, d.clear) {
			d.hold(left[0], NameTaken)
			left[0].move.wants = 0
			left = left[1:]
		}
		pending = left
	}
}

// step makes or moves a node, if it can be.
func (d *downer) step(it *item) bool {
	w := d.want(it)
	if o := d.slots[d.slot(w)]; o != nil && o != it || !d.isThere(w.parent) {
		return false
	}
	if it.move.wants == MkDir {
		d.act(Action{Verb: MkDir, Node: it.id, Parent: w.parent, Name: w.name, Remote: it.ref.Node()})
		d.put(it, w)
		return true
	}
	if d.inside(w.parent, it.id) {
		return false
	}
	if it.move.where == w {
		return true
	}
	// Where both spellings are one name already, a system may do nothing (Linux)
	// and say that it did: by another name it is done everywhere.
	if d.slot(it.move.where) == d.slot(w) {
		d.move(it, d.temp(it))
	}
	d.move(it, w)
	return true
}

func (d *downer) move(it *item, w place) {
	d.act(Action{Verb: Move, Node: it.id, Parent: w.parent, Name: w.name, Expect: *it.local, Remote: it.ref.Node()})
	d.take(it)
	d.put(it, w)
}

// whereIs is where a node is on disk now.
func (d *downer) whereIs(n id) (w place, ok bool) {
	it := d.get(n)
	if it.open {
		return it.move.where, it.move.there
	}
	if it.local == nil {
		return place{}, false
	}
	return at(it.local), true
}

func (d *downer) isThere(folder id) bool {
	if folder == signet.RootNode {
		return true
	}
	_, ok := d.whereIs(folder)
	return ok
}

func (d *downer) inside(n, top id) bool {
	for n != signet.RootNode {
		if n == top {
			return true
		}
		w, _ := d.whereIs(n)
		n = w.parent
	}
	return false
}

// clear frees the name that a node wants, or takes it out of what it is to
// hold.
func (d *downer) clear(it *item) bool {
	w := d.want(it)
	if !d.isThere(w.parent) {
		return false
	}
	if o := d.slots[d.slot(w)]; o != nil && o != it {
		return d.evict(o)
	}
	return false
}

// evict takes a node, which is to move or to go, from its name.
func (d *downer) evict(o *item) bool {
	switch {
	case o.move.trash && o.move.within == 0:
		d.remove(o)
	case o.move.wants != Move && !o.move.trash:
		return false
	default:
		d.move(o, d.temp(o))
	}
	return true
}

// temp is the first of a node's temporary names that nothing has, and that nothing
// wants: what goes aside is then in nobody's way, so all this ends.
func (d *downer) temp(it *item) place {
	for n := 1; ; n++ {
		w := place{signet.RootNode, TempName(it.id, n)}
		if s := d.slot(w); d.slots[s] == nil && d.names[s] == nil && !d.settledTemp()[s.name] && !d.kept(w.parent, w.name) {
			return w
		}
	}
}

// settledTemp has, as the disk takes them, the names of nodes at the top that are
// not open and that could be temporary names: users saved something there.
func (d *downer) settledTemp() map[string]bool {
	if d.temps == nil {
		d.temps = map[string]bool{}
		prefix := d.key(temporary)
		for k := range d.in.Remote.Ref(signet.RootNode).Kids() {
			it := d.set[k.ID()]
			if it != nil && it.open {
				continue
			}
			if l, here := d.in.Local.Get(k.ID()); here && strings.HasPrefix(d.key(l.Name), prefix) {
				d.temps[d.key(l.Name)] = true
			}
		}
	}
	return d.temps
}

// undone reports whether a restore took the node away: a person asked for that,
// with the number of files before him.
func (it *item) undone() bool { return it.ref.OK() && it.ref.Undone() }

func (d *downer) remove(it *item) {
	a := Action{Verb: Trash, Node: it.id, Expect: *it.local, Undone: it.undone()}
	if it.move.out {
		a.Verb, a.Remote, a.Undone = Release, it.ref.Node(), false
	}
	d.act(a)
	d.take(it)
}

// contents replaces what the journal has newer and nobody changed here, and
// sets attributes.
func (d *downer) contents() {
	for _, it := range d.order {
		l := it.local
		if l == nil || it.base == nil || it.clash || it.move.trash || l.Type == tree.Other {
			continue
		}
		_, _, mode, mtime := d.attr(it)
		if !d.unselected(it) && !l.Unsettled && !it.edit && !sameAsRemote(l, it.ref) && sameAsBase(l, it.base) {
			r := it.ref.Node()
			r.Mode = mode
			d.act(Action{Verb: Replace, Node: it.id, Expect: *l, Remote: r})
			continue
		}
		if l.Unsettled || it.edit {
			mtime = l.MTime // the next look tells
		}
		lm, lt := attrOf(l.Type, l.Mode, l.MTime)
		if rm, rt := attrOf(it.ref.Type(), mode, mtime); lm != rm || lt != rt {
			r := it.ref.Node()
			r.Mode, r.MTime = mode, mtime
			d.act(Action{Verb: SetAttr, Node: it.id, Expect: *l, Remote: r})
		}
	}
}

// fetches makes files and links that are not on disk yet.
func (d *downer) fetches() {
	n := 0
	for _, it := range d.order {
		if it.move.wants == Fetch {
			n++
		}
	}
	d.out.Down = slices.Grow(d.out.Down, n) // actions are large
	for _, it := range d.order {
		if it.move.wants != Fetch {
			continue
		}
		w := d.want(it)
		if o := d.slots[d.slot(w)]; o != nil && !d.evict(o) || !d.isThere(w.parent) {
			d.hold(it, NameTaken)
			continue
		}
		d.act(Action{Verb: Fetch, Node: it.id, Parent: w.parent, Name: w.name, Remote: it.ref.Node()})
		d.put(it, w)
	}
}

// releases is how much of what is not selected goes by one plan: actions are large,
// and the next plan says what is left.
const releases = 1 << 14

func (d *downer) removals() {
	n := 0
	for _, it := range slices.Backward(d.locals) {
		m := &it.move
		if !m.trash || !m.there || m.within > 0 || m.out && n == releases {
			continue
		}
		if m.out {
			n++
		}
		d.remove(it)
	}
}
