// Package past is what a region was: read from its journal, told again. It makes
// the operations that bring it back.
//
// It promises that these name objects which the journal named before, so nothing
// is sent twice; that what they take away is in the history; and that undoing
// leaves alone what somebody else did afterwards. It reads no disk and asks no
// service, and commits nothing.
//
// What is kept, and until when: spec/kept.md. Decision: doc/design/0024.
package past

import (
	"path"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/tree"
)

// A Version is what a node was, and the path that it had: what a restore can
// bring back.
type Version struct {
	Node    signet.NodeID
	Rev     signet.RevisionID // that set the content
	Path    string
	Type    tree.Type
	Content []byte
	Size    int64
	Hash    [32]byte
	PID     [32]byte // keyed id of the plaintext
	Target  string
	MTime   int64
	Mode    uint32
}

func (v *Version) sameContent(o *Version) bool {
	return v.Type == o.Type && v.Size == o.Size && v.Hash == o.Hash && v.Target == o.Target
}

// A life is a node as the journal has it up to some entry.
type life struct {
	Version
	parent signet.NodeID
	name   string
	before *Version // the content before the present one
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

// Lives are a region's nodes after some entry of its journal, deleted ones too,
// made from what the journal's events tell: a tree itself keeps no old content
// and no old place.
type Lives struct{ nodes map[signet.NodeID]*life }

// Within reports whether a path is another or below it; all is below "".
func Within(p, top string) bool {
	return p == top || top == "" || strings.HasPrefix(p, top+"/")
}

// Take brings them one entry further: its events, and its operations.
func (h *Lives) Take(events []tree.Event, b *tree.Batch) {
	if len(events) == 0 {
		return
	}
	if h.nodes == nil {
		h.nodes = map[signet.NodeID]*life{}
	}
	ops := make(map[signet.RevisionID]*tree.Op, len(b.Items))
	for i := range b.Items {
		ops[b.Items[i].Revision] = &b.Items[i].Op
	}
	entry := make([]happening, len(events))
	for i, e := range events {
		entry[i] = happening{e, ops[e.Revision]}
	}
	h.take(entry)
}

func (h *Lives) take(entry []happening) {
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
func (h *Lives) born(e *happening) *life {
	l := &life{Version: Version{Node: e.Node, Type: e.Type, Mode: 0o644}, name: path.Base(e.Path)}
	if e.op != nil && e.op.Kind == tree.Edit {
		if of := h.nodes[e.op.Node]; of != nil {
			l.parent = of.parent
			if of.Type == e.Type {
				l.Mode = of.Mode
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
		old := l.Version
		l.Rev, l.Content, l.Size, l.Hash, l.PID, l.Target, l.MTime = e.Revision, op.Content, op.Size, op.Hash, op.PlaintextID, op.Target, op.MTime
		if old.Rev != (signet.RevisionID{}) && !old.sameContent(&l.Version) {
			l.before = &old
		}
	case tree.Attr:
		if op.HasMTime {
			l.MTime = op.MTime
		}
		if op.HasMode {
			l.Mode = op.Mode
		}
	}
	if op.Kind == tree.Create {
		l.Mode = op.Mode
	}
	if op.Kind == tree.Create || op.Kind == tree.Move {
		l.parent, l.name = op.Parent, path.Base(e.Path)
	}
}

// path is where a node is, or last was.
func (h *Lives) path(l *life) string {
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
func (h *Lives) placeAt(l *life, p string) {
	l.parent, l.name = signet.RootNode, p // where nothing better is known
	dir := path.Dir(p)
	if dir == "." {
		return
	}
	for id, f := range h.nodes {
		if f != l && f.Type == tree.Dir && h.path(f) == dir {
			l.parent, l.name = id, path.Base(p)
			return
		}
	}
}

func byPath(a, b Version) int {
	if c := strings.Compare(a.Path, b.Path); c != 0 {
		return c
	}
	return a.Node.Compare(b.Node)
}

// distinct sorts versions by path, and gives each a path of its own.
func distinct(all []Version) []Version {
	slices.SortFunc(all, byPath)
	taken := map[string]tree.Type{}
	list := all[:0]
	for _, v := range all {
		t, twice := taken[v.Path]
		if twice && t == tree.Dir && v.Type == tree.Dir {
			continue // two folders of one name are one
		}
		if twice {
			v.Path = Aside(v.Path, 0, v.Node)
		}
		taken[v.Path] = v.Type
		list = append(list, v)
	}
	return list
}

// Aside is the path beside a taken one, as conflict copies have it.
func Aside(p string, ms int64, node signet.NodeID) string {
	return path.Join(path.Dir(p), tree.ConflictName(path.Base(p), ms, "", node))
}

// at finds the living node of a path; nil if there is none.
func (h *Lives) at(p string) (found *life) {
	for _, l := range h.nodes {
		if l.gone == nil && h.path(l) == p && (found == nil || l.Node.Compare(found.Node) < 0) {
			found = l
		}
	}
	return found
}

// oneDeletion is how long the deletion of a folder may take: what the same
// device deleted in it so long before the folder itself went with it. It is
// the time over which the guard adds up deletions.
const oneDeletion = 10 * time.Minute

// Version is what a node is now, with the path that it has or last had.
func (h *Lives) Version(id signet.NodeID) (v Version, ok bool) {
	l := h.nodes[id]
	if l == nil {
		return v, false
	}
	v = l.Version
	v.Path = h.path(l)
	return v, true
}

// Last is what a restore without a time means: of a file that is there the
// content before its present one; of a folder that is there the newest of each
// path in it that was deleted and is not there, less the conflict copies that
// somebody was done with; of what was deleted, what went with its last deletion.
func (h *Lives) Last(top string) []Version {
	l := h.at(top)
	switch {
	case top == "" || l != nil && l.Type == tree.Dir:
		return h.deleted(top, h.path, func(d *life) bool { return !h.settled(d) })
	case l != nil:
		if l.before != nil {
			v := *l.before
			v.Path, v.Mode = top, l.Mode
			return []Version{v}
		}
		// Made anew under its name: the one before had another identity.
		old := h.newest(top, h.path)
		if old == nil || old.Type != l.Type || old.sameContent(&l.Version) {
			return nil
		}
		v := old.Version
		v.Path, v.Mode = top, l.Mode
		return []Version{v}
	}
	// Deleted: by where it would be today, else by where it was.
	for _, where := range []func(*life) string{h.path, func(l *life) string { return l.was }} {
		if d := h.newest(top, where); d != nil {
			return h.deleted(top, where, func(o *life) bool { return o == d || d.Type == tree.Dir && o.gone.with(d.gone) })
		}
	}
	return nil
}

// settled reports whether what was deleted is a conflict copy, and did not only
// go with its folder.
func (h *Lives) settled(l *life) bool {
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
func (h *Lives) newest(p string, where func(*life) string) (d *life) {
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
	return l.Node.Compare(o.Node) > 0
}

// deleted lists, of what was deleted at and below a path and fits, the newest
// of each path that nothing has now.
func (h *Lives) deleted(top string, where func(*life) string, fits func(*life) bool) []Version {
	there := map[string]bool{}
	newest := map[string]*life{}
	for _, l := range h.nodes {
		switch p := where(l); {
		case l.gone == nil:
			there[h.path(l)] = true
		case Within(p, top) && fits(l):
			if o := newest[p]; o == nil || l.later(o) {
				newest[p] = l
			}
		}
	}
	var list []Version
	for p, l := range newest {
		above := newest[path.Dir(p)] // what comes back there
		if there[p] || above != nil && above.Type != tree.Dir {
			continue
		}
		v := l.Version
		v.Path = p
		list = append(list, v)
	}
	slices.SortFunc(list, byPath)
	return list
}
