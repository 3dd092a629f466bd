package journal

import (
	"slices"

	"signet"
	"signet/core/ring"
)

// complaint: what it names must be there and be for its writer. It proves
// nothing of what is inside, and is never evidence against who sealed it.
func (s *State) complaint(i *item, e *Entry) (effect func(), reason error) {
	g, err := parseGrievance(i.body)
	if err != nil {
		return nil, malformed(err)
	}
	named := func(x ring.Envelope) bool { return GrievanceOf(&x) == g }
	switch {
	case !isFor(g.To, i.Ring, i.Device):
		e.Void = i.no(signet.ErrNotAllowed, "the envelope is for somebody else")
	case !slices.ContainsFunc(s.Current().Envelopes, named):
		e.Void = i.no(signet.ErrNotFound, "no such envelope in generation %d", i.Generation)
	case s.complaints[g]:
		e.Void = i.no(signet.ErrConflict, "the envelope was complained of before")
	}
	return func() {
		if e.Void == nil {
			s.complaints[g] = true
		}
		s.follow(i, e.Dir)
	}, nil
}

// envelope: like the recipients of a rekey, those of an envelope are judged at
// the directory head that the entry names. That each was complained of, and
// none was this writer's, is what keeps two from filling a journal by turns.
func (s *State) envelope(i *item, e *Entry) (effect func(), reason error) {
	list, err := ring.ParseEnvelopes(i.body)
	if err != nil {
		return nil, malformed(err)
	}
	for j := range list {
		list[j].Giver = i.Device
	}
	e.envelopes = list
	e.Void = s.mayGive(i, list, e.Dir.Size)
	return func() {
		if e.Void == nil {
			g := &s.gens[len(s.gens)-1]
			g.Envelopes = append(g.Envelopes, list...)
		}
		s.follow(i, e.Dir)
	}, nil
}

func (s *State) mayGive(i *item, list []ring.Envelope, size uint64) error {
	if len(list) == 0 {
		return i.no(signet.ErrNotAllowed, "no envelopes")
	}
	if !s.Holds(i.Ring, i.Device) {
		return i.no(signet.ErrNotAllowed, "its writer does not hold generation %d", i.Generation)
	}
	members := s.Recipients(size)
	for _, e := range list {
		if !slices.Contains(members, e.Recipient) {
			return i.no(signet.ErrNotAllowed, "sealed to one who is no recipient")
		}
		for _, old := range s.Current().Envelopes {
			switch {
			case old.Recipient != e.Recipient:
			case !s.complaints[GrievanceOf(&old)]:
				return i.no(signet.ErrConflict, "the recipient has an envelope, and did not complain of it")
			case old.Giver == i.Device:
				return i.no(signet.ErrConflict, "its writer gave the recipient one before")
			}
		}
	}
	return nil
}

// isFor reports whether an envelope to a recipient is for a device of a ring.
func isFor(to ring.Recipient, r signet.RingID, d signet.DeviceID) bool {
	if to.Kind == ring.ToDevice {
		return signet.DeviceID(to.ID) == d
	}
	return signet.RingID(to.ID) == r
}

// Holds reports whether a device of a ring was given the current generation:
// an envelope is for it or its ring, whatever is in it.
func (s *State) Holds(r signet.RingID, d signet.DeviceID) bool {
	return slices.ContainsFunc(s.Current().Envelopes, func(e ring.Envelope) bool { return isFor(e.Recipient, r, d) })
}

// Complained reports whether an envelope of the current generation was
// complained of.
func (s *State) Complained(e *ring.Envelope) bool { return s.complaints[GrievanceOf(e)] }

// Lacking is to whom the current generation is still to be sealed when the
// directory has a size: recipients all of whose envelopes were complained of,
// and rings that were passed and are fresh again. In the order of their ids.
func (s *State) Lacking(size uint64) []ring.Recipient {
	if len(s.gens) == 0 {
		return nil
	}
	return slices.DeleteFunc(s.Recipients(size), s.served)
}

// served reports whether a recipient has an envelope that nobody complained
// of. To a ring one of its older generations will do: whatever opens the
// newest opens that, and if it were stale so were the region's.
func (s *State) served(to ring.Recipient) bool {
	return slices.ContainsFunc(s.Current().Envelopes, func(e ring.Envelope) bool {
		return e.Kind == to.Kind && e.ID == to.ID && !s.complaints[GrievanceOf(&e)]
	})
}
