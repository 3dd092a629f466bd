package tree

import (
	"cmp"
	"slices"
)

// GiveUp is k without the oldest of its weeks: without so many that versions of at
// least so many bytes are not kept any more at a time, ms since 1970, or without
// all that ended before it. What is current, pinned, or of the last days stays. It
// returns the bytes of these versions, as they were on disk.
func (k Keep) GiveUp(stood []Span, pins []Pin, now, bytes int64) (Keep, int64) {
	type held struct{ end, size int64 }
	var weekly []held
	for _, s := range stood {
		if until, why := k.Until(s, pins); why != KeptWeekly || until <= now {
			continue
		}
		h := held{end: s.LastEnd(week, monday), size: s.Size}
		least := k
		least.Since = h.end
		if until, _ := least.Until(s, pins); until <= now { // else its days keep it
			weekly = append(weekly, h)
		}
	}
	slices.SortFunc(weekly, func(a, b held) int { return cmp.Compare(a.end, b.end) })
	freed := int64(0)
	for i, h := range weekly {
		if freed += h.size; i+1 < len(weekly) && weekly[i+1].end == h.end {
			continue // a week goes as a whole
		}
		if k.Since = h.end; freed >= bytes {
			break
		}
	}
	return k, freed
}
