package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/transport"
)

const testLock = "lock"

// backUp copies the bench's data as the command does.
func (b *bench) backUp(to string) Backed {
	b.t.Helper()
	must(b.t, os.MkdirAll(to, 0o700))
	key := filepath.Join(b.dir, "log-key")
	if _, err := os.Stat(key); err != nil {
		must(b.t, os.WriteFile(key, []byte("key"), 0o600))
	}
	out, err := Backup(b.t.Context(), BackupConfig{Data: b.dir, To: to, Files: []string{"log-key"}, Lock: testLock, Version: "test",
		Now: b.clock.now(), Verify: b.key.Public(), Report: func(p Problem) { b.t.Errorf("backup: %+v", p) }})
	must(b.t, err)
	return out
}

// remembered is what a device has of a log.
type remembered struct {
	records []signet.Record
	tree    *chain.Tree
	head    *chain.Checkpoint
}

func (d *device) remember(log signet.LogID) *remembered {
	d.b.t.Helper()
	m := &remembered{tree: &chain.Tree{}}
	for {
		p, err := d.session.Read(context.Background(), log, uint64(len(m.records)), signet.Whole)
		must(d.b.t, err)
		for _, r := range p.Records {
			m.records = append(m.records, r)
			m.tree.Append(r.Leaf)
		}
		m.head, err = chain.Open(p.Checkpoint, log, d.b.key.Public())
		must(d.b.t, err)
		if uint64(len(m.records)) == m.head.Size {
			return m
		}
	}
}

// part is the re-offer of the records from one position to before another.
func (m *remembered) part(t testing.TB, from, to uint64, done bool) signet.Reoffer {
	t.Helper()
	proof, err := m.tree.Consistency(to, m.head.Size)
	must(t, err)
	return signet.Reoffer{Page: signet.Page{Log: m.head.Log, From: from, Records: m.records[from:to], Checkpoint: m.head.Bytes()}, Proof: proof, Done: done}
}

// A lost world: a region whose last entries only its devices remember.
type lostWorld struct {
	*bench
	w         *writer
	other     *device
	directory *remembered
	journal   *remembered
	base      uint64 // of the journal, in the backup
	object    []byte // of the last entry
}

// lose makes entries, a backup, more entries, and goes back.
func lose(t *testing.T) *lostWorld {
	b := newBench(t)
	owner := b.found()
	other := owner.add()
	w := owner.newRegion(1)
	must(t, w.append(w.log(), w.entry()))
	backup := filepath.Join(t.TempDir(), "backup")
	b.backUp(backup)
	l := &lostWorld{bench: b, w: w, other: other, base: 2, object: []byte("the object")}
	w.seen = nil
	for range 5 {
		b.clock.advance(time.Minute)
		must(t, w.append(w.log(), w.entry()))
	}
	must(t, w.session.Put(t.Context(), w.region, [][]byte{l.object}))
	must(t, w.append(w.log(), w.entry(nameOf(l.object))))
	l.directory, l.journal = owner.remember(signet.Directory(b.org())), owner.remember(w.log())
	b.clock.advance(time.Hour)
	l.goBack(backup, false)
	return l
}

func (l *lostWorld) goBack(backup string, open bool) {
	l.t.Helper()
	must(l.t, l.Service.Close())
	l.dir = filepath.Join(l.t.TempDir(), "restored")
	must(l.t, os.Mkdir(l.dir, 0o700))
	_, err := Restore(l.t.Context(), backup, l.dir, open, l.clock.now())
	must(l.t, err)
	l.open()
	l.w.connect()
	l.other.connect()
}

// offer re-offers and must be taken.
func (l *lostWorld) give(o signet.Reoffer) (size uint64, whole bool) {
	l.t.Helper()
	size, whole, err := l.w.session.Reoffer(l.t.Context(), o)
	must(l.t, err)
	return size, whole
}

// directoryDone shows that nothing of the directory is lost.
func (l *lostWorld) directoryDone() { l.t.Helper(); l.give(l.directory.part(l.t, 3, 3, true)) }

