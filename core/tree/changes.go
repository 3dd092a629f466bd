package tree

import "signet"

// A Change says that an operation may have changed the record of a node. One
// operation can make several, and the same one several times.
type Change struct {
	Node signet.NodeID // an id whose creation was adopted counts as changed too

	// Placed: Node came to live at this name of this folder, or ceased to. So
	// the names that disks show of other children of the folder may be others
	// now, if they have, or had, equal names.
	Placed bool
	Folder signet.NodeID
	Name   string
}

// keptChanges is how many changes a tree remembers at least.
const keptChanges = 1 << 13

// changeLog is the last changes of a tree, and how many there were before.
type changeLog struct {
	first uint64
	list  []Change
}

func (l *changeLog) add(c Change) {
	if len(l.list) >= 2*keptChanges {
		n := copy(l.list, l.list[keptChanges:])
		clear(l.list[n:])
		l.list = l.list[:n]
		l.first += keptChanges
	}
	l.list = append(l.list, c)
}

// Version counts the changes that Apply made since the tree was new or loaded.
func (t *Tree) Version() uint64 { return t.changes.first + uint64(len(t.changes.list)) }

// Changes tells what changed since Version gave a number. ok is false if that
// is too long ago (the tree remembers some 8,000 changes): everything may have
// changed. The slice is the tree's; it holds until the next Apply.
func (t *Tree) Changes(since uint64) (list []Change, ok bool) {
	if since < t.changes.first || since > t.Version() {
		return nil, false
	}
	return t.changes.list[since-t.changes.first:], true
}
