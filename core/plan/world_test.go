package plan

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/tree"
	"signet/device/ignore"
)

// A world is a journal and some devices with a model of a disk each.
type world struct {
	t interface {
		Fatalf(string, ...any)
		Helper()
	}
	journal []entry
	devices []*device
	fresh   int
	bytes   map[[32]byte]string
	cased   bool // users give names that differ in case alone
	quick   bool // plans are made once, and not compared
}

type entry struct {
	e    tree.Entry
	b    *tree.Batch
	seen map[id]Local // what the writer's disk was
	next bool         // the writer had all before it, but for what it sent of the same plan
}

type device struct {
	w    *world
	name string
	id   signet.DeviceID
	disk map[id]Local // ids are the inode's bindings
	caps tree.Caps    // of the disk
	base map[id]Base
	tree *tree.Tree
	pos  int      // entries replayed
	last []string // outcomes

	acknowledges bool // notes what became of its own operations

	incomplete map[id]bool
	unsettled  map[id]bool
	holdUp     bool
	holdDown   bool

	rules   *ignore.Rules
	away    map[id]bool
	removed map[id]bool // by its user
	marks   Marks

	before Input // of the last plan; Last is what it remembered
}

// GoString is how a failing property shows a device.
func (d *device) GoString() string { return d.name }

func newWorld(t testing.TB, names ...string) *world { return newWorldOn(t, names...) }

func newWorldOn(t interface {
	Fatalf(string, ...any)
	Helper()
}, names ...string) *world {
	w := &world{t: t, bytes: map[[32]byte]string{}}
	for i, n := range names {
		w.devices = append(w.devices, &device{w: w, name: n, id: signet.DeviceID{byte(i + 1)},
			disk: map[id]Local{}, base: map[id]Base{}, tree: tree.New(), away: map[id]bool{}, removed: map[id]bool{}})
	}
	return w
}

func (w *world) newID() id {
	w.fresh++
	return id{0xf, byte(w.fresh >> 8), byte(w.fresh)}
}

// find returns what is at a path of a disk; ok is false if nothing is.
func (d *device) find(path string) (n id, ok bool) {
	if path == "" {
		return signet.RootNode, true
	}
	for name := range strings.SplitSeq(path, "/") {
		next, found := d.child(n, name)
		if !found {
			return n, false
		}
		n = next
	}
	return n, true
}

func (d *device) child(parent id, name string) (id, bool) {
	name = d.shown(name)
	for n, l := range d.disk {
		if l.Parent == parent && d.caps.Equal(l.Name, name) {
			return n, true
		}
	}
	return id{}, false
}

// shown is how the disk spells a new name.
func (d *device) shown(name string) string {
	if d.caps.Unfit != nil && d.caps.Unfit(name) {
		return d.caps.Mend(name)
	}
	return name
}

func (d *device) must(path string) id {
	d.w.t.Helper()
	n, ok := d.find(path)
	if !ok {
		d.w.t.Fatalf("%s has no %q:\n%s", d.name, path, d.list())
	}
	return n
}

func cutPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// What a user does. write is an edit in place, or a new file.
func (d *device) write(path, s string) {
	d.w.t.Helper()
	n, ok := d.find(path)
	l := d.disk[n]
	if !ok {
		dir, name := cutPath(path)
		n = d.w.newID()
		l = Local{Parent: d.must(dir), Name: d.shown(name), Type: tree.File, Mode: 0o644}
	}
	d.w.fresh++
	l.Hash, l.Size, l.MTime = sha256.Sum256([]byte(s)), int64(len(s)), int64(d.w.fresh)
	d.w.bytes[l.Hash] = s
	d.disk[n] = l
}

// save is what editors do: a new file, renamed over the old.
func (d *device) save(path, s string) {
	d.w.t.Helper()
	if n, ok := d.find(path); ok {
		d.unlink(n)
	}
	d.write(path, s)
}

