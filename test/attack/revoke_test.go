package attack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
	"signet/device/account"
)

// A thief has every key that a device ever held, and everything that the
// service ever stored.
type thief struct {
	t       *testing.T
	self    region.Self
	openers []seal.Opener
	seeds   []*seal.Seed
	pieces  [][32]byte // keys of objects
}

// rob takes the keys of a device: its own, its ring's, its regions', and those
// of every object that a tree names.
func rob(t *testing.T, d *device, id signet.RegionID) *thief {
	t.Helper()
	x := &thief{t: t, self: d.Self, openers: []seal.Opener{d.Self.Opener}}
	d.Engine.Directory(func(s *ring.State, _ *region.Keys) {
		k, err := region.OpenKeys(s, &d.Self)
		if err != nil {
			t.Fatal(err)
		}
		for g := signet.Generation(1); g <= k.Newest(); g++ {
			x.seeds = append(x.seeds, k.Seed(g))
			x.openers = append(x.openers, k.Seed(g).Opener())
		}
	})
	for _, s := range d.regionSeeds(t, id) {
		x.seeds = append(x.seeds, s)
		x.openers = append(x.openers, s.Opener())
	}
	for _, ref := range d.refs(t, id) {
		x.pieces = append(x.pieces, ref.Key)
	}
	return x
}

