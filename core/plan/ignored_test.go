package plan

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/tree"
	"signet/device/ignore"
)

// observe is what a look at the disk gives: what is not ignored, and the names
// of what is. As in the engine, what gets ignored is another thing from then on,
// and its node was taken away.
func (d *device) observe() (local map[id]Local, kept map[id]map[string]bool) {
	if d.rules.Empty() {
		for n := range d.disk {
			delete(d.away, n)
		}
		return maps.Clone(d.disk), nil
	}
	local, kept = map[id]Local{}, map[id]map[string]bool{}
	kids := map[id][]id{}
	for _, n := range sortedKeys(d.disk) {
		kids[d.disk[n].Parent] = append(kids[d.disk[n].Parent], n)
	}
	var left []id
	var walk func(parent id, prefix string, ignored bool)
	walk = func(parent id, prefix string, ignored bool) {
		for _, n := range kids[parent] {
			l := d.disk[n]
			switch path := prefix + l.Name; {
			case ignored:
				left = append(left, n)
				walk(n, "", true)
			case d.rules.Leaves(path, l.Type == tree.Dir):
				left = append(left, n)
				if kept[parent] == nil {
					kept[parent] = map[string]bool{}
				}
				kept[parent][l.Name] = true
				walk(n, "", true)
			default:
				local[n] = l
				walk(n, path+"/", false)
			}
		}
	}
	walk(signet.RootNode, "", false)
	for _, n := range left {
		if _, ok := d.base[n]; ok {
			d.away[n] = true
		}
		d.rename(n, d.w.newID())
	}
	for n := range local {
		delete(d.away, n)
	}
	return local, kept
}

// rename gives what the disk has another id.
func (d *device) rename(from, to id) {
	d.disk[to] = d.disk[from]
	delete(d.disk, from)
	if d.unsettled[from] {
		d.unsettled[to] = true
		delete(d.unsettled, from)
	}
	for k, l := range d.disk {
		if l.Parent == from {
			l.Parent = to
			d.disk[k] = l
		}
	}
}

// ignored is Input.Ignored: by where a node would be on this disk.
func (d *device) ignored(local map[id]Local) func(tree.Ref) bool {
	if d.rules.Empty() {
		return nil
	}
	var where func(r tree.Ref) (string, bool)
	where = func(r tree.Ref) (string, bool) {
		if r.ID() == signet.RootNode {
			return "", false
		}
		name, up := r.Name(), r.Folder()
		l, here := local[r.ID()]
		if here {
			name = l.Name
			if l.Parent == signet.RootNode {
				return name, false
			}
			path := name
			for n := l.Parent; n != signet.RootNode; n = local[n].Parent {
				path = local[n].Name + "/" + path
			}
			return path, false
		}
		prefix, ignored := where(up)
		if prefix != "" {
			prefix += "/"
		}
		return prefix + name, ignored || d.rules.Leaves(prefix+name, r.Type() == tree.Dir)
	}
	return func(r tree.Ref) bool {
		_, ignored := where(r)
		return ignored
	}
}

// shifted reports whether a folder has another path on disk than at the last
// plan, or one that the journal does not say: then Last is no help.
func (d *device) shifted(in Input) bool {
	for n, l := range d.before.Local.All() {
		if now, ok := in.Local.Get(n); l.Type == tree.Dir && (!ok || at(&now) != at(&l)) {
			return true
		}
	}
	for n, l := range in.Local.All() {
		_, ok := d.before.Local.Get(n)
		if r := d.tree.Ref(n); !ok && l.Type == tree.Dir && r.OK() && (r.Name() != l.Name || r.Parent() != l.Parent) {
			return true
		}
	}
	return false
}

func (d *device) setRules(s string) {
	d.rules = ignore.Parse([]byte(s))
	d.before.Last = nil
}

// deletesOnlyWhatWasRemoved fails unless a user removed here all that a plan
// deletes from the journal.
func (d *device) deletesOnlyWhatWasRemoved(p *Plan) {
	d.w.t.Helper()
	if d.named() {
		return // who has which name is no user's doing there
	}
	moved := map[id]bool{}
	for _, op := range p.Up {
		if op.Kind == tree.Move {
			moved[op.Node] = true
		}
	}
	removed := map[id]bool{}
	for n := range d.removed {
		removed[d.tree.Adopter(n)] = true
	}
	var check func(r tree.Ref, whole bool)
	check = func(r tree.Ref, whole bool) {
		if !removed[r.ID()] {
			d.w.t.Fatalf("%s deletes %q, which nobody removed:%s\n%s", d.name, d.tree.Path(r.ID()), p.text(), d.list())
		}
		for k := range r.Kids() {
			if whole && !moved[k.ID()] {
				check(k, true)
			}
		}
	}
	for _, op := range p.Up {
		if op.Kind == tree.Delete {
			check(d.tree.Ref(op.Node), op.Whole)
		}
	}
}

