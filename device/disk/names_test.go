package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

// A model is a disk's way with names.
type model struct {
	key    func(string) string
	spells func(string) string
	bad    func(string) bool
	why    error
	there  map[string]string
	full   bool
	strips bool // dots at the end
}

func (m *model) Folds() bool { return m.key("staging") == m.key("STAGING") }

func (m *model) Create(name string) error {
	switch {
	case m.full:
		return syscall.ENOSPC
	case m.bad != nil && m.bad(name):
		return m.why
	case m.Has(name):
		return fs.ErrExist
	}
	if m.strips {
		name = strings.TrimRight(name, ".")
	}
	m.there[m.key(name)] = name
	return nil
}

func (m *model) Has(name string) bool { _, ok := m.there[m.kept(name)]; return ok }
func (m *model) Remove(name string)   { delete(m.there, m.kept(name)) }
func (m *model) Names() (l []string) {
	for _, n := range m.there {
		if m.spells != nil {
			n = m.spells(n)
		}
		l = append(l, n)
	}
	return l
}

func same(s string) string { return s }

// fullFold is the folding of all of Unicode for the letters of these tests.
func fullFold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "ß", "ss") }

func nfd(s string) string { return norm.NFD.String(s) }

func notUTF8(s string) bool { return strings.ToValidUTF8(s, "") != s }

func TestDiskIsAskedWhatNamesItHolds(t *testing.T) {
	for name, c := range map[string]struct {
		disk *model
		want traits
	}{
		"ext4":           {&model{key: same}, traits{}},
		"ext4, casefold": {&model{key: func(s string) string { return nfd(fullFold(s)) }}, traits{fold: full, normal: true}},
		"apfs":           {&model{key: func(s string) string { return nfd(fullFold(s)) }, bad: notUTF8}, traits{fold: full, normal: true, utf8: true}},
		"apfs, exact":    {&model{key: nfd, bad: notUTF8}, traits{normal: true, utf8: true}},
		"hfs+": {&model{key: func(s string) string { return strings.ToLower(nfd(s)) }, spells: nfd, bad: notUTF8},
			traits{fold: simple, normal: true, decomposes: true, utf8: true}},
		"ntfs": {&model{key: strings.ToLower, bad: func(s string) bool { return notUTF8(s) || strings.ContainsAny(s, ":") || strings.HasSuffix(s, ".") }},
			traits{fold: simple, chars: true, ends: true, utf8: true}},
		"exfat":   {&model{key: strings.ToLower, bad: func(s string) bool { return strings.Contains(s, ":") }, why: syscall.ENOENT}, traits{fold: simple, chars: true}},
		"vfat":    {&model{key: upper, bad: func(s string) bool { return strings.Contains(s, ":") }, strips: true}, traits{fold: ascii, chars: true, ends: true}},
		"devices": {&model{key: upper, bad: func(s string) bool { return strings.Contains(s, ":") || s == "CON" }}, traits{fold: ascii, chars: true, words: true}},
		"full":    {&model{key: same, full: true}, traits{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.disk.there = map[string]string{}
			if c.disk.why == nil {
				c.disk.why = syscall.EINVAL
			}
			for range 2 { // as it is, and with what a crash left
				if got := probeNames(c.disk); got != c.want {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
				if len(c.disk.there) > 0 {
					t.Errorf("left %v", c.disk.there)
				}
				c.disk.Create("names-éß")
			}
		})
	}
}

func TestProbeLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	sign := func([]byte) ([]byte, error) { return nil, nil }
	v, _, err := Create(dir, "v", "r", sign)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	entries, err := os.ReadDir(filepath.Join(dir, stagingPath))
	if err != nil || len(entries) > 0 {
		t.Errorf("staging has %v, %v", entries, err)
	}
	_, lower := os.Stat(filepath.Join(dir, ".SIGNET"))
	if folds := v.traits.fold != exact; folds != (lower == nil) {
		t.Errorf("traits %+v where .SIGNET is %v", v.traits, lower)
	}
}

func TestNamesThatADiskTakesForOneHaveOneKey(t *testing.T) {
	for _, c := range []struct {
		t    traits
		a, b string
		one  bool
	}{
		{traits{fold: ascii}, "ReadMe", "README", true},
		{traits{fold: ascii}, "é", "É", false},
		{traits{fold: simple}, "é", "É", true},
		{traits{fold: simple}, "é", "e\u0301", false},
		{traits{fold: simple}, "ß", "SS", false},
		{traits{fold: simple}, "kelvin", "\u212Aelvin", true},
		{traits{fold: simple}, "i", "ı", false},
		{traits{fold: full}, "straße", "STRASSE", true},
		{traits{fold: full}, "ﬁn", "FIN", true},
		{traits{normal: true}, "é", "e\u0301", true},
		{traits{normal: true}, "é", "É", false},
		{traits{fold: full, normal: true}, "É", "e\u0301", true},
		{traits{fold: full, normal: true}, "\u0390", "\u03B9\u0308\u0301", true},
		{traits{fold: full, normal: true}, "a\xff", "A\xff", true},
		{traits{fold: full, normal: true}, "a\xff", "a\xfe", false},
		{traits{normal: true}, "a\xff", "A\xff", false},
	} {
		if got := c.t.key(c.a) == c.t.key(c.b); got != c.one {
			t.Errorf("%+v: %q and %q are one: %v", c.t, c.a, c.b, got)
		}
	}
	if (traits{}).caps().Key != nil || (traits{}).caps().Unfit != nil {
		t.Error("a disk that holds all names costs time")
	}
}

func TestMendedNameIsFit(t *testing.T) {
	windows := traits{fold: simple, utf8: true, chars: true, ends: true, words: true}
	for name, want := range map[string]string{
		"a:b": "a_b", "what?": "what_", "end.": "end_", "end ": "end_", "con": "con_", "NUL.txt": "NUL_.txt", "com1": "com1_", "com²": "com²_",
		"a\xffb": "a_b", "tab\t": "tab_", "console": "", "com": "", "com10": "", ".hidden": "", "a b.c": "", "aux .c": "aux_ .c",
	} {
		if want == "" {
			if windows.unfit(name) {
				t.Errorf("%q is unfit", name)
			}
		} else if got := windows.mend(name); got != want || !windows.unfit(name) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		tr := traits{utf8: rapid.Bool().Draw(rt, "utf8"), chars: rapid.Bool().Draw(rt, "chars"), ends: rapid.Bool().Draw(rt, "ends"), words: rapid.Bool().Draw(rt, "words"), decomposes: rapid.Bool().Draw(rt, "decomposes")}
		name := rapid.OneOf(rapid.StringMatching(`(con|aux|nul|[a-c ]*)[ .:]{0,2}[a-zé]?[. ]*`), rapid.StringN(1, 20, 200), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) })).Draw(rt, "name")
		if m := tr.mend(name); tr.unfit(m) {
			rt.Fatalf("%q is mended to %q, which is unfit", name, m)
		} else if !tr.unfit(name) && m != name {
			rt.Fatalf("%q is fit, and mended to %q", name, m)
		}
	})
}

// kept is the key of a name as the disk keeps it.
func (m *model) kept(name string) string {
	if m.strips {
		name = strings.TrimRight(name, ".")
	}
	return m.key(name)
}
