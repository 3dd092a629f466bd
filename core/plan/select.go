package plan

import (
	"signet"
	"signet/core/tree"
)

// A Mark is what a person chose for a node of the region on one device.
type Mark uint8

// The marks. A node without one is as its folder is.
const (
	Out  Mark = 1 // not selected, with all that is in it
	In   Mark = 2 // selected, in a folder that is Part
	Part Mark = 3 // selected; of what is in it, what is In or Part
)

// Marks say what of a region is selected on a device: all that no folder's mark
// leaves out. They are about nodes, which keep them through moves. nil: all is.
type Marks map[signet.NodeID]Mark

// Selected reports whether a live node is selected, as the marks have it. What is
// on the disk in a folder that is Part is selected too: Plan.Chosen says which
// nodes are to get their marks for that.
func (m Marks) Selected(r tree.Ref) bool {
	for len(m) > 0 && r.ID() != signet.RootNode {
		if m[r.ID()] == Out || m.unasked(r) {
			return false
		}
		r = r.Folder()
	}
	return true
}

// Takes reports whether what is new in a live folder is selected.
func (m Marks) Takes(folder tree.Ref) bool {
	return m.Selected(folder) && m[folder.ID()] != Part
}

// unasked reports whether a node is in a folder that is Part, and is not marked.
// A conflict copy is wanted where its folder is.
func (m Marks) unasked(r tree.Ref) bool {
	return m[r.ID()] == 0 && m[r.Parent()] == Part && r.ConflictOf().IsZero()
}

// choice is whether a live node is to be on this disk.
type choice uint8

const (
	chosen   choice = iota
	unasked         // not to be made: new in a folder that is Part
	unchosen        // not to be here
)

func (p *planner) choiceOf(r tree.Ref) choice {
	if len(p.in.Marks) == 0 || r.ID() == signet.RootNode {
		return chosen
	}
	c, ok := p.choices[r]
	if ok {
		return c
	}
	switch {
	case p.choiceOf(r.Folder()) != chosen || p.in.Marks[r.ID()] == Out:
		c = unchosen
	case p.in.Marks.unasked(r) && !p.here(r.ID()):
		c = unasked
	}
	if r.Type() == tree.Dir { // only they are asked for again and again
		if p.choices == nil {
			p.choices = map[tree.Ref]choice{}
		}
		p.choices[r] = c
	}
	return c
}

// here reports whether the disk has a node, or had it when both sides agreed last.
func (p *planner) here(n id) bool {
	if it := p.set[n]; it != nil && it.local != nil {
		return true
	}
	_, local := p.in.Local.Get(n)
	_, base := p.in.Base.Get(n)
	return local || base
}

// leaves reports whether anything of the region is not for this disk, and
// leftOut whether a live node is not, which is not on it.
func (p *planner) leaves() bool { return p.in.Ignored != nil || len(p.in.Marks) > 0 }

func (p *planner) leftOut(r tree.Ref) bool {
	return p.in.Ignored != nil && p.in.Ignored(r) || p.choiceOf(r) != chosen
}

// mayBeHere reports whether a node that would not be made is of this device: then
// the disk may have it, and the index be too old to know.
func (p *planner) mayBeHere(r tree.Ref) bool {
	return p.choiceOf(r) == unasked && r.Content().Device == p.in.Device
}

// unselected reports whether a node is on the disk and, once all that the disk
// has of it is in the journal, is to be no more.
func (p *planner) unselected(it *item) bool {
	return it.local != nil && it.live() && p.choiceOf(it.ref) == unchosen
}

// odd reports whether a node on which all agree is to go, or to get its mark.
func (p *planner) odd(r tree.Ref) bool {
	return len(p.in.Marks) > 0 && (p.in.Marks.unasked(r) || p.choiceOf(r) == unchosen)
}

// choose lists what is to get its mark.
func (p *planner) choose() {
	if len(p.in.Marks) == 0 {
		return
	}
	for _, it := range p.order {
		if it.local != nil && p.in.Marks.unasked(it.ref) && p.choiceOf(it.ref) == chosen {
			p.out.Chosen = append(p.out.Chosen, it.id)
		}
	}
}

// appear opens what is to be below a folder that is on disk, as it turns out, and
// was left out until then.
func (p *planner) appear(r tree.Ref) {
	for k := range r.Kids() {
		if !p.leftOut(k) {
			p.open(k.ID())
			p.appear(k)
		}
	}
}
