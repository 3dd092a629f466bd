package owner

import (
	"path"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/tree"
)

// A version is what a node was, and the path that it had: what a restore can
// bring back.
type version struct {
	node    signet.NodeID
	rev     signet.RevisionID // that set the content
	path    string
	typ     tree.Type
	content []byte
	size    int64
	sha     [32]byte
	pid     [32]byte
	target  string
	mtime   int64
	mode    uint32
}

func (v *version) sameContent(o *version) bool {
	return v.typ == o.typ && v.size == o.size && v.sha == o.sha && v.target == o.target
}

// A life is a node as the journal has it up to some entry.
type life struct {
	version
	parent signet.NodeID
	name   string
	before *version // the content before the present one
	gone   *end     // nil while it lives
	was    string   // the path that the node's last event told
}

// An end is the deletion of a node.
type end struct {
	position uint64
	time     int64 // ms
	device   signet.DeviceID
}

// A happening is an event and the operation behind it.
type happening struct {
	tree.Event
	op *tree.Op
}

// A past is a region's tree after some entry of its journal, tombstones too,
// made from what the journal's events tell: a tree itself keeps no old content
// and no old place.
type past struct{ nodes map[signet.NodeID]*life }

// within reports whether a path is another or below it; all is below "".
func within(p, top string) bool {
	return p == top || top == "" || strings.HasPrefix(p, top+"/")
}

// take brings the past one entry further.
func (h *past) take(entry []happening) {
	for i := range entry {
		e := &entry[i]
		if e.Node == signet.RootNode {
			continue
		}
		// Of one operation's events the last is about the node that it was for;
		// the others tell what lives or went with it.
		own := e.op != nil && (i+1 == len(entry) || entry[i+1].Revision != e.Revision)
		l := h.nodes[e.Node]
		if l == nil {
			l = h.born(e)
		}
		if own {
			l.put(e)
		}
		l.was, l.gone = e.Path, nil
		if e.Kind == "delete" {
			l.gone = &end{e.Position, e.Time, e.Device}
		}
	}
	// An operation says which place was asked for. Where replay gave another
	// (lost+found, a folder that was adopted), the event's path tells.
	odd := slices.DeleteFunc(slices.Clone(entry), func(e happening) bool { return e.Node == signet.RootNode || h.path(h.nodes[e.Node]) == e.Path })
	slices.SortStableFunc(odd, func(a, b happening) int { return strings.Count(a.Path, "/") - strings.Count(b.Path, "/") })
	for _, e := range odd {
		h.placeAt(h.nodes[e.Node], e.Path)
	}
}

// born notes a node that was not there. A conflict copy is made beside the
// node whose edit it holds, with its mode.
func (h *past) born(e *happening) *life {
	l := &life{version: version{node: e.Node, typ: e.Type, mode: 0o644}, name: path.Base(e.Path)}
	if e.op != nil && e.op.Kind == tree.Edit {
		if of := h.nodes[e.op.Node]; of != nil {
			l.parent = of.parent
			if of.typ == e.Type {
				l.mode = of.mode
			}
		}
	}
	h.nodes[e.Node] = l
	return l
}

// put takes from an operation what it set.
func (l *life) put(e *happening) {
	op := e.op
	switch op.Kind {
	case tree.Create, tree.Edit:
		old := l.version
		l.rev, l.content, l.size, l.sha, l.pid, l.target, l.mtime = e.Revision, op.Content, op.Size, op.Hash, op.PlaintextID, op.Target, op.MTime
		if old.rev != (signet.RevisionID{}) && !old.sameContent(&l.version) {
			l.before = &old
		}
	case tree.Attr:
		if op.HasMTime {
			l.mtime = op.MTime
		}
		if op.HasMode {
			l.mode = op.Mode
		}
	}
	if op.Kind == tree.Create {
		l.mode = op.Mode
	}
	if op.Kind == tree.Create || op.Kind == tree.Move {
		l.parent, l.name = op.Parent, path.Base(e.Path)
	}
}

