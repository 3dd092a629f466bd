package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/engine"
)

func newSeed(t *testing.T) *seal.Seed {
	t.Helper()
	s, err := seal.NewSeed(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServiceCannotOverwriteRegionKey(t *testing.T) {
	w, a, b, id := pair(t)
	known := newSeed(t) // to the service

	t.Run("forged rekey", func(t *testing.T) {
		rec := w.rekeyWith(t, a, id, known, always(known))
		g := newGhost(t)
		f := w.forgery(signet.Journal(id))
		w.liar.forge(f)
		for name, forge := range map[string]func() signet.Record{
			"signature of the log key": func() signet.Record { return resign(t, rec, w.logKey) },
			"signature of a ghost":     func() signet.Record { return resign(t, rec, g.sign) },
		} {
			forged := forge()
			s := w.raw(a)
			if _, err := s.Append(t.Context(), signet.Journal(id), forged, time.Now().UnixMilli()); err == nil {
				t.Errorf("%s: the honest service took it", name)
			}
			s.Close()
			f.add(forged)
			b.write(name, "under the old key")
			b.sync()
			if g := b.Engine.Regions()[0].Generation; g != 1 {
				t.Errorf("%s: writes under generation %d", name, g)
			}
			a.sync()
			same(t, a, b)
		}
	})
	t.Run("envelope with a chosen key", func(t *testing.T) {
		w, a, b, id := pair(t)
		c := w.device("c")
		f := w.forgery(signet.Journal(id))
		// The genesis's own envelopes hold another seed: nothing signed fits them.
		gens := envelopesIn(t, f.records[0].Blob)
		f.records[0].Blob = bytes.Replace(f.records[0].Blob, gens[0].Sealed, bytes.Repeat([]byte{1}, len(gens[0].Sealed)), 1)
		w.liar.forge(f)
		if err := c.Engine.Discover(t.Context()); !errors.Is(err, signet.ErrNotVerified) || !strings.Contains(err.Error(), "parts are not those") {
			t.Errorf("a newcomer took a key of the service's: %v", err)
		}
		_, _ = a, b
	})
}

// envelopesIn finds the envelopes in a genesis's blob.
func envelopesIn(t *testing.T, blob []byte) []ring.Envelope {
	t.Helper()
	// The list is the last part of the body, which is the last part of the blob.
	for at := len(blob) - 1; at > 0; at-- {
		if l, err := ring.ParseEnvelopes(blob[at:]); err == nil && len(l) > 0 {
			return l
		}
	}
	t.Fatal("no envelopes")
	return nil
}

// resign puts another signature into an entry.
func resign(t *testing.T, rec signet.Record, by key.Signer) signet.Record {
	t.Helper()
	header, _, seen, dir := splitHead(t, rec.Head)
	label := key.LabelEntry
	if h, err := journal.IDOf(rec.Head); err == nil && h.Type.Authority() {
		label = key.LabelAuthority
	}
	sig, err := by.Sign(label, header)
	if err != nil {
		t.Fatal(err)
	}
	return signet.Record{Head: joinHead(header, sig, seen, dir), Blob: rec.Blob}
}

// seals makes a snapshot of the region as a device has it, and stores its
// pages.
func (w *world) snapshot(t *testing.T, d *device, id signet.RegionID, change func(*region.Snapshot)) signet.Record {
	t.Helper()
	s := w.raw(d)
	defer s.Close()
	w.orderPoint(d, s)
	d.sync()
	var objects [][]byte
	var rec signet.Record
	head := d.Engine.DirectoryHead()
	err := d.Engine.WithRegion(id, func(r *region.Region) error {
		snap, err := r.SealSnapshot(func(o []byte, _ signet.ObjectID) error { objects = append(objects, bytes.Clone(o)); return nil })
		if err != nil {
			return err
		}
		change(snap)
		rec, err = r.CommitSnapshot(head, snap)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), id, objects); err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestForgedSnapshotIsNotListed(t *testing.T) {
	w, a, _, id := pair(t)
	for i := range 8 { // long enough that a newcomer looks for a snapshot
		a.write(fmt.Sprint("file ", i), "x")
		a.sync()
	}
	good := w.snapshot(t, a, id, func(*region.Snapshot) {})
	s := w.raw(a)
	defer s.Close()
	order := func(rec signet.Record) error {
		_, err := s.Append(t.Context(), signet.Journal(id), rec, time.Now().UnixMilli())
		return err
	}
	if err := order(good); err != nil {
		t.Fatal(err)
	}
	a.reopen() // as after offer
	a.sync()
	listed := func(d *device) (n int, err error) {
		if err := d.Engine.Peek(t.Context()); err != nil {
			return 0, err
		}
		err = d.Engine.WithListing(id, func(t *tree.Tree) error { n = t.Len(); return nil })
		return n, err
	}
	c := w.device("c")
	if n, err := listed(c); err != nil || n < 12 {
		t.Fatalf("the good snapshot lists %d nodes: %v", n, err)
	}

	t.Run("pages changed by the service", func(t *testing.T) {
		d := w.device("d")
		w.liar.lie(lies{object: func(_ signet.ObjectID, o []byte) []byte { o[len(o)-1] ^= 1; return o }})
		defer w.liar.lie(lies{})
		if n, err := listed(d); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("listed %d nodes: %v", n, err)
		}
	})
	t.Run("pages exchanged for older ones", func(t *testing.T) {
		d := w.device("d2")
		var first []byte
		w.liar.lie(lies{object: func(_ signet.ObjectID, o []byte) []byte {
			if first == nil {
				first = bytes.Repeat([]byte{7}, len(o))
			}
			return first
		}})
		defer w.liar.lie(lies{})
		if n, err := listed(d); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("listed %d nodes: %v", n, err)
		}
	})
	t.Run("entry signed by nobody of the ring", func(t *testing.T) {
		f := w.forgery(signet.Journal(id))
		f.add(resign(t, w.snapshot(t, a, id, func(s *region.Snapshot) { s.Pages = nil }), newGhost(t).sign))
		w.liar.forge(f)
		defer w.liar.forget()
		if n, err := listed(w.device("e")); err != nil || n < 12 {
			t.Errorf("listed %d nodes, %v: the forged one counted", n, err)
		}
	})
	t.Run("wrong digest by a device of the ring", func(t *testing.T) {
		if err := order(w.snapshot(t, a, id, func(s *region.Snapshot) { s.Digest[0] ^= 1 })); err != nil {
			t.Fatal(err)
		}
		d := w.device("f")
		n, err := listed(d)
		if !errors.Is(err, region.ErrDigest) || !strings.Contains(err.Error(), a.Self.Device.String()) {
			t.Errorf("listed %d nodes: %v", n, err)
		}
	})
}

func TestReceiptMustProveTheDevicesOwnEntry(t *testing.T) {
	w, a, b, id := pair(t)
	var old signet.Receipt
	w.liar.lie(lies{append: func(_ context.Context, _ signet.DeviceID, _ signet.LogID, _ signet.Record, honest func() (signet.Receipt, error)) (signet.Receipt, error) {
		r, err := honest()
		old = r
		return r, err
	}})
	b.write("first.txt", "first")
	b.sync()
	own := signet.Journal(id)
	for name, spoil := range map[string]struct {
		lie  func(r *signet.Receipt)
		says string
	}{
		"no proof":             {func(r *signet.Receipt) { r.Proof = nil }, "proof"},
		"wrong proof":          {func(r *signet.Receipt) { r.Proof[0][0] ^= 1 }, "proof"},
		"other position":       {func(r *signet.Receipt) { r.Position-- }, "proof"},
		"receipt of another":   {func(r *signet.Receipt) { *r = old }, "another item"},
		"no checkpoint":        {func(r *signet.Receipt) { r.Checkpoint = nil }, "checkpoint"},
		"checkpoint of others": {func(r *signet.Receipt) { r.Checkpoint = otherCheckpoint(t, own, r.Checkpoint) }, "other log keys"},
		"leaf of another time": {func(r *signet.Receipt) { r.Leaf[39] ^= 1 }, "proof"},
	} {
		t.Run(name, func(t *testing.T) {
			w.liar.lie(lies{append: func(_ context.Context, _ signet.DeviceID, log signet.LogID, _ signet.Record, honest func() (signet.Receipt, error)) (signet.Receipt, error) {
				r, err := honest()
				if err == nil && log == own {
					r.Leaf, r.Proof = bytes.Clone(r.Leaf), append([]signet.Hash(nil), r.Proof...)
					spoil.lie(&r)
				}
				return r, err
			}})
			b.write(name, "content of "+name)
			refused(t, b, "not_verified", "receipt for journal/", spoil.says)
			w.liar.lie(lies{})
			b.again(t)
			b.sync() // the entry was taken all the same: it is not written twice
		})
	}
	a.sync()
	same(t, a, b)
	if c := b.sync(); c != (engine.Counters{}) {
		t.Errorf("a further synch did %+v", c)
	}
}

func otherCheckpoint(t *testing.T, log signet.LogID, like []byte) []byte {
	t.Helper()
	k := generate(t)
	c, err := chain.Sign(k, log, 5, signet.Hash{1}, time.Now().UnixMilli(), true)
	if err != nil {
		t.Error(err)
		return like
	}
	return c.Bytes()
}

func TestStarvedDeviceSaysSo(t *testing.T) {
	w, a, b, id := pair(t)
	b.reopen()
	w.liar.lie(lies{append: func(_ context.Context, by signet.DeviceID, _ signet.LogID, _ signet.Record, honest func() (signet.Receipt, error)) (signet.Receipt, error) {
		if by == b.Self.Device {
			return signet.Receipt{}, fmt.Errorf("later: %w", signet.ErrUnavailable)
		}
		return honest()
	}})
	state := func() engine.VolumeStatus { return b.Engine.Status()[0] }
	b.write("starved.txt", "starved")
	if _, err := b.try(); !errors.Is(err, signet.ErrUnavailable) {
		t.Fatal(err)
	}
	if state().State == engine.Starved {
		t.Error("starved at once")
	}
	s := w.raw(a)
	defer s.Close()
	f := w.forgery(signet.Journal(id))
	for range 99 {
		f.point(w, a)
	}
	w.liar.forge(f)
	b.late.Store(int64(61 * time.Second))
	b.try()
	if state().State == engine.Starved {
		t.Error("starved after 99 entries of others")
	}
	f.point(w, a)
	b.late.Store(int64(30 * time.Second))
	b.try()
	if state().State == engine.Starved {
		t.Error("starved within a minute")
	}
	b.late.Store(int64(61 * time.Second))
	b.try()
	if st := state(); st.State != engine.Starved || !strings.Contains(st.Reason, "100 of others") {
		t.Errorf("not starved: %s, %s", st.State, st.Reason)
	}
	// Fed again, it is over.
	w.liar.lie(lies{})
	b.sync()
	if state().State == engine.Starved {
		t.Error("still starved")
	}
}

// point orders an empty entry in a forged log.
func (f *forged) point(w *world, d *device) {
	f.t.Helper()
	dir := d.Engine.DirectoryHead()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil {
		s := w.raw(d)
		f.state = w.replay(s, f.log.ID)
		s.Close()
	}
	f.state.head, f.state.dirHead = f.sign(f.tree(len(f.records))), dir
	rec, _, err := f.state.draft(d, journal.Content).Sign(d.Self.Signer)
	if err != nil {
		f.t.Fatal(err)
	}
	f.append(rec)
	leaf, err := journal.ParseLeaf(f.records[len(f.records)-1].Leaf)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, reason, err := f.state.state.Apply(leaf, rec.Head, rec.Blob); reason != nil || err != nil {
		f.t.Fatal(reason, err)
	}
}

func TestServiceThatDoesNotAnswerForTenMinutesStarves(t *testing.T) {
	w, _, b, _ := pair(t)
	b.reopen()
	w.liar.lie(lies{append: func(context.Context, signet.DeviceID, signet.LogID, signet.Record, func() (signet.Receipt, error)) (signet.Receipt, error) {
		return signet.Receipt{}, fmt.Errorf("later: %w", signet.ErrUnavailable)
	}})
	stop := b.daemon(t)
	defer stop()
	b.write("starved.txt", "starved")
	eventually(t, "offline for want of a receipt", func() bool { return strings.Contains(b.Engine.Status()[0].Reason, "cannot answer") })
	if s := b.Engine.Status()[0]; s.State == engine.Starved {
		t.Errorf("starved at once: %s", s.Reason)
	}
	b.late.Store(int64(601 * time.Second))
	if s := b.Engine.Status()[0]; s.State != engine.Starved {
		t.Errorf("after ten minutes: %s, %s", s.State, s.Reason)
	}
}

// daemon runs the device's engine until the returned function is called.
func (d *device) daemon(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	o := d.Owner
	go func() { done <- o.Engine.Run(ctx) }()
	eventually(t, "the daemon is online", func() bool { on, _ := o.Engine.Online(); return on })
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRunningDaemonRefusesServiceThatWentBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w, a, b, _ := pair(t)
	old := w.copyData()
	a.write("after.txt", "after")
	a.sync()
	b.sync()
	stop := b.daemon(t)
	defer stop()
	w.stop()
	w.run(old)
	eventually(t, "alarm", func() bool { return b.Engine.Status()[0].State == engine.AlarmedAt })
	if al := b.Engine.Alarms(); len(al) == 0 || al[0].Kind != "rollback" {
		t.Errorf("alarms: %+v", al)
	}
	if b.read("after.txt") != "after" {
		t.Error("the newer file is gone")
	}
	b.write("later.txt", "later") // a change while the alarm stands goes nowhere
	before := b.listing()
	if _, err := b.Engine.Settle(within(t), b.Engine.Volumes()[0].ID); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("settled: %v", err)
	}
	if after := b.listing(); after != before {
		t.Errorf("something was applied:\n%s\n--- and before\n%s", after, before)
	}
}

