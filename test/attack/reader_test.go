//go:build grants

package attack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/device/engine"
)

// grant gives another member's ring a role, as far as an entry does.
func (d *device) grant(id signet.RegionID, to *device, role journal.Role) {
	d.t.Helper()
	if err := d.Engine.Discover(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	head := d.Engine.DirectoryHead()
	var rec signet.Record
	err := d.Engine.WithRegion(id, func(r *region.Region) (err error) {
		rec, err = r.Grant(head, to.Account.Ring, role)
		return err
	})
	if err == nil {
		err = d.w.offer(d.t, d, id, rec)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// readers is a pair, and another member's device in step with their region,
// which its ring may read.
func readers(t *testing.T) (w *world, a, b, mallory *device, id signet.RegionID) {
	t.Helper()
	w, a, b, id = pair(t)
	mallory = w.member("mallory")
	a.grant(id, mallory, journal.Reader)
	a.sync() // which gives it the key
	b.sync()
	if got := mallory.add("Documents"); got != id {
		t.Fatal("another region of that name")
	}
	mallory.sync()
	same(t, a, mallory)
	return w, a, b, mallory, id
}

// TestLyingReader: a reader opens the region, and signs whatever it likes with
// keys that are good. The honest service refuses it; made to order it, devices
// go on as if it were not there, and suspect nobody.
func TestLyingReader(t *testing.T) {
	w, a, b, mallory, id := readers(t)
	s := w.raw(mallory)
	defer s.Close()
	now := w.replay(s, id)
	refs := mallory.refs(t, id)
	if len(refs) != 3 {
		t.Fatalf("it knows the keys of %d files", len(refs))
	}
	opened := 0
	err := s.Get(t.Context(), id, []signet.ObjectID{refs[0].Object}, func(_ signet.ObjectID, b []byte) error {
		_, err := seal.OpenPiece(nil, refs[0], b)
		opened++
		return err
	})
	missing, herr := s.Have(t.Context(), id, []signet.ObjectID{refs[1].Object, {1}})
	if err != nil || opened != 1 || herr != nil || len(missing) != 1 {
		t.Errorf("a reader may not read: %v, %v", err, herr)
	}
	if err := s.Put(t.Context(), id, [][]byte{randomBytes(100)}); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("objects of a reader: %v", err)
	}
	if _, err := s.Show(t.Context(), id, randomBytes(100)); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a glimpse of a reader: %v", err)
	}

	of := func(typ journal.Type, change func(x *journal.Draft)) signet.Record {
		x := now.draft(mallory, typ)
		change(x)
		rec, _, err := x.Sign(mallory.Self.Signer)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	content := func(x *journal.Draft) { mallory.sealed(t, x, folder("by a reader")) }
	right := func(to *device, role journal.Role) signet.Record {
		g := journal.Right{Ring: to.Account.Ring, Role: role}
		return of(journal.Grant, func(x *journal.Draft) { x.Body = g.Append(nil) })
	}
	known := newSeed(t)
	forged := w.forgery(signet.Journal(id))
	for _, x := range []struct {
		name string
		rec  signet.Record
	}{
		{"content", of(journal.Content, content)},
		{"content in the owner's name", of(journal.Content, func(x *journal.Draft) { content(x); x.Ring = a.Account.Ring })},
		{"content under its own generation", of(journal.Content, func(x *journal.Draft) { content(x); x.Generation++ })},
		{"an empty entry", of(journal.Content, func(*journal.Draft) {})},
		{"a snapshot", of(journal.Snapshot, func(x *journal.Draft) { x.DigestAt, x.Digest = 1, signet.Hash{1} })},
		{"a marker", of(journal.Marker, func(*journal.Draft) {})},
		{"a rekey", w.rekeyWith(t, mallory, id, known, always(known))},
		{"a grant of more to itself", right(mallory, journal.Manager)},
		{"a grant of less to the owner", right(a, journal.Reader)},
	} {
		var kind interface{ ErrorKind() string }
		if err := w.offer(t, mallory, id, x.rec); err == nil {
			t.Fatalf("%s: the honest service took it", x.name)
		} else if have := kindOf(err, &kind); have != "not_allowed" {
			t.Errorf("%s: refused as %s: %v", x.name, have, err)
		}
		forged.add(x.rec)
	}

	// Made to order them all, between the work of honest devices.
	w.liar.forge(forged)
	a.write("goes on.txt", "goes on")
	a.sync()
	b.write("so does this.txt", "b's")
	b.sync()
	fresh := w.device("d") // which replays it all
	fresh.add("Documents")
	for _, d := range []*device{a, fresh, mallory} {
		d.sync()
	}
	for _, d := range []*device{a, b, fresh, mallory} {
		same(t, a, d)
		if strings.Contains(d.listing(), "by a reader") {
			t.Errorf("an entry without right had effect on %s:\n%s", d.name, d.listing())
		}
		if al := d.Engine.Alarms(); len(al) != 0 {
			t.Errorf("%s suspects somebody: %+v", d.name, al)
		}
		if c := d.sync(); c != (engine.Counters{}) {
			t.Errorf("%s: a further synch did %+v", d.name, c)
		}
		err := d.Engine.WithRegion(id, func(r *region.Region) error {
			if s := r.State; s.Role(mallory.Account.Ring) != journal.Reader || s.Role(a.Account.Ring) != journal.Manager || s.Current().Number != 1 {
				t.Errorf("%s: roles %d and %d, generation %d", d.name, s.Role(mallory.Account.Ring), s.Role(a.Account.Ring), s.Current().Number)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A reader writes what keys need: given noise it complains, and is given the
// key by another.
func TestReaderThatWasGivenNoiseComplains(t *testing.T) {
	w, a, b, id := pair(t)
	mallory := w.member("mallory")
	a.grant(id, mallory, journal.Reader)
	s := w.raw(a)
	defer s.Close()
	r := w.replay(s, id)
	to := r.state.Lacking(r.dirHead.Size)
	if len(to) != 1 || signet.RingID(to[0].ID) != mallory.Account.Ring {
		t.Fatalf("lacking: %v", to)
	}
	var secret *seal.Secret
	if err := a.Engine.WithRegion(id, func(r *region.Region) error { secret = r.Secret(); return nil }); err != nil {
		t.Fatal(err)
	}
	x := r.draft(a, journal.Envelope)
	x.Body = ring.AppendEnvelopes(nil, []ring.Envelope{a.envelope(t, r, 1, to[0], nil, secret)})
	rec, _, err := x.Sign(a.Self.Signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.offer(t, a, id, rec); err != nil {
		t.Fatal(err)
	}
	if err := mallory.CreateVolume(t.Context(), mallory.dir, id, false); err != nil {
		t.Fatal(err)
	}
	_, err = mallory.try()
	waitsForKey(t, mallory, a, err)
	if by := w.complaints(id); len(by) != 1 || by[0] != mallory.Self.Device {
		t.Errorf("complaints by %v", by)
	}
	a.sync()
	if _, err := mallory.try(); err == nil {
		t.Error("the key came from nowhere")
	}
	b.sync()
	mallory.sync()
	same(t, a, mallory)
}

// What a reader changes stays on its disk: it is not sent, not undone, and not
// lost where others change the same. Once it may write, it is sent.
func TestReaderKeepsItsChangesToItself(t *testing.T) {
	w, a, b, mallory, id := readers(t)
	mallory.write("letter.txt", "changed by the reader")
	mallory.write("new folder/own.txt", "its own")
	mallory.write("reply.txt", "changed by the reader too")
	if err := os.Remove(filepath.Join(mallory.dir, "folder", "inside")); err != nil {
		t.Fatal(err)
	}
	a.write("letter.txt", "changed by a")
	a.write("another.txt", "another")
	if err := os.Remove(filepath.Join(a.dir, "reply.txt")); err != nil {
		t.Fatal(err)
	}
	a.sync()
	s := w.raw(a)
	defer s.Close()
	before := w.replay(s, id).state.Size()
	keeps := func() {
		t.Helper()
		if mallory.read("letter.txt") != "changed by the reader" || mallory.read("new folder/own.txt") != "its own" ||
			mallory.read("reply.txt") != "changed by the reader too" || mallory.read("another.txt") != "another" {
			t.Errorf("its folder:\n%s", mallory.listing())
		}
		if _, err := os.Lstat(filepath.Join(mallory.dir, "folder", "inside")); err == nil {
			t.Error("what it deleted came back")
		}
		if w.replay(s, id).state.Size() != before {
			t.Error("something was written")
		}
	}
	for range 2 {
		var kind interface{ ErrorKind() string }
		if _, err := mallory.try(); !errors.Is(err, signet.ErrNotAllowed) || !errors.As(err, &kind) || kind.ErrorKind() != "read_only" {
			t.Fatalf("want kind read_only, have: %v", err)
		}
		if st := mallory.Engine.Status()[0]; st.State != engine.ReadOnly || !strings.Contains(st.Reason, "may read") || st.HeldDeletes != 0 {
			t.Errorf("%s: %s, %d deletions held", st.State, st.Reason, st.HeldDeletes)
		}
		keeps()
	}
	stop := mallory.daemon(t)
	mallory.write("later.txt", "while the daemon runs")
	if st, err := mallory.Engine.Settle(within(t), mallory.Engine.Volumes()[0].ID); err != nil || st.State != engine.ReadOnly || !strings.Contains(st.Reason, "6 changes") {
		t.Errorf("settled as %s, %s: %v", st.State, st.Reason, err)
	}
	keeps()
	a.write("news.txt", "news")
	a.sync()
	before = w.replay(s, id).state.Size()
	eventually(t, "what others write arrives", func() bool {
		_, err := os.Lstat(filepath.Join(mallory.dir, "news.txt"))
		return err == nil
	})
	stop()
	keeps()
	if al := mallory.Engine.Alarms(); len(al) != 0 {
		t.Errorf("alarms: %+v", al)
	}

	a.grant(id, mallory, journal.Writer)
	mallory.sync()
	for _, d := range []*device{a, b, mallory} {
		d.sync()
	}
	same(t, a, mallory)
	same(t, a, b)
	l := a.listing()
	for _, want := range []string{"new folder/own.txt", "reply.txt", "another.txt", "later.txt", "letter (conflict"} {
		if !strings.Contains(l, want) {
			t.Errorf("%q did not arrive:\n%s", want, l)
		}
	}
}
