package engine

import (
	"context"
	"errors"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/seal"
	"signet/core/tree"
)

// firstWorth is from how many entries on a journal that is read for the first
// time is read in two passes: headers, then operations.
const firstWorth = 8

// first begins a journal of which this device has nothing. All headers are
// verified, so that from here on it is known who wrote what with what right;
// then the newest snapshot that a device of our own ring signed is opened for
// listings, whatever the length of the history. Operations follow in catchUp;
// before that nothing of the region is written to a disk.
func (d *Device) first(ctx context.Context, r *openRegion) error {
	d.mu.Lock()
	fresh := r.State.Size() == 0 && !r.lag && r.failed == nil
	d.mu.Unlock()
	if !fresh {
		return nil
	}
	parts := signet.Whole
	for from := uint64(0); ; parts = signet.WithHead {
		p, err := d.Service.Read(ctx, r.log, from, parts)
		if err != nil {
			return d.forgetFirst(r, err) // no head covers the headers so far
		}
		c, err := chain.Open(p.Checkpoint, r.log, d.logKey())
		if err != nil {
			return d.raise(err, r.ID())
		}
		if from == 0 && c.Size < firstWorth {
			_, err := d.takeJournal(ctx, r, p) // a short one is replayed at once
			return d.raise(err, r.ID())
		}
		if c.Size < from {
			return d.forgetFirst(r, &Withheld{Log: r.log, Size: c.Size})
		}
		// What is shown beyond what is signed would be here alone.
		p.Records = p.Records[:min(uint64(len(p.Records)), c.Size-from)]
		if err := d.takeHeads(ctx, r, p); err != nil {
			return d.forgetFirst(r, err)
		}
		from += uint64(len(p.Records))
		if from < c.Size && len(p.Records) == 0 {
			return d.forgetFirst(r, &Withheld{Log: r.log, Size: from})
		}
		if from < c.Size {
			continue
		}
		d.mu.Lock()
		err = d.acceptHead(&r.Follower, c, &r.State.Tree)
		d.mu.Unlock()
		if err != nil {
			return d.forgetFirst(r, err)
		}
		break
	}
	// A snapshot that cannot be had or opened only costs time.
	if t, at, err := d.openSnapshot(ctx, r); err == nil {
		d.mu.Lock()
		r.listing, r.listed = t, at
		d.signal()
		d.mu.Unlock()
	} else if errors.Is(err, signet.ErrNotVerified) && waitsFor(err) == nil {
		return d.forgetFirst(r, err)
	}
	return nil
}

