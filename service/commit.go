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

// An offer is a record that somebody wants appended, and where the answer
// goes.
type offer struct {
	log    signet.LogID
	record signet.Record
	sent   int64
	enrol  bool // by nobody known: a root or genesis statement
	fulls  *fulls
	answer chan answer

	// Set on the way.
	history  *history
	position uint64
	leaf     []byte
	err      error
	appended bool
	objects  []signet.ObjectID // that it names
	drops    []signet.ObjectID // that are gone for good with it
	full     bool              // wants a full checkpoint
	claim    signet.Hash
	typ      ring.Type // of a statement
	device   signet.DeviceID
}

type answer struct {
	receipt signet.Receipt
	err     error
}

// Bounds of one group of offers.
const (
	maxGroup      = 512
	maxGroupBytes = 16 << 20
)

// offer hands a record to the committer and waits for its receipt.
func (s *Service) offer(ctx context.Context, o *offer) (signet.Receipt, error) {
	o.answer = make(chan answer, 1)
	select {
	case s.offers <- o:
	case <-ctx.Done():
		return signet.Receipt{}, ctx.Err()
	}
	select {
	case a := <-o.answer:
		return a.receipt, a.err
	case <-ctx.Done():
		// It may be appended all the same: offered again, it gets its receipt.
		return signet.Receipt{}, ctx.Err()
	}
}

// commitLoop takes offers as they come. While a group is being made durable
// the next one gathers, so an idle service answers at once and a busy one
// shares a sync among many; nobody waits on a timer.
func (s *Service) commitLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			s.refuseRest()
			return
		case o := <-s.offers:
			s.commit(s.gather(o))
		case r := <-s.reoffers:
			size, whole, err := s.takeBack(r)
			r.answer <- reofferAnswer{size, whole, err}
		case c := <-s.chores:
			c()
		}
	}
}

