// Package plan compares three trees and says what to do: base is what disk and
// journal last agreed on, local is what the disk shows, remote is the replayed
// journal.
//
// It promises: a pure function of its input, in the same order every time;
// that absence is taken for deletion only below a folder that was listed
// completely, and never of what is not observed; that a local change which the journal does not have is never
// overwritten or removed; that following Down never needs a name that is taken
// or a folder that is not there, and that planning again after Up and Down took
// effect, wholly or in part, leads to a disk that shows the journal's tree. It
// does not read, hash, seal or wait, and it does not decide conflicts: replay
// does (spec/operations.md).
//
// Nothing in a Plan is to be remembered but Agree, Forget and Rebind. Whoever
// was interrupted looks again and plans again. Next saves time if it is kept.
package plan

import (
	"iter"
	"strconv"
	"strings"

	"signet"
	"signet/core/tree"
)

// A Base is what disk and journal last agreed on about a node.
type Base struct {
	Parent signet.NodeID // the folder that it was in, on disk
	Name   string        // as on disk: an alias, if it had one
	Type   tree.Type

	Content, Place, Attr signet.RevisionID // that the disk showed

	Size   int64
	Hash   [32]byte
	Target string
	Mode   uint32
	MTime  int64
}

// A Local is what the last scan saw under one name. Its node id is the one
// that the inode is bound to, or a new random one.
type Local struct {
	Parent signet.NodeID
	Name   string
	Type   tree.Type // tree.Other holds its name and is not synched
	Size   int64
	Hash   [32]byte // of a file; zero if not known (yet)
	Target string
	Mode   uint32
	MTime  int64

	// Unsettled: being written, or not readable. Its content is not known;
	// it is neither sent nor replaced nor removed.
	Unsettled bool
}

// A Table has a value for some nodes. It is not changed while a plan is made.
type Table[V any] interface {
	Len() int
	Get(signet.NodeID) (v V, ok bool)
	All() iter.Seq2[signet.NodeID, V] // in any order
}

// Input is what Make compares. It is not changed.
type Input struct {
	Base   Table[Base]
	Local  Table[Local] // without the root
	Remote *tree.Tree

	// Complete reports whether a folder on disk was listed completely in this
	// scan. Only then does it tell of absence.
	Complete func(folder signet.NodeID) bool

	Position uint64          // of the last entry in Remote
	Device   signet.DeviceID // this device: its own puts are no conflict with its next
	Caps     tree.Caps       // of the disk

	// Some of a disk is not observed: it is ignored. Ignored reports whether a
	// live remote node that is not in Local would be so if it were made; what is
	// below such a folder is as well. nil: none. Where it says another thing than
	// it did for the last plan, Last is no help, unless a node that Remote moved
	// is in it or above it.
	Ignored func(tree.Ref) bool
	// Kept has the names of things on disk, by their folders in Local, that are
	// not observed and therefore are not in Local; what it says of them does not
	// matter here.
	Kept map[signet.NodeID]map[string]bool
	// Away are nodes of Base that were seen where they are not observed: they
	// were moved, and are no deletions. What is in Local, or is in a folder that
	// is, need not be left out of it.
	Away map[signet.NodeID]bool

	// Marks say what is selected on this device. What is not goes from the disk
	// once the journal has all that is in it; that is no deletion. Where they say
	// another thing than they did for the last plan, but what its Chosen asked
	// for, Last is no help.
	Marks Marks

	// HoldUp and HoldDown keep deletions back, of remote nodes and of local
	// files, while the guard waits for an answer. The rest goes on.
	HoldUp, HoldDown bool

	// Last is the Next of the last plan of this volume, and Touched has every
	// node whose entry of Base or Local was added, changed or removed since
	// that plan's input; what Remote replayed since, it knows itself. The plan
	// is the one that it would be without Last, but costs what changed and not
	// what there is. It may be the Next of a plan that was not carried out.
	// Device and Caps are to be the same. Where Last is nil, or cannot help,
	// everything is compared.
	Last    *State
	Touched map[signet.NodeID]bool

	// Files is how many entries of Base are not folders. If it is 0, a plan
	// that deletes something, or has no Last, counts them.
	Files int
}

// A Plan is what to do.
type Plan struct {
	// Rebind says that a local file is another node than it was bound to.
	// To be carried out first, all at once with Agree and Forget.
	Rebind []Rebind
	// Agree holds new values of Base, Forget what is to leave it.
	Agree  map[signet.NodeID]Base
	Forget []signet.NodeID

	// Up is what to commit, in an order in which it can be cut into entries:
	// new folders, moves, new files, edits, attributes, deletes. PlaintextID
	// and Content of files are for the caller to add.
	Up []tree.Op
	// Down is what to do to the disk, in order.
	Down []Action
	// Held says what could not be planned now and why. What is held is tried
	// again with the next plan.
	Held []Held
	// Stayed are those of Away that the journal has and nothing took the place
	// of: Down makes them again where they were. Of those in a folder that is
	// one of them, none.
	Stayed []signet.NodeID
	// Chosen are nodes that are to be marked In: they are on disk, in a folder that
	// is Part.
	Chosen []signet.NodeID
	// Aliases are the live nodes that this disk is to show, or shows, under a
	// name that is not theirs and that it does not take for theirs, by id.
	Aliases []Alias

	Guard Guard

	// Next is what the next plan may have as its Last. It is only memory:
	// whoever loses it plans without, and gets the same.
	Next *State
}

