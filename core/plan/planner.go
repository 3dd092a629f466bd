package plan

import (
	"cmp"
	"slices"

	"signet"
	"signet/core/key"
	"signet/core/tree"
)

type id = signet.NodeID

// place is where something is, or is wanted, on disk.
type place struct {
	parent id
	name   string
}

// planner holds what the steps of Make pass on.
type planner struct {
	in     Input
	out    *Plan
	base   map[id]Base  // with Agree and Forget applied
	local  map[id]Local // with Rebind applied
	remote map[id]tree.Node
	order  []id         // live remote nodes, parents first
	kids   map[id][]id  // their children
	want   map[id]place // where they belong on this disk
	names  map[place]id // the same, by place
	at     map[place]id // who is where on disk
	below  map[id][]id  // who is in which local folder
	depth  map[id]int   // of local nodes
	locals []id         // local nodes, parents first, then by id
	absent map[id]absence
	moveUp map[id]bool // local moves to be committed
	clash  map[id]bool // edits that another device was faster with
	edit   map[id]bool // nodes whose content Up has
	del    map[id]bool // remote nodes that Up deletes
	trash  map[id]bool // local nodes that Down removes
	held   map[id]bool

	absentAt map[place]id // nodes of base that are nowhere on disk, by where they were
}

type absence uint8

const (
	unknown absence = iota + 1 // not looked for well enough
	gone                       // not there, on evidence
	covered                    // something unsynched has its name
)

func newPlanner(in Input) *planner {
	p := &planner{
		in: in, out: &Plan{Agree: map[id]Base{}},
		base: make(map[id]Base, len(in.Base)), local: make(map[id]Local, len(in.Local)),
		remote: map[id]tree.Node{}, kids: map[id][]id{}, want: map[id]place{}, names: map[place]id{},
		absent: map[id]absence{}, moveUp: map[id]bool{}, clash: map[id]bool{}, edit: map[id]bool{}, del: map[id]bool{}, trash: map[id]bool{}, held: map[id]bool{},
	}
	for n, b := range in.Base {
		// A folder whose creation was adopted is another one since.
		if r, ok := in.Remote.Node(b.Parent); ok {
			b.Parent = r.ID
		}
		p.base[n] = b
		if b.Type != tree.Dir {
			p.out.Guard.Total++
		}
	}
	for n, l := range in.Local {
		if l.Type == tree.File && l.SHA256 == [32]byte{} {
			l.Unsettled = true
		}
		p.local[n] = l
	}
	p.readRemote()
	p.index()
	return p
}

// readRemote lists the live nodes and where the disk would have them.
func (p *planner) readRemote() {
	name := func(folder id) {
		for n, s := range p.in.Remote.Names(folder, p.in.Caps) {
			w := place{folder, s}
			p.want[n], p.names[w] = w, n
		}
	}
	name(signet.RootNode)
	for _, n := range p.in.Remote.Walk() {
		p.remote[n.ID] = n
		p.order = append(p.order, n.ID)
		p.kids[n.Parent] = append(p.kids[n.Parent], n.ID)
		if n.Type == tree.Dir {
			name(n.ID)
		}
	}
}

// index lists the local nodes. Those that hang on no folder of the disk (a
// scan that a rename crossed) are left out: the next scan knows.
func (p *planner) index() {
	p.at, p.below, p.depth, p.locals = map[place]id{}, map[id][]id{}, map[id]int{}, p.locals[:0]
	for n, l := range p.local {
		p.below[l.Parent] = append(p.below[l.Parent], n)
		p.at[place{l.Parent, l.Name}] = n
	}
	for _, l := range p.below {
		slices.SortFunc(l, id.Compare)
	}
	todo := []id{signet.RootNode}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		for _, k := range p.below[n] {
			p.depth[k] = p.depth[n] + 1
			p.locals = append(p.locals, k)
			todo = append(todo, k)
		}
	}
}

func (p *planner) hold(n id, why Why) {
	if !p.held[n] {
		p.held[n] = true
		p.out.Held = append(p.out.Held, Held{n, why})
	}
}

func (p *planner) agree(n id, b Base) {
	if old, ok := p.base[n]; ok && old == b {
		return
	}
	p.base[n] = b
	p.out.Agree[n] = b
}

func (p *planner) forget(n id) {
	if _, ok := p.base[n]; !ok {
		return
	}
	delete(p.base, n)
	delete(p.out.Agree, n)
	if _, had := p.in.Base[n]; had {
		p.out.Forget = append(p.out.Forget, n)
	}
}

