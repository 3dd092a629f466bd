package region

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/tree"
)

// What is behind a horizon (spec/journal.md) cannot be replayed: who lacks it
// begins with the snapshot that the horizon names. Its digest was compared by every
// device that had replayed as far; what a file of it holds is proved by the entries
// that the horizon keeps.

// ErrUnproved says that a snapshot has a file whose content no entry of its writer
// says.
var ErrUnproved = fmt.Errorf("no entry says so: %w", signet.ErrNotVerified)

// ErrUnvouched says that no device which is still of our ring has the tree that a
// horizon begins with.
var ErrUnvouched = fmt.Errorf("no device that is still of this ring vouches for the tree at the horizon: %w", signet.ErrUnavailable)

// Limit makes the record of a horizon.
func (r *Region) Limit(head *chain.Checkpoint, l journal.Limit) (signet.Record, error) {
	d, err := r.draft(journal.Limiting, head)
	if err != nil {
		return signet.Record{}, err
	}
	d.Body = l.Append(nil)
	rec, _, err := d.Sign(r.self.Signer)
	return rec, err
}

// Points lists the digest points that were replayed, in no order.
func (r *Region) Points() iter.Seq[uint64] { return maps.Keys(r.digests) }

// OpenHorizon opens h's snapshot: a tree with the digest that others had at its
// point, which begins nothing yet. rec is the whole record of the snapshot's entry;
// get fetches objects.
func (r *Region) OpenHorizon(h *journal.Horizon, rec signet.Record, get func(seal.Ref) ([]byte, error)) (*tree.Tree, error) {
	t, err := r.loadAt(h.Snapshot, rec, get)
	if err == nil {
		err = r.plausible(t, h.At)
	}
	return t, err
}

// Begin goes on from the tree of OpenHorizon, once it is proved (Prove), as if all
// before it were replayed. All that is at hand must have been verified (Take), and
// less than h.At replayed.
func (r *Region) Begin(h *journal.Horizon, t *tree.Tree) error {
	if r.replayed >= h.At || h.At > r.State.Size() {
		return fmt.Errorf("%s: replayed to %d, the horizon is at %d", r.ID(), r.replayed, h.At)
	}
	r.begin(t, Start{h.At, h.Digest})
	r.vouched = r.active(h.Writer) || r.active(h.By)
	return nil
}

// A Start is where a tree began, with a horizon's snapshot; zero if it was replayed
// from the first entry on.
type Start struct {
	At     uint64 // how many entries the snapshot's tree holds
	Digest signet.Hash
}

func (r *Region) begin(t *tree.Tree, s Start) {
	r.Tree, r.replayed, r.point, r.since, r.start = t, s.At, s.At, 0, s
	r.digests = map[uint64]signet.Hash{s.At: s.Digest}
}

// Began is where the tree began.
func (r *Region) Began() Start { return r.start }

// Begin has it begin where its region's tree did (Began), with the pages of that
// tree: nothing before it is told. ErrDigest where these are others.
func (t *Retelling) Begin(s Start, pages iter.Seq[[]byte]) error {
	loaded, err := tree.Load(pages)
	if err != nil {
		return err
	}
	if loaded.Digest(tree.DigestKey(t.digestKey)) != s.Digest {
		return fmt.Errorf("%s: the tree kept at %d: %w", t.r.ID(), s.At, ErrDigest)
	}
	t.r.begin(loaded, s)
	return nil
}

// Vouched is ErrUnvouched unless the tree was replayed from the first entry on, or
// a device that is active in our own ring signed the snapshot that it began with,
// its horizon, or a digest that we came to from there.
func (r *Region) Vouched() error {
	if r.start.At == 0 || r.vouched {
		return nil
	}
	return fmt.Errorf("%s: %w", r.ID(), ErrUnvouched)
}

func (r *Region) active(d signet.DeviceID) bool {
	return r.dir.ActiveAt(r.self.Ring, d, r.dir.Size())
}

// plausible checks that all that a tree says of who set what is of entries that
// had effect.
func (r *Region) plausible(t *tree.Tree, at uint64) error {
	for ref := range t.Refs() {
		for _, s := range []tree.Stamp{ref.Content(), ref.Place(), ref.Attr()} {
			if s.Position >= at || !r.valid[s.Position] {
				return fmt.Errorf("%s: snapshot at %d: entry %d of %s: %w", r.ID(), at, s.Position, s.Device, ErrUnproved)
			}
		}
	}
	return nil
}

// Early opens the operations of an entry that is before where the tree began, from
// its whole record; b is nil where it has none, or none any more.
func (r *Region) Early(position uint64, rec signet.Record) (e *journal.Entry, b *tree.Batch, err error) {
	if !r.valid[position] {
		return nil, nil, nil
	}
	if e, err = journal.Reopen(r.State, position, rec); err != nil || e.Dropped || len(e.Sealed) == 0 || e.Type != journal.Content {
		return e, nil, err
	}
	b, _, err = r.batch(e) // what nobody opens says nothing
	return e, b, err
}

// A Proof holds what files of a tree contain against the entries of their writers.
type Proof struct {
	r    *Region
	h    *journal.Horizon
	want map[signet.RevisionID]tree.Ref
}

// Prove begins the proof of h's tree (OpenHorizon), which must not change meanwhile.
// What was deleted before an earlier horizon, and lives again, has no proof any more.
func (r *Region) Prove(h *journal.Horizon, t *tree.Tree) *Proof {
	p := &Proof{r, h, map[signet.RevisionID]tree.Ref{}}
	for ref := range t.Refs() {
		if ref.Type() != tree.Dir && !h.DroppedBefore(ref.Content().Position) {
			p.want[ref.Content().Revision] = ref
		}
	}
	return p
}

// Take takes the whole record of a position before the tree's. One without
// operations proves nothing; ErrDropped where the horizon keeps them.
func (p *Proof) Take(position uint64, rec signet.Record) error {
	e, b, err := p.r.Early(position, rec)
	if err == nil && e != nil && e.Dropped && !p.h.Drops(position) {
		err = fmt.Errorf("%s: entry %d: %w", p.r.ID(), position, journal.ErrDropped)
	}
	if err != nil || b == nil {
		return err
	}
	for i := range b.Items {
		it := &b.Items[i]
		ref, ok := p.want[it.Revision]
		if !ok || !says(&it.Op, ref.Node()) {
			continue
		}
		if s := ref.Content(); s.Position == position && int(s.Op) == i && s.Device == e.Device && s.Time == e.Time {
			delete(p.want, it.Revision)
		}
	}
	return nil
}

// says reports whether an operation gives a node the content that it has.
func says(op *tree.Op, n tree.Node) bool {
	if op.Kind != tree.Create && op.Kind != tree.Edit || op.Type != n.Type {
		return false
	}
	if op.Type == tree.Link {
		return op.Target == n.Target
	}
	return op.Size == n.Size && op.Hash == n.Hash && op.PlaintextID == n.PlaintextID && slices.Equal(op.Content, n.Data)
}

// Done is ErrUnproved if something is not proved.
func (p *Proof) Done() error {
	for _, ref := range p.want {
		return fmt.Errorf("%s: what entry %d of %s puts, and %d others: %w", p.r.ID(), ref.Content().Position, ref.Content().Device, len(p.want)-1, ErrUnproved)
	}
	return nil
}
