package region

import (
	"fmt"
	"iter"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
)

// SnapshotEvery is after how many operations a device writes a snapshot.
const SnapshotEvery = 4096

// A Snapshot is the tree at a digest point, as sealed pages.
type Snapshot struct {
	Position uint64 // the digest point: how many entries the tree holds
	Digest   signet.Hash
	Pages    []seal.Ref
	entry    *journal.Entry
}

const (
	snapshotFormat = 1
	maxPage        = 2 << 20 // plaintext bytes of one stored page group
)

// WantsPoint reports whether enough happened that a snapshot would spare a
// newcomer work, and Ready whether the tree stands at a digest point now.
func (r *Region) WantsPoint() bool { return r.since >= SnapshotEvery }

// Ready reports whether the tree is at a digest point, so that a snapshot can
// be written of it.
func (r *Region) Ready() bool { return r.point == r.replayed && r.point > 0 }

// SealSnapshot seals the tree as it is, at a digest point: objects to store
// first, and the snapshot that names them.
func (r *Region) SealSnapshot(put func(object []byte, id signet.ObjectID) error) (*Snapshot, error) {
	if !r.Ready() {
		return nil, fmt.Errorf("%s: snapshot off a digest point", r.ID())
	}
	return r.SealPast(r.Tree, r.point, put)
}

// SealPast seals a tree as it was at a digest point. ErrDigest where it is not the
// one that was there.
func (r *Region) SealPast(t *tree.Tree, point uint64, put func(object []byte, id signet.ObjectID) error) (*Snapshot, error) {
	s := &Snapshot{Position: point, Digest: r.digests[point]}
	if got := t.Digest(tree.DigestKey(r.secret.DigestKey())); got != s.Digest {
		return nil, fmt.Errorf("%s: %w: of the tree told again at %d", r.ID(), ErrDigest, point)
	}
	var group wire.Writer
	flush := func() error {
		if len(group.B) == 0 {
			return nil
		}
		object, ref, err := seal.SealPiece(nil, group.B)
		if err != nil {
			return err
		}
		s.Pages = append(s.Pages, ref)
		group.B = group.B[:0]
		return put(object, ref.Object)
	}
	for page := range t.Pages(tree.DigestKey(r.secret.DigestKey())) {
		if len(group.B)+4+len(page) > maxPage {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		group.Vec32(page)
	}
	return s, flush()
}

// CommitSnapshot makes the entry that pins a snapshot's pages.
func (r *Region) CommitSnapshot(head *chain.Checkpoint, s *Snapshot) (signet.Record, error) {
	d, err := r.draft(journal.Snapshot, head)
	if err != nil {
		return signet.Record{}, err
	}
	seed, err := r.seed(d.Generation)
	if err != nil {
		return signet.Record{}, err
	}
	var w wire.Writer
	w.U8(snapshotFormat)
	w.U32(uint32(len(s.Pages)))
	for _, p := range s.Pages {
		w.Raw(p.Object[:])
		w.Raw(p.Key[:])
		w.U32(p.Size)
		d.IDs = append(d.IDs, p.Object)
	}
	d.DigestAt, d.Digest = s.Position, s.Digest
	d.Count, d.Root = 1, key.Sum(key.LabelBlob, w.B)
	if d.Sealed, err = seal.SealOps(seed, opsContext(r.self.Org, r.ID(), r.self.Device, d.Generation, d.Type), w.B); err != nil {
		return signet.Record{}, err
	}
	rec, _, err := d.Sign(r.self.Signer)
	if err == nil && s.Position+journal.DigestEvery > r.replayed {
		r.since = 0 // else it is one of long ago
	}
	return rec, err
}

// noteSnapshot remembers the newest snapshot that a device of our own ring
// signed and that is still of it. One that was made for a horizon is of long ago.
func (r *Region) noteSnapshot(e *journal.Entry) {
	if e.Ring == r.self.Ring && e.DigestAt > 0 && e.DigestAt <= e.Position && (r.snapshot == nil || e.DigestAt > r.snapshot.Position) {
		r.snapshot = &Snapshot{Position: e.DigestAt, Digest: e.Digest, entry: e}
	}
}

// Newest is the position of the entry that names the newest snapshot which a
// newcomer may list from; ok is false where there is none. Its writer must
// still be an active device of our own ring.
func (r *Region) Newest() (position uint64, ok bool) {
	if r.snapshot == nil || !r.dir.ActiveAt(r.self.Ring, r.snapshot.entry.Device, r.dir.Size()) {
		return 0, false
	}
	return r.snapshot.entry.Position, true
}

// LoadSnapshot opens the newest snapshot into a tree of its own, for listings
// while the journal is still replayed. rec is the whole record of the entry at
// Newest; get fetches objects.
func (r *Region) LoadSnapshot(rec signet.Record, get func(seal.Ref) ([]byte, error)) (*tree.Tree, uint64, error) {
	t, err := r.loadAt(r.snapshot.entry.Position, rec, get)
	return t, r.snapshot.Position, err
}

// loadAt opens the snapshot that the entry at a position names.
func (r *Region) loadAt(position uint64, rec signet.Record, get func(seal.Ref) ([]byte, error)) (*tree.Tree, error) {
	e, err := journal.Reopen(r.State, position, rec)
	if err != nil {
		return nil, err
	}
	refs, err := r.openSnapshot(e)
	if err != nil {
		return nil, fmt.Errorf("%s: snapshot at entry %d: %w", r.ID(), e.Position, err)
	}
	var failed error
	t, err := tree.Load(pagesOf(refs, get, &failed))
	if failed != nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: snapshot at entry %d: %w", r.ID(), e.Position, err)
	}
	if got := t.Digest(tree.DigestKey(r.secret.DigestKey())); got != e.Digest {
		return nil, fmt.Errorf("%s: snapshot at entry %d by %s: %w", r.ID(), e.Position, e.Device, ErrDigest)
	}
	return t, nil
}

