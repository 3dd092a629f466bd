package tree

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/wire"
)

// check fails unless t is what replay promises: one tree, live ancestors above
// the living, counts right.
func (t *Tree) check() error {
	live, conflicts := 0, 0
	for id, n := range t.nodes {
		if n.id != id {
			return fmt.Errorf("node under another id")
		}
		if n == t.root {
			continue
		}
		if n.gone == nil {
			live++
			if !(Ref{t, n}).ConflictOf().IsZero() {
				conflicts++
			}
			if n.parent.gone != nil {
				return fmt.Errorf("living node below a deleted one")
			}
		}
		if !within(n, t.root) {
			return fmt.Errorf("node outside the root")
		}
		found := false
		for k := *n.list(); k != nil; k = k.next {
			found = found || k == n
		}
		if !found {
			return fmt.Errorf("node not on its parent's list")
		}
	}
	if conflicts != t.Conflicts() {
		return fmt.Errorf("%d conflict copies, counted %d", conflicts, t.Conflicts())
	}
	if live != t.live {
		return fmt.Errorf("%d live nodes, counted %d", live, t.live)
	}
	seen := 0
	for range t.Walk() {
		seen++
	}
	if seen != live {
		return fmt.Errorf("walk meets %d of %d", seen, live)
	}
	return nil
}

func justPages(t *Tree, k DigestKey) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for p := range t.Pages(k) {
			if !yield(p) {
				return
			}
		}
	}
}

func content(op *Op, s string) {
	op.Type, op.Size, op.Hash = File, int64(len(s)), sha256.Sum256([]byte(s))
	op.PlaintextID = sha256.Sum256([]byte("id " + s))
	op.Content = []byte(s)
	if len(s)%2 == 0 { // as real ones are: node.repeats
		n := node{size: op.Size, sha: op.Hash, pid: op.PlaintextID}
		head := n.repeated()
		op.Content = append(head[:], s...)
	}
}

// genOps draws operations over few ids and the revisions that exist, so that
// all the rules meet.
func genOp(rt *rapid.T, revs []signet.RevisionID, ids []signet.NodeID, pos uint64) Op {
	id := func(l string) signet.NodeID { return rapid.SampledFrom(ids).Draw(rt, l) }
	rev := func(l string) signet.RevisionID {
		// Mostly recent ones, else nearly all bases would be stale.
		n := len(revs)
		return revs[rapid.IntRange(max(0, n-12), n-1).Draw(rt, l)]
	}
	name := rapid.SampledFrom([]string{"a", "b", "c.txt", "..", "x/y", ""}).Draw(rt, "name")
	op := Op{Kind: Kind(rapid.IntRange(1, 5).Draw(rt, "kind")), Node: id("node")}
	switch op.Kind {
	case Create, Edit:
		if op.Kind == Create {
			op.Parent, op.Name, op.Mode = id("parent"), name, 0o644
			op.Type = Type(rapid.IntRange(1, 3).Draw(rt, "type"))
		} else {
			op.BaseContent = rev("base")
			op.Type = File
		}
		switch op.Type {
		case File:
			content(&op, rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(rt, "content"))
		case Link:
			op.Target = "t"
		}
	case Move:
		op.BasePlace, op.Parent, op.Name = rev("base"), id("parent"), name
	case Attr:
		op.BaseContent, op.BaseAttr, op.HasMode, op.Mode = rev("base"), rev("attr"), true, 0o600
	case Delete:
		op.BaseContent, op.BasePlace, op.BaseAttr = rev("bc"), rev("bp"), rev("ba")
		if rapid.Bool().Draw(rt, "whole") {
			op.Whole, op.Complete = true, uint64(rapid.IntRange(0, int(pos)).Draw(rt, "complete"))
		}
	}
	return op
}

