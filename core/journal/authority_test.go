package journal_test

import (
	"errors"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

func TestTheRevokedWriteNothing(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c")
	j.Draw("b a b")
	old := w.Checkpoint()
	before := j.Draft(journal.Content, "b")
	w.Draw(r, "a-b")

	d := j.Draft(journal.Content, "b")
	rec := j.Sign(d, "b")
	refused(t, j, "it names the head that revokes it", rec, signet.ErrNotAllowed)

	// With the service's help, under a head from before: the service says no,
	// replicas cannot know, and flag it.
	d = j.Draft(journal.Content, "b")
	d.Dir, d.Seen = old, before.Seen
	rec = j.Sign(d, "b")
	if _, err := j.Offer(rec); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("back-dated, at the service: %v", err)
	}
	e, reason, err := j.Force(rec)
	if reason != nil || err != nil || !e.BackDated {
		t.Fatalf("back-dated before a marker must be taken and flagged: %v, %v", reason, err)
	}
	if back := j.Replay(w.Directory(), true).Back; back[1] || back[3] || !back[len(back)-1] {
		t.Errorf("flagged: %v; what it wrote while it was a member is not back-dated", back)
	}

	j.Draw("a!")
	d = j.Draft(journal.Content, "b")
	d.Dir = old
	refused(t, j, "back-dated after a marker", j.Sign(d, "b"), signet.ErrNotAllowed)
	d = j.Draft(journal.Marker, "b")
	d.Dir = old
	refused(t, j, "its marker", j.Sign(d, "b"), signet.ErrNotAllowed)
	k := j.RekeyTo("b", []ring.Recipient{{Kind: ring.ToRing, ID: r, Generation: 1}})
	k.Dir = old
	refused(t, j, "its rekey", j.Sign(k, "b"), signet.ErrNotAllowed)
	j.Draw("c* a")
	same(t, j, "a", "b", "c")
}

// Content entries tell the directory's head to content entries only: a new
// device verifies authority from the sub-chain alone.
func TestAuthorityCountsAuthorityEntriesOnly(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c")
	old := w.Checkpoint()
	to := j.State.Recipients(w.State.Size())
	w.Draw(r, "a-b")
	k := j.Draft(journal.Content, "a")
	k.Generation = 1
	rec := j.Sign(k, "a")
	refused(t, j, "content under the stale generation", rec, signet.ErrStale)
	if j.State.DirectorySize() >= w.State.Size() {
		t.Fatal("an invalid entry told the journal a head")
	}
	d := j.RekeyTo("b", to)
	d.Dir = old
	e, reason, err := j.Force(j.Sign(d, "b"))
	if err != nil || reason != nil || e.Void != nil {
		t.Fatalf("no authority entry told the revocation yet: %v, %v", reason, err)
	}
	if !j.State.StaleAt(w.State.Size()) {
		t.Error("the key that the revoked device made for itself is not stale")
	}
	j.Draw("c* c")
	d = j.RekeyTo("b", to)
	d.Dir = old
	refused(t, j, "its rekey after an honest one", j.Sign(d, "b"), signet.ErrNotAllowed)
	same(t, j, "a", "b", "c")
}

func TestAContentEntryTellsAuthorityNothing(t *testing.T) {
	w, r, j := start(t)
	old := w.Checkpoint()
	w.Draw(r, "a+c")
	j.Draw("a") // names the head that has c
	d := j.Draft(journal.Marker, "c")
	d.Dir = old
	refused(t, j, "an authority entry by a device that no authority entry's head has", j.Sign(d, "c"), signet.ErrNotAllowed)
	d = j.Draft(journal.Content, "c")
	d.Dir = old
	if _, err := j.Offer(j.Sign(d, "c")); err != nil {
		t.Errorf("content by it: %v", err)
	}
	j.Draw("c! c")
	same(t, j, "a", "c")
}

func TestGenerationsCount(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	lagging := j.Draft(journal.Content, "a")
	w.Draw(r, "a-c")
	j.Draw("b*")
	refused(t, j, "under the generation before, which a lagging device had", j.Sign(lagging, "a"), signet.ErrStale)
	d := j.Draft(journal.Content, "a")
	d.Generation = 3
	refused(t, j, "under one that is not made yet", j.Sign(d, "a"), signet.ErrStale)
	d = j.Draft(journal.Marker, "a")
	d.Generation = 1
	refused(t, j, "a marker under an old one", j.Sign(d, "a"), signet.ErrStale)
	same(t, j, "a", "b")
}

// The service knows of a revocation before the journal does.
func TestTheServiceRefusesWhatReplicasCannot(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "b+c")
	old, oldRekey := j.Draft(journal.Content, "a"), j.Rekey("a")
	w.Draw(r, "b-c")
	if _, err := j.Offer(j.Sign(old, "a")); !errors.Is(err, signet.ErrStale) {
		t.Errorf("content under a generation that the service knows to be stale: %v", err)
	}
	if _, err := j.Offer(j.Sign(oldRekey, "a")); !errors.Is(err, signet.ErrStale) {
		t.Errorf("a key for a device that the service knows to be gone: %v", err)
	}
	if _, err := j.State.Check(j.Log[0].Head, nil, w.Now); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("an entry without its parts: %v", err)
	}
	if _, reason, err := j.Force(j.Sign(old, "a")); reason != nil || err != nil {
		t.Errorf("replicas must take it: %v, %v", reason, err)
	}
	same(t, j, "a", "b")
}

