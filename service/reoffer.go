package service

import (
	"context"
	"errors"
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring"
	"signet/service/meta"
	"signet/transport"
)

// A reoffer waits for the committer.
type reoffer struct {
	signet.Reoffer
	device signet.DeviceID
	answer chan reofferAnswer
}

type reofferAnswer struct {
	size  uint64
	whole bool
	err   error
}

// Recovering implements signet.Recovery: the logs that are not whole, and those
// for which this device has not said yet that it has nothing more.
func (x *session) Recovering(context.Context) ([]signet.LogID, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if err := x.active(); err != nil || !x.takesBack() {
		return nil, err
	}
	var out []signet.LogID
	for id, h := range x.logs {
		if h.tip != nil && (x.waiting(id) || !x.recovery.Shown[id.String()][x.device.String()]) {
			if _, err := x.reads(id); err == nil {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

// Reoffer implements signet.Recovery. Who may not read a log yet, because the
// entry that says so was lost, may give it back: it takes a checkpoint that this
// service signed, and the very leaves.
func (x *session) Reoffer(ctx context.Context, r signet.Reoffer) (uint64, bool, error) {
	x.mu.RLock()
	err := x.active()
	x.mu.RUnlock()
	if err != nil {
		return 0, false, err
	}
	o := &reoffer{Reoffer: r, device: x.device, answer: make(chan reofferAnswer, 1)}
	select {
	case x.reoffers <- o:
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
	select {
	case a := <-o.answer:
		return a.size, a.whole, a.err
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
}

// errOtherHistory is for what does not fit what this service has: one of the two
// histories was forked off, and the device keeps the evidence.
var errOtherHistory = transport.Errorf(transport.KindConflict, "what is given back belongs to another history than the service has now")

// takeBack takes a re-offer. It is the committer's.
//
// Nothing is believed: the checkpoint must be by this service's own key, and the
// leaves must hash, by the proof, to a tree that it covers. So they are leaves
// that this service signed, at these places; then each record is replayed by the
// same rules as ever. What was taken before something failed stays.
func (s *Service) takeBack(r *reoffer) (size uint64, whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.uploads.dropped()
	if s.failed != nil {
		return 0, false, s.failed
	}
	if !s.takesBack() {
		return 0, false, transport.Errorf(transport.KindConflict, "this service was not restored from a backup: it takes nothing back").
			WithHint("if its data are a copy from earlier, who runs it says so: signet-server restore --in-place")
	}
	c, err := chain.Open(r.Checkpoint, r.Log, s.config.Key.Public())
	if err != nil {
		return 0, false, transport.Errorf(transport.KindInvalid, "checkpoint: %v", err)
	}
	h, err := s.lost(r)
	if err != nil {
		return 0, false, err
	}
	b := &takingBack{Service: s, h: h, c: c, next: s.recovery.clone(), log: r.Log.String(), device: r.device.String()}
	if err := b.fits(r); err != nil {
		return 0, false, err
	}
	if c.Size > b.next.Base[b.log] {
		b.next.News[b.device] = true
	}
	if r.Done {
		b.next.show(b.log, b.device)
	}
	b.next.Target[b.log] = max(b.next.Target[b.log], c.Size)
	failure := b.take(r)
	if b.broken {
		b.again()
		return 0, false, failure
	}
	if err := b.finish(r); err != nil {
		s.counters.failures.Add(1)
		b.again()
		return 0, false, fmt.Errorf("commit: %w", errors.Join(err, signet.ErrUnavailable))
	}
	return h.Size, !s.waiting(r.Log), failure
}

// again brings memory back to what the disk has.
func (b *takingBack) again() {
	if err := b.reload(); err != nil {
		b.failed = fmt.Errorf("the service could not read its data again after a failed commit: %w", errors.Join(err, signet.ErrUnavailable))
	}
}

// lost finds the log of a re-offer, or begins the one of a region that was lost
// as a whole.
func (s *Service) lost(r *reoffer) (*history, error) {
	if h := s.logs[r.Log]; h != nil {
		return h, nil
	}
	if r.Log.Kind != signet.RegionLog || r.From != 0 || len(r.Records) == 0 {
		return nil, fmt.Errorf("no such log: %w", signet.ErrNotFound)
	}
	first := r.Records[0]
	region, err := journal.RegionOf(first.Head)
	if err != nil || signet.Journal(region) != r.Log {
		return nil, transport.Errorf(transport.KindInvalid, "the first entry is not that of the region")
	}
	claim, err := journal.ClaimOf(first.Head, first.Blob)
	if err != nil {
		return nil, transport.Errorf(transport.KindInvalid, "the first entry: %v", err)
	}
	if err := s.claimed(&offer{log: r.Log, claim: claim}); err != nil {
		return nil, err
	}
	j := journal.NewState(region, journal.Directory{State: s.ring, Tree: s.tree})
	return &history{Log: meta.Log{ID: r.Log}, journal: j, tree: &j.Tree, claim: claim}, nil
}

// takingBack is one re-offer under way.
type takingBack struct {
	*Service
	h           *history
	c           *chain.Checkpoint
	next        *recovery
	log, device string
	fresh       []signet.Record
	group       []*offer
	broken      bool // memory has more than group
}

// fits holds a re-offer against the log, and finds what of it is new.
func (b *takingBack) fits(r *reoffer) error {
	size := b.h.tree.Size()
	if b.c.Size <= size {
		if root, err := b.h.tree.RootAt(b.c.Size); err != nil || root != b.c.Root {
			return errOtherHistory
		}
	}
	to := r.From + uint64(len(r.Records))
	if to > b.c.Size || to < r.From {
		return transport.Errorf(transport.KindInvalid, "records beyond the checkpoint")
	}
	if r.From > size || to <= size {
		return nil // nothing that comes next: the answer says what does
	}
	b.fresh = r.Records[size-r.From:]
	for _, rec := range b.fresh {
		b.h.tree.Append(rec.Leaf)
	}
	root := b.h.tree.Root()
	b.h.tree.Truncate(size)
	if chain.CheckConsistency(r.Proof, to, root, b.c.Size, b.c.Root) != nil {
		return errOtherHistory
	}
	return nil
}

// take replays what is new, up to the first record that cannot be taken yet.
func (b *takingBack) take(r *reoffer) error {
	for _, rec := range b.fresh {
		o := &offer{log: r.Log, record: rec, history: b.h, leaf: rec.Leaf, position: b.h.tree.Size(), appended: true}
		var err error
		if b.h.journal == nil {
			err = b.statement(o)
		} else {
			err = b.entry(o, r.Done)
		}
		if err != nil {
			return err
		}
		b.uploads.drop(b.h.Num, o.drops)
		if r := b.next.forgo(b.log, o.drops); r != nil {
			b.next = r
		}
		b.group = append(b.group, o)
	}
	return nil
}

func (b *takingBack) statement(o *offer) error {
	leaf, err := ring.ParseLeaf(o.leaf)
	if err == nil && len(o.record.Head) == 0 {
		err = errors.New("without its statement")
	}
	var st *ring.Statement
	if err == nil {
		st, err = ring.Parse(o.record.Head)
	}
	if err == nil {
		err = b.ring.Apply(leaf, o.record.Head, o.record.Blob)
	}
	if err != nil {
		return transport.Errorf(transport.KindInvalid, "statement %d: %v", o.position, err)
	}
	b.h.tree.Append(o.leaf)
	b.h.time, o.typ = leaf.Time, st.Type
	switch {
	case st.Type == ring.AllowConnector:
		o.device = st.Device.ID()
	case st.Type == ring.DropConnector:
		o.device = st.Gone
	}
	return nil
}

// entry takes an entry whose objects are there. Those that nobody has do not
// keep the log from being whole: when all who may have them have shown what they
// have, they are noted, and the entry is taken without.
func (b *takingBack) entry(o *offer, done bool) error {
	leaf, err := journal.ParseLeaf(o.leaf)
	var objects []signet.ObjectID
	if err == nil {
		objects, err = journal.ObjectsOf(o.record.Head, o.record.Blob)
	}
	if err != nil {
		return transport.Errorf(transport.KindInvalid, "entry %d: %v", o.position, err)
	}
	// Who began at a horizon has no more; somebody else has.
	if journal.Dropped(o.record) {
		return errRecovering
	}
	var missing []signet.ObjectID
	for _, id := range objects {
		ok, err := b.uploads.has(b.h.Num, id)
		if err != nil {
			return err
		}
		if ok {
			o.objects = append(o.objects, id)
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		all, err := b.complete(b.h, b.next)
		switch {
		case err != nil:
			return err
		case !done:
			return transport.MissingObjects(missing)
		case !all:
			return errRecovering
		}
	}
	e, reason, err := b.h.journal.Apply(leaf, o.record.Head, o.record.Blob)
	if needsDirectory(err) {
		return directoryFirst
	}
	b.broken = reason != nil // it counts in memory, and this service never ordered such a one
	if err := errors.Join(reason, err); err != nil {
		return transport.Errorf(transport.KindInvalid, "entry %d: %v", o.position, err)
	}
	o.drops = append(o.drops, dropped(e)...)
	for _, id := range missing {
		b.next.hole(b.log, id, o.position)
	}
	b.h.time = leaf.Time
	if o.position == 0 {
		o.claim = b.h.claim
	}
	return nil
}

// finish makes what was taken durable, with what is known of the recovery, and
// shows it.
//
// The checkpoint of the last leaf is the one that the device handed in, that of
// an earlier one has the leaf's time: a service that gives a smaller size a later
// time would make evidence against itself.
func (b *takingBack) finish(r *reoffer) error {
	h := b.h
	var tip *chain.Checkpoint
	if len(b.group) > 0 {
		size, at := h.tree.Size(), max(h.Time, h.time)
		if size == b.c.Size {
			at = b.c.Time
		}
		var err error
		if tip, err = chain.Sign(b.config.Key, h.ID, size, h.tree.Root(), at, true); err != nil {
			return err
		}
	}
	if tip == nil && len(b.next.Holes[b.log]) == 0 && b.next.same(b.recovery) {
		return b.settle(r) // asked again: nothing to write
	}
	var freed []meta.Object
	num, charged := h.Num, int64(0)
	err := b.uploads.flush(func(tx *meta.Tx) (err error) {
		freed = nil
		if tip != nil {
			l := h.Log
			if l.Num == 0 {
				if l.Num, err = tx.NewLog(l.ID); err != nil {
					return err
				}
			}
			num, l.Size, l.Time, l.Tip, l.Full = l.Num, tip.Size, tip.Time, tip.Bytes(), tip.Bytes()
			if err := tx.SetLog(l); err != nil {
				return err
			}
		}
		for _, o := range b.group {
			if err := b.write(tx, o, num, &freed); err != nil {
				return err
			}
		}
		if err := b.fill(tx, num, &freed); err != nil {
			return err
		}
		charged = tx.Charged(num)
		return b.next.store(tx)
	})
	if err != nil {
		return err
	}
	b.uploads.pinned(freed)
	b.owe(h, charged)
	b.recovery = b.next
	if tip != nil {
		h.Num, b.logs[h.ID], h.claim = num, h, signet.Hash{}
		b.counters.records.Add(int64(len(b.group)))
		b.show(h, tip)
	}
	return b.settle(r)
}

// show is publish of a log that was given back. mu is held.
func (b *takingBack) show(h *history, tip *chain.Checkpoint) {
	var records []signet.Record
	for _, o := range b.group {
		records = append(records, signet.Record{Leaf: o.leaf, Head: o.record.Head, Blob: o.record.Blob})
	}
	h.Size, h.Time, h.Tip, h.Full, h.tip, h.full, h.ahead, h.time = tip.Size, tip.Time, tip.Bytes(), tip.Bytes(), tip, tip, nil, 0
	h.remember(records)
	for w := range b.waiters {
		w.wakeAll()
	}
}

// fill pins objects of entries that were taken without, and came since.
func (b *takingBack) fill(tx *meta.Tx, num meta.LogNum, freed *[]meta.Object) error {
	for name, position := range b.next.Holes[b.log] {
		id, err := signet.ParseObjectID(name)
		if err != nil {
			return fmt.Errorf("state of the recovery: %w: %w", err, meta.ErrDamaged)
		}
		before, err := tx.Pin(num, id, position)
		if errors.Is(err, signet.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if before.Entry == 0 {
			*freed = append(*freed, before)
		}
		delete(b.next.Holes[b.log], name)
	}
	return nil
}

// settle opens a log that waits for nobody any more. A crash before it is
// written costs a device another question.
func (b *takingBack) settle(r *reoffer) error {
	if !r.Done || !b.waiting(r.Log) || b.recovery.Target[b.log] > b.h.Size {
		return nil
	}
	all, err := b.complete(b.h, b.recovery)
	if err != nil || !all {
		return err
	}
	next := b.recovery.clone()
	next.Whole[b.log] = true
	if err := b.db.Update(next.store); err != nil {
		return err
	}
	b.recovery = next
	for w := range b.waiters {
		w.wakeAll()
	}
	return nil
}
