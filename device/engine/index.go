package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/core/wire"
)

// An item is what a volume last saw of one name on its disk: an observation.
type item struct {
	id       signet.NodeID
	parent   signet.NodeID
	name     string
	stat     tree.Stat
	sha      [32]byte  // of the content that stat is of; zero: not known
	hashedAt int64     // ns; a hash made soon after a change is made once more
	saved    int64     // ns, when the watch spoke of it last; 0: only a scan did
	counted  int64     // what of it is in the index's sum: see tally
	odd      *oddities // nil: it has none
}

// A tally counts files and their bytes, and those of them whose content is
// known.
type tally struct{ files, bytes, known, knownBytes int64 }

// tally brings the sum up to date with an item that is on the disk or is not.
// Of a file, counted is one more than its bytes; less than zero where its
// content is not known.
func (x *index) tally(it *item, there bool) {
	old := it.tally()
	it.counted = 0
	if there && it.stat.Type == tree.File {
		if it.counted = it.stat.Size + 1; it.sha == [32]byte{} {
			it.counted = -it.counted
		}
	}
	now := it.tally()
	x.sum.files += now.files - old.files
	x.sum.bytes += now.bytes - old.bytes
	x.sum.known += now.known - old.known
	x.sum.knownBytes += now.knownBytes - old.knownBytes
}

// tally is what of an item is in the index's sum.
func (it *item) tally() tally {
	switch n := it.counted; {
	case n > 0:
		return tally{1, n - 1, 1, n - 1}
	case n < 0:
		return tally{1, -n - 1, 0, 0}
	default:
		return tally{}
	}
}

// waiting reports whether the item is left alone until a program that writes
// to it is through. That it goes on writing is no reason to look sooner.
func (it *item) waiting() bool { return it.fault() != nil && it.fault().Kind == unsettled }

// racy reports whether it was hashed so soon after a change that another one
// may have left no trace.
func (it *item) racy() bool {
	if it.stat.Type != tree.File || it.sha == [32]byte{} || it.hashedAt == 0 {
		return false
	}
	changed := it.changed()
	return it.hashedAt >= changed && it.hashedAt-changed <= int64(racyWindow)
}

// changed is when it was changed last, in nanoseconds since 1970: by ctime where
// the disk has one, for a program can set mtime to anything.
func (it *item) changed() int64 {
	if it.stat.CTime != 0 {
		return it.stat.CTime
	}
	return it.stat.MTime
}

// fileKey finds an item by what the disk calls it.
type fileKey struct{ dev, inode uint64 }

// An index is a volume's memory: what is on the disk, and what disk and
// journal last agreed on. It is used by the volume's loop alone.
type index struct {
	items   map[signet.NodeID]*item
	base    bases
	kids    map[signet.NodeID]map[string]*item
	byKey   map[fileKey]*item
	blind   map[signet.NodeID]error // folders that were not listed completely
	dirty   map[signet.NodeID]bool  // rows to write
	loading bool                    // rows are read
	fresh   map[signet.NodeID]bool  // what changed since the last plan
	files   int                     // entries of base that are not folders
	seen    *uint64                 // journal position to store with the rows; nil: as before
	unread  map[signet.NodeID]*item // files whose content is not known
	racy    map[signet.NodeID]*item // files hashed so soon after a change that they are to be hashed again
	faulty  map[signet.NodeID]*item // what has a fault, or is nothing that syncs
	sum     tally                   // of all items
	// Names on the disk that are ignored, by their folders: true of those that
	// are folders.
	kept     map[signet.NodeID]map[string]bool
	away     map[signet.NodeID]bool // nodes of base that were taken to where they are ignored
	released map[signet.NodeID]bool // what is being taken from the disk because it is not selected: that it is gone is no deletion
	strayed  map[*item]bool         // that were seen where they are ignored, and not at their names since
	alike    map[string]*item       // what may be where it is ignored, by the path there: see seek
	shifted  bool                   // a folder has another path since the last plan, or not the journal's
	adrift   map[*item]bool         // whose names were found free, and taken: where they are now the next look tells
	ghosts   map[fileKey]*item      // what is gone from the disk and still in base: it may turn up yet
}

