package tree

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"signet"
)

// A Stamp says which operation last set a field of a node.
type Stamp struct {
	Revision signet.RevisionID
	Position uint64 // of its entry in the journal
	Op       uint16 // which operation of that entry
	Device   signet.DeviceID
	Time     int64 // the entry's leaf time, milliseconds since 1970
}

// A Node is a copy of what a tree knows of a file, folder or link. A deleted
// node keeps what it last was, for whoever edits it still.
type Node struct {
	ID         signet.NodeID
	Parent     signet.NodeID
	Type       Type
	Name       string // as written, except where structural rules forbid it (EscapeName); siblings may have equal ones
	ConflictOf signet.NodeID
	Deleted    bool
	Gone       Stamp // of the delete, if Deleted

	Content, Place, Attr Stamp

	Size        int64
	Hash        [32]byte
	PlaintextID [32]byte
	Data        []byte // Op.Content of the file's current content; do not modify
	Target      string
	MTime       int64
	Mode        uint32
}

// Tree is the state of a region after some prefix of its journal. It is
// changed by Apply alone and is not safe for use by several goroutines while
// one applies.
type Tree struct {
	nodes     map[signet.NodeID]*node
	aliases   map[signet.NodeID]*node // creations that were adopted: by the id they asked for
	redirects map[signet.RevisionID]redirect
	root      *node
	live      int
	conflicts int // of the live ones
	devices   []signet.DeviceID
	deviceNo  map[signet.DeviceID]uint32
	cache     *digestCache
	changes   changeLog
}

// node is the compact form: about 190 bytes, 48 for a stamp that a creation
// shares among its three fields, and text.
type node struct {
	id         signet.NodeID
	parent     *node
	next, prev *node  // siblings on the same list of the parent
	text       string // the name, and after it a file's opaque content or a link's target: see data
	place      *stamp
	content    *stamp
	attr       *stamp
	gone       *stamp // nil while it lives
	more       *more  // what few nodes have
	size       int64
	mtime      int64
	sha        [32]byte
	pid        [32]byte
	mode       uint32
	typ        Type
	nameLen    uint8
	repeats    bool // its content begins with what repeated gives, which text leaves out
}

type stamp struct {
	rev signet.RevisionID
	*moment
	op       uint16
	restored bool // by a restore; a snapshot does not say so
}

// moment is what the stamps of one entry share: stamps with equal moments have
// the same one, so that stamps compare by ==.
type moment struct {
	pos    uint64
	time   int64
	device uint32
}

// more is what folders, conflict copies and targets of redirects have. The two
// lists keep a listing from walking tombstones and make a move O(1).
type more struct {
	live, dead *node
	conflictOf signet.NodeID
	redirects  []signet.RevisionID
	aliases    []signet.NodeID
	paged      bool   // is on the page lists of the digest cache
	bucket     uint64 // keyed hash of the node's id, if paged
}

// redirect says what a revision that never became current stands for, named
// as a base: its node as that was right after operation op of entry pos.
type redirect struct {
	node *node
	pos  uint64
	op   uint16
}

// New is the tree of a region without operations.
func New() *Tree {
	t := &Tree{
		nodes:     map[signet.NodeID]*node{},
		aliases:   map[signet.NodeID]*node{},
		redirects: map[signet.RevisionID]redirect{},
		deviceNo:  map[signet.DeviceID]uint32{},
	}
	none := &stamp{moment: &moment{device: t.intern(signet.DeviceID{})}}
	t.root = &node{typ: Dir, mode: 0o755, place: none, content: none, attr: none, more: &more{}}
	t.root.parent = t.root
	t.nodes[signet.RootNode] = t.root
	return t
}

func (t *Tree) intern(d signet.DeviceID) uint32 {
	n, ok := t.deviceNo[d]
	if !ok {
		n = uint32(len(t.devices))
		t.devices = append(t.devices, d)
		t.deviceNo[d] = n
	}
	return n
}

// Len is the number of live nodes, the root not counted.
func (t *Tree) Len() int { return t.live }

