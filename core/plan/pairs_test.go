package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signet/core/tree"
)

func (x shelfDeed) on(d *device) {
	switch x.verb {
	case "write":
		d.write(x.path, x.arg)
	case "save":
		d.save(x.path, x.arg)
	case "mkdir":
		d.mkdir(x.path)
	case "link":
		d.symlink(x.path, x.arg)
	case "mv":
		d.mv(x.path, x.arg)
	case "rm":
		d.rm(x.path)
	case "chmod":
		mode, _ := strconv.ParseUint(x.arg, 8, 32)
		d.chmod(x.path, uint32(mode))
	}
}

// shelfLines is a disk as the oracle shows one.
func (d *device) shelfLines() []string {
	var out []string
	for path, l := range d.paths() {
		switch l.Type {
		case tree.Dir:
			out = append(out, shelfLine(path, 'd', "", l.Mode))
		case tree.Link:
			out = append(out, shelfLine(path, 'l', l.Target, l.Mode))
		default:
			out = append(out, shelfLine(path, 'f', d.w.bytes[l.Hash], l.Mode))
		}
	}
	out = strings.Split(conflictsShort(out), "\n")
	slices.Sort(out)
	return out
}

// A pair is what both had, and what each made of it.
type pair struct {
	base, first, second []shelfDeed
	known               bool // the second has the first one's when it sends its own
	acknowledges        bool
	mixed               []int // how batches are put in another order; empty: not; over 3: cut up, too
}

// mix puts a batch in an order that says the same: of files and deletes any may be
// first among their kind. Folders, moves and attributes, which wake what a folder
// held, go from the top down.
func (c pair) mix(ops []tree.Op) []tree.Op {
	if len(c.mixed) == 0 {
		return ops
	}
	type ranked struct {
		tree.Op
		kind, rank int
	}
	var list []ranked
	for i, op := range ops {
		r := ranked{op, int(op.Kind), c.mixed[i%len(c.mixed)]}
		switch {
		case op.Kind == tree.Create && op.Type == tree.Dir:
			r.kind, r.rank = 0, i
		case op.Kind == tree.Move:
			r.kind, r.rank = 1, i
		case op.Kind == tree.Attr:
			r.rank = i
		case op.Kind == tree.Create || op.Kind == tree.Edit:
			r.kind = 2
		}
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.rank, b.rank))
	})
	out := make([]tree.Op, len(list))
	for i, r := range list {
		out[i] = r.Op
	}
	return out
}

func (c pair) String() string {
	return fmt.Sprintf("both had:\n %v\nfirst:\n %v\nsecond, known %t, acknowledges %t, mixed %v:\n %v", c.base, c.first, c.known, c.acknowledges, c.mixed, c.second)
}

// shelves are the three trees of a pair, as the oracle has them.
func (c pair) shelves() (base, first, second shelf) {
	base = shelf{}
	base.doAll(c.base, 0)
	first, second = shelf{}, shelf{}
	for n, t := range base {
		first[n], second[n] = t, t
	}
	first.doAll(c.first, 1000)
	second.doAll(c.second, 2000)
	return base, first, second
}

func (s shelf) doAll(deeds []shelfDeed, fresh int) {
	for i, x := range deeds {
		s.do(x, fresh+i+1)
	}
}

// meets lets two devices do what a pair says, and compares what all disks show in
// the end with what the oracle says.
func (c pair) meets(t interface {
	Fatalf(string, ...any)
	Helper()
}) {
	t.Helper()
	w := newWorldOn(t, "ann", "ben")
	w.quick = true
	ann, ben := w.devices[0], w.devices[1]
	for _, d := range w.devices {
		d.acknowledges = c.acknowledges
	}
	for _, x := range c.base {
		x.on(ann)
	}
	w.settle()
	for _, x := range c.first {
		x.on(ann)
	}
	for _, x := range c.second {
		x.on(ben)
	}
	for p := ann.turn(); len(p.Up) > 0; p = ann.turn() {
		ann.commit(c.mix(p.Up), len(c.mixed) > 3)
		ann.pull()
	}
	if c.known {
		ben.pull()
	}
	ben.commit(c.mix(ben.turn().Up), len(c.mixed) > 3)
	w.settle()
	base, first, second := c.shelves()
	want := merge(base, first, second, c.known).lines()
	for _, d := range w.devices {
		if got := strings.Join(d.shelfLines(), "\n"); got != strings.Join(want, "\n") {
			t.Fatalf("%s\n%s has\n%s\nwant\n%s", c, d.name, got, strings.Join(want, "\n"))
		}
	}
}

