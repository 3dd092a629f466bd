package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/seal"
	"signet/core/tree"
)

// Behind a horizon (spec/journal.md) the service has no operations. A device that
// had not replayed them begins anew with the snapshot at the horizon, once it has
// checked it; what it had in step keeps its base, so that the planner sees what was
// deleted meanwhile.

// A BehindHorizon is why a region waits whose next operations are behind a horizon.
type BehindHorizon struct {
	At  uint64
	Why error // it cannot begin yet; nil: it is about to
}

// Error says so.
func (b *BehindHorizon) Error() string {
	s := fmt.Sprintf("operations that this device has not read are behind the horizon at %d; it begins anew with the snapshot there", b.At)
	if b.Why != nil {
		s += fmt.Sprintf(", and cannot yet: %v", b.Why)
	}
	return s
}

// ErrorKind and ErrorHint are for the command line.
func (b *BehindHorizon) ErrorKind() string { return "behind_horizon" }
func (b *BehindHorizon) ErrorHint() string {
	if b.Why != nil {
		return "let another device of yours write something to the region; nothing of this device is lost meanwhile"
	}
	return "nothing is lost: files of this device are compared with what is there now"
}

// horizon is the one in effect. With the lock held.
func (d *Device) horizon(r *openRegion) *journal.Horizon { return r.State.Horizon(d.now()) }

// Horizon is the position of the first entry of a region that is not behind its
// horizon; 0 if it has none in effect.
func (d *Device) Horizon(id signet.RegionID) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.regions[id]; r != nil {
		if h := d.horizon(r); h != nil {
			return h.At
		}
	}
	return 0
}

// Began is the position at which a region's tree began, with the snapshot at a
// horizon: of what was before, this device tells nothing. 0 if it replayed all.
func (d *Device) Began(id signet.RegionID) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.regions[id]; r != nil {
		return r.Region.Began().At
	}
	return 0
}

// dropped is what a region waits for whose next operations were dropped, as its
// horizon allows; nil if it does not allow it. With the lock held.
func (d *Device) dropped(r *openRegion, err error) error {
	if h := d.horizon(r); errors.Is(err, journal.ErrDropped) && h.Drops(r.Replayed()) {
		return &BehindHorizon{h.At, r.unbegun}
	}
	return nil
}

// begin begins anew with the snapshot at the horizon, if that is what the region
// waits for. With the baton to read. What the store keeps is written once all is
// checked and replayed; a crash before that leaves what there was.
func (d *Device) begin(ctx context.Context, r *openRegion) error {
	var behind *BehindHorizon
	d.mu.Lock()
	h := d.horizon(r)
	wants := errors.As(r.wait, &behind) && r.failed == nil && !r.lag && len(r.pending) == 0 && h != nil && h.Drops(r.Replayed())
	tried := r.begun == r.State.Size()
	d.mu.Unlock()
	if !wants {
		return nil
	}
	if tried {
		return r.unbegun // nothing was written since
	}
	err := d.beginAt(ctx, r, h)
	if errors.Is(err, region.ErrUnvouched) {
		d.mu.Lock()
		r.begun, r.unbegun = r.State.Size(), err
		if errors.As(r.wait, &behind) {
			behind.Why = err
		}
		d.mu.Unlock()
	}
	return d.raise(err, r.ID())
}

