package past

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"signet"
	"signet/core/tree"
)

// An Undo follows a journal that is told again, and notes what some entries did
// and what would be without them. Only nodes that these touched cost memory,
// about 700 bytes each.
type Undo struct {
	// Of says which entries are undone.
	Of func(e tree.Entry) bool

	traces  map[signet.NodeID]*trace
	were    map[signet.NodeID]tree.Node // what the entry's operations name, before them
	named   map[signet.NodeID]bool      // of these, also such as were not there
	pins    tree.Pins
	lost    map[signet.NodeID]tree.Pin
	end     uint64 // position of the last entry taken
	Entries int    // that are undone and did something
}

// A trace is a node that entries touched which are undone.
type trace struct {
	was  tree.Node  // before the first of them; no id: not known
	had  bool       // it would be known without them
	node tree.Node  // what it would be: the newest of each field that is not theirs
	last uint64     // position of the last of them
	by   tree.Stamp // the newest change by an entry that is not undone; Revision zero: none
}

// Before looks at what the operations of an entry name, before they are
// replayed: only of an entry that is undone.
func (u *Undo) Before(t *tree.Tree, e tree.Entry, b *tree.Batch) {
	u.were, u.named = nil, nil
	if !u.Of(e) {
		return
	}
	u.were, u.named = map[signet.NodeID]tree.Node{}, map[signet.NodeID]bool{}
	for i := range b.Items {
		op := &b.Items[i].Op
		u.note(t, op.Node)
		for _, base := range []signet.RevisionID{op.BaseContent, op.BasePlace, op.BaseAttr} {
			if to, ok := t.Revision(base); ok {
				u.note(t, to)
			}
		}
	}
}

func (u *Undo) note(t *tree.Tree, id signet.NodeID) {
	n, ok := t.Node(id)
	if ok {
		u.were[n.ID], u.named[n.ID] = n, true
	}
	u.named[id] = true
}

// Take takes in what an entry did, directly after it was replayed.
func (u *Undo) Take(t *tree.Tree, e tree.Entry, b *tree.Batch, out []tree.Outcome) {
	mine := u.Of(e)
	u.end = e.Position
	u.takePins(e, b, mine)
	if u.traces == nil {
		u.traces = map[signet.NodeID]*trace{}
	}
	did := false
	seen := map[signet.NodeID]bool{}
	touch := func(id signet.NodeID, gone, revived bool) {
		n, ok := t.Node(id)
		if !ok || n.ID == signet.RootNode || seen[n.ID] {
			return
		}
		tr := u.traces[n.ID]
		if tr == nil && !mine {
			return
		}
		seen[n.ID] = true
		if tr == nil {
			tr = u.trace(n, gone, revived)
		}
		if mine {
			tr.last, did = e.Position, true
		} else {
			tr.other(n, e)
		}
	}
	for _, o := range out {
		if o.Result != tree.Applied && o.Result != tree.Conflicted {
			continue
		}
		for _, id := range o.Revived {
			touch(id, false, true)
		}
		for _, id := range o.Removed {
			touch(id, true, false)
		}
		touch(o.Node, false, false)
	}
	if did {
		u.Entries++
	}
}

// trace begins the trace of a node that an entry which is undone touched first:
// it removed or revived it, or did something else.
func (u *Undo) trace(n tree.Node, gone, revived bool) *trace {
	tr := &trace{node: n}
	switch {
	case u.named[n.ID]:
		tr.node, tr.had = u.were[n.ID]
		if !tr.had {
			tr.node = n
		}
	case gone || revived:
		tr.had, tr.node.Deleted = true, revived
	}
	if tr.had {
		tr.was = tr.node
	}
	u.traces[n.ID] = tr
	return tr
}

// as reports whether a node is what was there before what is undone: somebody
// did that already.
func (tr *trace) as(n *tree.Node) bool {
	return tr.was.ID == n.ID && tr.was.Deleted == n.Deleted && (n.Deleted || alike(&tr.was, n))
}

