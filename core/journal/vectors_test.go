package journal_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/core/wire"
	"signet/spec/vectors"
)

// Signatures of ML-DSA are random, so the vectors are written once and kept. A
// run with -update writes those that are missing, on top of the statement
// vectors and of those that are there; the next run reads what was written.
var update = flag.Bool("update", false, "write what is missing of spec/vectors/journal-entry")

const vectorDir = "../../spec/vectors/"

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
		return
	}
	replayVectors(t, "journal-entry")
}

// replayVectors runs the vectors of a folder of journal entries.
func replayVectors(t *testing.T, format string) {
	vectors.Run(t, format, replay(t))
}

// replay is what comes of a vector after those that it names.
func replay(t *testing.T) func(vectors.Case) string {
	statements, entries := named(t, "statement"), named(t, "journal-entry")
	maps.Copy(entries, named(t, "journal-grant"))
	return func(c vectors.Case) string {
		dir := journal.Directory{State: ring.NewState(signet.OrgID{}), Tree: &chain.Tree{}}
		for name := range strings.FieldsSeq(c.Fields["after"]) {
			v := statements[name]
			leaf, err := ring.ParseLeaf(v.Files["leaf"])
			if err == nil {
				err = dir.State.Apply(leaf, v.Files["statement"], v.Files["envelopes"])
			}
			if err != nil {
				return "history: " + err.Error()
			}
			dir.Tree.Append(v.Files["leaf"])
		}
		region, err := signet.ParseRegionID(c.Fields["region"])
		if err != nil {
			return err.Error()
		}
		s := journal.NewState(region, dir)
		for name := range strings.FieldsSeq(c.Fields["entries"]) {
			if got := take(s, entries[name]); got != entries[name].Expect {
				return "history: " + got
			}
		}
		return take(s, c)
	}
}

func named(t *testing.T, format string) map[string]vectors.Case {
	cases, err := vectors.Load(format)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]vectors.Case{}
	for _, c := range cases {
		m[c.Name] = c
	}
	return m
}

// take applies a vector's entry and names what came of it: "ok", "void",
// "back-dated"; "invalid" and why; "stops" and why.
func take(s *journal.State, c vectors.Case) string {
	leaf, err := journal.ParseLeaf(c.Files["leaf"])
	if err != nil {
		return err.Error()
	}
	e, reason, err := s.Apply(leaf, c.Files["head"], c.Files["blob"])
	var contradicted *journal.Contradicted
	switch {
	case errors.Is(err, journal.ErrNeedDirectory):
		return "stops: need-directory"
	case errors.As(err, &contradicted):
		return "stops: contradicted"
	case err != nil:
		return "stops: " + kind(err)
	case reason != nil:
		return "invalid: " + kind(reason)
	case e.Void != nil:
		return "void"
	case e.BackDated:
		return "back-dated"
	}
	return "ok"
}

