package owner

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/internal/durable"
)

// A spot is a path in a region, and the volume that shows it, if any.
type spot struct {
	region signet.RegionID
	name   string // of the region
	path   string // in the region; "" is its top
	volume string // id, or ""
	dir    string
}

// String is the spot as REGION:PATH.
func (s spot) String() string { return s.name + ":" + s.path }

// at finds what a PATH means: REGION:PATH, a region's name, or a path inside a
// volume. The caller made it absolute unless it names a region.
func (w *Work) at(p string) (spot, error) {
	vs := w.Engine.Volumes()
	if filepath.IsAbs(p) {
		p = filepath.Clean(p)
		for _, v := range vs {
			for _, c := range []string{p, resolveParent(p)} {
				if rel, err := filepath.Rel(v.Dir, c); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
					if rel == "." {
						rel = ""
					}
					return spot{v.Region, v.Name, rel, v.ID, v.Dir}, nil
				}
			}
		}
		return spot{}, failed("no_volume", "signet status shows the folders; REGION:PATH names a path without one", "%s is in no folder that is kept in step", p)
	}
	name, rest, _ := strings.Cut(p, ":")
	for _, r := range w.Engine.Regions() {
		if r.Own && r.Name == name || r.ID.String() == name {
			s := spot{region: r.ID, name: r.Name, path: strings.Trim(path.Clean("/"+rest), "/")}
			for _, v := range vs {
				if v.Region == r.ID {
					s.volume, s.dir = v.ID, v.Dir
				}
			}
			return s, nil
		}
	}
	return spot{}, failed("no_region", "signet region list shows those there are", "there is no region %q", name)
}

// resolveParent follows links in a path that lead to the volume, not those
// that are in it: the last name stays as it is, and need not be there.
func resolveParent(p string) string {
	for dir, rest := filepath.Dir(p), filepath.Base(p); ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		if r, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(r, rest)
		}
		if dir == filepath.Dir(dir) {
			return p
		}
	}
}

// A Node is a line of a listing.
type Node struct {
	Path     string       `json:"path"`
	PathB64  []byte       `json:"path_b64,omitempty"`
	Type     string       `json:"type"`
	Size     int64        `json:"size"`
	SHA256   string       `json:"sha256,omitempty"` // none for a file of 64 MiB or more that is not on this disk
	MTime    control.Time `json:"mtime"`
	Mode     string       `json:"mode,omitempty"`
	Target   string       `json:"target,omitempty"`
	Node     string       `json:"node"`
	Revision string       `json:"revision"`
}

type pathParams struct {
	Path string `json:"path"`
	Deep bool   `json:"deep"`
}

func nodeLine(p string, n tree.Node) Node {
	l := Node{Type: n.Type.String(), Size: n.Size, MTime: control.Time{Time: time.Unix(0, n.MTime)}, Mode: fmt.Sprintf("%04o", n.Mode&0o7777),
		Target: n.Target, Node: n.ID.String(), Revision: n.Content.Revision.String()}
	l.Path, l.PathB64 = control.Name(p)
	return l
}

