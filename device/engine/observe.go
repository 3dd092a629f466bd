package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"signet/core/tree"
	"signet/device/ignore"
)

// rounds is how often a look goes on with what turned up while it was had.
const rounds = 8

// observe looks at what is to be looked at, and takes it into the index.
//
// What a look finds gone may have been moved: to a folder that was looked at
// before it came there, to a new one that was not looked at yet. So everything
// that turns up meanwhile belongs to the same look, and nothing counts as gone
// before no folder of the look has changed since.
func (v *volume) observe(ctx context.Context) error {
	if !v.scan && len(v.look) == 0 && len(v.index.adrift) == 0 {
		return nil
	}
	lost := v.index.adrift
	v.index.adrift = map[*item]bool{}
	defer func() {
		v.unlinked = nil
		clear(v.index.alike)
	}()
	scans, lingered, whole := 0, false, false
	var gone map[*item]bool // that a look at everything missed
	for range rounds {
		all := v.scan
		whole = whole || all
		seen, err := v.gather(ctx)
		if err != nil {
			v.index.restore(lost)
			v.scan = true // what this look had to find is not known any more
			return err
		}
		for _, p := range v.index.take(seen, lost, newNode) {
			v.want(split(p))
		}
		v.drain()
		if len(lost) > 0 {
			v.again(seen)
			// Without a watch nobody tells where else it may be: a look at a part does not.
			if v.hints == nil {
				missed := v.index.gone(lost)
				if all {
					gone = missed
				}
				for it := range missed {
					v.scan = v.scan || !gone[it]
				}
			}
			// The other half of a move may be on its way.
			if !lingered && len(v.look) == 0 && v.hints != nil {
				lingered = true
				v.linger(ctx)
			}
		}
		if v.scan {
			scans++
		}
		if scans > 1 || !v.scan && len(v.look) == 0 {
			break
		}
	}
	if v.scan {
		v.index.restore(lost) // too much happened: the next look tells
	}
	if err := v.seek(ctx, lost, whole); err != nil {
		v.index.restore(lost)
		v.scan = true
		return err
	}
	v.index.lose(lost)
	return nil
}

// gather looks at everything, or at what it was asked to.
func (v *volume) gather(ctx context.Context) (seen []sight, err error) {
	if v.scan {
		v.setState(Scanning, "", "")
		v.strayed = nil
		v.scan, v.look, v.arrived = false, nil, nil
		seen, err = v.scanFrom(ctx, "")
	} else {
		seen, err = v.lookAround(ctx)
	}
	// The folder that was looked at must still be the volume: an unmount in
	// between would look like a deletion of everything.
	if err == nil {
		err = v.disk.Check()
	}
	return seen, err
}

// scanFrom lists a folder and all below it.
func (v *volume) scanFrom(ctx context.Context, folder string) (seen []sight, err error) {
	began := v.d.Now()
	err = v.disk.Scan(ctx, folder, skipper(v.rules), func(l Listing) error {
		if v.d.Now().Sub(began) > time.Second { // much came at once
			v.setState(Scanning, "", "")
		}
		v.judgeNames(&l)
		seen = append(seen, sight{Listing: l})
		return nil
	})
	return seen, err
}

// lookAround looks at the folders and names that it was asked to.
func (v *volume) lookAround(ctx context.Context) (seen []sight, err error) {
	look, arrived := v.look, v.arrived
	v.look, v.arrived = nil, nil
	for _, folder := range sorted(look) {
		names := sorted(look[folder])
		if u, ok := v.rules.Check(folder, true); ok && !u.Keep {
			continue
		}
		if look[folder] == nil {
			s, err := v.scanFrom(ctx, folder)
			if err != nil {
				return nil, err
			}
			// One that is gone is missed in the folder that it was in.
			if len(s) > 0 && s[0].Err != nil && v.d.Classify(s[0].Err) == NotThere {
				v.wantGone(folder)
				continue
			}
			seen = append(seen, s...)
			continue
		}
		see, all := v.peek, look[folder][itself]
		switch {
		case all:
			see = v.whole
		case v.caps.Key != nil:
			see = v.glance
		}
		s, err := see(ctx, folder, names)
		if err != nil {
			return nil, err
		}
		// That a name is not there means something only if its folder is; and what
		// is no folder any more, whatever a disk says of names in it, has none.
		if s.Stat.Type != tree.Dir && folder != "" && (!all || s.Stat.Type != 0 || v.notThere(s.Err)) {
			v.wantGone(folder)
			continue
		}
		if s.Err != nil && v.d.Classify(s.Err) == Changed {
			v.want(folder, map[bool]string{true: itself}[all])
		}
		v.judgeNames(&s.Listing)
		for _, e := range s.Entries {
			p := join(folder, e.Name)
			it := v.child(folder, e.Name)
			if e.Stat.Type == tree.Dir && !e.ignored && (arrived[p] || it == nil || !identical(it.stat, e.Stat)) {
				v.want(p, "") // next
			}
			// A watch would have spoken of it.
			if all && v.d.Line != nil && e.Stat.Type == tree.File && !e.ignored && (it == nil || !sameBytes(it.stat, e.Stat)) {
				v.touched = append(v.touched, p)
			}
		}
		seen = append(seen, s)
	}
	return seen, nil
}