// bind finds out which local files are nodes that they are not bound to: one
// that a program saved by renaming a new file over it; one that this device
// put and replay adopted or made a conflict copy; one that this device has
// without knowing (its index is new, or another device put the same).
func (p *planner) bind() {
	copies := map[id][]id{}
	for _, n := range p.order {
		if of := p.remote[n].ConflictOf; !of.IsZero() {
			copies[of] = append(copies[of], n)
		}
	}
	// From the top down: a folder's node decides where its children are.
	renamed := map[id]id{}
	todo := slices.Clone(p.locals)
	for _, n := range todo {
		l := p.local[n]
		if to, ok := renamed[l.Parent]; ok {
			l.Parent = to
			p.local[n] = l
		}
		to, keepBase := p.boundTo(n, l, copies)
		if to == n {
			continue
		}
		renamed[n] = to
		delete(p.local, n)
		p.local[to] = l
		p.forget(n)
		if !keepBase {
			p.forget(to)
		}
		p.out.Rebind = append(p.out.Rebind, Rebind{n, to})
		if _, ok := p.base[to]; !ok {
			p.adopt(to, l)
		}
	}
	if len(renamed) > 0 {
		p.index()
	}
}

// boundTo is the node that local file n is; keepBase if its base is the base
// of what the disk had before.
func (p *planner) boundTo(n id, l Local, copies map[id][]id) (to id, keepBase bool) {
	b, known := p.base[n]
	r, live := p.remote[n]
	lost := !known || !sameAsBase(l, b) && r.Content.Revision != b.Content
	if live && lost && !l.Unsettled && !sameAsRemote(l, r) {
		for _, c := range copies[n] {
			if p.free(c) && sameAsRemote(l, p.remote[c]) && p.remote[c].Content.Device == p.in.Device {
				return c, false
			}
		}
	}
	if known || live || l.Type == tree.Other {
		return n, true
	}
	// A creation that replay gave to another node.
	if other, ok := p.in.Remote.Node(n); ok && other.ID != n && !other.Deleted {
		if p.free(other.ID) {
			return other.ID, false
		}
		// The disk has both: this one needs an id that is not spoken for.
		h := key.Sum(key.LabelNode, n[:], other.ID[:], p.in.Device[:])
		return id(h[:16]), false
	}
	here := place{l.Parent, l.Name}
	if m, ok := p.lostAt(here, l.Type); ok {
		return m, true
	}
	m, ok := p.names[here]
	if _, agreed := p.base[m]; ok && !agreed && p.free(m) && p.remote[m].Type == l.Type && !l.Unsettled &&
		sameAsRemote(l, p.remote[m]) {
		return m, false
	}
	return n, true
}

// free reports whether no local file is bound to n.
func (p *planner) free(n id) bool {
	_, bound := p.local[n]
	return !bound
}

// lostAt is the node that base had at a place and that is nowhere on disk now.
// One that the journal deleted does not count: what was put in its place after
// that is new, even if the bytes are not.
func (p *planner) lostAt(w place, t tree.Type) (id, bool) {
	if p.absentAt == nil {
		p.absentAt = map[place]id{}
		for n, b := range p.base {
			if p.free(n) {
				w := place{b.Parent, b.Name}
				if old, ok := p.absentAt[w]; !ok || n.Compare(old) < 0 {
					p.absentAt[w] = n
				}
			}
		}
	}
	n, ok := p.absentAt[w]
	_, live := p.remote[n]
	return n, ok && live && p.free(n) && p.base[n].Type == t
}

// adopt makes the base of a node that disk and journal both have, where they
// hold the same: what differs besides is the journal's to say.
func (p *planner) adopt(n id, l Local) {
	r, live := p.remote[n]
	if !live || l.Unsettled || !sameAsRemote(l, r) {
		return
	}
	p.agree(n, Base{
		Parent: l.Parent, Name: l.Name, Type: l.Type,
		Content: r.Content.Revision, Place: r.Place.Revision, Attr: r.Attr.Revision,
		Size: l.Size, SHA256: l.SHA256, Target: l.Target, Mode: l.Mode, MTime: l.MTime,
	})
}

func sameAsBase(l Local, b Base) bool {
	switch l.Type {
	case tree.File:
		return b.Type == tree.File && l.SHA256 == b.SHA256
	case tree.Link:
		return b.Type == tree.Link && l.Target == b.Target
	}
	return l.Type == b.Type
}

func sameAsRemote(l Local, r tree.Node) bool {
	switch l.Type {
	case tree.File:
		return r.Type == tree.File && l.SHA256 == r.SHA256
	case tree.Link:
		return r.Type == tree.Link && l.Target == r.Target
	}
	return l.Type == r.Type
}

// permissions are the bits of a mode that are compared: what lies above them
// no device takes from another.
const permissions = 0o777

// attrOf is what of mode and mtime is compared: links have neither, a folder's
// mtime follows its children.
func attrOf(t tree.Type, mode uint32, mtime int64) (uint32, int64) {
	switch t {
	case tree.Link:
		return 0, 0
	case tree.Dir:
		return mode & permissions, 0
	}
	return mode & permissions, mtime
}

// byDepth sorts nodes by a depth, then by id.
func byDepth(nodes []id, depth map[id]int) {
	slices.SortFunc(nodes, func(a, b id) int {
		return cmp.Or(cmp.Compare(depth[a], depth[b]), a.Compare(b))
	})
}

// sortedKeys lists the keys of a map by their bytes.
func sortedKeys[V any](m map[id]V) []id {
	out := make([]id, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, id.Compare)
	return out
}
