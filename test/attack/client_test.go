package attack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
	"signet/device/engine"
)

// offer is what a raw client sends: any bytes, as the device of a session.
func (w *world) offer(t *testing.T, d *device, id signet.RegionID, rec signet.Record) error {
	t.Helper()
	s := w.raw(d)
	defer s.Close()
	_, err := s.Append(t.Context(), signet.Journal(id), rec, time.Now().UnixMilli())
	if err == nil {
		d.reopen() // a program that runs finds what was signed past it: a twin
	}
	return err
}

// noise is a well-formed checkpoint that no service signed for this log.
func noise(t *testing.T, log signet.LogID, size uint64) *chain.Checkpoint {
	t.Helper()
	c, err := chain.Sign(generate(t), log, size, signet.Hash(randomBytes(32)), time.Now().UnixMilli(), true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealed puts operations into a draft as the device's own program does.
func (d *device) sealed(t *testing.T, x *journal.Draft, ops ...tree.Op) {
	t.Helper()
	var items []tree.Item
	for _, op := range ops {
		it, err := tree.NewItem(op)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	b, err := tree.NewBatch("liar", items)
	if err != nil {
		t.Fatal(err)
	}
	x.Count, x.Root = uint16(len(items)), b.Root()
	if x.Sealed, err = seal.SealOps(d.regionSeed(t, x.Region, x.Generation), opsContext(&x.Header), b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

func folder(name string) tree.Op {
	return tree.Op{Kind: tree.Create, Node: signet.NodeID(randomBytes(16)), Type: tree.Dir, Name: name, Mode: 0o755}
}

// TestLyingClient offers entries that break one rule each. The honest service
// refuses them, and says why; made to order them, devices go on as if they
// were not there, and suspect nobody.
func TestLyingClient(t *testing.T) {
	w, a, b, id := pair(t)
	c := w.device("c") // revoked later
	other := w.member("mallory")
	b.sync()
	s := w.raw(a)
	defer s.Close()
	c.add("Documents")
	c.sync()
	beforeRevoke := w.replay(s, id)
	x := beforeRevoke.draft(c, journal.Content)
	c.sealed(t, x, folder("by c"))
	dead, _, err := x.Sign(c.Self.Signer)
	if err != nil {
		t.Fatal(err)
	}
	stale := beforeRevoke.draft(b, journal.Content)
	b.sealed(t, stale, folder("stale"))
	staleRec, _, err := stale.Sign(b.Self.Signer)
	if err != nil {
		t.Fatal(err)
	}
	cSigner, cRing := c.Self.Signer, c.Account
	a.revoke(c)
	a.write("after the removal", "x")
	a.sync()
	b.sync()
	a.sync()
	now := w.replay(s, id)

	// of is an entry of b's with one thing changed before it is signed.
	of := func(change func(x *journal.Draft)) signet.Record {
		x := now.draft(b, journal.Content)
		b.sealed(t, x, folder("by a liar"))
		change(x)
		rec, _, err := x.Sign(b.Self.Signer)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	good := of(func(*journal.Draft) {})
	header, sig, seen, dir := splitHead(t, good.Head)
	attacks := []struct {
		name string
		rec  signet.Record
		by   *device
		kind string // of the refusal
	}{
		{"unsigned", signet.Record{Head: joinHead(header, nil, seen, dir), Blob: good.Blob}, b, "invalid"},
		{"signed with noise", signet.Record{Head: joinHead(header, randomBytes(len(sig)), seen, dir), Blob: good.Blob}, b, "invalid"},
		{"signed by another device", resign(t, good, a.Self.Signer), b, "invalid"},
		{"signed by a stranger", resign(t, good, newGhost(t).sign), b, "invalid"},
		{"header with a byte too many", signet.Record{Head: joinHead(append(bytes.Clone(header), 0), sig, seen, dir), Blob: good.Blob}, b, "invalid"},
		{"no header at all", signet.Record{Head: randomBytes(300), Blob: good.Blob}, b, "invalid"},
		{"header of 2 KiB", signet.Record{Head: joinHead(make([]byte, 2048), sig, seen, dir), Blob: good.Blob}, b, "invalid"},
		{"revoked device, older head", dead, b, "not_allowed"},
		{"revoked device, newest head", func() signet.Record {
			x := now.draft(c, journal.Content)
			x.Device, x.Ring = cRing.Device, cRing.Ring
			rec, _, err := x.Sign(cSigner)
			if err != nil {
				t.Fatal(err)
			}
			return rec
		}(), b, "not_allowed"},
		{"stale generation", staleRec, b, "stale"},
		{"generation that is not there", of(func(x *journal.Draft) { x.Generation = 9 }), b, "stale"},
		{"not a member", func() signet.Record {
			x := now.draft(other, journal.Content)
			rec, _, err := x.Sign(other.Self.Signer)
			if err != nil {
				t.Fatal(err)
			}
			return rec
		}(), b, "not_allowed"},
		{"in another ring's name", of(func(x *journal.Draft) { x.Ring = other.Account.Ring }), b, "not_allowed"},
		{"of another region", of(func(x *journal.Draft) { x.Region[0] ^= 1 }), b, "invalid"},
		{"of another organisation", of(func(x *journal.Draft) { x.Org[0] ^= 1 }), b, "invalid"},
		{"noise as observed head", of(func(x *journal.Draft) { x.Seen = noise(t, signet.Journal(id), 3) }), b, "invalid"},
		{"noise as directory head", of(func(x *journal.Draft) { x.Dir = noise(t, w.directory(), 3) }), b, "invalid"},
		{"directory head as observed head", of(func(x *journal.Draft) { x.Seen = x.Dir }), b, "invalid"},
		{"own previous entry of another", of(func(x *journal.Draft) { x.Own = now.state.Own(a.Self.Device) }), b, "conflict"},
		{"no own previous entry", of(func(x *journal.Draft) { x.Own = signet.Hash{} }), b, "conflict"},
		{"authority that never was", of(func(x *journal.Draft) { x.Authority[0] ^= 1 }), b, "invalid"},
		{"heads behind its own earlier ones", func() signet.Record {
			x := now.draft(a, journal.Content)
			x.Dir, x.Seen = beforeRevoke.dirHead, beforeRevoke.head
			rec, _, err := x.Sign(a.Self.Signer)
			if err != nil {
				t.Fatal(err)
			}
			return rec
		}(), a, "invalid"},
	}
	forged := w.forgery(signet.Journal(id))
	for _, x := range attacks {
		var kind interface{ ErrorKind() string }
		err := w.offer(t, x.by, id, x.rec)
		if err == nil {
			t.Fatalf("%s: the honest service took it", x.name)
		}
		if have := kindOf(err, &kind); have != x.kind {
			t.Errorf("%s: refused as %s, want %s: %v", x.name, have, x.kind, err)
		}
		if _, err := journal.HashOf(x.rec.Head); err == nil { // else there is no leaf for it
			forged.add(x.rec)
		}
	}
	t.Run("missing object", func(t *testing.T) {
		rec := of(func(x *journal.Draft) { x.IDs = []signet.ObjectID{{1, 2, 3}} })
		var missing interface{ MissingObjects() []signet.ObjectID }
		if err := w.offer(t, b, id, rec); !errors.As(err, &missing) || len(missing.MissingObjects()) != 1 {
			t.Errorf("an object that is not there: %v", err)
		}
	})
	t.Run("parts of another entry", func(t *testing.T) {
		if err := w.offer(t, b, id, signet.Record{Head: good.Head, Blob: of(func(*journal.Draft) {}).Blob}); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("parts that the header does not name: %v", err)
		}
	})
	t.Run("wrong object id", func(t *testing.T) {
		// Objects are named by the service, not by who sends them: bytes that are
		// not what an entry names are simply not there.
		if err := s.Put(t.Context(), id, [][]byte{randomBytes(1000)}); err != nil {
			t.Fatal(err)
		}
		missing, err := s.Have(t.Context(), id, []signet.ObjectID{signet.ObjectID(randomBytes(32))})
		if err != nil || len(missing) != 1 {
			t.Errorf("missing %v, %v", missing, err)
		}
	})
	t.Run("oversized", func(t *testing.T) {
		if err := s.Put(t.Context(), id, [][]byte{make([]byte, 9<<20)}); err == nil {
			t.Error("an object of 9 MiB was taken")
		}
		x := now.draft(b, journal.Content)
		x.Count, x.Root, x.Sealed = 1, signet.Hash{1}, make([]byte, 5<<20)
		if _, _, err := x.Sign(b.Self.Signer); err == nil {
			t.Error("the library signs 5 MiB")
		}
		x.Sealed = []byte("short")
		rec, _, err := x.Sign(b.Self.Signer)
		if err != nil {
			t.Fatal(err)
		}
		var blob wire.Writer
		blob.Vec24(make([]byte, 5<<20))
		blob.Vec24(nil)
		blob.Vec24(nil)
		rec.Blob = blob.B
		if err := w.offer(t, b, id, rec); err == nil {
			t.Error("an entry of 5 MiB was taken")
		}
		if _, err := b.Client.Append(t.Context(), signet.Journal(id), signet.Record{Head: make([]byte, 2<<20), Blob: rec.Blob}, time.Now().UnixMilli()); err == nil {
			t.Error("a header of 2 MiB was taken")
		}
	})

	// Made to order them all, between the work of honest devices.
	w.liar.forge(forged)
	a.write("goes on.txt", "goes on")
	a.sync()
	b.write("so does this.txt", "b's")
	b.sync()
	a.sync()
	same(t, a, b)
	for _, d := range []*device{a, b} {
		if strings.Contains(d.listing(), "liar") || strings.Contains(d.listing(), "by c") {
			t.Errorf("an entry without right had effect on %s:\n%s", d.name, d.listing())
		}
		if al := d.Engine.Alarms(); len(al) != 0 {
			t.Errorf("%s suspects somebody: %+v", d.name, al)
		}
		if c := d.sync(); c != (engine.Counters{}) {
			t.Errorf("%s: a further synch did %+v", d.name, c)
		}
	}
	fresh := w.device("d") // which replays it all
	fresh.add("Documents")
	fresh.sync()
	same(t, a, fresh)
	if al := fresh.Engine.Alarms(); len(al) != 0 {
		t.Errorf("a newcomer suspects somebody: %+v", al)
	}
}

// kindOf is the kind that the answer to a device would have.
func kindOf(err error, kind *interface{ ErrorKind() string }) string {
	switch {
	case errors.As(err, kind):
		return (*kind).ErrorKind()
	case errors.Is(err, signet.ErrConflict):
		return "conflict"
	case errors.Is(err, signet.ErrNotAllowed):
		return "not_allowed"
	case errors.Is(err, signet.ErrStale):
		return "stale"
	case errors.Is(err, signet.ErrNotVerified):
		return "invalid"
	}
	return fmt.Sprintf("internal (%v)", err)
}

func TestStrangersGetNothing(t *testing.T) {
	w, a, _, id := pair(t)
	other := w.member("mallory")
	s := w.raw(other)
	defer s.Close()
	ctx := t.Context()
	if _, err := s.Read(ctx, signet.Journal(id), 0, signet.Whole); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("another member's journal: %v", err)
	}
	if _, err := s.Have(ctx, id, []signet.ObjectID{{}}); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("another member's objects: %v", err)
	}
	if err := s.Put(ctx, id, [][]byte{{1}}); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("writing another member's objects: %v", err)
	}
	if _, err := s.Records(ctx, a.Account.Ring); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("another member's names: %v", err)
	}
	g := newGhost(t)
	if _, err := w.service.Connect(ctx, g.record.ID(), []byte("x"), []byte("y")); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a device that nobody added: %v", err)
	}
	sig, err := g.sign.Sign("signet/1/connection", []byte("x"))
	if _, cerr := w.service.Connect(ctx, a.Self.Device, []byte("x"), sig); err == nil && !errors.Is(cerr, signet.ErrNotAllowed) {
		t.Errorf("a device's name and another's key: %v", cerr)
	}
}