func TestAuthorityEntriesFollowOneAnother(t *testing.T) {
	w, r, j := start(t)
	w.Draw(r, "a+c a-c")
	first, second := j.Sign(j.Rekey("a"), "a"), j.Sign(j.Rekey("b"), "b")
	if _, err := j.Offer(first); err != nil {
		t.Fatal(err)
	}
	refused(t, j, "the second of two rekeyers", second, signet.ErrConflict)
	refused(t, j, "the first again", first, signet.ErrConflict)
	d := j.Draft(journal.Marker, "a")
	d.Authority = signet.Hash(j.ID)
	refused(t, j, "a marker that names an older authority entry", j.Sign(d, "a"), signet.ErrConflict)

	j.Draw("a! a b")
	d = j.Draft(journal.Content, "b")
	d.Authority = signet.Hash(j.ID)
	refused(t, j, "content that names an older one than its writer's last", j.Sign(d, "b"), signet.ErrNotVerified)
	d = j.Draft(journal.Content, "b")
	d.Authority = j.State.Own(w.ID("a"))
	refused(t, j, "content that names a content entry", j.Sign(d, "b"), signet.ErrNotVerified)
	lagging := j.Draft(journal.Content, "b")
	j.Draw("a!")
	if _, err := j.Offer(j.Sign(lagging, "b")); err != nil {
		t.Errorf("content that did not see the last marker: %v", err)
	}
	same(t, j, "a", "b")
}

func TestARekeyToTheWrongSetKeepsItsPlaceAlone(t *testing.T) {
	w, r, j := start(t)
	m := w.Member("a", "m")
	w.Draw(r, "a+c a-c")
	old := w.CheckpointAt(4)
	right := j.State.Recipients(w.State.Size())
	for name, to := range map[string][]ring.Recipient{
		"nobody":              {},
		"a stranger too":      append([]ring.Recipient{{Kind: ring.ToRing, ID: m, Generation: 1}}, right...),
		"a stranger":          {{Kind: ring.ToRing, ID: m, Generation: 1}},
		"an old generation":   {{Kind: ring.ToRing, ID: r, Generation: 1}},
		"past a fresh ring":   {{Kind: ring.ToDevice, ID: w.ID("a")}, {Kind: ring.ToDevice, ID: w.ID("b")}},
		"the revoked device":  append([]ring.Recipient{{Kind: ring.ToDevice, ID: w.ID("c")}}, right...),
		"a generation to be":  {{Kind: ring.ToRing, ID: r, Generation: 3}},
		"the device by mixup": {{Kind: ring.ToRing, ID: w.ID("a"), Generation: 1}},
	} {
		rec := j.Sign(j.RekeyTo("b", to), "b")
		if _, err := j.Offer(rec); !errors.Is(err, signet.ErrNotAllowed) {
			t.Errorf("%s: the service says %v", name, err)
		}
		void(t, j, name, rec)
	}
	d := j.RekeyTo("a", right)
	d.Generation++
	void(t, j, "a number skipped", j.Sign(d, "a"))
	// At the head that it names, not at the newest.
	d = j.RekeyTo("a", right)
	d.Dir = old
	void(t, j, "a set of later than its head", j.Sign(d, "a"))
	j.Draw("a* b")
	if j.State.Current().Number != 2 {
		t.Error("no good rekey after the bad ones")
	}
	same(t, j, "a", "b")
}

func void(t *testing.T, j *ringtest.Journal, what string, rec signet.Record) {
	t.Helper()
	before := j.State.Current().Number
	e, reason, err := j.Force(rec)
	if err != nil || reason != nil || e.Void == nil {
		t.Errorf("%s: %v, %v: must be valid and void", what, reason, err)
	} else if j.State.Latest() != e.Hash || j.State.Current().Number != before {
		t.Errorf("%s: the sub-chain ends elsewhere, or the generation changed", what)
	}
}

func TestAGenesisIsSealedToItsRing(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	m := w.Member("a", "m")
	try := func(d *journal.Draft, by string) error {
		rec, hash, err := d.Sign(w.Signer(by))
		w.Must(err)
		s := journal.NewState(signet.RegionID(hash), w.Directory())
		_, err = s.Check(rec.Head, rec.Blob, w.Now)
		return err
	}
	if err := try(w.Founding(r, "a"), "a"); err != nil {
		t.Fatal(err)
	}
	d := w.Founding(r, "a")
	d.Ring = m
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("in another ring's name: %v", err)
	}
	d = w.Founding(m, "a")
	d.Ring = r
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("sealed to another ring: %v", err)
	}
	d = w.Founding(r, "a")
	d.Generation = 2
	if err := try(d, "a"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("beginning with generation 2: %v", err)
	}
}
