package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/core/wire"
	"signet/device/ignore"
)

// What is not selected on this device is taken from its disk once the region has
// all of it, and is not made. See doc/design/0025-select.md.

// Unselected is the kind of problem of what is not selected, and is on the disk
// still.
const Unselected = "unselected"

func marksNote(volume string) string { return "select:" + volume }

// takenNote has the selection that plans were made by last.
func takenNote(volume string) string { return "selected:" + volume }

// saidNote has, in 8 bytes, which number of marksNote the folder was told last.
func saidNote(volume string) string { return "chosen:" + volume }

// marksFormat begins a stored selection: format u8 ‖ number u64, then node (16) ‖
// mark u8 for each, by the bytes of the nodes. The number counts how often somebody
// chose.
const marksFormat = 1

func encodeMarks(number uint64, m plan.Marks) []byte {
	if len(m) == 0 && number == 0 {
		return nil
	}
	var w wire.Writer
	w.U8(marksFormat)
	w.U64(number)
	for _, n := range slices.SortedFunc(maps.Keys(m), signet.NodeID.Compare) {
		w.Raw(n[:])
		w.U8(uint8(m[n]))
	}
	return w.B
}

func decodeMarks(b []byte) (number uint64, m plan.Marks, err error) {
	if b == nil {
		return 0, nil, nil
	}
	r := wire.NewReader(b)
	if f := r.U8(); r.Err() == nil && f != marksFormat {
		return 0, nil, fmt.Errorf("selection of format %d: %w", f, ErrNewer)
	}
	number, m = r.U64(), plan.Marks{}
	for left := len(b) - 9; left > 0 && r.Err() == nil; left -= len(signet.NodeID{}) + 1 {
		var n signet.NodeID
		r.Raw(n[:])
		mark := plan.Mark(r.U8())
		if _, twice := m[n]; r.Err() == nil && (twice || mark < plan.Out || mark > plan.Part) {
			return 0, nil, errors.New("selection: a mark that is none")
		}
		m[n] = mark
	}
	if err := r.Done(); err != nil {
		return 0, nil, fmt.Errorf("selection: %w", err)
	}
	return number, m, nil
}

func (v *volume) loadMarks() error {
	b, err := v.d.Store.Note(marksNote(v.id))
	if err == nil {
		v.number, v.marks, err = decodeMarks(b)
	}
	if err == nil {
		b, err = v.d.Store.Note(takenNote(v.id))
	}
	if err == nil {
		_, v.taken, err = decodeMarks(b)
	}
	v.said = v.number // what a home of before this note goes by
	if err == nil {
		if b, err = v.d.Store.Note(saidNote(v.id)); len(b) == 8 {
			v.said = binary.BigEndian.Uint64(b)
		}
	}
	v.joining = !maps.Equal(v.taken, v.marks)
	return err
}

// compareChoice finds out whether the index is older than the folder: a home that was
// restored from a backup does not know what went from this disk since, because
// somebody chose so, and would take it for deleted. Then nothing that is not there
// counts as deleted; what the older index has selected comes back.
func (v *volume) compareChoice() error {
	n, err := v.disk.Choice()
	if err != nil {
		return err
	}
	v.choiceNoted = n
	v.mu.Lock()
	older := n > v.said // not number: somebody may have chosen since the index came back
	if older {
		v.number = max(n, v.number) + 1
		err = v.mark(v.marks)
	}
	v.mu.Unlock()
	if !older || err != nil {
		return err
	}
	for id := range maps.Clone(v.index.base) {
		if v.index.items[id] == nil {
			v.index.forget(id)
		} else {
			v.index.released[id] = true
			v.index.mark(id)
		}
	}
	if err := v.d.Store.flush(v.id, v.index); err != nil {
		return err
	}
	return v.say(n)
}

// say keeps which number the folder has.
func (v *volume) say(n uint64) error {
	v.said = n
	return v.d.Store.SetNote(saidNote(v.id), binary.BigEndian.AppendUint64(nil, n))
}

// noteChoice says in the folder, durably, how often somebody has chosen: before
// anything goes for that.
func (v *volume) noteChoice() error {
	v.mu.Lock()
	n := v.number
	v.mu.Unlock()
	if n <= v.choiceNoted {
		return nil
	}
	err := v.say(n) // first: a crash between the two makes no older index of this one
	if err == nil {
		err = v.disk.SetChoice(n)
	}
	if err == nil {
		v.choiceNoted = n
	}
	return err
}

// chosen is what is selected; other says that somebody chose since the last plan.
// A life that begins with another selection than the last one ended with goes on
// with the old one until it has joined what that one left on the disk: a crash may
// have left what the index does not know, which would else be something new of an
// unselected name. With the device's lock held.
func (v *volume) chosen() (m plan.Marks, other bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.joining {
		return WithRules(v.taken, v.region.Tree), false, nil
	}
	other, v.rechosen = v.rechosen, false
	if !maps.Equal(v.taken, v.marks) {
		if err := v.d.Store.SetNote(takenNote(v.id), encodeMarks(0, v.marks)); err != nil {
			return nil, false, err
		}
		v.taken = v.marks
	}
	return WithRules(v.marks, v.region.Tree), other, nil
}

