package tree_test

import (
	"testing"
	"time"

	"signet/core/tree"
)

func TestGivingUpTakesTheOldestWeeksAndNothingElse(t *testing.T) {
	at := func(s string) int64 {
		p, err := time.Parse(time.RFC3339, s+"T00:00:00Z")
		if err != nil {
			t.Fatal(err)
		}
		return p.UnixMilli()
	}
	stood := func(position uint64, from, to string, size int64) tree.Span {
		return tree.Span{Start: position, End: position + 1, From: at(from) + 1000, To: at(to) + 1000, Size: size}
	}
	now := at("2026-06-01")
	all := []tree.Span{ // Mondays of 2026: 5, 12, 19, 26 January, 25 May
		stood(4, "2026-05-20", "2026-05-26", 1000), // at the end of a week, and its days keep it
		stood(3, "2026-01-21", "2026-01-28", 30),
		stood(0, "2026-01-01", "2026-01-06", 10),
		stood(1, "2026-01-02", "2026-01-07", 10),
		stood(2, "2026-01-08", "2026-01-13", 100),  // pinned
		stood(5, "2026-01-20", "2026-01-21", 5000), // at no end of a week
		{Start: 6, From: at("2026-01-01"), Current: true, Size: 5000},
	}
	pins := []tree.Pin{{At: 2, Name: "taxes"}}
	for _, c := range []struct {
		bytes, freed int64
		since        string
	}{{1, 20, "2026-01-05"}, {20, 20, "2026-01-05"}, {21, 50, "2026-01-26"}, {1 << 40, 50, "2026-01-26"}} {
		k, freed := tree.DefaultKeep.GiveUp(all, pins, now, c.bytes)
		if want := (tree.Keep{Hours: 24, Days: 30, Since: at(c.since)}); k != want || freed != c.freed {
			t.Errorf("for %d bytes: %+v frees %d, want %+v, %d", c.bytes, k, freed, want, c.freed)
		}
		for _, s := range all {
			was, _ := tree.DefaultKeep.Until(s, pins)
			is, why := k.Until(s, pins)
			if gone := was > now && is <= now; gone && (s.Start != 0 && s.Start != 1 && s.Start != 3) {
				t.Errorf("for %d bytes: %d went (%s)", c.bytes, s.Start, why)
			}
		}
	}
	k := tree.Keep{Hours: 24, Days: 30, Since: at("2026-02-02")}
	if again, freed := k.GiveUp(all, pins, now, 1); again != k || freed != 0 {
		t.Errorf("there is nothing to give up, and %+v frees %d", again, freed)
	}
}
