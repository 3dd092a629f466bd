package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// A shelf is an index, and what a look at a small disk would see.
type shelf struct {
	t    *testing.T
	x    *index
	n    byte
	lost map[*item]bool
}

func newShelf(t *testing.T) *shelf { return &shelf{t: t, x: newIndex(0), lost: map[*item]bool{}} }

func (s *shelf) id() (n signet.NodeID) {
	s.n++
	n[0] = s.n
	return n
}

func file(inode uint64) tree.Stat {
	return tree.Stat{Type: tree.File, Dev: 1, Inode: inode, Birth: int64(inode), Size: 3, MTime: 5, CTime: 6, Links: 1}
}

func folder(inode uint64) tree.Stat {
	return tree.Stat{Type: tree.Dir, Dev: 1, Inode: inode, Birth: int64(inode)}
}

// whole is the listing of a folder: name, stat, name, stat.
func whole(path string, entries ...any) sight {
	s := sight{Listing: Listing{Path: path}}
	for i := 0; i < len(entries); i += 2 {
		s.Entries = append(s.Entries, Entry{Name: entries[i].(string), Stat: entries[i+1].(tree.Stat)})
	}
	return s
}

// part is a look at a few names of a folder; those without a stat are gone.
func part(path string, names string, entries ...any) sight {
	s := whole(path, entries...)
	s.only = strings.Fields(names)
	return s
}

func (s *shelf) see(seen ...sight) (crossed []string) { return s.x.take(seen, s.lost, s.id) }

func (s *shelf) look(seen ...sight) {
	s.t.Helper()
	if c := s.see(seen...); len(c) > 0 {
		s.t.Fatalf("crossed %q", c)
	}
	s.end()
}

func (s *shelf) end() {
	s.x.lose(s.lost)
	clear(s.lost)
	s.check()
}

// check fails unless all maps of the index say the same.
func (s *shelf) check() {
	s.t.Helper()
	var sum tally
	placed := 0
	for id, it := range s.x.items {
		if it.id != id || s.x.kids[it.parent][it.name] != it {
			s.t.Errorf("%s is not where it says", it.name)
		}
		if l, ok := locals(s.x.items).Get(id); !ok || l.Name != it.name || l.Parent != it.parent {
			s.t.Errorf("%s is told otherwise to the planner: %+v", it.name, l)
		}
		if it.stat.Type == tree.File {
			sum.files, sum.bytes = sum.files+1, sum.bytes+it.stat.Size
		}
		if _, ok := s.x.path(id); !ok {
			s.t.Errorf("%s hangs on nothing", it.name)
		}
	}
	for _, k := range s.x.kids {
		placed += len(k)
	}
	if placed != len(s.x.items) {
		s.t.Errorf("%d items, %d in folders", len(s.x.items), placed)
	}
	if sum.files != s.x.sum.files || sum.bytes != s.x.sum.bytes {
		s.t.Errorf("sum %+v, counted %+v", s.x.sum, sum)
	}
}

// has lists what is where: path=first byte of its node.
func (s *shelf) has() string {
	var l []string
	for id := range s.x.items {
		p, _ := s.x.path(id)
		l = append(l, fmt.Sprintf("%s=%d", p, id[0]))
	}
	slices.Sort(l)
	return strings.Join(l, " ")
}

func (s *shelf) want(want string) {
	s.t.Helper()
	if got := s.has(); got != want {
		s.t.Errorf("index has %s\nwant      %s", got, want)
	}
}

