package tree

import (
	"fmt"

	"signet"
)

// A Keep is what a region keeps of its history. Spec: spec/kept.md.
type Keep struct {
	Hours int64 // everything that was there so lately
	Days  int64 // the last of each day, for so many
	Weeks int64 // the last of each week, for so many; 0: for good
	Since int64 // ms since 1970: weeks that ended by then are given up
}

// DefaultKeep is that of a region that has no policy.
var DefaultKeep = Keep{Hours: 24, Days: 30}

// MaxKeep is how many days or weeks a policy can name.
const MaxKeep = 10_000

func (k Keep) check() error {
	if k.Hours != DefaultKeep.Hours || k.Days < 0 || k.Days > MaxKeep || k.Weeks < 0 || k.Weeks > MaxKeep || k.Since < 0 {
		return fmt.Errorf("a policy of %d hours, %d days, %d weeks, since %d", k.Hours, k.Days, k.Weeks, k.Since)
	}
	return nil
}

// A Policy is what a region keeps after some entry of its journal: what the newest
// entry says that says anything of it.
type Policy struct {
	Keep
	Set      bool   // an entry does; all below is of it
	Position uint64 // of the entry
	Time     int64  // of that entry, ms since 1970
	Device   signet.DeviceID
}

// Take notes the policy that an entry sets.
func (p *Policy) Take(e Entry, b *Batch) {
	for i := range b.Items {
		if op := &b.Items[i].Op; op.Kind == Rule {
			*p = Policy{Keep: op.Keep, Set: true, Position: e.Position, Time: e.Time, Device: e.Device}
		}
	}
}

// Forever is the time until which something is kept that no clock ends.
const Forever = int64(1<<63 - 1)

// Why says what keeps a revision longest, or kept it.
type Why string

// What keeps, the strongest first.
const (
	KeptCurrent Why = "current"
	KeptPinned  Why = "pinned"
	KeptWeekly  Why = "weekly"
	KeptDaily   Why = "daily"
	KeptRecent  Why = "recent"
	KeptNot     Why = "no" // it stood at no position
)

// A Span is for how long something stood: a content revision in its node, or a
// position as the newest of its journal.
type Span struct {
	Node     signet.NodeID
	Revision signet.RevisionID
	Size     int64
	Content  []byte // Op.Content of a file: where its bytes are. Do not modify

	Start, End uint64 // positions of the entries that began and ended it
	From, To   int64  // their leaf times, ms since 1970
	Current    bool   // it stands: End and To mean nothing
}

const (
	hour   = 3_600_000
	day    = 24 * hour
	week   = 7 * day
	monday = 4 * day // 1970 began on a Thursday
)

// Until is the time, ms since 1970, until which k keeps what stood so, and what
// keeps it: it is kept at a time before that.
func (k Keep) Until(s Span, pins []Pin) (int64, Why) {
	if s.Current {
		return Forever, KeptCurrent
	}
	if s.Start == s.End {
		return s.To, KeptNot
	}
	for _, p := range pins {
		if s.Start <= p.At && p.At < s.End {
			return Forever, KeptPinned
		}
	}
	until, why := s.To+k.Hours*hour, KeptRecent
	if end := s.LastEnd(day, 0); end > s.From && end+k.Days*day >= until {
		until, why = end+k.Days*day, KeptDaily
	}
	if end := s.LastEnd(week, monday); end > s.From && end > k.Since {
		if k.Weeks == 0 {
			return Forever, KeptWeekly
		}
		if end+k.Weeks*week >= until {
			until, why = end+k.Weeks*week, KeptWeekly
		}
	}
	return until, why
}

// LastEnd is the newest end, at or before s.To, of a period of so many ms that
// begins at from and comes again and again: s stood at it if it is after s.From.
// Times are not negative.
func (s *Span) LastEnd(period, from int64) int64 {
	return (s.To-from+period)/period*period - period + from
}

// Spans follows a replay and tells how long each content of a file or link
// stood. It takes some 150 bytes for each that lives.
type Spans struct {
	Began func(Span) // if set, called with each that begins
	Ended func(Span) // if set, called with each that ended
	open  map[signet.NodeID]Span
}

// Take notes what an entry did: call it directly after the Apply that returned
// out.
func (s *Spans) Take(t *Tree, e Entry, out []Outcome) {
	if s.open == nil {
		s.open = map[signet.NodeID]Span{}
	}
	for _, o := range out {
		if o.Result != Applied && o.Result != Conflicted {
			continue
		}
		s.look(t, e, o.Node)
		for _, id := range o.Removed {
			s.look(t, e, id)
		}
		for _, id := range o.Revived {
			s.look(t, e, id)
		}
	}
}

// Begin has what a tree holds stand, each since the entry that put it: for a replay
// that begins with a tree. What lived again later than that is taken to have stood
// meanwhile.
func (s *Spans) Begin(t *Tree) {
	if s.open == nil {
		s.open = map[signet.NodeID]Span{}
	}
	for _, n := range t.nodes {
		if n.gone == nil {
			s.look(t, Entry{Position: n.content.pos, Time: n.content.time}, n.id)
		}
	}
}

func (s *Spans) look(t *Tree, e Entry, id signet.NodeID) {
	n := t.find(id)
	if n == nil || n.typ == Dir {
		return
	}
	was, stood := s.open[n.id]
	if stood && n.gone == nil && was.Revision == n.content.rev {
		return
	}
	if stood {
		delete(s.open, n.id)
		// What came and went within one entry stood at no position; nothing keeps it.
		was.End, was.To, was.Current = e.Position, e.Time, false
		if s.Ended != nil {
			s.Ended(was)
		}
	}
	if n.gone == nil {
		v := Span{Node: n.id, Revision: n.content.rev, Size: n.size, Start: e.Position, From: e.Time, Current: true}
		if n.typ == File {
			v.Content = []byte(n.data())
		}
		s.open[n.id] = v
		if s.Began != nil {
			s.Began(v)
		}
	}
}

// Rest calls each with what stands, in no order.
func (s *Spans) Rest(each func(Span)) {
	for _, v := range s.open {
		each(v)
	}
}

// A Pin holds the tree of one position for good, under a name.
type Pin struct {
	ID   signet.NodeID // 16 random bytes; no node
	Name string
	At   uint64 // the last entry of what it holds

	Position uint64 // of the entry that set it
	Time     int64  // of that entry, ms since 1970
	Device   signet.DeviceID
}

// Pins are the pins of a region after some entry of its journal, in the order in
// which they were set.
type Pins []Pin

// From is the pins but for those of what is behind a horizon: of an entry before the
// last before it.
func (p Pins) From(horizon uint64) Pins {
	var rest Pins
	for _, o := range p {
		if o.At+1 >= horizon {
			rest = append(rest, o)
		}
	}
	return rest
}

// Take notes the pins that an entry sets and takes off.
func (p *Pins) Take(e Entry, b *Batch) {
	for i := range b.Items {
		op := &b.Items[i].Op
		if op.Kind != Mark || op.Name != "" && op.Seen >= e.Position {
			continue
		}
		rest := (*p)[:0]
		for _, o := range *p {
			if o.ID != op.Node {
				rest = append(rest, o)
			}
		}
		if *p = rest; op.Name != "" {
			*p = append(rest, Pin{ID: op.Node, Name: op.Name, At: op.Seen, Position: e.Position, Time: e.Time, Device: e.Device})
		}
	}
}
