package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"signet"
	"signet/core/plan"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/line"
)

// down carries out what a plan says about the disk, in its order. Content is
// fetched in groups, made durable, then put in place; a name is durable before
// the index says so. An action whose target is not what the plan saw is left:
// the next turn looks again. did counts what was done.
func (v *volume) down(ctx context.Context, actions []plan.Action) (did int, err error) {
	now := v.d.Now()
	actions = slices.DeleteFunc(actions, func(a plan.Action) bool {
		b, ok := v.blocked[a.Node]
		if ok && !b.until.After(now) {
			delete(v.blocked, a.Node)
			ok = false
		}
		if ok && errors.Is(b.err, errOneName) {
			return a.Verb == plan.Fetch || a.Verb == plan.MkDir || a.Verb == plan.Move
		}
		return ok && (a.Verb == plan.Fetch || a.Verb == plan.Replace)
	})
	var failed, full error
	var carried, large []plan.Action
	for i := range actions {
		if v.heavyFetch(&actions[i]) {
			large = append(large, actions[i])
		}
	}
	away := v.fetchBeside(large)
	// On a fast line it is the disk that takes its time.
	slow := v.d.within(line.Down, 1, 1<<20, 64<<20) < 16<<20
	first := v.firstOf(actions)
	smallestFirst(actions, first)
	began, own := v.d.Now(), map[signet.NodeID]bool{}
	until := began.Add(v.slice())
	for len(actions) > 0 && failed == nil && (len(carried) == 0 || v.d.Now().Before(until) && !(slow && v.disturbed(began, own))) {
		var n int
		if a := actions[0]; v.heavyFetch(&a) {
			n = 1
			ok, aerr := v.landBeside(ctx, a)
			if ok {
				carried = append(carried, a)
			}
			failed = aerr
		} else if a.Verb == plan.Fetch || a.Verb == plan.Replace {
			class := line.Small
			if first[a.Node] {
				class = line.Saved
			}
			n = v.fetchRun(actions, first)
			var done []plan.Action
			done, failed = v.fetch(line.With(ctx, class), actions[:n])
			carried = append(carried, done...)
			if errors.Is(failed, ErrNoRoom) { // smaller ones may still fit
				failed, full = nil, failed
			}
		} else if a.Verb == plan.Release {
			n = releaseRun(actions)
			var done []plan.Action
			done, failed = v.release(ctx, actions[:n])
			carried = append(carried, done...)
		} else {
			n = 1
			ok, aerr := v.act(ctx, a)
			if ok {
				carried = append(carried, a)
			}
			failed = aerr
		}
		for _, a := range actions[:n] {
			own[a.Node] = true
		}
		actions = actions[n:]
	}
	// Names first, then the index: a crash between leaves a disk that the next
	// scan finds equal to the journal.
	serr := v.disk.Sync(context.WithoutCancel(ctx))
	if serr == nil {
		v.agreeOn(carried)
	}
	if failed == nil {
		failed = serr
	}
	if failed == nil {
		failed = cmp.Or(full, away)
	}
	return len(carried), failed
}

// firstOf are the nodes whose content comes before that of all others: what
// somebody saved a moment ago. Large files travel beside the loop.
func (v *volume) firstOf(actions []plan.Action) map[signet.NodeID]bool {
	first := map[signet.NodeID]bool{}
	for _, i := range v.newest(len(actions), line.Down, func(i int) (time.Time, bool) {
		at, ok := v.fetchedNow(&actions[i])
		return at, ok && !v.heavyFetch(&actions[i])
	}, func(i int) int64 { return actions[i].Remote.Size }) {
		first[actions[i].Node] = true
	}
	return first
}

// smallestFirst orders what is fetched in a row: some first, and then by size, so
// that documents are there before films. Actions of other kinds keep their
// places.
func smallestFirst(actions []plan.Action, first map[signet.NodeID]bool) {
	for len(actions) > 0 {
		n := 0
		for n < len(actions) && fetches(&actions[n]) {
			n++
		}
		stably(actions[:n], func(a, b *plan.Action) int {
			if x, y := first[a.Node], first[b.Node]; x != y {
				return map[bool]int{true: -1, false: 1}[x]
			}
			return cmp.Compare(a.Remote.Size, b.Remote.Size)
		})
		actions = actions[min(n+1, len(actions)):]
	}
}

