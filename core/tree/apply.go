package tree

import (
	"encoding/binary"

	"signet"
	"signet/core/key"
)

// An Entry is what replay needs to know of the verified entry that a batch
// came in.
type Entry struct {
	Region   signet.RegionID
	Hash     signet.Hash
	Position uint64
	Time     int64 // leaf time, milliseconds since 1970
	Device   signet.DeviceID
}

// A Result says what became of an operation.
type Result uint8

// The results.
const (
	Applied    Result = 1 // it is what the field, or the node, now is
	Adopted    Result = 2 // the tree held the same already: Node stands for it, nothing changed
	Conflicted Result = 3 // a put that lost: it made a node of its own, Node
	NoOp       Result = 4 // nothing changed; see Reason
)

// String is "applied", "adopted", "conflict" or "no-op".
func (r Result) String() string {
	return [...]string{"?", "applied", "adopted", "conflict", "no-op"}[min(r, 4)]
}

// A Reason says why an operation did nothing, or where its put had to go.
type Reason string

// The reasons. The first group goes with NoOp, the second with puts.
const (
	ReasonUnknown  Reason = "unknown node"
	ReasonStale    Reason = "place changed since"
	ReasonCycle    Reason = "into itself"
	ReasonParent   Reason = "no such folder"
	ReasonChanged  Reason = "changed since"
	ReasonNotEmpty Reason = "folder not empty"
	ReasonDeleted  Reason = "deleted already"
	ReasonRoot     Reason = "the root"

	ReasonBase Reason = "content changed since"       // a conflict copy beside the node
	ReasonID   Reason = "node exists"                 // a creation under a used id
	ReasonType Reason = "node is of another type"     // an edit that does not fit its node
	ReasonLost Reason = "place cannot be had"         // went to lost+found
	ReasonKept Reason = "holds what the writer lacks" // a folder delete that left the folder: see Removed
)

// An Outcome says what one operation did.
type Outcome struct {
	Result   Result
	Reason   Reason
	Node     signet.NodeID     // that it went to: for a put, the one that a writer's file now is
	Revision signet.RevisionID // of the operation; what Node's field now has if Applied or Conflicted
	Removed  []signet.NodeID   // what a delete removed, children before parents, Node included
	Revived  []signet.NodeID   // what lives again, parents before children
}

// LostAndFound is the id of the folder that takes puts which have no place. It
// exists once it has been needed.
func LostAndFound(region signet.RegionID) signet.NodeID {
	h := key.Sum(key.LabelNode, region[:], []byte("lost+found"))
	return signet.NodeID(h[:16])
}

// ConflictNode is the id of the node that operation index of an entry makes
// when its put cannot go to the node that it names.
func ConflictNode(region signet.RegionID, entry signet.Hash, index int) signet.NodeID {
	h := key.Sum(key.LabelNode, region[:], entry[:], binary.BigEndian.AppendUint16(nil, uint16(index)))
	return signet.NodeID(h[:16])
}

// Apply replays the operations of one entry, one by one and in order, and says
// what became of each. Entries must come in journal order. It never fails: the
// rules of spec/operations.md give every operation an outcome.
func (t *Tree) Apply(e Entry, b *Batch) []Outcome {
	r := &replay{Tree: t, entry: e, label: b.Label, device: t.intern(e.Device)}
	out := make([]Outcome, len(b.Items))
	now := &moment{pos: e.Position, time: e.Time, device: r.device}
	for i := range b.Items {
		it := &b.Items[i]
		r.index, r.op, r.out = i, &it.Op, &out[i]
		r.out.Revision = it.Revision
		r.now = &stamp{rev: it.Revision, moment: now, op: uint16(i), restored: it.Op.Restored}
		switch it.Op.Kind {
		case Create:
			r.create()
		case Edit:
			r.edit()
		case Move:
			r.move()
		case Attr:
			r.attr()
		case Delete:
			r.delete()
		case Mark, Rule: // of history (Pins, Policy), not of the tree
			r.done(NoOp, "", nil)
		}
		r.follow()
	}
	return out
}