// TestHostileNames: a device of the ring that signs operations no program of
// ours would make.
func TestHostileNames(t *testing.T) {
	w, a, b, id := pair(t)
	s := w.raw(a)
	defer s.Close()
	outside := filepath.Join(filepath.Dir(b.dir), "outside")
	if err := os.WriteFile(outside, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	marker := markerOf(t, b)
	top := tree.Op{Kind: tree.Create, Node: signet.NodeID(randomBytes(16)), Type: tree.Link, Name: "way out", Target: filepath.Dir(b.dir)}
	hidden := folder(".signet")
	below := func(parent signet.NodeID, op tree.Op) tree.Op { op.Parent = parent; return op }
	link := func(name, target string) tree.Op {
		return tree.Op{Kind: tree.Create, Node: signet.NodeID(randomBytes(16)), Type: tree.Link, Name: name, Target: target}
	}
	ops := []tree.Op{
		folder(".."), folder("."), folder(""), folder("../outside"), folder("/etc/passwd"), folder("a/../../outside"),
		folder("nul\x00byte"), folder(strings.Repeat("n", 4000)), folder("line\nbreak\x1b[31m\a"), folder("\xff\xfe"), folder("CON"), folder("con."),
		link(".signet", "/etc"), hidden, below(hidden.Node, folder("marker")), below(hidden.Node, folder("trash")),
		top, below(top.Node, folder("outside")), below(top.Node, folder("made through a link")),
		link("..", "../outside"), folder("case"), folder("CASE"), folder("twin"), folder("twin"),
	}
	// Some are refused where they are made (parents that are no folders), the
	// rest goes into one entry, signed by a real device.
	x := w.replay(s, id).draft(a, journal.Content)
	a.sealed(t, x, ops...)
	rec, _, err := x.Sign(a.Self.Signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.offer(t, a, id, rec); err != nil {
		t.Fatal(err)
	}
	if _, err := b.try(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(outside)
	if err != nil || string(got) != "untouched" {
		t.Errorf("a file outside: %q, %v", got, err)
	}
	around, err := os.ReadDir(filepath.Dir(b.dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range around {
		if e.Name() != "outside" && e.Name() != filepath.Base(b.dir) {
			t.Errorf("made outside of the volume: %s", e.Name())
		}
	}
	if !bytes.Equal(markerOf(t, b), marker) {
		t.Error("the marker was written by a synch")
	}
	if fi, err := os.Lstat(filepath.Join(b.dir, ".signet")); err != nil || !fi.IsDir() {
		t.Errorf(".signet: %v, %v", fi, err)
	}
	for _, name := range []string{"trash/marker", "marker/x", "marker/marker"} {
		if _, err := os.Lstat(filepath.Join(b.dir, ".signet", name)); err == nil {
			t.Errorf(".signet/%s came from a synch", name)
		}
	}
	// What was meant as a place outside is inside, under a harmless name.
	l := b.listing()
	for _, want := range []string{"%2E%2E/", "%2E/", "%2Fetc%2Fpasswd/", "nul%00byte/", "twin/", strings.Repeat("n", 255) + "/", "line\nbreak", ".signet"} {
		if !strings.Contains(l, want) {
			t.Errorf("%q is not there:\n%q", want, l)
		}
	}
	if strings.Contains(l, "way out/") || len(b.Engine.Alarms()) != 0 {
		t.Errorf("written through a link, or somebody is suspected: %+v", b.Engine.Alarms())
	}
	// It is stable: the names that a disk gives are not sent back as changes.
	b.sync()
	a.sync()
	if c := b.sync(); c.Entries != 0 {
		t.Errorf("aliases were sent as renames: %+v", c)
	}
	b.write("still works.txt", "works")
	b.sync()
	a.sync()
	if a.read("still works.txt") != "works" {
		t.Error("others' work does not go on")
	}
}

func markerOf(t *testing.T, d *device) []byte {
	t.Helper()
	return readFile(t, filepath.Join(d.dir, ".signet", "marker"))
}

// TestOperationsThatCannotBeOpenedAreSkipped: a device of the ring that seals
// nonsense harms its own entry alone.
func TestOperationsThatCannotBeOpenedAreSkipped(t *testing.T) {
	w, a, b, id := pair(t)
	s := w.raw(a)
	defer s.Close()
	for name, spoil := range map[string]func(x *journal.Draft){
		"noise":               func(x *journal.Draft) { x.Sealed = randomBytes(500) },
		"other count":         func(x *journal.Draft) { x.Count = 2 },
		"other root":          func(x *journal.Draft) { x.Root[0] ^= 1 },
		"sealed for another":  func(x *journal.Draft) { x.Sealed[40] ^= 1 },
		"operation of no use": func(x *journal.Draft) {},
	} {
		x := w.replay(s, id).draft(a, journal.Content)
		op := folder("nonsense " + name)
		op.Parent = signet.NodeID(randomBytes(16)) // no such folder
		a.sealed(t, x, op)
		spoil(x)
		rec, _, err := x.Sign(a.Self.Signer)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.offer(t, a, id, rec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	b.write("goes on.txt", "goes on")
	b.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	if al := b.Engine.Alarms(); len(al) != 0 {
		t.Errorf("b suspects somebody: %+v", al)
	}
}
