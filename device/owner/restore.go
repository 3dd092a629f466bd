package owner

import (
	"context"
	"crypto/rand"
	"os"
	"path"
	"path/filepath"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/cli/control"
)

// RestoreParams are those of the command restore.
type RestoreParams struct {
	Path     string    `json:"path"`
	At       time.Time `json:"at"`
	Revision string    `json:"revision"`
	To       string    `json:"to"` // a folder, absolute
	DryRun   bool      `json:"dry_run"`
}

// exact reports whether place and mode come back too, not the content alone.
func (p RestoreParams) exact() bool { return !p.At.IsZero() }

// Restored says what restore did.
type Restored struct {
	Files   int      `json:"files"`
	Bytes   int64    `json:"bytes"`
	Back    int      `json:"held_deletions_undone"`
	To      string   `json:"to,omitempty"`
	DryRun  bool     `json:"dry_run"`
	Paths   []string `json:"paths"`
	Daemon  bool     `json:"daemon"`
	RegionN string   `json:"region"`
}

func (r *Restored) tell(vs []version) {
	r.Files, r.Bytes, r.Paths = 0, 0, []string{}
	for _, v := range vs {
		if v.typ != tree.Dir {
			r.Files++
			r.Bytes += v.size
		}
		text, _ := control.Name(v.path)
		r.Paths = append(r.Paths, text)
	}
}

