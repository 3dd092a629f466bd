package past

import (
	"slices"
	"time"

	"signet/core/tree"
)

// A Point is a position of a journal at which the region can be had again.
type Point struct {
	Position uint64
	Time     int64    // of its leaf, ms since 1970
	Kinds    []string // "current", "pinned", "weekly", "daily", "hourly": at what ends it stood, of those that count yet
	Pins     []string // names
	Until    int64    // tree.Forever, or ms since 1970
	Why      tree.Why
}

// span is how long a position stood.
func span(times []int64, i int) tree.Span {
	s := tree.Span{Start: uint64(i), From: times[i], Current: i+1 == len(times)}
	if !s.Current {
		s.End, s.To = uint64(i+1), times[i+1]
	}
	return s
}

// Points lists, oldest first, the kept points at a time that are worth a line:
// those at which an hour, a day or a week ended, what is pinned, and the last.
// times are the leaf times by position.
func Points(times []int64, keep tree.Keep, pins []tree.Pin, now int64) (list []Point) {
	for i := range times {
		s := span(times, i)
		p := Point{Position: uint64(i), Time: times[i]}
		if p.Until, p.Why = keep.Until(s, pins); p.Until <= now {
			continue
		}
		for _, pin := range pins {
			if pin.At == p.Position {
				p.Pins = append(p.Pins, pin.Name)
			}
		}
		if s.Current {
			p.Kinds = append(p.Kinds, "current")
			s.To = now
		}
		if len(p.Pins) > 0 {
			p.Kinds = append(p.Kinds, "pinned")
		}
		p.Kinds = append(p.Kinds, ends(keep, s, now)...)
		if len(p.Kinds) > 0 {
			list = append(list, p)
		}
	}
	return list
}

// ends says at the ends of which periods something stood that count at a time
// yet.
func ends(k tree.Keep, s tree.Span, now int64) (kinds []string) {
	const hour = int64(time.Hour / time.Millisecond)
	at := func(kind string, period, from, keeps, since int64) {
		if end := s.LastEnd(period, from); end > max(s.From, since) && (keeps == 0 || end+keeps*period > now) {
			kinds = append(kinds, kind)
		}
	}
	at("weekly", 7*24*hour, 4*24*hour, k.Weeks, k.Since) // 1970 began on a Thursday
	at("daily", 24*hour, 0, k.Days, 0)
	at("hourly", hour, 0, k.Hours, 0)
	return kinds
}

// At is the newest kept point at a time that is not after another; ok is false
// if there is none.
func At(times []int64, keep tree.Keep, pins []tree.Pin, at, now int64) (position uint64, ok bool) {
	n, _ := slices.BinarySearch(times, at+1)
	for i := n - 1; i >= 0; i-- {
		if until, _ := keep.Until(span(times, i), pins); until > now {
			return uint64(i), true
		}
	}
	return 0, false
}