// rebase makes an operation's bases current half of the time.
func rebase(rt *rapid.T, t *Tree, op *Op) {
	n, ok := t.Node(op.Node)
	if !ok || !rapid.Bool().Draw(rt, "current") {
		return
	}
	switch op.Kind {
	case Edit:
		op.BaseContent = n.Content.Revision
	case Move:
		op.BasePlace = n.Place.Revision
	case Attr, Delete:
		op.BaseContent, op.BaseAttr = n.Content.Revision, n.Attr.Revision
		if op.Kind == Delete {
			op.BasePlace = n.Place.Revision
		}
	}
}

// A device saves a file fifty times, each upon the one before, and sends the entries
// without waiting for any. Where another's edit comes first, all of them are of one
// conflict copy; where it comes between two of them, so are those after it, as none of
// them knew of it: it is the other's edit that has the copy.
func TestAChainThatLostItsFirstRaceIsOneConflictCopy(t *testing.T) {
	const saves = 50
	for _, at := range []int{0, 1, 25, saves} { // the other's edit comes after so many
		tr := New()
		position := uint64(0)
		apply := func(device byte, op Op) signet.RevisionID {
			t.Helper()
			it, err := NewItem(op)
			if err != nil {
				t.Fatal(err)
			}
			b, err := NewBatch("device", []Item{it})
			if err != nil {
				t.Fatal(err)
			}
			position++
			tr.Apply(Entry{Hash: sha256.Sum256([]byte{byte(position)}), Position: position, Time: int64(position) * 60000, Device: signet.DeviceID{device}}, b)
			if err := tr.check(); err != nil {
				t.Fatal(err)
			}
			return it.Revision
		}
		file := signet.NodeID{1}
		create := Op{Kind: Create, Node: file, Name: "f", Mode: 0o644}
		content(&create, "common")
		first := apply(1, create)
		other := Op{Kind: Edit, Node: file, BaseContent: first}
		content(&other, "the other's")
		base, last := first, ""
		for n := range saves {
			if n == at {
				apply(2, other)
			}
			op := Op{Kind: Edit, Node: file, BaseContent: base}
			last = fmt.Sprintf("saved %d times", n+1)
			content(&op, last)
			base = apply(1, op)
		}
		if at == saves {
			apply(2, other)
		}
		has := map[[32]byte]int{}
		for _, n := range tr.Walk() {
			has[n.Hash]++
		}
		mine, others := sha256.Sum256([]byte(last)), sha256.Sum256([]byte("the other's"))
		if tr.Conflicts() != 1 || len(has) != 2 || has[mine] != 1 || has[others] != 1 {
			t.Errorf("the other's after %d saves: %d conflict copies, %d contents, the last one saved %d times, the other's %d times", at, tr.Conflicts(), len(has), has[mine], has[others])
		}
	}
}