// restore brings back a file or a folder: as it was at a time, at a revision,
// or, without either, as past.last says. Restores are ordinary operations that
// name objects the service has: nothing is sent again. What is there and was
// not then stays.
func (w *Work) restore(ctx context.Context, p RestoreParams, ui control.UI) (any, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	s, err := w.at(p.Path)
	if err != nil {
		return nil, err
	}
	vs, err := w.versions(s, p)
	if err != nil {
		return nil, err
	}
	out := Restored{To: p.To, DryRun: p.DryRun, Daemon: w.Running, RegionN: s.name}
	if p.To != "" {
		out.tell(vs)
		if len(vs) == 0 {
			return nil, failed("not_found", "signet history shows what there is", "%s: nothing to restore", s)
		}
		if p.DryRun {
			return out, nil
		}
		return out, w.restoreTo(ctx, s, vs, p.To)
	}
	var did []version
	err = w.Engine.WithRegion(s.region, func(r *region.Region) error {
		_, did = restoreOps(r.Tree, vs, p.exact())
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.tell(did)
	if p.DryRun {
		if len(did) == 0 {
			return nil, w.asItWas(s)
		}
		return out, nil
	}
	out.Back, err = w.bringBack(ctx, s)
	if err != nil {
		return nil, err
	}
	if out.Back > 0 && p.At.IsZero() && p.Revision == "" {
		// It was about the deletions that are held, not about older ones.
		out.tell(nil)
		return out, nil
	}
	if len(did) == 0 && out.Back == 0 {
		return nil, w.asItWas(s)
	}
	err = w.Engine.Put(ctx, s.region, func(t *tree.Tree) ([]tree.Op, error) {
		ops, did := restoreOps(t, vs, p.exact())
		out.tell(did)
		return ops, nil
	})
	return out, err
}

func (w *Work) asItWas(s spot) error {
	return failed("not_found", "signet history shows what there is to restore", "%s: nothing to restore: it is as it was", s)
}

// versions finds what a restore means.
func (w *Work) versions(s spot, p RestoreParams) ([]version, error) {
	h := &past{nodes: map[signet.NodeID]*life{}}
	var then []version // all that lived at the time asked for
	passed := false
	var asked *version
	var entry []happening
	next := func() {
		if len(entry) == 0 {
			return
		}
		if p.exact() && !passed && entry[0].Time > p.At.UnixMilli() {
			then, passed = h.live(), true
		}
		h.take(entry)
		for _, e := range entry {
			if l := h.nodes[e.Node]; p.Revision != "" && l != nil && e.Revision.String() == p.Revision {
				v := l.version
				asked = &v
				if asked.path = e.Path; p.To == "" { // the file that it is a revision of, wherever that is now
					asked.path = ""
				}
			}
		}
		entry = entry[:0]
	}
	err := w.Engine.Events(s.region, func(e tree.Event, op *tree.Op) error {
		if len(entry) > 0 && entry[0].Position != e.Position {
			next()
		}
		entry = append(entry, happening{e, op})
		return nil
	})
	if err != nil {
		return nil, err
	}
	next()
	switch {
	case p.Revision != "" && asked == nil:
		return nil, failed("not_found", "signet history --json shows the revisions", "no revision %s in region %s", p.Revision, s.name)
	case p.Revision != "":
		if asked.path == "" {
			asked.path = h.path(h.nodes[asked.node])
		}
		return []version{*asked}, nil
	case !p.exact():
		return h.last(s.path), nil
	case !passed:
		then = h.live()
	}
	return h.asOf(then, s.path), nil
}

// A namespace is the tree as it will be when the operations made so far are
// done.
type namespace struct {
	tree  *tree.Tree
	slots map[signet.NodeID]*slot
	ops   []tree.Op
}

type slot struct {
	id     signet.NodeID
	parent signet.NodeID
	name   string
	typ    tree.Type
	kids   map[string]*slot // of equal names the first
}

// restoreOps makes the operations that bring versions, sorted by path, back
// over the tree as it is now, and says of which there is something to do. exact
// brings back places and modes too. What has another's path and is of its type
// gets its content; what is of another type stays, and the two have one name,
// as after a conflict.
func restoreOps(t *tree.Tree, vs []version, exact bool) (ops []tree.Op, did []version) {
	s := &namespace{tree: t, slots: map[signet.NodeID]*slot{signet.RootNode: {typ: tree.Dir, kids: map[string]*slot{}}}}
	for _, n := range t.Walk() {
		s.put(&slot{id: n.ID, parent: n.Parent, name: n.Name, typ: n.Type})
	}
	for i := range vs {
		before := len(s.ops)
		s.bring(&vs[i], exact)
		if len(s.ops) > before {
			did = append(did, vs[i])
		}
	}
	return s.ops, did
}

func (s *namespace) put(n *slot) {
	if n.kids == nil && n.typ == tree.Dir {
		n.kids = map[string]*slot{}
	}
	s.slots[n.id] = n
	if kids := s.slots[n.parent].kids; kids[n.name] == nil || n.typ == tree.Dir && kids[n.name].typ != tree.Dir {
		kids[n.name] = n
	}
}

func (s *namespace) op(o tree.Op) {
	o.Restored = true
	s.ops = append(s.ops, o)
}

// folder is the folder of a path, made if there is none: was is it, if that
// was a deleted folder of that name.
func (s *namespace) folder(p string, was signet.NodeID) *slot {
	if p == "." || p == "" {
		return s.slots[signet.RootNode]
	}
	old, _ := s.tree.Node(was)
	in, name := s.folder(path.Dir(p), old.Parent), path.Base(p)
	if n := in.kids[name]; n != nil && n.typ == tree.Dir {
		return n
	}
	v := &version{typ: tree.Dir, mode: 0o755}
	if old.Type == tree.Dir && old.Name == name {
		v.node, v.mode = old.ID, old.Mode
	}
	return s.make(v, in, name)
}

func newNode() (id signet.NodeID) {
	rand.Read(id[:])
	return id
}

// revivable reports whether a version's node can live again and nothing with
// it: all dead folders above the place that it last had would.
func (s *namespace) revivable(v *version) bool {
	n, ok := s.tree.Node(v.node)
	return ok && n.ID == v.node && n.Type == v.typ && n.Deleted && s.slots[n.ID] == nil && s.slots[n.Parent] != nil
}

// make lets a version's node live again, it alone, not what was deleted with
// it; or, where that cannot be, makes a new one.
func (s *namespace) make(v *version, in *slot, name string) *slot {
	id := v.node
	if !s.revivable(v) {
		id = newNode()
	}
	s.op(tree.Op{Kind: tree.Create, Node: id, Type: v.typ, Parent: in.id, Name: name, Size: v.size, Hash: v.sha, PlaintextID: v.pid,
		Content: v.content, Target: v.target, MTime: v.mtime, Mode: v.mode})
	n := &slot{id: id, parent: in.id, name: name, typ: v.typ}
	s.put(n)
	return n
}

// bring makes what brings one version back.
func (s *namespace) bring(v *version, exact bool) {
	old, _ := s.tree.Node(v.node)
	in, name := s.folder(path.Dir(v.path), old.Parent), path.Base(v.path)
	there, now := in.kids[name], s.slots[v.node]
	if now != nil && now.parent == in.id && now.name == name { // not another one of that name
		there = now
	}
	if there == nil || there.typ != v.typ {
		if now == nil || !exact || s.inside(in, now) {
			s.make(v, in, name)
			return
		}
		s.move(now, in, name)
		there = now
	}
	n, ok := s.tree.Node(there.id)
	if !ok || n.Deleted { // made just now
		return
	}
	if v.typ != tree.Dir && (n.Hash != v.sha || n.Target != v.target || n.Size != v.size) {
		s.op(tree.Op{Kind: tree.Edit, Node: n.ID, Type: v.typ, BaseContent: n.Content.Revision,
			Size: v.size, Hash: v.sha, PlaintextID: v.pid, Content: v.content, Target: v.target, MTime: v.mtime})
		n.MTime = v.mtime
	}
	if !exact || v.typ == tree.Link {
		return
	}
	attr := tree.Op{Kind: tree.Attr, Node: n.ID, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision}
	if n.Mode != v.mode {
		attr.Mode, attr.HasMode = v.mode, true
	}
	if v.typ == tree.File && n.MTime != v.mtime {
		attr.MTime, attr.HasMTime = v.mtime, true
	}
	if attr.HasMode || attr.HasMTime {
		s.op(attr)
	}
}

// inside reports whether a folder is a node or below it.
func (s *namespace) inside(f, n *slot) bool {
	for ; f.id != signet.RootNode; f = s.slots[f.parent] {
		if f == n {
			return true
		}
	}
	return false
}

// move gives a living node another place.
func (s *namespace) move(n, in *slot, name string) {
	was, ok := s.tree.Node(n.id)
	if !ok {
		return
	}
	s.op(tree.Op{Kind: tree.Move, Node: n.id, BasePlace: was.Place.Revision, Parent: in.id, Name: name})
	if old := s.slots[n.parent]; old.kids[n.name] == n {
		delete(old.kids, n.name)
	}
	n.parent, n.name = in.id, name
	s.put(n)
}

// bringBack undoes deletions that are held: what the region has below the path
// and the disk lacks comes back.
func (w *Work) bringBack(ctx context.Context, s spot) (int, error) {
	if s.volume == "" || w.Engine.VolumeStatus(s.volume).HeldDeletes == 0 {
		return 0, nil
	}
	var nodes []signet.NodeID
	err := w.Engine.WithRegion(s.region, func(r *region.Region) error {
		for full, n := range r.Tree.Walk() {
			if within(full, s.path) {
				if _, err := os.Lstat(filepath.Join(s.dir, full)); os.IsNotExist(err) {
					nodes = append(nodes, n.ID)
				}
			}
		}
		return nil
	})
	if err != nil || len(nodes) == 0 {
		return 0, err
	}
	if err := w.Engine.BringBack(s.volume, nodes); err != nil || w.Running {
		return len(nodes), err
	}
	// Nobody would remember it after this process.
	_, err = w.Engine.SyncVolume(ctx, s.volume)
	return len(nodes), err
}