// alone runs f between commits: what an entry names cannot go between the look
// whether it is there and the commit.
func (s *Service) alone(ctx context.Context, f func() error) (err error) {
	done := make(chan struct{})
	select {
	case s.chores <- func() { err = f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return err
}

func (s *Service) gather(first *offer) []*offer {
	group, size := []*offer{first}, len(first.record.Blob)
	for len(group) < maxGroup && size < maxGroupBytes {
		select {
		case o := <-s.offers:
			group = append(group, o)
			size += len(o.record.Head) + len(o.record.Blob)
		default:
			return group
		}
	}
	return group
}

func (s *Service) refuseRest() {
	for {
		select {
		case o := <-s.offers:
			o.answer <- answer{err: errStopping}
		case r := <-s.reoffers:
			r.answer <- reofferAnswer{err: errStopping}
		default:
			return
		}
	}
}

var errStopping = transport.Errorf(transport.KindUnavailable, "the service is going down")

// commit decides on a group in order, makes what it accepts durable in one
// transaction, and answers.
//
// Order matters: objects are synced before the rows that name them, rows and
// checkpoints are committed before anybody sees a receipt. A crash before the
// commit leaves objects that no entry names; one after it leaves everything,
// and the writer, who saw no receipt, asks again and gets it.
func (s *Service) commit(group []*offer) {
	touched := map[*history]bool{} // and whether a full checkpoint is wanted
	for _, o := range group {
		s.mu.Lock()
		if o.err = s.failed; o.err == nil {
			o.err = s.accept(o)
		}
		s.mu.Unlock()
		if o.err == nil && o.appended {
			s.uploads.drop(o.history.Num, o.drops)
			touched[o.history] = touched[o.history] || o.full
		}
	}
	var signed map[*history]*chain.Checkpoint
	if len(touched) > 0 {
		var err error
		if signed, err = s.persist(group, touched); err != nil {
			s.counters.failures.Add(1)
			s.undo(group, touched, err)
		} else {
			s.counters.commits.Add(1)
			s.publish(group, signed)
		}
	}
	s.uploads.dropped()
	s.settled()
	s.renew(group)
	for _, o := range group {
		a := answer{err: o.err}
		if o.err != nil {
			s.counters.refused.Add(1)
		} else {
			if o.appended {
				s.counters.records.Add(1)
			}
			a.receipt, a.err = s.receipt(o)
		}
		o.answer <- a
	}
}

// persist makes a group durable and returns the new checkpoints.
func (s *Service) persist(group []*offer, touched map[*history]bool) (map[*history]*chain.Checkpoint, error) {
	signed := map[*history]*chain.Checkpoint{}
	for h, full := range touched {
		s.mu.RLock()
		now, full := h.due(max(s.now(), s.lastTime(h)), full)
		s.mu.RUnlock()
		c, err := chain.Sign(s.config.Key, h.ID, h.tree.Size(), h.tree.Root(), now, full)
		if err != nil {
			return nil, err
		}
		signed[h] = c
	}
	recovery := s.recovery
	for _, o := range group {
		if o.err == nil && o.appended {
			if r := recovery.forgo(o.log.String(), o.drops); r != nil {
				recovery = r
			}
		}
	}
	var freed []meta.Object
	nums := map[*history]meta.LogNum{}
	charged := map[*history]int64{}
	err := s.update(group, func(tx *meta.Tx) error {
		freed = nil
		for h, c := range signed {
			l := h.Log
			if l.Num == 0 {
				var err error
				if l.Num, err = tx.NewLog(l.ID); err != nil {
					return err
				}
			}
			nums[h] = l.Num
			l.Size, l.Time, l.Tip = c.Size, s.lastTime(h), c.Bytes()
			if c.Full {
				l.Full = c.Bytes()
			}
			if err := tx.SetLog(l); err != nil {
				return err
			}
		}
		for _, o := range group {
			if o.err != nil || !o.appended {
				continue
			}
			if err := s.write(tx, o, nums[o.history], &freed); err != nil {
				return err
			}
		}
		for h, n := range nums {
			charged[h] = tx.Charged(n)
		}
		if recovery != s.recovery {
			return recovery.store(tx)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.charge(charged)
	if recovery != s.recovery {
		s.mu.Lock()
		s.recovery = recovery
		s.mu.Unlock()
	}
	for h, n := range nums {
		if h.Num == 0 { // nobody else looks at a log that has no checkpoint yet
			h.Num = n
		}
	}
	s.uploads.pinned(freed)
	return signed, nil
}

// update runs f in a transaction; where the group names objects that are not
// indexed yet, it syncs them first and indexes them in the same one.
func (s *Service) update(group []*offer, f func(*meta.Tx) error) error {
	for _, o := range group {
		if o.appended && (s.uploads.anyPending(o.history.Num, o.objects) || s.uploads.anyPending(o.history.Num, o.drops)) {
			return s.uploads.flush(f)
		}
	}
	return s.db.Update(f)
}

// write stores one record of a group, with what follows from it.
func (s *Service) write(tx *meta.Tx, o *offer, num meta.LogNum, freed *[]meta.Object) error {
	r := signet.Record{Leaf: o.leaf, Head: o.record.Head, Blob: o.record.Blob}
	if err := tx.Append(num, o.position, r); err != nil {
		return err
	}
	for _, id := range o.objects {
		before, err := tx.Pin(num, id, o.position)
		if err != nil {
			return fmt.Errorf("pin %s: %w", id, err)
		}
		if before.Entry == 0 {
			*freed = append(*freed, before)
		}
	}
	for _, id := range o.drops {
		if before, err := tx.Object(num, id); err == nil && before.Entry == 0 {
			*freed = append(*freed, before)
		}
	}
	if _, err := tx.Drop(num, o.drops); err != nil {
		return err
	}
	if o.claim != (signet.Hash{}) {
		if err := tx.Claim(meta.RegionClaim, o.claim, o.log.ID); err != nil {
			return err
		}
	}
	ours := s.config.Connector != nil && o.device == s.config.Connector.ID()
	switch {
	case o.typ == ring.Root:
		return tx.Set(settingBootstrap, nil) // used up
	case o.typ == ring.AllowConnector && ours:
		return tx.Set(settingConnector, []byte("allowed"))
	case o.typ == ring.DropConnector && ours:
		return tx.Set(settingConnector, nil)
	}
	return nil
}

// renew gives the objects that are there of entries which were refused because
// others are missing another 30 days: their writer sends those, and comes again.
func (s *Service) renew(group []*offer) {
	for _, o := range group {
		var e *transport.Error
		if errors.As(o.err, &e) && e.Kind == transport.KindMissing {
			s.mu.RLock()
			h := s.logs[o.log]
			s.mu.RUnlock()
			if ids, err := journal.ObjectsOf(o.record.Head, o.record.Blob); err == nil && h != nil {
				s.uploads.stay(h.Num, ids, s.now()) // a failure costs at most another upload
			}
		}
	}
}

// undo brings memory back to what the disk has after a failed commit. Whether
// the commit happened all the same only the disk knows.
func (s *Service) undo(group []*offer, touched map[*history]bool, cause error) {
	for _, o := range group {
		if o.err == nil && o.appended {
			o.err = fmt.Errorf("commit: %w", errors.Join(cause, signet.ErrUnavailable))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reload(); err != nil {
		s.failed = fmt.Errorf("the service could not read its data again after a failed commit: %w", errors.Join(err, signet.ErrUnavailable))
	}
}

// reload replays all logs again.
func (s *Service) reload() error {
	s.directory, s.logs = nil, map[signet.LogID]*history{}
	if err := s.load(); err != nil {
		return err
	}
	for w := range s.waiters {
		w.wakeAll()
	}
	return nil
}

// publish shows committed records to those that wait.
func (s *Service) publish(group []*offer, signed map[*history]*chain.Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := map[*history][]signet.Record{}
	for _, o := range group {
		if o.err == nil && o.appended {
			records[o.history] = append(records[o.history], signet.Record{Leaf: o.leaf, Head: o.record.Head, Blob: o.record.Blob})
		}
	}
	all := false // who may see what may have changed
	for h, c := range signed {
		all = all || h.journal == nil || h.Size == 0
		h.Size, h.Time, h.Tip, h.tip, h.ahead = c.Size, s.lastTime(h), c.Bytes(), c, nil
		if c.Full {
			h.Full, h.full = c.Bytes(), c
		}
		h.remember(records[h])
	}
	for w := range s.waiters {
		if all {
			w.wakeAll()
			continue
		}
		for h := range signed {
			w.wake(h.ID)
		}
	}
}

// receipt proves that an offer's record is in its log. It is called after the
// commit.
func (s *Service) receipt(o *offer) (signet.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.logs[o.history.ID]
	if h == nil || h.tip == nil || o.position >= h.tip.Size {
		return signet.Receipt{}, fmt.Errorf("record at %d is not committed: %w", o.position, signet.ErrUnavailable)
	}
	c, err := o.fulls.checkpoint(h, s.config.Key)
	if err != nil {
		return signet.Receipt{}, err
	}
	proof, err := h.tree.Inclusion(o.position, c.Size)
	if err != nil {
		return signet.Receipt{}, err
	}
	return signet.Receipt{Position: o.position, Leaf: o.leaf, Checkpoint: c.Bytes(), Proof: proof}, nil
}
