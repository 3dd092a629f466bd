package owner

import (
	"cmp"
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/ignore"
)

// A selection is what of a region is selected, being changed.
type selection struct {
	t *tree.Tree
	m plan.Marks
}

// below forgets what was chosen below a node.
func (s selection) below(r tree.Ref) {
	for n := range s.m {
		k := s.t.Ref(n)
		for k.OK() && k.ID() != signet.RootNode && k.Parent() != r.ID() {
			k = k.Folder()
		}
		if n != r.ID() && k.OK() && k.ID() != signet.RootNode {
			delete(s.m, n)
		}
	}
}

// remove unselects a node, with all that is in it.
func (s selection) remove(r tree.Ref) {
	s.below(r)
	s.m[r.ID()] = plan.Out
}

// in selects a node whose folder is.
func (s selection) in(r tree.Ref) {
	if delete(s.m, r.ID()); r.ID() != signet.RootNode && s.m[r.Parent()] == plan.Part {
		s.m[r.ID()] = plan.In
	}
}

// add selects a node, with all that is in it. Of folders around it that are not
// selected, it alone is.
func (s selection) add(r tree.Ref) {
	way := []tree.Ref{r}
	for up := r; up.ID() != signet.RootNode; {
		up = up.Folder()
		way = append(way, up)
	}
	for i := len(way) - 2; i > 0; i-- {
		if s.m.Selected(way[i]) {
			continue
		}
		for ; i > 0; i-- { // and so all below it
			s.below(way[i])
			s.m[way[i].ID()] = plan.Part
			for k := range way[i].Kids() {
				if k != way[i-1] {
					s.m[k.ID()] = plan.Out
				}
			}
		}
	}
	s.below(r)
	s.in(r)
}

// siblings says whether what is new in a folder is selected.
func (s selection) siblings(folder tree.Ref, on bool) {
	part := s.m[folder.ID()] == plan.Part
	switch {
	case part && on:
		for k := range folder.Kids() {
			switch {
			case s.m[k.ID()] == plan.In:
				delete(s.m, k.ID())
			case !s.m.Selected(k):
				s.m[k.ID()] = plan.Out
			}
		}
		s.in(folder)
	case !part && !on:
		for k := range folder.Kids() {
			if s.m[k.ID()] == 0 {
				s.m[k.ID()] = plan.In
			}
		}
		s.m[folder.ID()] = plan.Part
	}
}

// files counts what is selected and was not, or the other way round, below a node.
func files(r tree.Ref, was, is plan.Marks) (n, size int64) {
	var walk func(r tree.Ref)
	walk = func(r tree.Ref) {
		if r.Type() != tree.Dir {
			if was.Selected(r) != is.Selected(r) {
				n, size = n+1, size+r.Size()
			}
			return
		}
		for k := range r.Kids() {
			walk(k)
		}
	}
	walk(r)
	return n, size
}

// SelectParams are those of select add and remove.
type SelectParams struct {
	Paths    []string `json:"paths"`
	Remove   bool     `json:"remove"`
	Siblings string   `json:"new_siblings"` // on, off, or "" for as it is
	DryRun   bool     `json:"dry_run"`
}

// A Choice is a path that select add or remove was about.
type Choice struct {
	Path    string `json:"path"` // absolute, on this disk
	PathB64 []byte `json:"path_b64,omitempty"`
	Type    string `json:"type"`
	Files   int64  `json:"files"` // that go from this disk, or come to it
	Bytes   int64  `json:"bytes"`
	Changed bool   `json:"changed"` // false: it was so already
}

// Chosen says what select add or remove did.
type Chosen struct {
	Paths    []Choice `json:"paths"`
	Files    int64    `json:"files"`
	Bytes    int64    `json:"bytes"`
	Siblings string   `json:"new_siblings,omitempty"`
	DryRun   bool     `json:"dry_run"`
	Daemon   bool     `json:"daemon"`
}

func siblingsOn(s string) (on, said bool, err error) {
	switch s {
	case "":
		return false, false, nil
	case "on", "off":
		return s == "on", true, nil
	}
	return false, false, control.Usagef("--new-siblings %s: on or off", s)
}