func TestReplayHoldsItsPromises(t *testing.T) {
	var key1, key2 DigestKey
	key1[0], key2[0] = 1, 2
	region := signet.RegionID{7}
	ids := []signet.NodeID{signet.RootNode, LostAndFound(region)}
	for i := range 8 {
		ids = append(ids, signet.NodeID{1, byte(i)})
	}
	rapid.Check(t, func(rt *rapid.T) {
		tr, twin := New(), New()
		revs := []signet.RevisionID{{}}
		pool := ids
		entries := uint64(rapid.IntRange(1, 60).Draw(rt, "entries"))
		for pos := uint64(1); pos <= entries; pos++ {
			var items []Item
			for range rapid.IntRange(1, 3).Draw(rt, "ops") {
				op := genOp(rt, revs, pool, pos)
				rebase(rt, tr, &op)
				it, err := NewItem(op)
				if err != nil {
					rt.Fatal(err)
				}
				items = append(items, it)
				revs = append(revs, it.Revision)
			}
			b, err := NewBatch("dev", items)
			if err != nil {
				rt.Fatal(err)
			}
			e := Entry{Region: region, Hash: sha256.Sum256([]byte{byte(pos)}), Position: pos,
				Time: int64(pos) * 60000, Device: signet.DeviceID{byte(rapid.IntRange(1, 3).Draw(rt, "device"))}}
			before := picture(tr)
			version := tr.Version()
			out := tr.Apply(e, b)
			tr.Events(e, b, out)
			if err := checkChanges(tr, before, version); err != nil {
				rt.Fatalf("entry %d: %v", pos, err)
			}
			if err := tr.check(); err != nil {
				rt.Fatalf("entry %d: %v", pos, err)
			}
			for i, o := range out {
				checkPut(rt, tr, b.Items[i].Op, o, i == len(out)-1)
				if o.Result == Conflicted {
					pool = append(pool, o.Node)
				}
			}
			parsed, err := ParseBatch(b.Bytes())
			if err != nil {
				rt.Fatal(err)
			}
			twin.Apply(e, parsed)
			if pos%5 == 0 && tr.Digest(key1) != twin.Digest(key1) {
				rt.Fatal("two replays differ")
			}
		}
		loaded, err := Load(justPages(tr, key1))
		if err != nil {
			rt.Fatal(err)
		}
		if err := loaded.check(); err != nil {
			rt.Fatal(err)
		}
		if loaded.Digest(key1) != tr.Digest(key1) || loaded.Digest(key2) != twin.Digest(key2) {
			rt.Fatal("a loaded snapshot has another digest")
		}
		resumed, err := Resume(key1, tr.Digest(key1), justPages(tr, key1))
		if err != nil {
			rt.Fatal(err)
		}
		if resumed.Digest(key2) != twin.Digest(key2) {
			rt.Fatal("a resumed snapshot has another digest")
		}
		it, _ := NewItem(Op{Kind: Create, Node: signet.NodeID{0xee, 0xee}, Type: Dir, Name: "later"})
		b, _ := NewBatch("d", []Item{it})
		for _, x := range []*Tree{resumed, twin} {
			x.Digest(key1)
			x.Apply(Entry{Position: 1 << 40}, b)
		}
		if resumed.Digest(key1) != twin.Digest(key1) {
			rt.Fatal("a resumed snapshot changes in another way")
		}
		if _, err := Resume(key2, tr.Digest(key1), justPages(tr, key1)); err == nil {
			rt.Fatal("a snapshot is resumed under another key")
		}
		if tr.Digest(key1) == tr.Digest(key2) {
			rt.Fatal("digests do not depend on the key")
		}
	})
}

// A seen node is its record and its name on disk.
type seen struct {
	node  Node
	alias string
}

func picture(t *Tree) map[signet.NodeID]seen {
	p := map[signet.NodeID]seen{}
	for id, n := range t.nodes {
		p[id] = seen{t.view(n), t.Names(n.parent.id, Caps{})[id]}
	}
	for id, n := range t.aliases {
		p[id] = seen{node: t.view(n)}
	}
	return p
}

// checkChanges fails unless Changes names what changed since a picture was
// made: records by the node, names on disk by a place with the node's name.
func checkChanges(t *Tree, before map[signet.NodeID]seen, version uint64) error {
	list, ok := t.Changes(version)
	if !ok {
		return fmt.Errorf("changes forgotten")
	}
	changed, places := map[signet.NodeID]bool{}, map[string]bool{}
	for _, c := range list {
		changed[c.Node] = true
		if c.Placed {
			places[c.Folder.String()+c.Name] = true
		}
	}
	for id, s := range picture(t) {
		old, was := before[id]
		if fmt.Sprint(old.node) == fmt.Sprint(s.node) || changed[id] {
			continue
		}
		if n := t.nodes[id]; n == nil && was && old.node.ID == s.node.ID { // the adopter's record changed
			continue
		}
		return fmt.Errorf("%v changed, and is not listed", id)
	}
	for id, s := range picture(t) {
		if old := before[id]; old.alias != s.alias && !changed[id] && !places[s.node.Parent.String()+s.node.Name] && old.alias == old.node.Name {
			return fmt.Errorf("the name of %v changed, and no place of that name did", id)
		}
	}
	for id := range t.nodes {
		r := t.Ref(id)
		if alias, live := t.Names(r.Parent(), Caps{})[id]; live && r.Live() && id != signet.RootNode && (alias == r.Name()) != r.Plain(Caps{}) {
			return fmt.Errorf("%v has the name %q on disk", id, alias)
		}
		if fmt.Sprint(r.Node()) != fmt.Sprint(t.view(t.nodes[id])) {
			return fmt.Errorf("%v is not what its Ref says", id)
		}
	}
	return nil
}

