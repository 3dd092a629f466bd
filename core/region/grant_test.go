//go:build grants

package region

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/core/journal"
)

// mend posts what the keys need from m, as long as there is something.
func (m *member) mend() (n int) {
	m.w.T.Helper()
	for ; ; n++ {
		rec, todo, err := m.Mend(m.w.Checkpoint())
		m.w.Must(err)
		if !todo {
			return n
		}
		m.w.offer(rec)
		m.sync()
	}
}

func (m *member) grant(to *member, role journal.Role) {
	m.w.T.Helper()
	rec, err := m.Grant(m.w.Checkpoint(), to.me.Ring, role)
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
}

func TestWhoIsGrantedARoleGetsTheKeyFromAnybodyWhoHoldsIt(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	m := w.newMember("m", a)
	a.commit(file("before"))
	a.grant(m, journal.Reader) // and stops right here
	_, err := m.try()
	wants(t, err, ErrNoKey)
	b.sync()
	if n := b.mend(); n != 1 {
		t.Fatalf("%d entries", n)
	}
	a.sync()
	if n := a.mend() + b.mend(); n != 0 {
		t.Errorf("%d entries of nothing", n)
	}
	m.sync()
	same(t, a, m)
	if d := cmp.Diff([]string{"before"}, m.names()); d != "" {
		t.Error("a reader reads: " + d)
	}
	if m.MayWrite() || !a.MayWrite() || m.mend() != 0 || a.State.Sole(a.me.Ring) {
		t.Error("rights")
	}
	rec, _, err := m.Commit(w.Checkpoint(), w.items(file("x")), nil)
	w.Must(err)
	_, err = w.j.Offer(rec)
	wants(t, err, signet.ErrNotAllowed)

	// The next generation is sealed to both rings at once.
	a.revoke(b, a)
	a.rekey()
	a.commit(file("after"))
	m.sync()
	same(t, a, m)
	a.grant(m, journal.Writer)
	m.sync()
	m.commit(file("from m"))
	a.sync()
	same(t, a, m)
}

func TestAReaderGivesTheKeyToo(t *testing.T) {
	w, a := newWorld(t)
	m, n := w.newMember("m", a), w.newMember("n", a)
	a.commit(file("x"))
	a.grant(m, journal.Reader)
	a.mend()
	a.grant(n, journal.Reader)
	m.sync()
	if m.mend() != 1 {
		t.Fatal("a reader that holds the key does not give it")
	}
	n.sync()
	same(t, m, n)
}

func TestNobodyIsGrantedWhatTheDirectoryDoesNotKnow(t *testing.T) {
	w, a := newWorld(t)
	before := w.Checkpoint()
	m := w.newMember("m", a)
	for _, to := range []signet.RingID{{1}, signet.RingID(w.State.Org())} {
		_, err := a.Grant(w.Checkpoint(), to, journal.Reader)
		wants(t, err, signet.ErrNotFound)
	}
	_, err := a.Grant(before, m.me.Ring, journal.Reader)
	wants(t, err, signet.ErrNotFound)
}