func kind(err error) string {
	for _, k := range []struct {
		err  error
		name string
	}{{wire.ErrMalformed, "malformed"}, {signet.ErrConflict, "conflict"}, {signet.ErrStale, "stale"},
		{signet.ErrNotAllowed, "not-allowed"}, {signet.ErrNotVerified, "not-verified"}} {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return err.Error()
}

// A recorder writes what a Journal's entries say.
type recorder struct {
	*ringtest.Journal
	format            string                  // the folder that new ones go to
	kept              map[string]vectors.Case // written before
	statements, names []string
}

// tell puts statement vectors into the directory.
func (r *recorder) tell(t *testing.T, names ...string) {
	all := named(t, "statement")
	for _, n := range names {
		v := all[n]
		leaf, err := ring.ParseLeaf(v.Files["leaf"])
		if err != nil || leaf.Time <= r.Now {
			t.Fatalf("%s: time %d is not after %d: %v", n, leaf.Time, r.Now, err)
		}
		r.Now = leaf.Time - 1
		if err := r.World.Put(v.Files["statement"], v.Files["envelopes"]); err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		r.statements = append(r.statements, n)
	}
}

func (r *recorder) write(name, about, expect string, leaf journal.Leaf, rec signet.Record) {
	r.T.Helper()
	if _, there := r.kept[name]; there {
		return
	}
	var s strings.Builder
	fmt.Fprintf(&s, "about: %s\nexpect: %s\nregion: %s\nafter: %s\n", about, expect, r.Journal.ID, strings.Join(r.statements, " "))
	if len(r.names) > 0 {
		fmt.Fprintf(&s, "entries: %s\n", strings.Join(r.names, " "))
	}
	for _, f := range []struct {
		name string
		b    []byte
	}{{"leaf", leaf.Append(nil)}, {"head", rec.Head}, {"blob", rec.Blob}} {
		fmt.Fprintf(&s, "-- %s.hex --\n", f.name)
		for b := f.b; len(b) > 0; b = b[min(len(b), 50):] {
			s.WriteString(hex.EncodeToString(b[:min(len(b), 50)]) + "\n")
		}
	}
	r.Must(os.WriteFile(filepath.Join(vectorDir, r.format, name+".txtar"), []byte(s.String()), 0o644))
}

// ok orders an entry, or the one of that name that was written before, and
// writes it with what came of it.
func (r *recorder) ok(name, about, expect string, rec signet.Record) signet.Record {
	r.T.Helper()
	if c, there := r.kept[name]; there {
		rec = signet.Record{Head: c.Files["head"], Blob: c.Files["blob"]}
	}
	_, reason, err := r.Force(rec)
	r.Must(errors.Join(reason, err))
	last := r.Log[len(r.Log)-1]
	leaf, err := journal.ParseLeaf(last.Leaf)
	r.Must(err)
	r.write(name, about, expect, leaf, last)
	r.names = append(r.names, name)
	return rec
}

// bad writes an entry that has no effect.
func (r *recorder) bad(name, about, expect string, rec signet.Record) {
	r.write(name, about, expect, journal.Leaf{Hash: key.Sum(key.LabelEntryHash, rec.Head), Time: r.Now + 1}, rec)
}

// draft writes an entry of a, spoiled before it is signed.
func (r *recorder) draft(name, about, expect string, typ journal.Type, spoil func(d *journal.Draft)) {
	r.T.Helper()
	d := r.Draft(typ, "a")
	spoil(d)
	r.bad(name, about, expect, r.Sign(d, "a"))
}

func writeVectors(t *testing.T) {
	r := begin(t)
	w := r.World
	owner, _ := w.State.Owner()
	writeSpoiled(r)
	writeHeads(r)

	old := r.Draft(journal.Content, "b")
	oldDir := w.Checkpoint()
	r.tell(t, "ok-policy", "ok-revoke")
	r.draft("stale", "under a generation that a revoked device has", "invalid: stale", journal.Content, func(d *journal.Draft) {})
	d := r.Draft(journal.Content, "b")
	r.bad("revoked-writer", "by a revoked device, under the head that revokes it", "invalid: not-allowed", r.Sign(d, "b"))
	old.Dir = oldDir
	r.bad("back-dated", "by a revoked device, under a head from before, which no entry contradicts yet", "back-dated", r.Sign(old, "b"))
	wrong := r.RekeyTo("a", []ring.Recipient{{Kind: ring.ToRing, ID: owner, Generation: 1}})
	r.ok("void-rekey", "a rekey to an old generation of the ring: it has its place, and no other effect", "void", r.Sign(wrong, "a"))
	second := r.Sign(r.Rekey("a"), "a")
	r.ok("ok-rekey", "the next generation, for those who are left", "ok", r.Sign(r.Rekey("a"), "a"))
	r.bad("second-rekey", "the second of two that follow the same authority entry", "invalid: conflict", second)
	r.bad("back-dated-after-rekey", "by the revoked device, after an entry that names the head which revokes it", "invalid: not-allowed", r.Sign(old, "b"))
	r.draft("old-generation", "under the generation before", "invalid: stale", journal.Content, func(d *journal.Draft) { d.Generation = 1 })
	r.ok("ok-content-new", "content under the new generation", "ok", r.Sign(r.Draft(journal.Content, "a"), "a"))
	r.ok("ok-marker", "a marker", "ok", r.Sign(r.Draft(journal.Marker, "a"), "a"))
	r.draft("older-authority", "content that names an older authority entry than its writer's last did", "invalid: not-verified", journal.Content,
		func(d *journal.Draft) { d.Authority = signet.Hash(r.Journal.ID) })
	d = r.Complain("a", r.State.Generations()[0].Envelopes[0])
	d.Generation = 1
	r.bad("complaint-old-generation", "a complaint under the generation before", "invalid: stale", r.Sign(d, "a"))
	old1 := ring.Recipient{Kind: ring.ToRing, ID: owner, Generation: 1}
	d = r.Give("a", ring.Recipient{Kind: ring.ToRing, ID: owner, Generation: 2})
	d.Generation = 1
	r.bad("envelope-old-generation", "an envelope of the generation before", "invalid: stale", r.Sign(d, "a"))
	r.bad("envelope-old-ring-generation", "an envelope to an old generation of the ring", "void", r.Sign(r.Give("a", old1), "a"))
	writeEnvelopes(begin(t))
	writeEndings(begin(t))
	writeHorizons(begin(t))
	writeHorizonOfRevoked(begin(t))
	writeMore(t)
}

// begin is the region with its first entries.
func begin(t *testing.T) *recorder {
	w := ringtest.New(t)
	r := &recorder{Journal: &ringtest.Journal{World: w}, format: "journal-entry", kept: named(t, "journal-entry")}
	maps.Copy(r.kept, named(t, "journal-grant"))
	r.tell(t, "ok-root", "ok-genesis-owner", "ok-add")
	owner, _ := w.State.Owner()
	rec, hash, err := w.Founding(owner, "a").Sign(w.Signer("a"))
	w.Must(err)
	if c, there := r.kept["ok-genesis"]; there {
		hash, err = journal.HashOf(c.Files["head"])
		w.Must(err)
	}
	r.Journal.ID = signet.RegionID(hash)
	r.State = journal.NewState(r.Journal.ID, w.Directory())
	rec = r.ok("ok-genesis", "the first entry", "ok", rec)
	r.bad("genesis-twice", "the first entry again", "invalid: conflict", rec)
	first := r.ok("ok-content", "a content entry by the device that made the region", "ok", r.Sign(r.Draft(journal.Content, "a"), "a"))
	r.bad("replayed", "the same entry again", "invalid: conflict", first)
	r.ok("ok-content-b", "one by another device of the ring", "ok", r.Sign(r.Draft(journal.Content, "b"), "b"))
	return r
}

// writeEnvelopes complains of the genesis's envelope, and gives another.
func writeEnvelopes(r *recorder) {
	owner, _ := r.World.State.Owner()
	to := ring.Recipient{Kind: ring.ToRing, ID: owner, Generation: 1}
	sealed := r.State.Current().Envelopes[0]
	complain := func(name, about, expect string, spoil func(d *journal.Draft, e *ring.Envelope)) {
		e := sealed
		spoil(nil, &e)
		d := r.Complain("b", e)
		spoil(d, &e)
		r.bad(name, about, expect, r.Sign(d, "b"))
	}
	body := func(f func(b []byte) []byte) func(*journal.Draft, *ring.Envelope) {
		return func(d *journal.Draft, _ *ring.Envelope) {
			if d != nil {
				d.Body = f(d.Body)
			}
		}
	}
	complain("complaint-no-body", "a complaint of nothing", "invalid: malformed", body(func([]byte) []byte { return nil }))
	complain("complaint-short", "a complaint whose body is a byte short", "invalid: malformed", body(func(b []byte) []byte { return b[:len(b)-1] }))
	complain("complaint-unknown-kind", "a complaint about an envelope to a recipient of kind 3", "invalid: malformed", body(func(b []byte) []byte { return append([]byte{3}, b[1:]...) }))
	complain("complaint-other-envelope", "a complaint about an envelope that is not there", "void", func(_ *journal.Draft, e *ring.Envelope) { e.Sealed = []byte("another") })
	complain("complaint-of-another", "a complaint about an envelope for another device", "void", func(_ *journal.Draft, e *ring.Envelope) {
		e.Recipient = ring.Recipient{Kind: ring.ToDevice, ID: r.World.ID("a")}
	})
	give := func(name, about, expect, by string, to ...ring.Recipient) {
		r.bad(name, about, expect, r.Sign(r.Give(by, to...), by))
	}
	give("envelope-not-needed", "an envelope to a recipient that has one", "void", "b", to)
	r.ok("ok-complaint", "a device of the recipient complains", "ok", r.Sign(r.Complain("b", sealed), "b"))
	r.bad("complaint-twice", "another complaint about the same envelope", "void", r.Sign(r.Complain("a", sealed), "a"))
	give("envelope-none", "an envelope entry with no envelopes", "void", "b")
	give("envelope-to-stranger", "an envelope to a ring without a role", "void", "b", ring.Recipient{Kind: ring.ToRing, ID: [32]byte{1}, Generation: 1})
	give("envelope-to-device", "an envelope past a fresh ring", "void", "b", ring.Recipient{Kind: ring.ToDevice, ID: r.World.ID("b")})
	give("envelope-same-giver", "an envelope by the device whose envelope was complained of", "void", "a", to)
	give("envelope-twice-in-one", "two envelopes to one recipient in one entry", "invalid: malformed", "b", to, to)
	d := r.Give("b", to)
	d.Body = append(d.Body, 0)
	r.bad("envelope-trailing-byte", "a byte after the envelopes", "invalid: malformed", r.Sign(d, "b"))
	r.ok("ok-envelope", "another device gives one", "ok", r.Sign(r.Give("b", to), "b"))
	r.tell(r.T.(*testing.T), "ok-policy", "ok-revoke")
	to.Generation = 2
	give("envelope-stale", "an envelope of a generation that a revoked device has", "invalid: stale", "a", to)
}

// writeEndings condemns objects, spares and collects them.
func writeEndings(r *recorder) {
	ids := func(names ...byte) (list []signet.ObjectID) {
		for _, n := range names {
			list = append(list, signet.ObjectID{n})
		}
		return list
	}
	bad := func(name, about, expect string, typ journal.Type, g journal.Ending) {
		r.T.Helper()
		r.bad(name, about, expect, r.Sign(r.End(typ, "a", g), "a"))
	}
	spoil := func(name, about string, typ journal.Type, g journal.Ending, f func(b []byte) []byte) {
		r.T.Helper()
		d := r.End(typ, "a", g)
		d.Body = f(d.Body)
		r.bad(name, about, "invalid: malformed", r.Sign(d, "a"))
	}
	whole := journal.Ending{Days: 7, Objects: ids(1, 2, 3)}
	spoil("condemn-trailing-byte", "a byte after the ids", journal.Condemn, whole, func(b []byte) []byte { return append(b, 0) })
	spoil("condemn-short", "a condemn whose last id is a byte short", journal.Condemn, whole, func(b []byte) []byte { b[4]--; return b[:len(b)-1] })
	bad("condemn-nothing", "a condemn of nothing", "invalid: malformed", journal.Condemn, journal.Ending{Days: 7})
	bad("condemn-too-soon", "a grace of 6 days", "invalid: malformed", journal.Condemn, journal.Ending{Days: 6, Objects: ids(1)})
	bad("condemn-unordered", "ids that do not ascend", "invalid: malformed", journal.Condemn, journal.Ending{Days: 7, Objects: ids(2, 1)})
	bad("condemn-id-twice", "an id twice", "invalid: malformed", journal.Condemn, journal.Ending{Days: 7, Objects: ids(1, 1)})
	bad("spare-of-nothing", "a spare of what is not condemned", "void", journal.Spare, journal.Ending{Objects: ids(1)})
	bad("collect-of-nothing", "a collect of what is not condemned", "void", journal.Collect, journal.Ending{Objects: ids(1)})
	late := r.Sign(r.Draft(journal.Content, "b"), "b")
	condemned := r.Now + 1
	hash := func(rec signet.Record) signet.Hash {
		h, err := journal.HashOf(rec.Head)
		r.Must(err)
		return h
	}
	of := hash(r.ok("ok-condemn", "three objects that nothing kept uses, and a grace of 7 days", "ok", r.Sign(r.End(journal.Condemn, "a", whole), "a")))
	bad("condemn-again", "a condemn of one that is condemned", "void", journal.Condemn, journal.Ending{Days: 7, Objects: ids(3, 4)})
	bad("collect-at-once", "a collect within the grace", "void", journal.Collect, journal.Ending{Condemn: of, Objects: ids(1)})
	r.ok("ok-spare", "one of them is used after all", "ok", r.Sign(r.End(journal.Spare, "b", journal.Ending{Objects: ids(2)}), "b"))
	r.Now = condemned + 7*24*3600*1000 - 2
	bad("collect-a-moment-early", "a collect a millisecond before the end of the grace", "void", journal.Collect, journal.Ending{Condemn: of, Objects: ids(1)})
	r.Now++
	bad("collect-spared", "a collect of what was spared", "void", journal.Collect, journal.Ending{Condemn: of, Objects: ids(1, 2)})
	bad("collect-other-condemn", "a collect that names another entry", "void", journal.Collect, journal.Ending{Condemn: signet.Hash{1}, Objects: ids(1)})
	unseen := r.End(journal.Collect, "a", journal.Ending{Condemn: of, Objects: ids(1)})
	r.ok("ok-content-unaware", "content whose writer had not seen the condemn", "ok", late)
	r.bad("collect-unseen", "a collect whose writer had not seen that one", "void", r.Sign(unseen, "a"))
	late = r.Sign(r.Draft(journal.Content, "b"), "b")
	old := r.Draft(journal.Content, "a")
	old.Seen = r.CheckpointAt(3)
	r.ok("ok-collect", "a collect of one of them", "ok", r.Sign(r.End(journal.Collect, "a", journal.Ending{Condemn: of, Objects: ids(1)}), "a"))
	bad("collect-twice", "the same collect again", "void", journal.Collect, journal.Ending{Condemn: of, Objects: ids(1)})
	r.bad("behind-collect", "content whose writer had not seen the condemn that was carried out", "invalid: conflict", r.Sign(old, "a"))
	r.ok("ok-content-aware", "content whose writer had seen the condemn, and not the collect", "ok", late)
	r.ok("ok-collect-rest", "a collect of the rest", "ok", r.Sign(r.End(journal.Collect, "a", journal.Ending{Condemn: of, Objects: ids(3)}), "a"))
	r.ok("ok-condemn-anew", "an object of that name that came later may be condemned again", "ok", r.Sign(r.End(journal.Condemn, "a", journal.Ending{Days: 30, Objects: ids(1)}), "a"))
}

func (r *recorder) hash(rec signet.Record) signet.Hash {
	h, err := journal.HashOf(rec.Head)
	r.Must(err)
	return h
}

// writeSnapshots writes what horizons name.
func writeSnapshots(r *recorder) (off, ahead, first signet.Hash, unseen *journal.Draft) {
	off = r.hash(r.ok("ok-snapshot-off-point", "a snapshot at what is no digest point", "ok", r.Sign(r.Snapshot("a", 3), "a")))
	r.ok("ok-point", "a content entry with nothing in it", "ok", r.Sign(r.Point("b"), "b"))
	ahead = r.hash(r.ok("ok-snapshot-ahead", "a snapshot at a digest point that is still to come", "ok", r.Sign(r.Snapshot("a", 1024), "a")))
	unseen = r.Draft(journal.Limiting, "a")
	first = r.hash(r.ok("ok-snapshot", "a snapshot at the point", "ok", r.Sign(r.Snapshot("b", 5), "b")))
	return off, ahead, first, unseen
}

// writeHorizonOfRevoked names a snapshot of a device that was revoked since.
func writeHorizonOfRevoked(r *recorder) {
	_, _, first, _ := writeSnapshots(r)
	r.tell(r.T.(*testing.T), "ok-policy", "ok-revoke")
	r.ok("ok-rekey-without-b", "the next generation, because a device was revoked", "ok", r.Sign(r.Rekey("a"), "a"))
	r.bad("horizon-of-revoked", "a horizon at the snapshot of a device that was revoked", "void", r.Sign(r.Limit("a", journal.Limit{Snapshot: first, Days: 7}), "a"))
}

// writeHorizons lets operations go that are before a snapshot.
func writeHorizons(r *recorder) {
	bad := func(name, about, expect string, l journal.Limit) {
		r.T.Helper()
		r.bad(name, about, expect, r.Sign(r.Limit("a", l), "a"))
	}
	spoil := func(name, about string, l journal.Limit, f func(b []byte) []byte) {
		r.T.Helper()
		d := r.Limit("a", l)
		d.Body = f(d.Body)
		r.bad(name, about, "invalid: malformed", r.Sign(d, "a"))
	}
	short := r.Draft(journal.Content, "a")
	rec := r.Sign(short, "a")
	rec.Blob, _ = journal.Drop(rec.Head, rec.Blob)
	r.bad("ok-without-operations", "a content entry whose operations were dropped: its place does not depend on them", "ok", rec)
	off, ahead, first, unseen := writeSnapshots(r)
	keep := []journal.Stretch{{First: 1, End: 2}, {First: 4, End: 5}}
	good := journal.Limit{Snapshot: first, Days: 7, Keep: keep}
	spoil("horizon-trailing-byte", "a byte after the stretches", good, func(b []byte) []byte { return append(b, 0) })
	spoil("horizon-short", "a horizon whose last stretch is a byte short", good, func(b []byte) []byte { b[36]--; return b[:len(b)-1] })
	bad("horizon-too-soon", "a grace of 6 days", "invalid: malformed", journal.Limit{Snapshot: first, Days: 6})
	bad("horizon-empty-stretch", "a stretch of nothing", "invalid: malformed", journal.Limit{Snapshot: first, Days: 7, Keep: []journal.Stretch{{First: 1, End: 1}}})
	bad("horizon-touching", "two stretches that are one", "invalid: malformed", journal.Limit{Snapshot: first, Days: 7, Keep: []journal.Stretch{{First: 1, End: 2}, {First: 2, End: 3}}})
	bad("horizon-unordered", "stretches that do not ascend", "invalid: malformed", journal.Limit{Snapshot: first, Days: 7, Keep: []journal.Stretch{{First: 3, End: 4}, {First: 1, End: 2}}})
	bad("horizon-of-nothing", "a horizon at no snapshot", "void", journal.Limit{Snapshot: signet.Hash{1}, Days: 7})
	bad("horizon-off-point", "a horizon at a snapshot that nobody compares", "void", journal.Limit{Snapshot: off, Days: 7})
	bad("horizon-ahead", "a horizon at a snapshot of what is not there yet", "void", journal.Limit{Snapshot: ahead, Days: 7})
	bad("horizon-keeps-later", "a horizon that keeps what is not before it", "void", journal.Limit{Snapshot: first, Days: 7, Keep: []journal.Stretch{{First: 4, End: 6}}})
	unseen.Body = good.Append(nil)
	r.bad("horizon-unseen", "a horizon whose writer had not seen the snapshot", "void", r.Sign(unseen, "a"))
	r.ok("ok-horizon", "operations before the snapshot, but for those of two entries, may go in 7 days", "ok", r.Sign(r.Limit("a", good), "a"))
	r.ok("ok-horizon-instead", "another in its place, because it is not due", "ok", r.Sign(r.Limit("a", journal.Limit{Snapshot: first, Days: 8, Keep: keep}), "a"))
	r.Now += 8 * 24 * 3600 * 1000
	bad("horizon-again", "a horizon at the snapshot of the one that is due", "void", good)
	r.ok("ok-point-later", "another point", "ok", r.Sign(r.Point("b"), "b"))
	second := r.hash(r.ok("ok-snapshot-later", "a snapshot there", "ok", r.Sign(r.Snapshot("b", r.State.Size()), "b")))
	bad("horizon-keeps-dropped", "a horizon that keeps what the one before it drops", "void", journal.Limit{Snapshot: second, Days: 7, Keep: []journal.Stretch{{First: 1, End: 3}}})
	bad("ok-horizon-further", "a horizon that is further, and keeps what was kept", "ok", journal.Limit{Snapshot: second, Days: 7, Keep: []journal.Stretch{{First: 4, End: 8}}})
}

func writeSpoiled(r *recorder) {
	good := r.Sign(r.Draft(journal.Content, "a"), "a")
	sig := signatureBytes(good.Head)[0]
	with := func(head, blob []byte) signet.Record { return signet.Record{Head: head, Blob: blob} }
	r.bad("flipped-signature", "a bit of the signature flipped", "invalid: not-verified", with(flip(good.Head, sig+3), good.Blob))
	r.bad("other-signer", "signed by another device than it names", "invalid: not-verified", r.Sign(r.Draft(journal.Content, "a"), "b"))
	r.bad("trailing-byte", "a byte after the end", "invalid: malformed", with(append(bytes.Clone(good.Head), 0), good.Blob))
	r.bad("unknown-type", "type 0", "invalid: malformed", with(flip(good.Head, 4), good.Blob))
	r.bad("other-blob", "a blob that the header does not name", "stops: malformed", with(good.Head, flip(good.Blob, 4)))
	r.bad("ok-without-blob", "a content entry without its parts", "ok", with(good.Head, nil))
	r.bad("marker-half-signed", "an authority entry with an Ed25519 signature alone", "invalid: not-verified", halved(r.Journal))
	leaf := journal.Leaf{Hash: key.Sum(key.LabelEntryHash, good.Head), Time: r.Now + 1}
	r.write("spoiled-signature", "another signature than the leaf binds", "stops: not-verified", leaf, with(flip(good.Head, sig+3), good.Blob))
	leaf.Time = r.Now - 1
	r.write("time-goes-back", "a leaf before the last", "stops: not-verified", leaf, good)

	content := journal.Content
	r.draft("other-organisation", "of another organisation", "invalid: not-verified", content, func(d *journal.Draft) { d.Org[0] ^= 1 })
	r.draft("other-region", "of another region", "invalid: not-verified", content, func(d *journal.Draft) { d.Region[0] ^= 1 })
	r.draft("other-ring", "in the name of a ring without a role", "invalid: not-allowed", content, func(d *journal.Draft) { d.Ring[0] ^= 1 })
	r.draft("fork-of-own-chain", "names its writer's first entry's predecessor", "invalid: conflict", content, func(d *journal.Draft) { d.Own = signet.Hash{} })
	r.draft("unknown-authority", "names an authority entry that there is not", "invalid: not-verified", content, func(d *journal.Draft) { d.Authority[0] ^= 1 })
	r.draft("too-many-operations", "1001 operations", "invalid: malformed", content, func(d *journal.Draft) { d.Count = journal.MaxOperations + 1 })
	r.draft("operations-without-count", "no operations, but a root over some", "invalid: malformed", content, func(d *journal.Draft) { d.Count, d.Sealed = 0, nil })
	r.draft("generation-to-be", "under a generation that is not made yet", "invalid: stale", content, func(d *journal.Draft) { d.Generation = 2 })
	r.draft("marker-with-operations", "an authority entry with content", "invalid: malformed", journal.Marker,
		func(d *journal.Draft) { d.Count, d.Root, d.Sealed = 1, signet.Hash{1}, []byte("x") })
}

func writeHeads(r *recorder) {
	content := journal.Content
	forge := func(k *key.Private, log signet.LogID, size uint64) *chain.Checkpoint {
		c, err := chain.Sign(k, log, size, signet.Hash{66}, r.Now, false)
		r.Must(err)
		return c
	}
	j, dir := signet.Journal(r.Journal.ID), signet.Directory(r.World.State.Org())
	r.draft("invented-head", "an observed head that its writer signed", "invalid: not-verified", content,
		func(d *journal.Draft) { d.Seen = forge(r.Signer("a"), j, 2) })
	r.draft("invented-directory-head", "a directory head that its writer signed", "invalid: not-verified", content,
		func(d *journal.Draft) { d.Dir = forge(r.Signer("a"), dir, 2) })
	r.draft("head-of-other-log", "an observed head of the directory", "invalid: not-verified", content, func(d *journal.Draft) { d.Seen = d.Dir })
	r.draft("head-from-the-future", "an observed head larger than its position", "invalid: not-verified", content,
		func(d *journal.Draft) { d.Seen = forge(r.Service, j, 9) })
	r.draft("head-goes-back", "an observed head behind that of its writer's last entry", "invalid: not-verified", content,
		func(d *journal.Draft) { d.Seen = r.CheckpointAt(0) })
	r.draft("contradicted", "the service signed an observed head of another history", "stops: contradicted", content,
		func(d *journal.Draft) { d.Seen = forge(r.Service, j, 2) })
	r.draft("contradicted-directory", "the service signed a directory head of another history", "stops: contradicted", content,
		func(d *journal.Draft) { d.Dir = forge(r.Service, dir, 2) })
	r.draft("directory-ahead", "a directory head larger than the directory at hand", "stops: need-directory", content,
		func(d *journal.Draft) { d.Dir = forge(r.Service, dir, 99) })
}
