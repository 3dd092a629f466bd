package plan

import (
	"strings"
	"testing"

	"signet/core/tree"
)

// twoDisks is ann, whose disk holds all names, and ben, whose disk does not
// tell upper from lower case.
func twoDisks(t *testing.T) (w *world, ann, ben *device) {
	w = newWorld(t, "ann", "ben")
	ann, ben = w.devices[0], w.devices[1]
	ben.caps.Key = strings.ToLower
	return w, ann, ben
}

func (d *device) wants(lines string) {
	d.w.t.Helper()
	if got := conflictsShort(d.lines()); got != lines {
		d.w.t.Fatalf("%s has\n%s\nwant\n%s", d.name, got, lines)
	}
}

// aliased is the name of the only node that has another name on the disk.
func (d *device) aliased() string {
	d.w.t.Helper()
	p := d.plan()
	if len(p.Aliases) != 1 {
		d.w.t.Fatalf("%s has aliases %v", d.name, p.Aliases)
	}
	return p.Aliases[0].Name
}

func TestAliasIsThisDisksAffair(t *testing.T) {
	for name, c := range map[string]struct {
		ben       func(d *device, alias string)
		ann, then string
	}{
		"edit":          {func(d *device, a string) { d.write(a, "3") }, "README: 3\nreadme: 1", "README CC: 3\nreadme: 1"},
		"save":          {func(d *device, a string) { d.save(a, "3") }, "README: 3\nreadme: 1", "README CC: 3\nreadme: 1"},
		"delete":        {func(d *device, a string) { d.rm(a) }, "readme: 1", "readme: 1"},
		"rename":        {func(d *device, a string) { d.mv(a, "new") }, "new: 2\nreadme: 1", "new: 2\nreadme: 1"},
		"move":          {func(d *device, a string) { d.mkdir("d"); d.mv(a, "d/"+a) }, "d/\nd/README: 2\nreadme: 1", "d/\nd/README: 2\nreadme: 1"},
		"edit other":    {func(d *device, a string) { d.write("readme", "3") }, "README: 2\nreadme: 3", "README CC: 2\nreadme: 3"},
		"rename other":  {func(d *device, a string) { d.mv("readme", "old") }, "README: 2\nold: 1", "README: 2\nold: 1"},
		"delete other":  {func(d *device, a string) { d.rm("readme") }, "README: 2", "README: 2"},
		"rename over":   {func(d *device, a string) { d.mv(a, "readme") }, "readme: 2", "readme: 2"},
		"save in case":  {func(d *device, a string) { d.rm("readme"); d.write("ReadMe", "3") }, "README: 2\nReadMe: 3", "README: 2\nReadMe CC: 3"},
		"both":          {func(d *device, a string) { d.mv("readme", "t"); d.mv(a, "readme"); d.mv("t", a) }, "CC", "CC"},
		"nothing":       {func(*device, string) {}, "README: 2\nreadme: 1", "README CC: 2\nreadme: 1"},
		"in case alone": {func(d *device, a string) { d.mv("readme", "Readme") }, "README: 2\nReadme: 1", "README: 2\nReadme CC: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, ann, ben := twoDisks(t)
			do(write("readme", "1"), step, write("README", "2"))(ann)
			w.settle()
			ben.wants("README CC: 2\nreadme: 1")
			before := len(w.journal)
			c.ben(ben, ben.aliased())
			w.settle()
			if c.ann == "CC" { // two names were given away: all is kept, and that is all
				if len(ann.lines()) != 2 || len(ben.lines()) != 2 {
					t.Errorf("ann:\n%s\nben:\n%s", ann.list(), ben.list())
				}
				return
			}
			ann.wants(c.ann)
			ben.wants(c.then)
			if name == "nothing" && len(w.journal) != before {
				t.Error("a name of this disk went to the journal")
			}
		})
	}
}

func TestNameThatGetsFreeIsGivenBack(t *testing.T) {
	for name, deed := range map[string]deed{"renamed": mv("readme", "old"), "deleted": rm("readme"), "moved": do(mkdir("d"), mv("readme", "d/readme"))} {
		t.Run(name, func(t *testing.T) {
			w, ann, ben := twoDisks(t)
			do(write("readme", "1"), step, write("README", "2"))(ann)
			w.settle()
			deed(ann)
			w.settle()
			if _, ok := ben.child(id{}, "README"); !ok || strings.Contains(ben.list(), "conflict") {
				t.Errorf("ben has\n%s", ben.list())
			}
			if ann.list() != ben.list() {
				t.Errorf("ann has\n%s\nben\n%s", ann.list(), ben.list())
			}
		})
	}
}

func TestAliasGivesWayToARealNameThatComesLater(t *testing.T) {
	w, ann, ben := twoDisks(t)
	do(write("readme", "1"), step, write("README", "2"))(ann)
	w.settle()
	alias := ben.aliased()
	ann.write(alias, "3")
	w.settle()
	n := ben.must(alias)
	if ben.w.bytes[ben.disk[n].Hash] != "3" || len(ben.disk) != 3 {
		t.Errorf("ben has\n%s", ben.list())
	}
}