// Empty reports whether there is nothing to commit and nothing to do on disk.
func (p *Plan) Empty() bool { return len(p.Up) == 0 && len(p.Down) == 0 }

// A Rebind moves the binding of a local file from one node to another. From's
// base, if it has one, is in Forget.
type Rebind struct{ From, To signet.NodeID }

// A Verb says what an Action does.
type Verb uint8

// The verbs.
const (
	MkDir   Verb = 1 // make folder Node at Parent, Name
	Move    Verb = 2 // take Node, with all below it, to Parent, Name
	Fetch   Verb = 3 // make file or link Node at Parent, Name
	Replace Verb = 4 // give file or link Node, wherever it is now, Remote's content and attributes
	SetAttr Verb = 5 // give Node Remote's mode and, if a file, mtime
	Trash   Verb = 6 // take file, link or empty folder Node off the disk, wherever it is now
	Release Verb = 7 // the same, of what is not selected: the journal has it, Remote
)

// String is the verb in lower case.
func (v Verb) String() string {
	return [...]string{"?", "mkdir", "move", "fetch", "replace", "setattr", "trash", "release"}[min(v, 7)]
}

// An Action is one step on disk. Parent and Name are where it leads to; the
// name is free and the parent there when all actions before it were done.
// After one that failed, those that need it fail too, and the next plan sees
// what is.
type Action struct {
	Verb   Verb
	Node   signet.NodeID
	Parent signet.NodeID // MkDir, Move, Fetch
	Name   string        // MkDir, Move, Fetch
	Expect Local         // Move, Replace, SetAttr, Trash, Release: what the scan saw; if the disk shows anything else, do nothing
	Remote tree.Node     // MkDir, Move, Fetch, Replace, SetAttr: what is wanted; Release: what the journal has
	Undone bool          // Trash: a restore took it away, so the guard does not count it
}

// An Alias is a node and the name that it has on this disk instead of its own.
type Alias struct {
	Node signet.NodeID
	Name string
}

// A Held says why nothing is planned for a node though its trees differ.
type Held struct {
	Node signet.NodeID
	Why  Why
}

// Why is a reason to wait.
type Why string

// The reasons.
const (
	Unsettled Why = "being written, or not hashed yet"
	NameTaken Why = "its name is taken on this disk"
	InIgnored Why = "it was moved to a folder that is ignored, and not on this disk"
	NoFolder  Why = "its folder is not on this disk, or not listed"
	Unlisted  Why = "not seen, but its folder was not listed completely"
	Unsynched Why = "something that is not synched has its name"
	Unknown   Why = "agreed before, but the journal does not have it"
	Guarded   Why = "deletion held by the guard"
	Lingers   Why = "not selected, but something in it is not synched"
)

// Guard counts the files and links that a plan deletes, whether they are held
// or not.
type Guard struct {
	Up, Down int // deletions to commit; deletions on disk
	Total    int // files and links that base has; with Last, 0 unless Up or Down count
}

// Exceeds reports whether n deletions in a volume of total files need an
// answer from the user: more than 100 and more than a quarter, or all of 10 or
// more.
func Exceeds(n, total int) bool {
	return n > max(100, total/4) || total >= 10 && n >= total
}

// temporary begins the names that nodes have between two moves; device/ignore
// leaves it to no rule.
const temporary = ".signet-moving-"

// TempName is the nth of the names, from 1, one of which a node has at the top of
// the volume between two moves of one plan. A node that a crash left there is no
// user's move. What a user saves over it is a node of its own, which keeps the
// name: so there are others.
func TempName(id signet.NodeID, n int) string {
	s := temporary + id.String()[len("node_"):]
	if n > 1 {
		s += "-" + strconv.Itoa(n)
	}
	return s
}

// isTemp reports whether a place is one that a node has for a moment.
func isTemp(n, parent id, name string) bool {
	if parent != signet.RootNode || !strings.HasPrefix(name, temporary) {
		return false
	}
	first := TempName(n, 1)
	digits, more := strings.CutPrefix(name, first+"-")
	i, err := strconv.Atoi(digits)
	return name == first || more && err == nil && i > 1 && name == TempName(n, i)
}

// Make compares the trees. It takes time and memory for the nodes that the
// trees do not agree on; besides, without Last, some 0.3 µs for each other
// one, to find that it is so.
func Make(in Input) *Plan {
	p := newPlanner(in)
	if !p.lookAgain() {
		p.lookAtAll()
	}
	return p.run()
}

func (p *planner) run() *Plan {
	p.index()
	p.listRemote()
	p.bind()
	p.letGo()
	p.compare()
	p.planUp()
	p.planDown()
	p.weigh()
	p.choose()
	p.remember()
	return p.out
}
