package journal

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"signet"
	"signet/core/wire"
)

// Objects die in two steps (spec/journal.md, "The end of objects"): a condemn
// names those that nothing kept uses, and a collect, after the grace, those of
// them that are unused still. All of it is judged without a key.

// Grace, in days, between a condemn and its collect.
const (
	MinGrace     = 7
	DefaultGrace = 30
	maxGrace     = 3650
)

// MaxEnding is the most ids of a Condemn, Spare or Collect.
const MaxEnding = 100_000

const day = int64(24 * time.Hour / time.Millisecond)

// An Ending is the body of a Condemn, Spare or Collect. The ids ascend.
type Ending struct {
	Days    uint16      // of a Condemn: its grace
	Condemn signet.Hash // of a Collect: the entry that condemned them
	Objects []signet.ObjectID
}

// Append appends the encoding of g, as the body of an entry of type t, to b.
func (g *Ending) Append(b []byte, t Type) []byte {
	w := wire.Writer{B: b}
	switch t {
	case Condemn:
		w.U16(g.Days)
	case Collect:
		w.Raw(g.Condemn[:])
	}
	w.Vec24(appendObjects(nil, g.Objects))
	return w.B
}

func parseEnding(t Type, b []byte) (g Ending, err error) {
	r := wire.NewReader(b)
	switch t {
	case Condemn:
		if g.Days = r.U16(); r.Err() == nil && (g.Days < MinGrace || g.Days > maxGrace) {
			r.Fail("a grace of %d days", g.Days)
		}
	case Collect:
		r.Raw(g.Condemn[:])
	}
	ids := r.Vec24(MaxEnding * 32)
	if len(ids) == 0 || len(ids)%32 != 0 {
		r.Fail("object ids of %d bytes", len(ids))
	}
	if err := r.Done(); err != nil {
		return g, err
	}
	g.Objects = make([]signet.ObjectID, len(ids)/32)
	for n := range g.Objects {
		g.Objects[n] = signet.ObjectID(ids[n*32:])
		if n > 0 && bytes.Compare(g.Objects[n-1][:], g.Objects[n][:]) >= 0 {
			r.Fail("object ids do not ascend")
		}
	}
	return g, r.Err()
}

// A Sentence is a condemn some of whose objects are neither spared nor
// collected.
type Sentence struct {
	Hash     signet.Hash
	Position uint64
	By       signet.DeviceID
	Time     int64  // of its leaf, ms since 1970
	Due      int64  // from when on a collect has effect, ms since 1970
	Left     int    // objects
	unaware  uint64 // size that covers it, and the last entry whose writer had not seen it
}

// Sentences lists what is condemned, oldest first.
func (s *State) Sentences() []Sentence { return s.sentences }

// Condemned is the entry that condemned an object; zero if it is not.
func (s *State) Condemned(id signet.ObjectID) signet.Hash { return s.condemned[id] }

// CondemnedBy lists what an entry condemned and is neither spared nor
// collected, ascending.
func (s *State) CondemnedBy(h signet.Hash) (list []signet.ObjectID) {
	for id, by := range s.condemned {
		if by == h {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b signet.ObjectID) int { return bytes.Compare(a[:], b[:]) })
	return list
}

// Collects are the positions of the collects that had effect, ascending.
func (s *State) Collects() []uint64 { return slices.Sorted(maps.Keys(s.carried)) }

// Collected lists the objects that the entry at a position ended, from its
// whole record: none where it had no effect.
func (s *State) Collected(position uint64, rec signet.Record) ([]signet.ObjectID, error) {
	if !s.carried[position] {
		return nil, nil
	}
	i, err := parse(rec.Head)
	if err == nil {
		err = i.attach(rec.Blob)
	}
	if err != nil {
		return nil, err
	}
	g, err := parseEnding(Collect, i.body)
	return g.Objects, err
}

// Floor is the size that an observed head must have: what a smaller one shows
// may name objects that are gone.
func (s *State) Floor() uint64 { return s.floor }

// ending judges a Condemn, Spare or Collect. Whether it has effect does not
// touch its place in the sub-chain.
func (s *State) ending(i *item, e *Entry) (effect func(), reason error) {
	g, err := parseEnding(i.Type, i.body)
	if err != nil {
		return nil, malformed(err)
	}
	e.Ending = g.Objects
	var n int
	switch i.Type {
	case Condemn:
		for _, id := range g.Objects {
			if _, there := s.condemned[id]; there {
				e.Void = i.no(signet.ErrConflict, "%s is condemned already", id)
			}
		}
	case Spare:
		for _, id := range g.Objects {
			if _, there := s.condemned[id]; !there {
				e.Void = i.no(signet.ErrConflict, "%s is not condemned", id)
			}
		}
	case Collect:
		if n = s.sentence(g.Condemn); n < 0 {
			e.Void = i.no(signet.ErrConflict, "no such condemn, or nothing left of it")
			break
		}
		c := &s.sentences[n]
		switch {
		case e.Time < c.Due:
			e.Void = i.no(signet.ErrNotAllowed, "%d ms before the end of the grace", c.Due-e.Time)
		case e.Seen.Size < c.unaware:
			e.Void = i.no(signet.ErrConflict, "its writer had not seen an entry by one who had not seen the condemn")
		}
		for _, id := range g.Objects {
			if s.condemned[id] != g.Condemn {
				e.Void = i.no(signet.ErrConflict, "%s is not condemned by that", id)
			}
		}
	}
	return func() {
		if e.Void == nil {
			switch i.Type {
			case Condemn:
				for _, id := range g.Objects {
					s.condemned[id] = i.hash
				}
				s.sentences = append(s.sentences, Sentence{Hash: i.hash, Position: e.Position, By: i.Device, Time: e.Time,
					Due: e.Time + int64(g.Days)*day, Left: len(g.Objects), unaware: e.Position + 1})
			case Spare:
				s.release(g.Objects)
			case Collect:
				s.carried[e.Position] = true
				s.floor = max(s.floor, s.sentences[n].Position+1)
				s.release(g.Objects)
			}
		}
		s.follow(i, e.Dir)
	}, nil
}

// sentence is the index of a condemn; -1 if nothing is left of it.
func (s *State) sentence(h signet.Hash) int {
	for n := range s.sentences {
		if s.sentences[n].Hash == h {
			return n
		}
	}
	return -1
}

// release takes ids out of what is condemned.
func (s *State) release(ids []signet.ObjectID) {
	for _, id := range ids {
		s.sentences[s.sentence(s.condemned[id])].Left--
		delete(s.condemned, id)
	}
	left := s.sentences[:0]
	for _, c := range s.sentences {
		if c.Left > 0 {
			left = append(left, c)
		}
	}
	s.sentences = left
}

// overlooked notes, of each condemn, that the writer of the entry at a position
// had not seen it.
func (s *State) overlooked(position, seen uint64) {
	for n := range s.sentences {
		if c := &s.sentences[n]; c.Position < position && seen <= c.Position {
			c.unaware = position + 1
		}
	}
}

// beforeFloor is the reason why an entry whose writer had not seen a condemn
// that was carried out since is not valid.
func (s *State) beforeFloor(i *item, seen uint64) error {
	if seen >= s.floor {
		return nil
	}
	return i.no(signet.ErrConflict, "observed a head of size %d; objects were collected that were condemned before size %d", seen, s.floor)
}
