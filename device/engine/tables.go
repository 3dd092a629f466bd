package engine

import (
	"iter"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// What the planner is told, as the index has it. A volume of a million files has
// a million of each, so they are as small as they can be: what few have is
// behind a pointer, and what follows from something else is not kept.

// locals are the items, as the planner wants them.
type locals map[signet.NodeID]*item

func (l locals) Len() int { return len(l) }

func (l locals) Get(id signet.NodeID) (plan.Local, bool) {
	it := l[id]
	if it == nil {
		return plan.Local{}, false
	}
	return it.local(), true
}

func (l locals) All() iter.Seq2[signet.NodeID, plan.Local] {
	return func(yield func(signet.NodeID, plan.Local) bool) {
		for id, it := range l {
			if !yield(id, it.local()) {
				return
			}
		}
	}
}

// local is what the planner is told of an item.
func (it *item) local() plan.Local {
	unread := it.stat.Type == tree.File && it.sha == [32]byte{}
	return plan.Local{Parent: it.parent, Name: it.name, Type: it.stat.Type, Size: it.stat.Size, Hash: it.sha,
		Target: it.stat.Target, Mode: it.stat.Mode, MTime: it.mtime(),
		Unsettled: unread || it.fault() != nil && it.stat.Type != tree.Other}
}

// bases are what disk and journal last agreed on.
type bases map[signet.NodeID]*agreed

// agreed is a plan.Base of 128 bytes. What was never written over, moved or
// given attributes has the revision of its creation three times.
type agreed struct {
	parent  signet.NodeID
	name    string
	content signet.RevisionID
	hash    [32]byte
	size    int64
	mtime   int64
	mode    uint32
	typ     tree.Type
	more    *agreedMore // nil: place and attr are content, and there is no target
}

type agreedMore struct {
	place, attr signet.RevisionID
	target      string
}

func (b bases) Len() int { return len(b) }

func (b bases) has(id signet.NodeID) bool { return b[id] != nil }

func (b bases) Get(id signet.NodeID) (plan.Base, bool) {
	a := b[id]
	if a == nil {
		return plan.Base{}, false
	}
	return a.base(), true
}

// of is what Get gives, the zero Base where there is none.
func (b bases) of(id signet.NodeID) plan.Base {
	base, _ := b.Get(id)
	return base
}

func (b bases) All() iter.Seq2[signet.NodeID, plan.Base] {
	return func(yield func(signet.NodeID, plan.Base) bool) {
		for id, a := range b {
			if !yield(id, a.base()) {
				return
			}
		}
	}
}

func (b bases) set(id signet.NodeID, to plan.Base) {
	a := &agreed{parent: to.Parent, name: to.Name, content: to.Content, hash: to.Hash, size: to.Size, mtime: to.MTime, mode: to.Mode, typ: to.Type}
	if to.Place != to.Content || to.Attr != to.Content || to.Target != "" {
		a.more = &agreedMore{to.Place, to.Attr, to.Target}
	}
	b[id] = a
}

func (a *agreed) base() plan.Base {
	b := plan.Base{Parent: a.parent, Name: a.name, Type: a.typ, Content: a.content, Place: a.content, Attr: a.content,
		Size: a.size, Hash: a.hash, Mode: a.mode, MTime: a.mtime}
	if a.more != nil {
		b.Place, b.Attr, b.Target = a.more.place, a.more.attr, a.more.target
	}
	return b
}

// oddities are what few items have, or for a while.
type oddities struct {
	busy  time.Time     // not to be read before
	wait  time.Duration // the last settle wait
	fault *Problem
	// An mtime was set that the disk has not: it made shown of asked.
	given        bool
	asked, shown int64
}

func (it *item) busy() time.Time {
	if it.odd == nil {
		return time.Time{}
	}
	return it.odd.busy
}

func (it *item) fault() *Problem {
	if it.odd == nil {
		return nil
	}
	return it.odd.fault
}

func (it *item) oddity() *oddities {
	if it.odd == nil {
		it.odd = &oddities{}
	}
	return it.odd
}

// blame notes what is wrong with an item, nil for nothing, and until when it is
// left alone.
func (it *item) blame(fault *Problem, busy time.Time) {
	if it.odd == nil && fault == nil && busy.IsZero() {
		return
	}
	o := it.oddity()
	o.fault, o.busy = fault, busy
}

// longer doubles the time that an item is left alone, between least and most.
func (it *item) longer(least, most time.Duration) time.Duration {
	o := it.oddity()
	o.wait = min(max(2*o.wait, least), most)
	return o.wait
}

// calm forgets that something was wrong with an item, or in its way.
func (it *item) calm() {
	switch {
	case it.odd == nil:
	case it.odd.given:
		it.odd.busy, it.odd.wait, it.odd.fault = time.Time{}, 0, nil
	default:
		it.odd = nil
	}
}

// gave notes that we gave a file an mtime. Disks round it, some to seconds, and
// have their own first and last year: what they show is that time all the same.
func (it *item) gave(mtime int64) {
	switch {
	case mtime != it.stat.MTime:
		o := it.oddity()
		o.given, o.asked, o.shown = true, mtime, it.stat.MTime
	case it.odd != nil:
		it.odd.given = false
	}
}

// mtime is when the file was changed: as the disk shows it, or as we told the
// disk.
func (it *item) mtime() int64 {
	if it.odd != nil && it.odd.given && it.stat.MTime == it.odd.shown {
		return it.odd.asked
	}
	return it.stat.MTime
}
