package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

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

// cased are names of runs in which a disk may fold: few, so that many are one.
var cased = []string{"a", "A", "b", "docs", "Docs", "x.txt", "X.txt", "\u00e4", "a\u0308", "\u00c4"}

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
			r.note(fmt.Sprintf("%s: the disk is %+v", d.name, kind))
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