// newIndex has room for so many nodes.
func newIndex(nodes int) *index {
	return &index{items: make(map[signet.NodeID]*item, nodes), base: make(bases, nodes),
		kids: map[signet.NodeID]map[string]*item{}, byKey: make(map[fileKey]*item, nodes), blind: map[signet.NodeID]error{},
		dirty: map[signet.NodeID]bool{},
		fresh: map[signet.NodeID]bool{}, unread: map[signet.NodeID]*item{}, racy: map[signet.NodeID]*item{},
		kept: map[signet.NodeID]map[string]bool{}, away: map[signet.NodeID]bool{}, strayed: map[*item]bool{}, alike: map[string]*item{}, released: map[signet.NodeID]bool{},
		faulty: map[signet.NodeID]*item{}, adrift: map[*item]bool{}, ghosts: map[fileKey]*item{}}
}

// mark notes that what is known of a node changed.
func (x *index) mark(id signet.NodeID) {
	if x.loading {
		return // it is what is stored, and no plan was made of it
	}
	x.dirty[id] = true
	x.fresh[id] = true
}

// agree sets what disk and journal agree on about a node, and forget ends it.
func (x *index) agree(id signet.NodeID, b plan.Base) {
	away := x.away[id]
	x.forget(id)
	if away {
		x.away[id] = true
	}
	x.base.set(id, b)
	if b.Type != tree.Dir {
		x.files++
	}
}

func (x *index) forget(id signet.NodeID) {
	if b := x.base[id]; b != nil {
		delete(x.base, id)
		if b.typ != tree.Dir {
			x.files--
		}
	}
	delete(x.away, id)
	delete(x.released, id)
	x.mark(id)
}

// identical reports whether two stats are of one thing on the disk. Inode
// numbers are used again at once, so the birth time decides where there is one;
// where there is none, a file must also look as it did.
func identical(a, b tree.Stat) bool {
	if a.Dev != b.Dev || a.Inode != b.Inode || a.Type != b.Type {
		return false
	}
	if a.Birth != 0 && b.Birth != 0 {
		return a.Birth == b.Birth
	}
	return a.Type == tree.Dir || a.Size == b.Size && a.MTime == b.MTime
}

// sameBytes reports whether equal stats promise equal content.
func sameBytes(a, b tree.Stat) bool {
	return identical(a, b) && a.Size == b.Size && a.MTime == b.MTime && a.CTime == b.CTime && a.Target == b.Target
}

// put makes it the item of its node, at its place.
func (x *index) put(it *item) {
	if x.kids[it.parent] == nil {
		x.kids[it.parent] = map[string]*item{}
	}
	if old := x.kids[it.parent][it.name]; old != nil && old != it {
		x.adrift[old] = true
	}
	delete(x.adrift, it)
	delete(x.strayed, it)
	delete(x.away, it.id)
	delete(x.released, it.id)
	x.kids[it.parent][it.name] = it
	x.items[it.id] = it
	x.refresh(it)
}

// refresh brings what is derived from an item up to date.
func (x *index) refresh(it *item) {
	x.byKey[fileKey{it.stat.Dev, it.stat.Inode}] = it
	if it.stat.Type == tree.File && it.sha == [32]byte{} {
		x.unread[it.id] = it
	} else {
		delete(x.unread, it.id)
	}
	if it.racy() {
		x.racy[it.id] = it
	} else {
		delete(x.racy, it.id)
	}
	x.tally(it, true)
	if it.fault() != nil || it.stat.Type == tree.Other {
		x.faulty[it.id] = it
	} else {
		delete(x.faulty, it.id)
	}
	x.mark(it.id)
}

