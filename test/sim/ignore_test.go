package sim

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/ignore"
)

// rule has the user of a device say what is ignored from now on, now and then that
// nothing is.
func (d *device) rule() {
	u := &user{device: d, rnd: d.whim}
	d.ruled++
	text := fmt.Sprintf("# %s%d\n", d.name, d.ruled)
	name := func() string { return u.word(u.rnd) }
	for range u.rnd.IntN(4) {
		switch u.rnd.IntN(8) {
		case 0, 1, 2:
			text += name() + "\n"
		case 3:
			text += name() + "/\n"
		case 4:
			text += "/" + name() + "\n"
		case 5:
			text += name() + "/" + name() + "\n"
		case 6:
			text += "*.txt\n!x.txt\n"
		case 7:
			text += name() + "/*\n!" + name() + "\n"
		}
	}
	// All devices look at them, so it is a step of its own.
	d.do(d.name+".user", "rules", nil, func() { d.rules = append(d.rules, ignore.Parse([]byte(text))) })
	u.create(ignore.File, text)
}

// ruleFile is what has the name of the rules, in its very spelling; nil: nothing.
func (d *disk) ruleFile() *node {
	if d.spelt(ignore.File) != ignore.File {
		return nil
	}
	_, n := d.find(ignore.File)
	return n
}

// rulesHere are those that the disk has now; nil: none that a device reads.
func (d *disk) rulesHere() *ignore.Rules {
	if n := d.ruleFile(); n != nil && n.rules() {
		return ignore.Parse(n.data)
	}
	return nil
}

// rules reports whether a device reads what has the name of the rules.
func (n *node) rules() bool { return n.stat.Type == tree.File && len(n.data) <= ignore.MaxSize }

// goesBy is the text of the rules under which the device looks next, if something has
// their name. Where that is none that a device reads, those that it read last go on
// (doc/design/0020-ignore.md). Its index notes them: of what the disk had since, a look
// may have read any, or none.
func (d *device) goesBy() (text string, ok bool) {
	switch n := d.disk.ruleFile(); {
	case n == nil:
		return "", false
	case n.rules():
		return n.content(), true
	}
	if p := d.programs[d]; p != nil {
		return p.noted(), true
	}
	store, err := engine.OpenStore(filepath.Join(d.home, "index.db"))
	if err != nil {
		d.t.Error(err)
		return "", false
	}
	p := &program{device: d, store: store}
	defer p.end()
	return p.noted(), true
}