// Conflicts is the number of live nodes that are conflict copies.
func (t *Tree) Conflicts() int { return t.conflicts }

// count keeps Len and Conflicts right when n came to live (1) or ceased to (-1).
func (t *Tree) count(n *node, by int) {
	t.live += by
	if n.more != nil && !n.more.conflictOf.IsZero() {
		t.conflicts += by
	}
}

// Records is the number of nodes, tombstones and redirects that the tree
// keeps, the root included.
func (t *Tree) Records() int { return len(t.nodes) + len(t.redirects) + len(t.aliases) }

// Node returns the node with an id, deleted ones too. An id whose creation was
// adopted by another node gives that node.
func (t *Tree) Node(id signet.NodeID) (Node, bool) {
	n := t.find(id)
	if n == nil {
		return Node{}, false
	}
	return t.view(n), true
}

// Live reports whether a node with this id is there and not deleted.
func (t *Tree) Live(id signet.NodeID) bool {
	n := t.find(id)
	return n != nil && n.gone == nil
}

// Revision returns the node that a revision which was adopted, or went to a
// conflict copy, stands for.
func (t *Tree) Revision(r signet.RevisionID) (signet.NodeID, bool) {
	d, ok := t.redirects[r]
	if !ok {
		return signet.NodeID{}, false
	}
	return d.node.id, true
}

// Children returns the live children of a folder, sorted by name, equal names
// by the journal order of their places. Nil if there is no such live folder.
func (t *Tree) Children(id signet.NodeID) []Node {
	n := t.find(id)
	if n == nil || n.gone != nil || n.more == nil {
		return nil
	}
	kids := sorted(n.more.live)
	out := make([]Node, len(kids))
	for i, k := range kids {
		out[i] = t.view(k)
	}
	return out
}

// Lookup finds a node by a path of names joined by "/": by Node.Name, and
// among equal siblings the one whose place is first. "" is the root.
func (t *Tree) Lookup(path string) (Node, bool) {
	n := t.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if n = childNamed(n, name); n == nil {
			return Node{}, false
		}
	}
	return t.view(n), true
}

// Path is the path of a node, of Node.Names joined by "/"; that of a deleted
// one is where it last was. "" for the root and for unknown nodes.
func (t *Tree) Path(id signet.NodeID) string {
	var names []string
	for n := t.find(id); n != nil && n != t.root; n = n.parent {
		names = append(names, n.name())
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Walk yields every live node with its path, parents before children, children
// as Children sorts them; the root is not among them. Bodies must not Apply.
func (t *Tree) Walk() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		type item struct {
			path string
			n    *node
		}
		stack := []item{{"", t.root}}
		for len(stack) > 0 {
			it := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			prefix := it.path
			if it.n != t.root {
				if !yield(it.path, t.view(it.n)) {
					return
				}
				prefix += "/"
			}
			if it.n.more == nil {
				continue
			}
			kids := sorted(it.n.more.live)
			for _, k := range slices.Backward(kids) {
				stack = append(stack, item{prefix + k.name(), k})
			}
		}
	}
}

// All yields every live node but the root in no useful, but fixed, order of
// ids; cheaper than Walk.
func (t *Tree) All() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		ids := make([]signet.NodeID, 0, t.live)
		for id, n := range t.nodes {
			if n.gone == nil && n != t.root {
				ids = append(ids, id)
			}
		}
		slices.SortFunc(ids, signet.NodeID.Compare)
		for _, id := range ids {
			if !yield(t.view(t.nodes[id])) {
				return
			}
		}
	}
}

func (t *Tree) find(id signet.NodeID) *node {
	if n := t.nodes[id]; n != nil {
		return n
	}
	return t.aliases[id]
}

func (t *Tree) stamp(s *stamp) Stamp {
	return Stamp{Revision: s.rev, Position: s.pos, Op: s.op, Device: t.devices[s.device], Time: s.time}
}

