//go:build !js

package ignore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A gitTree is a folder with a tree in it, of which git is asked.
type gitTree struct {
	dir   string
	paths []string // folders end with "/"
}

func newGitTree(t testing.TB, paths []string) *gitTree {
	t.Helper()
	g := &gitTree{t.TempDir(), paths}
	g.git(t, "", "init", "-q")
	for _, p := range paths {
		full := filepath.Join(g.dir, p)
		var err error
		if strings.HasSuffix(p, "/") {
			err = os.MkdirAll(full, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(full), 0o755); err == nil {
			err = os.WriteFile(full, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *gitTree) git(t testing.TB, in string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "core.ignorecase=false", "-c", "core.excludesFile=/dev/null"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && (stderr.Len() > 0 || cmd.ProcessState == nil || cmd.ProcessState.ExitCode() > 1) {
		t.Fatalf("git %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// verdicts is what git says of all paths: the line that decides, and its
// pattern.
func (g *gitTree) verdicts(t testing.TB, rules string) []string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, ".gitignore"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	var in strings.Builder
	for _, p := range g.paths {
		in.WriteString(strings.TrimSuffix(p, "/") + "\x00")
	}
	out := g.git(t, in.String(), "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin")
	fields := bytes.Split(bytes.TrimSuffix(out, []byte{0}), []byte{0})
	if len(fields) != 4*len(g.paths) {
		t.Fatalf("git said %d fields of %d paths", len(fields), len(g.paths))
	}
	said := make([]string, len(g.paths))
	for i := range said {
		if f := fields[4*i:]; len(f[1]) > 0 {
			said[i] = fmt.Sprintf("%s %s", f[1], f[2])
		}
	}
	return said
}

// compare fails where Check and git do not say the same.
func (g *gitTree) compare(t testing.TB, rules string) {
	t.Helper()
	r := Parse([]byte(rules))
	for i, want := range g.verdicts(t, rules) {
		p, folder := strings.CutSuffix(g.paths[i], "/")
		got := ""
		if u, ok := r.Check(p, folder); ok {
			got = fmt.Sprintf("%d %s", u.Line, u.Pattern)
		}
		if got != want {
			t.Errorf("rules %q\npath %q, a folder: %v\ngot  %q\nwant %q", rules, p, folder, got, want)
		}
	}
}

func TestVerdictsAreGits(t *testing.T) {
	g := newGitTree(t, []string{"a", "b/", "b/a", "b/c/", "b/c/a", "b/c/foo.o", "build/", "build/x", "src/build/", "src/build/y", "src/main.c", "src/main.o",
		"foo", "foobar", "foo bar", "foo ", "x/foo/", "x/foo/bar", "x/foobar/", "x/foobar/z", "#a", "!a", "a*b", `a\b`, "a[b", "a]b", "-", "]", "^", "A", "deep/1/2/3/4/end", "é", "\xff", "a\tb", "tab\t", "cr\r", "a?b", "x/y/z", "abc-d", "node_modules/", "node_modules/p/i.js", ".git-not/", ".hid"})
	for _, rules := range []string{
		"", "\n\n", "a", "/a", "b/", "b", "b/*", "b/**", "**/a", "**/", "**", "*", "/*", "/*\n!/src", "*\n!*/\n!a", "*\n!b/", "b\n!b/a", "b/*\n!b/c",
		"*.o", "*.o\n!main.o", "!*.o\n*.o", "build/", "/build/", "build", "src/build", "src/**/y", "src/**/build", "src/**", "**/build/y", "x/**/bar", "x/foo*", "x/foo**/bar", "x/foo**/z", "foo**/bar",
		"foo ", `foo\ `, "foo  ", `foo\  `, "foo\t", "tab\t", "# a", "#a", `\#a`, "!a", `\!a`, "!", "/", "//", "///", "a//", "b//a", "./a", "../a", ".", "..", "b/./a", "b/../a",
		`a\*b`, `a\\b`, "a[[]b", "a[]]b", "a[b", "[", "[]", "[]]", "[^a]", "[!a]", "[a", "[a-", "[a-]", "[-]", "[]-]", "[^]]", "[a-c]", "[c-a]", "[[:alpha:]]", "[[:nope:]]", "[[:alpha", "[[:alpha:", "[[:alpha:]", "[[:]", "[[::]]", "[[a]", "[[:upper:][:digit:]]", `[\]]`, `[\a-\c]`, `[a-\]]`, `a\`, `\`, `\a`, "a[*]b", "a[/]b", "b[/]a", "b?a", "x/?/z", "a[?]b", "?", "??", "*b", "a*", "*a*", "f*o*r",
		"a\r\nb/a\r\n", "a\r", "a\r\r\n", "cr\r\n", "cr\\\r\n", "\xef\xbb\xbfa\nb", "é", "\xff", "a\x00b", "deep/**/end", "deep/**/4/end", "deep/*/end", "deep/**/**/end", "deep/***/end", "deep/1/**/2/3/4/end", "**/deep/**", "***", "a**", "**a", "/**/a", "/**", "**/**", `b\/a`, `**\/a`, `b/**\/a`, "b/\\", "/b**//", "/b**///", "x/**//", "**//", "/a**/**//", "/x**//foo", "x//**", "*/", "?/", "/?/", "node_modules", "node_modules/*", "node_modules/**\n!node_modules/p/", "node_modules/*\n!node_modules/p", ".*", ".*\n!.hid", "[[:punct:]]", "[[:space:]]", "a[[:space:]]b", "a[[:blank:]]b", "[[:cntrl:]]", "a[[:cntrl:]]b", "a[[:print:]]b", "a[[:graph:]]b", "[[:xdigit:]]", "[[:lower:]]", "a[[:punct:]]b", "[\xe9]", "[\x80-\xff]", "[^\x01]",
	} {
		g.compare(t, rules)
	}
}

var names = []string{"a", "b", "ab", "abc", "foo", "foo.o", "a.b.c", "A", ".a", "a b", "a*", "[a]", "a-b", "!a", "#b", "é", "a\\b", "0"}

// randomTree is a tree of such names.
func randomTree(rng *rand.Rand, n int) (paths []string) {
	folders := []string{""}
	there := map[string]bool{}
	for len(paths) < n {
		p := folders[rng.IntN(len(folders))] + names[rng.IntN(len(names))]
		if there[p] || strings.Count(p, "/") > 4 {
			continue
		}
		there[p] = true
		if rng.IntN(3) == 0 {
			p += "/"
			folders = append(folders, p)
		}
		paths = append(paths, p)
	}
	return paths
}

var parts = []string{"a", "b", "ab", "foo", ".o", "*", "*", "**", "/", "/", "/", "?", "[a-c]", "[!a]", "[^b-", "[[:alpha:]]", "[]a]", "]", "\\", "\\*", "\\ ", " ", ".", "-", "!", "#", "**/", "/**", "/**/", "[[:x:]]", "é", "0", "A"}

func randomRules(rng *rand.Rand) string {
	var s strings.Builder
	for range 1 + rng.IntN(6) {
		if rng.IntN(4) == 0 {
			s.WriteByte('!')
		}
		if rng.IntN(4) == 0 {
			s.WriteByte('/')
		}
		for range 1 + rng.IntN(5) {
			s.WriteString(parts[rng.IntN(len(parts))])
		}
		if rng.IntN(4) == 0 {
			s.WriteByte('/')
		}
		s.WriteString([]string{"\n", "\n", "\n", "\r\n", " \n", "\n\n"}[rng.IntN(6)])
	}
	return s.String()
}

// TestVerdictsAreGitsWhateverTheRules compares some 100,000 verdicts about random
// rules and trees; with -short a tenth of them.
func TestVerdictsAreGitsWhateverTheRules(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	for range 10 {
		g := newGitTree(t, randomTree(rng, 100))
		for range rounds {
			g.compare(t, randomRules(rng))
			if t.Failed() {
				return
			}
		}
	}
}

// TestFitIsTheSlowWay compares what follows all ways at once with what tries
// them one after another.
func TestFitIsTheSlowWay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var pattern string
		for range 1 + rng.IntN(5) {
			pattern += parts[rng.IntN(len(parts))]
		}
		tokens, bad := compile(pattern, true)
		if bad != "" {
			continue
		}
		p := strings.TrimSuffix(slices.Collect(slices.Values(randomTree(rng, 1)))[0], "/") + []string{"", "/a", "/foo/b"}[rng.IntN(3)]
		if got, want := fit(tokens, p), slowFit(tokens, p); got != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, p, got, want)
		}
	}
}

func slowFit(tokens []token, s string) bool {
	if len(tokens) == 0 {
		return s == ""
	}
	t, rest := tokens[0], tokens[1:]
	switch t.kind {
	case literal, set:
		return s != "" && (t.kind == literal && s[0] == t.lit || t.kind == set && t.set[s[0]]) && slowFit(rest, s[1:])
	case maybe:
		return slowFit(rest, s) || slowFit(rest[1:], s)
	}
	for i := 0; ; i++ {
		if t.kind != folders && slowFit(rest, s[i:]) {
			return true
		}
		if i == len(s) || t.kind == star && s[i] == '/' {
			return false
		}
		if t.kind == folders && s[i] == '/' && slowFit(rest, s[i+1:]) {
			return true
		}
	}
}
