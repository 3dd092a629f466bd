package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"
	"unsafe"

	"signet/core/tree"
	"signet/device/engine"
	"signet/device/ignore"
)

// A disk is a file system in memory that knows durable from volatile. Folders
// and files are nodes with a number; names are in folders. Names are durable
// once a folder was synced, bytes once a file was: after a power cut there may
// be less, never something else.
type disk struct {
	w      *world
	name   string
	nodes  map[uint64]*node
	next   uint64
	past   []moment         // after each change of names since the last one that is durable; the first is that
	open   map[uint64]int   // files that a program has open for writing
	trash  map[string]*node // what the engine displaced or deleted, by id
	reuse  bool             // numbers of nodes that are gone are given again
	grain  time.Duration    // of times
	fault  func(op, path string) error
	choice uint64 // durable at once
	thrown int    // how often something came into the trash
	turned int    // how often the name of the rules went to something else, or to nothing
	moves  []move // of folders, in their order
	watch  []chan engine.Event

	letters letters
	caps    tree.Caps // what of that is found out

	lost func(content []byte) // a user's own doing: overwritten or removed
}

// A move gave a folder another path.
type move struct{ from, to string }

// A moment is what all names led to at a time.
type moment struct {
	at    time.Time
	nodes map[uint64]*node
}

// writeback is after how long a system writes by itself what was changed.
const writeback = 40 * time.Second

// node is a file, link or folder; never changed, only replaced.
type node struct {
	stat   tree.Stat
	data   []byte
	synced []byte            // what a power cut leaves of data; nil: nothing is sure
	wrote  time.Time         // when data was changed last
	kids   map[string]uint64 // of a folder
}

// content is data as a string. It is not copied: data is replaced, never changed.
func (n *node) content() string { return unsafe.String(unsafe.SliceData(n.data), len(n.data)) }

const rootNode = 2

var (
	errChanged  = errors.New("changed meanwhile")
	errTaken    = errors.New("the name is taken")
	errNotEmpty = errors.New("the folder is not empty")

	errNotFolder = errors.New("not a folder") // something on the way to a name
	errNoSpace   = errors.New("no space left")
	errIO        = errors.New("input/output error")
)

func classify(err error) engine.Fault {
	switch {
	case errors.Is(err, errChanged), errors.Is(err, errNotEmpty), errors.Is(err, errNotFolder):
		return engine.Changed
	case errors.Is(err, errTaken):
		return engine.Taken
	case errors.Is(err, fs.ErrNotExist):
		return engine.NotThere
	case errors.Is(err, errNoSpace):
		return engine.NoRoom
	case errors.Is(err, fs.ErrPermission):
		return engine.Denied
	}
	return engine.Trouble
}

func newDisk(w *world, name string) *disk {
	d := &disk{w: w, name: name, nodes: map[uint64]*node{}, next: rootNode + 1, open: map[uint64]int{}, trash: map[string]*node{}, grain: 1}
	d.nodes[rootNode] = &node{stat: tree.Stat{Type: tree.Dir, Mode: 0o755, Dev: 1, Inode: rootNode, Birth: 1, Links: 1}, kids: map[string]uint64{}}
	d.durable()
	return d
}

func (d *disk) now() int64 { return time.Now().Truncate(d.grain).UnixNano() }

// tell has those who watch look at a path. Who does not keep up is told that
// something was missed.
func (d *disk) tell(p string, kind engine.EventKind) {
	p = d.heard(p)
	for _, w := range d.watch {
		select {
		case w <- engine.Event{Path: p, Kind: kind}:
			continue
		default:
		}
		<-w // the oldest gives way
		w <- engine.Event{Kind: engine.Overflow}
	}
}

// changed remembers the names as they are now.
func (d *disk) changed() { d.past = append(d.past, moment{time.Now(), maps.Clone(d.nodes)}) }

// durable says that the names as they are survive a power cut.
func (d *disk) durable() { d.past = []moment{{time.Now(), maps.Clone(d.nodes)}} }

