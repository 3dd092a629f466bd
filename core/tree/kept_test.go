package tree_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"signet/core/tree"
	"signet/spec/vectors"

	"signet"
)

// stampOf writes a leaf time, or a time until which something is kept.
func stampOf(ms int64) string {
	if ms == tree.Forever {
		return "forever"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

// A case is a script of entries, as in the vectors of operations, with leaf
// times; what is kept of it, revision by revision and position by position, and
// the pins.
func TestKeptVectors(t *testing.T) {
	vectors.Run(t, "kept", func(c vectors.Case) string {
		s := script{tree: tree.New(), revs: map[string]signet.RevisionID{}, bytes: map[[32]byte]string{}, nodes: map[signet.NodeID]string{}}
		keep := tree.DefaultKeep
		if p, ok := c.Fields["policy"]; ok {
			if _, err := fmt.Sscanf(p, "%d hours %d days %d weeks", &keep.Hours, &keep.Days, &keep.Weeks); err != nil {
				return err.Error()
			}
		}
		var spans tree.Spans
		policy := tree.Policy{Keep: keep}
		var pins tree.Pins
		var stood, points []tree.Span
		spans.Ended = func(p tree.Span) {
			if p.Start < p.End {
				stood = append(stood, p)
			}
		}
		s.told = func(e tree.Entry, b *tree.Batch, out []tree.Outcome) {
			spans.Take(s.tree, e, out)
			pins.Take(e, b)
			policy.Take(e, b)
			if n := len(points); n > 0 {
				points[n-1].Current, points[n-1].End, points[n-1].To = false, e.Position, e.Time
			}
			points = append(points, tree.Span{Start: e.Position, From: e.Time, Current: true})
		}
		if err := s.run(c.Files["entries"]); err != nil {
			return err.Error()
		}
		spans.Rest(func(p tree.Span) { stood = append(stood, p) })
		names := map[signet.RevisionID]string{}
		for name, r := range s.revs {
			names[r] = name
		}
		var kept, at, held []string
		for _, p := range stood {
			until, why := policy.Until(p, pins)
			kept = append(kept, fmt.Sprintf("%s of %s from %d: %s %s", names[p.Revision], s.nodeName(p.Node), p.Start, why, stampOf(until)))
		}
		slices.Sort(kept)
		for _, p := range points {
			until, why := policy.Until(p, pins)
			at = append(at, fmt.Sprintf("%d: %s %s", p.Start, why, stampOf(until)))
		}
		for _, p := range pins {
			held = append(held, fmt.Sprintf("%s at %d", p.Name, p.At))
		}
		result := "ok"
		for file, got := range map[string][]string{"revisions": kept, "positions": at, "pins": held} {
			if want := string(c.Files[file]); strings.Join(got, "\n") != want {
				t.Errorf("%s: got\n%s\nwant\n%s", file, strings.Join(got, "\n"), want)
				result = file + " differ"
			}
		}
		return result
	})
}

// What is kept is so by the definition, looked at moment by moment: each
// position at a time is one that stood at the end of a day or a week, or later
// than a day ago.
func TestUntilIsWhatTheDefinitionSays(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for from := int64(0); from < 12*24; from += 5 {
		for length := int64(0); length < 12*24; length += 7 {
			s := tree.Span{From: start + from*hour, To: start + (from+length)*hour, Start: 1, End: 2}
			k := tree.Keep{Hours: 24, Days: 3, Weeks: 1}
			until, _ := k.Until(s, nil)
			for now := s.To; now < s.To+20*24*hour; now += hour {
				want := now < s.To+24*hour
				for end := s.From + hour; end <= s.To; end += hour {
					u := time.UnixMilli(end).UTC()
					daily := u.Hour() == 0
					weekly := daily && u.Weekday() == time.Monday
					want = want || daily && now < end+3*24*hour || weekly && now < end+7*24*hour
				}
				if got := now < until; got != want {
					t.Fatalf("from %s to %s, at %s: kept %v, want %v", stampOf(s.From), stampOf(s.To), stampOf(now), got, want)
				}
			}
		}
	}
}
