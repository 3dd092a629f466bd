package past

import (
	"path"

	"signet"
	"signet/core/tree"
)

// A Then is a region as it was, of which one folder is to be so again.
type Then struct {
	tree *tree.Tree
	top  tree.Node // the folder
	path string    // where it is to be
	was  string    // where it was
}

// FolderThen finds the folder that a path means in a tree that nobody changes any
// more: what had the path then, else what has it in the tree as it is now,
// wherever it was then; that keeps its path. ok is false if it is no folder.
func FolderThen(then, now *tree.Tree, p string) (f Then, ok bool) {
	n, ok := then.Lookup(p)
	if !ok {
		if n, ok = now.Lookup(p); ok {
			n, ok = then.Node(n.ID)
		}
	}
	if !ok || n.Deleted || n.Type != tree.Dir {
		return Then{}, false
	}
	return Then{tree: then, top: n, path: p, was: then.Path(n.ID)}, true
}

// FileThen is what a file or link was that a path means, in the same way; it
// has that path.
func FileThen(then, now *tree.Tree, p string) (v Version, ok bool) {
	n, ok := then.Lookup(p)
	if !ok {
		if n, ok = now.Lookup(p); ok {
			n, ok = then.Node(n.ID)
		}
	}
	if !ok || n.Deleted || n.Type == tree.Dir {
		return Version{}, false
	}
	return Of(n, p), true
}

// each calls f with all that was in the folder, itself first unless it is the
// root; of equal names each.
func (h *Then) each(f func(p string, n tree.Node)) {
	if h.top.ID != signet.RootNode {
		f(h.path, h.top)
	}
	type item struct {
		path string
		id   signet.NodeID
	}
	for stack := []item{{h.path, h.top.ID}}; len(stack) > 0; {
		it := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, k := range h.tree.Children(it.id) {
			p := path.Join(it.path, k.Name)
			f(p, k)
			if k.Type == tree.Dir {
				stack = append(stack, item{p, k.ID})
			}
		}
	}
}

// Versions lists what was in the folder, by path. Of siblings with equal names
// all but one get the name that they have on a disk, so that each path is one
// node.
func (h *Then) Versions() []Version {
	var all []Version
	h.each(func(p string, n tree.Node) { all = append(all, Of(n, p)) })
	return distinct(all)
}

// Wants says what it takes that the folder is again what it was: what is in it
// now and was nowhere then is to go. What was elsewhere then stays, and is left.
func (h *Then) Wants(now *tree.Tree) (wants []Want, left []Left) {
	in := map[signet.NodeID]bool{}
	h.each(func(p string, n tree.Node) {
		in[n.ID] = true
		wants = append(wants, Want{Node: n, Path: p, Here: n.ID == h.top.ID})
	})
	seen := map[signet.NodeID]bool{}
	var look func(r tree.Ref)
	look = func(r tree.Ref) {
		if seen[r.ID()] {
			return
		}
		seen[r.ID()] = true
		was := h.tree.Ref(r.ID())
		switch {
		case in[r.ID()] || r.ID() == signet.RootNode:
		case !was.Live():
			n := r.Node()
			n.Deleted = true
			wants = append(wants, Want{Node: n, Path: now.Path(n.ID)})
		default:
			place := r.Place()
			left = append(left, Left{Path: now.Path(r.ID()), Device: place.Device, Time: place.Time, Why: LeftMoved})
			return // with what is in it
		}
		for k := range r.Kids() {
			look(k)
		}
	}
	tops := []signet.NodeID{h.top.ID}
	if n, ok := now.Lookup(h.path); ok && n.Type == tree.Dir {
		tops = append(tops, n.ID)
	}
	for _, top := range tops {
		if r := now.Ref(top); r.Live() {
			look(r)
		}
	}
	return wants, left
}
