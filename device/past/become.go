package past

import (
	"path"
	"slices"
	"strings"

	"signet"
	"signet/core/tree"
)

// A Want says what a node is to be: like Node; not there, if that is Deleted.
type Want struct {
	Node tree.Node
	Path string // where that was, for people
	// Here: its place is Path, whatever has become of the folder that it was in.
	Here bool
}

// A Left is a node that was left as it is.
type Left struct {
	Path   string
	Device signet.DeviceID // who changed it, if somebody did
	Time   int64           // when, ms since 1970
	Why    string          // "changed", "deleted", "moved_here", "not_empty", "in_itself"
}

// Why a node was left.
const (
	LeftChanged  = "changed"    // by somebody else, afterwards
	LeftDeleted  = "deleted"    // the same
	LeftMoved    = "moved_here" // it was elsewhere then
	LeftNotEmpty = "not_empty"  // a folder that would go holds what stays
	LeftInside   = "in_itself"  // a folder whose place is below itself now
)

// Deeds are the operations that make nodes what they are to be, in order, and
// what they do to what.
type Deeds struct {
	Ops   []tree.Op
	Back  []Version // live again, or have another content, place or mode
	Moved int       // of Back: got another place
	Gone  []Version // are deleted
	Left  []Left
}

// become is Become at work.
type become struct {
	*space
	wants  map[signet.NodeID]*Want
	doomed map[signet.NodeID]*Want // that are to go, and are there yet
	is     map[signet.NodeID]*slot // of wants that are settled
	out    *Deeds
}

// Become makes the operations that turn the tree as it is now into what is
// wanted. Only nodes that are wanted change, and what is in the way gives way
// if it is to go; else what comes gets a name beside it.
//
// Order: folders before what is in them; a file that is to go just before what
// takes its name, all else last, what is in a folder before the folder. A crash
// between two entries leaves some done; the same wants again make the rest.
func Become(t *tree.Tree, wants []Want) Deeds {
	b := &become{space: newSpace(t), wants: map[signet.NodeID]*Want{}, doomed: map[signet.NodeID]*Want{}, is: map[signet.NodeID]*slot{}, out: &Deeds{}}
	wants = slices.Clone(wants)
	slices.SortFunc(wants, func(a, b Want) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Node.ID.Compare(b.Node.ID)
	})
	for i := range wants {
		w := &wants[i]
		if w.Node.Deleted {
			if b.slot(w.Node.ID) != nil {
				b.doomed[w.Node.ID] = w
			}
			continue
		}
		b.wants[w.Node.ID] = w
	}
	for id := range b.wants {
		delete(b.doomed, b.heir(id)) // of an earlier restore
	}
	for i := range wants {
		if !wants[i].Node.Deleted {
			b.settle(&wants[i])
		}
	}
	b.clear()
	b.out.Ops = b.ops
	return *b.out
}

func (w *Want) version() *Version {
	v := Of(w.Node, w.Path)
	return &v
}

// Of is what a node of a tree is, with its path there.
func Of(n tree.Node, p string) Version {
	return Version{Node: n.ID, Rev: n.Content.Revision, Path: p, Type: n.Type, Content: n.Data, Size: n.Size, Hash: n.Hash, PID: n.PlaintextID,
		Target: n.Target, MTime: n.MTime, Mode: n.Mode}
}

// home is the folder that a node is to be in.
func (b *become) home(w *Want) *slot {
	dir := path.Dir(w.Path)
	if w.Here {
		return b.folder(dir, w.Node.Parent)
	}
	if up := b.wants[w.Node.Parent]; up != nil {
		return b.settle(up)
	}
	if in := b.slot(w.Node.Parent); in != nil && in.typ == tree.Dir && b.doomed[in.id] == nil {
		return in
	}
	return b.folder(dir, w.Node.Parent)
}