func TestRestoredServiceIsWholeWhenItHasTheSameRoots(t *testing.T) {
	l := lose(t)
	n := l.journal.head.Size
	own := l.w.own
	wantKind(t, l.w.append(l.w.log(), l.w.entry()), transport.KindRecovering)
	l.w.own = own
	logs, err := l.w.session.Recovering(t.Context())
	if must(t, err); len(logs) != 2 {
		t.Fatalf("%d logs recover, want 2", len(logs))
	}
	if size, whole := l.give(l.journal.part(t, l.base, 4, false)); size != 4 || whole {
		t.Fatalf("size %d, whole %v", size, whole)
	}
	l.reopen() // what was taken is durable
	l.w.connect()
	_, _, err = l.w.session.Reoffer(t.Context(), l.journal.part(t, 1, n, false)) // from before its end, too
	if e := wantKind(t, err, transport.KindMissing); len(e.Missing) != 1 || e.Missing[0] != nameOf(l.object) {
		t.Errorf("missing %v", e.Missing)
	}
	must(t, l.w.session.Put(t.Context(), l.w.region, [][]byte{l.object}))
	if size, whole := l.give(l.journal.part(t, l.base, n, true)); size != n || !whole {
		t.Fatalf("size %d, whole %v", size, whole)
	}
	again := l.w.remember(l.w.log())
	if again.head.Root != l.journal.head.Root || again.head.Time != l.journal.head.Time {
		t.Errorf("%s, was %s", again.head, l.journal.head)
	}
	wantKind(t, l.w.append(signet.Directory(l.org()), signet.Record{Head: []byte("statement")}), transport.KindRecovering)
	l.directoryDone()
	l.w.seen = nil
	must(t, l.w.append(l.w.log(), l.w.entry()))
	l.w.newRegion(2)
	l.reopen()
	n2, err := Check(t.Context(), l.dir, l.key.Public(), false, func(p Problem) { t.Errorf("%+v", p) })
	if must(t, err); n2.Problems != 0 {
		t.Errorf("%d problems", n2.Problems)
	}
}

// What a restored service signs on its way must not be evidence against it.
func TestRestoredServiceSignsNothingThatContradictsWhatItSigned(t *testing.T) {
	l := lose(t)
	var signed []*chain.Checkpoint
	for to := l.base; to <= l.journal.head.Size-1; to++ {
		l.give(l.journal.part(t, l.base, to, false))
		l.clock.advance(10 * time.Minute)
		signed = append(signed, l.w.remember(l.w.log()).head)
	}
	for _, c := range signed {
		if e, err := chain.NewFork(c, l.journal.head, l.journal.tree); !errors.Is(err, chain.ErrAgree) {
			t.Errorf("%s: evidence of kind %v, %v", c, e, err)
		}
	}
}

func TestReofferIsTakenOnlyOfWhatTheServiceSigned(t *testing.T) {
	l := lose(t)
	n := l.journal.head.Size
	stranger, err := key.Generate()
	must(t, err)
	sign := func(by key.Signer, size uint64, tree *chain.Tree) *chain.Checkpoint {
		root, err := tree.RootAt(size)
		must(t, err)
		c, err := chain.Sign(by, l.w.log(), size, root, l.millis(), true)
		must(t, err)
		return c
	}
	for _, c := range []struct {
		name string
		kind transport.Kind
		bend func(*signet.Reoffer)
	}{
		{"a checkpoint by other keys", transport.KindInvalid, func(o *signet.Reoffer) { o.Checkpoint = sign(stranger, n, l.journal.tree).Bytes() }},
		{"a checkpoint of another log", transport.KindInvalid, func(o *signet.Reoffer) { o.Checkpoint = l.directory.head.Bytes() }},
		{"another leaf", transport.KindConflict, func(o *signet.Reoffer) {
			leaf, err := journal.ParseLeaf(o.Records[1].Leaf)
			must(t, err)
			leaf.Time++
			o.Records[1].Leaf = leaf.Append(nil)
		}},
		{"another order", transport.KindConflict, func(o *signet.Reoffer) { o.Records[0], o.Records[1] = o.Records[1], o.Records[0] }},
		{"one left out", transport.KindConflict, func(o *signet.Reoffer) { o.Records = o.Records[1:] }},
		{"a proof that fails", transport.KindConflict, func(o *signet.Reoffer) { o.Proof[0][0] ^= 1 }},
		{"no proof", transport.KindConflict, func(o *signet.Reoffer) { o.Proof = nil }},
		{"more than the checkpoint covers", transport.KindInvalid, func(o *signet.Reoffer) {
			o.Records = append(l.journal.records[l.base:n:n], signet.Record{Leaf: []byte("leaf")})
		}},
		{"another signature", transport.KindInvalid, func(o *signet.Reoffer) {
			o.Records[0].Head = append([]byte(nil), o.Records[0].Head...)
			o.Records[0].Head[500] ^= 1
		}},
		{"no blob", transport.KindInvalid, func(o *signet.Reoffer) { o.Records[0].Blob = nil }},
		{"another blob", transport.KindInvalid, func(o *signet.Reoffer) { o.Records[0].Blob = l.journal.records[3].Blob }},
		{"an unknown log", transport.KindInvalid, func(o *signet.Reoffer) { o.Log.ID[0] ^= 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := l.journal.part(t, l.base, n-2, false)
			o.Records = append([]signet.Record(nil), o.Records...)
			o.Proof = append([]signet.Hash(nil), o.Proof...)
			c.bend(&o)
			_, _, err := l.w.session.Reoffer(t.Context(), o)
			wantKind(t, err, c.kind)
			if size := l.w.remember(l.w.log()).head.Size; size != l.base {
				t.Fatalf("the log has %d entries", size)
			}
		})
	}
	if size, _ := l.give(l.journal.part(t, l.base, n-1, false)); size != n-1 { // and what is right is
		t.Errorf("the log has %d entries", size)
	}
}

