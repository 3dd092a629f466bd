package plan

import "signet/core/tree"

// Acknowledge is the base of a node after an operation of this device was
// replayed: what Agree of the next plan would say, but known even if others
// change the node before there is a next plan, whose changes would else look
// like conflicts with ours. old is the base so far (the zero Base if none), l
// what the last scan saw. ok is false if there is nothing to
// note: the operation did nothing, went to another node, deleted, or was part
// of a restore, which comes from the journal: the disk has still to follow, and
// a base that had it already would have the next plan undo the restore.
//
// A caller notes it for each of its own entries, as it replays them.
func Acknowledge(old Base, l Local, op tree.Op, o tree.Outcome) (b Base, ok bool) {
	if o.Result != tree.Applied || o.Node != op.Node || op.Restored {
		return old, false
	}
	b = old
	switch op.Kind {
	case tree.Create:
		b = Base{Parent: op.Parent, Name: op.Name, Type: op.Type, Content: o.Revision, Place: o.Revision, Attr: o.Revision,
			Size: op.Size, SHA256: op.SHA256, Target: op.Target, Mode: op.Mode, MTime: op.MTime}
		return b, true
	case tree.Edit:
		b.Content, b.Size, b.SHA256, b.Target, b.MTime = o.Revision, op.Size, op.SHA256, op.Target, op.MTime
	case tree.Move:
		// What was sent, not what the disk shows meanwhile: a rename since then is
		// still to be sent. A name that stayed may be an alias of the one sent.
		if b.Parent, b.Place = op.Parent, o.Revision; l.Name != b.Name {
			b.Name = op.Name
		}
	case tree.Attr:
		b.Attr = o.Revision
		if op.HasMode {
			b.Mode = op.Mode
		}
		if op.HasMTime {
			b.MTime = op.MTime
		}
	default:
		return old, false
	}
	// Without a base there is nothing that the other fields could rest on.
	return b, old.Type != 0
}

// Carried is the base of a node after an action of a plan was carried out and
// is durable: what Agree of the next plan would say, but known even if the
// journal goes on before there is a next plan. The disk would else show what
// looks like a change of this device's, and a conflict with what came next.
// old is the base so far (the zero Base if none). ok is false if there is
// nothing to note: Agree of the next plan will do.
func Carried(old Base, a Action) (b Base, ok bool) {
	r := &a.Remote
	switch a.Verb {
	case MkDir, Fetch:
		return Base{Parent: a.Parent, Name: a.Name, Type: r.Type, Content: r.Content.Revision, Place: r.Place.Revision, Attr: r.Attr.Revision,
			Size: r.Size, SHA256: r.SHA256, Target: r.Target, Mode: r.Mode, MTime: r.MTime}, true
	case Replace:
		// What mode it got may be this device's own change.
		b = old
		b.Type, b.Content, b.Size, b.SHA256, b.Target, b.MTime = r.Type, r.Content.Revision, r.Size, r.SHA256, r.Target, r.MTime
		return b, old.Type != 0
	case Move:
		if a.Name == TempName(a.Node) {
			return old, false
		}
		b = old
		b.Parent, b.Name, b.Place = a.Parent, a.Name, r.Place.Revision
		return b, old.Type != 0
	}
	return old, false
}