// path is where a node is, or last was.
func (h *past) path(l *life) string {
	names := []string{l.name}
	for range len(h.nodes) { // no folder is in itself; a past that errs must end too
		if l = h.nodes[l.parent]; l == nil {
			break
		}
		names = append(names, l.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// placeAt gives a node a path that its operation did not say.
func (h *past) placeAt(l *life, p string) {
	l.parent, l.name = signet.RootNode, p // where nothing better is known
	dir := path.Dir(p)
	if dir == "." {
		return
	}
	for id, f := range h.nodes {
		if f != l && f.typ == tree.Dir && h.path(f) == dir {
			l.parent, l.name = id, path.Base(p)
			return
		}
	}
}

// live lists what lives, by path. Of siblings with equal names all but one get
// the name that they have on a disk, so that each path is one node.
func (h *past) live() []version {
	var all []version
	for _, l := range h.nodes {
		if l.gone == nil {
			v := l.version
			v.path = h.path(l)
			all = append(all, v)
		}
	}
	slices.SortFunc(all, byPath)
	taken := map[string]tree.Type{}
	list := all[:0]
	for _, v := range all {
		t, twice := taken[v.path]
		if twice && t == tree.Dir && v.typ == tree.Dir {
			continue // two folders of one name are one
		}
		if twice {
			v.path = aside(v.path, 0, v.node)
		}
		taken[v.path] = v.typ
		list = append(list, v)
	}
	return list
}

func byPath(a, b version) int {
	if c := strings.Compare(a.path, b.path); c != 0 {
		return c
	}
	return a.node.Compare(b.node)
}

// aside is the path beside a taken one, as conflict copies have it.
func aside(p string, ms int64, node signet.NodeID) string {
	return path.Join(path.Dir(p), tree.ConflictName(path.Base(p), ms, "", node))
}

// at finds the living node of a path; nil if there is none.
func (h *past) at(p string) (found *life) {
	for _, l := range h.nodes {
		if l.gone == nil && h.path(l) == p && (found == nil || l.node.Compare(found.node) < 0) {
			found = l
		}
	}
	return found
}

// oneDeletion is how long the deletion of a folder may take: what the same
// device deleted in it so long before the folder itself went with it. It is
// the time over which the guard adds up deletions.
const oneDeletion = 10 * time.Minute

// last is what a restore without a time means: of a file that is there the
// content before its present one; of a folder that is there the newest of each
// path in it that was deleted and is not there, less the conflict copies that
// somebody was done with; of what was deleted, what went with its last deletion.
func (h *past) last(top string) []version {
	l := h.at(top)
	switch {
	case top == "" || l != nil && l.typ == tree.Dir:
		return h.deleted(top, h.path, func(d *life) bool { return !h.settled(d) })
	case l != nil:
		if l.before != nil {
			v := *l.before
			v.path, v.mode = top, l.mode
			return []version{v}
		}
		// Made anew under its name: the one before had another identity.
		old := h.newest(top, h.path)
		if old == nil || old.typ != l.typ || old.sameContent(&l.version) {
			return nil
		}
		v := old.version
		v.path, v.mode = top, l.mode
		return []version{v}
	}
	// Deleted: by where it would be today, else by where it was.
	for _, where := range []func(*life) string{h.path, func(l *life) string { return l.was }} {
		if d := h.newest(top, where); d != nil {
			return h.deleted(top, where, func(o *life) bool { return o == d || d.typ == tree.Dir && o.gone.with(d.gone) })
		}
	}
	return nil
}

// settled reports whether what was deleted is a conflict copy, and did not only
// go with its folder.
func (h *past) settled(l *life) bool {
	if !isConflictName(l.name) {
		return false
	}
	in := h.nodes[l.parent]
	return in == nil || in.gone == nil || !l.gone.with(in.gone)
}

// isConflictName reports whether a name is one that tree.ConflictName gives:
// such a one, and no other, does not grow when it conflicts again.
func isConflictName(name string) bool {
	return strings.Contains(name, " (conflict ") && len(tree.ConflictName(name, 0, "", signet.NodeID{})) <= len(name)
}

// with reports whether a deletion was part of another, or led up to it.
func (e *end) with(of *end) bool {
	return e.position == of.position ||
		e.position < of.position && e.device == of.device && of.time-e.time <= oneDeletion.Milliseconds()
}

// newest is what was deleted last at a path.
func (h *past) newest(p string, where func(*life) string) (d *life) {
	for _, l := range h.nodes {
		if l.gone != nil && where(l) == p && (d == nil || l.later(d)) {
			d = l
		}
	}
	return d
}

// later orders the deletions of one path.
func (l *life) later(o *life) bool {
	if l.gone.position != o.gone.position {
		return l.gone.position > o.gone.position
	}
	return l.node.Compare(o.node) > 0
}

// deleted lists, of what was deleted at and below a path and fits, the newest
// of each path that nothing has now.
func (h *past) deleted(top string, where func(*life) string, fits func(*life) bool) []version {
	there := map[string]bool{}
	newest := map[string]*life{}
	for _, l := range h.nodes {
		switch p := where(l); {
		case l.gone == nil:
			there[h.path(l)] = true
		case within(p, top) && fits(l):
			if o := newest[p]; o == nil || l.later(o) {
				newest[p] = l
			}
		}
	}
	var list []version
	for p, l := range newest {
		above := newest[path.Dir(p)] // what comes back there
		if there[p] || above != nil && above.typ != tree.Dir {
			continue
		}
		v := l.version
		v.path = p
		list = append(list, v)
	}
	slices.SortFunc(list, byPath)
	return list
}

// asOf is what of a list, all that lived at a time, a path means: what had it
// then, and all below. If nothing had it, it is what has it now that is meant,
// wherever that was then; it keeps its path.
func (h *past) asOf(then []version, top string) []version {
	pick := func(from string) (list []version) {
		for _, v := range then {
			if within(v.path, from) {
				if from != top {
					v.path = top + strings.TrimPrefix(v.path, from)
				}
				list = append(list, v)
			}
		}
		return list
	}
	if list := pick(top); len(list) > 0 || top == "" {
		return list
	}
	for _, l := range []*life{h.at(top), h.newest(top, h.path)} {
		if l == nil {
			continue
		}
		if i := slices.IndexFunc(then, func(v version) bool { return v.node == l.node }); i >= 0 {
			return pick(then[i].path)
		}
	}
	return nil
}