// agreeOn notes that the disk has what was carried out: the journal may go on
// before the next plan, which would take it for a change of this device's.
func (v *volume) agreeOn(carried []plan.Action) {
	for _, a := range carried {
		local, _ := locals(v.index.items).Get(a.Node)
		if b, ok := plan.Carried(v.index.base.of(a.Node), local, a); ok {
			v.index.agree(a.Node, b)
		}
	}
}

// fetchMost bounds how many files are fetched in one go. Each batch costs one
// sync of the file system, and each file in it a descriptor until then.
const fetchMost = 512

// fetchRun is how many actions at the front fetch content, as many as are
// fetched in one go: in a second, where the line is slow, and there those that
// come first by themselves. Each go costs a sync of the disk.
func (v *volume) fetchRun(actions []plan.Action, first map[signet.NodeID]bool) int {
	n, size, most := 0, int64(0), v.d.within(line.Down, 1, 1<<20, 64<<20)
	for _, a := range actions {
		if !fetches(&a) || v.heavyFetch(&a) || n >= fetchMost || n > 0 && (size+a.Remote.Size > most || most < 16<<20 && first[a.Node] != first[actions[0].Node]) {
			break
		}
		n++
		size += a.Remote.Size
	}
	return n
}

// act does one action that fetches nothing.
func (v *volume) act(ctx context.Context, a plan.Action) (done bool, err error) {
	it := v.index.items[a.Node]
	from, known := v.index.path(a.Node)
	to, placed := v.index.place(a.Parent, a.Name)
	switch a.Verb {
	case plan.MkDir:
		if !placed {
			return false, nil
		}
		st, err := v.disk.Mkdir(to, a.Remote.Mode)
		if err != nil {
			return false, v.actFault(a, err)
		}
		v.index.put(&item{id: a.Node, parent: a.Parent, name: a.Name, stat: st})
		v.index.shifted = v.index.shifted || a.Name != a.Remote.Name
		delete(v.index.blind, a.Node) // just made, so known to be empty
		return true, nil
	case plan.Move:
		if !placed || !known {
			return false, nil
		}
		st, err := v.disk.Move(from, to, it.stat)
		if err != nil {
			return false, v.actFault(a, err)
		}
		v.index.move(it, a.Parent, a.Name)
		v.keep(it, st)
		v.lookUnderRules(it, to)
		v.count(func(c *Counters) { c.Moves++ })
		return true, nil
	case plan.SetAttr:
		if !known || it.edited() {
			return false, nil
		}
		mtime := a.Remote.MTime
		if it.stat.Type == tree.Dir {
			mtime = it.stat.MTime
		}
		st, err := v.disk.SetMeta(from, it.stat, a.Remote.Mode, mtime)
		if err != nil {
			return false, v.actFault(a, err)
		}
		v.keep(it, st)
		it.gave(mtime)
		v.index.refresh(it)
		return true, nil
	case plan.Trash:
		if !known || it.edited() || !v.stillIs(ctx, it, from) {
			return false, nil
		}
		if it.stat.Type == tree.Dir {
			err = v.disk.RemoveDir(from)
		} else {
			err = v.trash(it, from)
		}
		if err != nil {
			return false, v.actFault(a, err)
		}
		v.index.drop(it)
		if it.stat.Type != tree.Dir {
			v.deleted(1)
			if !a.Undone {
				v.guarded(1)
			}
		}
		return true, nil
	}
	return false, fmt.Errorf("unknown action %s", a.Verb)
}

// trash deletes a file or link. A program that has it open for writing goes on
// with what lies in the trash: see rescue.
func (v *volume) trash(it *item, path string) error {
	return v.displace(it, path, false, func() (Displaced, error) { return v.disk.Trash(path, it.stat, trashID(it.id)) })
}

// edited reports whether a file was written to since the plan was made: an
// earlier action of the plan found it so. The plan knows nothing of what it
// holds now, so nothing more is done to it before it is read.
func (it *item) edited() bool { return it.stat.Type == tree.File && it.sha == [32]byte{} }

// keep takes in the stat of a thing that we changed ourselves. Its bytes are as
// they were, if nobody wrote to it between the last look and now: that shows in
// its size and its mtime, unless it is the mtime that we changed.
func (v *volume) keep(it *item, st tree.Stat) {
	if st.Size != it.stat.Size || st.MTime != it.stat.MTime {
		it.sha = [32]byte{}
	}
	racy := it.racy()
	it.stat = st
	if racy { // and is still: what we did to it tells nothing of its bytes
		it.hashedAt = it.changed()
	}
	v.index.refresh(it)
}