// itself is no name: with it among the names all of a folder is looked at, and
// nothing below it but what is new.
const itself = "."

// whole lists a folder.
func (v *volume) whole(ctx context.Context, folder string, _ []string) (sight, error) {
	l, err := v.listOne(ctx, folder)
	l.Path = folder
	return sight{Listing: l}, err
}

// notThere reports whether a folder could not be listed because it is gone, or is
// none any more.
func (v *volume) notThere(err error) bool {
	f := v.d.Classify(err)
	return err != nil && (f == NotThere || f == Changed)
}

// peek looks at some names of a folder, one by one. There is no Stat where the
// folder could not be looked at.
func (v *volume) peek(_ context.Context, folder string, names []string) (s sight, _ error) {
	s = sight{Listing: Listing{Path: folder}, only: names}
	for _, n := range names {
		st, err := v.disk.Stat(join(folder, n))
		switch {
		case err == nil:
			s.Entries = append(s.Entries, Entry{Name: n, Stat: st})
		case v.d.Classify(err) != NotThere:
			s.Entries = append(s.Entries, Entry{Name: n, Err: err})
		}
	}
	if folder != "" {
		if st, err := v.disk.Stat(folder); err == nil {
			s.Stat = st
		}
	}
	return s, nil
}

// wantGone looks for a folder that is not where it was, if it is known there.
func (v *volume) wantGone(folder string) {
	if _, ok := v.index.find(folder); ok && folder != "" {
		v.want(split(folder))
	}
}

// again asks for another look at the folders that changed since they were
// listed.
func (v *volume) again(seen []sight) {
	for _, s := range seen {
		if s.only != nil || s.Err != nil || s.Stat.Type == 0 {
			continue
		}
		if st, err := v.disk.Stat(s.Path); err == nil && identical(st, s.Stat) && (st.MTime != s.Stat.MTime || st.CTime != s.Stat.CTime) {
			v.want(s.Path, "")
		}
	}
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// split is the folder that a path is in, and its name there.
func split(path string) (folder, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func sorted[V any](m map[string]V) []string {
	l := make([]string, 0, len(m))
	for k := range m {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}

func (v *volume) child(folder, name string) *item {
	id, ok := v.index.find(folder)
	if !ok {
		return nil
	}
	return v.index.kids[id][name]
}

// want notes that a name, or with "" all of a folder, is to be looked at.
func (v *volume) want(folder, name string) {
	if v.look == nil {
		v.look = map[string]map[string]bool{}
	}
	names, asked := v.look[folder]
	switch {
	case asked && names == nil:
	case name == "":
		v.look[folder] = nil
	default:
		if names == nil {
			names = map[string]bool{}
			v.look[folder] = names
		}
		names[name] = true
	}
}

// lookAt notes that an item is to be looked at again.
func (v *volume) lookAt(it *item) {
	if p, ok := v.index.path(it.parent); ok {
		v.want(p, it.name)
	}
}

// event takes in a hint.
func (v *volume) event(e Event) {
	if e.Kind == Overflow || e.Kind == RootGone {
		v.scan = true
		return
	}
	if e.Kind == Inside {
		v.ruled.again = v.ruled.again || e.Path == ""
		v.want(e.Path, itself)
		return
	}
	folder, name := split(e.Path)
	if name == "" {
		return
	}
	if v.caps.Equal(e.Path, ignore.File) {
		v.ruled.again = true
	}
	if e.Kind == Written && v.ignores(folder, name) {
		return // as it did when it was made
	}
	if e.Kind == Removed {
		if v.unlinked == nil {
			v.unlinked = map[string]bool{}
		}
		v.unlinked[e.Path] = true
	}
	if it := v.child(folder, name); it != nil && it.waiting() {
		if e.Kind == Written {
			return // it is looked at when its writer had time
		}
		it.blame(it.fault(), v.d.Now()) // closed, renamed, gone: at once
	}
	if e.Kind == Arrived {
		if v.arrived == nil {
			v.arrived = map[string]bool{}
		}
		v.arrived[e.Path] = true
	}
	if v.d.Line != nil && e.Kind != Removed {
		v.touched = append(v.touched, e.Path)
	}
	v.want(folder, name)
}

// drain takes the hints that wait, without waiting.
func (v *volume) drain() {
	for {
		select {
		case e, ok := <-v.hints:
			if !v.hint(e, ok) {
				return
			}
		default:
			return
		}
	}
}