func (d *device) mkdir(path string) {
	d.w.t.Helper()
	dir, name := cutPath(path)
	d.disk[d.w.newID()] = Local{Parent: d.must(dir), Name: d.shown(name), Type: tree.Dir, Mode: 0o755}
}

func (d *device) symlink(path, target string) {
	d.w.t.Helper()
	dir, name := cutPath(path)
	d.disk[d.w.newID()] = Local{Parent: d.must(dir), Name: d.shown(name), Type: tree.Link, Target: target}
}

func (d *device) chmod(path string, mode uint32) {
	d.w.t.Helper()
	n := d.must(path)
	l := d.disk[n]
	l.Mode = mode
	d.disk[n] = l
}

// mv renames; what is at the new place goes, as with rename(2).
func (d *device) mv(from, to string) {
	d.w.t.Helper()
	n := d.must(from)
	dir, name := cutPath(to)
	parent := d.must(dir)
	if old, ok := d.child(parent, name); ok && old != n {
		d.unlink(old)
	}
	l := d.disk[n]
	l.Parent, l.Name = parent, d.shown(name)
	d.disk[n] = l
}

func (d *device) rm(path string) {
	d.w.t.Helper()
	d.remove(d.must(path))
}

func (d *device) remove(n id) {
	for k, l := range d.disk {
		if l.Parent == n {
			d.remove(k)
		}
	}
	d.unlink(n)
}

func (d *device) unlink(n id) {
	delete(d.disk, n)
	d.removed[n] = true
}

// list is the disk as sorted lines: "dir/", "file: content", "link -> target".
func (d *device) list() string { return strings.Join(d.lines(), "\n") }

