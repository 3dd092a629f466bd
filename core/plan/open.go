package plan

import (
	"maps"
	"slices"

	"signet"
	"signet/core/tree"
)

// What a plan costs rests on this: a node on which disk, base and journal agree
// in everything can be in nobody's way. Its name is its own, so no other node
// wants its place; it and its folder stay. So a plan is made of the nodes on
// which they do not agree, the open ones, and looks up others only by their
// ids. And whether a node is open is decided by its own three entries and by
// the names of its siblings in the journal, nothing else: so to find the open
// ones it is enough to look at those that were open, and at those of which one
// of these changed.

// A State is what one plan remembers for the next.
type State struct {
	remote  *tree.Tree
	version uint64    // of remote
	open    []id      // what they did not agree on, by id
	aliased map[id]id // agreed nodes with an alias on this disk, and their folders
}

// A folder is what is known of the names in a remote folder.
type folder struct {
	asked   int
	all     bool // aliases is known
	aliases map[id]string
}

// manyNames is how many names are found by walking the siblings each time,
// before it is cheaper to compare all with all.
const manyNames = 4

// aliases are the names on disk of those children of a remote folder that do
// not have their own.
func (p *planner) aliases(n id) map[id]string {
	f := p.folder(n)
	if !f.all {
		f.aliases, f.all = p.in.Remote.Aliases(n, p.in.Caps), true
	}
	return f.aliases
}

func (p *planner) folder(n id) *folder {
	f := p.folders[n]
	if f == nil {
		f = &folder{}
		p.folders[n] = f
	}
	return f
}

// nameOf is the name that a live remote node has on this disk.
func (p *planner) nameOf(r tree.Ref) string {
	f := p.folder(r.Parent())
	if f.asked++; !f.all && f.asked <= manyNames && r.Plain(p.in.Caps) {
		return r.Name()
	}
	if s, ok := p.aliases(r.Parent())[r.ID()]; ok {
		return s
	}
	return r.Name()
}

// agrees reports whether all that compare would write to b is there, and no
// step of the plan would do anything to n, if the name that l has is the one
// that r has on this disk.
func (p *planner) agrees(l *Local, b *Base, r tree.Ref) bool {
	if l.Unsettled || l.Type == tree.Other || l.Type == tree.File && l.Hash == [32]byte{} || l.Type != b.Type ||
		l.Parent != r.Parent() || l.Name != b.Name || l.Parent != p.in.Remote.Adopter(b.Parent) ||
		l.Size != b.Size || l.Hash != b.Hash || l.Target != b.Target || l.Mode != b.Mode || l.MTime != b.MTime ||
		!sameAsRemote(l, r) {
		return false
	}
	content, place, attr := r.Revisions()
	if b.Content != content || b.Place != place || b.Attr != attr {
		return false
	}
	lm, lt := attrOf(l.Type, l.Mode, l.MTime)
	rm, rt := attrOf(r.Type(), r.Mode(), r.MTime())
	return lm == rm && lt == rt
}

// lookAtAll finds the open nodes among all.
func (p *planner) lookAtAll() {
	var files, based, live int
	var renamed []tree.Ref // agree, if the name on disk is an alias
	mixed := map[id]bool{} // folders with live children that may have aliases, or cause them
	if n := max(p.in.Local.Len(), p.in.Remote.Len()) - min(p.in.Base.Len(), p.in.Remote.Len()); n > 0 {
		p.set = make(map[id]*item, n)
	}
	exact := p.in.Caps.Key == nil && p.in.Caps.Unfit == nil
	for n, l := range p.in.Local.All() {
		r := p.in.Remote.Ref(n)
		b, known := p.in.Base.Get(n)
		if known {
			based++
			if b.Type != tree.Dir {
				files++
			}
		}
		if !r.Live() {
			p.open(n)
			continue
		}
		live++
		agreed := known && p.agrees(&l, &b, r) && !p.odd(r)
		// A folder in which every child has its own name on disk has no
		// aliases, for no two on disk have the same. That no two are equal for
		// the disk otherwise, it is to say itself.
		if agreed && l.Name == r.Name() {
			if !exact {
				mixed[r.Parent()] = true
			}
			continue
		}
		mixed[r.Parent()] = true
		if agreed {
			renamed = append(renamed, r)
		} else {
			p.open(n)
		}
	}
	if live < p.in.Remote.Len() {
		for r := range p.in.Remote.Refs() {
			if _, here := p.in.Local.Get(r.ID()); !here {
				_, up := p.in.Local.Get(r.Parent())
				switch {
				case !p.passedOver(r):
					p.open(r.ID())
				case !up && r.Parent() != signet.RootNode:
					continue // has its name where there is nobody else
				}
				mixed[r.Parent()] = true
			}
		}
	}
	if based < p.in.Base.Len() {
		for n, b := range p.in.Base.All() {
			if _, here := p.in.Local.Get(n); !here {
				p.open(n)
				if b.Type != tree.Dir {
					files++
				}
			}
		}
	}
	for f := range mixed {
		for n := range p.aliases(f) {
			p.look(n)
		}
	}
	for _, r := range renamed {
		p.look(r.ID())
	}
	p.files = files
}