func TestChangesOfLongAgoAreForgotten(t *testing.T) {
	tr := New()
	grow(t, tr, 20_000)
	if _, ok := tr.Changes(0); ok {
		t.Error("20,000 creations are remembered")
	}
	now := tr.Version()
	if list, ok := tr.Changes(now); !ok || len(list) > 0 {
		t.Errorf("%d changes since now, %v", len(list), ok)
	}
	if list, ok := tr.Changes(now - keptChanges); !ok || len(list) != keptChanges {
		t.Errorf("%d changes, %v", len(list), ok)
	}
	if _, ok := tr.Changes(now + 1); ok {
		t.Error("the future is known")
	}
}

// checkPut fails if a put was dropped.
func checkPut(rt *rapid.T, t *Tree, op Op, o Outcome, last bool) {
	if op.Kind != Create && op.Kind != Edit {
		return
	}
	if o.Result == NoOp {
		rt.Fatalf("a put is a no-op: %v", o)
	}
	n, ok := t.Node(o.Node)
	if last && (!ok || n.Deleted || n.Type != op.Type || op.Type == File && n.Hash != op.Hash) {
		rt.Fatalf("what a put holds is not where its outcome says")
	}
}

// With many nodes there are many pages; touching one must give what a fresh
// digest gives, across changes of the number of pages.
func TestDigestIsIncremental(t *testing.T) {
	var k DigestKey
	tr := New()
	pos := uint64(0)
	apply := func(ops ...Op) {
		t.Helper()
		pos++
		var items []Item
		for _, op := range ops {
			it, err := NewItem(op)
			if err != nil {
				t.Fatal(err)
			}
			items = append(items, it)
		}
		b, _ := NewBatch("d", items)
		tr.Apply(Entry{Position: pos, Hash: sha256.Sum256(fmt.Append(nil, pos))}, b)
	}
	fresh := func() signet.Hash {
		t.Helper()
		l, err := Load(justPages(tr, k))
		if err != nil {
			t.Fatal(err)
		}
		return l.Digest(k)
	}
	dir := func(i int) signet.NodeID { return signet.NodeID{2, byte(i)} }
	for d := range 40 {
		ops := []Op{{Kind: Create, Node: dir(d), Type: Dir, Name: fmt.Sprint(d)}}
		for f := range 100 {
			op := Op{Kind: Create, Node: signet.NodeID{3, byte(d), byte(f)}, Parent: dir(d), Name: fmt.Sprint(f)}
			content(&op, fmt.Sprint(d, f))
			ops = append(ops, op)
		}
		apply(ops...)
		before := tr.Digest(k)
		n, _ := tr.Node(dir(d / 2))
		apply(Op{Kind: Move, Node: dir(d / 2), BasePlace: n.Place.Revision, Parent: dir(d), Name: "m"})
		if got := tr.Digest(k); got == before && d/2 != d {
			t.Fatal("digest did not change")
		} else if got != fresh() {
			t.Fatalf("incremental digest differs after folder %d", d)
		}
	}
	if len(tr.cache.dirs) < 8 {
		t.Fatalf("only %d pages", len(tr.cache.dirs))
	}
}

func TestProofsOfEveryOperation(t *testing.T) {
	for n := 1; n <= 9; n++ {
		var items []Item
		for range n {
			it, _ := NewItem(Op{Kind: Create, Type: Dir, Name: "x"})
			items = append(items, it)
		}
		b, _ := NewBatch("", items)
		for i, it := range items {
			p := b.Proof(i)
			if err := CheckProof(b.Root(), n, i, it.Revision, p); err != nil {
				t.Errorf("%d of %d: %v", i, n, err)
			}
			if err := CheckProof(b.Root(), n, (i+1)%n, it.Revision, p); n > 1 && !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("%d of %d verifies at another place", i, n)
			}
		}
	}
}

