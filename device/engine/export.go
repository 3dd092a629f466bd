package engine

import (
	"context"
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/region"
)

// What an export of a region takes from a device: the logs as they were
// verified, up to full checkpoints, and the names of all objects.

// Freeze brings a region up to the service's newest, and returns full checkpoints
// of its journal and of the directory, which covers all heads that the journal
// names. The store has every record below both.
func (d *Device) Freeze(ctx context.Context, id signet.RegionID) (dir, journal *chain.Checkpoint, err error) {
	if err := d.SyncRegion(ctx, id); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	r := d.regions[id]
	if r.failed != nil {
		err = r.failed
	}
	journal = r.Follower.Full
	d.mu.Unlock()
	// The directory after the journal: what its entries name is in it.
	if err == nil {
		err = d.SyncDirectory(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir = d.dirHead.Full; dir == nil || journal == nil {
		return nil, nil, fmt.Errorf("region %s: no full checkpoint: %w", id, signet.ErrUnavailable)
	}
	return dir, journal, nil
}

// Heads are the full checkpoints that Freeze would start from, as they are known
// here. Nil where there is none.
func (d *Device) Heads(id signet.RegionID) (dir, journal *chain.Checkpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.regions[id]; r != nil {
		journal = r.Follower.Full
	}
	return d.dirHead.Full, journal
}

// Records calls each with the stored records of a log from one position to before
// another.
func (d *Device) Records(log signet.LogID, from, to uint64, each func(signet.Record) error) error {
	next := from
	err := d.Store.recordsTo(log, from, to, func(pos uint64, r signet.Record) error {
		if pos != next {
			return fmt.Errorf("index: record %d of %s is not there", next, log)
		}
		next++
		return each(r)
	})
	if err == nil && next != to {
		err = fmt.Errorf("index: record %d of %s is not there", next, log)
	}
	return err
}

// Objects calls each with every object that a valid entry of a region before a
// position names, and that was not collected since.
func (d *Device) Objects(id signet.RegionID, to uint64, each func(position uint64, object signet.ObjectID) error) error {
	gone, err := d.collected(id)
	if err != nil {
		return err
	}
	// In pieces: whoever reads the store does not wait for the device's lock
	// meanwhile, as its holder may wait for the store.
	for from := uint64(0); from < to; from += objectsAtOnce {
		var recs []signet.Record
		err := d.Records(signet.Journal(id), from, min(from+objectsAtOnce, to), func(r signet.Record) error {
			recs = append(recs, r)
			return nil
		})
		if err != nil {
			return err
		}
		var entries []*journal.Entry
		err = d.WithRegion(id, func(r *region.Region) error {
			for i, rec := range recs {
				if pos := from + uint64(i); r.Valid(pos) {
					e, err := journal.Reopen(r.State, pos, rec)
					if err != nil {
						return err
					}
					entries = append(entries, e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			for _, o := range e.Objects {
				if gone[o] > e.Position {
					continue
				}
				if err := each(e.Position, o); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

const objectsAtOnce = 64 // entries

// CheckShown holds a checkpoint that somebody brought, with the tree that it is
// over, against what this device accepted of the log: a *chain.Fork where both
// cannot be true, whichever is longer. t may be nil: then a checkpoint that is beyond
// what is here, like a log that is not known here, contradicts nothing.
func (d *Device) CheckShown(c *chain.Checkpoint, t *chain.Tree) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, own := &d.dirHead, d.dir.Tree
	if c.Log.Kind == signet.RegionLog {
		r := d.regions[signet.RegionID(c.Log.ID)]
		if r == nil {
			return nil
		}
		f, own = &r.Follower, &r.State.Tree
	}
	switch {
	case c.Log != f.Log || f.Last == nil:
		return nil
	case c.Size <= own.Size():
		return f.Check(c, own)
	case t == nil || f.Last.Size > t.Size():
		return nil
	}
	return (&chain.Follower{Log: c.Log, Last: c}).Check(f.Last, t)
}