// powerCut loses names from some moment on, and bytes that were not synced:
// all, some, or none of them. It returns the contents that files had which it tore,
// also those of files that had no name any more and have it again.
func (d *disk) powerCut(rnd *rand.Rand) (tore map[string]bool) {
	were := map[uint64]string{}
	sure := time.Now().Add(-writeback)
	for len(d.past) > 1 && d.past[1].at.Before(sure) {
		d.past = d.past[1:]
	}
	d.nodes = maps.Clone(d.past[rnd.IntN(len(d.past))].nodes)
	for _, n := range sortedKeys(d.nodes) {
		x := *d.nodes[n]
		if x.stat.Type != tree.File || bytes.Equal(x.data, x.synced) || x.wrote.Before(sure) {
			continue
		}
		was := x.content()
		switch rnd.IntN(3) {
		case 0:
			x.data = x.synced
		case 1: // its length is there, some of its bytes are not
			torn := make([]byte, len(x.data))
			copy(torn, x.data[:rnd.IntN(len(x.data)+1)])
			x.data = torn
		}
		if x.content() != was {
			were[n] = was
		}
		x.synced, x.stat.Size = x.data, int64(len(x.data))
		d.nodes[n] = &x
	}
	// What is nowhere in a folder is gone, but for the trash, which is one.
	live := map[uint64]bool{rootNode: true}
	var mark func(uint64)
	mark = func(n uint64) {
		for _, k := range d.nodes[n].kids {
			live[k] = true
			mark(k)
		}
	}
	mark(rootNode)
	maps.DeleteFunc(d.nodes, func(n uint64, _ *node) bool { return !live[n] })
	clear(d.open)
	d.durable()
	tore = map[string]bool{}
	for n, was := range were {
		if live[n] {
			tore[was] = true
		}
	}
	return tore
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

func split(p string) (folder, name string) {
	folder, name = path.Split(p)
	return strings.TrimSuffix(folder, "/"), name
}

// find is the node of a path.
func (d *disk) find(p string) (uint64, *node) {
	at := uint64(rootNode)
	if p == "" {
		return at, d.nodes[at]
	}
	for name := range strings.SplitSeq(p, "/") {
		if _, at = d.kid(d.nodes[at], name); at == 0 {
			return 0, nil
		}
	}
	return at, d.nodes[at]
}

func (d *disk) lookup(p string) (uint64, *node, error) {
	id, n := d.find(p)
	if n != nil {
		return id, n, nil
	}
	for folder := p; folder != ""; {
		folder, _ = split(folder)
		if _, n := d.find(folder); n != nil && n.stat.Type != tree.Dir {
			return 0, nil, fmt.Errorf("%s: %w", p, errNotFolder)
		}
	}
	return 0, nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
}

// set replaces a node.
func (d *disk) set(id uint64, f func(*node)) *node {
	x := *d.nodes[id]
	x.kids = maps.Clone(x.kids)
	f(&x)
	d.nodes[id] = &x
	return &x
}

// name puts a node in a folder, or with 0 takes the name away.
// One that is there keeps its spelling.
func (d *disk) link(p string, id uint64) error {
	p = d.heard(p) // by its name of before, where that goes
	defer d.tell(p, engine.Touched)
	folder, name := split(p)
	f, n, err := d.lookup(folder)
	if err != nil {
		return err
	}
	if n.stat.Type != tree.Dir {
		return fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
	}
	now := d.now()
	name, old := d.kid(n, name)
	if f == rootNode && name == ignore.File && !d.alike(old, id) {
		d.turned++
	}
	d.set(f, func(n *node) {
		if id == 0 {
			delete(n.kids, name)
		} else {
			n.kids[name] = id
		}
		n.stat.MTime, n.stat.CTime = now, now
	})
	return nil
}

// alike reports whether two nodes are files with the same bytes.
func (d *disk) alike(a, b uint64) bool {
	x, y := d.nodes[a], d.nodes[b]
	return x != nil && y != nil && x.stat.Type == tree.File && y.stat.Type == tree.File && bytes.Equal(x.data, y.data)
}

func (d *disk) free(p string) error {
	if _, n := d.find(p); n != nil {
		return fmt.Errorf("%s: %w", p, errTaken)
	}
	return nil
}

// held reports whether a node that has no name is there all the same: open, or
// in the trash.
func (d *disk) held(id uint64) bool {
	for _, n := range d.trash {
		if n.stat.Inode == id {
			return true
		}
	}
	return d.open[id] > 0
}

func (d *disk) create(s tree.Stat, data []byte) uint64 {
	id := d.next
	for d.reuse && id > rootNode+1 && d.nodes[id-1] == nil && !d.held(id-1) {
		id--
	}
	d.next = max(d.next, id+1)
	now := d.now()
	s.Dev, s.Inode, s.Links, s.Size, s.CTime, s.Birth = 1, id, 1, int64(len(data)), now, now
	if d.reuse {
		s.Birth = 0
	}
	if s.MTime == 0 {
		s.MTime = now
	}
	n := &node{stat: s, data: data, wrote: time.Now()}
	if s.Type == tree.Dir {
		n.kids, n.stat.Size = map[string]uint64{}, 0
	}
	d.nodes[id] = n
	return id
}

// move renames; what has the name is taken away before, and returned. Where both are one
// name, it is spelt the new way from then on, or nothing happens.
func (d *disk) move(from, to string) (over *node, err error) {
	id, n, err := d.lookup(from)
	if err != nil {
		return nil, err
	}
	if d.inside(to, id) && !d.respells(from, to) {
		return nil, fmt.Errorf("%s into itself: %w", from, fs.ErrInvalid)
	}
	was := d.spelt(from)
	old, x := d.find(to)
	if old == id {
		d.link(from, 0)
	} else if x != nil {
		if x.stat.Type == tree.Dir && len(x.kids) > 0 || (x.stat.Type == tree.Dir) != (n.stat.Type == tree.Dir) {
			return nil, fmt.Errorf("%s: %w", to, errTaken)
		}
		over = x
		delete(d.nodes, old)
		if d.letters.fold && !d.letters.stiff {
			d.link(to, 0) // and with it how it was spelt
		}
	}
	if err := d.link(to, id); err != nil {
		return nil, err
	}
	if old != id {
		d.link(from, 0)
	}
	if n.stat.Type == tree.Dir {
		d.moves = append(d.moves, move{was, d.spelt(to)})
	}
	d.tell(to, engine.Arrived)
	now := d.now()
	d.set(id, func(n *node) { n.stat.CTime = now })
	return over, nil
}

// inside reports whether a path leads to a node or into it.
func (d *disk) inside(p string, id uint64) bool {
	for ; p != ""; p, _ = split(p) {
		if at, _ := d.find(p); at == id {
			return true
		}
	}
	return false
}

// respells reports whether a rename only has a node's name be spelt otherwise.
func (d *disk) respells(from, to string) bool {
	a, _ := d.find(from)
	b, _ := d.find(to)
	_, was := split(d.spelt(from))
	_, will := split(to)
	return a == b && !d.letters.stiff && was != d.letters.given(will)
}

func (d *disk) remove(p string) (*node, error) {
	id, n, err := d.lookup(p)
	if err != nil {
		return nil, err
	}
	if len(n.kids) > 0 {
		return nil, fmt.Errorf("%s: %w", p, errNotEmpty)
	}
	d.link(p, 0)
	delete(d.nodes, id)
	return n, nil
}

// walk calls f for all that is below a folder, in order of names.
func (d *disk) walk(p string, f func(p string, id uint64, n *node)) {
	_, n := d.find(p)
	if n == nil {
		return
	}
	for _, name := range d.kidsOf(n) {
		at := name
		if p != "" {
			at = p + "/" + name
		}
		id := n.kids[name]
		f(at, id, d.nodes[id])
		d.walk(at, f)
	}
}

// A folderOf is the disk as one life of the engine sees it.
type folderOf struct {
	*disk
	life           *life
	volume, region string
	stagings       map[string]*staged
	blind          bool // cannot be watched
	nth            int
}

func (v *folderOf) step(what string, f func() error) (err error) {
	op, p, _ := strings.Cut(what, " ")
	if e := v.w.do(v.name+".engine", what, v.life, func() {
		if v.fault != nil {
			err = v.fault(op, p)
		}
		if err == nil {
			err = f()
		}
	}); e != nil {
		return e
	}
	return err
}

func (v *folderOf) Identity() (string, string) { return v.volume, v.region }
func (v *folderOf) Caps() tree.Caps            { return v.caps }
func (v *folderOf) Choice() (uint64, error)    { return v.choice, nil }
func (v *folderOf) SetChoice(n uint64) error {
	return v.step("note choice", func() error { v.choice = n; return nil })
}
func (v *folderOf) Close() error { return nil }
func (v *folderOf) Check() error { return v.step("check", func() error { return nil }) }

func (v *folderOf) Free() (uint64, uint64, error) { return 1 << 40, 1 << 41, nil }

func (v *folderOf) Watch(context.Context, func(string) bool) (<-chan engine.Event, error) {
	if v.blind {
		return nil, errors.New("no watch here")
	}
	w := make(chan engine.Event, 64) // filled by the step that changes something, so that it is full at once
	v.watch = append(v.watch, w)
	return w, nil
}

func (v *folderOf) Scan(_ context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	queue := []string{from}
	for len(queue) > 0 {
		folder := queue[0]
		queue = queue[1:]
		l := engine.Listing{Path: folder}
		err := v.step("list "+folder, func() error {
			_, n, err := v.lookup(folder)
			if err == nil && n.stat.Type != tree.Dir {
				err = fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
			}
			if err != nil {
				return err
			}
			l.Stat = n.stat
			for _, name := range v.kidsOf(n) {
				l.Entries = append(l.Entries, engine.Entry{Name: name, Stat: v.nodes[n.kids[name]].stat})
			}
			return nil
		})
		if errors.Is(err, errDead) {
			return err
		}
		l.Err = err
		for _, e := range l.Entries {
			if e.Stat.Type == tree.Dir && (skip == nil || !skip(join(folder, e.Name))) {
				queue = append(queue, join(folder, e.Name))
			}
		}
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

func (v *folderOf) Stat(p string) (st tree.Stat, err error) {
	err = v.step("stat "+p, func() error {
		_, n, err := v.lookup(p)
		if err == nil {
			st = n.stat
		}
		return err
	})
	return st, err
}

type reading struct {
	io.ReadSeeker
	io.ReaderAt
	v    *folderOf
	path string
	id   uint64
	stat tree.Stat
}

func (r *reading) Stat() tree.Stat { return r.stat }
func (r *reading) Writing() bool   { return r.v.open[r.id] > 0 }
func (r *reading) Close() error    { return nil }

func (r *reading) Unchanged() error {
	return r.v.step("unchanged "+r.path, func() error {
		if _, n := r.v.find(r.path); n == nil || !untouched(n.stat, r.stat) {
			return errChanged
		}
		return nil
	})
}

// Read opens a file. Its bytes come in two halves, with a step between, so that
// a writer can get between them.
func (v *folderOf) Read(p string) (engine.Reading, error) {
	var r *reading
	err := v.step("read "+p, func() error {
		id, n, err := v.lookup(p)
		if err == nil && n.stat.Type != tree.File {
			err = fmt.Errorf("%s: not a file", p)
		}
		if err != nil {
			return err
		}
		b := slices.Clone(n.data)
		r = &reading{bytes.NewReader(b), bytes.NewReader(b), v, p, id, n.stat}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = v.step("read on "+p, func() error {
		n := v.nodes[r.id]
		if n == nil {
			return nil // removed, but open
		}
		first, half := make([]byte, len(n.data)), int(r.stat.Size/2)
		r.ReaderAt.ReadAt(first, 0)
		b := slices.Concat(first[:min(half, len(first))], n.data[min(half, len(n.data)):])
		r.ReadSeeker, r.ReaderAt = bytes.NewReader(b), bytes.NewReader(b)
		return nil
	})
	return r, err
}

// What the engine expects of a stat: see device/disk.
func same(a, b tree.Stat) bool {
	return a.Type == b.Type && a.Dev == b.Dev && a.Inode == b.Inode && (a.Birth == b.Birth || a.Birth == 0 || b.Birth == 0)
}

func unmoved(a, b tree.Stat) bool {
	if !same(a, b) || a.Type == tree.Dir {
		return same(a, b)
	}
	return a.Size == b.Size && a.MTime == b.MTime && a.Mode == b.Mode && a.Target == b.Target
}

func untouched(a, b tree.Stat) bool {
	return unmoved(a, b) && (a.CTime == b.CTime || a.Type == tree.Dir)
}

// staged is a file in the making. One with a name outlives the life that began
// it.
type staged struct {
	v        *folderOf
	name     string
	data     []byte
	pos      int
	mode     uint32
	mtime    int64
	finished bool
	synced   bool
}

func (v *folderOf) Stage(name string) (engine.Staged, error) {
	s := &staged{v: v, name: name}
	if name == "" {
		v.nth++
		return s, v.step(fmt.Sprintf("stage %d", v.nth), func() error { return nil })
	}
	return s, v.step("stage again", func() error {
		if old := v.stagings[name]; old != nil {
			s.data = slices.Clone(old.data)
		}
		v.stagings[name] = s
		return nil
	})
}

func (v *folderOf) StagedSize(name string) int64 {
	if s := v.stagings[name]; s != nil {
		return int64(len(s.data))
	}
	return 0
}

func (s *staged) Write(p []byte) (int, error) {
	n, err := s.WriteAt(p, int64(s.pos))
	s.pos += n
	return n, err
}

func (s *staged) WriteAt(p []byte, off int64) (int, error) {
	err := s.v.step(fmt.Sprintf("write %d at %d", len(p), off), func() error {
		if need := int(off) + len(p); need > len(s.data) {
			s.data = append(s.data, make([]byte, need-len(s.data))...)
		}
		copy(s.data[off:], p)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *staged) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.data).ReadAt(p, off)
}

func (s *staged) Truncate(size int64) error {
	s.data = append(s.data, make([]byte, max(0, int(size)-len(s.data)))...)[:size]
	return nil
}

func (s *staged) Finish(mode uint32, mtime int64) error {
	s.mode, s.mtime, s.finished = mode&0o777, mtime, true
	return nil
}

func (s *staged) Discard() error {
	if s.v.stagings[s.name] == s {
		delete(s.v.stagings, s.name)
	}
	return nil
}

func (s *staged) Suspend() error { return nil }

func (v *folderOf) Settle(_ context.Context, files []engine.Staged) error {
	return v.step(fmt.Sprintf("settle %d", len(files)), func() error {
		for _, f := range files {
			s := f.(*staged)
			if !s.finished {
				return errors.New("settle: not finished")
			}
			s.synced = true
		}
		return nil
	})
}

// put makes the node of a staged file.
func (v *folderOf) put(f engine.Staged) (uint64, error) {
	s := f.(*staged)
	if !s.synced {
		return 0, errors.New("placed before it was synced")
	}
	s.Discard()
	id := v.create(tree.Stat{Type: tree.File, Mode: s.mode, MTime: s.mtime}, slices.Clone(s.data))
	v.set(id, func(n *node) { n.synced = n.data })
	return id, nil
}

func (v *folderOf) Place(f engine.Staged, p string) (st tree.Stat, err error) {
	err = v.step("place "+p, func() error {
		if err := v.free(p); err != nil {
			return err
		}
		if folder, _ := split(p); v.dirAt(folder) == nil {
			return fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
		}
		id, err := v.put(f)
		if err != nil {
			return err
		}
		st = v.nodes[id].stat
		defer v.changed()
		return v.link(p, id)
	})
	return st, err
}

func (d *disk) dirAt(p string) *node {
	if _, n := d.find(p); n != nil && n.stat.Type == tree.Dir {
		return n
	}
	return nil
}

// expected is the node at a path, if it is what the engine believes.
func (d *disk) expected(p string, want tree.Stat) (uint64, *node, error) {
	id, n := d.find(p)
	if n == nil || !untouched(n.stat, want) {
		return 0, nil, fmt.Errorf("%s: %w", p, errChanged)
	}
	return id, n, nil
}

func (v *folderOf) Replace(f engine.Staged, p string, expect tree.Stat, keep string) (st tree.Stat, was engine.Displaced, err error) {
	err = v.step("replace "+p, func() error {
		_, old, err := v.expected(p, expect)
		if err != nil {
			return err
		}
		id, err := v.put(f)
		if err != nil {
			return err
		}
		was = v.displace(p, old, keep)
		st = v.nodes[id].stat
		defer v.changed()
		return v.link(p, id)
	})
	return st, was, err
}

func (v *folderOf) ReplaceLink(target, p string, expect tree.Stat, keep string) (st tree.Stat, was engine.Displaced, err error) {
	err = v.step("replace link "+p, func() error {
		_, old, err := v.expected(p, expect)
		if err != nil {
			return err
		}
		id := v.create(tree.Stat{Type: tree.Link, Mode: 0o777, Target: target}, nil)
		was = v.displace(p, old, keep)
		st = v.nodes[id].stat
		defer v.changed()
		return v.link(p, id)
	})
	return st, was, err
}

// displaced is a file in the trash. A program that has it open can write to it.
type displaced struct {
	v    *folderOf
	id   string
	stat tree.Stat
}

func (v *folderOf) displace(p string, old *node, keep string) displaced {
	v.thrown++
	id := fmt.Sprintf("%s %d %s", keep, v.thrown, p)
	v.trash[id] = old
	delete(v.nodes, old.stat.Inode)
	return displaced{v, id, old.stat}
}

func (x displaced) Changed() (bool, error) {
	n := x.v.trash[x.id]
	if n == nil {
		return false, fs.ErrNotExist
	}
	return n.stat.CTime != x.stat.CTime || n.stat.MTime != x.stat.MTime || n.stat.Size != x.stat.Size, nil
}

func (x displaced) Writing() bool { return x.v.open[x.stat.Inode] > 0 }

func (x displaced) Rescue(p string) error {
	return x.v.step("rescue "+p, func() error {
		if err := x.v.free(p); err != nil {
			return err
		}
		n := x.v.trash[x.id]
		if n == nil || x.v.nodes[n.stat.Inode] != nil {
			return fs.ErrNotExist
		}
		x.v.nodes[n.stat.Inode] = n
		if err := x.v.link(p, n.stat.Inode); err != nil { // it stays where it is
			delete(x.v.nodes, n.stat.Inode)
			return err
		}
		delete(x.v.trash, x.id)
		x.v.changed()
		return nil
	})
}

func (x displaced) Drop() error {
	return x.v.step("drop "+x.id, func() error {
		if changed, err := x.Changed(); err != nil || changed {
			return cmp.Or(err, errChanged)
		}
		delete(x.v.trash, x.id)
		return nil
	})
}

func (v *folderOf) Symlink(target, p string) (st tree.Stat, err error) {
	err = v.step("link "+p, func() error {
		if err := v.free(p); err != nil {
			return err
		}
		id := v.create(tree.Stat{Type: tree.Link, Mode: 0o777, Target: target}, nil)
		st = v.nodes[id].stat
		defer v.changed()
		return v.link(p, id)
	})
	return st, err
}

func (v *folderOf) Mkdir(p string, mode uint32) (st tree.Stat, err error) {
	err = v.step("mkdir "+p, func() error {
		if err := v.free(p); err != nil {
			return err
		}
		if folder, _ := split(p); v.dirAt(folder) == nil {
			return fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
		}
		id := v.create(tree.Stat{Type: tree.Dir, Mode: mode & 0o777}, nil)
		st = v.nodes[id].stat
		defer v.changed()
		return v.link(p, id)
	})
	return st, err
}

func (v *folderOf) Move(from, to string, expect tree.Stat) (st tree.Stat, err error) {
	err = v.step("move "+from+" -> "+to, func() error {
		id, n := v.find(from)
		if n == nil || !same(n.stat, expect) {
			return errChanged
		}
		if err := v.free(to); err != nil && !v.respells(from, to) {
			return err
		}
		if folder, _ := split(to); v.dirAt(folder) == nil {
			return fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
		}
		defer v.changed()
		if _, err := v.move(from, to); err != nil {
			return err
		}
		st = v.nodes[id].stat
		return nil
	})
	return st, err
}

func (v *folderOf) SetMeta(p string, expect tree.Stat, mode uint32, mtime int64) (st tree.Stat, err error) {
	err = v.step("set "+p, func() error {
		id, _, err := v.expected(p, expect)
		if err != nil {
			return err
		}
		now := v.now()
		st = v.set(id, func(n *node) { n.stat.Mode, n.stat.MTime, n.stat.CTime = mode&0o777, mtime, now }).stat
		v.tell(p, engine.Touched)
		v.changed()
		return nil
	})
	return st, err
}

func (v *folderOf) Trash(p string, expect tree.Stat, id string) (was engine.Displaced, err error) {
	err = v.step("trash "+p, func() error {
		_, n, err := v.expected(p, expect)
		if err != nil {
			return err
		}
		if n.stat.Type == tree.Dir {
			return fmt.Errorf("%s: a folder", p)
		}
		was = v.displace(p, n, id)
		defer v.changed()
		return v.link(p, 0)
	})
	return was, err
}

func (v *folderOf) Displaced(id, p string, was tree.Stat) (old engine.Displaced, err error) {
	err = v.step("find displaced "+p, func() error {
		for _, key := range sortedKeys(v.trash) {
			n := v.trash[key]
			if n.stat.Inode != was.Inode || !strings.HasPrefix(key, id+" ") || !strings.HasSuffix(key, " "+p) {
				continue
			}
			st := n.stat // what was written since shows in size and mtime
			if st.Size != was.Size || st.MTime != was.MTime {
				st.CTime--
			}
			old = displaced{v, key, st}
			return nil
		}
		return fs.ErrNotExist
	})
	return old, err
}

func (v *folderOf) RemoveDir(p string) error {
	return v.step("rmdir "+p, func() error {
		_, n, err := v.lookup(p)
		if err != nil {
			return err
		}
		if n.stat.Type != tree.Dir {
			return errChanged
		}
		defer v.changed()
		_, err = v.remove(p)
		return err
	})
}

func (v *folderOf) Sync(context.Context) error {
	return v.step("sync", func() error { v.durable(); return nil })
}
