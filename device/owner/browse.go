package owner

import (
	"context"
	"encoding/hex"
	"fmt"
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
	"signet/device/past"
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

// found is at, of what the service has now, where it can be reached.
func (w *Work) found(ctx context.Context, path string, ui control.UI) (spot, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return spot{}, err
	}
	return w.at(path)
}

// wholeRegion is found, of what has to be a region. instead is the command for its
// name, and why says what needs a whole one.
func (w *Work) wholeRegion(ctx context.Context, path string, ui control.UI, instead, why string) (spot, error) {
	s, err := w.found(ctx, path, ui)
	if err == nil && s.path != "" {
		err = failed("not_a_region", fmt.Sprintf(instead, s.name), "%s: %s", s, why)
	}
	return s, err
}

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
	// Unselected says that it is not selected on this device.
	Unselected bool `json:"unselected,omitempty"`
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
	marks := w.marked(s.region)
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
				l := nodeLine(full, n)
				l.Unselected = !marks.Selected(t.Ref(n.ID))
				lines, nodes = append(lines, l), append(nodes, n)
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
	if n := w.Engine.Unlisted(s.region); n > 0 {
		ui.Note(fmt.Sprintf("%d newer entries are not in this list: this device has still to verify them (signet sync, signet up)", n))
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
	// Private makes the file its owner's alone, whatever mode it has in the
	// region.
	Private bool `json:"private"`
}

// StagedCat begins the names of the home's folders in which the command cat
// has what it shows.
const StagedCat = "cat-"

// sweepCats deletes what a cat that was killed left in the home. What is
// younger than an hour may be at work.
func (o *Owner) sweepCats() {
	entries, _ := os.ReadDir(string(o.Home))
	for _, e := range entries {
		if info, err := e.Info(); strings.HasPrefix(e.Name(), StagedCat) && err == nil && e.IsDir() && time.Since(info.ModTime()) > time.Hour {
			os.RemoveAll(filepath.Join(string(o.Home), e.Name()))
		}
	}
}

// cat writes a file's current content to another.
func (w *Work) cat(ctx context.Context, p catParams, ui control.UI) (any, error) {
	s, err := w.found(ctx, p.Path, ui)
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
	o, err := w.openOutside(s.region, filepath.Dir(p.To))
	if err != nil {
		return nil, err
	}
	defer o.Close()
	v := past.Version{Content: n.Data, Hash: n.Hash, Mode: n.Mode, MTime: n.MTime, Type: tree.File}
	if p.Private {
		v.Mode = 0o600
	}
	return struct{}{}, o.write(ctx, v, filepath.Base(p.To))
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

// nameOf is a device's name; its id where it is not known.
func nameOf(names map[signet.DeviceID]string, d signet.DeviceID) string {
	if n := names[d]; n != "" {
		return n
	}
	return d.String()
}

func (w *Work) memberOf(d signet.DeviceID) (member string) {
	w.Engine.Directory(func(dir *ring.State, _ *region.Keys) {
		if r, ok := dir.RingOf(d); ok {
			member = r.String()
		}
	})
	return member
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
