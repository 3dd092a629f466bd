package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	folder "signet/device/disk"
	"signet/device/engine"
)

// letters say which names are one for a disk, and how it spells them.
type letters struct {
	fold       bool // a and A are; who looks for one finds the other
	normal     bool // and so are the composed and the decomposed form of a letter
	decomposes bool // and all names are shown decomposed
	stiff      bool // a name that is there keeps its spelling, whatever is renamed to it
}

// kindsOfLetters are disks of Windows, of Linux (ext4 with casefold, and VFAT), and of Macs.
var kindsOfLetters = []letters{{fold: true}, {fold: true, stiff: true}, {fold: true, normal: true}, {fold: true, normal: true, stiff: true}, {fold: true, normal: true, decomposes: true}}

// cased are names of runs in which a disk may fold: few, so that many are one. The last two
// are one for what is found out about such a disk, and two for the disk itself.
var cased = []string{"a", "A", "b", "docs", "Docs", "x.txt", "X.txt", "\u00e4", "a\u0308", "\u00c4", "s", "\u017f"}

// key is the same for names that are one.
func (l letters) key(name string) string {
	if l.normal {
		name = norm.NFD.String(name)
	}
	if l.fold {
		name = strings.ToLower(name)
	}
	return name
}

// given is how a name that is new is spelt.
func (l letters) given(name string) string {
	if l.decomposes {
		return norm.NFD.String(name)
	}
	return name
}

// kid is what a folder has under a name, and how that is spelt there.
func (d *disk) kid(in *node, name string) (spelt string, id uint64) {
	if id := in.kids[name]; id != 0 || !d.letters.fold {
		return name, id
	}
	key := d.letters.key(name)
	for k, id := range in.kids {
		if d.letters.key(k) == key {
			return k, id
		}
	}
	return d.letters.given(name), 0
}

// kidsOf are the names in a folder, in the order in which the disk lists them.
func (d *disk) kidsOf(in *node) []string {
	names := sortedKeys(in.kids)
	if d.letters.fold {
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(d.letters.key(a), d.letters.key(b)) })
	}
	return names
}

// spelt is a path as the disk shows it; what of it is not there is as it would be.
func (d *disk) spelt(p string) string {
	if !d.letters.fold || p == "" {
		return p
	}
	at, out := d.nodes[rootNode], ""
	for name := range strings.SplitSeq(p, "/") {
		id := uint64(0)
		if at == nil {
			name = d.letters.given(name)
		} else {
			name, id = d.kid(at, name)
		}
		at, out = d.nodes[id], join(out, name)
	}
	return out
}

// heard is a path as who watches is told of it: folders have the names that they were
// listed with. Linux says what the name was called by whoever did something to it.
func (d *disk) heard(p string) string {
	if up, name := split(p); d.letters.stiff {
		return join(d.spelt(up), name)
	}
	return d.spelt(p)
}

// tried is a folder of a disk in which names are tried, as in the staging folder of a
// real one.
type tried struct{ *disk }

func (t tried) Folds() bool { return t.Has("STAGING") }

func (t tried) Create(name string) error {
	if err := t.free(name); err != nil {
		return err
	}
	return t.link(name, t.create(tree.Stat{Type: tree.File}, nil))
}

func (t tried) Has(name string) bool { return t.free(name) != nil }
func (t tried) Names() []string      { return t.kidsOf(t.nodes[rootNode]) }
func (t tried) Remove(name string)   { t.remove(name) }

// take gives a disk its way with names, before anything is on it.
func (d *disk) take(l letters) {
	d.letters = l
	t := tried{newDisk(d.w, d.name)}
	t.letters = l
	t.Create("staging")
	d.caps = folder.CapsOf(t)
}

// drawLetters has some of the disks of a run fold names, if any does.
func (r *run) drawLetters(seed uint64) {
	if r.shape.folds == 0 {
		return
	}
	rnd := rand.New(rand.NewPCG(seed, 400))
	if rnd.IntN(r.shape.folds) > 0 {
		return
	}
	first := rnd.IntN(2)
	r.words = cased
	for _, d := range r.devices {
		own := rand.New(rand.NewPCG(seed, uint64(401+d.n)))
		kind := kindsOfLetters[own.IntN(len(kindsOfLetters))]
		if (own.IntN(3) == 0 || d.n == first) && !off("fold") {
			d.disk.take(kind)
		}
	}
}

