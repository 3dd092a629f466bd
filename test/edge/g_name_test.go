package edge

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// G. Names.

func TestCase069CaseOfAFilesNameChanges(t *testing.T) {
	beside(t, []disk{plain, ext4, xfs, folds, nfd, refuses}, func(t *testing.T, w *world) {
		a, b := w.pair("readme", "d/notes")
		a.mv("readme", "README")
		a.moved(1)
		b.followed()
		w.want("README=first readme", "d/notes=first d/notes")
		// A disk that folds takes a change of case in two steps.
		b.mv("d/notes", "d/t")
		b.mv("d/t", "d/NOTES")
		b.moved(1)
		a.followed()
		w.want("README=first readme", "d/NOTES=first d/notes")
	})
}

func TestCase070CaseOfAFoldersNameChangesWhileAFileInItIsEdited(t *testing.T) {
	beside(t, []disk{plain, ext4, xfs, folds, nfd, refuses}, func(t *testing.T, w *world) {
		a, b := w.pair("docs/letter", "docs/more/notes")
		a.mv("docs", "Docs")
		b.write("docs/letter", "edited")
		a.moved(1)
		w.want("Docs/letter=edited", "Docs/more/notes=first docs/more/notes")
	})
}

func TestCase071TwoNamesThatAreOneOnTheDiskOfANewcomer(t *testing.T) {
	beside(t, []disk{folds, nfd, refuses}, func(t *testing.T, w *world) {
		a := w.device("a")
		a.write("Foo", "upper")
		a.write("foo", "lower")
		a.write("D/f", "upper")
		a.write("d/f", "lower")
		a.add()
		a.sync()
		b := w.device("b")
		b.add()
		w.settle()
		if got := b.contents(); got != "lower lower upper upper" {
			t.Errorf("b has %q", b.files())
		}
		if n := len(b.copies()); n < 2 {
			t.Errorf("%d aliases: %q", n, b.files())
		}
		if n := len(a.copies()); n != 0 {
			t.Errorf("an alias on the disk that needs none: %q", a.files())
		}
	})
}

// contents is what is in all files, sorted.
func (d *device) contents() string {
	var l []string
	for _, f := range d.files() {
		if _, s, ok := strings.Cut(f, "="); ok {
			l = append(l, s)
		}
	}
	slices.Sort(l)
	return strings.Join(l, " ")
}

func TestCase072AliasDeletedOnTheDiskThatHasIt(t *testing.T) {
	beside(t, []disk{folds, nfd, refuses}, func(t *testing.T, w *world) {
		a, b := w.pair("foo")
		a.write("FOO", "the second")
		a.sync()
		w.settle()
		l := b.copies()
		if len(l) != 1 {
			t.Fatalf("aliases %q", l)
		}
		b.rm(l[0])
		b.sync()
		w.want("foo=first foo")
	})
}

func TestCase073NameThatIsDecomposedElsewhere(t *testing.T) {
	const name = "caf\u00e9/r\u00e9sum\u00e9.txt"
	beside(t, []disk{plain, nfd}, func(t *testing.T, w *world) {
		a, b := w.pair(name)
		b.write(name, "edited on the other")
		if c := b.sync(); c.FilesUp != 1 || c.Moves != 0 || c.Deletes != 0 {
			t.Errorf("did %+v", c)
		}
		a.sync()
		w.settle()
		if got := a.files(); len(got) != 1 || got[0] != name+"=edited on the other" {
			t.Errorf("a has %q", got)
		}
		a.write(name, "and on the first")
		a.sync()
		b.sync()
		if got := b.files(); len(got) != 1 || got[0] != b.disk.spell(name)+"=and on the first" {
			t.Errorf("b has %q", got)
		}
	})
}

func TestCase074BothFormsOfAName(t *testing.T) {
	beside(t, []disk{plain, ext4, nfd}, func(t *testing.T, w *world) {
		a, b := w.pair()
		composed, decomposed := "\u00e9", norm.NFD.String("\u00e9")
		a.write(composed, "composed")
		a.write(decomposed, "decomposed")
		a.sync()
		w.settle()
		if got := b.contents(); got != "composed decomposed" {
			t.Errorf("b has %q", b.files())
		}
		if got := a.contents(); got != "composed decomposed" || len(a.copies()) != 0 {
			t.Errorf("a has %q", a.files())
		}
	})
}

func TestCase075NoNameOfTheUsersIsChanged(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		names := []string{"\u00e9 composed", "e\u0301 decomposed", "\u212b ngstrom sign", "I\u0307 \u0131", "trailing ", "trailing.", "CON", "a:b", "\xff\xfe", "ſ", "ß", "ẞ"}
		a, b := w.pair(names...)
		for _, d := range w.devices {
			list, err := os.ReadDir(d.dir)
			must(t, err)
			var got []string
			for _, e := range list {
				if e.Name() != ".signet" {
					got = append(got, e.Name())
				}
			}
			slices.Sort(got)
			slices.Sort(names)
			if !slices.Equal(got, names) {
				t.Errorf("%s has %q", d.name, got)
			}
		}
		b.write(names[0], "edited")
		b.sync()
		a.sync()
	})
}