// refs are the references to all objects of all files in a region's tree as a
// device has it: pieces, and the manifest pages that name them.
func (d *device) refs(t *testing.T, id signet.RegionID) (list []seal.Ref) {
	t.Helper()
	var all []*seal.Content
	err := d.Engine.WithRegion(id, func(r *region.Region) error {
		return contents(r.Tree, signet.RootNode, &all)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := d.w.raw(d)
	defer s.Close()
	get := func(o signet.ObjectID) (object []byte, err error) {
		err = s.Get(t.Context(), id, []signet.ObjectID{o}, func(_ signet.ObjectID, b []byte) error {
			object = bytes.Clone(b)
			return nil
		})
		return object, err
	}
	for _, c := range all {
		m, err := c.Open(get)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m.Pages...)
		for _, p := range m.Pieces {
			list = append(list, p.Ref)
		}
	}
	return list
}

func contents(t *tree.Tree, under signet.NodeID, list *[]*seal.Content) error {
	for _, n := range t.Children(under) {
		if err := contents(t, n.ID, list); err != nil {
			return err
		}
		if len(n.Data) == 0 {
			continue
		}
		c, err := seal.ParseContent(n.Data)
		if err != nil {
			return err
		}
		*list = append(*list, c)
	}
	return nil
}

// regionSeed is the key of a region's generation.
func (d *device) regionSeed(t *testing.T, id signet.RegionID, g signet.Generation) *seal.Seed {
	t.Helper()
	s := d.regionSeeds(t, id)[g]
	if s == nil {
		t.Fatalf("%s has no key of generation %d", d.name, g)
	}
	return s
}

// regionSeeds opens the keys of all generations of a region that the device's
// keys open, from the envelopes in the journal.
func (d *device) regionSeeds(t *testing.T, id signet.RegionID) map[signet.Generation]*seal.Seed {
	t.Helper()
	x := &thief{t: t, self: d.Self, openers: []seal.Opener{d.Self.Opener}}
	d.Engine.Directory(func(_ *ring.State, k *region.Keys) {
		for g := signet.Generation(1); g <= k.Newest(); g++ {
			x.openers = append(x.openers, k.Seed(g).Opener())
		}
	})
	found := map[signet.Generation]*seal.Seed{}
	err := d.Engine.WithRegion(id, func(r *region.Region) error {
		for _, g := range r.State.Generations() {
			if list := x.generation(r.State, g); len(list) > 0 {
				found[g.Number] = list[0]
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// generation tries every key on every envelope of a region's generation.
func (x *thief) generation(s *journal.State, g journal.Generation) (found []*seal.Seed) {
	for i, e := range g.Envelopes {
		c := seal.Context{Org: x.self.Org, OwnerKind: seal.OfRegion, Owner: s.Region(), Generation: g.Number,
			RecipientKind: seal.RecipientKind(e.Kind), Recipient: e.ID, RecipientGeneration: e.Generation, Giver: e.Giver}
		if g.Number == 1 && i < g.First {
			c.Owner = s.Founding().Claim
		}
		for _, o := range x.openers {
			if seed, _, err := seal.OpenEnvelope(c, o, e.Sealed, g.Public, s.Founding().SecretCommit); err == nil {
				found = append(found, seed)
			}
		}
	}
	for _, seed := range x.seeds {
		c := seal.BackContext{Org: x.self.Org, OwnerKind: seal.OfRegion, Owner: s.Region(), Generation: g.Number}
		for _, prev := range s.Generations() {
			if p, err := seal.OpenBack(c, seed, g.BackLink, prev.Public); err == nil {
				found = append(found, p)
			}
		}
	}
	return found
}

// try tries every key on everything that was stored from positions of
// directory and journal on, and returns what it opened.
func (x *thief) try(w *world, id signet.RegionID, dirFrom, from uint64, refs []seal.Ref) (opened []string) {
	x.t.Helper()
	s := w.raw(w.first)
	defer s.Close()
	r := w.replay(s, id)
	say := func(format string, args ...any) { opened = append(opened, fmt.Sprintf(format, args...)) }

	// Keys of the ring, in the directory.
	for _, g := range r.dir.Generations(x.self.Ring) {
		if g.Position < dirFrom {
			continue
		}
		for _, e := range g.Envelopes {
			c := seal.Context{Org: x.self.Org, OwnerKind: seal.OfRing, Owner: x.self.Ring, Generation: g.Number,
				RecipientKind: seal.ToDevice, Recipient: e.ID, Giver: g.Giver}
			if g.Number == 1 {
				c.Owner = r.dir.ClaimOf(x.self.Ring)
			}
			for _, o := range x.openers {
				if _, _, err := seal.OpenEnvelope(c, o, e.Sealed, g.Public, r.dir.SecretCommit(x.self.Ring)); err == nil {
					say("generation %d of the ring", g.Number)
				}
			}
		}
		for _, seed := range x.seeds {
			c := seal.BackContext{Org: x.self.Org, OwnerKind: seal.OfRing, Owner: x.self.Ring, Generation: g.Number}
			for _, prev := range r.dir.Generations(x.self.Ring) {
				if _, err := seal.OpenBack(c, seed, g.BackLink, prev.Public); err == nil {
					say("back-link of generation %d of the ring", g.Number)
				}
			}
		}
	}
	// Keys of the region, and operations.
	for _, g := range r.state.Generations() {
		if g.Position >= from && len(x.generation(r.state, g)) > 0 {
			say("generation %d of the region", g.Number)
		}
	}
	for i, rec := range w.records(signet.Journal(id)) {
		if uint64(i) < from {
			continue
		}
		e, err := journal.Reopen(r.state, uint64(i), rec)
		if err != nil {
			x.t.Fatal(err)
		}
		for _, seed := range x.seeds {
			if _, err := seal.OpenOps(seed, opsContext(&e.Header), e.Sealed); err == nil && len(e.Sealed) > 0 {
				say("operations of entry %d", i)
			}
		}
	}
	// Objects: with the length that is theirs, so that only the key can be wrong.
	var ids []signet.ObjectID
	size := map[signet.ObjectID]uint32{}
	for _, ref := range refs {
		ids, size[ref.Object] = append(ids, ref.Object), ref.Size
	}
	err := s.Get(x.t.Context(), id, ids, func(o signet.ObjectID, b []byte) error {
		for _, k := range x.pieces {
			if _, err := seal.OpenPiece(nil, seal.Ref{Object: o, Key: k, Size: size[o]}, b); err == nil {
				say("object %s", o)
			}
		}
		return nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	// Names of devices.
	list, err := s.Records(x.t.Context(), x.self.Ring)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, raw := range list {
		rec, err := ring.ParseRecord(raw)
		if err != nil {
			x.t.Fatal(err)
		}
		for _, seed := range x.seeds {
			if text, err := seal.OpenRecord(seed, rec.Context(), rec.Sealed); err == nil {
				say("record %q", text)
			}
		}
	}
	return opened
}

func opsContext(h *journal.Header) []byte {
	var c wire.Writer
	c.Raw(h.Org[:])
	c.Raw(h.Region[:])
	c.Raw(h.Device[:])
	c.U32(uint32(h.Generation))
	c.U8(uint8(h.Type))
	return c.B
}

func TestRevokedDevicesKeysOpenNothingSealedAfterwards(t *testing.T) {
	w, a, b, id := pair(t)
	c := w.device("c")
	c.add("Documents")
	c.sync()
	c.write("by c.txt", "by c")
	large := randomBytes(1 << 20) // a manifest page and eight pieces
	c.write("large.bin", string(large))
	c.sync()
	a.sync()
	b.sync()
	x := rob(t, c, id)
	if len(x.seeds) < 2 || len(x.pieces) < 3 {
		t.Fatalf("%d seeds, %d keys of objects: that is not all", len(x.seeds), len(x.pieces))
	}
	// The thief's tools open what there was: all of it, pages and pieces too.
	known := a.refs(t, id)
	opened := x.try(w, id, 0, 0, known)
	if len(opened) < len(known)+7 || len(known) < 12 {
		t.Fatalf("the tools open only %q", opened)
	}
	for _, ref := range known {
		if !slices.Contains(opened, fmt.Sprintf("object %s", ref.Object)) {
			t.Errorf("the tools do not open object %s of %d bytes", ref.Object, ref.Size)
		}
	}
	s := w.raw(a)
	defer s.Close()
	before := w.replay(s, id)
	a.revoke(c)
	a.write("after.txt", "after the removal")
	a.write("letter.txt", "dear all, but one") // edits of what c had
	copy(large[300_000:], "a change in the midst of it")
	a.write("large.bin", string(large))
	a.write("large after.bin", string(randomBytes(1<<20)))
	a.sync()
	b.sync()
	if err := os.Rename(filepath.Join(b.dir, "folder"), filepath.Join(b.dir, "secret name")); err != nil {
		t.Fatal(err)
	}
	b.write("by b.txt", "by b, after the removal")
	b.sync()
	a.sync()
	renameDevice(t, a, b, "renamed after")
	renameDevice(t, a, a, "a, renamed after")

	fresh := newer(a.refs(t, id), known)
	if len(fresh) < 3+2+9 { // small ones, an edit's page and piece, a new file's page and pieces
		t.Fatalf("only %d new objects", len(fresh))
	}
	// All that was stored since, and the keys that all that would give.
	for _, o := range x.try(w, id, before.dir.Size(), before.state.Size(), fresh) {
		if bytes.Contains([]byte(o), []byte("renamed after")) || !bytes.HasPrefix([]byte(o), []byte("record")) {
			t.Errorf("opened: %s", o)
		}
	}
}

// newer are the references of which the older list has none.
func newer(all, older []seal.Ref) (list []seal.Ref) {
	for _, ref := range all {
		if !slices.Contains(older, ref) {
			list = append(list, ref)
		}
	}
	return list
}

// renameDevice gives a device another name, as device rename does.
func renameDevice(t *testing.T, by, d *device, name string) {
	t.Helper()
	var raw []byte
	var err error
	by.Engine.Directory(func(_ *ring.State, k *region.Keys) {
		raw, err = by.Self.SealRecord(k, d.Self.Device, 9, []byte(name))
	})
	if err == nil {
		err = by.Client.PutRecord(t.Context(), raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSingleWriterGoesOnWithoutTheOthers: whatever is offline, a device that
// knows of a removal writes at once, under a key that the removed one lacks.
func TestSingleWriterGoesOnWithoutTheOthers(t *testing.T) {
	w, a, b, id := pair(t)
	c := w.device("c")
	c.add("Documents")
	c.sync()
	x := rob(t, b, id)
	s := w.raw(a)
	defer s.Close()
	before := w.replay(s, id)
	a.revoke(b)
	a.close() // nobody else is there
	c.write("alone.txt", "alone")
	known := c.refs(t, id)
	start := time.Now()
	c.sync()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if g := c.Engine.Regions()[0].Generation; g != 2 {
		t.Errorf("written under generation %d", g)
	}
	a.open()
	for _, o := range x.try(w, id, before.dir.Size(), before.state.Size(), newer(c.refs(t, id), known)) {
		if !bytes.HasPrefix([]byte(o), []byte("record")) { // names of before
			t.Errorf("opened: %s", o)
		}
	}
	a.sync()
	if a.read("alone.txt") != "alone" {
		t.Error("a does not have it")
	}
}

// TestBypassOfStaleRing: a device that signs itself off leaves its ring stale.
// Who writes next gives the new key of the region to the remaining devices one
// by one, whether the ring is rekeyed or not.
func TestBypassOfStaleRing(t *testing.T) {
	w, a, b, id := pair(t)
	c := w.device("c")
	c.add("Documents")
	c.sync()
	x := rob(t, b, id)
	s := w.raw(a)
	defer s.Close()
	before := w.replay(s, id)
	// It is no longer served when its statement is in.
	if err := account.Revoke(t.Context(), b.Self, b.Engine, b.Self.Device, b.now); err != nil && !errors.Is(err, signet.ErrNotAllowed) {
		t.Fatal(err)
	}
	a.close()
	c.write("alone.txt", "alone")
	// The engine alone, without the command's rekeying of the ring.
	if err := c.Engine.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := c.Engine.SyncVolume(t.Context(), c.Engine.Volumes()[0].ID); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	now := w.replay(s, id)
	if g := now.state.Current(); g.Number != 2 || len(g.Envelopes) != 2 || g.Envelopes[0].Kind != ring.ToDevice {
		t.Errorf("generation %d with %d envelopes", g.Number, len(g.Envelopes))
	}
	a.open()
	for _, o := range x.try(w, id, before.dir.Size(), before.state.Size(), nil) {
		if !bytes.HasPrefix([]byte(o), []byte("record")) {
			t.Errorf("opened: %s", o)
		}
	}
	a.sync()
	if a.read("alone.txt") != "alone" {
		t.Error("a does not have it")
	}
}