// choose changes what is selected on this device. All of it, or nothing.
func (w *Work) choose(ctx context.Context, p SelectParams, ui control.UI) (any, error) {
	on, said, err := siblingsOn(p.Siblings)
	if err != nil {
		return nil, err
	}
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	var ids []string
	by := map[string][]spot{}
	for _, name := range p.Paths {
		s, err := w.at(name)
		switch {
		case err != nil:
			return nil, err
		case s.volume == "":
			return nil, failed("no_volume", "signet add DIR --region "+s.name, "no folder here is kept in step with region %s", s.name)
		case s.path == "":
			return nil, failed("is_volume", "name what is in it; signet remove "+s.dir+" stops keeping it in step", "%s is the whole folder", s.dir)
		}
		if by[s.volume] == nil {
			ids = append(ids, s.volume)
		}
		by[s.volume] = append(by[s.volume], s)
	}
	out := Chosen{Paths: []Choice{}, Siblings: p.Siblings, DryRun: p.DryRun, Daemon: w.Running}
	plans := map[string]plan.Marks{}
	for _, id := range ids {
		err := w.Engine.WithSelection(id, func(t *tree.Tree, was plan.Marks) error {
			m, choices, err := chooseIn(t, was, by[id], p.Remove, on, said)
			plans[id], out.Paths = m, append(out.Paths, choices...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, c := range out.Paths {
		out.Files, out.Bytes = out.Files+c.Files, out.Bytes+c.Bytes
	}
	if p.DryRun {
		return out, nil
	}
	for _, id := range ids {
		err := w.Engine.Select(id, func(t *tree.Tree, was plan.Marks) (plan.Marks, error) {
			m, _, err := chooseIn(t, was, by[id], p.Remove, on, said)
			return m, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chooseIn is what the marks of one volume are to be.
func chooseIn(t *tree.Tree, was plan.Marks, spots []spot, remove, on, said bool) (plan.Marks, []Choice, error) {
	s := selection{t, plan.Marks{}}
	for n, m := range was {
		s.m[n] = m
	}
	var choices []Choice
	for _, p := range spots {
		n, ok := t.Lookup(p.path)
		switch {
		case !ok && onDisk(p):
			return nil, nil, failed("not_in_step", "signet sync sends it", "%s is not in the region yet", filepath.Join(p.dir, p.path))
		case !ok:
			return nil, nil, failed("not_found", "signet tree "+p.name+": lists what there is", "%s: nothing of that name", p)
		case p.path == ignore.File:
			return nil, nil, failed("ignore_rules", "signet ignore changes them", "%s holds on every device", filepath.Join(p.dir, p.path))
		}
		r := t.Ref(n.ID)
		before := plan.Marks{}
		for n, m := range s.m {
			before[n] = m
		}
		if remove {
			s.remove(r)
		} else {
			s.add(r)
		}
		if said {
			s.siblings(r.Folder(), on)
		}
		c := Choice{Type: r.Type().String()}
		c.Path, c.PathB64 = control.Name(filepath.Join(p.dir, p.path))
		c.Files, c.Bytes = files(r, before, s.m)
		c.Changed = c.Files > 0 || before.Selected(r) != s.m.Selected(r)
		choices = append(choices, c)
	}
	return s.m, choices, nil
}

func onDisk(s spot) bool {
	_, err := os.Lstat(filepath.Join(s.dir, s.path))
	return err == nil
}

// An Unselected is a line of select list: what is not selected, or a folder in
// which what is new is not.
type Unselected struct {
	Path     string `json:"path"` // absolute, on this disk
	PathB64  []byte `json:"path_b64,omitempty"`
	Type     string `json:"type"`
	Selected bool   `json:"selected"`
	Siblings string `json:"new_siblings"` // of what is in it: on, off
	Files    int64  `json:"files"`        // of what is not selected
	Bytes    int64  `json:"bytes"`
	Here     bool   `json:"here"` // something is still on the disk
}

// selectList streams what of a folder, or of all, is not selected.
func (w *Work) selectList(_ context.Context, p dirParams, ui control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	for _, v := range vs {
		var lines []Unselected
		err := w.Engine.WithSelection(v.ID, func(t *tree.Tree, m plan.Marks) error {
			lines = unselected(t, m, v.Dir)
			return nil
		})
		for _, l := range lines {
			if err == nil {
				_, gone := os.Lstat(raw(l.Path, l.PathB64))
				l.Here = !l.Selected && gone == nil
				err = ui.Item(l)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// unselected lists, by path, what the marks leave out, and the folders that they
// are in where new things are left out too.
func unselected(t *tree.Tree, m plan.Marks, dir string) (lines []Unselected) {
	around := map[signet.NodeID]bool{} // folders with marks in them
	for n := range m {
		for r := t.Ref(n); r.Live(); r = r.Folder() {
			if around[r.ID()] = true; r.ID() == signet.RootNode {
				break
			}
		}
	}
	line := func(r tree.Ref, at string, out bool) {
		l := Unselected{Type: r.Type().String(), Selected: !out, Siblings: "off"}
		l.Path, l.PathB64 = control.Name(filepath.Join(dir, at))
		if out {
			l.Files, l.Bytes = files(r, nil, m)
		}
		lines = append(lines, l)
	}
	var walk func(r tree.Ref, at string)
	walk = func(r tree.Ref, at string) {
		if m[r.ID()] == plan.Part {
			line(r, at, false)
		}
		kids := slices.SortedFunc(r.Kids(), func(a, b tree.Ref) int { return cmp.Compare(a.Name(), b.Name()) })
		for _, k := range kids {
			below := path.Join(at, k.Name())
			if !m.Selected(k) {
				line(k, below, true)
			} else if around[k.ID()] {
				walk(k, below)
			}
		}
	}
	if around[signet.RootNode] {
		walk(t.Ref(signet.RootNode), "")
	}
	return lines
}

// only is the selection of a folder that begins with a part of a region.
func (w *Work) only(id signet.RegionID, region string, paths []string, siblings string) (m plan.Marks, err error) {
	on, said, err := siblingsOn(siblings)
	if err != nil {
		return nil, err
	}
	err = w.Engine.WithListing(id, func(t *tree.Tree) error {
		root := t.Ref(signet.RootNode)
		s := selection{t, plan.Marks{signet.RootNode: plan.Part}}
		for _, p := range paths {
			p = strings.Trim(path.Clean("/"+filepath.ToSlash(p)), "/")
			n, ok := t.Lookup(p)
			if !ok || p == "" {
				return failed("not_found", "signet tree "+region+": lists what there is", "%s:%s: nothing of that name", region, p)
			}
			s.add(t.Ref(n.ID))
		}
		if said && on {
			s.siblings(root, true)
		}
		m = engine.WithRules(s.m, t)
		return nil
	})
	return m, err
}

// apart refuses a selection that leaves out what has the name of something that
// lies in a folder: it would be another thing of that name, on all devices.
func (w *Work) apart(id signet.RegionID, dir string, m plan.Marks) error {
	var lines []Unselected
	if err := w.Engine.WithListing(id, func(t *tree.Tree) error { lines = unselected(t, m, dir); return nil }); err != nil {
		return err
	}
	for _, l := range lines {
		p := raw(l.Path, l.PathB64)
		if _, err := os.Lstat(p); err == nil && !l.Selected {
			return failed("exists", "select it too, or move it away", "%s is there, and the region has one that is not selected", p)
		}
	}
	return nil
}

// carried is what was selected in the volume whose place another takes.
func (w *Work) carried(id signet.RegionID, dir string) (m plan.Marks, err error) {
	for _, v := range w.Engine.Volumes() {
		if v.Region == id {
			err = w.Engine.WithSelection(v.ID, func(_ *tree.Tree, marks plan.Marks) error { m = marks; return nil })
		}
	}
	if err == nil && w.apart(id, dir, m) != nil {
		m = nil // what lies there is joined by content, so all of it has to be selected
	}
	return m, err
}

// marked are the marks of what a region's volume shows; nil where it has none.
func (w *Work) marked(id signet.RegionID) (m plan.Marks) {
	for _, v := range w.Engine.Volumes() {
		if v.Region == id {
			w.Engine.WithSelection(v.ID, func(_ *tree.Tree, marks plan.Marks) error { m = marks; return nil })
		}
	}
	return m
}
