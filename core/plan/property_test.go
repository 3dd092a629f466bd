package plan

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signet/core/tree"
)

// act lets a user do something.
func (d *device) draw(rt *rapid.T) {
	nodes := sortedKeys(d.disk)
	dirs := []id{{}}
	for _, n := range nodes {
		if d.disk[n].Type == tree.Dir {
			dirs = append(dirs, n)
		}
	}
	names := []string{"a", "b", "c"}
	if d.w.cased {
		names = []string{"a", "A", "b", "B"}
	}
	name := rapid.SampledFrom(names).Draw(rt, "name")
	parent := rapid.SampledFrom(dirs).Draw(rt, "parent")
	there := d.path(parent)
	if there != "" {
		there += "/"
	}
	there += name
	holder, taken := d.find(there)
	text := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(rt, "text")
	verb := rapid.IntRange(0, 7).Draw(rt, "verb")
	if len(nodes) == 0 {
		verb %= 2
	}
	var at string
	var l Local
	var n id
	if len(nodes) > 0 {
		n = rapid.SampledFrom(nodes).Draw(rt, "node")
		at, l = d.path(n), d.disk[n]
	}
	switch {
	case verb == 0 && !taken:
		d.write(there, text)
	case verb == 1 && !taken:
		d.mkdir(there)
	case verb == 2 && l.Type == tree.File:
		d.write(at, text+at)
	case verb == 3 && l.Type == tree.File:
		d.save(at, text)
	case verb == 4 && (!taken || holder == n) && !within(there, at) || verb == 5 && !within(there, at) && d.overwritable(there, l):
		d.mv(at, there)
	case verb == 5 && len(nodes) > 1: // swap
		other := d.path(rapid.SampledFrom(nodes).Draw(rt, "other"))
		// Names that Signet gives for a moment users do not give to others.
		if !within(at, other) && !within(other, at) && !inTemp(n, &l) && !strings.HasPrefix(other, temporary) {
			d.mv(at, "tmp")
			d.mv(other, at)
			d.mv("tmp", other)
		}
	case verb == 6:
		d.rm(at)
	case verb == 7:
		d.chmod(at, 0o700)
	}
}

func (d *device) overwritable(path string, l Local) bool {
	n, ok := d.find(path)
	return ok && l.Type == tree.File && d.disk[n].Type == tree.File
}

func within(path, top string) bool {
	return path == top || len(path) > len(top) && path[:len(top)+1] == top+"/"
}

func (d *device) path(n id) string {
	if n == (id{}) {
		return ""
	}
	l := d.disk[n]
	if p := d.path(l.Parent); p != "" {
		return p + "/" + l.Name
	}
	return l.Name
}

// TestDevicesConverge lets users of three devices do anything at any time,
// with every interleaving of plans, commits and pulls, unsettled files and
// folders that could not be listed. In the end the disks are equal, and every
// content that a plan ever saw is in the journal.
func TestDevicesConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben", "cas")
		for _, d := range w.devices {
			d.acknowledges = rapid.Bool().Draw(rt, "acknowledges")
		}
		seen := map[[32]byte]bool{}
		w.live(rt, seen)
		w.settle()
		for sum := range seen {
			if !w.inJournal(sum) {
				rt.Fatalf("bytes %q are lost", w.bytes[sum])
			}
		}
	})
}

// live is what happens to a world before it settles; seen is the contents that
// plans saw.
func (w *world) live(rt *rapid.T, seen map[[32]byte]bool) {
	for range rapid.IntRange(1, 40).Draw(rt, "steps") {
		d := rapid.SampledFrom(w.devices).Draw(rt, "device")
		switch rapid.IntRange(0, 9).Draw(rt, "step") {
		case 0, 1, 2, 3, 4, 5:
			d.draw(rt)
		case 6:
			d.pull()
		default:
			d.blur(rt)
			if rapid.Bool().Draw(rt, "pull") {
				d.pull()
			}
			p := d.plan()
			for _, l := range d.before.Local.All() {
				if !l.Unsettled && l.Type == tree.File {
					seen[l.Hash] = true
				}
			}
			d.note(p)
			down := p.Down
			if rapid.Bool().Draw(rt, "interrupted") {
				down = down[:rapid.IntRange(0, len(down)).Draw(rt, "actions")]
			}
			first := rapid.Bool().Draw(rt, "down first")
			if first {
				d.apply(down)
			}
			d.commit(p.Up, rapid.Bool().Draw(rt, "split"))
			if !first {
				d.apply(down)
			}
			// The engine waits for its own entry before it plans again.
			d.pull()
			d.incomplete, d.unsettled = nil, nil
		}
	}
}