// outcomes say what becomes of one file, or of one name, by what the first does
// (rows) and the second (columns). Nothing is "-".
var outcomes = []struct {
	base, head string
	rows       [][]string
}{
	{"write f 0", "nothing; write f 2; rm f; mv f h; rm f, mkdir f; rm f, link f y", [][]string{
		{"nothing", "f: 0", "f: 2", "-", "h: 0", "f/", "f -> y"},
		{"write f 1", "f: 1", "f CC: 2, f: 1", "f: 1", "h: 1", "f CC/, f: 1", "f CC -> y, f: 1"},
		{"write f 2", "f: 2", "f: 2", "f: 2", "h: 2", "f CC/, f: 2", "f CC -> y, f: 2"},
		{"save f 1", "f: 1", "f CC: 2, f: 1", "f: 1", "h: 1", "f CC/, f: 1", "f CC -> y, f: 1"},
		{"rm f", "-", "f: 2", "-", "h: 0", "f/", "f -> y"},
		{"mv f g", "g: 0", "g: 2", "g: 0", "g: 0", "f/, g: 0", "f -> y, g: 0"},
		{"mv f h", "h: 0", "h: 2", "h: 0", "h: 0", "f/, h: 0", "f -> y, h: 0"},
		{"rm f, mkdir f", "f/", "f CC/, f: 2", "f/", "f/, h: 0", "f/", "f CC -> y, f/"},
		{"rm f, link f x", "f -> x", "f CC -> x, f: 2", "f -> x", "f -> x, h: 0", "f -> x, f CC/", "f -> x, f CC -> y"},
		{"mv f g, write f 1", "f: 1, g: 0", "f: 1, g: 2", "f: 1, g: 0", "f: 1, g: 0", "f CC/, f: 1, g: 0", "f CC -> y, f: 1, g: 0"},
	}},
	{"write o 0", "nothing; write n 2; mkdir n; link n y; mv o n; rm o", [][]string{
		{"nothing", "o: 0", "n: 2, o: 0", "n/, o: 0", "n -> y, o: 0", "n: 0", "-"},
		{"write n 1", "n: 1, o: 0", "n CC: 2, n: 1, o: 0", "n CC/, n: 1, o: 0", "n CC -> y, n: 1, o: 0", "n CC: 0, n: 1", "n: 1"},
		{"write n 2", "n: 2, o: 0", "n: 2, o: 0", "n CC/, n: 2, o: 0", "n CC -> y, n: 2, o: 0", "n CC: 0, n: 2", "n: 2"},
		{"mkdir n", "n/, o: 0", "n CC: 2, n/, o: 0", "n/, o: 0", "n CC -> y, n/, o: 0", "n CC: 0, n/", "n/"},
		{"mv o n", "n: 0", "n CC: 2, n: 0", "n CC/, n: 0", "n CC -> y, n: 0", "n: 0", "n: 0"},
		{"write o 1", "o: 1", "n: 2, o: 1", "n/, o: 1", "n -> y, o: 1", "n: 1", "o: 1"},
	}},
	{"mkdir d, write d/a 0", "nothing; write d/a 2; write d/b 2; rm d; mv d e; rm d, write d 2; mv d/a a", [][]string{
		{"nothing", "d/, d/a: 0", "d/, d/a: 2", "d/, d/a: 0, d/b: 2", "-", "e/, e/a: 0", "d: 2", "a: 0, d/"},
		{"write d/a 1", "d/, d/a: 1", "d/, d/a CC: 2, d/a: 1", "d/, d/a: 1, d/b: 2", "d/, d/a: 1", "e/, e/a: 1", "d CC: 2, d/, d/a: 1", "a: 1, d/"},
		{"write d/b 1", "d/, d/a: 0, d/b: 1", "d/, d/a: 2, d/b: 1", "d/, d/a: 0, d/b CC: 2, d/b: 1", "d/, d/b: 1", "e/, e/a: 0, e/b: 1", "d CC: 2, d/, d/b: 1", "a: 0, d/, d/b: 1"},
		{"rm d", "-", "d/, d/a: 2", "d/, d/b: 2", "-", "e/, e/a: 0", "d: 2", "a: 0"},
		{"mv d g", "g/, g/a: 0", "g/, g/a: 2", "g/, g/a: 0, g/b: 2", "g/, g/a: 0", "g/, g/a: 0", "d: 2, g/, g/a: 0", "a: 0, g/"},
		{"rm d, write d 1", "d: 1", "d CC: 1, d/, d/a: 2", "d CC: 1, d/, d/b: 2", "d: 1", "d: 1, e/, e/a: 0", "d CC: 2, d: 1", "a: 0, d: 1"},
		{"mv d/a c", "c: 0, d/", "c: 2, d/", "c: 0, d/, d/b: 2", "c: 0", "c: 0, e/", "c: 0, d: 2", "c: 0, d/"},
	}},
}