// joined ends joining once all that can be read was of what is not selected any
// more, so that the plan knew it.
func (v *volume) joined() bool {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	type name struct {
		folder signet.NodeID
		name   string
	}
	t, out := v.region.Tree, map[name]bool{}
	for n, mark := range v.marks {
		if r := t.Ref(n); mark == plan.Out && r.Live() {
			out[name{r.Parent(), r.Name()}] = true
		}
	}
	for _, it := range v.index.unread {
		if !it.busy().IsZero() || it.fault() != nil {
			continue
		}
		for at := it; at != nil; at = v.index.items[at.parent] {
			if out[name{at.parent, at.name}] {
				return false
			}
			if r := t.Ref(at.parent); r.Live() {
				if !v.marks.Selected(r) {
					return false
				}
				break
			}
		}
	}
	v.joining, v.rechosen = false, true
	return true
}

// WithRules selects the rules of what is ignored, which hold on every device.
func WithRules(m plan.Marks, t *tree.Tree) plan.Marks {
	n, ok := t.Lookup(ignore.File)
	if !ok || m.Selected(t.Ref(n.ID)) {
		return m
	}
	m = maps.Clone(m)
	m[n.ID] = plan.In
	return m
}

// choose marks nodes as selected that came about here.
func (v *volume) choose(nodes []signet.NodeID) error {
	if len(nodes) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.joining || v.rechosen {
		return nil // the next plan asks by what is selected then
	}
	m := maps.Clone(v.marks)
	for _, n := range nodes {
		m[n] = plan.In
	}
	return v.mark(m)
}

// mark stores a selection, then makes it the volume's. With mu held.
func (v *volume) mark(m plan.Marks) error {
	if err := v.d.Store.SetNote(marksNote(v.id), encodeMarks(v.number, m)); err != nil {
		return err
	}
	v.marks = m
	return nil
}

// Select changes what of a region is selected in a volume. change gets a copy of
// the marks, and the tree, and returns what they are to be. A turn that is going
// on ends by what was selected before.
func (d *Device) Select(id string, change func(t *tree.Tree, m plan.Marks) (plan.Marks, error)) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	defer v.wake()
	d.mu.Lock()
	defer d.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	m := maps.Clone(v.marks)
	if m == nil {
		m = plan.Marks{}
	}
	if m, err = change(v.region.Tree, m); err != nil {
		return err
	}
	v.number++
	if err := v.mark(m); err != nil {
		v.number--
		return err
	}
	v.rechosen = true
	v.status.Unselected = unselectedIn(v.region.Tree, WithRules(m, v.region.Tree))
	return nil
}

// SetSelection gives a volume that is not added yet its marks.
func (d *Device) SetSelection(id string, m plan.Marks) error {
	return errors.Join(d.Store.SetNote(takenNote(id), encodeMarks(0, m)), d.Store.SetNote(marksNote(id), encodeMarks(0, m)))
}

// WithSelection calls f with the tree of a volume's region and what is selected of
// it, neither of which must be kept or changed.
func (d *Device) WithSelection(id string, f func(t *tree.Tree, m plan.Marks) error) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v.mu.Lock()
	m := v.marks
	v.mu.Unlock()
	t := v.region.Tree
	if v.region.lag && v.region.listing != nil {
		t = v.region.listing
	}
	return f(t, WithRules(m, t))
}

// unselectedIn counts what is not selected, without what is below it.
func unselectedIn(t *tree.Tree, m plan.Marks) (n int) {
	for id, mark := range m {
		r := t.Ref(id)
		switch {
		case !r.Live() || id != signet.RootNode && !m.Selected(r.Folder()):
		case mark == plan.Out:
			n++
		case mark == plan.Part:
			for k := range r.Kids() {
				if m[k.ID()] == 0 && !m.Selected(k) {
					n++
				}
			}
		}
	}
	return n
}

// unselected is what the status says. With the device's lock held.
func (v *volume) unselected() int {
	v.mu.Lock()
	m := v.marks
	v.mu.Unlock()
	if len(m) == 0 {
		return 0
	}
	return unselectedIn(v.region.Tree, WithRules(m, v.region.Tree))
}

// lingers is the problem of what is not selected, and on the disk still.
func (v *volume) lingers(n signet.NodeID, why string) Problem {
	path, _ := v.index.path(n)
	return at(Problem{Kind: Unselected, Message: why}, path)
}

// releaseMost bounds how many names are taken from the disk in one go: each costs
// a question to the service, and a write to the index that outlives a power cut.
const releaseMost = 4096

func releaseRun(actions []plan.Action) (n int) {
	for n < len(actions) && n < releaseMost && actions[n].Verb == plan.Release {
		n++
	}
	return n
}