func TestThingsAreKnownAgainByIdentity(t *testing.T) {
	start := []sight{whole("", "a", file(10), "b", file(11), "d", folder(12)), whole("d", "c", file(13))}
	for name, c := range map[string]struct {
		then []sight
		want string
	}{
		"renamed":                                    {[]sight{whole("", "x", file(10), "b", file(11), "d", folder(12))}, "b=2 d/c=4 d=3 x=1"},
		"two names swapped":                          {[]sight{whole("", "a", file(11), "b", file(10), "d", folder(12))}, "a=2 b=1 d/c=4 d=3"},
		"swapped, seen name by name":                 {[]sight{part("", "a b", "a", file(11), "b", file(10))}, "a=2 b=1 d/c=4 d=3"},
		"moved into a folder that is listed later":   {[]sight{whole("", "b", file(11), "d", folder(12)), whole("d", "c", file(13), "a", file(10))}, "b=2 d/a=1 d/c=4 d=3"},
		"moved from a folder that is listed later":   {[]sight{whole("", "a", file(10), "b", file(11), "c", file(13), "d", folder(12)), whole("d")}, "a=1 b=2 c=4 d=3"},
		"a folder renamed takes along what is in it": {[]sight{part("", "d e", "e", folder(12))}, "a=1 b=2 e/c=4 e=3"},
		"a folder renamed, another made in its place": {[]sight{part("", "d e", "d", folder(20), "e", folder(12)), whole("d"), whole("e", "c", file(13))},
			"a=1 b=2 d=5 e/c=4 e=3"},
		"a file replaced by a folder and back": {[]sight{part("", "a", "a", folder(30)), part("", "a", "a", file(10))}, "a=1 b=2 d/c=4 d=3"},
		"an inode used again":                  {[]sight{part("", "a", "a", func() tree.Stat { s := file(10); s.Birth++; return s }())}, "a=5 b=2 d/c=4 d=3"},
		"removed":                              {[]sight{part("", "a")}, "b=2 d/c=4 d=3"},
		"a folder removed":                     {[]sight{part("", "d")}, "a=1 b=2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			s.look(start...)
			s.want("a=1 b=2 d/c=4 d=3")
			s.look(c.then...)
			s.want(c.want)
		})
	}
}

func TestSecondHardLinkIsAFileOfItsOwn(t *testing.T) {
	two := file(10)
	two.Links = 2
	s := newShelf(t)
	s.look(whole("", "a", two))
	s.look(whole("", "a", two, "b", two))
	s.want("a=1 b=2")
	s.look(whole("", "a", two, "b", two))
	s.want("a=1 b=2")
	s.look(whole("", "b", file(10))) // the other name is gone
	s.want("b=2")
}

func TestListingOfAnotherFolderSaysNothing(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "d", folder(12)), whole("d", "c", file(13)))
	// The folder was renamed, and another made in its place, between the event
	// and the look.
	other := whole("d")
	other.Stat = folder(20)
	if c := s.see(other); len(c) != 1 || c[0] != "d" || len(s.lost) != 0 {
		t.Fatalf("crossed %q, lost %d", c, len(s.lost))
	}
	gone := part("d", "c")
	gone.Stat = folder(20)
	if c := s.see(gone); len(c) != 1 || len(s.lost) != 0 {
		t.Fatalf("crossed %q, lost %d", c, len(s.lost))
	}
	s.look(part("", "d e", "d", folder(20), "e", folder(12)))
	s.want("d=3 e/c=2 e=1")
}

func TestWhatIsFoundInALaterRoundIsNotLost(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "a", file(10), "d", folder(12)), whole("d"))
	s.see(part("", "a")) // gone from here
	if len(s.lost) != 1 {
		t.Fatal("not missed")
	}
	s.see(part("d", "a", "a", file(10))) // there it is
	s.end()
	s.want("d/a=1 d=2")
}