// replay is Apply at one operation.
type replay struct {
	*Tree
	entry  Entry
	label  string
	device uint32
	index  int
	op     *Op
	out    *Outcome
	now    *stamp
	names  map[*node]map[string]*node // live children of large folders, as this entry goes
	once   *node                      // the folder that was asked about last: a map pays from the second time on
}

func (r *replay) done(res Result, why Reason, n *node) {
	r.out.Result, r.out.Reason = res, why
	if n != nil {
		r.out.Node = n.id
	} else {
		r.out.Node = r.op.Node
	}
}

// target is the node that an operation means: the one that its base went to,
// if the base went elsewhere, else the one that it names. Nil if unknown.
func (r *replay) target(bases ...signet.RevisionID) *node {
	for _, b := range bases {
		if d, ok := r.redirects[b]; ok {
			return d.node
		}
	}
	return r.find(r.op.Node)
}

// current reports whether a field of n, last set by s, is what the writer's
// base had: the very revision, or as the node stood where the base's own
// operation was redirected to it.
func (r *replay) current(n *node, s *stamp, bases ...signet.RevisionID) bool {
	for _, b := range bases {
		if s.rev == b {
			return true
		}
		if d, ok := r.redirects[b]; ok && d.node == n && (s.pos < d.pos || s.pos == d.pos && s.op <= d.op) {
			return true
		}
	}
	return false
}

// redirect notes what the operation's revision stands for from here on.
func (r *replay) redirect(n *node) {
	if _, ok := r.redirects[r.now.rev]; ok {
		return // the same salted operation twice: the first holds
	}
	r.redirects[r.now.rev] = redirect{node: n, pos: r.now.pos, op: r.now.op}
	m := n.extra()
	m.redirects = append(m.redirects, r.now.rev)
	r.touch(n)
}

// follow makes later operations that name this one as their base, and still
// the node that its writer knew, go to where this one went.
func (r *replay) follow() {
	n := r.find(r.out.Node)
	if r.out.Result == Applied && n != nil && n != r.find(r.op.Node) {
		r.redirect(n)
	}
}

func (r *replay) create() {
	n := r.find(r.op.Node)
	switch {
	case n == nil:
		parent, name, lost := r.placeFor(nil)
		if lost {
			r.lost()
			return
		}
		// Two devices made the same at the same place, and neither knew of the
		// other's: one node. A writer that knew means a second one, or is
		// about to move the first away; one that was moved here since, it may
		// have elsewhere.
		twin := r.child(parent, name)
		if twin != nil && r.same(twin) && *twin.place == *twin.content && twin.place.pos > r.op.Seen && twin.place.device != r.device {
			r.alias(r.op.Node, twin)
			r.redirect(twin)
			r.done(Adopted, "", twin)
			return
		}
		r.done(Applied, "", r.add(r.op.Node, parent, name, r.op.Mode))
	case n.gone == nil && r.same(n):
		r.redirect(n)
		r.done(Adopted, "", n)
	case n.gone == nil || n.typ != r.op.Type:
		r.createOther(n)
	default:
		parent, name, lost := r.placeFor(n)
		if lost {
			parent, name = r.lostAndFound(), n.id.String()
			if within(parent, n) { // n holds lost+found, or is it
				parent = r.root
			}
			r.out.Reason = ReasonLost
		}
		r.setPlace(n, parent, name)
		r.revive(n)
		r.setContent(n)
		n.mode, n.attr = r.op.Mode, r.now
		r.done(Applied, r.out.Reason, n)
	}
}

// createOther makes a node of its own for a creation whose id n has.
func (r *replay) createOther(n *node) {
	id := r.conflictID()
	parent, name, lost := r.placeFor(nil)
	if lost {
		parent, name = r.lostAndFound(), id.String()
	}
	c := r.addCopy(id, n, parent, name, r.op.Mode)
	r.redirect(c)
	r.done(Conflicted, ReasonID, c)
}

