package tree

import (
	"slices"

	"cmp"
	"iter"

	"signet"
)

// A Ref is a node where it lies in its tree: what Node copies, Ref reads. It
// is for those who look at many nodes and want little of each. The zero Ref is
// no node; all methods but OK and Live need one. Refs of one node are equal,
// and hold until the next Apply.
type Ref struct {
	t *Tree
	n *node
}

// Ref finds the node that has this very id, deleted ones too; unlike Node it
// does not follow creations that were adopted (see Adopter).
func (t *Tree) Ref(id signet.NodeID) Ref {
	if n := t.nodes[id]; n != nil {
		return Ref{t, n}
	}
	return Ref{}
}

// Adopter is the node that adopted the creation of id; id itself if none did.
func (t *Tree) Adopter(id signet.NodeID) signet.NodeID {
	if len(t.aliases) > 0 {
		if n := t.aliases[id]; n != nil {
			return n.id
		}
	}
	return id
}

// Refs yields every live node but the root, in no order.
func (t *Tree) Refs() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for _, n := range t.nodes {
			if n.gone == nil && n != t.root && !yield(Ref{t, n}) {
				return
			}
		}
	}
}

// OK reports whether there is such a node, Live whether it is there and not
// deleted.
func (r Ref) OK() bool   { return r.n != nil }
func (r Ref) Live() bool { return r.n != nil && r.n.gone == nil }

// The fields of Node.
func (r Ref) ID() signet.NodeID     { return r.n.id }
func (r Ref) Parent() signet.NodeID { return r.n.parent.id }
func (r Ref) Type() Type            { return r.n.typ }
func (r Ref) Name() string          { return r.n.name() }
func (r Ref) Deleted() bool         { return r.n.gone != nil }
func (r Ref) Size() int64           { return r.n.size }
func (r Ref) Hash() [32]byte        { return r.n.sha }
func (r Ref) MTime() int64          { return r.n.mtime }
func (r Ref) Mode() uint32          { return r.n.mode }
func (r Ref) Content() Stamp        { return r.t.stamp(r.n.content) }
func (r Ref) Place() Stamp          { return r.t.stamp(r.n.place) }
func (r Ref) Attr() Stamp           { return r.t.stamp(r.n.attr) }

// Undone reports whether a restore deleted the node: on purpose, that is. False
// too where the tree came from a snapshot.
func (r Ref) Undone() bool { return r.n.gone != nil && r.n.gone.restored }

// Undone lists the nodes that a restore deleted, which the pages do not say;
// MarkUndone says it of a tree that was loaded.
func (t *Tree) Undone() (ids []signet.NodeID) {
	for id, n := range t.nodes {
		if n.gone != nil && n.gone.restored {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, signet.NodeID.Compare)
	return ids
}

// MarkUndone is the inverse of Undone. Ids of nodes that live are passed over.
func (t *Tree) MarkUndone(ids []signet.NodeID) {
	for _, id := range ids {
		if n := t.nodes[id]; n != nil && n.gone != nil {
			s := *n.gone
			s.restored = true
			n.gone = &s
		}
	}
}

// Target is that of a link, else "".
func (r Ref) Target() string {
	if r.n.typ != Link {
		return ""
	}
	return r.n.data()
}

// ConflictOf is the node that this one is a conflict copy of, or zero.
func (r Ref) ConflictOf() signet.NodeID {
	if r.n.more == nil {
		return signet.NodeID{}
	}
	return r.n.more.conflictOf
}

// Node is the copy.
func (r Ref) Node() Node { return r.t.view(r.n) }

// Folder is the node's parent; the root's is the root.
func (r Ref) Folder() Ref { return Ref{r.t, r.n.parent} }

// Kids yields the live children, in no order.
func (r Ref) Kids() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		if r.n.more == nil {
			return
		}
		for k := r.n.more.live; k != nil; k = k.next {
			if !yield(Ref{r.t, k}) {
				return
			}
		}
	}
}

// Compare orders siblings as Children does: by name, equal ones by the journal
// order of their places.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.n.name(), o.n.name()), placeOrder(r.n, o.n))
}

// Revisions are those that set content, place and attributes.
func (r Ref) Revisions() (content, place, attr signet.RevisionID) {
	return r.n.content.rev, r.n.place.rev, r.n.attr.rev
}