// TestPairsOfDeedsByHand holds the oracle, and two devices, to what a person wrote
// down.
func TestPairsOfDeedsByHand(t *testing.T) {
	bare := regexp.MustCompile(` [0-7]{3}$`)
	for _, o := range outcomes {
		for _, row := range o.rows {
			for i, second := range strings.Split(o.head, "; ") {
				for _, known := range []bool{false, true} {
					c := pair{parseDeeds(o.base), parseDeeds(row[0]), parseDeeds(second), known, false, nil}
					base, a, b := c.shelves()
					var got []string
					for _, l := range merge(base, a, b, known).lines() {
						got = append(got, bare.ReplaceAllString(l, ""))
					}
					slices.Sort(got)
					want := strings.Split(row[i+1], ", ")
					if slices.Sort(want); row[i+1] == "-" {
						want = nil
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s\nthe oracle says %q, want %q", c, got, want)
					}
					c.meets(t)
				}
			}
		}
	}
}

// deedsOfOne are what a user can do to one thing, and to what is beside it.
var deedsOfOne = []string{
	"nothing", "write f 1", "write f 2", "save f 1", "chmod f 700", "chmod f 750", "rm f", "mv f g", "mv f h", "mv f d/f", "mv f e/f",
	"rm f, mkdir f", "rm f, mkdir f, write f/a 3", "rm f, link f x", "rm f, link f y", "mv f g, write f 3", "mv f g, write g 3", "mv f g, chmod g 700",
	"mv e/x f", "write n 1", "write n 2", "mkdir n", "mkdir n, write n/b 4", "link n x", "mv f n", "mv e n",
	"write d/a 1", "save d/a 2", "chmod d/a 700", "rm d/a", "mv d/a a", "mv d/a e/a", "mv d/a d/b", "write d/n 1",
	"rm d", "mv d e/d", "mv d g", "chmod d 700", "rm d, write d 5", "rm d, mkdir d", "rm d, mkdir d, write d/a 6", "mv d g, mkdir d, mv g/a d/a",
	"mkdir d/n", "chmod d/s 700", "rm d/s", "mv d/s s", "mv d/s d/t", "write d/s/y 1", "rm d/s/y", "mv d/s/y y", "write d/s/n 2",
	"mv e d/e", "mv e d/s/e", "rm e", "mv d/s e/s, rm d", "mv d/s s, rm d, write d 7", "mv d/a a, rm d, write d 8", "mv d/s s, mv d s/d", "rm l", "rm l, link l x", "rm l, mkdir l", "mv l f2", "mv f l2, mv l f, mv l2 l",
}