// A rename whose second half is seen when the first was taken in already: while
// the journal has the thing, it is the same under its new name.
func TestWhatTurnsUpLateIsTheSameThing(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "a", file(10), "d", folder(12), "new", file(14)), whole("d", "c", file(13)))
	for id, it := range s.x.items {
		if it.name != "new" {
			s.x.agree(id, plan.Base{Type: it.stat.Type})
		}
	}
	s.want("a=1 d/c=4 d=2 new=3")
	s.look(part("", "a d new"))
	s.want("")
	s.look(part("", "b e old", "b", file(10), "e", folder(12), "old", file(14)), whole("e", "c", file(13)))
	s.want("b=1 e/c=4 e=2 old=5")
	// What the journal has no more is another thing, and so is what has its number
	// alone.
	s.look(part("", "b e"))
	d, c := signet.NodeID{2}, signet.NodeID{4}
	s.x.forget(d)
	s.x.forget(c)
	other := file(10)
	other.Birth++
	s.look(part("", "b e", "b", other, "e", folder(12)), whole("e", "c", file(13)))
	s.want("b=6 e/c=8 e=7 old=5")
	if len(s.x.ghosts) != 0 {
		t.Errorf("%d things are kept for nothing", len(s.x.ghosts))
	}
}

func TestInterruptedLookLosesNothing(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "a", file(10), "b", file(11)))
	s.see(part("", "a b", "b", file(10))) // a has b's name now, and b is missed
	s.x.restore(s.lost)
	s.check()
	s.want("b=1") // the name is taken: what had it is looked for with the next scan
	s.look(whole("", "a", file(11), "b", file(10)))
	s.see(part("", "a"))
	s.x.restore(s.lost)
	s.check()
}

func TestUnlistedFoldersAreBlind(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "d", folder(12)))
	d, _ := s.x.find("d")
	if s.x.blind[d] == nil {
		t.Error("a folder that was never listed counts as listed")
	}
	s.look(whole("d", "c", file(13)))
	if s.x.blind[d] != nil {
		t.Error("a listed folder is blind")
	}
	denied := sight{Listing: Listing{Path: "d", Err: errors.New("permission denied")}}
	s.look(denied)
	if s.x.blind[d] == nil {
		t.Error("a folder that cannot be read counts as listed")
	}
	s.want("d/c=2 d=1")
	s.look(part("", "d e", "e", folder(12)))
	if s.x.blind[d] == nil {
		t.Error("renamed, it counts as listed")
	}
}

func TestNameThatWasTakenSetsItsHolderAdrift(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "a", file(10)))
	// The user moved a away; before that was seen, we put another file there.
	s.x.put(&item{id: s.id(), name: "a", stat: file(20)})
	if len(s.x.adrift) != 1 {
		t.Fatal("two things have one name")
	}
	maps.Copy(s.lost, s.x.adrift)
	clear(s.x.adrift)
	s.look(whole("", "a", file(20), "b", file(10)))
	s.want("a=2 b=1")
}

func TestRebindTakesAlongWhatIsBelow(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "d", folder(12)), whole("d", "c", file(13), "e", folder(14)), whole("d/e", "f", file(15)))
	d, _ := s.x.find("d")
	s.x.rebind(d, signet.NodeID{50})
	s.check()
	s.want("d/c=2 d/e/f=4 d/e=3 d=50")
	c, _ := s.x.find("d/c")
	s.x.rebind(c, signet.NodeID{51})
	s.check()
	s.look(part("", "d x", "x", folder(12)))
	s.want("x/c=51 x/e/f=4 x/e=3 x=50")
}

func TestStoredIndexComesBackAsItWas(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "a", file(10), "d", folder(12)), whole("d", "c", file(13)))
	for _, it := range s.x.items {
		it.sha[0], it.hashedAt = 7, 1
		if it.name == "a" {
			it.gave(123456789) // and the disk shows a rounder time
		}
		s.x.refresh(it)
	}
	y := newShelf(t)
	for id := range s.x.items {
		if err := y.x.load(id, s.x.row(id)); err != nil {
			t.Fatal(err)
		}
	}
	y.check()
	y.want(s.has())
	told, was := maps.Collect(locals(y.x.items).All()), maps.Collect(locals(s.x.items).All())
	if !maps.Equal(told, was) {
		t.Errorf("the planner is told %+v, was told %+v", told, was)
	}
	a := y.x.kids[signet.RootNode]["a"]
	if told[a.id].MTime != 123456789 {
		t.Errorf("a time that was given is %d", told[a.id].MTime)
	}
	if a.stat.MTime++; a.mtime() != a.stat.MTime {
		t.Error("a time that a program set later does not show")
	}
	if y.x.sum != s.x.sum {
		t.Errorf("sum %+v, was %+v", y.x.sum, s.x.sum)
	}
	for id := range s.x.items {
		row := s.x.row(id)
		for n := range row {
			if err := newIndex(0).load(id, row[:n]); err == nil {
				t.Fatalf("a row cut to %d of %d bytes was loaded", n, len(row))
			}
		}
	}
}