func TestRunningDaemonRefusesDirectoryThatWentBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w, a, b, _ := pair(t)
	old := w.copyData()
	w.device("c")
	a.sync()
	b.sync()
	stop := b.daemon(t)
	defer stop()
	w.stop()
	w.run(old)
	eventually(t, "alarm", func() bool { return b.Engine.Status()[0].State == engine.AlarmedAt })
	if al := b.Engine.Alarms(); len(al) == 0 || al[0].Kind != "rollback" || !strings.Contains(al[0].Message, "directory/") {
		t.Errorf("alarms: %+v", al)
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClocksThatDifferAreNamed(t *testing.T) {
	t.Run("of the device", func(t *testing.T) {
		_, _, b, _ := pair(t)
		b.late.Store(int64(11 * time.Minute))
		b.reopen()
		b.write("late.txt", "late")
		var kind interface{ ErrorKind() string }
		if _, err := b.try(); !errors.As(err, &kind) || kind.ErrorKind() != "clock" || strings.Count(err.Error(), "Z") < 2 {
			t.Errorf("want kind clock, both times named: %v", err)
		}
	})
	t.Run("of the service", func(t *testing.T) {
		w, a, b, id := pair(t)
		a.write("early.txt", "early")
		f := w.forgery(signet.Journal(id))
		f.time += (11 * time.Minute).Milliseconds()
		w.liar.forge(f)
		for _, d := range []*device{a, b} { // its own entry, then another's
			d.sync()
			if al := d.Engine.Alarms(); len(al) != 1 || al[0].Kind != "clock" || al[0].Region != id.String() {
				t.Errorf("alarms of %s: %+v", d.name, al)
			}
		}
		same(t, a, b)
	})
}