func TestCase076NamesThatADiskRefuses(t *testing.T) {
	beside(t, []disk{refuses}, func(t *testing.T, w *world) {
		a, b := w.pair("fine", "a:b", "what?", "trailing.", "trailing ", "back\\slash", "d|e/f", "CON", "nul.txt", "new\nline")
		w.settle()
		if got, want := b.contents(), a.contents(); got != want {
			t.Fatalf("b has %q, problems %+v", b.files(), b.status().Problems)
		}
		if n := len(b.status().Problems); n != 9 {
			t.Errorf("status says %+v, want one of each name", b.status().Problems)
		}
		for _, f := range b.files() {
			name, content, _ := strings.Cut(f, "=")
			if content == "first a:b" {
				b.write(name, "edited under another name")
			}
		}
		b.sync()
		a.sync()
		if got := a.read("a:b"); got != "edited under another name" {
			t.Errorf("a has %q", got)
		}
	})
}

func TestCase077NamesThatAreNotUTF8(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		_, b := w.pair("latin \xe9", "d \xff/f \xfe")
		b.write("latin \xe9", "edited")
		b.mv("d \xff", "moved \xfd")
		b.sync()
		w.want("latin \xe9=edited", "moved \xfd/f \xfe=first d \xff/f \xfe")
	})
}

func TestCase078NamesWithControlCharacters(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		names := []string{"new\nline", "tab\t", "bell\a", "esc\x1b[31m", "-rf", "--", "\u202etxt.exe", "zero\u200bwidth", " leading", "$(reboot)", "`x`", "*", "~"}
		a, b := w.pair(names...)
		for _, n := range names {
			b.write(n, "edited")
		}
		b.sync()
		a.sync()
		for _, n := range names {
			if a.read(n) != "edited" {
				t.Errorf("%q is not edited", n)
			}
		}
	})
}

func TestCase079LongestNamesInConflict(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		names := []string{strings.Repeat("n", 255), strings.Repeat("ü", 127) + "x", strings.Repeat("字", 79) + ".document.tar.gz"}
		a, b := w.pair(names...)
		for _, n := range names {
			a.write(n, "of a")
			b.write(n, "of b "+n[:6])
		}
		a.sync()
		w.settle()
		if n := len(a.copies()); n != len(names) {
			t.Errorf("%d copies: %q", n, a.copies())
		}
		for _, c := range a.copies() {
			if len(c) > 255 || strings.ContainsRune(c, '\ufffd') || len(strings.ToValidUTF8(c, "")) != len(c) {
				t.Errorf("%d bytes: %q", len(c), c)
			}
		}
	})
}

// A name of 254 bytes has more where letters are decomposed.
func TestCase080NameThatIsTooLongElsewhere(t *testing.T) {
	beside(t, []disk{nfd}, func(t *testing.T, w *world) {
		a, b := w.pair("kept")
		long := strings.Repeat("ü", 127)
		a.write(long, "too long elsewhere")
		a.write("d/other", "goes on")
		a.sync()
		for range 3 {
			if _, err := b.try(); err != nil {
				t.Fatal(err)
			}
		}
		if !b.has("d/other") {
			t.Errorf("one name holds up the others: %q", b.files())
		}
		if p := b.status().Problems; len(p) != 1 || norm.NFC.String(p[0].Path) != long {
			t.Errorf("status says %+v", p)
		}
		if c, err := a.try(); err != nil || c.Deletes+c.Moves != 0 {
			t.Errorf("the sender did %+v, %v", c, err)
		}
		a.mv(long, "short")
		a.sync()
		b.late += 3 * 60e9 // it is tried again
		w.want("d/other=goes on", "kept=first kept", "short=too long elsewhere")
	})
}

func TestCase081NamesThatLookLikeSignets(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		names := []string{"d/.signet/marker", "d/.signet/staging/t-ABC", ".signet.old", "x (conflict 2026-01-01 1200 a ab12).txt",
			"x.txt", "t-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "c-0123", ".x.txt.abc.tmp", "index.db", "marker"}
		a, b := w.pair(names...)
		if got := len(b.files()); got != len(names) {
			t.Errorf("b has %q", b.files())
		}
		a.write("x.txt", "of a")
		b.write("x.txt", "of b")
		b.rm("x (conflict 2026-01-01 1200 a ab12).txt")
		a.sync()
		w.settle()
		if got := len(a.files()); got != len(names) {
			t.Errorf("a has %q", a.files())
		}
	})
}

func TestCase082AliasThatIsARealNameLater(t *testing.T) {
	beside(t, []disk{folds, nfd}, func(t *testing.T, w *world) {
		a, b := w.pair("foo")
		a.write("FOO", "the second")
		a.sync()
		w.settle()
		l := b.copies()
		if len(l) != 1 {
			t.Fatalf("aliases %q", l)
		}
		a.write(l[0], "really called so")
		a.sync()
		w.settle()
		if got := b.read(l[0]); got != "really called so" {
			t.Errorf("%q is %q", l[0], got)
		}
		if got := b.contents(); got != "first foo really called so the second" {
			t.Errorf("b has %q", b.files())
		}
	})
}

func TestCase083LettersThatFoldByLanguage(t *testing.T) {
	beside(t, []disk{plain, folds, nfd}, func(t *testing.T, w *world) {
		names := []string{"I", "\u0130", "\u0131", "stra\u00dfe", "STRASSE", "\u017f", "\u212a", "k"}
		a := w.device("a")
		for i, n := range names {
			a.write(n, fmt.Sprint(i))
		}
		a.add()
		a.sync()
		b := w.device("b")
		b.add()
		w.settle()
		if got, want := b.contents(), a.contents(); got != want {
			t.Errorf("b has %q", b.files())
		}
	})
}
