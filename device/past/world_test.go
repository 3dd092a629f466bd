package past_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/tree"
	"signet/device/past"
)

// A world is a region's journal, written by devices of one letter, an entry a
// minute.
type world struct {
	t       *testing.T
	tree    *tree.Tree
	entries []entry
	made    int
}

type entry struct {
	tree.Entry
	batch *tree.Batch
}

func newWorld(t *testing.T) *world { return &world{t: t, tree: tree.New()} }

func device(name string) signet.DeviceID { return sha256.Sum256([]byte(name)) }

const minute = int64(time.Minute / time.Millisecond)

// commit writes an entry of a device.
func (w *world) commit(by string, ops ...tree.Op) {
	w.t.Helper()
	for len(ops) > 0 {
		n := min(len(ops), tree.MaxOps)
		items := make([]tree.Item, n)
		for i, op := range ops[:n] {
			var err error
			if items[i], err = tree.NewItem(op); err != nil {
				w.t.Fatal(err)
			}
		}
		b, err := tree.NewBatch(by, items)
		if err != nil {
			w.t.Fatal(err)
		}
		pos := uint64(len(w.entries))
		e := entry{tree.Entry{Hash: sha256.Sum256(fmt.Append(nil, pos)), Position: pos, Time: int64(pos+1) * minute, Device: device(by)}, b}
		w.entries = append(w.entries, e)
		w.tree.Apply(e.Entry, e.batch)
		ops = ops[n:]
	}
}

// at is the tree after an entry.
func (w *world) at(position int) *tree.Tree {
	t := tree.New()
	for _, e := range w.entries[:position+1] {
		t.Apply(e.Entry, e.batch)
	}
	return t
}

func (w *world) node(p string) tree.Node {
	w.t.Helper()
	n, ok := w.tree.Lookup(p)
	if !ok {
		w.t.Fatalf("no %s", p)
	}
	return n
}

func (w *world) in(p string) (signet.NodeID, string) {
	dir, name := "", p
	if i := strings.LastIndex(p, "/"); i >= 0 {
		dir, name = p[:i], p[i+1:]
	}
	return w.node(dir).ID, name
}

// write is a file, made or edited.
func (w *world) write(p, content string) tree.Op {
	op := tree.Op{Kind: tree.Create, Type: tree.File, Mode: 0o644, Size: int64(len(content)), Hash: sha256.Sum256([]byte(content)), Content: []byte(content), MTime: int64(len(w.entries))}
	if n, ok := w.tree.Lookup(p); ok {
		op.Kind, op.Mode, op.Node, op.BaseContent = tree.Edit, 0, n.ID, n.Content.Revision
		return op
	}
	op.Parent, op.Name = w.in(p)
	op.Node = w.id()
	return op
}

func (w *world) id() (id signet.NodeID) {
	w.made++
	h := sha256.Sum256(fmt.Append(nil, "node", w.made))
	copy(id[:], h[:])
	return id
}

func (w *world) mkdir(p string) tree.Op {
	op := tree.Op{Kind: tree.Create, Type: tree.Dir, Mode: 0o755, Node: w.id()}
	op.Parent, op.Name = w.in(p)
	return op
}

func (w *world) move(from, to string) tree.Op {
	n := w.node(from)
	op := tree.Op{Kind: tree.Move, Node: n.ID, BasePlace: n.Place.Revision}
	op.Parent, op.Name = w.in(to)
	return op
}

func (w *world) chmod(p string, mode uint32) tree.Op {
	n := w.node(p)
	return tree.Op{Kind: tree.Attr, Node: n.ID, BaseContent: n.Content.Revision, BaseAttr: n.Attr.Revision, Mode: mode, HasMode: true}
}

func (w *world) delete(p string) tree.Op {
	n := w.node(p)
	op := tree.Op{Kind: tree.Delete, Node: n.ID, BaseContent: n.Content.Revision, BasePlace: n.Place.Revision, BaseAttr: n.Attr.Revision}
	if n.Type == tree.Dir {
		op.Whole, op.Complete = true, uint64(len(w.entries))
	}
	return op
}

// files is the tree as text, conflict names cut to a star.
func files(t *tree.Tree) string {
	var lines []string
	for p, n := range t.Walk() {
		line := p
		if i := strings.Index(line, " (conflict"); i >= 0 {
			line = line[:i] + "*"
		}
		switch n.Type {
		case tree.Dir:
			line += "/"
		default:
			line += "=" + string(n.Data)
		}
		lines = append(lines, fmt.Sprintf("%s %o", line, n.Mode))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (w *world) wantFiles(lines ...string) {
	w.t.Helper()
	got := strings.Split(files(w.tree), "\n")
	for i := range got {
		got[i] = strings.TrimSuffix(strings.TrimSuffix(got[i], " 644"), " 755")
	}
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		w.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

// undo takes back what a device did from an entry on ("": all did).
func (w *world) undo(by string, from int) past.Deeds {
	w.t.Helper()
	since := int64(from+1) * minute
	u := past.Undo{Of: func(e tree.Entry) bool { return e.Time >= since && (by == "" || e.Device == device(by)) }}
	t := tree.New()
	for _, e := range w.entries {
		u.Before(t, e.Entry, e.batch)
		out := t.Apply(e.Entry, e.batch)
		u.Take(t, e.Entry, e.batch, out)
	}
	wants, left := u.Wants(w.tree)
	d := past.Become(w.tree, wants)
	d.Left = append(left, d.Left...)
	w.commit("undoer", d.Ops...)
	w.commit("undoer", u.Pins()...)
	return d
}

// restore makes a folder what it was after an entry.
func (w *world) restore(p string, position int) past.Deeds {
	w.t.Helper()
	f, ok := past.FolderThen(w.at(position), w.tree, p)
	if !ok {
		w.t.Fatalf("%s was no folder", p)
	}
	wants, left := f.Wants(w.tree)
	d := past.Become(w.tree, wants)
	d.Left = append(left, d.Left...)
	w.commit("restorer", d.Ops...)
	return d
}

// sealed are the contents that a journal named before an entry.
func (w *world) sealed(before int) map[string]bool {
	m := map[string]bool{}
	for _, e := range w.entries[:before] {
		for _, it := range e.batch.Items {
			m[string(it.Op.Content)] = true
		}
	}
	return m
}

func whys(left []past.Left) (list []string) {
	m := map[string]bool{}
	for _, l := range left {
		m[l.Path+" "+l.Why] = true
	}
	return slices.Sorted(maps.Keys(m))
}
