package journal

import (
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/wire"
)

// A horizon (spec/journal.md, "Horizon") names a snapshot. From when it is due
// on, the operations before the snapshot's point may be dropped, but for those
// of the entries that it keeps: who comes later begins with the snapshot.

// MaxStretches is the most stretches of entries that a horizon can keep.
const MaxStretches = 100_000

// A Stretch is the positions from First on, before End.
type Stretch struct{ First, End uint64 }

// A Limit is the body of a Horizon. The stretches ascend and do not touch.
type Limit struct {
	Snapshot signet.Hash // of the snapshot's entry
	Days     uint16      // grace
	Keep     []Stretch
}

// Append appends the encoding of l to b.
func (l *Limit) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.Raw(l.Snapshot[:])
	w.U16(l.Days)
	var list wire.Writer
	for _, k := range l.Keep {
		list.U64(k.First)
		list.U64(k.End)
	}
	w.Vec24(list.B)
	return w.B
}

func parseLimit(b []byte) (l Limit, err error) {
	r := wire.NewReader(b)
	r.Raw(l.Snapshot[:])
	if l.Days = r.U16(); r.Err() == nil && (l.Days < MinGrace || l.Days > maxGrace) {
		r.Fail("a grace of %d days", l.Days)
	}
	list := r.Vec24(MaxStretches * 16)
	if err := r.Done(); err != nil {
		return l, err
	}
	r = wire.NewReader(list)
	for end := uint64(0); r.Len() > 0; {
		k := Stretch{r.U64(), r.U64()}
		if r.Err() == nil && (k.First >= k.End || len(l.Keep) > 0 && k.First <= end) {
			r.Fail("stretches do not ascend")
		}
		l.Keep, end = append(l.Keep, k), k.End
	}
	return l, r.Done()
}

// Stretches is the least of a Limit that keeps some positions, which ascend:
// where there are too many stretches, the shortest gaps are kept as well.
func Stretches(positions []uint64) []Stretch { return stretches(positions, MaxStretches) }

func stretches(positions []uint64, most int) (list []Stretch) {
	for gap := uint64(0); ; gap = 2*gap + 1 {
		list = list[:0]
		for _, p := range positions {
			if n := len(list); n > 0 && p <= list[n-1].End+gap {
				list[n-1].End = p + 1
			} else {
				list = append(list, Stretch{p, p + 1})
			}
		}
		if len(list) <= most {
			return list
		}
	}
}

// A Horizon is one that a region has, or is about to have.
type Horizon struct {
	Hash     signet.Hash
	Position uint64 // of its entry
	By       signet.DeviceID
	Due      int64 // from when on it has effect, ms since 1970
	Keep     []Stretch

	Snapshot uint64 // position of the snapshot's entry
	Writer   signet.DeviceID
	At       uint64 // how many entries the snapshot's tree holds
	Digest   signet.Hash

	ring   signet.RingID // of By
	origin signet.RingID // of Writer
	before *Horizon      // the one that was in effect when it was signed; nil if none
}

// Drops reports whether the operations of the entry at a position may be gone.
// Those of authority entries never are.
func (h *Horizon) Drops(position uint64) bool {
	return h != nil && position < h.At && !keeps(h.Keep, Stretch{position, position + 1})
}

// DroppedBefore reports whether a horizon before h dropped the operations of the
// entry at a position, so that h cannot keep them.
func (h *Horizon) DroppedBefore(position uint64) bool { return h.before.Drops(position) }