var shelfOfOne = parseDeeds("write f 0, mkdir d, write d/a 00, mkdir d/s, write d/s/y 000, mkdir e, write e/x 0000, link l t")

func parseDeeds(s string) (out []shelfDeed) {
	for x := range strings.SplitSeq(s, ", ") {
		if verb, rest, _ := strings.Cut(x, " "); verb != "nothing" {
			path, arg, _ := strings.Cut(rest, " ")
			out = append(out, shelfDeed{verb, path, arg})
		}
	}
	return out
}

// TestEveryPairOfDeedsEndsAsTheOracleSays tries all of them against all.
func TestEveryPairOfDeedsEndsAsTheOracleSays(t *testing.T) {
	for _, a := range deedsOfOne {
		for _, b := range deedsOfOne {
			for _, known := range []bool{false, true} {
				pair{shelfOfOne, parseDeeds(a), parseDeeds(b), known, false, nil}.meets(t)
			}
		}
	}
}

// A conflict copy has the mode of the node that it is a copy of, also where the device
// that lost had another one on its disk, and noted what became of what it sent: else that
// device alone would send it.
func TestAConflictCopyHasTheModeOfItsNode(t *testing.T) {
	for _, known := range []bool{false, true} {
		for _, acknowledges := range []bool{false, true} {
			for _, second := range []string{"save f 2", "write f 2, chmod f 750"} {
				pair{parseDeeds("write f 0, chmod f 700"), parseDeeds("write f 1"), parseDeeds(second), known, acknowledges, nil}.meets(t)
			}
		}
	}
}

// drawDeeds lets a user do some things to a shelf, mostly to the same few.
func drawDeeds(rt *rapid.T, s shelf, fresh, most int) (out []shelfDeed) {
	for range rapid.IntRange(0, most).Draw(rt, "deeds") {
		dirs := []string{""}
		var paths []string
		for _, n := range s.inOrder() {
			p := s.path(n)
			if paths = append(paths, p); s[n].what == 'd' {
				dirs = append(dirs, p+"/")
			}
		}
		there := rapid.SampledFrom(dirs).Draw(rt, "folder") + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "name")
		x := shelfDeed{verb: rapid.SampledFrom([]string{"write", "save", "mkdir", "link", "mv", "mv", "mv", "rm", "chmod"}).Draw(rt, "verb"), path: there}
		if len(paths) > 0 && rapid.Bool().Draw(rt, "old") {
			x.path = rapid.SampledFrom(paths).Draw(rt, "path")
		}
		switch x.verb {
		case "write", "save", "link":
			x.arg = rapid.SampledFrom([]string{"1", "2", "3"}).Draw(rt, "text")
		case "mv":
			if len(paths) == 0 {
				continue
			}
			x.path, x.arg = rapid.SampledFrom(paths).Draw(rt, "from"), there
		case "chmod":
			x.arg = rapid.SampledFrom([]string{"700", "750"}).Draw(rt, "mode")
		}
		if s.can(x) {
			out = append(out, x)
			s.do(x, fresh+len(out))
		}
	}
	return out
}

func (s shelf) path(n int) string {
	if n == 0 {
		return ""
	}
	if up := s.path(s[n].in); up != "" {
		return up + "/" + s[n].name
	}
	return s[n].name
}

// TestTwoDevicesEndAsTheOracleSays draws what both have and what each makes of it,
// and the order of what they send.
func TestTwoDevicesEndAsTheOracleSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var c pair
		c.base = drawDeeds(rt, shelf{}, 0, 10)
		base, _, _ := c.shelves()
		c.first = drawDeeds(rt, base, 1000, 5)
		base, _, _ = pair{base: c.base}.shelves()
		c.second = drawDeeds(rt, base, 2000, 5)
		c.known, c.acknowledges = rapid.Bool().Draw(rt, "known"), rapid.Bool().Draw(rt, "acknowledges")
		c.mixed = rapid.SliceOfN(rapid.IntRange(0, 9), 0, 6).Draw(rt, "mixed")
		c.meets(rt)
	})
}
