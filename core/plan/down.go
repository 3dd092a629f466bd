package plan

import (
	"signet"
	"signet/core/tree"
)

// disk is the disk as the actions so far leave it.
type disk struct {
	slots  map[place]id
	where  map[id]place
	within map[id]int // how many children
}

// planDown makes the disk show the journal: folders and moves first, names
// freed by temporary moves where they wait for each other; then content; then
// what is to go, from the leaves up.
func (p *planner) planDown() {
	d := &downer{planner: p, wants: map[id]Verb{}, done: map[id]bool{},
		disk: disk{slots: map[place]id{}, where: map[id]place{}, within: map[id]int{}}}
	for n, l := range p.local {
		d.put(n, place{l.Parent, l.Name})
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
	disk
	wants map[id]Verb // MkDir, Move or Fetch of a live remote node
	done  map[id]bool
}

func (d *downer) put(n id, w place) {
	d.slots[w], d.where[n] = n, w
	d.within[w.parent]++
}

func (d *downer) take(n id) {
	w := d.where[n]
	delete(d.slots, w)
	delete(d.where, n)
	d.within[w.parent]--
}

// chooseTrash finds what the journal deleted and nobody touched here. A folder
// goes if all in it goes, or moves away.
func (d *downer) chooseTrash() {
	for i := len(d.locals) - 1; i >= 0; i-- {
		n := d.locals[i]
		l := d.local[n]
		b, known := d.base[n]
		r, ok := d.record(n)
		if !known || !ok || !r.Deleted || l.Unsettled || l.Type == tree.Other {
			continue
		}
		mode, mtime := retouched(l, b)
		if moved(n, l, b) || edited(l, b) || mode || mtime {
			continue
		}
		stays := false
		for _, k := range d.below[n] {
			stays = stays || !d.trash[k] && d.wants[k] != Move
		}
		if stays {
			continue
		}
		if l.Type != tree.Dir {
			d.out.Guard.Down++
		}
		if d.in.HoldDown {
			d.hold(n, Guarded)
			continue
		}
		d.trash[n] = true
	}
}

// chooseWants finds the live remote nodes that are not where they belong.
func (d *downer) chooseWants() {
	for _, n := range d.order {
		r := d.remote[n]
		l, here := d.local[n]
		_, known := d.base[n]
		switch {
		case here:
			if !d.moveUp[n] && known && !d.clash[n] && (place{l.Parent, l.Name}) != d.want[n] {
				d.wants[n] = Move
			}
			continue
		case d.del[n]:
			continue
		case known && d.absence(n) == unknown:
			d.hold(n, Unlisted)
			continue
		case known && d.absence(n) == covered:
			d.hold(n, Unsynched)
			continue
		case r.Type == tree.Dir:
			d.wants[n] = MkDir
		default:
			d.wants[n] = Fetch
		}
	}
}

// dropImpossible drops what wants a name that will not be free, or a folder
// that will not be there; and what therefore cannot be either.
func (d *downer) dropImpossible() {
	for _, n := range d.order {
		if d.wants[n] == 0 {
			continue
		}
		w := d.want[n]
		if !d.willBe(w.parent) {
			d.drop(n, NoFolder)
		} else if o, taken := d.slots[w]; taken && o != n && d.wants[o] != Move && !d.trash[o] {
			d.drop(n, NameTaken)
		}
	}
}

func (d *downer) willBe(folder id) bool {
	if folder == signet.RootNode || d.wants[folder] == MkDir {
		return true
	}
	l, here := d.local[folder]
	return here && l.Type == tree.Dir
}

// drop gives up what n wants, and all that waits for it.
func (d *downer) drop(n id, why Why) {
	type waiting struct {
		n   id
		why Why
	}
	todo := []waiting{{n, why}}
	for len(todo) > 0 {
		it := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		verb := d.wants[it.n]
		if verb == 0 {
			continue
		}
		delete(d.wants, it.n)
		d.hold(it.n, it.why)
		if verb == MkDir {
			for _, k := range d.kids[it.n] {
				todo = append(todo, waiting{k, NoFolder})
			}
			continue
		}
		if verb != Move {
			continue
		}
		// It stays: so does its name, and every folder around it.
		for at := it.n; at != signet.RootNode; at = d.local[at].Parent {
			if at != it.n {
				if !d.trash[at] {
					break
				}
				delete(d.trash, at)
			}
			if waiter, ok := d.names[d.where[at]]; ok && waiter != at {
				todo = append(todo, waiting{waiter, NameTaken})
			}
		}
	}
}

func (d *downer) act(a Action) { d.out.Down = append(d.out.Down, a) }

// structure makes folders and moves nodes, parents first, as names get free.
// Where all that is left waits for each other, the first one's way is cleared
// by a move to a temporary name at the top.
func (d *downer) structure() {
	var pending []id
	for _, n := range d.order {
		if v := d.wants[n]; v == MkDir || v == Move {
			pending = append(pending, n)
		}
	}
	for len(pending) > 0 {
		left := pending[:0]
		for _, n := range pending {
			if !d.step(n) {
				left = append(left, n)
			}
		}
		if len(left) == len(pending) && !d.clear(left[0]) {
			d.hold(left[0], NameTaken)
			delete(d.wants, left[0])
			left = left[1:]
		}
		pending = left
	}
}

// step makes or moves n, if it can be.
func (d *downer) step(n id) bool {
	w := d.want[n]
	if o, taken := d.slots[w]; taken && o != n || !d.isThere(w.parent) {
		return false
	}
	if d.wants[n] == MkDir {
		d.act(Action{Verb: MkDir, Node: n, Parent: w.parent, Name: w.name, Remote: d.remote[n]})
		d.put(n, w)
		return true
	}
	if d.inside(w.parent, n) {
		return false
	}
	if d.where[n] != w {
		d.move(n, w)
	}
	return true
}

func (d *downer) move(n id, w place) {
	d.act(Action{Verb: Move, Node: n, Parent: w.parent, Name: w.name, Expect: d.local[n]})
	d.take(n)
	d.put(n, w)
}

func (d *downer) isThere(folder id) bool {
	_, ok := d.where[folder]
	return ok || folder == signet.RootNode
}

func (d *downer) inside(n, top id) bool {
	for n != signet.RootNode {
		if n == top {
			return true
		}
		n = d.where[n].parent
	}
	return false
}

// clear frees the name that n wants, or takes n out of what it is to hold.
func (d *downer) clear(n id) bool {
	w := d.want[n]
	if !d.isThere(w.parent) {
		return false
	}
	if o, taken := d.slots[w]; taken && o != n {
		return d.evict(o)
	}
	return false
}

// evict takes o, which is to move or to go, from its name.
func (d *downer) evict(o id) bool {
	temp := place{signet.RootNode, TempName(o)}
	switch _, taken := d.slots[temp]; {
	case d.trash[o] && d.within[o] == 0:
		d.remove(o)
		return true
	case taken || d.wants[o] != Move && !d.trash[o]:
		return false
	}
	d.move(o, temp)
	return true
}

func (d *downer) remove(n id) {
	d.act(Action{Verb: Trash, Node: n, Expect: d.local[n]})
	d.take(n)
	d.done[n] = true
}

// contents replaces what the journal has newer and nobody changed here, and
// sets attributes.
func (d *downer) contents() {
	for _, n := range d.order {
		l, here := d.local[n]
		b, known := d.base[n]
		if !here || !known || d.clash[n] || l.Type == tree.Other {
			continue
		}
		_, _, r := d.attr(l, b, d.remote[n])
		if !l.Unsettled && !d.edit[n] && !sameAsRemote(l, r) && sameAsBase(l, b) {
			r.MTime = d.remote[n].MTime
			d.act(Action{Verb: Replace, Node: n, Expect: l, Remote: r})
			continue
		}
		if l.Unsettled || d.edit[n] {
			r.MTime = l.MTime // the next look tells
		}
		lm, lt := attrOf(l.Type, l.Mode, l.MTime)
		if rm, rt := attrOf(r.Type, r.Mode, r.MTime); lm != rm || lt != rt {
			d.act(Action{Verb: SetAttr, Node: n, Expect: l, Remote: r})
		}
	}
}

// fetches makes files and links that are not on disk yet.
func (d *downer) fetches() {
	for _, n := range d.order {
		if d.wants[n] != Fetch {
			continue
		}
		w := d.want[n]
		if o, taken := d.slots[w]; taken && !d.evict(o) || !d.isThere(w.parent) {
			d.hold(n, NameTaken)
			continue
		}
		d.act(Action{Verb: Fetch, Node: n, Parent: w.parent, Name: w.name, Remote: d.remote[n]})
		d.put(n, w)
	}
}

func (d *downer) removals() {
	for i := len(d.locals) - 1; i >= 0; i-- {
		if n := d.locals[i]; d.trash[n] && !d.done[n] && d.within[n] == 0 {
			d.remove(n)
		}
	}
}
