package past

import (
	"crypto/rand"
	"crypto/sha256"
	"path"
	"slices"

	"signet"
	"signet/core/tree"
)

// A space is the tree as it will be when the operations made so far are done.
// What nobody asks for is not copied: a restore of one file costs nothing in a
// region of a million.
type space struct {
	tree  *tree.Tree
	slots map[signet.NodeID]*slot // those looked at; nil: not there
	ops   []tree.Op
}

type slot struct {
	id     signet.NodeID
	parent signet.NodeID
	name   string
	typ    tree.Type
	kids   map[string]*slot // of equal names the first, a folder if there is one; nil: not looked at
	others []*slot          // that have a name which one of kids has
}

func newSpace(t *tree.Tree) *space {
	s := &space{tree: t, slots: map[signet.NodeID]*slot{}}
	s.slots[signet.RootNode] = &slot{typ: tree.Dir}
	return s
}

// slot is a node that will be there, or nil.
func (s *space) slot(id signet.NodeID) *slot {
	n, known := s.slots[id]
	if known {
		return n
	}
	if r := s.tree.Ref(s.tree.Adopter(id)); r.Live() {
		// Its folder knows it under its own id, if it was looked at.
		if n = s.slots[r.ID()]; n == nil {
			n = &slot{id: r.ID(), parent: r.Parent(), name: r.Name(), typ: r.Type()}
		}
		s.slots[r.ID()] = n
	}
	s.slots[id] = n
	return n
}

// in is a folder's children by name.
func (s *space) in(f *slot) map[string]*slot {
	if f.kids != nil {
		return f.kids
	}
	f.kids = map[string]*slot{}
	for _, c := range s.tree.Children(f.id) {
		// What the operations made or moved so far is where they say.
		if n := s.slot(c.ID); n != nil && n.parent == f.id {
			f.hang(n)
		}
	}
	return f.kids
}

// named are the children of a name.
func (s *space) named(f *slot, name string) (list []*slot) {
	if n := s.in(f)[name]; n != nil {
		list = append(list, n)
	}
	for _, o := range f.others {
		if o.name == name {
			list = append(list, o)
		}
	}
	return list
}

func (f *slot) hang(n *slot) {
	switch there := f.kids[n.name]; {
	case there == nil:
		f.kids[n.name] = n
	case n.typ == tree.Dir && there.typ != tree.Dir:
		f.kids[n.name] = n
		f.others = append(f.others, there)
	default:
		f.others = append(f.others, n)
	}
}

// put gives a node, new or moved, its place.
func (s *space) put(n, in *slot, name string) {
	s.in(in)
	n.parent, n.name = in.id, name
	s.slots[n.id] = n
	in.hang(n)
}

// take takes a node from its place.
func (s *space) take(n *slot) {
	in := s.slot(n.parent)
	if in == nil {
		return
	}
	if s.in(in)[n.name] != n {
		in.others = slices.DeleteFunc(in.others, func(o *slot) bool { return o == n })
		return
	}
	delete(in.kids, n.name)
	if i := slices.IndexFunc(in.others, func(o *slot) bool { return o.name == n.name }); i >= 0 {
		o := in.others[i]
		in.others = slices.Delete(in.others, i, i+1)
		in.hang(o)
	}
}

func (s *space) op(o tree.Op) {
	o.Restored = true
	s.ops = append(s.ops, o)
}

// folder is the folder of a path, made if there is none: was is it, if that
// was a deleted folder of that name.
func (s *space) folder(p string, was signet.NodeID) *slot {
	if p == "." || p == "" {
		return s.slot(signet.RootNode)
	}
	old, _ := s.tree.Node(was)
	in, name := s.folder(path.Dir(p), old.Parent), path.Base(p)
	if n := s.in(in)[name]; n != nil && n.typ == tree.Dir {
		return n
	}
	v := &Version{Type: tree.Dir, Mode: 0o755}
	if old.Type == tree.Dir && old.Name == name {
		v.Node, v.Mode = old.ID, old.Mode
	}
	return s.make(v, in, name)
}

func newNode() (id signet.NodeID) {
	rand.Read(id[:])
	return id
}

// heir is the node that lives, or can live, for one that is deleted: itself; or,
// where it cannot live again alone (all dead folders above the place that it
// last had would live with it), one of an id that follows from its own. So who
// restores twice, or two at once, makes one node.
func (s *space) heir(id signet.NodeID) signet.NodeID {
	first, found := id, false // that can live again
	for {
		n, known := s.tree.Node(id)
		dead := known && n.ID == id && n.Deleted && s.slot(id) == nil
		switch {
		case found && !known:
			return first
		case !dead:
			return id
		case !found && s.slot(n.Parent) != nil:
			first, found = id, true
		}
		h := sha256.Sum256(append([]byte("signet/restored\x00"), id[:]...))
		id = signet.NodeID(h[:16])
	}
}