// cased reports whether a disk of the run may fold names.
func (r *run) cased() bool { return r.words != nil }

// respelt is a path with its last name in another spelling, mostly one that is the same
// name for some disk.
func (u *user) respelt(p string) string {
	up, name := split(p)
	switch x := u.rnd.IntN(3); {
	case x == 0 && norm.NFD.String(name) != name:
		name = norm.NFD.String(name)
	case x == 0:
		name = norm.NFC.String(name)
	case strings.ToUpper(name) != name:
		name = strings.ToUpper(name)
	default:
		name = strings.ToLower(name)
	}
	return join(up, name)
}

// pathOn is where a live node is on a disk.
func pathOn(t *tree.Tree, id signet.NodeID, caps tree.Caps) string {
	if id == signet.RootNode {
		return ""
	}
	n, _ := t.Node(id)
	return join(pathOn(t, n.Parent, caps), t.Names(n.Parent, caps)[id])
}

// judgedOn is the path by which rules leave out a live node on a disk that has some paths:
// what is not there has no other name than its own yet.
func judgedOn(t *tree.Tree, id signet.NodeID, caps tree.Caps, there map[string]bool) string {
	p := pathOn(t, id, caps)
	if n, _ := t.Node(id); id != signet.RootNode && !there[p] {
		return join(judgedOn(t, n.Parent, caps, there), n.Name)
	}
	return p
}