// placeFor finds where a creation goes. A place below no folder cannot be had,
// nor one below the tombstone n that the creation would wake.
func (r *replay) placeFor(n *node) (parent *node, name string, lost bool) {
	parent = r.find(r.op.Parent)
	if parent == nil || parent.typ != Dir || n != nil && within(parent, n) {
		return nil, "", true
	}
	r.revive(parent)
	return parent, EscapeName(r.op.Name), false
}

// lost keeps a put of an unknown node that has no place.
func (r *replay) lost() {
	parent, id, mode := r.lostAndFound(), r.op.Node, r.op.Mode
	if r.find(id) != nil { // it named lost+found itself, which is there now
		id = r.conflictID()
	}
	if r.op.Kind == Edit {
		mode = defaultMode(r.op.Type)
	}
	n := r.add(id, parent, id.String(), mode)
	if id != r.op.Node {
		r.redirect(n)
	}
	r.done(Applied, ReasonLost, n)
}

// same reports whether n holds what the operation puts.
func (r *replay) same(n *node) bool {
	if n.typ != r.op.Type {
		return false
	}
	switch n.typ {
	case File:
		return n.size == r.op.Size && n.sha == r.op.Hash && n.pid == r.op.PlaintextID
	case Link:
		return n.data() == r.op.Target
	}
	return true
}

func (r *replay) edit() {
	n := r.target(r.op.BaseContent)
	switch {
	case n == nil:
		r.lost()
	case n.typ != r.op.Type:
		r.conflict(n, ReasonType)
	case n.gone != nil:
		r.revive(n)
		r.setContent(n)
		r.done(Applied, "", n)
	case r.current(n, n.content, r.op.BaseContent):
		r.setContent(n)
		r.done(Applied, "", n)
	case r.same(n):
		r.redirect(n)
		r.done(Adopted, "", n)
	default:
		r.conflict(n, ReasonBase)
	}
}

// conflict makes the operation's content a node of its own beside n.
func (r *replay) conflict(n *node, why Reason) {
	id := r.conflictID()
	parent, name, mode := n.parent, ConflictName(n.name(), r.entry.Time, r.label, id), n.mode
	if n == r.root {
		parent, name = r.lostAndFound(), id.String()
	}
	if n.typ != r.op.Type {
		mode = defaultMode(r.op.Type)
	}
	r.revive(parent)
	c := r.addCopy(id, n, parent, name, mode)
	r.redirect(c)
	r.done(Conflicted, why, c)
}

// conflictID is ConflictNode, hashed on in the case that nobody can bring
// about: that the id is taken.
func (r *replay) conflictID() signet.NodeID {
	id := ConflictNode(r.entry.Region, r.entry.Hash, r.index)
	for r.find(id) != nil {
		h := key.Sum(key.LabelNode, id[:])
		id = signet.NodeID(h[:16])
	}
	return id
}

func defaultMode(t Type) uint32 {
	switch t {
	case Dir:
		return 0o755
	case Link:
		return 0o777
	}
	return 0o644
}

func (r *replay) move() {
	n := r.target(r.op.BasePlace)
	parent := r.find(r.op.Parent)
	name := EscapeName(r.op.Name)
	switch {
	case n == nil:
		r.done(NoOp, ReasonUnknown, nil)
	case n == r.root && parent != r.root:
		r.done(NoOp, ReasonRoot, n)
	case !r.current(n, n.place, r.op.BasePlace):
		if n.gone == nil && n.parent == parent && n.name() == name {
			r.redirect(n)
			r.done(Adopted, "", n)
			return
		}
		r.done(NoOp, ReasonStale, n)
	case n == r.root:
		n.call(name)
		n.place = r.now
		r.touch(n)
		r.done(Applied, "", n)
	case parent == nil || parent.typ != Dir:
		r.done(NoOp, ReasonParent, n)
	case within(parent, n):
		r.done(NoOp, ReasonCycle, n)
	default:
		r.revive(parent)
		r.setPlace(n, parent, name) // first: where it was, nothing lives again
		r.reviveWhole(n)
		r.done(Applied, "", n)
	}
}

