package journal_test

import (
	"bytes"
	"errors"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring/ringtest"
)

func TestAMemberCannotInventAHead(t *testing.T) {
	w, r, j := start(t)
	j.Draw("a b a")
	own := func(log signet.LogID, size uint64, root signet.Hash) *chain.Checkpoint {
		c, err := chain.Sign(w.Signer("a"), log, size, root, w.Now, true)
		w.Must(err)
		return c
	}
	spoil := func(f func(d *journal.Draft)) signet.Record {
		d := j.Draft(journal.Content, "a")
		f(d)
		return j.Sign(d, "a")
	}
	refused(t, j, "an observed head that the member signed", spoil(func(d *journal.Draft) {
		d.Seen = own(signet.Journal(j.ID), 2, signet.Hash{1})
	}), signet.ErrNotVerified)
	refused(t, j, "a directory head that the member signed", spoil(func(d *journal.Draft) {
		d.Dir = own(signet.Directory(w.State.Org()), 2, signet.Hash{1})
	}), signet.ErrNotVerified)
	refused(t, j, "the observed head of another log", spoil(func(d *journal.Draft) { d.Seen = w.Checkpoint() }), signet.ErrNotVerified)
	refused(t, j, "the directory head of another log", spoil(func(d *journal.Draft) { d.Dir = j.Checkpoint() }), signet.ErrNotVerified)
	good := j.Sign(j.Draft(journal.Content, "a"), "a")
	noise := signet.Record{Head: bytes.Clone(good.Head), Blob: good.Blob}
	copy(noise.Head[signatureBytes(good.Head)[1]+3:], "noise noise noise")
	refused(t, j, "noise for an observed head", noise, signet.ErrNotVerified)
	refused(t, j, "no observed head", stripSeen(good), signet.ErrNotVerified)
	// True checkpoints, but not those whose hashes the writer signed.
	older := j.Draft(journal.Content, "b")
	older.Seen = j.CheckpointAt(3)
	signed, swapped := j.Sign(older, "b"), j.Sign(j.Draft(journal.Content, "b"), "b")
	at, from := signatureBytes(swapped.Head)[1]+1, signatureBytes(signed.Head)[1]+1
	mixed := signet.Record{Head: append(bytes.Clone(signed.Head[:from]), swapped.Head[at:]...), Blob: signed.Blob}
	refused(t, j, "another true head than the one it signed", mixed, signet.ErrNotVerified)

	refused(t, j, "an observed head behind that of its last entry", spoil(func(d *journal.Draft) { d.Seen = j.CheckpointAt(1) }), signet.ErrNotVerified)
	w.Draw(r, "a+c")
	j.Draw("a")
	refused(t, j, "a directory head behind that of its last entry", spoil(func(d *journal.Draft) { d.Dir = w.CheckpointAt(3) }), signet.ErrNotVerified)
	// A device's first entry may have seen little.
	d := j.Draft(journal.Content, "c")
	d.Seen, d.Dir = j.CheckpointAt(0), w.CheckpointAt(3)
	if _, err := j.Offer(j.Sign(d, "c")); err != nil {
		t.Errorf("a first entry that saw little: %v", err)
	}
	same(t, j, "a", "b", "c")
}

func stripSeen(rec signet.Record) signet.Record {
	at := signatureBytes(rec.Head)[1] + 1
	n := int(rec.Head[at])<<8 | int(rec.Head[at+1])
	head := append(bytes.Clone(rec.Head[:at]), 0, 0)
	return signet.Record{Head: append(head, rec.Head[at+2+n:]...), Blob: rec.Blob}
}

func TestAHeadFromTheFutureIsInvalid(t *testing.T) {
	_, _, j := start(t)
	j.Draw("a b")
	late := j.Sign(j.Draft(journal.Content, "b"), "b")
	short := &ringtest.Journal{World: j.World, ID: j.ID, State: journal.NewState(j.ID, j.Directory())}
	if _, err := short.Offer(j.Log[0]); err != nil {
		t.Fatal(err)
	}
	refused(t, short, "an observed head larger than its position", late, signet.ErrNotVerified)
}

// The service signed two histories and showed one to each of two writers.
func TestASignedHeadThatContradictsIsEvidence(t *testing.T) {
	w, _, j := start(t)
	j.Draw("a b")
	lie := func(log signet.LogID, size uint64) *chain.Checkpoint {
		c, err := chain.Sign(w.Service, log, size, signet.Hash{66}, w.Now, true)
		w.Must(err)
		return c
	}
	for name, spoil := range map[string]func(d *journal.Draft){
		"observed":  func(d *journal.Draft) { d.Seen = lie(signet.Journal(j.ID), 2) },
		"directory": func(d *journal.Draft) { d.Dir = lie(signet.Directory(w.State.Org()), 2) },
	} {
		d := j.Draft(journal.Content, "b")
		spoil(d)
		rec := j.Sign(d, "b")
		size := j.State.Size()
		_, _, err := j.Force(rec)
		var c *journal.Contradicted
		if !errors.As(err, &c) || !errors.Is(err, signet.ErrNotVerified) || j.State.Size() != size {
			t.Fatalf("%s: %v", name, err)
		}
		tree := &j.State.Tree
		mine := j.CheckpointAt(2)
		if name == "directory" {
			tree, mine = &w.Tree, w.CheckpointAt(2)
		}
		e, err := chain.NewFork(mine, c.Shown, tree)
		if err != nil {
			t.Fatalf("%s: no evidence: %v", name, err)
		}
		w.Must(e.Verify(w.Service.Public()))
		// Signed by nobody who may write, the same head is noise.
		d.Device, d.Ring = w.ID("x"), signet.RingID{}
		ignored(t, j, name+" by a stranger", j.Sign(d, "x"), signet.ErrNotAllowed)
	}
}