// justSaved reports whether what is saved to a file now may leave no trace in its stat,
// though we gave it its time ourselves: it was saved elsewhere within the same tick of
// this disk's clock.
func (v *volume) justSaved(st tree.Stat) bool {
	return st.Type == tree.File && v.d.Now().Sub(time.Unix(0, st.MTime)).Abs() <= coarsest
}

// coarsest is the coarsest tick of a disk's clock, that of FAT, and one more: who saved
// the file may have another clock, which differs by little where it is noticed at all.
const coarsest = 4 * time.Second

// actFault judges why an action failed. Where the disk shows something else
// than the plan saw, it is looked at again.
func (v *volume) actFault(a plan.Action, err error) error {
	switch f := v.d.Classify(err); f {
	case RootMissing, RootOther, NoRoom:
		return err
	default:
		if it := v.index.items[a.Node]; it != nil {
			v.lookAt(it)
			if f == Trouble || f == Denied {
				it.blame(&Problem{Kind: "unwritable", Message: err.Error()}, v.d.Now().Add(settleMost))
			}
		}
		p, ok := v.index.path(a.Parent)
		if ok && f == Taken && v.oneName(a.Parent, p, a.Name) {
			// To look at the name would show what has it by another spelling.
			v.block(a.Node, path.Join(p, a.Name), errOneName)
			return nil
		}
		if ok && a.Name != "" {
			v.want(p, a.Name)
		}
		// What is not here yet has no item that could say why.
		if ok && v.index.items[a.Node] == nil && (f == Trouble || f == Denied) {
			v.block(a.Node, path.Join(p, a.Name), err)
		}
		return nil
	}
}

// fetched is a file on its way to the disk.
type fetched struct {
	action plan.Action
	path   string
	old    string // where an older version is, which may have pieces of it; "": none
	staged Staged
	err    error

	sketched bool // staged has no name that a later run would look for
}

// toFetch prepares to fetch what an action wants; not ok where its place is not
// there yet.
func (v *volume) toFetch(a plan.Action) (f *fetched, ok bool) {
	f = &fetched{action: a}
	if a.Verb == plan.Fetch {
		f.path, ok = v.index.place(a.Parent, a.Name)
		return f, ok
	}
	f.path, ok = v.index.path(a.Node)
	if it := v.index.items[a.Node]; it != nil && it.stat.Size >= 256<<10 {
		f.old = f.path
	}
	return f, ok
}