// showsUnlessIgnored fails unless a disk has what the journal has and is not
// ignored, and nothing else that is not ignored but folders around what is.
func (w *world) showsUnlessIgnored(d *device) {
	w.t.Helper()
	// What an ignored thing has the name of waits, and what waits for that.
	held, cause := map[id]bool{}, false
	for _, h := range d.plan().Held {
		held[h.Node], cause = true, cause || h.Why == Unsynched || h.Why == InIgnored || h.Why == Lingers
	}
	if !cause {
		clear(held)
	}
	local, kept := d.observe()
	ignored := d.leftOut(local)
	for path, n := range d.tree.Walk() {
		r := d.tree.Ref(n.ID)
		l, here := local[n.ID]
		switch {
		case !here && (held[n.ID] || ignored(r) || hollow(r, local, ignored)):
		case !here:
			w.t.Fatalf("%s lacks %q; plans %s\n%s", d.name, path, d.plan().text(), d.list())
		case held[n.ID]:
		case !d.marks.Selected(r):
			if !lingers(n.ID, local, kept, held) {
				w.t.Fatalf("%s has %q still, which is not selected; plans %s\n%s", d.name, path, d.plan().text(), d.list())
			}
		case l.Parent != n.Parent || l.Name != d.tree.Names(n.Parent, d.caps)[n.ID] || !sameAsRemote(&l, r):
			w.t.Fatalf("%s: %q is not on disk as in the journal; plans %s\n%s", d.name, path, d.plan().text(), d.list())
		}
	}
	around := map[id]bool{} // folders that stay for what is in them
	mark := func(n id) {
		for ; n != signet.RootNode; n = local[n].Parent {
			around[n] = true
		}
	}
	for n := range kept {
		mark(n)
	}
	for n := range held {
		if _, here := local[n]; here {
			mark(local[n].Parent)
		}
	}
	for _, n := range sortedKeys(local) {
		if l := local[n]; !d.tree.Live(n) && !(l.Type == tree.Dir && around[n]) {
			w.t.Fatalf("%s has %q, which is not in the journal; plans %s", d.name, l.Name, d.plan().text())
		}
	}
}

func hollow(r tree.Ref, local map[id]Local, ignored func(tree.Ref) bool) bool {
	n := 0
	for k := range r.Kids() {
		n++
		if _, here := local[k.ID()]; here || !ignored(k) && !hollow(k, local, ignored) {
			return false
		}
	}
	return n > 0 && r.Type() == tree.Dir
}

// turns lets all devices turn until none has anything to do.
func (w *world) turns() {
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
		if round > 30 {
			d := w.devices[0]
			w.t.Fatalf("no end: %s plans %s\nlast outcomes: %s\n%s\njournal:\n%s", d.name, d.plan().text(), d.last, d.list(), journalText(d.tree))
		}
	}
	for _, d := range w.devices {
		w.shows(d)
		for _, h := range d.plan().Held {
			if h.Why != Unsynched && h.Why != Lingers && h.Why != InIgnored && h.Why != NameTaken && h.Why != NoFolder {
				w.t.Fatalf("%s holds %v", d.name, h)
			}
		}
	}
}

var someRules = []string{"", "", "b", "b/", "/a/b", "c\n!c/", "a/*\n!a/c", "*", "*conflict*", "/b\n**/c/a"}

// TestRulesDeleteNothing lets users of three devices do anything, and change
// each device's rules at any time. A plan never deletes what nobody removed, no
// bytes are lost, and in the end, under one set of rules, all devices have what
// it does not leave out.
func TestRulesDeleteNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben", "cas")
		for _, d := range w.devices {
			d.acknowledges = rapid.Bool().Draw(rt, "acknowledges")
		}
		seen := map[[32]byte]bool{}
		for range rapid.IntRange(1, 4).Draw(rt, "rules") {
			for _, d := range w.devices {
				if rapid.Bool().Draw(rt, "changes") {
					d.setRules(rapid.SampledFrom(someRules).Draw(rt, "rules"))
				}
			}
			w.live(rt, seen)
		}
		rules := rapid.SampledFrom(someRules).Draw(rt, "last rules")
		for _, d := range w.devices {
			d.setRules(rules)
		}
		w.turns()
		there := map[[32]byte]bool{}
		for _, d := range w.devices {
			for _, l := range d.disk {
				there[l.Hash] = true
			}
		}
		for sum := range seen {
			if !w.inJournal(sum) && !there[sum] {
				rt.Fatalf("bytes %q are lost", w.bytes[sum])
			}
		}
		for _, d := range w.devices {
			d.setRules("")
		}
		w.settle()
	})
}

