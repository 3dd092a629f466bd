package service

import (
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
	"signet/service/meta"
	"signet/transport"
)

// accept decides whether a record may come next and takes it into memory.
func (s *Service) accept(o *offer) error {
	if o.log.Kind == signet.DirectoryLog {
		return s.acceptStatement(o)
	}
	return s.acceptEntry(o)
}

// again finds a record that the log has already, in the database or earlier in
// the same group.
func (s *Service) again(o *offer, h *history) (bool, error) {
	if h == nil {
		return false, nil
	}
	o.history = h
	if at, ok := h.ahead[string(o.record.Head)]; ok {
		o.position, o.leaf = at.position, at.leaf
		return true, nil
	}
	if h.Num == 0 {
		return false, nil
	}
	at, err := s.db.Lookup(h.Num, o.record.Head)
	if errors.Is(err, signet.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o.position = at
	return true, s.db.Records(h.Num, at, at+1, signet.LeafOnly, func(_ uint64, r signet.Record) (bool, error) {
		o.leaf = r.Leaf
		return true, nil
	})
}

// skew refuses a device whose clock is far off, before anything is appended.
func (s *Service) skew(o *offer, now int64) error {
	d := time.Duration(o.sent-now) * time.Millisecond
	if d <= maxSkew && d >= -maxSkew {
		return nil
	}
	return transport.Errorf(transport.KindClock, "this device's clock says %s, the service's %s", stamp(o.sent), stamp(now)).
		WithHint("set the clock that is wrong")
}

func stamp(ms int64) string {
	if ms < -1<<45 || ms > 1<<48 { // outside of the years that RFC 3339 can write
		return fmt.Sprintf("%d ms", ms)
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// take records that o is now the last of h.
func (o *offer) take(h *history, leaf []byte) {
	o.history, o.leaf, o.position, o.appended = h, leaf, h.tree.Size()-1, true
	if h.ahead == nil {
		h.ahead = map[string]*offer{}
	}
	h.ahead[string(o.record.Head)] = o
}

func (s *Service) acceptStatement(o *offer) error {
	if s.directory != nil && o.log != s.directory.ID && !o.enrol {
		return fmt.Errorf("directory of another organisation: %w", signet.ErrNotFound)
	}
	if there, err := s.again(o, s.directory); there || err != nil {
		return err
	}
	if err := s.ordinary(o.log, false); err != nil {
		return err
	}
	now := s.now()
	if err := s.skew(o, now); err != nil {
		return err
	}
	st, err := ring.Parse(o.record.Head)
	if err != nil {
		return transport.Errorf(transport.KindInvalid, "%v", err)
	}
	if o.enrol && st.Type != ring.Root && st.Type != ring.Genesis {
		return fmt.Errorf("a %s statement by nobody known: %w", st.Type, signet.ErrNotAllowed)
	}
	if st.Type == ring.Root {
		if err := s.checkRoot(st); err != nil {
			return err
		}
	}
	h := s.directory
	if h != nil {
		now = max(now, h.Time, s.lastTime(h))
	}
	leaf := ring.LeafOf(st, now)
	if err := s.ring.Apply(leaf, o.record.Head, o.record.Blob); err != nil {
		return err
	}
	encoded := leaf.Append(nil)
	s.tree.Append(encoded)
	if h == nil {
		h = &history{Log: meta.Log{ID: signet.Directory(s.ring.Org())}, tree: s.tree}
		s.directory, s.logs[h.ID] = h, h
	}
	h.time = now
	o.full, o.typ = true, st.Type
	switch {
	case st.Type == ring.AllowConnector:
		o.device = st.Device.ID()
	case st.Type == ring.DropConnector:
		o.device = st.Gone
	}
	o.take(h, encoded)
	return nil
}

// lastTime is that of the last leaf, committed or not.
func (s *Service) lastTime(h *history) int64 { return max(h.Time, h.time) }

func (s *Service) acceptEntry(o *offer) error {
	h := s.logs[o.log]
	if there, err := s.again(o, h); there || err != nil {
		return err
	}
	if err := s.ordinary(o.log, h == nil); err != nil {
		return err
	}
	now := s.now()
	if err := s.skew(o, now); err != nil {
		return err
	}
	var j *journal.State
	fresh := h == nil
	if fresh {
		region, err := journal.RegionOf(o.record.Head)
		if err != nil || signet.Journal(region) != o.log {
			return fmt.Errorf("no such region: %w", signet.ErrNotFound)
		}
		if o.claim, err = journal.ClaimOf(o.record.Head, o.record.Blob); err != nil {
			return err
		}
		if err := s.claimed(o); err != nil {
			return err
		}
		j = journal.NewState(region, journal.Directory{State: s.ring, Tree: s.tree})
		h = &history{Log: meta.Log{ID: o.log}, journal: j, tree: &j.Tree}
	} else {
		j = h.journal
		now = max(now, s.lastTime(h))
	}
	e, err := j.Check(o.record.Head, o.record.Blob, now)
	if err != nil {
		return err
	}
	bytes, err := s.present(o, h, e.Objects)
	if err != nil {
		return err
	}
	if err := s.room(o, e, j.Owner(), bytes); err != nil {
		return err
	}
	leaf := journal.Leaf{Hash: e.Hash, Time: now}
	_, reason, err := j.Apply(leaf, o.record.Head, o.record.Blob)
	if err := errors.Join(reason, err); err != nil {
		return err
	}
	if fresh {
		h.claim, s.logs[o.log] = o.claim, h
	}
	h.time = now
	s.come(j.Owner(), bytes+o.bytes())
	o.objects = e.Objects
	o.drops = append(o.drops, dropped(e)...)
	o.full = e.Type.Authority() || e.Type == journal.Snapshot
	o.take(h, leaf.Append(nil))
	return nil
}

// claimed refuses a second region for a claim.
func (s *Service) claimed(o *offer) error {
	holder, err := s.db.Claimed(meta.RegionClaim, o.claim)
	if errors.Is(err, signet.ErrNotFound) {
		// Or one earlier in this group.
		for _, h := range s.logs {
			if h.Num == 0 && h.claim == o.claim && h.journal != nil {
				return fmt.Errorf("the region exists: %w", signet.ErrConflict)
			}
		}
		return nil
	}
	if err == nil && holder != o.log.ID {
		return fmt.Errorf("the region exists: %w", signet.ErrConflict)
	}
	return err
}

// present answers with the objects of an entry that are not stored, or the bytes
// of those that no entry names yet.
func (s *Service) present(o *offer, h *history, ids []signet.ObjectID) (fresh int64, err error) {
	var missing []signet.ObjectID
	for _, id := range ids {
		o, err := s.uploads.find(h.Num, id)
		switch {
		case errors.Is(err, signet.ErrNotFound):
			missing = append(missing, id)
		case err != nil:
			return 0, err
		case o.Entry == 0:
			fresh += int64(o.Place.Length)
		}
	}
	if len(missing) > 0 {
		return 0, transport.MissingObjects(missing)
	}
	return fresh, nil
}
