package cold

import (
	"bytes"
	"errors"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
)

// limit writes a snapshot of the region as it is, and a horizon there that keeps what
// proves its files; a month later it drops.
func (w *world) limit() (h *journal.Horizon) {
	w.t.Helper()
	rec, _, err := w.one.Commit(w.World.Checkpoint(), nil, nil)
	w.Must(err)
	w.offer(rec)
	s, err := w.one.SealSnapshot(func(object []byte, id signet.ObjectID) error {
		w.objects[id] = bytes.Clone(object)
		return nil
	})
	w.Must(err)
	rec, err = w.one.CommitSnapshot(w.World.Checkpoint(), s)
	w.Must(err)
	w.offer(rec)
	of, err := journal.HashOf(rec.Head)
	w.Must(err)
	var proofs []uint64
	for p := range s.Position {
		for n := range w.one.Tree.All() {
			if n.Content.Position == p {
				proofs = append(proofs, p)
			}
		}
	}
	l := journal.Limit{Snapshot: of, Days: journal.DefaultGrace, Keep: journal.Stretches(proofs)}
	rec, err = w.one.Limit(w.World.Checkpoint(), l)
	w.Must(err)
	w.offer(rec)
	w.j.Now += 31 * 24 * 3600 * 1000
	h = w.one.State.Horizon(w.j.Now)
	for p := range h.At {
		if short, ok := journal.Drop(w.j.Log[p].Head, w.j.Log[p].Blob); ok && h.Drops(p) {
			w.j.Log[p].Blob = short
		}
	}
	return h
}

// An export of a device that began at a horizon opens from there, and tells nothing
// earlier.
func TestAnExportBeginsAtTheHorizon(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("first"))
	w.write("b", some(700<<10, 7))
	w.write("a", []byte("second"))
	h := w.limit()
	w.write("c", []byte("later"))
	w.write("b", some(600<<10, 9))
	if !journal.Dropped(w.j.Log[1]) || journal.Dropped(w.j.Log[2]) {
		t.Fatalf("dropped is another: %+v", h)
	}
	w.export()
	w.holds(w.two, w.want)
	w.holds(w.paper, w.want)
	leaf, err := journal.ParseLeaf(w.j.Log[1].Leaf)
	w.Must(err)
	if _, err := Open(w.dir, &w.two, chain.KeysHash(w.Service.Public()), leaf.Time); !errors.Is(err, ErrBefore) {
		t.Errorf("as of before the horizon: %v", err)
	}
	// What the horizon keeps must be there.
	w.j.Log[3].Blob, _ = journal.Drop(w.j.Log[3].Head, w.j.Log[3].Blob)
	w.dir += "-2"
	w.export()
	if _, err := w.open(w.two); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("without a proof: %v", err)
	}
}