// tree streams the listing of a region or of a folder in it, sorted by path
// bytes; without Deep one level only.
func (w *Work) tree(ctx context.Context, p pathParams, ui control.UI) (any, error) {
	if err := offline(w.Engine.Peek(ctx), ui); err != nil {
		return nil, err
	}
	s, err := w.at(p.Path)
	if err != nil {
		return nil, err
	}
	var lines []Node
	var nodes []tree.Node // of lines
	found := s.path == ""
	err = w.Engine.WithListing(s.region, func(t *tree.Tree) error {
		for full, n := range t.Walk() {
			if full == s.path {
				found = true
				if n.Type == tree.Dir {
					continue
				}
			} else if s.path != "" && !strings.HasPrefix(full, s.path+"/") {
				continue
			}
			rest := strings.TrimPrefix(strings.TrimPrefix(full, s.path), "/")
			if p.Deep || !strings.Contains(rest, "/") {
				lines, nodes = append(lines, nodeLine(full, n)), append(nodes, n)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if n.Type == tree.File {
			if lines[i].SHA256, err = w.sha256(ctx, s.region, n.ID, n.Size, n.Hash); err != nil {
				return nil, err
			}
		}
	}
	if !found {
		return nil, failed("not_found", "signet history shows what was there", "%s: nothing of that name", s)
	}
	slices.SortFunc(lines, func(a, b Node) int { return strings.Compare(raw(a.Path, a.PathB64), raw(b.Path, b.PathB64)) })
	for _, l := range lines {
		if err := ui.Item(l); err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// sha256 is what a listing says of a file's bytes; "" where this device cannot.
func (w *Work) sha256(ctx context.Context, id signet.RegionID, node signet.NodeID, size int64, hash [32]byte) (string, error) {
	sum, ok, err := w.Engine.SHA256(ctx, id, node, size, hash)
	if err != nil || !ok {
		return "", err
	}
	return hex.EncodeToString(sum[:]), nil
}

func raw(p string, b64 []byte) string {
	if b64 != nil {
		return string(b64)
	}
	return p
}

type catParams struct {
	Path string `json:"path"`
	To   string `json:"to"` // a file to write, absolute
}

// cat writes a file's current content to another.
func (w *Work) cat(ctx context.Context, p catParams, ui control.UI) (any, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	s, err := w.at(p.Path)
	if err != nil {
		return nil, err
	}
	var n tree.Node
	err = w.Engine.WithListing(s.region, func(t *tree.Tree) error {
		var ok bool
		if n, ok = t.Lookup(s.path); !ok || n.Type != tree.File {
			return failed("not_found", "signet ls shows what there is", "%s: no such file", s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return struct{}{}, w.fetchTo(ctx, s.region, version{content: n.Data, sha: n.Hash, mode: n.Mode, mtime: n.MTime, typ: tree.File}, p.To)
}

// fetchTo writes a version to a file, which must not exist, whole or not at
// all.
func (w *Work) fetchTo(ctx context.Context, id signet.RegionID, v version, to string) error {
	if v.typ == tree.Link {
		return os.Symlink(v.target, to)
	}
	if _, err := os.Lstat(to); err == nil {
		return failed("exists", "name another place", "%s exists", to)
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".signet-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = w.Engine.Fetch(ctx, id, v.content, v.sha, f)
	if err == nil {
		err = f.Chmod(os.FileMode(v.mode & 0o777))
	}
	if err = errors.Join(err, durableClose(f)); err != nil {
		return err
	}
	mtime := time.Unix(0, v.mtime)
	if err := os.Chtimes(f.Name(), mtime, mtime); err != nil {
		return err
	}
	// A link, not a rename: what appeared under the name meanwhile stays.
	return os.Link(f.Name(), to)
}

func durableClose(f io.Closer) error {
	if file, ok := f.(*os.File); ok {
		if err := durable.SyncFile(file); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// A Revision is a line of a history.
type Revision struct {
	Revision  string       `json:"revision"`
	Time      control.Time `json:"time"`
	Device    string       `json:"device"`
	Member    string       `json:"member"`
	Kind      string       `json:"kind"`
	Path      string       `json:"path"`
	PathB64   []byte       `json:"path_b64,omitempty"`
	Size      int64        `json:"size"`
	SHA256    string       `json:"sha256,omitempty"` // as Node.SHA256
	Conflict  bool         `json:"conflict,omitempty"`
	KeptUntil control.Time `json:"kept_until"` // null: as long as the region
}

// history streams what happened at a path and below it, newest first.
func (w *Work) history(ctx context.Context, p pathParams, ui control.UI) (any, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	s, err := w.at(p.Path)
	if err != nil {
		return nil, err
	}
	names := w.deviceNames(ctx)
	mine := map[signet.NodeID]bool{}
	var events []tree.Event
	err = w.Engine.Events(s.region, func(e tree.Event, _ *tree.Op) error {
		events = append(events, e)
		if e.Path == s.path || s.path == "" || strings.HasPrefix(e.Path, s.path+"/") {
			mine[e.Node] = true // also what it did under other names
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n := 0
	for _, e := range slices.Backward(events) {
		if !mine[e.Node] || e.Node == signet.RootNode {
			continue
		}
		r := Revision{Revision: e.Revision.String(), Time: control.Milliseconds(e.Time), Device: names[e.Device], Member: w.memberOf(e.Device),
			Kind: e.Kind, Size: e.Size, Conflict: e.Conflict}
		if r.Device == "" {
			r.Device = e.Device.String()
		}
		if e.Type == tree.File {
			if r.SHA256, err = w.sha256(ctx, s.region, e.Node, e.Size, e.Hash); err != nil {
				return nil, err
			}
		}
		r.Path, r.PathB64 = control.Name(e.Path)
		n++
		if err := ui.Item(r); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		return nil, failed("not_found", "signet tree "+s.name+": shows what there is", "%s: nothing of that name, now or before", s)
	}
	return struct{}{}, nil
}

// deviceNames are the names of the ring's devices; without the service those
// of this device alone.
func (w *Work) deviceNames(ctx context.Context) map[signet.DeviceID]string {
	m := map[signet.DeviceID]string{w.Account.Device: w.Account.Name}
	list, err := account.List(ctx, w.Account, w.Engine, w.Client)
	if err != nil {
		return m
	}
	for _, d := range list {
		m[d.ID] = d.Profile.Name
	}
	return m
}

func (w *Work) memberOf(d signet.DeviceID) (member string) {
	w.Engine.Directory(func(dir *ring.State, _ *region.Keys) {
		if r, ok := dir.RingOf(d); ok {
			member = r.String()
		}
	})
	return member
}

// A version is what restore brings back of one node.
type version struct {
	node    signet.NodeID
	rev     signet.RevisionID
	path    string
	typ     tree.Type
	content []byte
	size    int64
	sha     [32]byte
	pid     [32]byte
	target  string
	mtime   int64
	mode    uint32
	deleted bool
}

// RestoreParams are those of the command restore.
type RestoreParams struct {
	Path     string    `json:"path"`
	At       time.Time `json:"at"`
	Revision string    `json:"revision"`
	To       string    `json:"to"` // a folder, absolute
	DryRun   bool      `json:"dry_run"`
}

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

// restore brings back a file or a folder: as it was at a time, at a revision,
// or, without either, what was deleted last and the version before the present
// one of a file that is there. Restores are ordinary operations that name
// objects the service has: nothing is sent again.
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
	out := Restored{To: p.To, DryRun: p.DryRun, Paths: []string{}, Daemon: w.Running, RegionN: s.name}
	for _, v := range vs {
		if v.typ != tree.Dir {
			out.Files++
			out.Bytes += v.size
		}
		text, _ := control.Name(v.path)
		out.Paths = append(out.Paths, text)
	}
	if p.DryRun && len(vs) > 0 {
		return out, nil
	}
	if p.To != "" {
		return out, w.restoreTo(ctx, s, vs, p.To)
	}
	if p.DryRun {
		return nil, w.asItWas(s)
	}
	out.Back, err = w.bringBack(ctx, s)
	if err != nil {
		return nil, err
	}
	if out.Back > 0 && p.At.IsZero() && p.Revision == "" {
		// It was about the deletions that are held, not about older ones.
		out.Files, out.Bytes, out.Paths = 0, 0, []string{}
		return out, nil
	}
	if len(vs) == 0 && out.Back == 0 {
		return nil, w.asItWas(s)
	}
	err = w.Engine.Put(ctx, s.region, func(t *tree.Tree) ([]tree.Op, error) { return restoreOps(t, vs), nil })
	return out, err
}

func (w *Work) asItWas(s spot) error {
	return failed("not_found", "signet history shows what there is to restore", "%s: nothing to restore: it is as it was", s)
}

// versions finds what a restore means.
func (w *Work) versions(s spot, p RestoreParams) ([]version, error) {
	until := int64(1<<63 - 1)
	if !p.At.IsZero() {
		until = p.At.UnixMilli()
	}
	now := map[signet.NodeID]version{}    // as the journal has it up to now
	then := map[signet.NodeID]version{}   // as it had it at the time asked for
	before := map[signet.NodeID]version{} // the version before the last change of content, or before the delete
	var byRevision *version
	err := w.Engine.Events(s.region, func(e tree.Event, op *tree.Op) error {
		v := now[e.Node]
		old := v
		v.node, v.path, v.typ, v.deleted = e.Node, e.Path, e.Type, e.Kind == "delete"
		if op != nil && op.Kind != tree.Delete {
			if op.Kind == tree.Create || op.Kind == tree.Edit {
				v.content, v.size, v.sha, v.pid, v.target, v.mtime, v.rev = op.Content, op.Size, op.Hash, op.PlaintextID, op.Target, op.MTime, e.Revision
			}
			if op.Kind == tree.Create || op.HasMode {
				v.mode = op.Mode
			}
			if op.HasMTime {
				v.mtime = op.MTime
			}
		}
		now[e.Node] = v
		if old.node == e.Node && (v.rev != old.rev || v.deleted && !old.deleted) {
			before[e.Node] = old
		}
		if e.Time <= until {
			then[e.Node] = v
		}
		if p.Revision != "" && e.Revision.String() == p.Revision {
			byRevision = &v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if p.Revision != "" {
		if byRevision == nil {
			return nil, failed("not_found", "signet history --json shows the revisions", "no revision %s in region %s", p.Revision, s.name)
		}
		return []version{*byRevision}, nil
	}
	in := func(path string) bool {
		return path == s.path || s.path == "" || strings.HasPrefix(path, s.path+"/")
	}
	var list []version
	if p.At.IsZero() {
		for n, v := range before {
			if n == signet.RootNode || !in(now[n].path) {
				continue
			}
			if now[n].deleted || now[n].path == s.path && now[n].typ != tree.Dir {
				list = append(list, v)
			}
		}
	} else {
		for n, v := range then {
			if n == signet.RootNode || v.deleted || !in(v.path) && !in(now[n].path) {
				continue
			}
			if c := now[n]; p.To != "" || c.deleted || c.sha != v.sha || c.target != v.target {
				list = append(list, v)
			}
		}
	}
	slices.SortFunc(list, func(a, b version) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// restoreOps makes the operations that bring versions back over the tree as it
// is now.
func restoreOps(t *tree.Tree, vs []version) []tree.Op {
	var ops []tree.Op
	for _, v := range vs {
		n, ok := t.Node(v.node)
		if !ok {
			continue
		}
		switch {
		case v.typ == tree.Dir:
			if n.Deleted {
				mode := v.mode
				ops = append(ops, tree.Op{Kind: tree.Attr, Restored: true, Node: v.node, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision, Mode: mode, HasMode: true})
			}
		case n.Deleted || n.Hash != v.sha || n.Target != v.target:
			ops = append(ops, tree.Op{Kind: tree.Edit, Restored: true, Node: v.node, Type: v.typ, BaseContent: n.Content.Revision,
				Size: v.size, Hash: v.sha, PlaintextID: v.pid, Content: v.content, Target: v.target, MTime: v.mtime})
		}
	}
	return ops
}

// restoreTo writes versions into a folder.
func (w *Work) restoreTo(ctx context.Context, s spot, vs []version, to string) error {
	if len(vs) == 0 {
		return failed("not_found", "signet history shows what there is", "%s: nothing to restore", s)
	}
	base := path.Dir("/" + s.path)
	for _, v := range vs {
		rel, below := strings.CutPrefix("/"+v.path, strings.TrimSuffix(base, "/")+"/")
		if !below { // it had another place then
			rel = path.Base(v.path)
		}
		if !filepath.IsLocal(rel) {
			return failed("name", "", "%s cannot be a path here", v.path)
		}
		dst := filepath.Join(to, rel)
		if v.typ == tree.Dir {
			if err := os.MkdirAll(dst, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if err := w.fetchTo(ctx, s.region, v, dst); err != nil {
			return err
		}
	}
	return nil
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
			if full == s.path || s.path == "" || strings.HasPrefix(full, s.path+"/") {
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

// conflicts streams the conflict copies that are there.
func (w *Work) conflicts(ctx context.Context, p dirParams, ui control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	type conflict struct {
		Path    string       `json:"path"`
		PathB64 []byte       `json:"path_b64,omitempty"`
		Of      string       `json:"of"`
		Time    control.Time `json:"time"`
		Size    int64        `json:"size"`
	}
	for _, v := range vs {
		var list []conflict
		err := w.Engine.WithRegion(v.Region, func(r *region.Region) error {
			for full, n := range r.Tree.Walk() {
				if n.ConflictOf.IsZero() {
					continue
				}
				c := conflict{Time: control.Milliseconds(n.Content.Time), Size: n.Size}
				c.Path, c.PathB64 = control.Name(filepath.Join(v.Dir, full))
				if r.Tree.Live(n.ConflictOf) {
					c.Of, _ = control.Name(filepath.Join(v.Dir, r.Tree.Path(n.ConflictOf)))
				}
				list = append(list, c)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if err := ui.Item(c); err != nil {
				return nil, err
			}
		}
	}
	return struct{}{}, nil
}