func TestSaltsHideEqualOperations(t *testing.T) {
	a, _ := NewItem(Op{Kind: Create, Type: Dir, Name: "x"})
	b, _ := NewItem(Op{Kind: Create, Type: Dir, Name: "x"})
	if a.Revision == b.Revision {
		t.Error("equal operations have equal revision ids")
	}
}

func TestConflictNames(t *testing.T) {
	id := signet.NodeID{0x9f, 0x3c}
	const at = 1772373900000 // 2026-03-01 14:05 UTC
	long := strings.Repeat("ä", 127)
	for _, c := range []struct{ name, label, want string }{
		{"a.txt", "laptop", "a (conflict 2026-03-01 1405 laptop 9f3c).txt"},
		{"a.tar.gz", "laptop", "a (conflict 2026-03-01 1405 laptop 9f3c).tar.gz"},
		{".bashrc", "laptop", ".bashrc (conflict 2026-03-01 1405 laptop 9f3c)"},
		{"a", `x:<y>"/\|?*(z)`, "a (conflict 2026-03-01 1405 x__y________z_ 9f3c)"},
		{"a", "", "a (conflict 2026-03-01 1405 9f3c)"},
		{"a (conflict 2026-02-02 0101 other 0011).txt", "me", "a (conflict 2026-03-01 1405 me 9f3c).txt"},
		{"a (conflict of interest).txt", "me", "a (conflict of interest) (conflict 2026-03-01 1405 me 9f3c).txt"},
		{"v1. final", "me", "v1. final (conflict 2026-03-01 1405 me 9f3c)"},
		{long + ".x", "me", long[:2*((255-2-35)/2)] + " (conflict 2026-03-01 1405 me 9f3c).x"},
	} {
		got := ConflictName(c.name, at, c.label, id)
		if got != c.want {
			t.Errorf("%q by %q: got %q, want %q", c.name, c.label, got, c.want)
		}
		if len(got) > MaxName {
			t.Errorf("%q is %d bytes long", got, len(got))
		}
	}
}

func TestEscapedNamesAreFit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := string(rapid.SliceOfN(rapid.SampledFrom([]byte("/\x00.a\xc3\xa4")), 0, 300).Draw(rt, "name"))
		got := EscapeName(s)
		if got == "" || got == "." || got == ".." || strings.ContainsAny(got, "/\x00") || len(got) > MaxName {
			rt.Fatalf("%q is kept as %q", s, got)
		}
		if EscapeName(got) != got {
			rt.Fatalf("%q is escaped again", got)
		}
	})
}

func TestNamesAreInjective(t *testing.T) {
	tr := New()
	var items []Item
	for i, name := range []string{"a", "a", "A", "a (conflict 1970-01-01 0000 0102)", ".signet", "b"} {
		op := Op{Kind: Create, Node: signet.NodeID{1, byte(i + 1)}, Name: name}
		content(&op, fmt.Sprint(i))
		it, _ := NewItem(op)
		items = append(items, it)
	}
	b, _ := NewBatch("d", items)
	tr.Apply(Entry{Position: 1}, b)
	want := map[byte]string{1: "a", 2: "a (conflict 1970-01-01 0000 01020000)", 3: "A",
		4: "a (conflict 1970-01-01 0000 0102)", 5: ".signet (conflict 1970-01-01 0000 0105)", 6: "b"}
	for id, name := range tr.Names(signet.RootNode, Caps{}) {
		if want[id[1]] != name {
			t.Errorf("node %d is %q, want %q", id[1], name, want[id[1]])
		}
	}
	folded := tr.Names(signet.RootNode, Caps{Key: strings.ToLower})
	if folded[signet.NodeID{1, 3}] != "A (conflict 1970-01-01 0000 0103)" {
		t.Errorf("folded: %q", folded)
	}
	unfit := Caps{Unfit: func(s string) bool { return s == "b" }, Mend: func(string) string { return "b_" }}
	if n := tr.Names(signet.RootNode, unfit)[signet.NodeID{1, 6}]; n != "b_" {
		t.Errorf("mended: %q", n)
	}
}