// keeps reports whether one of the stretches holds all of k.
func keeps(list []Stretch, k Stretch) bool {
	low, high := 0, len(list) // the first that ends at or after k does
	for low < high {
		if mid := (low + high) / 2; list[mid].End < k.End {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(list) && list[low].First <= k.First
}

// Horizon is the one in effect at a time, ms since 1970; nil if none is. The
// caller knows the time better than the last leaf does where nobody writes.
func (s *State) Horizon(now int64) *Horizon {
	if s.coming != nil && s.coming.Due <= max(now, s.time) {
		return s.coming
	}
	return s.horizon
}

// Coming is the horizon that was signed and is not due at a time; nil if none.
func (s *State) Coming(now int64) *Horizon {
	if s.coming != nil && s.coming.Due > max(now, s.time) {
		return s.coming
	}
	return nil
}

// A point is a snapshot as its entry's header tells it.
type point struct {
	position, at uint64
	digest       signet.Hash
	ring         signet.RingID
	device       signet.DeviceID
}

// notePoint notes what a later horizon may name: points, and snapshots of one.
func (s *State) notePoint(e *Entry) {
	switch {
	case e.Type == Content && e.Count == 0 && e.Header.Objects == (signet.Hash{}):
		s.points[e.Position+1] = true
	case e.Type == Snapshot && e.DigestAt > 0 && e.DigestAt <= e.Position && (e.DigestAt%DigestEvery == 0 || s.points[e.DigestAt]):
		s.snapshots[e.Hash] = point{e.Position, e.DigestAt, e.Digest, e.Ring, e.Device}
	}
}

// limit judges a Horizon.
func (s *State) limit(i *item, e *Entry) (effect func(), reason error) {
	l, err := parseLimit(i.body)
	if err != nil {
		return nil, malformed(err)
	}
	e.Keep = l.Keep
	p, known := s.snapshots[l.Snapshot]
	old := s.Horizon(e.Time)
	switch n := len(l.Keep); {
	case !known:
		e.Void = i.no(signet.ErrConflict, "no such snapshot of a digest point")
	case e.Seen.Size <= p.position:
		e.Void = i.no(signet.ErrConflict, "its writer had not seen the snapshot")
	case old != nil && p.at <= old.At:
		e.Void = i.no(signet.ErrConflict, "a snapshot at %d; there is a horizon at %d", p.at, old.At)
	case n > 0 && l.Keep[n-1].End > p.at:
		e.Void = i.no(signet.ErrNotVerified, "keeps what is not before the snapshot")
	case !s.dir.ActiveAt(p.ring, p.device, max(s.dirSub, e.Dir.Size)):
		e.Void = i.no(signet.ErrNotAllowed, "the snapshot's writer is not an active device of its ring any more")
	}
	for _, k := range l.Keep {
		if old != nil && e.Void == nil && k.First < old.At && !keeps(old.Keep, Stretch{k.First, min(k.End, old.At)}) {
			e.Void = i.no(signet.ErrConflict, "keeps what the horizon before it drops")
		}
	}
	return func() {
		if e.Void == nil {
			s.horizon = old
			s.coming = &Horizon{Hash: i.hash, Position: e.Position, By: i.Device, Due: e.Time + int64(l.Days)*day, Keep: l.Keep,
				Snapshot: p.position, Writer: p.device, At: p.at, Digest: p.digest, ring: i.Ring, origin: p.ring, before: old}
		}
		s.follow(i, e.Dir)
	}, nil
}

// takeBack takes back a horizon that is not due at the time of the last leaf, if
// by the directory that the sub-chain names its writer, or the snapshot's, is not
// active any more: what a device signs that is found to be stolen within the grace
// has no effect.
func (s *State) takeBack(now int64) {
	if c := s.coming; c != nil && now < c.Due &&
		!(s.dir.ActiveAt(c.ring, c.By, s.dirSub) && s.dir.ActiveAt(c.origin, c.Writer, s.dirSub)) {
		s.coming = nil
	}
}

// ErrDropped says that the operations of an entry are not there: it is behind a
// horizon. Where no horizon in effect drops them, the service withholds them.
var ErrDropped = fmt.Errorf("operations are behind the horizon: %w", signet.ErrNotVerified)

// Drop is a blob without the operations: what a service keeps of an entry that
// is behind a horizon. ok is false where there are none that may go: in an
// authority entry, or in a blob that has none any more.
func Drop(head, blob []byte) (short []byte, ok bool) {
	h, err := IDOf(head)
	if err != nil || h.Type.Authority() {
		return nil, false
	}
	r := wire.NewReader(blob)
	sealed, objects, body := r.Vec24(maxPart), r.Vec24(maxPart), r.Vec24(maxPart)
	if r.Done() != nil || len(sealed) == 0 {
		return nil, false
	}
	var w wire.Writer
	w.Vec24(nil)
	w.Vec24(objects)
	w.Vec24(body)
	return w.B, true
}

// Dropped reports whether a record came without the operations that its header
// binds, unverified.
func Dropped(rec signet.Record) bool {
	h, err := IDOf(rec.Head)
	if err != nil || h.Operations == (signet.Hash{}) || h.Type.Authority() {
		return false
	}
	r := wire.NewReader(rec.Blob)
	return len(r.Vec24(maxPart)) == 0 && r.Err() == nil
}

// IsLeaf reports whether a record's leaf is the one at a position of the tree.
func (s *State) IsLeaf(position uint64, rec signet.Record) bool {
	return position < s.Size() && s.Tree.Leaf(position) == chain.LeafHash(rec.Leaf)
}