// takeHeads verifies a page of headers. Authority entries need their body.
func (d *Device) takeHeads(ctx context.Context, r *openRegion, p signet.Page) error {
	for i, rec := range p.Records {
		h, err := journal.IDOf(rec.Head)
		if err == nil && h.Type.Authority() && len(rec.Blob) == 0 {
			whole, err := d.Service.Read(ctx, r.log, p.From+uint64(i), signet.Whole)
			if err != nil {
				return err
			}
			if len(whole.Records) > 0 {
				rec = whole.Records[0]
			}
		}
		for {
			d.mu.Lock()
			size := d.dir.Tree.Size()
			r.lag = true
			_, _, err := r.Take(signet.Record{Leaf: rec.Leaf, Head: rec.Head, Blob: rec.Blob})
			d.mu.Unlock()
			if errors.Is(err, journal.ErrNeedDirectory) {
				if err := d.grow(ctx, size); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// forgetFirst makes a journal unread again, for a reason.
func (d *Device) forgetFirst(r *openRegion, cause error) error {
	d.mu.Lock()
	r.Region = d.blankRegion(signet.RegionID(r.log.ID))
	r.lag, r.listing, r.fetched, r.wait = false, nil, 0, nil
	d.mu.Unlock()
	return d.raise(cause, r.ID())
}

// openSnapshot opens the newest snapshot of a region whose headers are known: the
// tree that so many entries made; nil where there is none.
func (d *Device) openSnapshot(ctx context.Context, r *openRegion) (t *tree.Tree, entries uint64, err error) {
	d.mu.Lock()
	at, ok := r.Newest()
	d.mu.Unlock()
	if !ok {
		return nil, 0, nil
	}
	p, err := d.Service.Read(ctx, r.log, at, signet.Whole)
	if err != nil {
		return nil, 0, err
	}
	if len(p.Records) == 0 {
		return nil, 0, signet.ErrNotFound
	}
	objects, err := d.snapshotObjects(ctx, r, at, p.Records[0])
	if err != nil {
		return nil, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return r.LoadSnapshot(p.Records[0], func(ref seal.Ref) ([]byte, error) { return seal.OpenPiece(nil, ref, objects[ref.Object]) })
}

// catchUp replays the operations of a journal whose headers were verified
// before, and stores it. What the snapshot said must come out.
func (d *Device) catchUp(ctx context.Context, r *openRegion) error {
	for {
		d.mu.Lock()
		lag, from := r.lag, max(r.Replayed(), r.fetched)
		d.mu.Unlock()
		if !lag {
			return nil
		}
		p, err := d.Service.Read(ctx, r.log, from, signet.Whole)
		if err != nil {
			return err
		}
		d.mu.Lock()
		err = d.replayPage(r, p)
		d.mu.Unlock()
		if err != nil {
			return d.forgetFirst(r, err)
		}
	}
}

// replayPage replays whole records of entries that were verified. With the
// lock held.
func (d *Device) replayPage(r *openRegion, p signet.Page) error {
	from := max(r.Replayed(), r.fetched)
	if p.From != from || len(p.Records) == 0 {
		return errAgain
	}
	var done []signet.Record
	for _, rec := range p.Records {
		if r.fetched = from + uint64(len(done)); r.fetched == r.State.Size() {
			break // newer than the headers: read in the ordinary way
		}
		if err := r.Whole(r.fetched, rec); err != nil {
			return err
		}
		if err := d.replayOrWait(r, rec); err != nil {
			return err
		}
		done = append(done, rec)
	}
	if r.fetched = from + uint64(len(done)); r.fetched < r.State.Size() {
		return d.storeRecords(r.log, from, done)
	}
	r.lag, r.listing, r.fetched = false, nil, 0
	if err := d.storeHeads(r.log, &r.Follower, from, done); err != nil {
		return err
	}
	d.noteWait(r)
	d.signal()
	r.wake()
	return nil
}

// storeRecords stores records that no stored head covers yet: a restart reads
// them again.
func (d *Device) storeRecords(log signet.LogID, from uint64, recs []signet.Record) error {
	return d.Store.write(func(b *batch) {
		for i, rec := range recs {
			b.record(log, from+uint64(i), rec)
		}
	})
}

// Peek makes every region that this device may read listable, without
// replaying the journals of those that are new to it.
func (d *Device) Peek(ctx context.Context) error {
	return d.discover(ctx, func(id signet.RegionID) error {
		r := d.region(id)
		if err := r.reading.take(ctx); err != nil {
			return err
		}
		err := d.first(ctx, r)
		d.mu.Lock()
		listed := r.listing != nil
		d.mu.Unlock()
		r.reading.give()
		if err != nil || listed {
			return err
		}
		return d.SyncRegion(ctx, id)
	})
}

// WithListing calls f with the name and tree of a region for a listing, which
// must not be kept. Of a region that is new here it may be a snapshot, signed
// by a device of this ring, whose journal is not replayed yet.
func (d *Device) WithListing(id signet.RegionID, f func(t *tree.Tree) error) error {
	d.mu.Lock()
	r := d.regions[id]
	if r != nil && r.lag && r.listing != nil {
		defer d.mu.Unlock()
		return f(r.listing)
	}
	d.mu.Unlock()
	return d.WithRegion(id, func(r *region.Region) error { return f(r.Tree) })
}

// Unlisted is how many entries of a region are newer than what WithListing shows.
func (d *Device) Unlisted(id signet.RegionID) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.regions[id]
	if r == nil || !r.lag || r.listing == nil {
		return 0
	}
	return r.State.Size() - min(r.listed+1, r.State.Size()) // one is the snapshot's own
}

// name is a region's name, of the snapshot where that is what there is.
func (r *openRegion) name() string {
	if r.lag && r.listing != nil {
		n, _ := r.listing.Node(signet.RootNode)
		return n.Name
	}
	return r.Name()
}
