package region

import (
	"fmt"
	"maps"

	"signet"
	"signet/core/journal"
	"signet/core/tree"
)

// A Retelling replays once more, from the beginning, what a region's tree
// holds: for what a tree does not keep. No signature is verified again and no
// digest is compared: each record must be the one whose leaf was verified, and
// replay is a function of these records. All keys that it needs are there, those
// too that came after what they open.
//
// A tree that began with a horizon's snapshot is told from there: see Begin.
//
// It shares with its region nothing that changes there, so that others may use
// the region meanwhile, or give it up.
type Retelling struct {
	r   *Region // of its own; verifies nothing, and has the keys that were opened
	end uint64

	digestKey [32]byte
}

// Retell begins to replay again what r's tree holds.
func (r *Region) Retell() *Retelling {
	again := New(r.ID(), r.dir, r.self, r.keys)
	// Leaves and verdicts are only ever added behind these.
	again.State.Tree, again.valid = r.State.Tree, r.valid[:r.replayed:r.replayed]
	// What was resumed had no use for all keys yet.
	for n := range r.State.Generations() {
		_, _ = r.seed(signet.Generation(n + 1)) // what it lacks, no entry needs
	}
	again.seeds = maps.Clone(r.seeds)
	t := &Retelling{r: again, end: r.replayed}
	if r.secret != nil {
		t.digestKey = r.secret.DigestKey()
	}
	return t
}

// Early is Region.Early, with what a tree needs to know of the entry.
func (t *Retelling) Early(position uint64, rec signet.Record) (te tree.Entry, b *tree.Batch, err error) {
	e, b, err := t.r.Early(position, rec)
	if b == nil {
		return te, nil, err
	}
	return t.r.of(e), b, err
}

// Before has f see the operations of each entry before they are replayed: for
// who needs to know what the tree was.
func (t *Retelling) Before(f func(e tree.Entry, b *tree.Batch)) { t.r.before = f }

// Tree is the tree as it is told so far, the caller's from where it stops
// replaying.
func (t *Retelling) Tree() *tree.Tree { return t.r.Tree }

// Of is what the tree was told of the entry that a step replayed.
func (t *Retelling) Of(s Step) tree.Entry { return t.r.of(s.Entry) }

// Next is the position of the record that Replay takes next, which is End when
// there is none.
func (t *Retelling) Next() uint64 { return t.r.replayed }

// End is the number of entries to replay.
func (t *Retelling) End() uint64 { return t.end }

// Replay replays the entry at Next from its whole record.
func (t *Retelling) Replay(rec signet.Record) (Step, error) {
	s := Step{Position: t.r.replayed}
	if s.Position >= t.end {
		return s, fmt.Errorf("%s: entry %d was not replayed before", t.r.ID(), s.Position)
	}
	if t.r.valid[s.Position] {
		e, err := journal.Reopen(t.r.State, s.Position, rec)
		if err != nil {
			return s, err
		}
		if e.Dropped {
			return s, fmt.Errorf("%s: entry %d: %w", t.r.ID(), s.Position, journal.ErrDropped)
		}
		s.Entry = e
		if err := t.r.open(e, &s); err != nil {
			return s, err
		}
	} else if err := t.r.Whole(s.Position, rec); err != nil {
		return s, err
	}
	t.r.replayed++
	return s, nil
}