func TestFileThatGetsIgnoredStaysEverywhere(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(write("x.o", "1"), mkdir("build"), write("build/y", "2"), write("z", "3"))(ann)
	w.settle()
	before := len(w.journal)
	for _, d := range w.devices {
		d.setRules("*.o\nbuild/\n")
	}
	w.turns()
	if len(w.journal) != before || ann.list() != ben.list() || len(ann.disk) != 4 {
		t.Fatalf("%d entries; ann has\n%s\nben has\n%s", len(w.journal)-before, ann.list(), ben.list())
	}
	// What each does with it is its own affair.
	do(write("x.o", "ann's"), rm("build"))(ann)
	ben.write("build/new", "ben's")
	w.turns()
	if len(w.journal) != before || len(ben.disk) != 5 {
		t.Fatalf("%d entries; ben has\n%s", len(w.journal)-before, ben.list())
	}
	// Without the rule they join: nothing is deleted, differing ones stand side by side.
	for _, d := range w.devices {
		d.setRules("")
	}
	w.settle()
	if got := conflictsShort(ann.lines()); !strings.Contains(got, "build/new: ben's") || !strings.Contains(got, "build/y: 2") || !strings.Contains(got, "ann's") || !strings.Contains(got, ": 1") {
		t.Fatalf("ann has\n%s", ann.list())
	}
}

func TestFolderDeletedElsewhereStaysForWhatIsIgnoredInIt(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	for _, d := range w.devices {
		d.setRules("*.o\n")
	}
	do(mkdir("d"), mkdir("d/e"), write("d/e/x.c", "1"))(ann)
	w.turns()
	ben.write("d/e/x.o", "2")
	ann.rm("d")
	w.turns()
	if ben.list() != "d/\nd/e/\nd/e/x.o: 2" || ann.list() != "" {
		t.Fatalf("ann has\n%s\nben has\n%s", ann.list(), ben.list())
	}
	// A folder of that name is this one again.
	do(mkdir("d"), mkdir("d/e"), write("d/e/y.c", "3"))(ann)
	w.turns()
	if ben.list() != "d/\nd/e/\nd/e/x.o: 2\nd/e/y.c: 3" {
		t.Fatalf("ben has\n%s", ben.list())
	}
	// So it is where a folder in it is not that one again.
	ann.rm("d")
	w.turns()
	ann.mkdir("d")
	w.turns()
	ben.write("d/e/z.c", "4")
	w.turns()
	if ann.list() != "d/\nd/e/\nd/e/z.c: 4" || ben.list() != "d/\nd/e/\nd/e/x.o: 2\nd/e/z.c: 4" {
		t.Fatalf("ann has\n%s\nben has\n%s", ann.list(), ben.list())
	}
	ann.rm("d")
	w.turns()
	ben.rm("d/e/x.o")
	w.turns()
	if ben.list() != "" {
		t.Fatalf("ben has\n%s", ben.list())
	}
}

func TestMoveToWhereItIsIgnoredIsNoDeletion(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	for _, d := range w.devices {
		d.setRules("build/\n*~\n")
	}
	do(mkdir("src"), write("src/x", "1"), write("y", "2"), mkdir("build"))(ann)
	w.turns()
	do(mv("src", "build/src"), mv("y", "y~"), write("y", "3"))(ann) // the second is how editors save
	if p := ann.plan(); len(p.Stayed) != 1 {
		t.Fatalf("stayed: %v", p.Stayed)
	}
	w.turns()
	if got := ann.list(); got != "build/\nbuild/src/\nbuild/src/x: 1\nsrc/\nsrc/x: 1\ny: 3\ny~: 2" {
		t.Errorf("ann has\n%s", got)
	}
	if got := ben.list(); got != "src/\nsrc/x: 1\ny: 3" {
		t.Errorf("ben has\n%s", got)
	}
}

func TestFolderMovesWithWhatIsIgnoredInIt(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	for _, d := range w.devices {
		d.setRules("*.o\n/old/\n")
	}
	do(mkdir("d"), write("d/x.c", "1"))(ann)
	w.turns()
	ben.write("d/x.o", "2")
	ann.mv("d", "e")
	w.turns()
	if got := ben.list(); got != "e/\ne/x.c: 1\ne/x.o: 2" {
		t.Fatalf("ben has\n%s", got)
	}
}

func TestFolderWithNothingButIgnoredThingsIsNotMade(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	do(mkdir("d"), write("d/x.c", "1"), write("d/x.o", "2"))(ann)
	w.settle()
	for _, d := range w.devices {
		d.setRules("*.o\n")
	}
	w.turns()
	ann.rm("d")
	w.turns()
	if ann.list() != "" || ben.list() != "d/\nd/x.o: 2" {
		t.Fatalf("ann has\n%s\nben has\n%s", ann.list(), ben.list())
	}
	if n, ok := ann.tree.Lookup("d/x.o"); !ok || n.Size != 1 {
		t.Error("the journal lost what nobody saw")
	}
}

func TestIgnoredThingThatTookANameIsNoDeletion(t *testing.T) {
	w := newWorld(t, "ann", "ben")
	ann, ben := w.devices[0], w.devices[1]
	ann.write("a", "1")
	w.settle()
	for _, d := range w.devices {
		d.setRules("a/\n")
	}
	do(rm("a"), mkdir("a"), write("a/x", "2"))(ann)
	p := ann.plan()
	if len(p.Up) > 0 || len(p.Held) != 1 || p.Held[0].Why != Unsynched {
		t.Fatalf("ann plans %s", p.text())
	}
	w.turns()
	if ben.list() != "a: 1" {
		t.Fatalf("ben has\n%s", ben.list())
	}
}
