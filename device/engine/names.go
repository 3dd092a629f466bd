package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// listOne lists a folder, and nothing below it.
func (v *volume) listOne(ctx context.Context, folder string) (l Listing, err error) {
	enough := errors.New("one folder is enough")
	err = v.disk.Scan(ctx, folder, nil, func(first Listing) error {
		l = first
		return enough
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return l, err
}

// glance looks at some names of a folder. The disk would say yes to each
// spelling of a name, and show what is there under two at once: so the folder
// is listed, for the one that it has.
func (v *volume) glance(ctx context.Context, folder string, names []string) (s sight, err error) {
	l, err := v.listOne(ctx, folder)
	s = sight{Listing: l, only: names}
	s.Path, s.Entries = folder, nil
	if folder == "" {
		s.Stat = tree.Stat{}
	}
	keys := map[string]bool{}
	asked := map[string]bool{}
	for _, n := range names {
		keys[v.caps.Key(n)], asked[n] = true, true
	}
	also := func(name string) bool {
		if !keys[v.caps.Key(name)] {
			return false
		}
		if !asked[name] {
			asked[name] = true
			s.only = append(s.only, name)
		}
		return true
	}
	for _, e := range l.Entries {
		if also(e.Name) {
			s.Entries = append(s.Entries, e)
		}
	}
	if id, ok := v.index.find(folder); ok {
		for n := range v.index.kids[id] {
			also(n)
		}
	}
	return s, err
}

// errOneName says that the disk takes another name for the one that was to be
// given, although nothing was known to be like that there.
var errOneName = errors.New("its disk takes it for the name of something else in this folder")

// oneName reports whether a name that is taken on the disk is so by one that
// is known, and spelt otherwise. What is new there the next look sees.
func (v *volume) oneName(folder signet.NodeID, path, name string) bool {
	l, err := v.listOne(context.Background(), path)
	if err != nil || l.Err != nil {
		return false
	}
	for _, e := range l.Entries {
		if e.Name == name || v.index.kids[folder][e.Name] == nil {
			return false
		}
	}
	return true
}

// aliases are the problems of those whose names this disk cannot have.
func (v *volume) aliases(p *plan.Plan) (problems []Problem) {
	for _, a := range p.Aliases {
		here, known := v.index.path(a.Node)
		v.d.mu.Lock()
		path, r := v.region.Tree.Path(a.Node), v.region.Tree.Ref(a.Node)
		why, hint := v.whyAlias(r)
		v.d.mu.Unlock()
		if !known {
			here = a.Name
		}
		m := fmt.Sprintf("is %q on this disk, %s", strings.ToValidUTF8(here, "\uFFFD"), why)
		problems = append(problems, at(Problem{Kind: alias, Message: m, Hint: hint}, path))
	}
	return problems
}

// Split tells the names that do not sync from those that do, under others than
// their own, and from what is to be said of what is ignored. What is unselected and
// still here is none of these: it needs nobody; nor is that few folders are watched:
// all of them sync.
func Split(problems []Problem) (lost, other, ignored []Problem) {
	for _, p := range problems {
		switch p.Kind {
		case alias:
			other = append(other, p)
		case FewWatches:
		case Unselected: // it goes by itself when it can
		case BadRule, BadRules, Strayed:
			ignored = append(ignored, p)
		default:
			lost = append(lost, p)
		}
	}
	return lost, other, ignored
}

// FewWatches is the kind of problem of a volume of which only a part is watched, for
// whoever wires a disk to say.
const FewWatches = "few_watches"

// alias is the kind of problem that a name has which this disk cannot have.
const alias = "alias"

// whyAlias says why a live node does not have its own name here. With the
// device's lock held.
func (v *volume) whyAlias(r tree.Ref) (why, hint string) {
	rival := r.Rival(v.caps)
	switch {
	case rival.OK() && rival.Name() != r.Name():
		return fmt.Sprintf("which takes its name and %q for one", strings.ToValidUTF8(rival.Name(), "\uFFFD")), "rename one of the two, on any device"
	case rival.OK():
		return "for another one has this name already", "rename one of the two, on any device"
	case r.Parent() == signet.RootNode && v.caps.Equal(r.Name(), tree.Hidden):
		return "where Signet has this name for itself", "rename it, on any device"
	}
	return "which cannot hold its name", "rename it, on any device, to what all your disks can hold"
}