func (r *replay) attr() {
	n := r.target(r.op.BaseContent, r.op.BaseAttr)
	if n == nil {
		r.done(NoOp, ReasonUnknown, nil)
		return
	}
	r.reviveWhole(n)
	if r.op.HasMode {
		n.mode = r.op.Mode
	}
	if r.op.HasMTime {
		n.mtime = r.op.MTime
	}
	n.attr = r.now
	r.touch(n)
	r.done(Applied, "", n)
}

func (r *replay) delete() {
	n := r.target(r.op.BaseContent, r.op.BasePlace)
	switch {
	case n == nil:
		r.done(NoOp, ReasonUnknown, nil)
	case n == r.root:
		r.done(NoOp, ReasonRoot, n)
	case n.gone != nil:
		r.done(NoOp, ReasonDeleted, n)
	case !r.unchanged(n):
		r.done(NoOp, ReasonChanged, n)
	case n.typ == Dir && r.op.Whole:
		r.deleteWhole(n)
	case n.more != nil && n.more.live != nil:
		r.done(NoOp, ReasonNotEmpty, n)
	default:
		r.remove(n)
		r.done(Applied, "", n)
	}
}

// unchanged reports whether every field of n is what the writer's base had. A
// folder has no content.
func (r *replay) unchanged(n *node) bool {
	if r.op.Whole && n.typ == Dir && r.seen(n.place) && r.seen(n.attr) {
		return true
	}
	return (n.typ == Dir || r.current(n, n.content, r.op.BaseContent)) &&
		r.current(n, n.place, r.op.BasePlace, r.op.BaseContent) &&
		r.current(n, n.attr, r.op.BaseAttr, r.op.BaseContent)
}

// seen reports whether the writer of a folder delete had seen what s set: it
// is at or before the position that its base held completely, or its own.
func (r *replay) seen(s *stamp) bool { return s.pos <= r.op.Complete || s.device == r.device }

// deleteWhole removes what the writer had seen below top, children first, and
// top itself if nothing is left. A folder that was moved there, renamed or changed
// since is not looked at, with what it holds: whoever did that keeps it, as if the
// delete had come first.
func (r *replay) deleteWhole(top *node) {
	type visit struct {
		n    *node
		back bool
	}
	stack := []visit{{top, false}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := v.n
		if !v.back {
			if n != top && (!r.seen(n.place) || n.typ == Dir && !r.seen(n.attr)) {
				continue
			}
			stack = append(stack, visit{n, true})
			if n.more != nil {
				for _, k := range sorted(n.more.live) {
					stack = append(stack, visit{k, false})
				}
			}
			continue
		}
		if n.more != nil && n.more.live != nil {
			continue
		}
		if n == top || r.seen(n.content) && r.seen(n.attr) {
			r.remove(n)
		}
	}
	if top.gone == nil {
		r.done(Applied, ReasonKept, top)
		return
	}
	r.done(Applied, "", top)
}

// What follows changes nodes; every function leaves the lists, the counts and
// the marks of the digest right.

func (r *replay) add(id signet.NodeID, parent *node, name string, mode uint32) *node {
	return r.addCopy(id, nil, parent, name, mode)
}

// addCopy makes a node that is a conflict copy of another.
func (r *replay) addCopy(id signet.NodeID, of, parent *node, name string, mode uint32) *node {
	n := &node{id: id, parent: parent, typ: r.op.Type, mode: mode,
		place: r.now, content: r.now, attr: r.now}
	n.call(name)
	if of != nil {
		n.extra().conflictOf = of.id
	}
	r.nodes[id] = n
	r.count(n, 1)
	n.link()
	r.remember(n)
	r.setContent(n)
	r.touchPlace(n)
	return n
}

func (r *replay) setContent(n *node) {
	n.content = r.now
	n.mtime = r.op.MTime
	switch n.typ {
	case File:
		n.size, n.sha, n.pid = r.op.Size, r.op.Hash, r.op.PlaintextID
		n.write(n.name(), string(r.op.Content))
	case Link:
		n.write(n.name(), r.op.Target)
	}
	r.touch(n)
}