func TestChangeOfCaseIsARename(t *testing.T) {
	for _, what := range []deed{write("readme", "1"), do(mkdir("readme"), write("readme/x", "1"))} {
		w, ann, ben := twoDisks(t)
		what(ann)
		w.settle()
		ben.mv("readme", "README")
		if p := ben.sync(); len(p.Up) != 1 || p.Up[0].Kind != tree.Move || p.Up[0].Name != "README" {
			t.Errorf("sent %s", p.text())
		}
		w.settle()
		ann.mv("README", "ReadMe")
		ann.sync()
		p := ben.sync()
		for _, a := range p.Down {
			if a.Verb != Move {
				t.Errorf("done %s", p.text())
			}
		}
		w.settle()
		if ann.list() != ben.list() || len(p.Aliases) > 0 {
			t.Errorf("ann has\n%s\nben\n%s", ann.list(), ben.list())
		}
	}
}

func TestFoldersWhoseNamesAreOneAreNotMixed(t *testing.T) {
	w, ann, ben := twoDisks(t)
	do(mkdir("docs"), write("docs/a", "1"), step, mkdir("Docs"), write("Docs/a", "2"), write("Docs/b", "3"))(ann)
	w.settle()
	ben.wants("Docs CC/\nDocs CC/a: 2\nDocs CC/b: 3\ndocs/\ndocs/a: 1")
	alias := ben.aliased()
	ben.write(alias+"/c", "4")
	ben.mv("docs/a", "docs/d")
	w.settle()
	ann.wants("Docs/\nDocs/a: 2\nDocs/b: 3\nDocs/c: 4\ndocs/\ndocs/d: 1")
	ann.rm("docs")
	w.settle()
	ben.wants("Docs/\nDocs/a: 2\nDocs/b: 3\nDocs/c: 4")
}

func TestNamesThatAreOneAndWereMadeAtOnceBothLive(t *testing.T) {
	w, ann, ben := twoDisks(t)
	ann.write("readme", "1")
	ben.write("README", "2")
	ann.sync()
	w.settle()
	ann.wants("README: 2\nreadme: 1")
	ben.wants("README CC: 2\nreadme: 1")
}

func TestFolderIsJoinedByNamesThatAreOneForTheDisk(t *testing.T) {
	w, ann, ben := twoDisks(t)
	do(mkdir("Docs"), write("Docs/Letter", "1"))(ann)
	do(mkdir("docs"), write("docs/letter", "1"))(ben)
	ann.sync()
	before := len(w.journal)
	w.settle()
	if len(w.journal) != before {
		t.Errorf("joining sent something; ann has\n%s", ann.list())
	}
	ben.wants("Docs/\nDocs/Letter: 1")
}

// A disk that spells names its own way, as one that decomposes them.
func TestNameThatADiskSpellsOtherwiseStaysAsItWas(t *testing.T) {
	w, ann, ben := twoDisks(t)
	fold := strings.NewReplacer("é", "e\u0301")
	ben.caps = tree.Caps{Key: fold.Replace, Unfit: func(s string) bool { return fold.Replace(s) != s }, Mend: fold.Replace}
	do(mkdir("été"), write("été/é", "1"))(ann)
	w.settle()
	ben.wants("e\u0301te\u0301/\ne\u0301te\u0301/e\u0301: 1")
	if p := ben.plan(); len(p.Aliases) > 0 {
		t.Errorf("to a person these are one: %v", p.Aliases)
	}
	ben.save("été/é", "2")
	ben.write("été/né", "3")
	w.settle()
	ann.wants("été/\nété/ne\u0301: 3\nété/é: 2")
	ann.write("été/e\u0301", "4") // whose name was first is the same on all disks
	w.settle()
	ben.wants("e\u0301te\u0301/\ne\u0301te\u0301/e\u0301 CC: 4\ne\u0301te\u0301/e\u0301: 2\ne\u0301te\u0301/ne\u0301: 3")
	if got := ben.aliased(); !strings.HasPrefix(got, "e\u0301 (") {
		t.Errorf("alias %q", got)
	}
}

func TestNameThatADiskRefusesGetsOneThatItHolds(t *testing.T) {
	w, ann, ben := twoDisks(t)
	ben.caps.Unfit = func(s string) bool { return strings.Contains(s, ":") }
	ben.caps.Mend = func(s string) string { return strings.ReplaceAll(s, ":", "_") }
	do(write("a:b", "1"), step, write("a_b", "2"), write("c:d", "3"))(ann)
	w.settle()
	ben.wants("a_b CC: 1\na_b: 2\nc_d: 3")
	ben.write("c_d", "4")
	w.settle()
	ann.wants("a:b: 1\na_b: 2\nc:d: 4")
}
