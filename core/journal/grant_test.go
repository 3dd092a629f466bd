//go:build grants

package journal_test

import (
	"errors"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

// shared is a region of devices a and b, and another member's ring, of the
// device m, that has a role in it.
func shared(t *testing.T, role journal.Role) (*ringtest.World, signet.RingID, *ringtest.Journal) {
	t.Helper()
	w, _, j := start(t)
	m := w.Member("a", "m")
	grant(t, j, "a", m, role)
	return w, m, j
}

func grant(t *testing.T, j *ringtest.Journal, by string, to signet.RingID, role journal.Role) {
	t.Helper()
	if _, err := j.Offer(j.Sign(j.Grant(by, to, role), by)); err != nil {
		t.Fatal(err)
	}
	if j.State.Role(to) != role {
		t.Fatalf("the role is %d, not %d", j.State.Role(to), role)
	}
}

func TestOnlyManagersGrant(t *testing.T) {
	for _, role := range []journal.Role{0, journal.Reader, journal.Writer} {
		w, _, j := start(t)
		m, n := w.Member("a", "m"), w.Member("a", "n")
		if role != 0 {
			grant(t, j, "b", m, role)
		}
		refused(t, j, "to itself", j.Sign(j.Grant("m", m, journal.Manager), "m"), signet.ErrNotAllowed)
		refused(t, j, "to another", j.Sign(j.Grant("m", n, journal.Reader), "m"), signet.ErrNotAllowed)
		refused(t, j, "to itself, signed by a manager's name", j.Sign(j.Grant("a", m, journal.Manager), "m"), signet.ErrNotVerified)
		if j.State.Role(m) != role || j.State.Role(n) != 0 {
			t.Errorf("roles %d and %d", j.State.Role(m), j.State.Role(n))
		}
		grant(t, j, "a", m, journal.Manager)
		grant(t, j, "m", n, journal.Writer)
		same(t, j, "a", "m")
	}
}

func TestAReaderWritesWhatKeysNeedAndNothingElse(t *testing.T) {
	w, m, j := shared(t, journal.Reader)
	to := ring.Recipient{Kind: ring.ToRing, ID: m, Generation: 1}
	give := j.Sign(j.Give("b", to), "b")
	if _, err := j.Offer(give); err != nil {
		t.Fatal(err)
	}
	for _, typ := range []journal.Type{journal.Content, journal.Snapshot, journal.Marker} {
		refused(t, j, typ.String(), j.Sign(j.Draft(typ, "m"), "m"), signet.ErrNotAllowed)
	}
	refused(t, j, "rekey", j.Sign(j.Rekey("m"), "m"), signet.ErrNotAllowed)
	d := j.Draft(journal.Content, "m")
	d.Ring = j.State.Owner()
	refused(t, j, "content in the owner's name", j.Sign(d, "m"), signet.ErrNotAllowed)
	if !j.State.MayRead(w.ID("m"), w.Now) || j.State.MayRead(w.ID("n"), w.Now) {
		t.Error("who may read")
	}
	list := j.State.Current().Envelopes
	if _, err := j.Offer(j.Sign(j.Complain("m", list[len(list)-1]), "m")); err != nil {
		t.Errorf("its complaint: %v", err)
	}
	if _, err := j.Offer(j.Sign(j.Complain("a", list[0]), "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Offer(j.Sign(j.Give("m", list[0].Recipient), "m")); err != nil {
		t.Errorf("its envelope: %v", err)
	}
	same(t, j, "a", "m")
}

// A grant changes the set of recipients; the key is given by whoever holds it.
func TestAGrantedRingIsARecipientFromThereOn(t *testing.T) {
	w, m, j := shared(t, journal.Writer)
	size := w.State.Size()
	lacking := j.State.Lacking(size)
	if len(lacking) != 1 || signet.RingID(lacking[0].ID) != m || j.State.Holds(m, w.ID("m")) {
		t.Fatalf("lacking: %v", lacking)
	}
	if j.State.StaleAt(size) || j.State.Current().Number != 1 {
		t.Error("a grant made the generation stale, or another")
	}
	if _, err := j.Offer(j.Sign(j.Give("b", lacking...), "b")); err != nil {
		t.Fatal(err)
	}
	if len(j.State.Lacking(size)) != 0 || !j.State.Holds(m, w.ID("m")) {
		t.Error("given, and lacking all the same")
	}
	j.Draw("m a m")
	w.Draw(m, "m+n m-n")
	refused(t, j, "under a key that a removed device of the other ring has", j.Sign(j.Draft(journal.Content, "a"), "a"), signet.ErrStale)
	j.Draw("m* a m")
	if n := len(j.State.Current().Envelopes); n != 2 {
		t.Errorf("the next generation is sealed to %d rings", n)
	}
	same(t, j, "a", "m")
}

func TestADemotedWriterReadsOnAndWritesNothing(t *testing.T) {
	_, m, j := shared(t, journal.Writer)
	j.Draw("m")
	before := j.Draft(journal.Content, "m")
	grant(t, j, "a", m, journal.Reader)
	refused(t, j, "what it signed before and names the grant before", j.Sign(before, "m"), signet.ErrNotAllowed)
	refused(t, j, "what it signs now", j.Sign(j.Draft(journal.Content, "m"), "m"), signet.ErrNotAllowed)
	if j.State.StaleAt(j.World.State.Size()) {
		t.Error("stale, though nobody is to read less")
	}
	j.Draw("a b")
	grant(t, j, "a", m, journal.Writer)
	j.Draw("m")
	same(t, j, "a", "m")
}

func TestAGrantThatChangesNothingOrTooMuchIsVoid(t *testing.T) {
	w, m, j := shared(t, journal.Reader)
	old := w.Checkpoint()
	n := w.Member("a", "n")
	owner := j.State.Owner()
	for _, x := range []struct {
		what string
		to   signet.RingID
		role journal.Role
		want error
	}{
		{"a ring that is not there", signet.RingID{1}, journal.Reader, signet.ErrNotFound},
		{"the root", signet.RingID(w.State.Org()), journal.Reader, signet.ErrNotFound},
		{"the role that it has", m, journal.Reader, signet.ErrConflict},
		{"nobody left who may grant", owner, journal.Writer, signet.ErrNotAllowed},
	} {
		rec := j.Sign(j.Grant("a", x.to, x.role), "a")
		if _, err := j.Offer(rec); !errors.Is(err, x.want) {
			t.Errorf("%s: the service says %v", x.what, err)
		}
		void(t, j, x.what, rec)
	}
	d := j.Grant("a", n, journal.Reader)
	d.Dir = old
	void(t, j, "a ring of later than the head", j.Sign(d, "a"))
	if j.State.Role(m) != journal.Reader || j.State.Role(n) != 0 || j.State.Role(owner) != journal.Manager {
		t.Error("a void grant changed a role")
	}
	grant(t, j, "a", n, journal.Manager)
	grant(t, j, "a", owner, journal.Writer) // now another is left
	refused(t, j, "by who is no manager any more", j.Sign(j.Grant("a", owner, journal.Manager), "a"), signet.ErrNotAllowed)
	same(t, j, "a", "m")
}

func TestABodyOfAGrantIsStrict(t *testing.T) {
	w, m, j := shared(t, journal.Reader)
	for what, spoil := range map[string]func(b []byte) []byte{
		"role 0":                 func(b []byte) []byte { b[32] = 0; return b },
		"role 4":                 func(b []byte) []byte { b[32] = 4; return b },
		"another history policy": func(b []byte) []byte { b[33] = 1; return b },
		"short":                  func(b []byte) []byte { return b[:33] },
		"a byte too many":        func(b []byte) []byte { return append(b, 0) },
	} {
		d := j.Grant("a", m, journal.Writer)
		d.Body = spoil(d.Body)
		refused(t, j, what, j.Sign(d, "a"), signet.ErrNotVerified)
	}
	if j.State.Role(m) != journal.Reader || j.State.Sole(j.State.Owner()) {
		t.Error("roles")
	}
	w.Draw(m, "m+x")
	same(t, j, "a")
}

// What a ring with a role can open depends on its statements: who is not shown
// them cannot judge, and must not come to a verdict of its own.
func TestAGrantToAWithheldRingStopsTheReplay(t *testing.T) {
	w, m, j := shared(t, journal.Reader)
	j.Draw("a")
	dir := journal.Directory{State: ring.NewState(w.State.Org()), Tree: &w.Tree}
	for _, rec := range w.Log {
		leaf, err := ring.ParseLeaf(rec.Leaf)
		w.Must(err)
		if leaf.Ring == m {
			rec.Head, rec.Blob = nil, nil
		}
		w.Must(dir.State.Apply(leaf, rec.Head, rec.Blob))
	}
	s := journal.NewState(j.ID, dir)
	take := func(at int) error {
		leaf, err := journal.ParseLeaf(j.Log[at].Leaf)
		w.Must(err)
		_, reason, err := s.Apply(leaf, j.Log[at].Head, j.Log[at].Blob)
		return errors.Join(reason, err)
	}
	w.Must(take(0))
	if err := take(1); !errors.Is(err, signet.ErrNotVerified) || s.Size() != 1 || s.Role(m) != 0 {
		t.Errorf("a grant to a withheld ring: %v", err)
	}
	// Nor is anything judged later by a directory in which it is withheld.
	s.SetDirectory(w.Directory())
	w.Must(take(1))
	s.SetDirectory(dir)
	if err := take(2); !errors.Is(err, signet.ErrNotVerified) || s.Size() != 2 {
		t.Errorf("content, with a ring withheld that may read: %v", err)
	}
	s.SetDirectory(w.Directory())
	w.Must(take(2))
}

func TestARegionIsOfOneRingUntilAnotherHasARole(t *testing.T) {
	w, r, j := start(t)
	m := w.Member("a", "m")
	if !j.State.Sole(r) || j.State.Sole(m) || j.State.Owner() != r {
		t.Error("before")
	}
	void(t, j, "nothing new", j.Sign(j.Grant("a", r, journal.Manager), "a"))
	if !j.State.Sole(r) {
		t.Error("a void grant counts")
	}
	grant(t, j, "a", m, journal.Reader)
	if j.State.Sole(r) || j.State.Sole(m) || j.State.Owner() != r {
		t.Error("after")
	}
}

func TestRolesThatEndObjects(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	m := w.Member("a", "m")
	j := w.Region(r, "a")
	_, err := j.Offer(j.Sign(j.Grant("a", m, journal.Writer), "a"))
	w.Must(err)
	g := journal.Ending{Days: 7, Objects: []signet.ObjectID{{1}}}
	refused(t, j, "a condemn by a writer", j.Sign(j.End(journal.Condemn, "m", g), "m"), signet.ErrNotAllowed)
	_, err = j.Offer(j.Sign(j.End(journal.Condemn, "a", g), "a"))
	w.Must(err)
	g.Condemn = j.State.Latest()
	refused(t, j, "a collect by a writer", j.Sign(j.End(journal.Collect, "m", g), "m"), signet.ErrNotAllowed)
	_, err = j.Offer(j.Sign(j.End(journal.Spare, "m", g), "m"))
	w.Must(err)
	_, err = j.Offer(j.Sign(j.Grant("a", m, journal.Reader), "a"))
	w.Must(err)
	refused(t, j, "a spare by a reader", j.Sign(j.End(journal.Spare, "m", g), "m"), signet.ErrNotAllowed)
}