func (r *replay) setPlace(n, parent *node, name string) {
	r.touchPlace(n)
	r.forget(n)
	n.unlink()
	n.parent, n.place = parent, r.now
	n.call(name)
	n.link()
	r.remember(n)
	r.touchPlace(n)
}

func (r *replay) remove(n *node) {
	r.forget(n)
	n.unlink()
	n.gone = r.now
	n.link()
	r.count(n, -1)
	r.touchPlace(n)
	r.out.Removed = append(r.out.Removed, n.id)
}

// revive makes n and its ancestors live.
func (r *replay) revive(n *node) {
	var up []*node
	for ; n.gone != nil; n = n.parent {
		up = append(up, n)
	}
	for i := len(up) - 1; i >= 0; i-- {
		r.wake(up[i])
	}
}

// reviveWhole makes n live, with its ancestors and with what the same delete
// removed below it: moving a folder that another device deleted gives the same
// as if the move had come first.
func (r *replay) reviveWhole(n *node) {
	del := n.gone
	if del == nil {
		return
	}
	r.revive(n)
	stack := []*node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n.more == nil {
			continue
		}
		for _, k := range sorted(n.more.dead) {
			if k.gone.pos == del.pos && k.gone.op == del.op {
				r.wake(k)
				stack = append(stack, k)
			}
		}
	}
}

func (r *replay) wake(n *node) {
	n.unlink()
	n.gone = nil
	n.link()
	r.remember(n)
	r.count(n, 1)
	r.touchPlace(n)
	r.out.Revived = append(r.out.Revived, n.id)
}

func (r *replay) alias(id signet.NodeID, n *node) {
	r.aliases[id] = n
	n.extra().aliases = append(n.extra().aliases, id)
	r.changes.add(Change{Node: id})
	r.touch(n)
}

// lostAndFound is the folder for puts without a place, made or revived. If a
// member made a file of that id, the root serves.
func (r *replay) lostAndFound() *node {
	id := LostAndFound(r.entry.Region)
	n := r.find(id)
	if n == nil {
		n = &node{id: id, parent: r.root, typ: Dir, mode: 0o755,
			place: r.now, content: r.now, attr: r.now}
		n.call("lost+found")
		r.nodes[id] = n
		r.count(n, 1)
		n.link()
		r.remember(n)
		r.touchPlace(n)
	}
	if n.typ != Dir {
		return r.root
	}
	r.revive(n)
	return n
}

// manyNames is from how many children on a folder's names are looked up in a
// map, from the second one in a row on. The map lives for one entry: kept for
// good, it would cost more than the nodes.
const manyNames = 64

// child is childNamed, fast in an entry that puts much into one large folder.
func (r *replay) child(parent *node, name string) *node {
	if m, ok := r.names[parent]; ok {
		return m[name]
	}
	if parent.more == nil {
		return nil
	}
	count := 0
	for n := parent.more.live; n != nil && count <= manyNames; n = n.next {
		count++
	}
	if count <= manyNames || r.once != parent {
		r.once = parent
		return childNamed(parent, name)
	}
	m := map[string]*node{}
	for n := parent.more.live; n != nil; n = n.next {
		if first := m[n.name()]; first == nil || placeOrder(n, first) < 0 {
			m[n.name()] = n
		}
	}
	if r.names == nil {
		r.names = map[*node]map[string]*node{}
	}
	r.names[parent] = m
	return m[name]
}

// remember and forget keep the maps of child right.
func (r *replay) remember(n *node) {
	if m, ok := r.names[n.parent]; ok {
		if first := m[n.name()]; first == nil || placeOrder(n, first) < 0 {
			m[n.name()] = n
		}
	}
}

func (r *replay) forget(n *node) {
	if m, ok := r.names[n.parent]; ok && m[n.name()] == n {
		delete(r.names, n.parent) // which sibling is next takes a walk: done when asked
	}
}