// other takes from a node what an entry set that is not undone.
func (tr *trace) other(n tree.Node, e tree.Entry) {
	to := &tr.node
	if n.Content.Position == e.Position {
		to.Content, to.Type, to.Size, to.Hash, to.PlaintextID, to.Data, to.Target, to.MTime = n.Content, n.Type, n.Size, n.Hash, n.PlaintextID, n.Data, n.Target, n.MTime
	}
	if n.Place.Position == e.Position {
		to.Place, to.Parent, to.Name = n.Place, n.Parent, n.Name
	}
	if n.Attr.Position == e.Position {
		to.Attr, to.Mode, to.MTime = n.Attr, n.Mode, n.MTime
	}
	to.Deleted = n.Deleted
	tr.by = tree.Stamp{Position: e.Position, Device: e.Device, Time: e.Time}
}

// takePins notes pins that were taken off.
func (u *Undo) takePins(e tree.Entry, b *tree.Batch, mine bool) {
	if b == nil || !slices.ContainsFunc(b.Items, func(it tree.Item) bool { return it.Op.Kind == tree.Mark }) {
		return
	}
	were := slices.Clone(u.pins)
	u.pins.Take(e, b)
	for _, p := range were {
		if mine && !slices.ContainsFunc(u.pins, func(o tree.Pin) bool { return o.ID == p.ID }) {
			if u.lost == nil {
				u.lost = map[signet.NodeID]tree.Pin{}
			}
			u.lost[p.ID] = p
		}
	}
}

// Wants says, over the tree as it is now, what the nodes are to be that the
// entries touched, and which are left because somebody else changed them
// afterwards.
func (u *Undo) Wants(now *tree.Tree) (wants []Want, left []Left) {
	for _, id := range slices.SortedFunc(maps.Keys(u.traces), signet.NodeID.Compare) {
		tr := u.traces[id]
		n, ok := now.Node(id)
		if !ok || n.ID != id {
			continue
		}
		if s := newest(&n); s.Position > u.end {
			tr.by = s // while this was read
		}
		want := tr.node
		if !tr.had && tr.by.Position == 0 {
			want.Deleted = true // nobody else cared for it
		}
		isSo := want.Deleted && n.Deleted || !want.Deleted && !n.Deleted && alike(&want, &n)
		switch {
		case isSo && (tr.by.Position < tr.last || tr.as(&n) || !tr.had && n.Deleted):
			// As it would be.
		case tr.by.Position > tr.last:
			why := LeftChanged
			if n.Deleted {
				why = LeftDeleted
			}
			left = append(left, Left{Path: now.Path(id), Device: tr.by.Device, Time: tr.by.Time, Why: why})
		case want.Deleted:
			wants = append(wants, Want{Node: want, Path: now.Path(id)})
		default:
			wants = append(wants, Want{Node: want, Path: path.Join(u.path(now, want.Parent), want.Name)})
		}
	}
	slices.SortFunc(left, func(a, b Left) int { return cmp.Compare(a.Path, b.Path) })
	return wants, left
}

// path is where a folder is when all is done.
func (u *Undo) path(now *tree.Tree, id signet.NodeID) string {
	var up string
	for range 1 << 12 { // no tree is deeper, and what is wanted need not be one
		if id == signet.RootNode {
			return up
		}
		n, ok := now.Node(id)
		if !ok {
			return up
		}
		if tr := u.traces[id]; tr != nil && tr.had {
			n = tr.node
		}
		up = path.Join(n.Name, up)
		id = n.Parent
	}
	return up
}

// newest is the last change of a node.
func newest(n *tree.Node) tree.Stamp {
	s := n.Content
	for _, o := range []tree.Stamp{n.Place, n.Attr, n.Gone} {
		if o.Position > s.Position {
			s = o
		}
	}
	return s
}

// alike reports whether a node is what is wanted.
func alike(a, b *tree.Node) bool {
	return a.Type == b.Type && a.Size == b.Size && a.Hash == b.Hash && a.Target == b.Target &&
		a.Parent == b.Parent && a.Name == b.Name && a.Mode == b.Mode && (a.Type != tree.File || a.MTime == b.MTime)
}

// Pins makes the operations that set pins again which were taken off, if they
// are off yet.
func (u *Undo) Pins() (ops []tree.Op) {
	for _, p := range u.pins {
		delete(u.lost, p.ID)
	}
	for _, id := range slices.SortedFunc(maps.Keys(u.lost), signet.NodeID.Compare) {
		p := u.lost[id]
		ops = append(ops, tree.Op{Kind: tree.Mark, Restored: true, Node: p.ID, Name: p.Name, Seen: p.At})
	}
	return ops
}
