package disk

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"signet/core/tree"
)

// Caps is what names the folder's disk takes for one, refuses, and spells in a
// way of its own, as it was found out when the folder was opened. It is that of
// .signet: a folder inside the volume that is told to be otherwise (chattr +F,
// case sensitivity by folder on Windows) is not known to be.
func (v *Volume) Caps() tree.Caps { return v.traits.caps() }

// traits are what disks differ in about names.
type traits struct {
	fold       folding
	normal     bool // composed and decomposed names are one
	decomposes bool // a name is shown decomposed, whatever it was given as
	utf8       bool // other bytes are refused
	chars      bool // what Windows forbids is refused
	ends       bool // dots at the end are refused, or get lost
	words      bool // CON, NUL, COM1 and their like are devices
}

// folding says which letters are one in upper and lower case.
type folding uint8

const (
	exact  folding = iota
	ascii          // A to Z
	simple         // one letter for one
	full           // ß is ss, too
)

// A NameDisk is a folder of a disk in which names can be tried.
type NameDisk interface {
	Folds() bool              // the folder's own name
	Create(name string) error // an empty file
	Has(name string) bool
	Names() []string
	Remove(name string)
}

// CapsOf is Caps of a disk that no Volume is on, as it is found out by trying.
func CapsOf(d NameDisk) tree.Caps { return probeNames(d).caps() }

// probeNames finds out by trying: a few system calls. A crash leaves an empty
// file in staging, which the next opening removes. Where nothing can be
// written nothing is refused, and nothing else either will be.
func probeNames(d NameDisk) (t traits) {
	if runtime.GOOS == "windows" { // some of these are not refused but mean something else
		t.chars, t.ends, t.utf8, t.words = true, true, true, true
	}
	if d.Folds() {
		t.fold = ascii
	}
	const name = "names-\u00e9\u00df" // é, ß
	if err := d.Create(name); err != nil && !errors.Is(err, fs.ErrExist) {
		if t.fold != exact {
			t.fold, t.normal = simple, runtime.GOOS != "windows"
		}
		return t
	}
	t.normal = d.Has("names-e\u0301\u00df")
	if t.fold != exact {
		switch {
		case d.Has("NAMES-\u00c9SS"):
			t.fold = full
		case d.Has("NAMES-\u00c9\u00df"):
			t.fold = simple
		}
	}
	if t.normal {
		for _, n := range d.Names() {
			t.decomposes = t.decomposes || n == norm.NFD.String(name)
		}
	}
	d.Remove(name)
	refuses := func(name string) bool {
		err := d.Create(name)
		if err == nil || errors.Is(err, fs.ErrExist) {
			d.Remove(name)
			return false
		}
		switch kindOf(err) {
		case ErrNoSpace, ErrReadOnly, fs.ErrPermission:
			return false
		}
		return true
	}
	t.chars = t.chars || refuses("names:")
	if t.chars && !t.ends {
		err := d.Create("names.")
		t.ends = !slices.Contains(d.Names(), "names.")
		if err == nil || errors.Is(err, fs.ErrExist) {
			d.Remove("names.")
		}
	}
	t.words = t.words || t.chars && refuses("CON")
	t.utf8 = t.utf8 || refuses("names-\xff")
	return t
}

// staging is where names are tried.
type staging struct{ fs *fsys }

func (s staging) Create(name string) error {
	f, err := s.fs.create(stagingPath + "/" + name)
	if err != nil {
		return err
	}
	return f.Close()
}

func (s staging) Has(name string) bool {
	_, err := s.fs.lstat(stagingPath + "/" + name)
	return err == nil
}

// Nobody else makes anything in .signet, so what is there under this name is
// the staging folder.
func (s staging) Folds() bool {
	_, err := s.fs.lstat(private + "/STAGING")
	return err == nil
}

func (s staging) Names() (l []string) {
	for _, e := range s.fs.list(stagingPath, new(scratch)).Entries {
		l = append(l, e.Name)
	}
	return l
}