// detach takes an item from its place; it stays known by its identity.
func (x *index) detach(it *item) {
	if x.kids[it.parent][it.name] == it {
		delete(x.kids[it.parent], it.name)
	}
}

// drop forgets that an item, and what is below it, is on the disk.
func (x *index) drop(it *item) {
	x.detach(it)
	delete(x.items, it.id)
	delete(x.unread, it.id)
	delete(x.racy, it.id)
	delete(x.faulty, it.id)
	delete(x.adrift, it)
	delete(x.strayed, it)
	x.tally(it, false)
	if k := (fileKey{it.stat.Dev, it.stat.Inode}); x.byKey[k] == it {
		delete(x.byKey, k)
		if x.base.has(it.id) {
			x.ghosts[k] = it
		}
	}
	x.mark(it.id)
	if x.released[it.id] {
		x.forget(it.id)
	}
	for _, k := range x.kids[it.id] {
		if x.strayed[k] {
			x.dropAway(k) // its folder was removed, it was not
		} else {
			x.drop(k)
		}
	}
	delete(x.kids, it.id)
	delete(x.blind, it.id)
	delete(x.kept, it.id)
	x.shifted = x.shifted || it.stat.Type == tree.Dir
}

// move gives an item another place.
func (x *index) move(it *item, parent signet.NodeID, name string) {
	x.detach(it)
	it.parent, it.name = parent, name
	x.put(it)
	x.shifted = x.shifted || it.stat.Type == tree.Dir
}

// rebind makes an item another node.
func (x *index) rebind(from, to signet.NodeID) {
	it := x.items[from]
	if it == nil {
		return
	}
	if old := x.items[to]; old != nil {
		x.drop(old)
	}
	kids := x.kids[from]
	delete(x.kids, from)
	delete(x.items, from)
	delete(x.unread, from)
	delete(x.racy, from)
	delete(x.faulty, from)
	x.mark(from)
	if err, ok := x.blind[from]; ok {
		delete(x.blind, from)
		x.blind[to] = err
	}
	if names, ok := x.kept[from]; ok {
		delete(x.kept, from)
		x.kept[to] = names
	}
	x.shifted = x.shifted || it.stat.Type == tree.Dir
	it.id = to
	x.put(it)
	for _, k := range kids {
		k.parent = to
		x.put(k)
	}
}