// release takes what is not selected from the disk, and returns what is gone. The
// order is what keeps it safe. The service is asked whether it has every object.
// Then the index says, durably, that what is gone from here on is no deletion; and
// what is selected, which was written before. Then each file is looked at once
// more, and goes. A crash leaves a file that is seen again, or is not missed.
func (v *volume) release(ctx context.Context, actions []plan.Action) (done []plan.Action, err error) {
	if err := v.noteChoice(); err != nil {
		return nil, err
	}
	if actions, err = v.held(ctx, actions); err != nil || len(actions) == 0 {
		return nil, err
	}
	for _, a := range actions {
		v.index.released[a.Node] = true
		v.index.mark(a.Node)
	}
	if err := v.d.Store.flushBy(v.d.Store.writeDurably, v.id, v.index); err != nil {
		return nil, err
	}
	var gone []displaced
	for _, a := range actions {
		ok := false
		if err == nil && ctx.Err() == nil {
			ok, err = v.letGo(ctx, a, &gone)
		}
		if ok {
			done = append(done, a)
		} else if v.index.released[a.Node] {
			delete(v.index.released, a.Node)
			v.index.mark(a.Node)
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	// What a program opened for writing in the last moment is watched like all that
	// is displaced.
	for _, d := range gone {
		if d.Writing() || d.Drop() != nil {
			v.displaced = append(v.displaced, d)
		}
	}
	// The next write to the index forgets what is gone: before, it has to be gone
	// for good, or a power cut brings it back as something new.
	if len(done) > 0 {
		err = errors.Join(err, v.disk.Sync(context.WithoutCancel(ctx)))
	}
	return done, err
}

// held are the actions about what the service has all objects of. Where it lacks
// some, the file that lies here is sealed anew, before it may go.
func (v *volume) held(ctx context.Context, actions []plan.Action) ([]plan.Action, error) {
	of := map[signet.ObjectID][]signet.NodeID{}
	for _, a := range actions {
		if a.Remote.Type != tree.File || a.Remote.Size == 0 {
			continue
		}
		ids, err := v.objectsOf(ctx, a.Remote.Data)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			of[id] = append(of[id], a.Node)
		}
	}
	all := slices.SortedFunc(maps.Keys(of), func(a, b signet.ObjectID) int { return bytes.Compare(a[:], b[:]) })
	lacks := map[signet.NodeID]bool{}
	for chunk := range slices.Chunk(all, haveMost) {
		missing, err := v.d.Service.Have(ctx, v.region.ID(), chunk)
		if err != nil {
			return nil, err
		}
		for _, id := range missing {
			for _, n := range of[id] {
				lacks[n] = true
			}
		}
	}
	if len(lacks) == 0 {
		return actions, nil
	}
	if err := v.d.doubt(v.region.ID()); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(actions), func(a plan.Action) bool { return lacks[a.Node] }), nil
}

// releasedID is under what released files lie in the trash for a moment: all under
// one, so that they share folders.
const releasedID = "released"

// letGo takes one thing from the disk. A file lies in the trash for a moment, added
// to gone: what a program saves to it meanwhile is found there.
func (v *volume) letGo(ctx context.Context, a plan.Action, gone *[]displaced) (bool, error) {
	it := v.index.items[a.Node]
	path, known := v.index.path(a.Node)
	if !known || it.edited() {
		return false, nil
	}
	var err error
	if it.stat.Type == tree.Dir {
		err = v.disk.RemoveDir(path)
	} else {
		if it.stat.Type == tree.File && !v.sure(ctx, it, path) {
			return false, nil
		}
		var old Displaced
		if old, err = v.disk.Trash(path, it.stat, releasedID); err == nil {
			*gone = append(*gone, displaced{old, it.id, v.d.Now(), v.d.Now(), it.name, v.index.folders(it)})
		}
	}
	if err != nil {
		return false, v.actFault(a, err)
	}
	v.index.drop(it)
	v.index.forget(it.id)
	if it.stat.Type != tree.Dir {
		v.count(func(c *Counters) { c.Released++ })
	}
	return true, nil
}

// sure reports whether a file is what the index says, with nobody writing to it.
// One that was hashed soon after a change is hashed again now.
func (v *volume) sure(ctx context.Context, it *item, path string) bool {
	f, err := v.disk.Read(path)
	if err != nil {
		v.lookAt(it)
		return false
	}
	st, writing := f.Stat(), f.Writing()
	f.Close()
	if writing {
		if v.inUse == nil {
			v.inUse = map[signet.NodeID]bool{}
		}
		v.inUse[it.id] = true
		return false
	}
	if st != it.stat {
		v.lookAt(it)
		return false
	}
	delete(v.inUse, it.id)
	return v.stillIs(ctx, it, path)
}

// stillIs reports whether a file has the bytes that the index says, as far as its stat
// does not tell: one that was hashed soon after a change is hashed again now, as what was
// saved since may have left no trace. One that has others is left to the next look.
func (v *volume) stillIs(ctx context.Context, it *item, path string) bool {
	if !it.racy() {
		return true
	}
	sha, st, busy, err := v.hashFile(ctx, v.disk, path, v.d.Now())
	if err == nil && !busy && st == it.stat && sha == it.sha {
		return true
	}
	it.sha = [32]byte{}
	v.lookAt(it)
	v.index.refresh(it)
	return false
}