// fetch brings the content of files, and links, to the disk. It returns the
// actions that it carried out.
func (v *volume) fetch(ctx context.Context, actions []plan.Action) (done []plan.Action, err error) {
	actions, full := v.room(actions)
	list := make([]*fetched, 0, len(actions))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for _, a := range actions {
		if f, ok := v.toFetch(a); ok {
			list = append(list, f)
		}
	}
	small, large := v.split(list)
	slots := make(lane, connections)
	for _, group := range small {
		g.Go(func() error { return v.fetchSmall(gctx, group) })
	}
	for _, f := range large {
		g.Go(func() error { return v.fetchLarge(gctx, v.disk, f, slots, nil) })
	}
	err = g.Wait()
	defer func() {
		for _, f := range list {
			if f.staged != nil {
				f.staged.Discard()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	var ready []Staged
	for _, f := range list {
		if f.staged != nil {
			ready = append(ready, f.staged)
		}
	}
	if err := v.disk.Settle(ctx, ready); err != nil {
		return nil, err
	}
	for _, f := range list {
		ok, err := v.land(ctx, f)
		if err != nil {
			return done, err
		}
		if ok {
			done = append(done, f.action)
		}
	}
	return done, full
}

// room keeps some of the disk free: downloads stop at a floor, uploads do not.
// It returns the actions that fit, the smallest counted first, and ErrNoRoom
// if these are not all. What an earlier run staged is not needed again.
func (v *volume) room(actions []plan.Action) (fit []plan.Action, full error) {
	free, total, err := v.disk.Free()
	if err != nil {
		return actions, nil // a disk that does not tell is tried
	}
	floor := v.d.floorOf(total)
	bySize := make([]int, len(actions))
	for i := range actions {
		bySize[i] = i
	}
	slices.SortStableFunc(bySize, func(a, b int) int { return cmp.Compare(actions[a].Remote.Size, actions[b].Remote.Size) })
	need, lacks := v.coming(), map[int]bool{}
	for _, i := range bySize {
		r := actions[i].Remote
		more := uint64(max(r.Size-v.disk.StagedSize(stagedName(r)), 0))
		if need+more+floor > free {
			lacks[i] = true
			full = fmt.Errorf("a file of %d bytes does not fit: %d free, %d of them kept, %d for smaller files: %w", r.Size, free, floor, need, ErrNoRoom)
			continue
		}
		need += more
	}
	for i, a := range actions {
		if !lacks[i] {
			fit = append(fit, a)
		}
	}
	return fit, full
}

// floorOf is how much of a disk downloads leave free, in bytes: what a person said
// (KeepFree), or 1 GiB, or 1 % of a smaller disk.
func (d *Device) floorOf(total uint64) uint64 {
	if n := d.keepFree.Load(); n != nil {
		return *n
	}
	return min(1<<30, total/100)
}

// KeepFree says how much of each disk downloads leave free, in bytes; nil: see floorOf.
// It is not kept: whoever runs the device says it again.
func (d *Device) KeepFree(n *uint64) { d.keepFree.Store(n) }

// coming is how many bytes the files that travel beside the loop still need.
func (v *volume) coming() (n uint64) {
	n = v.sketches.coming()
	v.beside.keep(v.beside.down, func(h *haul) bool {
		if r := h.action.Remote; !h.ended && h.sketch != nil {
			n += uint64(max(r.Size-h.sketch.have(), 0))
		} else if !h.ended {
			n += uint64(max(r.Size-v.disk.StagedSize(stagedName(r)), 0))
		}
		return true
	})
	return n
}

// ErrNoRoom says that a disk is too full to go on downloading.
var ErrNoRoom = errors.New("not enough space on the disk")

// land puts a fetched file or link in place.
func (v *volume) land(ctx context.Context, f *fetched) (bool, error) {
	a := f.action
	it := v.index.items[a.Node]
	var st tree.Stat
	var err error
	link := a.Remote.Type == tree.Link
	switch {
	case errors.Is(f.err, signet.ErrNotVerified), errors.Is(f.err, signet.ErrNotFound):
		v.block(a.Node, f.path, v.d.raise(f.err, v.region.ID()))
		return false, nil
	case f.err != nil:
		err = f.err
	case a.Verb == plan.Fetch && link:
		st, err = v.disk.Symlink(a.Remote.Target, f.path)
	case a.Verb == plan.Fetch:
		st, err = v.disk.Place(f.staged, f.path)
	case it == nil, it.edited(), !v.stillIs(ctx, it, f.path):
		return false, nil
	default:
		err = v.displace(it, f.path, true, func() (old Displaced, err error) {
			if link {
				st, old, err = v.disk.ReplaceLink(a.Remote.Target, f.path, it.stat, trashID(a.Node))
			} else {
				st, old, err = v.disk.Replace(f.staged, f.path, it.stat, trashID(a.Node))
			}
			return old, err
		})
	}
	if err != nil {
		return false, v.actFault(a, err)
	}
	f.staged = nil
	if it == nil {
		it = &item{id: a.Node, parent: a.Parent, name: a.Name}
	} else if k := (fileKey{it.stat.Dev, it.stat.Inode}); v.index.byKey[k] == it {
		delete(v.index.byKey, k)
	}
	it.stat, it.sha = st, a.Remote.Hash
	it.blame(nil, it.busy())
	it.gave(a.Remote.MTime)
	it.hashedAt = 0 // we wrote it ourselves: a change would show
	if v.justSaved(st) {
		it.hashedAt = it.changed()
	}
	if !link && (st.Size != a.Remote.Size || st.MTime != a.Remote.MTime) {
		it.sha = [32]byte{} // somebody writes to it already
	}
	v.index.put(it)
	v.count(func(c *Counters) { c.FilesDown++ })
	return true, nil
}

// split sorts files into groups of small ones, whose objects are fetched in
// one request, and large ones.
func (v *volume) split(list []*fetched) (small [][]*fetched, large []*fetched) {
	var group []*fetched
	size := int64(0)
	for _, f := range list {
		if f.action.Remote.Type == tree.Link {
			continue
		}
		c, err := seal.ParseContent(f.action.Remote.Data)
		if err != nil {
			f.err = err
			continue
		}
		if c.Piece == nil && c.Size > 0 {
			large = append(large, f)
			continue
		}
		if size += c.Size; len(group) >= 64 || size > int64(v.d.groupOf(line.Down)) {
			small, group, size = append(small, group), nil, c.Size
		}
		group = append(group, f)
	}
	if len(group) > 0 {
		small = append(small, group)
	}
	return small, large
}

// fetchSmall fetches files of one piece each, or none.
func (v *volume) fetchSmall(ctx context.Context, group []*fetched) error {
	by := map[signet.ObjectID][]*fetched{}
	refs := map[*fetched]seal.Ref{}
	var ids []signet.ObjectID
	for _, f := range group {
		c, _ := seal.ParseContent(f.action.Remote.Data)
		if c.Piece == nil {
			if f.err = v.stageWhole(f, nil); f.err != nil && v.d.Classify(f.err) == NoRoom {
				return f.err
			}
			continue
		}
		if by[c.Piece.Object] == nil {
			ids = append(ids, c.Piece.Object)
		}
		by[c.Piece.Object] = append(by[c.Piece.Object], f)
		refs[f] = *c.Piece
	}
	if len(ids) == 0 {
		return nil
	}
	var rows []sealedRow
	get := func(ids []signet.ObjectID) error {
		return v.d.Service.Get(ctx, v.region.ID(), ids, func(id signet.ObjectID, object []byte) error {
			n := int64(len(object))
			v.count(func(c *Counters) { c.BytesDown += n; c.ObjectsDown++ })
			for _, f := range by[id] {
				row, err := v.takeSmall(f, refs[f], object)
				if err != nil {
					return err
				}
				if f.err == nil {
					rows = append(rows, row)
				}
			}
			return nil
		})
	}
	err := get(ids)
	if errors.Is(err, signet.ErrNotFound) {
		// One that the service lacks holds up nobody else: ask for each.
		for _, id := range ids {
			if by[id][0].staged != nil {
				continue
			}
			if err = get([]signet.ObjectID{id}); errors.Is(err, signet.ErrNotFound) {
				for _, f := range by[id] {
					f.err = fmt.Errorf("the service lacks %s: %w", id, err)
				}
				err = nil
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	// We opened these objects and know what they hold: a copy of the file need
	// not be sealed again.
	return v.d.Store.noteSealed(v.region.ID(), rows)
}

// takeSmall opens the only object of a file and stages it. What does not
// verify is the file's own trouble (f.err); what it returns is everybody's. An alarm
// is raised here and not where the file would land: what is everybody's trouble, as a
// full disk, ends all that was asked for with it, and what was seen is to be said.
func (v *volume) takeSmall(f *fetched, ref seal.Ref, object []byte) (row sealedRow, err error) {
	v.d.mu.Lock()
	secret := v.region.Secret()
	v.d.mu.Unlock()
	plain, err := v.opener()(nil, ref, object)
	remote := &f.action.Remote
	if err == nil && (int64(len(plain)) != remote.Size || seal.FileHash(plain) != remote.Hash) {
		err = errOther
	}
	if err != nil {
		f.err = v.d.raise(v.bad(f.action.Remote, err), v.region.ID())
		return row, nil
	}
	if f.err = v.stageWhole(f, plain); f.err != nil && v.d.Classify(f.err) == NoRoom {
		return row, f.err
	}
	// What these bytes are is for us to say, not for the writer of the entry:
	// one who gave them another file's id would have that file, once it is made
	// here, never sent.
	return sealedRow{secret.PlaintextIDOf(remote.Hash), ref}, nil // of one piece, so not a long file
}

// bad is the error of an object that is not what the signed entry of a file's version
// promises.
func (v *volume) bad(version tree.Node, err error) error {
	v.d.mu.Lock()
	path := v.region.Tree.Path(version.ID)
	v.d.mu.Unlock()
	if errors.Is(err, signet.ErrNotVerified) {
		v.disown(version)
		err = fmt.Errorf("%s: %w (%v)", path, ErrObject, err)
	}
	return err
}

// disown forgets what this device knows a file's objects to hold: one of them is
// not what it was, so that nothing new is to rest on any.
func (v *volume) disown(version tree.Node) {
	c, err := seal.ParseContent(version.Data)
	if err != nil {
		return
	}
	v.d.Store.forgetSealed(v.region.ID(), c.Objects()) // what stays, stays until the next alarm
}

func (v *volume) stageWhole(f *fetched, plain []byte) error {
	s, err := v.disk.Stage("")
	if err != nil {
		return err
	}
	_, err = s.Write(plain)
	if err == nil {
		err = s.Finish(f.action.Remote.Mode, f.action.Remote.MTime)
	}
	if err != nil { // it alone waits: what is half made must not be in the way of the others
		s.Discard()
		return err
	}
	f.staged = s
	return nil
}