func TestServiceThatWasNotRestoredTakesNothingBack(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	m := w.remember(w.log())
	_, _, err := w.session.Reoffer(t.Context(), m.part(t, 0, 1, true))
	wantKind(t, err, transport.KindConflict)
	if logs, err := w.session.Recovering(t.Context()); err != nil || len(logs) != 0 {
		t.Errorf("recovering: %v, %v", logs, err)
	}
}

// A device of the same ring that saw nothing of what was lost does not open the
// log for those that did.
func TestDeviceThatWasAwayDoesNotOpenALog(t *testing.T) {
	l := lose(t)
	old := l.other.remember(l.w.log())
	show := func() (whole bool) {
		_, whole, err := l.other.session.Reoffer(t.Context(), old.part(t, old.head.Size, old.head.Size, true))
		must(t, err)
		return whole
	}
	if show() {
		t.Fatal("it did")
	}
	must(t, l.w.session.Put(t.Context(), l.w.region, [][]byte{l.object}))
	if _, whole := l.give(l.journal.part(t, l.base, l.journal.head.Size, true)); !whole {
		t.Error("the writer's own head does not open it")
	}
}

// A head that was shown is waited for, whoever says then that it has nothing more.
func TestLogIsNotWholeBelowAHeadThatWasShown(t *testing.T) {
	l := lose(t)
	n := l.journal.head.Size
	show := l.journal.part(t, n, n, true)
	if _, whole := l.give(show); whole {
		t.Error("a claim without its leaves opens the log")
	}
	part := l.journal.part(t, l.base, n-1, true)
	if size, whole := l.give(part); size != n-1 || whole {
		t.Errorf("size %d, whole %v", size, whole)
	}
}