// shown is what a tree shows on a disk: what of it is listed, and with that a hash of all
// of a file.
func shown(t *tree.Tree, caps tree.Caps) string {
	var lines []string
	for _, n := range t.Walk() {
		lines = append(lines, described(pathOn(t, n.ID, caps), n.Type, n.Mode, n.MTime, n.Hash, n.Target))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func described(p string, t tree.Type, mode uint32, mtime int64, hash [32]byte, target string) string {
	switch t {
	case tree.File:
		return fmt.Sprintf("%s file %x %d %x\n", p, mode&0o111, mtime, hash[:8])
	case tree.Link:
		return fmt.Sprintf("%s -> %s\n", p, target)
	}
	return p + "/\n"
}

// shows is the same of what the disk has.
func (d *disk) shows() string {
	var lines []string
	d.walk("", func(p string, _ uint64, n *node) {
		lines = append(lines, described(p, n.stat.Type, n.stat.Mode, n.stat.MTime, hashOf(n.content()), n.stat.Target))
	})
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// alike fails where disks that tell all names apart do not show the same.
func (r *run) alike(law string) {
	var first *device
	for _, d := range r.left() {
		switch {
		case d.disk.letters.fold:
		case first == nil:
			first = d
		default:
			if a, b := first.disk.listing(), d.disk.listing(); a != b {
				r.t.Errorf("%s: trees differ:\n%s:\n%s\n%s:\n%s", law, first.name, a, d.name, b)
			}
		}
	}
}

// showTree fails where a disk does not show what the region's tree says that it has, under
// the names that this disk can have.
func (r *run) showTree(law string, e *engine.Device) {
	err := e.WithRegion(r.org.region, func(now *region.Region) error {
		for _, d := range r.left() {
			if want, is := shown(now.Tree, d.disk.caps), d.disk.shows(); want != is {
				r.t.Errorf("%s: %s (%+v) is to show\n%s\nand shows\n%s", law, d.name, d.disk.letters, want, is)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Error(err)
	}
}

// saysAliases fails where a device does not say of all names that its disk cannot have, and
// of no others, that they are other ones there.
func (p *program) saysAliases() {
	var want, said []string
	err := p.engine.WithRegion(p.org.region, func(now *region.Region) error {
		for path, n := range now.Tree.Walk() {
			if !p.disk.caps.Equal(now.Tree.Names(n.Parent, p.disk.caps)[n.ID], n.Name) {
				want = append(want, path)
			}
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
	_, other, _ := engine.Split(p.engine.VolumeStatus("v").Problems)
	for _, o := range other {
		said = append(said, o.Path)
	}
	slices.Sort(want)
	slices.Sort(said)
	if !slices.Equal(want, said) {
		p.t.Errorf("%s (%+v): other names have %q, and it says so of %q", p.name, p.disk.letters, want, said)
	}
}

// troubled reports whether a status names things that do not sync. What has another name
// on this disk does.
func (r *run) troubled(problems []engine.Problem) bool {
	lost, _, ignored := engine.Split(problems)
	if !r.cased() { // seeds of before mean what they meant
		return len(problems) > 0
	}
	return len(lost)+len(ignored) > 0
}

// folding is scene with a second device whose disk folds names, for each kind of those.
func folding(t *testing.T, f func(r *run, a, b *device)) {
	for _, l := range kindsOfLetters {
		t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
			scene(t, func(r *run, a, b *device) {
				b.disk.take(l)
				r.words = cased
				r.devices = r.devices[:2]
				f(r, a, b)
			})
		})
	}
}

// holds fails where a region has something else than some contents at some paths, in
// pairs, or a disk something else than it is to show of that.
func (r *run) holds(d *device, pairs ...string) {
	r.t.Helper()
	p := d.start()
	defer p.end()
	is := map[string]string{}
	err := p.engine.WithRegion(r.org.region, func(now *region.Region) error {
		for path, n := range now.Tree.Walk() {
			if n.Type == tree.File {
				is[path] = fmt.Sprintf("%x", n.Hash)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Error(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if is[pairs[i]] != fmt.Sprintf("%x", hashOf(pairs[i+1])) {
			r.t.Errorf("the region lacks %q at %q", pairs[i+1], pairs[i])
		}
	}
	if len(is) != len(pairs)/2 {
		r.t.Errorf("the region has %q", sortedKeys(is))
	}
	r.showTree("it", p.engine)
}

// inStep lets both devices sync until neither has anything to do.
func inStep(a, b *device) (sum engine.Counters) {
	for range 3 {
		for _, d := range []*device{a, b} {
			c := d.pass()
			sum.FilesUp, sum.FilesDown, sum.Moves, sum.Deletes = sum.FilesUp+c.FilesUp, sum.FilesDown+c.FilesDown, sum.Moves+c.Moves, sum.Deletes+c.Deletes
		}
		time.Sleep(2 * time.Minute)
	}
	return sum
}

// Two names that are one for a disk are two files there, the younger under an alias, and
// the status says so. What is done to the alias is done to its node.
func TestNamesThatAreOneForADiskAreTwoFilesThere(t *testing.T) {
	folding(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create("a", "the first")
		a.pass()
		u.create("A", "the second")
		u.create("docs/x", "lower")
		a.pass()
		u.create("Docs/x", "upper")
		inStep(a, b)
		p := b.start()
		p.pass()
		p.saysAliases()
		_, said, _ := engine.Split(p.engine.VolumeStatus("v").Problems)
		p.end()
		if len(said) != 2 || said[0].Path != "A" || said[1].Path != "Docs" {
			t.Errorf("it says %+v", said)
		}
		r.holds(b, "a", "the first", "A", "the second", "docs/x", "lower", "Docs/x", "upper")
		alias := ""
		b.disk.walk("", func(p string, _ uint64, n *node) {
			if n.content() == "the second" {
				alias = p
			}
		})
		if alias == "A" || alias == "" {
			t.Errorf("the alias is %q", alias)
			return
		}
		other.overwrite(alias, "the second, edited")
		other.create("A", "the first, edited") // whatever it is called by
		inStep(a, b)
		r.holds(a, "a", "the first, edited", "A", "the second, edited", "docs/x", "lower", "Docs/x", "upper")
		other.remove(alias)
		inStep(a, b)
		r.holds(a, "a", "the first, edited", "docs/x", "lower", "Docs/x", "upper")
		u.remove("docs") // its name goes to the other
		inStep(a, b)
		r.holds(b, "a", "the first, edited", "Docs/x", "upper")
		if _, n := b.disk.find("Docs"); n == nil || b.disk.spelt("docs") != "Docs" {
			t.Errorf("b has\n%s", b.disk.listing())
		}
	})
}

// A name that changes in case alone, or in its Unicode form, is a rename on all disks, with
// no content sent or fetched, whether a look at all of it finds that or a watch.
func TestARenameOfCaseAloneIsARename(t *testing.T) {
	for _, watched := range []bool{false, true} {
		folding(t, func(r *run, a, b *device) {
			u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
			u.create("a", "a file")
			u.create("docs/x", "in a folder")
			inStep(a, b)
			respell := func(u *user, from, to string) {
				u.rename(from, to)
				if u.disk.spelt(from) == from { // as where the disk does nothing for it
					u.rename(from, "aside")
					u.rename("aside", to)
				}
			}
			deed := func(d *device, f func()) engine.Counters {
				if !watched {
					f()
					return inStep(a, b)
				}
				d.blind = false
				r.daemon(d, func(e *engine.Device) {
					content := func() int64 {
						d.ask(r.t.Context(), e)
						c := e.VolumeStatus("v").Counters
						return c.FilesUp + c.FilesDown + c.Deletes
					}
					before := content()
					f()
					time.Sleep(time.Minute)
					if n := content() - before; n > 0 {
						t.Errorf("%s sent, fetched or deleted %d files", d.name, n)
					}
				})
				d.blind = true
				return inStep(a, b)
			}
			for _, by := range []*user{u, other} {
				c := deed(by.device, func() {
					respell(by, "a", "A")
					respell(by, "docs", "DOCS")
				})
				if c.FilesUp+c.FilesDown+c.Deletes > 0 || c.Moves == 0 {
					t.Errorf("%s renamed, and did %+v", by.name, c)
				}
				r.holds(a, "A", "a file", "DOCS/x", "in a folder")
				r.holds(b, "A", "a file", "DOCS/x", "in a folder")
				deed(by.device, func() {
					respell(by, "A", "a")
					respell(by, "DOCS", "docs")
				})
				r.holds(b, "a", "a file", "docs/x", "in a folder")
			}
		})
	}
}

// A name in either form is one node, wherever it is written to, and its bytes are those
// that it was made with.
func TestANameKeepsTheFormThatItWasMadeWith(t *testing.T) {
	const composed, decomposed = "\u00e4/\u00e9.txt", "a\u0308/e\u0301.txt"
	folding(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create(composed, "first")
		inStep(a, b)
		at := composed
		if b.disk.letters.normal {
			at = decomposed // is found by it
		}
		other.overwrite(at, "second")
		if c := inStep(a, b); c.Moves+c.Deletes > 0 || c.FilesUp != 1 || c.FilesDown != 1 {
			t.Errorf("did %+v", c)
		}
		r.holds(a, composed, "second")
		other.create(at, "third") // saved by renaming
		inStep(a, b)
		r.holds(a, composed, "third")
		u.create(decomposed, "the other form") // beside it
		inStep(a, b)
		r.holds(b, composed, "third", decomposed, "the other form")
	})
}

// The rules end where their file is called otherwise on a disk that folds: also where a
// folder has that name, or the file has the times that it had.
func TestRulesThatAreSpeltOtherwiseAreNone(t *testing.T) {
	for _, by := range []string{"folder", "coarse times"} {
		folding(t, func(r *run, a, b *device) {
			const file, other = ".signetignore", ".SIGNETIGNORE"
			u := &user{device: b, rnd: b.rnd}
			b.disk.grain = time.Hour
			u.create(file, "x")
			u.create("x", "is left out")
			inStep(a, b)
			if l := a.disk.listing(); strings.Contains(l, "is left out") {
				t.Errorf("a has\n%s", l)
			}
			if by == "folder" {
				u.remove(file)
				u.create(other+"/more", "in a folder")
			} else {
				u.rename(file, "aside")
				u.rename("aside", other)
			}
			inStep(a, b)
			if l := a.disk.listing(); !strings.Contains(l, "is left out") {
				t.Errorf("%s: a has\n%s", by, l)
			}
		})
	}
}
