package ignore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRulesNeverLeaveThemselvesOut(t *testing.T) {
	r := Parse([]byte("*\n/.signet*\n"))
	for _, p := range []string{File, ".signet-moving-abc", ".signet-moving-abc-2"} {
		if u, ok := r.Check(p, true); ok {
			t.Errorf("%s is left out by line %d", p, u.Line)
		}
	}
	for _, p := range []string{"a/" + File, ".signetignored", "a"} {
		if !r.Leaves(p, false) {
			t.Errorf("%s is not left out", p)
		}
	}
}

func TestLinesThatCannotFitAreReported(t *testing.T) {
	var got []string
	for _, p := range Parse([]byte("ok\n[a\n!\n# no\n\n/\na//b\n../x\n[[:cat:]]\nx\\\n*.o\n.\n")).Problems() {
		got = append(got, fmt.Sprintf("%d %s: %s", p.Line, p.Pattern, p.Why))
	}
	want := []string{
		"2 [a: has a [ without its ]",
		"3 !: names nothing",
		"6 /: names nothing",
		"7 a//b: has an empty name between two slashes",
		"8 ../x: no name in a folder is ..",
		"9 [[:cat:]]: has no class [:cat:] of characters",
		`10 x\: ends with a backslash, which protects nothing`,
		"12 .: no name in a folder is .",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoRulesLeaveNothingOut(t *testing.T) {
	var none *Rules
	if !none.Empty() || none.Leaves("a", false) || none.Problems() != nil {
		t.Error("rules that are nil do something")
	}
	if !Parse([]byte("# only this\n")).Empty() {
		t.Error("a remark is a rule")
	}
}

// TestStarsCostNoMoreThanTheirNumber has a pattern that takes ages where each
// star is tried with each length.
func TestStarsCostNoMoreThanTheirNumber(t *testing.T) {
	r := Parse([]byte(strings.Repeat("*a", 40) + "*b\n" + strings.Repeat("**/a*/", 40) + "**/b\n"))
	began := time.Now()
	if r.Leaves(strings.Repeat("a", 250), false) || r.Leaves(strings.Repeat("a/", 120)+"a", false) {
		t.Error("fits")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func BenchmarkLeaves(b *testing.B) {
	r := Parse([]byte("node_modules/\n/build/\n*.o\n*.pyc\n__pycache__/\n*~\n.DS_Store\n/dist/**/*.map\n[._]*.sw?\n!keep.o\n"))
	for b.Loop() {
		r.Leaves("some/folder/of/sources/with_a_file.go", false)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a\n!b\n", "**/a/**", "[[:alpha:]-z]", "\xef\xbb\xbf/x/\r\n", `\ \*`} {
		f.Add(s, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, rules, path string) {
		if len(rules) > 4096 || len(path) > 4096 {
			return
		}
		r := Parse([]byte(rules))
		u, ok := r.Check(path, true)
		if ok && (u.Line < 1 || !strings.Contains(rules, u.Pattern)) {
			t.Errorf("rule %+v is not in %q", u, rules)
		}
		// What leaves a folder out leaves out all below it.
		if ok && !u.Keep {
			if v, ok := r.Check(path+"/x", false); !ok || v != u {
				t.Errorf("%q is left out by %+v, what is in it by %+v", path, u, v)
			}
		}
		// A rule for folders only fits no file.
		if v, ok := r.Match(path, false); ok && strings.HasSuffix(v.Pattern, "/") {
			t.Errorf("%+v fits a file", v)
		}
	})
}