func TestObjectsThatNobodyHasLeaveAHoleThatCanBeFilled(t *testing.T) {
	l := lose(t)
	n := l.journal.head.Size
	if size, whole := l.give(l.journal.part(t, l.base, n, true)); size != n || !whole {
		t.Fatalf("size %d, whole %v", size, whole)
	}
	if s, err := ReadStatus(l.dir, l.clock.now()); err != nil || s.Lost != 1 || s.Recovering != 1 { // the directory was not shown
		t.Errorf("%+v, %v", s, err)
	}
	must(t, l.other.session.Put(t.Context(), l.w.region, [][]byte{l.object}))
	_, _, err := l.other.session.Reoffer(t.Context(), l.journal.part(t, n, n, true))
	must(t, err)
	if s, err := ReadStatus(l.dir, l.clock.now()); err != nil || s.Lost != 0 || s.Unpinned != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A hole that is given up is none any more, also after a restart.
func TestDroppedObjectIsNoHole(t *testing.T) {
	l := lose(t)
	n := l.journal.head.Size
	if size, whole := l.give(l.journal.part(t, l.base, n, true)); size != n || !whole {
		t.Fatalf("size %d, whole %v", size, whole)
	}
	l.w.drop(signet.ObjectID{1})
	if s, err := ReadStatus(l.dir, l.clock.now()); err != nil || s.Lost != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	l.w.drop(nameOf(l.object))
	for range 2 {
		if s, err := ReadStatus(l.dir, l.clock.now()); err != nil || s.Lost != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		if len(l.recovery.Holes[l.w.log().String()]) != 0 {
			t.Error("the service remembers it")
		}
		l.reopen()
	}
}

func TestRegionThatWasLostAsAWholeComesBack(t *testing.T) {
	b := newBench(t)
	owner := b.found()
	backup := filepath.Join(t.TempDir(), "backup")
	b.backUp(backup)
	r, w := owner.genesisOf(7)
	must(t, owner.append(w.log(), r))
	must(t, w.append(w.log(), w.entry()))
	m := owner.remember(w.log())
	dir := owner.remember(signet.Directory(b.org()))
	l := &lostWorld{bench: b, w: w, other: owner}
	l.goBack(backup, false)
	clash, x := owner.genesisOf(7)
	wantKind(t, owner.append(x.log(), clash), transport.KindRecovering) // else it would take the claim
	if size, _ := l.give(m.part(t, 0, 2, true)); size != 2 {
		t.Errorf("size %d", size)
	}
	l.give(dir.part(t, 2, 2, true))
	wantIs(t, owner.append(x.log(), clash), signet.ErrConflict)
	w.seen = nil
	must(t, w.append(w.log(), w.entry()))
}

func TestOpenedServiceThatTookOtherEntriesTakesNoneBack(t *testing.T) {
	l := lose(t)
	must(t, OpenRestored(l.dir)) // beside the running service
	x := l.w.on(l.other)
	must(t, x.append(x.log(), x.entry()))
	_, _, err := l.w.session.Reoffer(t.Context(), l.journal.part(t, l.base, l.journal.head.Size, true))
	wantKind(t, err, transport.KindConflict)
}

func TestBackupCopiesPacksOnce(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	put := func(o []byte) {
		must(t, w.session.Put(t.Context(), w.region, [][]byte{o}))
		must(t, w.append(w.log(), w.entry(nameOf(o))))
	}
	put(make([]byte, 3<<20))
	to := filepath.Join(t.TempDir(), "backup")
	first := b.backUp(to)
	if !first.Verified || first.Objects != 1 || first.Copied != first.PackBytes {
		t.Errorf("%+v", first)
	}
	put([]byte("another"))
	b.clock.advance(time.Second)
	if second := b.backUp(to); second.Copied == 0 || second.Copied > 1000 || second.Objects != 2 {
		t.Errorf("%+v", second)
	}
	names, err := filepath.Glob(filepath.Join(to, "*.db"))
	if err != nil || len(names) != 1 {
		t.Errorf("databases: %v, %v", names, err)
	}
}

func TestRestoreRefusesADamagedBackup(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	o := make([]byte, 1000)
	must(t, w.session.Put(t.Context(), w.region, [][]byte{o}))
	must(t, w.append(w.log(), w.entry(nameOf(o))))
	for name, harm := range map[string]func(dir string){
		"*.db":          func(f string) { flipByte(t, f) },
		"packs/*/*":     func(f string) { must(t, os.Truncate(f, 500)) },
		"log-key":       func(f string) { must(t, os.Remove(f)) },
		"packs/*/?*":    func(f string) { must(t, os.Remove(f)) },
		"backup.json":   func(f string) { must(t, os.WriteFile(f, []byte("{}"), 0o600)) },
		"backup.jso[n]": func(f string) { must(t, os.Truncate(f, 40)) },
	} {
		to := filepath.Join(t.TempDir(), "backup")
		b.backUp(to)
		files, err := filepath.Glob(filepath.Join(to, name))
		if err != nil || len(files) == 0 {
			t.Fatal(name, err)
		}
		harm(files[0])
		data := t.TempDir()
		if _, err := Restore(t.Context(), to, data, false, b.clock.now()); !errors.Is(err, ErrBackupDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if err := CanRestore(data); err != nil {
			t.Errorf("%s: cannot be begun again: %v", name, err)
		}
	}
}

func flipByte(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(file, b, 0o600))
}
