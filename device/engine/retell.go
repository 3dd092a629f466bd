package engine

import (
	"fmt"

	"signet"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/tree"
)

// A Told is one entry of a journal that is told again.
type Told struct {
	region.Step
	Time int64      // of its leaf, ms since 1970
	Of   tree.Entry // as the tree took it, if Entry is not nil
	Tree *tree.Tree // after it. It changes with the next

	// Begins says that the tree began here, with the snapshot at a horizon: Batch and
	// Events are all of it, and Entry is nil. Of what was told before only pins and
	// policies are known.
	Begins bool
}

// ErrEnough ends a Retell without an error.
var ErrEnough = fmt.Errorf("enough")

// Retell replays a region's journal from its beginning and calls each after
// each entry, oldest first, those without effect too. What was verified is not
// verified again: the store's records must be those. It returns the tree of the
// last entry that was told, which nobody else has. before, if not nil, sees
// operations before they are replayed.
//
// It takes the time of a replay (doc/performance.md), and the memory of a second
// tree.
func (d *Device) Retell(id signet.RegionID, before func(t *tree.Tree, e tree.Entry, b *tree.Batch), each func(Told) error) (*tree.Tree, error) {
	d.mu.Lock()
	r := d.regions[id]
	if r == nil {
		d.mu.Unlock()
		return nil, fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	again, wait, start := r.Retell(), r.wait, r.Began()
	if again.End()+uint64(len(r.pending)) == r.State.Size() {
		wait = nil // for what is to come
	}
	d.mu.Unlock()
	if before != nil {
		again.Before(func(e tree.Entry, b *tree.Batch) { before(again.Tree(), e, b) })
	}
	var err error
	if start.At > 0 {
		err = d.tellBase(r, again, start, each)
	}
	if err == ErrEnough {
		return again.Tree(), nil
	}
	if err != nil {
		return nil, err
	}
	err = d.Store.records(r.log, again.Next(), func(pos uint64, rec signet.Record) error {
		if pos != again.Next() || pos == again.End() {
			return nil // came meanwhile, or is not the next one
		}
		s, err := again.Replay(rec)
		if err != nil {
			return err
		}
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if err != nil {
			return err
		}
		told := Told{Step: s, Time: leaf.Time, Tree: again.Tree()}
		if s.Entry != nil {
			told.Of = again.Of(s)
		}
		return each(told)
	})
	if err == ErrEnough {
		return again.Tree(), nil
	}
	if err == nil && again.Next() < again.End() {
		err = fmt.Errorf("index: entry %d of region %s is not there", again.Next(), id)
	}
	if err == nil {
		err = wait // what follows cannot be opened yet
	}
	return again.Tree(), err
}

// Events tells a region's journal again, as what happened, oldest first; op is
// the operation behind the event.
func (d *Device) Events(id signet.RegionID, each func(e tree.Event, op *tree.Op) error) error {
	_, err := d.Retell(id, nil, func(s Told) error {
		byRev := map[signet.RevisionID]*tree.Op{}
		if s.Batch != nil {
			for i := range s.Batch.Items {
				byRev[s.Batch.Items[i].Revision] = &s.Batch.Items[i].Op
			}
		}
		for _, e := range s.Events {
			if err := each(e, byRev[e.Revision]); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// LeafTimes are the times, ms since 1970, of the leaves that a region's tree has
// replayed, by position.
func (d *Device) LeafTimes(id signet.RegionID) ([]int64, error) {
	d.mu.Lock()
	r := d.regions[id]
	if r == nil {
		d.mu.Unlock()
		return nil, fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	log, end := r.log, r.Replayed()
	d.mu.Unlock()
	times := make([]int64, 0, end)
	err := d.Store.leaves(log, func(pos uint64, leaf []byte) error {
		if pos != uint64(len(times)) || pos >= end {
			return nil
		}
		l, err := journal.ParseLeaf(leaf)
		times = append(times, l.Time)
		return err
	})
	if err == nil && uint64(len(times)) < end {
		err = fmt.Errorf("index: entry %d of region %s is not there", len(times), id)
	}
	return times, err
}
