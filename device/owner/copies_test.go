package owner

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
)

const day = 24 * 60 // minutes

func TestExportsGrowOldAndAreWarnedOf(t *testing.T) {
	now := time.Date(2026, 9, 12, 12, 0, 0, 0, time.UTC)
	old := func(days int) int64 { return now.AddDate(0, 0, -days).UnixMilli() }
	nowhere := filepath.Join(t.TempDir(), "gone")
	k := func(place string, days int, every uint32) known {
		return known{Region: signet.RegionID{1}, Place: place, Made: old(days), Every: every, Dir: nowhere, Entries: 10}
	}
	for name, c := range map[string]struct {
		exports []known
		states  string
		kinds   string
	}{
		"none":                                 {nil, "", ""},
		"one elsewhere":                        {[]known{k("bank", 3, 7*day)}, "current", ""},
		"a day before its rhythm":              {[]known{k("bank", 6, 7*day)}, "current", ""},
		"a day after its rhythm":               {[]known{k("bank", 8, 7*day)}, "overdue", "overdue"},
		"without rhythm, a month":              {[]known{k("bank", 30, 0)}, "current", ""},
		"without rhythm, longer":               {[]known{k("bank", 32, 0)}, "overdue", "overdue"},
		"no place said":                        {[]known{k("", 1, 0)}, "current", "one_place"},
		"two in two places":                    {[]known{k("bank", 1, 0), k("office", 2, 0)}, "current current", ""},
		"two in one place, spelt in two ways":  {[]known{k("Bank", 1, 0), k("bank ", 2, 0)}, "current current", "one_place"},
		"the one elsewhere is too old":         {[]known{k("", 1, 0), k("bank", 40, 0)}, "current overdue", "overdue one_place"},
		"two elsewhere, one of them too old":   {[]known{k("bank", 1, 0), k("bank", 40, 0)}, "current overdue", "overdue"},
		"it lacks objects":                     {[]known{{Place: "bank", Made: old(1), Dir: nowhere, Missing: 2}}, "incomplete", "incomplete"},
		"it was damaged":                       {[]known{{Place: "bank", Made: old(1), Dir: nowhere, Damaged: 1}}, "damaged", "damaged"},
		"one with everything beside a bad one": {[]known{k("bank", 1, 0), {Place: "office", Made: old(1), Dir: nowhere, Damaged: 1}}, "current damaged", "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			var copies []Copy
			var states, kinds []string
			for _, e := range c.exports {
				one := exportAs(e, 10, now)
				copies, states = append(copies, one), append(states, one.State)
			}
			for _, w := range warn("Docs", copies) {
				kinds = append(kinds, w.Kind)
				if w.Message == "" || w.Hint == "" {
					t.Errorf("%+v", w)
				}
			}
			slices.Sort(kinds)
			want := strings.Fields(c.kinds)
			slices.Sort(want)
			if got := strings.Join(states, " "); got != c.states || !slices.Equal(kinds, want) {
				t.Errorf("states %q, warnings %q", got, kinds)
			}
		})
	}
	behind := exportAs(k("bank", 1, 0), 12, now)
	if behind.Behind != 2 || behind.State != "behind" || !behind.Current || !behind.Complete {
		t.Errorf("%+v", behind)
	}
	if longer := exportAs(k("bank", 1, 0), 9, now); longer.Behind != 0 {
		t.Errorf("%+v", longer)
	}
	late := exportAs(known{Made: now.Add(time.Hour).UnixMilli(), Dir: nowhere}, 0, now) // by a clock that was ahead
	if late.Age != 0 || !late.Current {
		t.Errorf("%+v", late)
	}
}

func TestSmallestIsSafeFirstAndWhatIsStuckIsNot(t *testing.T) {
	r := UnsafeReport{List: []UnsafeFile{{Path: "large", Size: 100 << 20}, {Path: "stuck", Size: 1, SafeIn: -1}, {Path: "small", Size: 1 << 20}}}
	r.order(1 << 20)
	var names []string
	for _, f := range r.List {
		names = append(names, f.Path)
	}
	if got := strings.Join(names, " "); got != "stuck small large" || !r.Measured {
		t.Errorf("%s, measured %v", got, r.Measured)
	}
	if s := r.List[1].SafeIn; s < 1 || s > 1.1 {
		t.Errorf("small is safe in %v s", s)
	}
	if s := r.List[2].SafeIn; s < 101 || s > 102 || r.SafeIn != s || r.List[0].SafeIn != -1 {
		t.Errorf("large is safe in %v s, all in %v", s, r.SafeIn)
	}
	r.Rate, r.Measured = 0, false
	if r.order(0); r.Measured || r.Rate != assumedRate {
		t.Errorf("rate %v, measured %v", r.Rate, r.Measured)
	}
}