// TestPlansWithAndWithoutMemory lets disks that cannot hold all names live:
// every plan is compared with what it is without the last one's memory.
func TestPlansWithAndWithoutMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben")
		for _, d := range w.devices {
			d.drawCaps(rt)
		}
		w.live(rt, map[[32]byte]bool{})
		for range 3 {
			for _, d := range w.devices {
				d.sync()
			}
		}
	})
}

// drawCaps gives a device a disk that may fold names, respell some or refuse
// others.
func (d *device) drawCaps(rt *rapid.T) {
	d.w.cased = true
	if rapid.Bool().Draw(rt, "folds") {
		d.caps.Key = strings.ToLower
	}
	switch rapid.IntRange(0, 2).Draw(rt, "unfit") {
	case 1: // as one that decomposes names: the mended name is the same one
		d.caps.Unfit = func(s string) bool { return strings.HasPrefix(s, "a") }
		d.caps.Mend = func(s string) string { return "A" + s[1:] }
	case 2:
		d.caps.Unfit = func(s string) bool { return s == "a" }
		d.caps.Mend = func(string) string { return "b" }
	}
}

// TestDevicesConvergeWhateverNamesTheirDisksHold is TestDevicesConverge with
// disks each of which has names of its own. A second look finds nothing to do.
func TestDevicesConvergeWhateverNamesTheirDisksHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben", "cas")
		for _, d := range w.devices {
			d.acknowledges = rapid.Bool().Draw(rt, "acknowledges")
			d.drawCaps(rt)
		}
		seen := map[[32]byte]bool{}
		w.live(rt, seen)
		w.settle()
		for sum := range seen {
			if !w.inJournal(sum) {
				rt.Fatalf("bytes %q are lost", w.bytes[sum])
			}
		}
		for _, d := range w.devices {
			want := map[id]string{}
			for _, n := range d.tree.Walk() {
				if name := d.disk[n.ID].Name; !d.caps.Equal(name, n.Name) {
					want[n.ID] = name
				}
			}
			got := map[id]string{}
			for _, a := range d.plan().Aliases {
				got[a.Node] = a.Name
			}
			if !maps.Equal(got, want) {
				rt.Fatalf("%s says that it has aliases %v, and has %v", d.name, got, want)
			}
		}
	})
}

// blur makes some files unsettled and some folders unlisted.
func (d *device) blur(rt *rapid.T) {
	d.incomplete, d.unsettled = map[id]bool{}, map[id]bool{}
	for _, n := range append(sortedKeys(d.disk), id{}) {
		switch rapid.IntRange(0, 15).Draw(rt, "blur") {
		case 0:
			d.unsettled[n] = d.disk[n].Type == tree.File
		case 1:
			d.incomplete[n] = true
		}
	}
}

// TestPlanIsAFunction plans the same input twice.
func TestPlanIsAFunction(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOn(rt, "ann", "ben")
		for _, d := range w.devices {
			for range 10 {
				d.draw(rt)
			}
			d.sync()
			for range 6 {
				d.draw(rt)
			}
		}
		d := w.devices[0]
		d.pull()
		before := maps.Clone(d.base)
		a, b := d.plan(), d.plan()
		if a.outcome() != b.outcome() {
			rt.Fatalf("two plans of one input:\n%v\n%v", a, b)
		}
		if !maps.Equal(before, d.base) {
			rt.Fatalf("planning changed base")
		}
	})
}