// SnapshotPages lists the objects of the snapshot that the whole record at a
// position names.
func (r *Region) SnapshotPages(position uint64, rec signet.Record) ([]seal.Ref, error) {
	e, err := journal.Reopen(r.State, position, rec)
	if err != nil {
		return nil, err
	}
	return r.openSnapshot(e)
}

func (r *Region) openSnapshot(e *journal.Entry) ([]seal.Ref, error) {
	if e.Dropped {
		return nil, journal.ErrDropped
	}
	seed, err := r.seed(e.Generation)
	if err != nil {
		return nil, err
	}
	plain, err := seal.OpenOps(seed, r.context(e.Device, e.Generation, e.Type), e.Sealed)
	if err != nil {
		return nil, err
	}
	rd := wire.NewReader(plain)
	if f := rd.U8(); rd.Err() == nil && f != snapshotFormat {
		rd.Fail("snapshot format %d", f)
	}
	var refs []seal.Ref
	for n := rd.U32(); n > 0 && rd.Err() == nil; n-- {
		var p seal.Ref
		rd.Raw(p.Object[:])
		rd.Raw(p.Key[:])
		p.Size = rd.U32()
		refs = append(refs, p)
	}
	return refs, rd.Done()
}

func pagesOf(refs []seal.Ref, get func(seal.Ref) ([]byte, error), failed *error) iter.Seq[[]byte] {
	return Pages(func(yield func([]byte, error) bool) {
		for _, ref := range refs {
			if !yield(get(ref)) {
				return
			}
		}
	}, failed)
}

// Pages yields the pages that are sealed together in groups (spec/operations.md,
// "Digest and snapshot"), up to the first error, which is in failed afterwards.
func Pages(groups iter.Seq2[[]byte, error], failed *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for group, err := range groups {
			if err != nil {
				*failed = err
				return
			}
			for rd := wire.NewReader(group); rd.Len() > 0; {
				page := rd.Vec32(len(group))
				if rd.Err() != nil {
					*failed = rd.Err()
					return
				}
				if !yield(page) {
					return
				}
			}
		}
	}
}
