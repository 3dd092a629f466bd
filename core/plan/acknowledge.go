package plan

import (
	"signet"
	"signet/core/tree"
)

// Acknowledge is the base of a node after an operation of this device was
// replayed: what Agree of the next plan would say, but known even if others
// change the node before there is a next plan, whose changes would else look
// like conflicts with ours. old is the base so far (the zero Base if none), l
// what the last scan saw. ok is false if there is nothing to
// note: the operation did nothing, went to another node, deleted, or was part
// of a restore, which comes from the journal: the disk has still to follow, and
// a base that had it already would have the next plan undo the restore.
//
// An edit that went to another node, the conflict copy that replay made of it or of the
// one before, is noted all the same: the file on the disk is what was put there, or what
// was saved over it since. The next plan binds it to that node; where it cannot, what it
// sends names this edit as its base, and so is for that node too.
//
// A caller notes it for each of its own entries, as it replays them.
func Acknowledge(old Base, l Local, op tree.Op, o tree.Outcome) (b Base, ok bool) {
	b = old
	if op.Kind == tree.Edit && o.Node != op.Node && o.Result != tree.NoOp && !op.Restored {
		b.Type, b.Content, b.Size, b.Hash, b.Target, b.MTime = op.Type, o.Revision, op.Size, op.Hash, op.Target, op.MTime
		if o.Result == tree.Conflicted && l.Type == op.Type {
			b.Mode = l.Mode // a copy has that of the node: what the user had made of it is no change of the copy's
		}
		return b, old.Type != 0
	}
	if o.Result != tree.Applied || o.Node != op.Node || op.Restored {
		return old, false
	}
	switch op.Kind {
	case tree.Create:
		b = Base{Parent: op.Parent, Name: op.Name, Type: op.Type, Content: o.Revision, Place: o.Revision, Attr: o.Revision,
			Size: op.Size, Hash: op.Hash, Target: op.Target, Mode: op.Mode, MTime: op.MTime}
		return b, true
	case tree.Edit:
		b.Content, b.Size, b.Hash, b.Target, b.MTime = o.Revision, op.Size, op.Hash, op.Target, op.MTime
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

// strayed is the node that has what this device put for another one, whose base says so
// (Acknowledge); nil if it has not gone elsewhere.
func (p *planner) strayed(it *item) *item {
	if it.base == nil || it.base.Type == tree.Dir {
		return nil
	}
	if n, ok := p.in.Remote.Revision(it.base.Content); ok && n != it.id {
		return p.get(n)
	}
	return nil
}

// descends is the conflict copy that a local file with the base of a node is, or was until
// something was saved over it. Were what was saved since sent as an edit of the node, each
// time would make another copy. Where the disk has the copy already, there is nothing to
// bind: what was saved goes to it, and the node gets back what it has itself (upEdit).
// Nor is there where a user removed the copy as it is.
func (p *planner) descends(l *Local, of *item) *item {
	c := p.strayed(of)
	if c == nil || !c.live() || c.local != nil || p.ignored(c) || c.ref.Type() != l.Type || l.Unsettled || of.live() && sameAsRemote(l, of.ref) {
		return nil
	}
	if c.base != nil && c.base.Content == of.base.Content {
		return nil
	}
	return c
}

// Carried is the base of a node after an action of a plan was carried out and
// is durable: what Agree of the next plan would say, but known even if the
// journal goes on before there is a next plan. The disk would else show what
// looks like a change of this device's, and a conflict with what came next.
// old is the base so far (the zero Base if none), l what the disk shows now. ok
// is false if there is nothing to note: the next plan will tell.
func Carried(old Base, l Local, a Action) (b Base, ok bool) {
	r := &a.Remote
	lm, lt := attrOf(r.Type, l.Mode, l.MTime)
	rm, rt := attrOf(r.Type, r.Mode, r.MTime)
	same := l.Type == r.Type && (l.Type != tree.File || l.Hash == r.Hash) && (l.Type != tree.Link || l.Target == r.Target)
	switch a.Verb {
	case MkDir, Fetch:
		return Base{Parent: l.Parent, Name: l.Name, Type: l.Type, Content: r.Content.Revision, Place: r.Place.Revision, Attr: r.Attr.Revision,
			Size: l.Size, Hash: l.Hash, Target: l.Target, Mode: l.Mode, MTime: l.MTime}, same && lm == rm && lt == rt
	case Replace:
		// What mode it got may be this device's own change.
		b = old
		b.Type, b.Content, b.Size, b.Hash, b.Target, b.MTime = l.Type, r.Content.Revision, l.Size, l.Hash, l.Target, l.MTime
		return b, old.Type != 0 && same && lt == rt
	case Move:
		b = old
		b.Parent, b.Name, b.Place = l.Parent, l.Name, r.Place.Revision
		return b, old.Type != 0 && l.Name == a.Name && l.Parent == a.Parent && !isTemp(a.Node, a.Parent, a.Name)
	}
	return old, false
}

// Revived is the base of a node that lives again by an entry just replayed, and
// is not on disk: it may have been removed here because it was dead, and the
// next plan, which knows only that base and journal have it, would take its
// absence for a deletion of this device's. The base stays, as evidence of where
// the node was, without a place that was agreed.
func Revived(old Base) Base {
	old.Place = signet.RevisionID{}
	return old
}