// noted are the rules that the device read last.
func (p *program) noted() string {
	b, err := p.store.Note("ignore:v")
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

// leaves reports whether rules leave out a path or a folder above it.
func leaves(r *ignore.Rules, p string, folder bool) bool {
	u, ok := r.Check(p, folder)
	return ok && !u.Keep
}

// observed is what of the disk's contents, by path, no rules may have left out that any
// device had so far: which of them hold while a pass runs is not known.
func (d *device) observed() map[string]string {
	if r := d.disk.rulesHere(); r != nil && len(d.rules) > 0 {
		d.rules = append(d.rules, r)
	}
	m := map[string]string{}
	d.disk.walk("", func(p string, _ uint64, n *node) {
		if n.stat.Type != tree.File || len(n.data) == 0 {
			return
		}
		for _, r := range d.rules {
			if leaves(r, p, false) {
				return
			}
		}
		m[p] = n.content()
	})
	return m
}

// An ignored file is one that rules leave out.
type ignored struct {
	d       *device
	path    string
	content string
	rules   string
	turned  int // disk.turned
	moves   int // how many disk.moves there were
}

// ignoredNow lists what is left out on all devices.
func (r *run) ignoredNow() (list []ignored) {
	for _, d := range r.left() {
		text, ok := d.goesBy()
		if !ok {
			continue
		}
		rules := ignore.Parse([]byte(text))
		d.disk.walk("", func(p string, _ uint64, x *node) {
			if x.stat.Type == tree.File && len(x.data) > 0 && leaves(rules, p, false) {
				list = append(list, ignored{d: d, path: p, content: x.content(), rules: text, turned: d.disk.turned, moves: len(d.disk.moves)})
			}
		})
	}
	return list
}

// stayed fails where something that was ignored is not on its disk any more. What
// other rules do not leave out any more is a file like all others: it goes where
// somebody removed it, or nobody here selected it. So is what went with its folder to
// where they do not leave it out. Those that came back are the same if nothing else had
// their name meanwhile.
func (r *run) stayed(list []ignored) {
	for _, l := range r.notStayed(list) {
		r.t.Error(l)
	}
}

// notStayed says what of what was ignored is gone.
func (r *run) notStayed(list []ignored) (gone []string) {
	for _, i := range list {
		text, ok := i.d.goesBy()
		same := ok && text == i.rules && i.d.disk.turned == i.turned
		if (!same || i.carried()) && (i.d.chooses || r.removed[i.content]) || i.d.disk.anywhere(i.content) {
			continue
		}
		gone = append(gone, fmt.Sprintf("%s: %s was ignored, and is gone: %.40q (the same rules: %v)", i.d.name, i.path, i.content, same))
	}
	return gone
}

// carried reports whether it went, with a folder that the rules keep, to where they do
// not leave it out, if only for a while. Where it is after that is not known. It has to
// stay where folders go that are left out themselves: nobody but their user moves those.
func (i *ignored) carried() bool {
	rules, p := ignore.Parse([]byte(i.rules)), i.path
	for _, m := range i.d.disk.moves[i.moves:] {
		rest, in := strings.CutPrefix(p, m.from+"/")
		if !in || leaves(rules, m.from, true) {
			continue
		}
		if p = join(m.to, rest); !leaves(rules, p, false) {
			return true
		}
	}
	return false
}

// regionKeeps fails where a rule took something from the region: what was in step, and
// nobody removed, is there as long as the rules leave it out.
func (r *run) regionKeeps() {
	if len(r.rules) == 0 || r.hidden || r.twoPasts() || r.t.Failed() {
		return
	}
	for _, l := range r.notKept() {
		r.t.Error(l)
	}
}

// notKept says what rules took from the region.
func (r *run) notKept() (list []string) {
	there, names := map[[32]byte]bool{}, map[string]bool{}
	e := r.programs[r.left()[0]].engine
	var edited map[[32]byte]bool
	e.WithRegion(r.org.region, func(now *region.Region) error {
		for p, n := range now.Tree.Walk() {
			there[n.Hash] = true
			names[p] = n.Type != tree.Dir
			for _, d := range r.left() {
				if d.disk.letters.fold { // by what it is called there
					names[pathOn(now.Tree, n.ID, d.disk.caps)] = n.Type != tree.Dir
				}
			}
		}
		return nil
	})
	for _, d := range r.left() {
		for _, c := range sortedKeys(d.safe) {
			if _, owed := r.owed[c]; !owed || r.removed[c] || there[hashOf(c)] {
				continue
			}
			if from, hid := r.hid[c]; hid && (from == replaced || names[from]) || r.hidLater(c, names) {
				if edited == nil {
					edited = r.edited(e)
				}
				if edited[hashOf(c)] {
					continue // its file has what took its name
				}
			}
			list = append(list, fmt.Sprintf("nobody removed what %s had in step, and the region has it no more: %.40q", d.name, c))
		}
	}
	return list
}

// edited are the contents in whose place a file of the region got another. An edit that
// lost is of the conflict copy that it made.
func (r *run) edited(e *engine.Device) map[[32]byte]bool {
	m, has := map[[32]byte]bool{}, map[signet.NodeID][32]byte{}
	if err := e.Events(r.org.region, func(did tree.Event, op *tree.Op) error {
		if op == nil || op.Type != tree.File || did.Type != tree.File || op.Kind != tree.Create && op.Kind != tree.Edit {
			return nil
		}
		if was, ok := has[did.Node]; ok && was != op.Hash {
			m[was] = true
		}
		has[did.Node] = op.Hash
		return nil
	}); err != nil {
		r.t.Error(err)
	}
	return m
}

// hidLater reports whether a content lies where it is ignored by rules that may be younger
// than its move there, while another took its name, which is one of the region's files.
// Where they came before the device had sent the move, it is as if they had been there. It
// may have been moved more than once: which of its names the region has is not known, as
// a pass that met problems is not taken for one that has all in step.
func (r *run) hidLater(c string, names map[string]bool) bool {
	for _, d := range r.devices {
		taken := func(from string) bool { return from == replaced || names[from] }
		if slices.ContainsFunc(d.moved[c], taken) && d.leavesOut(c) {
			return true
		}
	}
	return false
}

// leavesOut reports whether a content is in a file that the device's own rules leave out.
func (d *device) leavesOut(c string) (out bool) {
	if text, ok := d.goesBy(); ok {
		r := ignore.Parse([]byte(text))
		d.disk.walk("", func(p string, _ uint64, n *node) {
			out = out || n.stat.Type == tree.File && n.content() == c && leaves(r, p, false)
		})
	}
	return out
}

// unrule takes all rules away: what was left out meets what is in the region.
func (r *run) unrule() {
	for round := 0; len(r.rules) > 0 && !r.t.Failed(); round++ {
		var at *device
		for _, d := range r.left() {
			if d.disk.ruleFile() != nil {
				at = d
			}
		}
		if at == nil {
			return
		}
		if round == 6 {
			r.t.Errorf("%s: %s comes back however often it is removed", at.name, ignore.File)
			return
		}
		u := &user{device: at, rnd: at.whim}
		r.act(func() { u.remove(ignore.File) })
		if err := r.run(400_000); err != nil {
			r.t.Error(err)
		}
		r.settle()
	}
}