// lookAgain finds the open nodes with the help of the last plan, if it can.
func (p *planner) lookAgain() bool {
	last := p.in.Last
	if last == nil || last.remote != p.in.Remote {
		return false
	}
	changes, ok := p.in.Remote.Changes(last.version)
	if !ok {
		return false
	}
	p.aliased = maps.Clone(last.aliased)
	about := max(len(last.open), len(p.in.Touched)) // mostly the same ones
	p.seen, p.set = make(map[id]bool, about), make(map[id]*item, about)
	for _, n := range last.open {
		p.look(n)
	}
	for n := range p.in.Touched {
		p.look(n)
		// In a folder that is Part, what is here is selected, with all below it.
		if r := p.in.Remote.Ref(n); r.Live() && r.ID() != signet.RootNode && p.in.Marks.unasked(r) {
			p.lookBelow(r)
		}
	}
	names := map[id]map[string]bool{} // that were taken or became free, by folder
	for _, c := range changes {
		p.look(c.Node)
		if !c.Placed {
			continue
		}
		if names[c.Folder] == nil {
			names[c.Folder] = map[string]bool{}
		}
		names[c.Folder][p.key(c.Name)] = true
		if p.leaves() {
			p.lookBelow(p.in.Remote.Ref(c.Node))
		}
	}
	p.lookAtSiblings(names)
	return true
}

// lookAtSiblings looks at those who may have another name on disk since names
// were taken or became free: who has an equal one, and who had an alias.
func (p *planner) lookAtSiblings(names map[id]map[string]bool) {
	if len(names) == 0 {
		return
	}
	for n, f := range p.in.Last.aliased {
		if names[f] != nil {
			p.look(n)
		}
	}
	for f, changed := range names {
		r := p.in.Remote.Ref(f)
		if !r.Live() {
			continue
		}
		few := slices.Collect(maps.Keys(changed))
		for k := range r.Kids() {
			key := p.key(k.Name())
			if len(few) <= manyNames && slices.Contains(few, key) || len(few) > manyNames && changed[key] {
				p.look(k.ID())
			}
		}
	}
}

// lookBelow looks at all that is in a folder which came to another place: some
// of it may be ignored there, or not be any more.
func (p *planner) lookBelow(r tree.Ref) {
	if !r.Live() {
		return
	}
	for k := range r.Kids() {
		p.look(k.ID())
		p.lookBelow(k)
	}
}

// look makes a node open if it is.
func (p *planner) look(n id) {
	if p.set[n] != nil || p.seen[n] {
		return
	}
	if p.seen == nil {
		p.seen = map[id]bool{}
	}
	p.seen[n] = true
	r := p.in.Remote.Ref(n)
	l, here := p.in.Local.Get(n)
	b, known := p.in.Base.Get(n)
	delete(p.aliased, n)
	if !r.Live() || !here || !known || !p.agrees(&l, &b, r) || p.odd(r) || l.Name != p.nameOf(r) {
		if here || known || r.Live() && !p.passedOver(r) {
			p.open(n)
		}
		return
	}
	if l.Name != r.Name() {
		if p.aliased == nil {
			p.aliased = map[id]id{}
		}
		p.aliased[n] = r.Parent()
	}
}

// open adds an open node.
func (p *planner) open(n id) {
	if n == signet.RootNode {
		return
	}
	if it := p.get(n); !it.open {
		it.open = true
		p.all = append(p.all, it)
	}
}

// remember makes what the next plan starts from.
func (p *planner) remember() {
	s := &State{remote: p.in.Remote, version: p.in.Remote.Version(), aliased: p.aliased}
	s.open = make([]id, len(p.all))
	for i, it := range p.all {
		s.open[i] = it.id
	}
	slices.SortFunc(s.open, id.Compare)
	p.out.Next = s
	p.listAliases()
}

// listAliases says which names a person would not look for here. A name that
// the disk only spells otherwise is none.
func (p *planner) listAliases() {
	note := func(r tree.Ref, name string) {
		if !p.in.Caps.Equal(name, r.Name()) {
			p.out.Aliases = append(p.out.Aliases, Alias{r.ID(), name})
		}
	}
	for n := range p.aliased {
		if it := p.set[n]; it == nil || !it.open {
			l, _ := p.in.Local.Get(n)
			note(p.in.Remote.Ref(n), l.Name)
		}
	}
	for _, it := range p.order {
		if !p.ignored(it) {
			note(it.ref, p.want(it).name)
		}
	}
	slices.SortFunc(p.out.Aliases, func(a, b Alias) int { return a.Node.Compare(b.Node) })
}