func (s staging) Remove(name string) { s.fs.unlink(stagingPath + "/" + name) }

func (t traits) caps() (c tree.Caps) {
	if t.fold != exact || t.normal {
		c.Key = t.key
	}
	if t.decomposes || t.utf8 || t.chars || t.words {
		c.Unfit, c.Mend = t.unfit, t.mend
	}
	return c
}

// key is the same for names that the disk takes for one. It may be for a few
// more: they cannot then be beside each other here, though the disk would have
// them.
func (t traits) key(name string) string {
	plain := true
	for i := 0; i < len(name) && plain; i++ {
		plain = name[i] < utf8.RuneSelf
	}
	switch {
	case t.fold == exact && (plain || !utf8.ValidString(name)):
		return name
	case plain, t.fold == ascii && !t.normal, !utf8.ValidString(name):
		return upper(name)
	}
	if t.normal {
		name = norm.NFD.String(name)
	}
	switch t.fold {
	case exact:
		return name
	case ascii:
		return upper(name)
	case full:
		name = expand.Replace(name)
	}
	name = strings.Map(foldRune, name)
	if t.normal {
		name = norm.NFD.String(name) // letters of another case may come apart
	}
	return name
}

// upper is name with A to Z for a to z, and every other byte as it is.
func upper(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// foldRune is the first of all letters that are r but for their case.
func foldRune(r rune) rune {
	first := r
	for x := unicode.SimpleFold(r); x != r; x = unicode.SimpleFold(x) {
		first = min(first, x)
	}
	return first
}

// expand has the letters whose other case is several, but for those that
// decompose into them.
var expand = strings.NewReplacer("ß", "ss", "ẞ", "ss", "ŉ", "ʼn", "և", "եւ",
	"ﬀ", "ff", "ﬁ", "fi", "ﬂ", "fl", "ﬃ", "ffi", "ﬄ", "ffl", "ﬅ", "st", "ﬆ", "st",
	"ﬓ", "մն", "ﬔ", "մե", "ﬕ", "մի", "ﬖ", "վն", "ﬗ", "մխ")

// forbidden are the characters that Windows forbids, besides control ones.
const forbidden = `<>:"\|?*`

func (t traits) unfit(name string) bool {
	return t.utf8 && !utf8.ValidString(name) ||
		t.chars && strings.ContainsFunc(name, badChar) || t.ends && badEnd(name) ||
		t.words && deviceName(name) > 0 ||
		t.decomposes && !norm.NFD.IsNormalString(name)
}

func badEnd(name string) bool { return strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") }

func badChar(r rune) bool { return r < ' ' || strings.ContainsRune(forbidden, r) }

// mend puts "_" for what cannot be, and after the name of a device.
func (t traits) mend(name string) string {
	if t.utf8 {
		name = strings.ToValidUTF8(name, "_")
	}
	if t.decomposes { // first: a letter may come apart into a forbidden one
		name = norm.NFD.String(name)
	}
	if t.chars {
		b := []byte(name) // which need not be UTF-8
		for i, c := range b {
			if badChar(rune(c)) {
				b[i] = '_'
			}
		}
		name = string(b)
	}
	if t.ends && badEnd(name) {
		name = name[:len(name)-1] + "_"
	}
	if n := deviceName(name); t.words && n > 0 {
		name = name[:n] + "_" + name[n:]
	}
	return name
}

// deviceName is how many bytes at the beginning of name are that of a device
// on Windows, whatever its extension is; 0 if they are none.
func deviceName(name string) int {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.TrimRight(stem, " ")
	switch u := upper(stem); u {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return len(stem)
	default:
		for _, port := range []string{"COM", "LPT"} {
			if n, ok := strings.CutPrefix(u, port); ok && (len(n) == 1 && '0' <= n[0] && n[0] <= '9' || n == "¹" || n == "²" || n == "³") {
				return len(stem)
			}
		}
	}
	return 0
}