// What was hashed too soon after a change is to be hashed again, whatever the
// engine itself does to the file before.
func TestWhatWeDoToAFileDoesNotSettleIt(t *testing.T) {
	const second = int64(1e9)
	for name, c := range map[string]struct {
		hashed int64 // after the change
		racy   bool
	}{"soon": {second, true}, "late": {90 * second, false}} {
		s := newShelf(t)
		st := file(10)
		st.CTime, st.MTime = 100*second, 100*second
		s.look(whole("", "a", st))
		id, _ := s.x.find("a")
		it := s.x.items[id]
		it.sha[0], it.hashedAt = 7, st.CTime+c.hashed
		s.x.refresh(it)
		st.CTime += 200 * second // of our moving it
		(&volume{index: s.x}).keep(it, st)
		if it.sha == [32]byte{} || it.racy() != c.racy || (s.x.racy[id] != nil) != c.racy {
			t.Errorf("hashed %s: hash %x, racy %v", name, it.sha[:1], it.racy())
		}
		st.MTime += 500 * second // of nobody but a program that sets times
		it.stat.MTime = st.MTime
		if it.racy() != c.racy {
			t.Errorf("hashed %s: a time that is set makes it racy %v", name, it.racy())
		}
	}
}

func TestWhatWasTakenWhereItIsIgnoredStaysKnown(t *testing.T) {
	s := newShelf(t)
	s.look(whole("", "d", folder(1)), whole("d", "f", file(2)))
	d, f := s.x.kids[signet.RootNode]["d"], s.x.kids[s.x.kids[signet.RootNode]["d"].id]["f"]
	for _, it := range []*item{d, f} {
		s.x.agree(it.id, plan.Base{Parent: it.parent, Name: it.name, Type: it.stat.Type})
	}
	gone := whole("", "build", folder(1))
	gone.Entries[0].ignored = true
	s.look(gone)
	s.x.lose(s.lost)
	if !s.x.away[d.id] || !s.x.away[f.id] || len(s.x.items) != 0 {
		t.Fatalf("away %v, items %v", s.x.away, s.x.items)
	}
	if _, ok := s.x.kept[signet.RootNode]["build"]; !ok {
		t.Error("the name is not kept")
	}
	// What it had sent comes to be agreed, a process ends: it is known still.
	s.x.agree(f.id, plan.Base{Parent: d.id, Name: "f", Type: tree.File, Size: 3})
	y := newIndex(0)
	for _, it := range []*item{d, f} {
		if err := y.load(it.id, s.x.row(it.id)); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(y.away, s.x.away) || len(y.away) != 2 {
		t.Errorf("away %v after a restart", y.away)
	}
	y.forget(f.id)
	if y.away[f.id] {
		t.Error("away without a base")
	}
}

func TestSecondNameThatIsIgnoredIsNoMove(t *testing.T) {
	s := newShelf(t)
	two := file(1)
	two.Links = 2
	look := whole("", "f", two, "f.o", two)
	look.Entries[1].ignored = true
	s.look(look)
	f := s.x.kids[signet.RootNode]["f"]
	s.x.agree(f.id, plan.Base{Name: "f", Type: tree.File})
	s.look(look)
	one := whole("", "f.o", file(1))
	one.Entries[0].ignored = true
	s.look(one)
	s.x.lose(s.lost)
	if len(s.x.away) != 0 || len(s.x.items) != 0 {
		t.Errorf("away %v, items %v", s.x.away, s.x.items)
	}
}