func (t *Tree) view(n *node) Node {
	v := Node{
		ID: n.id, Parent: n.parent.id, Type: n.typ, Name: n.name(),
		Content: t.stamp(n.content), Place: t.stamp(n.place), Attr: t.stamp(n.attr),
		Size: n.size, Hash: n.sha, PlaintextID: n.pid, MTime: n.mtime, Mode: n.mode,
	}
	if n.more != nil {
		v.ConflictOf = n.more.conflictOf
	}
	if n.gone != nil {
		v.Deleted, v.Gone = true, t.stamp(n.gone)
	}
	switch {
	case n.typ == Link:
		v.Target = n.data()
	case n.data() != "":
		v.Data = []byte(n.data())
	}
	return v
}

// sorted lists what hangs on a list head by name, then by journal order of the
// place.
func sorted(head *node) []*node {
	var out []*node
	for n := head; n != nil; n = n.next {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int {
		if c := cmp.Compare(a.name(), b.name()); c != 0 {
			return c
		}
		return placeOrder(a, b)
	})
	return out
}

// placeOrder says whose place was set first. Two places of one operation
// cannot be; ids settle it all the same.
func placeOrder(a, b *node) int {
	return cmp.Or(cmp.Compare(a.place.pos, b.place.pos), cmp.Compare(a.place.op, b.place.op), a.id.Compare(b.id))
}

// childNamed is the live child with a name whose place is first.
func childNamed(parent *node, name string) (found *node) {
	if parent.more == nil {
		return nil
	}
	for n := parent.more.live; n != nil; n = n.next {
		if n.name() == name && (found == nil || placeOrder(n, found) < 0) {
			found = n
		}
	}
	return found
}

// count is the number of live children.
func (m *more) count() (c int) {
	for n := m.live; n != nil; n = n.next {
		c++
	}
	return c
}

func (n *node) name() string { return n.text[:n.nameLen] }

// data is a file's content or a link's target.
func (n *node) data() string {
	if n.repeats {
		head := n.repeated()
		return string(head[:]) + n.text[n.nameLen:]
	}
	return n.text[n.nameLen:]
}

// call gives n a name, of MaxName bytes at most; write, also what it holds. The
// two are one string because a node costs less then.
func (n *node) call(name string) { n.text, n.nameLen = name+n.text[n.nameLen:], uint8(len(name)) }

// write comes after size, sha and pid were set.
func (n *node) write(name, data string) {
	head := n.repeated()
	if n.repeats = n.typ == File && len(data) >= len(head) && data[:len(head)] == string(head[:]); n.repeats {
		data = data[len(head):]
	}
	n.text, n.nameLen = name+data, uint8(len(name))
}

// repeated is what the content of a file mostly begins with (spec/content.md)
// though the operation says it as well: half of what a short file's node would
// have beside its name.
func (n *node) repeated() (head [8 + 32 + 32]byte) {
	binary.BigEndian.PutUint64(head[:], uint64(n.size))
	copy(head[8:], n.sha[:])
	copy(head[40:], n.pid[:])
	return head
}

func (n *node) extra() *more {
	if n.more == nil {
		n.more = &more{}
	}
	return n.more
}

// list is the head of the list of its parent that n is on, or would be.
func (n *node) list() **node {
	if n.gone != nil {
		return &n.parent.extra().dead
	}
	return &n.parent.extra().live
}

// link hangs n on its parent's list; n.parent and n.gone are set.
func (n *node) link() {
	head := n.list()
	n.prev, n.next = nil, *head
	if *head != nil {
		(*head).prev = n
	}
	*head = n
}

// unlink takes n off its parent's list, before n.parent or n.gone change.
func (n *node) unlink() {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		*n.list() = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.next, n.prev = nil, nil
}

// within reports whether n is top or below it, through tombstones too: the
// parents of all nodes, dead or alive, always form a tree.
func within(n, top *node) bool {
	for ; ; n = n.parent {
		if n == top {
			return true
		}
		if n.parent == n {
			return false
		}
	}
}
