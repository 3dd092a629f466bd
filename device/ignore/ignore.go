// Package ignore reads rules in the syntax of gitignore and says which names of
// a folder tree they leave out.
//
// It promises: the verdicts of git check-ignore over one file of rules at the
// top of the tree, where git tells upper from lower case; that no rules make it
// fail or slow: what cannot match matches nothing and is reported, and a match
// takes time for the length of pattern and path, whatever stars are in it. It
// reads no file; names are bytes, and rules know nothing of their disk.
package ignore

import (
	"bytes"
	"slices"
	"strings"
)

// File is the name, at the top of a region, of the file that holds its rules.
const File = ".signetignore"

// MaxSize is how many bytes of rules a device reads.
const MaxSize = 64 << 10

// temporary begins the names, at the top of a volume, that nodes have between
// two moves: see plan.TempName.
const temporary = ".signet-moving-"

// Rules are compiled once and used from any number of goroutines. A nil *Rules
// leaves nothing out.
type Rules struct {
	list     []rule
	names    map[string][]int // rules that are one name, by it; the last first
	paths    map[string][]int // rules that are one path
	rest     []int            // others, the last first
	problems []Problem
}

// A Rule is one line.
type Rule struct {
	Line    int    // from 1
	Pattern string // as it stands there
	Keep    bool   // it begins with "!": what it fits is not left out
}

// A Problem is a line that can never fit anything.
type Problem struct {
	Rule
	Why string
}

type rule struct {
	Rule
	folder bool // fits folders only
	path   bool // is compared with the path, not the name alone
	prefix string
	suffix string  // "*" and this is all of it; "" otherwise
	rest   []token // after prefix
}

// Parse reads rules. It takes any text: see Problems.
func Parse(text []byte) *Rules {
	r := &Rules{names: map[string][]int{}, paths: map[string][]int{}}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	n := 0
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		n++
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		line, _, _ = bytes.Cut(line, []byte{0})
		if s := trim(string(line)); s != "" {
			r.add(n, s)
		}
	}
	slices.Reverse(r.rest)
	for _, m := range []map[string][]int{r.names, r.paths} {
		for _, l := range m {
			slices.Reverse(l)
		}
	}
	return r
}

// trim takes spaces off the end that no backslash protects.
func trim(s string) string {
	end := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			continue
		case '\\':
			if i++; i == len(s) {
				return s
			}
		}
		end = i + 1
	}
	return s[:end]
}

func (r *Rules) add(line int, s string) {
	u := rule{Rule: Rule{Line: line, Pattern: s}}
	s, u.Keep = strings.CutPrefix(s, "!")
	s, u.folder = strings.CutSuffix(s, "/")
	u.path = strings.Contains(s, "/")
	if u.path {
		s = strings.TrimPrefix(s, "/")
	}
	why := futile(s)
	// What follows the part without wildcards is a pattern of its own, to git too.
	plain := len(s)
	if i := strings.IndexAny(s, `*?[\`); i >= 0 {
		plain = i
	}
	u.prefix = s[:plain]
	if plain < len(s) {
		var bad string
		if u.rest, bad = compile(s[plain:], u.path); bad != "" {
			why = bad
		}
	}
	if why != "" {
		r.problems = append(r.problems, Problem{u.Rule, why})
		return
	}
	n := len(r.list)
	switch {
	case len(u.rest) > 0:
		if !u.path && plain == 0 && s[0] == '*' && !strings.ContainsAny(s[1:], `*?[\`) {
			u.suffix = s[1:]
		}
		r.rest = append(r.rest, n)
	case u.path:
		r.paths[s] = append(r.paths[s], n)
	default:
		r.names[s] = append(r.names[s], n)
	}
	r.list = append(r.list, u)
}

// futile says why a pattern can fit no path, if that shows without its
// wildcards.
func futile(s string) string {
	if s == "" {
		return "names nothing"
	}
	if !strings.Contains(s, "/") {
		if s == "." || s == ".." {
			return "no name in a folder is " + s
		}
		return ""
	}
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "" && !strings.Contains(s, "**"): // which, with a slash, can be nothing
			return "has an empty name between two slashes"
		case part == ".", part == "..":
			return "no name in a folder is " + part
		}
	}
	return ""
}

// Problems are the lines that can never fit, in their order.
func (r *Rules) Problems() []Problem {
	if r == nil {
		return nil
	}
	return r.problems
}

// All are the rules, those that can never fit among them, by their lines.
func (r *Rules) All() []Rule {
	if r == nil {
		return nil
	}
	var l []Rule
	for _, u := range r.list {
		l = append(l, u.Rule)
	}
	for _, p := range r.problems {
		l = append(l, p.Rule)
	}
	slices.SortFunc(l, func(a, b Rule) int { return a.Line - b.Line })
	return l
}

// Empty reports whether nothing is left out.
func (r *Rules) Empty() bool { return r == nil || len(r.list) == 0 }

// Own reports whether a path is one that no rule leaves out: the rules
// themselves, and names that Signet gives for a moment.
func Own(path string) bool {
	return path == File || strings.HasPrefix(path, temporary) && !strings.Contains(path, "/")
}

// Match is the rule that decides about a path whose folders are all there: the
// last that fits. ok is false where none does.
func (r *Rules) Match(path string, folder bool) (u Rule, ok bool) {
	if r.Empty() || Own(path) {
		return Rule{}, false
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	best := max(r.last(r.names[name], folder), r.last(r.paths[path], folder))
	for _, n := range r.rest {
		if n < best {
			break
		}
		if c := &r.list[n]; (folder || !c.folder) && c.fits(path, name) {
			best = n
			break
		}
	}
	if best < 0 {
		return Rule{}, false
	}
	return r.list[best].Rule, true
}

// last is the last of rules that fit by what they say; -1 for none.
func (r *Rules) last(rules []int, folder bool) int {
	for _, n := range rules {
		if folder || !r.list[n].folder {
			return n
		}
	}
	return -1
}

// Leaves reports whether a path whose folders are all there is left out.
func (r *Rules) Leaves(path string, folder bool) bool {
	u, ok := r.Match(path, folder)
	return ok && !u.Keep
}

// Check is the rule that decides about any path: that of the first folder above
// it which is left out, as nothing below that can be kept, or else its own.
func (r *Rules) Check(path string, folder bool) (u Rule, ok bool) {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if u, ok := r.Match(path[:i], true); ok && !u.Keep {
			return u, true
		}
	}
	return r.Match(path, folder)
}

func (u *rule) fits(path, name string) bool {
	if u.path {
		name = path
	}
	if u.suffix != "" {
		return strings.HasSuffix(name, u.suffix)
	}
	rest, ok := strings.CutPrefix(name, u.prefix)
	return ok && fit(u.rest, rest)
}