// path is where an item lies, relative to the volume; ok is false where a
// folder above it is not known.
func (x *index) path(id signet.NodeID) (string, bool) {
	var parts []string
	for id != signet.RootNode {
		it := x.items[id]
		if it == nil || len(parts) > 4096 {
			return "", false
		}
		parts = append(parts, it.name)
		id = it.parent
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/"), true
}

// folders are the folders that an item is in, the nearest first.
func (x *index) folders(it *item) (list []signet.NodeID) {
	for id := it.parent; ; id = x.items[id].parent {
		list = append(list, id)
		if id == signet.RootNode || x.items[id] == nil {
			return list
		}
	}
}

// place is where a name in a folder lies.
func (x *index) place(parent signet.NodeID, name string) (string, bool) {
	p, ok := x.path(parent)
	if p != "" {
		p += "/"
	}
	return p + name, ok
}

// find is the node at a path.
func (x *index) find(path string) (signet.NodeID, bool) {
	id := signet.RootNode
	if path == "" {
		return id, true
	}
	for part := range strings.SplitSeq(path, "/") {
		it := x.kids[id][part]
		if it == nil {
			return id, false
		}
		id = it.id
	}
	return id, true
}

// A sight is what was seen of one folder: all its names, or those in only.
type sight struct {
	Listing
	only []string // nil: the whole folder
}

// take takes in what was seen, a folder before those in it. A thing is known
// again by its identity, so a move is a move whether it was watched or not.
// What no longer has its name goes to lost, until it is seen under another; it
// returns the folders that were not those known by their paths: they are to be
// looked for first.
func (x *index) take(seen []sight, lost map[*item]bool, newID func() signet.NodeID) (crossed []string) {
	for _, s := range seen {
		folder, ok := x.find(s.Path)
		if !ok {
			continue // in a folder that went away since, or was never listed
		}
		// A rename crossed the look: what was listed is not this folder, and
		// says nothing of what is in it.
		if f := x.items[folder]; f != nil && s.Stat.Type != 0 && !identical(f.stat, s.Stat) {
			crossed = append(crossed, s.Path)
			continue
		}
		if s.Err != nil {
			x.blind[folder] = s.Err
		} else if s.only == nil {
			delete(x.blind, folder)
		}
		there := make(map[string]bool, len(s.Entries))
		for _, e := range s.Entries {
			there[e.Name] = true
			if e.ignored {
				x.leave(folder, join(s.Path, e.Name), e, lost)
			} else {
				x.see(folder, e, lost, newID)
			}
		}
		x.keep(folder, s, there)
		if s.Err != nil {
			continue
		}
		if s.only != nil {
			for _, n := range s.only {
				if it := x.kids[folder][n]; it != nil && !there[n] {
					x.detach(it)
					lost[it] = true
				}
			}
			continue
		}
		for n, it := range x.kids[folder] {
			if !there[n] {
				x.detach(it)
				lost[it] = true
			}
		}
	}
	return crossed
}

// restore gives lost things their names back, where nothing else has them: the
// look that missed them was not had to its end.
func (x *index) restore(lost map[*item]bool) {
	for it := range lost {
		if x.kids[it.parent][it.name] == nil {
			x.put(it)
		} else if x.kids[it.parent][it.name] != it {
			x.drop(it)
		}
	}
	clear(lost)
}

// gone are lost things that were not seen again, and what was in folders that are: what
// of it was moved away from there before is in no listing of theirs.
func (x *index) gone(lost map[*item]bool) map[*item]bool {
	gone := map[*item]bool{}
	for it := range lost {
		if x.kids[it.parent][it.name] != it {
			x.below(it, func(k *item) { gone[k] = true })
		}
	}
	return gone
}

// below calls f with an item and all that is known to be in it.
func (x *index) below(it *item, f func(*item)) {
	f(it)
	for _, k := range x.kids[it.id] {
		x.below(k, f)
	}
}

// lose forgets what is nowhere after all was taken in: it is gone from the
// disk; whether that is a deletion the planner decides.
func (x *index) lose(lost map[*item]bool) {
	maps.DeleteFunc(x.ghosts, func(_ fileKey, it *item) bool { return !x.base.has(it.id) })
	for it := range lost {
		switch {
		case x.kids[it.parent][it.name] == it: // seen again
		case x.strayed[it]:
			x.dropAway(it)
		default:
			x.drop(it)
		}
	}
}

// see takes in one name.
func (x *index) see(folder signet.NodeID, e Entry, lost map[*item]bool, newID func() signet.NodeID) {
	cur := x.kids[folder][e.Name]
	if e.Err != nil {
		if cur == nil {
			cur = &item{id: newID(), parent: folder, name: e.Name, stat: tree.Stat{Type: tree.Other}}
		}
		cur.blame(&Problem{Kind: "unreadable", Message: e.Err.Error()}, cur.busy())
		x.put(cur)
		return
	}
	if cur != nil && identical(cur.stat, e.Stat) {
		x.update(cur, e.Stat)
		return
	}
	// Something else has the name now. What had it may be found elsewhere yet.
	if cur != nil {
		x.detach(cur)
		lost[cur] = true
	}
	known := x.byKey[fileKey{e.Stat.Dev, e.Stat.Inode}]
	if known == nil {
		known = x.ghost(e.Stat)
	}
	// A second hard link has the identity of the first: it is a file of its own.
	if known != nil && identical(known.stat, e.Stat) && (e.Stat.Type == tree.Dir || e.Stat.Links <= 1 || lost[known]) && !x.above(known, folder) {
		x.detach(known)
		delete(lost, known)
		x.move(known, folder, e.Name)
		x.update(known, e.Stat)
		return
	}
	it := &item{id: newID(), parent: folder, name: e.Name, stat: e.Stat}
	if e.Stat.Type == tree.Dir {
		x.blind[it.id] = errNotListed
	}
	x.put(it)
}

// ghost is what was gone, and turns up while nobody was told of that: a rename
// whose second half was seen late, or what was moved out and back. A folder
// without a time of birth can be another one that got its number.
func (x *index) ghost(s tree.Stat) *item {
	k := fileKey{s.Dev, s.Inode}
	it := x.ghosts[k]
	if it == nil {
		return nil
	}
	delete(x.ghosts, k) // it is back, or its number is another's
	if !x.base.has(it.id) || x.items[it.id] != nil || s.Type == tree.Dir && s.Birth == 0 || !identical(it.stat, s) {
		return nil
	}
	if s.Type == tree.Dir {
		x.blind[it.id] = errNotListed // what was in it is not known any more
	}
	return it
}

var errNotListed = fmt.Errorf("not listed yet")

// above reports whether folder lies in it: a listing that a rename crossed can
// say so, and the next one knows better.
func (x *index) above(it *item, folder signet.NodeID) bool {
	for n := 0; folder != signet.RootNode && n < 4096; n++ {
		if folder == it.id {
			return true
		}
		f := x.items[folder]
		if f == nil {
			return false
		}
		folder = f.parent
	}
	return false
}

// update takes in a stat of a known thing.
func (x *index) update(it *item, s tree.Stat) {
	delete(x.strayed, it)
	if x.released[it.id] { // a crash came first
		delete(x.released, it.id)
		x.mark(it.id)
	}
	if it.stat == s && it.fault() == nil {
		return
	}
	same := sameBytes(it.stat, s)
	if !same {
		it.sha = [32]byte{}
	}
	switch {
	case it.waiting(): // until its time comes
	case same && !it.busy().IsZero(): // what was in the way has not changed
	default:
		it.calm()
	}
	it.stat = s
	x.refresh(it)
}

// row is what is stored of a node: its item and its base, either of which may
// be missing.
func (x *index) row(id signet.NodeID) []byte {
	it := x.items[id]
	b, based := x.base.Get(id)
	if it == nil && !based {
		return nil
	}
	var w wire.Writer
	format, flags := uint8(1), uint8(0)
	if it != nil {
		flags |= 1
		if it.mtime() != it.stat.MTime {
			format, flags = 2, flags|4
		}
	}
	if based {
		flags |= 2
		if x.away[id] {
			format, flags = 2, flags|8
		}
		if x.released[id] {
			format, flags = 3, flags|16
		}
	}
	w.U8(format)
	w.U8(flags)
	if it != nil {
		w.Raw(it.parent[:])
		w.Vec16([]byte(it.name))
		s := it.stat
		w.U8(uint8(s.Type))
		w.U32(s.Mode)
		for _, n := range []int64{s.Size, s.MTime, s.CTime, s.Birth, int64(s.Dev), int64(s.Inode), it.hashedAt} {
			w.I64(n)
		}
		w.U32(s.Links)
		w.Vec16([]byte(s.Target))
		w.Raw(it.sha[:])
		if flags&4 != 0 {
			w.I64(it.odd.asked)
		}
	}
	if based {
		w.Raw(b.Parent[:])
		w.Vec16([]byte(b.Name))
		w.U8(uint8(b.Type))
		for _, r := range []signet.RevisionID{b.Content, b.Place, b.Attr} {
			w.Raw(r[:])
		}
		w.I64(b.Size)
		w.Raw(b.Hash[:])
		w.Vec16([]byte(b.Target))
		w.U32(b.Mode)
		w.I64(b.MTime)
	}
	return w.B
}

// load takes in a stored row.
func (x *index) load(id signet.NodeID, row []byte) error {
	r := wire.NewReader(row)
	if v := r.U8(); r.Err() == nil && v < 1 || v > 3 {
		return fmt.Errorf("index row of format %d: %w", v, ErrNewer)
	}
	flags := r.U8()
	if flags&1 != 0 {
		it := &item{id: id}
		r.Raw(it.parent[:])
		it.name = string(r.Vec16(1<<16 - 1))
		s := &it.stat
		s.Type, s.Mode = tree.Type(r.U8()), r.U32()
		s.Size, s.MTime, s.CTime, s.Birth = r.I64(), r.I64(), r.I64(), r.I64()
		s.Dev, s.Inode = uint64(r.I64()), uint64(r.I64())
		it.hashedAt = r.I64()
		s.Links = r.U32()
		s.Target = string(r.Vec16(1<<16 - 1))
		r.Raw(it.sha[:])
		if flags&4 != 0 {
			it.gave(r.I64())
		}
		if r.Err() == nil {
			x.put(it)
			if s.Type == tree.Dir {
				x.blind[id] = errNotListed
			}
		}
	}
	if flags&2 != 0 {
		var b plan.Base
		r.Raw(b.Parent[:])
		if it := x.items[id]; it != nil {
			b.Name = it.name
		}
		if name := r.Vec16(1<<16 - 1); string(name) != b.Name { // mostly the same: one string for both
			b.Name = string(name)
		}
		b.Type = tree.Type(r.U8())
		for _, v := range []*signet.RevisionID{&b.Content, &b.Place, &b.Attr} {
			r.Raw(v[:])
		}
		b.Size = r.I64()
		r.Raw(b.Hash[:])
		b.Target = string(r.Vec16(1<<16 - 1))
		b.Mode, b.MTime = r.U32(), r.I64()
		if r.Err() == nil {
			x.agree(id, b)
			if flags&8 != 0 {
				x.away[id] = true
			}
			if flags&16 != 0 {
				x.released[id] = true
			}
		}
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("index row: %w", err)
	}
	return nil
}

// loadIndex reads a volume's rows, of which there are about so many. No folder
// counts as listed before it was.
func (s *Store) loadIndex(volume string, about int) (*index, error) {
	x := newIndex(about)
	x.loading = true
	rows, err := s.db.Query("SELECT node, row FROM nodes WHERE volume = ?", volume)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, row []byte
		if err := rows.Scan(&id, &row); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		if err := x.load(signet.NodeID(id), row); err != nil {
			return nil, err
		}
	}
	x.loading = false
	x.blind[signet.RootNode] = errNotListed
	return x, rows.Err()
}

// flush writes what changed in an index.
func (s *Store) flush(volume string, x *index) error {
	if len(x.dirty) == 0 {
		return nil
	}
	return s.flushBy(s.write, volume, x)
}

func (s *Store) flushBy(write func(func(*batch)) error, volume string, x *index) error {
	err := write(func(b *batch) {
		// In one transaction with the bases that they led to: else an entry is
		// acknowledged twice, or never.
		if x.seen != nil {
			b.exec("UPDATE volumes SET seen = ? WHERE id = ?", int64(*x.seen), volume)
		}
		var args []any
		for _, id := range slices.SortedFunc(maps.Keys(x.dirty), signet.NodeID.Compare) { // in the order of the table
			if row := x.row(id); row != nil {
				args = append(args, volume, id[:], row)
			} else {
				b.exec("DELETE FROM nodes WHERE volume = ? AND node = ?", volume, id[:])
			}
		}
		b.rows("INSERT OR REPLACE INTO nodes VALUES(?,?,?)", 3, args)
	})
	if err == nil {
		clear(x.dirty)
		x.seen = nil
	}
	return err
}
