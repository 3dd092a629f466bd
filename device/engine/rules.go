package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/device/ignore"
)

// What the rules leave out is not observed: it gets no item and no base, the
// names alone are kept, so that nothing is put there and no folder removed that
// holds it. See doc/design/0020-ignore.md.

// The kinds of problems about what is ignored.
const (
	BadRule  = "ignore_rule"      // a line that can fit nothing
	BadRules = "ignore_rules"     // rules that cannot be read
	Strayed  = "moved_to_ignored" // it came back
)

// ruled is where a volume's rules are from.
type ruled struct {
	text  []byte
	stat  tree.Stat // of the file that was read; zero if there is none
	fault *Problem  // why it could not be: the rules are those of before
	again bool      // it may have changed
}

func rulesNote(volume string) string { return "ignore:" + volume }

// loadRules takes up the rules that an earlier process read last.
func (v *volume) loadRules() error {
	b, err := v.d.Store.Note(rulesNote(v.id))
	if err == nil {
		v.rules, v.ruled.text = ignore.Parse(b), b
	}
	return err
}

// readRules reads the rules where they changed; then everything is to be looked
// at. Before a look: what it sees is judged by what the disk says at its
// beginning. again is when to try again because somebody writes them now.
func (v *volume) readRules(ctx context.Context) (again time.Time, err error) {
	if !v.ruled.again && !v.scan {
		return again, nil
	}
	st, err := v.disk.Stat(ignore.File)
	v.ruled.again = err != nil || st != v.ruled.stat // unless it comes to be read
	switch {
	case err == nil && v.caps.Key != nil && !v.spelt(ctx, ignore.File):
		// Something else, which the disk takes for it; or the rules, in another spelling,
		// of which their stat need not tell.
		return again, v.rule(nil, tree.Stat{})
	case err == nil && st == v.ruled.stat:
		return again, nil
	case err == nil && st.Type != tree.File:
		v.faultyRules("is not a file")
		return again, nil
	case err == nil && st.Size > ignore.MaxSize:
		v.faultyRules(tooLong)
		return again, nil
	case err == nil:
		text, st, busy, err := v.readSettled(ignore.File)
		switch f := v.d.Classify(err); {
		case busy, err != nil && (f == Changed || f == NotThere):
			return v.d.Now().Add(settleWait), nil
		case err != nil:
			v.faultyRules(err.Error())
			return again, nil
		case len(text) > ignore.MaxSize: // it grew since
			v.faultyRules(tooLong)
			return again, nil
		}
		return again, v.rule(text, st)
	case v.d.Classify(err) == NotThere:
		// While the region has them they are being saved, or still to come. A folder
		// of their name has none: what the last ones leave out of it may keep it there.
		// Nor has a file that is here under another name than it has in the region.
		there := false
		v.d.mu.Lock()
		for k := range v.region.Tree.Ref(signet.RootNode).Kids() {
			it := v.index.items[k.ID()]
			there = there || k.Type() == tree.File && k.Name() == ignore.File && (it == nil || it.name == ignore.File)
		}
		v.d.mu.Unlock()
		v.ruled.stat, v.ruled.fault = tree.Stat{}, nil
		v.ruled.again = there
		if there || v.ruled.text == nil {
			return again, nil
		}
		return again, v.rule(nil, tree.Stat{})
	}
	if f := v.d.Classify(err); f == RootMissing || f == RootOther {
		return again, err
	}
	v.faultyRules(err.Error())
	return again, nil
}

var tooLong = fmt.Sprintf("has more than %d bytes", ignore.MaxSize)

// spelt reports whether a name at the top is there in this very spelling.
func (v *volume) spelt(ctx context.Context, name string) bool {
	l, err := v.listOne(ctx, "")
	return err == nil && slices.ContainsFunc(l.Entries, func(e Entry) bool { return e.Name == name })
}

// readSettled reads a small file that nobody writes to; of one that is not small, a byte
// more than rules may have.
func (v *volume) readSettled(path string) (text []byte, st tree.Stat, busy bool, err error) {
	f, err := v.disk.Read(path)
	if err != nil {
		return nil, st, false, err
	}
	defer f.Close()
	if beingWritten(f, v.d.Now()) {
		return nil, st, true, nil
	}
	text, err = io.ReadAll(io.LimitReader(f, ignore.MaxSize+1))
	if changed := f.Unchanged(); changed != nil {
		err = changed
	}
	return text, f.Stat(), false, err
}

// rule makes a text the volume's rules. nil: there are none.
func (v *volume) rule(text []byte, st tree.Stat) error {
	v.ruled.stat, v.ruled.fault, v.ruled.again = st, nil, false
	v.want("", ignore.File) // it changed: it is a file like any other
	if bytes.Equal(text, v.ruled.text) {
		return nil
	}
	// Noted first: a process that ends here begins with a full look, under them.
	if err := v.d.Store.SetNote(rulesNote(v.id), text); err != nil {
		return err
	}
	v.rules, v.ruled.text = ignore.Parse(text), text
	v.last, v.scan = nil, true
	return nil
}