func TestLoadRefusesWhatReplayCannotMake(t *testing.T) {
	var k DigestKey
	tr := New()
	it, _ := NewItem(Op{Kind: Create, Node: signet.NodeID{1}, Type: Dir, Name: "d"})
	b, _ := NewBatch("", []Item{it})
	tr.Apply(Entry{Position: 1}, b)
	for p := range tr.Pages(k) {
		for i := range p {
			for _, bad := range [][]byte{p[:i], append(bytes.Clone(p[:i]), append([]byte{p[i] ^ 1}, p[i+1:]...)...)} {
				l, err := Load(func(yield func([]byte) bool) { yield(bad) })
				if err == nil && l.Digest(k) == tr.Digest(k) {
					t.Fatalf("byte %d: a changed page loads to the same digest", i)
				}
				if err != nil && !errors.Is(err, wire.ErrMalformed) {
					t.Fatal(err)
				}
				if _, err := Resume(k, tr.Digest(k), func(yield func([]byte) bool) { yield(bad) }); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("byte %d: a changed page is resumed: %v", i, err)
				}
			}
		}
	}
	if _, err := Load(func(func([]byte) bool) {}); err == nil {
		t.Error("no pages load")
	}
}

func FuzzParseBatch(f *testing.F) {
	op := Op{Kind: Create, Node: signet.NodeID{1}, Name: "n", Mode: 0o644}
	content(&op, "hello")
	a, _ := NewItem(op)
	d, _ := NewItem(Op{Kind: Delete, Node: signet.NodeID{1}, Whole: true, Complete: 3})
	b, _ := NewBatch("laptop", []Item{a, d})
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := ParseBatch(p)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(b.Bytes(), p) {
			t.Fatalf("%x read and written gives %x", p, b.Bytes())
		}
		for _, it := range b.Items {
			if again, err := it.Op.Bytes(); err != nil || !bytes.Equal(again, it.raw) {
				t.Fatalf("%x encodes again as %x, %v", it.raw, again, err)
			}
		}
		tr := New()
		tr.Apply(Entry{Position: 1}, b)
		if err := tr.check(); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkReplay also says what a node costs in memory.
func BenchmarkReplay(b *testing.B) {
	size := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := size()
	var tr *Tree
	for b.Loop() {
		tr = New()
		grow(b, tr, 100_000)
		if tr.Len() != 100_000 {
			b.Fatal(tr.Len())
		}
	}
	b.ReportMetric(float64(size()-before)/100_000, "B/node")
	runtime.KeepAlive(tr)
}

// BenchmarkResume is most of a start: the tree as it was kept.
func BenchmarkResume(b *testing.B) {
	var k DigestKey
	tr := New()
	grow(b, tr, 100_000)
	digest, pages := tr.Digest(k), slices.Collect(justPages(tr, k))
	for b.Loop() {
		if _, err := Resume(k, digest, slices.Values(pages)); err != nil {
			b.Fatal(err)
		}
	}
}

func grow(tb testing.TB, tr *Tree, files int) {
	for pos := 0; pos < files/1000; pos++ {
		var items []Item
		dir := signet.NodeID{9, byte(pos), byte(pos >> 8)}
		it, _ := NewItem(Op{Kind: Create, Node: dir, Type: Dir, Name: fmt.Sprint("d", pos)})
		items = append(items, it)
		for i := range 999 {
			op := Op{Kind: Create, Node: signet.NodeID{8, byte(pos), byte(pos >> 8), byte(i), byte(i >> 8)},
				Parent: dir, Name: fmt.Sprintf("f%06d", i)}
			content(&op, fmt.Sprint(i))
			it, err := NewItem(op)
			if err != nil {
				tb.Fatal(err)
			}
			items = append(items, it)
		}
		batch, err := NewBatch("d", items)
		if err != nil {
			tb.Fatal(err)
		}
		tr.Apply(Entry{Position: uint64(pos + 1), Hash: sha256.Sum256(fmt.Append(nil, pos))}, batch)
	}
}