func (d *Device) beginAt(ctx context.Context, r *openRegion, h *journal.Horizon) error {
	rec, err := d.Store.record(r.log, h.Snapshot)
	if err != nil {
		return err
	}
	objects, err := d.snapshotObjects(ctx, r, h.Snapshot, rec)
	if err != nil {
		return err
	}
	var groups [][]byte // the pages, as they are kept
	get := func(ref seal.Ref) ([]byte, error) {
		b, err := seal.OpenPiece(nil, ref, objects[ref.Object])
		if err == nil {
			groups = append(groups, bytes.Clone(b))
		}
		return b, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Replayed() >= h.At {
		return nil
	}
	t, err := r.OpenHorizon(h, rec, get)
	if err != nil {
		return err
	}
	proof := r.Prove(h, t)
	err = d.Store.recordsTo(r.log, 0, h.At, proof.Take)
	if err == nil {
		err = proof.Done()
	}
	if err == nil {
		err = r.Begin(h, t)
	}
	if err != nil {
		return err
	}
	p, _, _ := r.Progress()
	if err = d.advance(r, nil); err == nil {
		err = r.Vouched()
	}
	if err == nil {
		p = p.VouchedBy(r.Region)
		err = d.storeBase(r.ID(), &p, groups)
	}
	if err != nil {
		return errors.Join(err, d.replayStored(r))
	}
	// What this device wrote before is in the tree, or was changed since.
	r.unkept, r.begun, r.unbegun = d.KeepAfter+r.Tree.Len(), 0, nil
	d.signal()
	r.wake()
	return nil
}

// snapshotObjects fetches the pages of the snapshot that the record at a position
// names.
func (d *Device) snapshotObjects(ctx context.Context, r *openRegion, at uint64, rec signet.Record) (map[signet.ObjectID][]byte, error) {
	d.mu.Lock()
	refs, err := r.SnapshotPages(at, rec)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ids := make([]signet.ObjectID, len(refs))
	for i, ref := range refs {
		ids[i] = ref.Object
	}
	objects := map[signet.ObjectID][]byte{}
	err = d.Service.Get(ctx, r.ID(), ids, func(id signet.ObjectID, object []byte) error {
		objects[id] = bytes.Clone(object)
		return nil
	})
	return objects, err
}

// Where a tree began at a horizon, the pages of that time are kept as notes: its
// history is told from there, and a start that cannot go on from a newer tree
// goes on from them.

func baseNote(id signet.RegionID) string { return "horizon/" + id.String() }
func basePage(id signet.RegionID, group int) string {
	return fmt.Sprintf("%s/%08d", baseNote(id), group)
}

// storeBase keeps where a tree began, instead of what was kept before.
func (d *Device) storeBase(id signet.RegionID, p *region.Progress, groups [][]byte) error {
	return d.Store.write(func(b *batch) {
		b.exec("DELETE FROM notes WHERE key > ? AND key < ?", baseNote(id)+"/", baseNote(id)+"/\xff")
		b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", baseNote(id), p.Append(nil))
		for i, g := range groups {
			b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", basePage(id, i), g)
		}
		b.exec("DELETE FROM notes WHERE key = ?", treeNote(id)) // of a tree before it
	})
}

// base is where a region's tree began, with its pages; ok is false where nothing
// that can be used is kept. failed says afterwards whether all could be read.
func (d *Device) base(id signet.RegionID) (p region.Progress, pages iter.Seq[[]byte], failed *error, ok bool) {
	note, err := d.Store.Note(baseNote(id))
	if err != nil || note == nil {
		return p, nil, nil, false
	}
	if p, err = region.ParseProgress(note); err != nil {
		return p, nil, nil, false
	}
	failed = new(error)
	return p, region.Pages(func(yield func([]byte, error) bool) {
		for i := 0; ; i++ {
			group, err := d.Store.Note(basePage(id, i))
			if err == nil && group == nil || !yield(group, err) {
				return
			}
		}
	}, failed), failed, true
}

// resumeBase takes up the tree that a region began with, where there is none that
// is newer.
func (d *Device) resumeBase(r *openRegion) {
	p, pages, failed, ok := d.base(r.ID())
	if !ok || r.Replayed() > 0 || p.Position > r.State.Size() {
		return
	}
	if errors.Join(r.Resume(p, pages), *failed) == nil {
		r.unkept = d.KeepAfter + r.Tree.Len()
	}
}

// tellBase has a retelling begin where the region's tree did: each hears of every
// entry before it, of those with pins and policies what they set, and with the
// last of them the tree as a whole.
func (d *Device) tellBase(r *openRegion, again *region.Retelling, start region.Start, each func(Told) error) error {
	p, pages, failed, ok := d.base(r.ID())
	if !ok || p.Start != start {
		return fmt.Errorf("index: the tree at the horizon of region %s is not there", r.ID())
	}
	if err := errors.Join(again.Begin(start, pages), *failed); err != nil {
		return err
	}
	next := uint64(0)
	err := d.Store.recordsTo(r.log, 0, start.At, func(pos uint64, rec signet.Record) error {
		if pos != next {
			return fmt.Errorf("index: entry %d of region %s is not there", next, r.ID())
		}
		next++
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if err != nil {
			return err
		}
		told := Told{Step: region.Step{Position: pos}, Time: leaf.Time, Tree: again.Tree()}
		of, b, err := again.Early(pos, rec)
		if err != nil {
			return err
		}
		if b != nil && rules(b) {
			told.Of, told.Batch = of, b
		}
		if told.Begins = next == start.At; told.Begins {
			if told.Batch != nil {
				if err := each(told); err != nil {
					return err
				}
			}
			told.Events, told.Batch = again.Tree().Whole()
		}
		return each(told)
	})
	if err == nil && next != start.At {
		err = fmt.Errorf("index: entry %d of region %s is not there", next, r.ID())
	}
	return err
}

// rules reports whether a batch sets pins or a policy, which no tree holds.
func rules(b *tree.Batch) bool {
	return slices.ContainsFunc(b.Items, func(it tree.Item) bool { return it.Op.Kind == tree.Mark || it.Op.Kind == tree.Rule })
}

// A Limited is what SetHorizon did, or would do.
type Limited struct {
	Region  signet.RegionID
	At      uint64 // operations before this position go; 0: none can
	Point   int64  // time of the last entry before it, ms since 1970
	Oldest  int64  // time of the oldest kept point, ms since 1970: the horizon is not after it
	Entries int    // that lose their operations
	Bytes   int64  // of these
	Keeps   int    // entries before At that prove what files hold
	Due     int64  // when it has effect, ms since 1970
	Coming  bool   // another is signed and not due: At, Point and Due are its
	Now     uint64 // the horizon in effect; 0: none
}

// SetHorizon lets operations go that no kept version needs, and that are before a
// time, ms since 1970: it seals the tree as it was at the newest point that is early
// enough, and signs a horizon there. With dry it only says what that would be.
// Where no digest point was written for a day it writes one, so that a later horizon
// may lie there: a small region has no others. ErrNotWhole; ErrNotAllowed: the ring
// is no manager there.
func (d *Device) SetHorizon(ctx context.Context, id signet.RegionID, keep tree.Keep, before int64, dry bool) (l Limited, err error) {
	if err := d.SyncDirectory(ctx); err != nil {
		return l, err
	}
	if err := d.SyncRegion(ctx, id); err != nil {
		return l, err
	}
	r := d.region(id)
	if l, err = d.setHorizon(ctx, r, keep, before, dry); err == nil && !dry {
		err = d.markPoint(ctx, r)
	}
	return l, err
}

// markPoint writes a point if something was written a day after the newest.
func (d *Device) markPoint(ctx context.Context, r *openRegion) error {
	times, err := d.LeafTimes(r.ID())
	if err != nil || len(times) == 0 {
		return err
	}
	last := uint64(len(times))
	if p := d.pointBefore(r, last, times, tree.Forever); p > 0 && times[last-1]-times[p-1] < (24*time.Hour).Milliseconds() {
		return nil
	}
	return d.commit(ctx, r, 0, nil, nil)
}

func (d *Device) setHorizon(ctx context.Context, r *openRegion, keep tree.Keep, before int64, dry bool) (l Limited, err error) {
	id := r.ID()
	if err := r.writing.take(ctx); err != nil {
		return l, err
	}
	defer r.writing.give()
	for range 5 {
		l, err = d.limit(ctx, r, keep, before, dry)
		if !errors.Is(err, errAgain) {
			return l, err
		}
		if err := errors.Join(d.SyncDirectory(ctx), d.SyncRegion(ctx, id)); err != nil {
			return l, err
		}
	}
	return l, fmt.Errorf("%s: others write all the time: %w", id, signet.ErrUnavailable)
}

// limit looks at the journal as it is, and writes what is to be written. errAgain
// if somebody else wrote meanwhile.
func (d *Device) limit(ctx context.Context, r *openRegion, keep tree.Keep, before int64, dry bool) (l Limited, err error) {
	now := d.now()
	d.mu.Lock()
	err = d.mayEnd(r, journal.Limiting)
	size := r.State.Size()
	old, coming := d.horizon(r), r.State.Coming(now)
	d.mu.Unlock()
	l = Limited{Region: r.ID()}
	if old != nil {
		l.Now = old.At
	}
	if err != nil {
		return l, err
	}
	times, err := d.LeafTimes(r.ID())
	if err != nil {
		return l, err
	}
	oldest, early, err := d.oldestKept(r.ID(), keep, times, now)
	if err != nil {
		return l, err
	}
	l.Oldest = times[oldest]
	if coming != nil {
		l.At, l.Point, l.Due, l.Coming = coming.At, times[coming.At-1], coming.Due, true
		return l, nil
	}
	at := d.pointBefore(r, min(oldest+1, uint64(len(times))), times, before)
	if at <= l.Now {
		return l, nil
	}
	then, err := d.treeAt(r.ID(), at)
	if err != nil {
		return l, err
	}
	proofs := map[uint64]bool{}
	for n := range then.Refs() {
		if n.Type() != tree.Dir && !old.Drops(n.Content().Position) {
			proofs[n.Content().Position] = true
		}
	}
	for _, p := range early {
		if p < at {
			proofs[p] = true
		}
	}
	if err := d.weigh(r, &l, at, old, proofs); err != nil || l.Entries == 0 {
		return l, err
	}
	l.At, l.Point, l.Due = at, times[at-1], now+(journal.DefaultGrace*24*time.Hour).Milliseconds()
	if dry {
		return l, nil
	}
	var list []uint64
	for p := range proofs {
		list = append(list, p)
	}
	slices.Sort(list)
	return l, d.signLimit(ctx, r, size, at, then, journal.Stretches(list))
}

// oldestKept is the position of the oldest kept point of a region at a time, and
// those of the entries that set pins or policies.
func (d *Device) oldestKept(id signet.RegionID, keep tree.Keep, times []int64, now int64) (oldest uint64, rule []uint64, err error) {
	var pins tree.Pins
	policy := tree.Policy{Keep: keep}
	_, err = d.Retell(id, nil, func(e Told) error {
		if e.Batch != nil && rules(e.Batch) {
			pins.Take(e.Of, e.Batch)
			policy.Take(e.Of, e.Batch)
			rule = append(rule, e.Position)
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	if len(times) == 0 {
		return 0, nil, fmt.Errorf("%s: %w", id, ErrNotWhole)
	}
	last := uint64(len(times) - 1)
	for ; oldest < last; oldest++ {
		s := tree.Span{Start: oldest, End: oldest + 1, From: times[oldest], To: times[oldest+1]}
		if until, _ := policy.Until(s, pins); until > now {
			break
		}
	}
	return oldest, rule, nil
}

// pointBefore is the newest digest point of at most so many entries whose last is
// before a time; 0 if there is none.
func (d *Device) pointBefore(r *openRegion, most uint64, times []int64, before int64) (at uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range r.Points() {
		if p > at && p <= most && times[p-1] < before {
			at = p
		}
	}
	return at
}

// treeAt is a region's tree as so many entries made it.
func (d *Device) treeAt(id signet.RegionID, at uint64) (*tree.Tree, error) {
	return d.Retell(id, nil, func(e Told) error {
		if e.Position+1 == at && (e.Entry != nil || e.Begins || e.Batch == nil) {
			return ErrEnough
		}
		return nil
	})
}

// weigh counts what a horizon lets go that is there still.
func (d *Device) weigh(r *openRegion, l *Limited, at uint64, old *journal.Horizon, proofs map[uint64]bool) error {
	return d.Store.recordsTo(r.log, 0, at, func(pos uint64, rec signet.Record) error {
		short, ok := journal.Drop(rec.Head, rec.Blob)
		switch {
		case !ok || old.Drops(pos):
		case proofs[pos]:
			l.Keeps++
		default:
			l.Entries++
			l.Bytes += int64(len(rec.Blob) - len(short))
		}
		return nil
	})
}

// signLimit sends the snapshot of a tree as it was at a point, and signs it and the
// horizon, as long as nobody else writes. A region whose key is stale gets a new
// one first.
func (d *Device) signLimit(ctx context.Context, r *openRegion, size, at uint64, then *tree.Tree, keep []journal.Stretch) error {
	var objects [][]byte
	d.mu.Lock()
	snap, err := r.SealPast(then, at, func(object []byte, _ signet.ObjectID) error {
		objects = append(objects, bytes.Clone(object))
		return nil
	})
	d.mu.Unlock()
	if err != nil {
		return d.raise(err, r.ID())
	}
	if err := d.Service.Put(ctx, r.ID(), objects); err != nil {
		return err
	}
	sign := func(f func() (signet.Record, error)) (signet.Record, error) {
		d.mu.Lock()
		err := d.mayEnd(r, journal.Limiting)
		if err == nil && r.State.Size() != size {
			err = errAgain
		}
		var rec signet.Record
		if err == nil {
			rec, err = f()
		}
		d.mu.Unlock()
		if err == nil {
			err = d.append(ctx, r, rec)
		}
		if errors.Is(err, signet.ErrConflict) || errors.Is(err, signet.ErrStale) {
			err = errAgain
		}
		size++
		return rec, err
	}
	d.mu.Lock()
	stale := r.Stale()
	d.mu.Unlock()
	if stale {
		if _, err := sign(func() (signet.Record, error) { return r.Rekey(d.dirHead.Last) }); err != nil {
			return err
		}
	}
	shot, err := sign(func() (signet.Record, error) { return r.CommitSnapshot(d.dirHead.Last, snap) })
	if err != nil {
		return err
	}
	of, err := journal.HashOf(shot.Head)
	if err != nil {
		return err
	}
	_, err = sign(func() (signet.Record, error) {
		return r.Limit(d.dirHead.Last, journal.Limit{Snapshot: of, Days: journal.DefaultGrace, Keep: keep})
	})
	return err
}