func (v *volume) faultyRules(why string) {
	v.ruled.stat = tree.Stat{}
	p := at(Problem{Kind: BadRules, Message: why + ": what was ignored before is ignored still"}, ignore.File)
	v.ruled.fault = &p
}

// ruleProblems are what is wrong with the rules, and what they did not let go
// as its user may have meant.
func (v *volume) ruleProblems() (problems []Problem) {
	if v.ruled.fault != nil {
		problems = append(problems, *v.ruled.fault)
	}
	for _, p := range v.rules.Problems() {
		problems = append(problems, at(Problem{Kind: BadRule, Hint: "signet ignore lists the rules",
			Message: fmt.Sprintf("line %d, %q, %s: it can fit nothing", p.Line, strings.ToValidUTF8(p.Pattern, "\uFFFD"), p.Why)}, ignore.File))
	}
	return append(problems, v.strayed...)
}

// skipper is what of rules concerns folders that are not to be entered.
func skipper(r *ignore.Rules) func(path string) bool {
	if r.Empty() {
		return nil
	}
	return func(path string) bool { return r.Leaves(path, true) }
}

// judgeNames notes which names of a folder are ignored. The folder is not.
func (v *volume) judgeNames(l *Listing) {
	if v.rules.Empty() {
		return
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		e.ignored = v.rules.Leaves(join(l.Path, e.Name), e.Stat.Type == tree.Dir)
	}
}

// ignores reports whether a name was ignored when it was looked at last.
func (v *volume) ignores(folder, name string) bool {
	if len(v.index.kept) == 0 {
		return false
	}
	id, ok := v.index.find(folder)
	if ok {
		_, ok = v.index.kept[id][name]
	}
	return ok
}

// ignored is plan.Input.Ignored: it judges a node of the region by the path that
// it has on this disk, or would have, if no other one had its name. With the device's
// lock held.
func (v *volume) ignored() func(tree.Ref) bool {
	type where struct {
		path    string
		ignored bool
	}
	folders := map[signet.NodeID]where{signet.RootNode: {}}
	var find func(r tree.Ref) where
	below := func(r tree.Ref) where {
		w := find(r.Folder())
		w.path = join(w.path, r.Name())
		w.ignored = w.ignored || v.rules.Leaves(w.path, r.Type() == tree.Dir)
		return w
	}
	find = func(r tree.Ref) where {
		w, ok := folders[r.ID()]
		if ok {
			return w
		}
		if p, ok := v.index.path(r.ID()); ok {
			w.path = p
		} else {
			w = below(r)
		}
		folders[r.ID()] = w
		return w
	}
	return func(r tree.Ref) bool {
		if v.index.items[r.ID()] != nil {
			return find(r).ignored
		}
		return below(r).ignored
	}
}

// lookUnderRules asks for a look at what was moved: other rules may hold there.
func (v *volume) lookUnderRules(it *item, path string) {
	if v.rules.Empty() {
		return
	}
	if it.stat.Type == tree.Dir {
		if v.arrived == nil {
			v.arrived = map[string]bool{}
		}
		v.arrived[path] = true
	}
	v.want(split(path))
}

// rulesFirst carries out what a plan says about the rules alone, if it says
// anything: what else there is to do, they may leave out.
func (v *volume) rulesFirst(ctx context.Context, p *plan.Plan) (did bool, err error) {
	for _, a := range p.Down {
		r := &a.Remote
		if a.Verb != plan.Fetch && a.Verb != plan.Replace || r.Parent != signet.RootNode || r.Name != ignore.File || r.Type != tree.File || r.Size > ignore.MaxSize {
			continue
		}
		if a.Verb == plan.Fetch && a.Name != r.Name {
			continue // another one has the name
		}
		n, err := v.down(ctx, []plan.Action{a})
		v.ruled.again = true
		if ferr := v.d.Store.flush(v.id, v.index); err == nil {
			err = ferr
		}
		return n > 0, err
	}
	return false, nil
}