// settle makes a node what it is to be, and says which node that is now.
func (b *become) settle(w *Want) *slot {
	if n, ok := b.is[w.Node.ID]; ok {
		return n
	}
	// Whatever is wrong with the wants, it ends: a folder that is below itself
	// there finds itself in the root.
	b.is[w.Node.ID] = b.slot(signet.RootNode)
	n := b.settleOne(w)
	b.is[w.Node.ID] = n
	return n
}

func (b *become) settleOne(w *Want) *slot {
	v := w.version()
	name := w.Node.Name
	if w.Here {
		name = path.Base(w.Path)
	}
	in := b.home(w)
	before, moved := len(b.ops), false
	n := b.slot(b.heir(w.Node.ID))
	if n != nil && n.typ != w.Node.Type {
		n = nil // an id that a creation was adopted under
	}
	if n == nil {
		for _, o := range b.named(in, name) {
			if !b.serves(o, v) {
				continue
			}
			if b.doomed[o.id] == nil {
				return o // as it is
			}
			delete(b.doomed, o.id)
			n = o
			break
		}
	}
	switch {
	case n == nil:
		n = b.make(v, in, b.free(in, name, w, nil))
	case n.parent != in.id || n.name != name:
		if b.inside(in, n) {
			b.out.Left = append(b.out.Left, Left{Path: b.tree.Path(n.id), Why: LeftInside})
			break
		}
		if to := b.free(in, name, w, n); n.parent != in.id || n.name != to {
			b.move(n, in, to)
			moved = true
		}
	}
	b.fill(n, v, true)
	if len(b.ops) > before {
		b.out.Back = append(b.out.Back, *v)
		if moved {
			b.out.Moved++
		}
	}
	return n
}

// serves reports whether what has a name now can stand for a node that is not
// there: it is to go (one edit instead of two), has the same bytes (somebody
// restored it before, perhaps), or both are folders, which no disk can have
// twice.
func (b *become) serves(o *slot, v *Version) bool {
	if o.typ != v.Type || b.wants[o.id] != nil {
		return false
	}
	if b.doomed[o.id] != nil || o.typ == tree.Dir {
		return true
	}
	n, ok := b.tree.Node(o.id)
	is := Of(n, "")
	return ok && !n.Deleted && is.sameContent(v)
}

// free makes room for a name in a folder: a file that is to go, goes. What has a
// place elsewhere, and folders that are to go, do so later: for a moment two have
// one name. If something else than n stays there, the name is another.
func (b *become) free(in *slot, name string, w *Want, n *slot) string {
	for {
		there := b.in(in)[name]
		switch {
		case there == nil || there == n || b.wants[there.id] != nil:
			return name
		case b.doomed[there.id] != nil && there.typ != tree.Dir:
			b.drop(there)
		case b.doomed[there.id] != nil:
			return name
		default:
			return path.Base(Aside(name, w.Node.Place.Time, w.Node.ID))
		}
	}
}

// drop deletes a node that is to go.
func (b *become) drop(n *slot) {
	was, _ := b.tree.Node(n.id)
	b.out.Gone = append(b.out.Gone, Of(was, b.tree.Path(n.id)))
	delete(b.doomed, n.id)
	b.remove(n)
}

// clear deletes what is to go and is there yet: by path from behind, so what is
// in a folder goes before it.
func (b *become) clear() {
	paths := map[signet.NodeID]string{}
	var list []*slot
	for id := range b.doomed {
		n := b.slot(id)
		paths[n.id] = b.tree.Path(n.id)
		list = append(list, n)
	}
	slices.SortFunc(list, func(x, y *slot) int {
		if c := strings.Compare(paths[y.id], paths[x.id]); c != 0 {
			return c
		}
		return x.id.Compare(y.id)
	})
	for _, n := range list {
		if n.typ == tree.Dir && (len(b.in(n)) > 0) {
			b.out.Left = append(b.out.Left, Left{Path: paths[n.id], Why: LeftNotEmpty})
			continue
		}
		b.drop(n)
	}
}
