package tree

import (
	"slices"

	"signet"
)

// An Event is one line of a node's history.
type Event struct {
	Node     signet.NodeID
	Kind     string // "create", "edit", "move", "meta", "delete", "restore"
	Conflict bool   // the put lost, and made this node
	Position uint64
	Time     int64 // leaf time, milliseconds since 1970
	Device   signet.DeviceID
	Path     string // after the operation
	Type     Type
	Size     int64
	Hash     [32]byte
	Content  signet.RevisionID // current after the operation
	Revision signet.RevisionID // of the operation
}

// Events tells what a batch did to which nodes, one event per node and
// operation, in order. Call it directly after the Apply that returned out, for
// paths and sizes are read from the tree as it is. What did nothing is not
// told.
func (t *Tree) Events(e Entry, b *Batch, out []Outcome) []Event {
	var events []Event
	for i, o := range out {
		if o.Result != Applied && o.Result != Conflicted {
			continue
		}
		op := &b.Items[i].Op
		told := map[signet.NodeID]bool{}
		tell := func(id signet.NodeID, kind string) {
			n, ok := t.Node(id)
			if !ok || told[id] {
				return
			}
			told[id] = true
			events = append(events, Event{
				Node: id, Kind: kind, Conflict: o.Result == Conflicted,
				Position: e.Position, Time: e.Time, Device: e.Device,
				Path: t.Path(id), Type: n.Type, Size: n.Size, Hash: n.Hash,
				Content: n.Content.Revision, Revision: o.Revision,
			})
		}
		kind := op.Kind.String()
		if op.Restored && op.Kind != Delete {
			kind = "restore"
		}
		if op.Kind == Delete {
			for _, id := range o.Removed {
				tell(id, kind)
			}
			continue
		}
		for _, id := range o.Revived {
			if id != o.Node {
				tell(id, "restore")
			}
		}
		tell(o.Node, kind)
	}
	return events
}

// Whole tells a tree as one event for each node that lives, parents first, and as
// operations that would make it: for a history that begins with a tree. Revisions,
// times and devices are those of what the nodes hold.
func (t *Tree) Whole() ([]Event, *Batch) {
	var events []Event
	b := &Batch{}
	for path, n := range t.Walk() {
		c := n.Content
		events = append(events, Event{
			Node: n.ID, Kind: Create.String(), Conflict: !n.ConflictOf.IsZero(),
			Position: c.Position, Time: c.Time, Device: c.Device,
			Path: path, Type: n.Type, Size: n.Size, Hash: n.Hash,
			Content: c.Revision, Revision: c.Revision,
		})
		b.Items = append(b.Items, Item{Revision: c.Revision, Op: Op{
			Kind: Create, Node: n.ID, Type: n.Type, Parent: n.Parent, Name: n.Name,
			Size: n.Size, Hash: n.Hash, PlaintextID: n.PlaintextID, Content: slices.Clone(n.Data), Target: n.Target,
			MTime: n.MTime, Mode: n.Mode,
		}})
	}
	return events, b
}