// seek looks for what a look misses where it is ignored: it was moved there, and
// is no deletion, whether its folder is still there or not. Of what the watch saw
// being unlinked it need not; after a whole look the watch may not have seen all.
func (v *volume) seek(ctx context.Context, lost map[*item]bool, whole bool) error {
	if v.rules.Empty() {
		return nil
	}
	x := v.index
	gone, sought := x.gone(lost), map[*item]bool{}
	for it := range gone {
		if x.strayed[it] {
			continue
		}
		if p, ok := x.place(it.parent, it.name); whole || v.hints == nil || !ok || !v.unlinked[p] {
			sought[it] = true
		}
	}
	if len(sought) == 0 {
		return nil
	}
	found := func(it *item) {
		x.strayed[it] = true
		x.below(it, func(k *item) { delete(sought, k) }) // went with it
	}
	var folders []string // in an order that is the same at every run
	for folder, names := range x.kept {
		for name, isFolder := range names {
			if p, ok := x.place(folder, name); isFolder && ok {
				folders = append(folders, p)
			}
		}
	}
	slices.Sort(folders)
	enough := errors.New("all were found")
	for _, p := range folders {
		err := v.disk.Scan(ctx, p, nil, func(l Listing) error {
			for _, e := range l.Entries {
				it := x.movedTo(e)
				if it != nil && e.Stat.Type == tree.Dir && e.Stat.Birth == 0 && !lost[it] {
					it = nil // a removed folder has many numbers to give: the files say it
				}
				if it != nil && gone[it] && !x.strayed[it] {
					found(it)
				} else if it := x.mayBe(e); it != nil {
					x.alike[join(l.Path, e.Name)] = it
				}
			}
			if len(sought) == 0 {
				return enough
			}
			return nil
		})
		if errors.Is(err, enough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	for _, p := range sorted(x.alike) {
		if it := x.alike[p]; sought[it] {
			same, err := v.sameContent(ctx, p, it)
			if err != nil {
				return err
			}
			if same {
				found(it)
			}
		}
	}
	return nil
}

// sameContent reports whether the file at a path has what an item had, as far as can
// be told: it may not be readable now, and then nothing says that the item is gone.
func (v *volume) sameContent(ctx context.Context, path string, it *item) (bool, error) {
	sha, _, busy, err := v.hashFile(ctx, v.disk, path, v.d.Now())
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return v.d.Classify(err) != NotThere, nil
	}
	return busy || sha == it.sha, nil
}

// movedTo is the item that an entry is the same thing as, if no name was unlinked.
func (x *index) movedTo(e Entry) *item {
	it := x.byKey[fileKey{e.Stat.Dev, e.Stat.Inode}]
	if it == nil || e.Err != nil || !identical(it.stat, e.Stat) || e.Stat.Type != tree.Dir && it.stat.Links != e.Stat.Links {
		return nil
	}
	return it
}

// mayBe is the file that an entry has the number and the size of, where the disk says
// of no birth that would tell the two apart. If it has the bytes too, it was moved and
// had its time set; else it is another one that got the number, as an empty one may be.
func (x *index) mayBe(e Entry) *item {
	it := x.byKey[fileKey{e.Stat.Dev, e.Stat.Inode}]
	if it == nil || e.Err != nil || e.Stat.Type != tree.File || it.stat.Type != tree.File || e.Stat.Birth != 0 && it.stat.Birth != 0 ||
		identical(it.stat, e.Stat) || e.Stat.Size == 0 || it.stat.Size != e.Stat.Size || it.stat.Links != e.Stat.Links || it.sha == [32]byte{} {
		return nil
	}
	return it
}

// stray notes what a plan brings back that was moved to where it is ignored.
// With the device's lock held.
func (v *volume) stray(p *plan.Plan) {
	for _, n := range p.Stayed {
		v.strayed = append(v.strayed, at(Problem{Kind: Strayed,
			Message: "was moved to where it is ignored: what was moved is on this disk alone, and the region's is here again",
			Hint:    "delete it here, if it is to go from the region"}, v.region.Tree.Path(n)))
	}
}

// leave takes in a name that is ignored, at a path. What was observed there is not any
// more.
func (x *index) leave(folder signet.NodeID, path string, e Entry, lost map[*item]bool) {
	cur := x.kids[folder][e.Name]
	switch {
	case cur == nil:
	case e.Err == nil && !identical(cur.stat, e.Stat): // it may be found elsewhere yet
		x.detach(cur)
		lost[cur] = true
	default:
		delete(lost, cur)
		x.dropAway(cur)
	}
	// One that has other names may have been seen by one of them.
	if it := x.movedTo(e); it != nil && it != cur && (e.Stat.Type == tree.Dir || e.Stat.Links <= 1 || lost[it]) {
		x.strayed[it] = true
	} else if it := x.mayBe(e); it != nil && it != cur {
		x.alike[path] = it
	}
}

// keep notes which names of a folder are ignored.
func (x *index) keep(folder signet.NodeID, s sight, there map[string]bool) {
	names := x.kept[folder]
	if s.only == nil && s.Err == nil {
		names = nil
	}
	for _, n := range s.only {
		if !there[n] && s.Err == nil {
			delete(names, n)
		}
	}
	for _, e := range s.Entries {
		if !e.ignored {
			delete(names, e.Name)
			continue
		}
		if names == nil {
			names = map[string]bool{}
		}
		names[e.Name] = e.Stat.Type == tree.Dir
	}
	if _, had := x.kept[folder]; len(names) > 0 {
		x.kept[folder] = names
	} else if delete(x.kept, folder); had {
		x.fresh[folder] = true // it may go now
	}
}

// dropAway is drop for what is still there, and ignored.
func (x *index) dropAway(it *item) {
	for _, k := range x.kids[it.id] {
		x.dropAway(k)
	}
	x.drop(it)
	if x.base.has(it.id) {
		x.away[it.id] = true
		x.mark(it.id)
	}
}