// make lets a version's node live again, it alone, not what was deleted with
// it; or, where that cannot be, makes a new one.
func (s *space) make(v *Version, in *slot, name string) *slot {
	id := newNode()
	if v.Node != (signet.NodeID{}) {
		if h := s.heir(v.Node); s.slot(h) == nil {
			if n, known := s.tree.Node(h); !known || n.Type == v.Type {
				id = h
			}
		}
	}
	s.op(tree.Op{Kind: tree.Create, Node: id, Type: v.Type, Parent: in.id, Name: name, Size: v.Size, Hash: v.Hash, PlaintextID: v.PID,
		Content: v.Content, Target: v.Target, MTime: v.MTime, Mode: v.Mode})
	n := &slot{id: id, typ: v.Type}
	if v.Type == tree.Dir {
		n.kids = map[string]*slot{}
	}
	s.put(n, in, name)
	return n
}

// Bring makes the operations that bring versions, sorted by path, back over the
// tree as it is now, and says of which there is something to do. exact brings
// back places and modes too. What has another's path and is of its type gets its
// content; what is of another type stays, and the two have one name, as after a
// conflict.
func Bring(t *tree.Tree, vs []Version, exact bool) (ops []tree.Op, did []Version) {
	s := newSpace(t)
	for i := range vs {
		before := len(s.ops)
		s.bring(&vs[i], exact)
		if len(s.ops) > before {
			did = append(did, vs[i])
		}
	}
	return s.ops, did
}

// bring makes what brings one version back.
func (s *space) bring(v *Version, exact bool) {
	old, _ := s.tree.Node(v.Node)
	in, name := s.folder(path.Dir(v.Path), old.Parent), path.Base(v.Path)
	there, now := s.in(in)[name], s.slot(v.Node)
	if now != nil && now.parent == in.id && now.name == name { // not another one of that name
		there = now
	}
	if there == nil || there.typ != v.Type {
		if now == nil || !exact || s.inside(in, now) {
			s.make(v, in, name)
			return
		}
		s.move(now, in, name)
		there = now
	}
	s.fill(there, v, exact)
}

// fill gives a node a version's content, and, if exact, its attributes.
func (s *space) fill(there *slot, v *Version, exact bool) {
	n, ok := s.tree.Node(there.id)
	if !ok || n.Deleted { // made just now
		return
	}
	if v.Type != tree.Dir && (n.Hash != v.Hash || n.Target != v.Target || n.Size != v.Size) {
		s.op(tree.Op{Kind: tree.Edit, Node: n.ID, Type: v.Type, BaseContent: n.Content.Revision,
			Size: v.Size, Hash: v.Hash, PlaintextID: v.PID, Content: v.Content, Target: v.Target, MTime: v.MTime})
		n.MTime = v.MTime
	}
	if !exact || v.Type == tree.Link {
		return
	}
	attr := tree.Op{Kind: tree.Attr, Node: n.ID, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision}
	if n.Mode != v.Mode {
		attr.Mode, attr.HasMode = v.Mode, true
	}
	if v.Type == tree.File && n.MTime != v.MTime {
		attr.MTime, attr.HasMTime = v.MTime, true
	}
	if attr.HasMode || attr.HasMTime {
		s.op(attr)
	}
}

// inside reports whether a folder is a node or below it.
func (s *space) inside(f, n *slot) bool {
	for ; f.id != signet.RootNode; f = s.slot(f.parent) {
		if f == n {
			return true
		}
	}
	return false
}

// move gives a living node another place.
func (s *space) move(n, in *slot, name string) {
	was, ok := s.tree.Node(n.id)
	if !ok {
		return
	}
	s.op(tree.Op{Kind: tree.Move, Node: n.id, BasePlace: was.Place.Revision, Parent: in.id, Name: name})
	s.take(n)
	s.put(n, in, name)
}

// remove deletes a node that is there, which has nothing below it any more.
func (s *space) remove(n *slot) {
	was, ok := s.tree.Node(n.id)
	if !ok || was.Deleted {
		return
	}
	s.op(tree.Op{Kind: tree.Delete, Node: n.id, BaseContent: was.Content.Revision, BasePlace: was.Place.Revision, BaseAttr: was.Attr.Revision})
	s.take(n)
	s.slots[n.id] = nil
}