func (d *device) lines() []string {
	var out []string
	for path, l := range d.paths() {
		switch l.Type {
		case tree.Dir:
			out = append(out, path+"/")
		case tree.Link:
			out = append(out, path+" -> "+l.Target)
		default:
			s := path + ": " + d.w.bytes[l.Hash]
			if l.Mode&0o100 != 0 {
				s += " (x)"
			}
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// paths yields all that is on the disk and hangs on its top, a folder before what is
// in it, else in no order.
func (d *device) paths() iter.Seq2[string, Local] {
	return func(yield func(string, Local) bool) {
		var walk func(parent id, prefix string) bool
		walk = func(parent id, prefix string) bool {
			for n, l := range d.disk {
				path := prefix + l.Name
				if l.Parent == parent && (!yield(path, l) || l.Type == tree.Dir && !walk(n, path+"/")) {
					return false
				}
			}
			return true
		}
		walk(signet.RootNode, "")
	}
}

// pull replays what is new in the journal.
func (d *device) pull() {
	for ; d.pos < len(d.w.journal); d.pos++ {
		e := d.w.journal[d.pos]
		d.last = d.last[max(0, len(d.last)-6):]
		for i, o := range d.tree.Apply(e.e, e.b) {
			for _, n := range o.Removed {
				if l, here := e.seen[n]; here && e.next && e.e.Device == d.id {
					d.w.t.Fatalf("%s sends a %s of %v that removes %q, which is on its disk:\n%s", d.name, e.b.Items[i].Op.Kind, e.b.Items[i].Op.Node, l.Name, d.list())
				}
			}
			if op := e.b.Items[i].Op; d.acknowledges && e.e.Device == d.id {
				if b, ok := Acknowledge(d.base[op.Node], e.seen[op.Node], op, o); ok {
					d.base[op.Node] = b
				}
			}
			for _, n := range o.Revived {
				if b, ok := d.base[n]; ok && d.disk[n].Type == 0 {
					d.base[n] = Revived(b)
				}
			}
			d.last = append(d.last, fmt.Sprintf("%s %v: %s %s", e.b.Items[i].Op.Kind, e.b.Items[i].Op.Node, o.Result, o.Reason))
		}
	}
}

// table is a map as a Table.
type table[V any] map[id]V

func (t table[V]) Len() int                { return len(t) }
func (t table[V]) Get(n id) (v V, ok bool) { v, ok = t[n]; return v, ok }
func (t table[V]) All() iter.Seq2[id, V]   { return maps.All(t) }

// plan plans with what the last plan remembered, and fails the test unless the
// same comes out without that, and if every node is held to be open.
func (d *device) plan() *Plan {
	d.w.t.Helper()
	local, kept := d.observe()
	for n := range d.unsettled {
		if l, ok := local[n]; ok && l.Type == tree.File {
			l.Unsettled = true
			local[n] = l
		}
	}
	in := Input{Base: table[Base](maps.Clone(d.base)), Local: table[Local](local), Remote: d.tree, Device: d.id, Position: uint64(d.pos),
		HoldUp: d.holdUp, HoldDown: d.holdDown, Caps: d.caps,
		Complete: func(f id) bool { return !d.incomplete[f] }, Ignored: d.ignored(local), Kept: kept, Away: maps.Clone(d.away), Marks: d.marks}
	full := Make(in)
	if d.w.quick {
		return full
	}
	p := newPlanner(in)
	for n := range in.Local.All() {
		p.open(n)
	}
	for n := range in.Base.All() {
		p.open(n)
	}
	for r := range in.Remote.Refs() {
		p.open(r.ID())
	}
	p.files = full.Guard.Total
	if all := p.run(); full.outcome() != all.outcome() {
		d.w.t.Fatalf("%s: with agreed nodes left out: %s\nwith all: %s", d.name, full.text(), all.text())
	}
	d.deletesOnlyWhatWasRemoved(full)
	if d.before.Last != nil && (in.Ignored == nil || !d.shifted(in)) {
		in.Last, in.Touched = d.before.Last, map[id]bool{}
		differing(in.Touched, d.before.Base.(table[Base]), in.Base.(table[Base]))
		differing(in.Touched, d.before.Local.(table[Local]), in.Local.(table[Local]))
		differing(in.Touched, d.before.Away, in.Away)
		if again := Make(in); full.outcome() != again.outcome() {
			d.w.t.Fatalf("%s: with the last plan's memory: %s\nwithout: %s", d.name, again.text(), full.text())
		} else {
			full = again
		}
	}
	d.before = in
	d.before.Last = full.Next
	return full
}

// outcome is all that a plan says.
func (p *Plan) outcome() string {
	o := *p
	o.Next = nil
	if o.Guard.Up+o.Guard.Down == 0 {
		o.Guard.Total = 0
	}
	return fmt.Sprint(o)
}

// differing adds the keys that two maps do not agree on.
func differing[V comparable](to map[id]bool, a, b map[id]V) {
	for n, v := range a {
		if w, ok := b[n]; !ok || v != w {
			to[n] = true
		}
	}
	for n := range b {
		if _, ok := a[n]; !ok {
			to[n] = true
		}
	}
}

// note carries out what is to be remembered.
func (d *device) note(p *Plan) {
	d.w.t.Helper()
	for _, r := range p.Rebind {
		if _, taken := d.disk[r.To]; taken {
			d.w.t.Fatalf("%s: rebind to a node that has a file", d.name)
		}
		l, ok := d.disk[r.From]
		if !ok {
			d.w.t.Fatalf("%s: rebind of nothing", d.name)
		}
		delete(d.disk, r.From)
		d.disk[r.To] = l
		for k, c := range d.disk {
			if c.Parent == r.From {
				c.Parent = r.To
				d.disk[k] = c
			}
		}
	}
	for _, n := range p.Forget {
		delete(d.base, n)
		delete(d.away, n)
	}
	maps.Copy(d.base, p.Agree)
	d.choose(p)
}

// commit appends operations to the journal as one entry; prefer splits them
// into entries of one operation.
func (d *device) commit(ops []tree.Op, split bool) {
	d.w.t.Helper()
	next := d.pos == len(d.w.journal)
	for len(ops) > 0 {
		n := len(ops)
		if split {
			n = 1
		}
		var items []tree.Item
		for _, op := range ops[:n] {
			op.PlaintextID = op.Hash
			it, err := tree.NewItem(op)
			if err != nil {
				d.w.t.Fatalf("%v", err)
			}
			items = append(items, it)
		}
		b, err := tree.NewBatch(d.name, items)
		if err != nil {
			d.w.t.Fatalf("%v", err)
		}
		pos := uint64(len(d.w.journal) + 1)
		d.w.journal = append(d.w.journal, entry{tree.Entry{Hash: sha256.Sum256(fmt.Append(nil, pos)), Position: pos,
			Time: int64(pos) * 60000, Device: d.id}, b, maps.Clone(d.disk), next})
		ops = ops[n:]
	}
}

// inJournal reports whether some operation has put these bytes.
func (w *world) inJournal(sum [32]byte) bool {
	for _, e := range w.journal {
		for _, it := range e.b.Items {
			if it.Op.Hash == sum {
				return true
			}
		}
	}
	return false
}

// apply carries out actions on the disk, and fails the test if one of them
// cannot be done, or would lose bytes.
func (d *device) apply(actions []Action) {
	d.w.t.Helper()
	for i, a := range actions {
		fail := func(why string) {
			d.w.t.Fatalf("%s: action %d of %d, %s of %v to %q: %s\n%s", d.name, i, len(actions), a.Verb, a.Node, a.Name, why, d.list())
		}
		l, here := d.disk[a.Node]
		switch a.Verb {
		case MkDir, Fetch, Move:
			if _, ok := d.disk[a.Parent]; !ok && a.Parent != signet.RootNode {
				fail("no folder")
			}
			// A system may take a move between two spellings of one name for none.
			if _, taken := d.child(a.Parent, a.Name); taken {
				fail("name taken")
			}
			if d.shown(a.Name) != a.Name {
				fail("unfit")
			}
			if here != (a.Verb == Move) {
				fail("node is, or is not, there")
			}
		}
		if a.Verb == Replace || a.Verb == Trash || a.Verb == Release {
			if !here || l.Type == tree.File && !d.w.inJournal(l.Hash) {
				fail("bytes that nobody else has")
			}
			if l.Hash != a.Expect.Hash || d.unsettled[a.Node] {
				fail("not what was expected")
			}
		}
		switch a.Verb {
		case MkDir:
			d.disk[a.Node] = Local{Parent: a.Parent, Name: a.Name, Type: tree.Dir, Mode: a.Remote.Mode}
		case Fetch:
			d.disk[a.Node] = withRemote(Local{Parent: a.Parent, Name: a.Name}, a.Remote)
		case Replace:
			d.disk[a.Node] = withRemote(l, a.Remote)
		case Move:
			for at := a.Parent; at != signet.RootNode; at = d.disk[at].Parent {
				if at == a.Node {
					fail("into itself")
				}
			}
			l.Parent, l.Name = a.Parent, a.Name
			d.disk[a.Node] = l
		case SetAttr:
			l.Mode = a.Remote.Mode
			if l.Type == tree.File {
				l.MTime = a.Remote.MTime
			}
			d.disk[a.Node] = l
		case Trash, Release:
			d.releases(a)
			for _, k := range d.disk {
				if k.Parent == a.Node {
					fail("folder not empty")
				}
			}
			delete(d.disk, a.Node)
		}
		if d.acknowledges {
			if b, ok := Carried(d.base[a.Node], d.disk[a.Node], a); ok {
				d.base[a.Node] = b
			}
		}
	}
}

func withRemote(l Local, r tree.Node) Local {
	l.Type, l.Size, l.Hash, l.Target, l.Mode, l.MTime = r.Type, r.Size, r.Hash, r.Target, r.Mode, r.MTime
	return l
}

// sync is one turn of an engine.
func (d *device) sync() *Plan {
	d.w.t.Helper()
	d.pull()
	p := d.plan()
	d.note(p)
	d.apply(p.Down)
	d.commit(p.Up, false)
	return p
}

// settle turns all devices until nothing is left to do, and fails if that takes
// long or the disks do not all show the journal.
func (w *world) settle() {
	w.t.Helper()
	for round := 0; ; round++ {
		quiet := true
		for _, d := range w.devices {
			p := d.sync()
			quiet = quiet && p.Empty() && len(p.Rebind)+len(p.Forget)+len(p.Agree) == 0
		}
		if quiet {
			break
		}
		if round > 20 {
			d := w.devices[0]
			p := d.plan()
			d.pull()
			w.t.Fatalf("no end: %s plans %s\nlast outcomes: %s\n%s\njournal:\n%s", d.name, p.text(), d.last, d.list(), journalText(d.tree))
		}
	}
	for _, d := range w.devices {
		w.shows(d)
		if o := w.devices[0]; !d.named() && !o.named() && d.list() != o.list() {
			w.t.Fatalf("disks differ:\n%s:\n%s\n\n%s:\n%s", w.devices[0].name, w.devices[0].list(), d.name, d.list())
		}
		if p := d.plan(); len(p.Held) > 0 {
			w.t.Fatalf("%s holds %v", d.name, p.Held)
		}
	}
}

// named reports whether the disk cannot hold all names.
func (d *device) named() bool { return d.caps.Key != nil || d.caps.Unfit != nil }

// shows fails unless a disk is the journal's tree, attributes included.
func (w *world) shows(d *device) {
	w.t.Helper()
	if !d.rules.Empty() || len(d.marks) > 0 {
		w.showsUnlessIgnored(d)
		return
	}
	if d.tree.Len() != len(d.disk) {
		w.t.Fatalf("%s: %d nodes on disk, %d in the journal; plans %s\n%s\n%s", d.name, len(d.disk), d.tree.Len(), d.plan().text(), d.list(), journalText(d.tree))
	}
	for _, n := range d.tree.Walk() {
		l, ok := d.disk[n.ID]
		if !ok || l.Parent != n.Parent || l.Name != d.tree.Names(n.Parent, d.caps)[n.ID] || !sameAsRemote(&l, d.tree.Ref(n.ID)) {
			w.t.Fatalf("%s: %q is not on disk as in the journal; plans %s\n%s\n%s", d.name, d.tree.Path(n.ID), d.plan().text(), d.list(), journalText(d.tree))
		}
		lm, lt := attrOf(l.Type, l.Mode, l.MTime)
		if rm, rt := attrOf(n.Type, n.Mode, n.MTime); lm != rm || lt != rt {
			w.t.Fatalf("%s: %q has %o %d, in the journal %o %d", d.name, d.tree.Path(n.ID), lm, lt, rm, rt)
		}
	}
}

// text and journalText are for messages of failed tests.
func (p *Plan) text() string {
	var s strings.Builder
	for _, r := range p.Rebind {
		fmt.Fprintf(&s, "\n rebind %v to %v", r.From, r.To)
	}
	for _, o := range p.Up {
		fmt.Fprintf(&s, "\n up %s %v to %v %q", o.Kind, o.Node, o.Parent, o.Name)
	}
	for _, a := range p.Down {
		fmt.Fprintf(&s, "\n down %s %v to %v %q", a.Verb, a.Node, a.Parent, a.Name)
	}
	for _, h := range p.Held {
		fmt.Fprintf(&s, "\n held %v: %s", h.Node, h.Why)
	}
	for n := range p.Agree {
		fmt.Fprintf(&s, "\n agree %v", n)
	}
	return s.String() + fmt.Sprint("\n forget ", p.Forget)
}

func journalText(t *tree.Tree) string {
	var s strings.Builder
	for path, n := range t.Walk() {
		fmt.Fprintf(&s, "%s %v in %v\n", path, n.ID, n.Parent)
	}
	return s.String()
}

// sortedKeys lists the keys of a map by their bytes.
func sortedKeys[V any](m map[id]V) []id {
	return slices.SortedFunc(maps.Keys(m), id.Compare)
}
