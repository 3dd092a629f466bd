package tree

import (
	"bytes"
	"fmt"
	"iter"
	"maps"

	"signet"
	"signet/core/wire"
)

// loader reads pages into a tree whose nodes hang together only at the end.
type loader struct {
	*Tree
	order   []placed
	moments map[moment]*moment
}

// A placed node is not hung on its parent yet.
type placed struct {
	*node
	below signet.NodeID
}

// Load reads the pages of a snapshot, in order, into a tree. It accepts what
// is well formed and a tree; that it is the right one, the caller learns from
// its Digest. Every error wraps wire.ErrMalformed.
func Load(pages iter.Seq[[]byte]) (*Tree, error) {
	l := &loader{Tree: New(), moments: map[moment]*moment{}}
	delete(l.nodes, signet.RootNode)
	next, total := 0, -1
	for p := range pages {
		r := wire.NewReader(p)
		l.page(r, next, &total)
		if err := r.Done(); err != nil {
			return nil, fmt.Errorf("snapshot page %d: %w", next, err)
		}
		if next++; next == 1 {
			l.expect(min(total*len(l.order), 1<<20)) // what a page says of itself is not to be trusted with more
		}
	}
	if next != total || pageCount(len(l.nodes)) != total {
		return nil, fmt.Errorf("snapshot of %d pages for %d records: %w", next, len(l.nodes), wire.ErrMalformed)
	}
	if err := l.connect(); err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", err, wire.ErrMalformed)
	}
	return l.Tree, nil
}

// Resume is Load of pages that are to have a digest under k, which a Digest of this
// device's own made. It hashes what it reads and does not encode it again: nothing but
// the encoding of that tree has the digest. So it must not be given a digest that
// somebody else names: what has it then may be another encoding of a tree.
func Resume(k DigestKey, digest signet.Hash, pages iter.Seq[[]byte]) (*Tree, error) {
	var hashes []signet.Hash
	t, err := Load(func(yield func([]byte) bool) {
		for p := range pages {
			if hashes = append(hashes, pageHash(k, p)); !yield(p) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	c := t.pages(k)
	copy(c.hashes, hashes)
	clear(c.dirty)
	if t.Digest(k) != digest {
		return nil, fmt.Errorf("a snapshot with another digest: %w", wire.ErrMalformed)
	}
	return t, nil
}

// expect makes room for so many nodes.
func (l *loader) expect(n int) {
	nodes, order := make(map[signet.NodeID]*node, n), make([]placed, len(l.order), max(n, len(l.order)))
	maps.Copy(nodes, l.nodes)
	copy(order, l.order)
	l.nodes, l.order = nodes, order
}

func (l *loader) page(r *wire.Reader, index int, total *int) {
	if f := r.U16(); f != pageFormat {
		r.Fail("page of format %d", f)
	}
	if i := r.U32(); int(i) != index {
		r.Fail("page %d", i)
	}
	n := int(r.U32())
	if *total < 0 {
		*total = n
	}
	if n != *total {
		r.Fail("page of %d, not %d", n, *total)
	}
	var last signet.NodeID
	for first := true; r.Len() > 0; first = false {
		var parent signet.NodeID
		r.Raw(parent[:])
		if !first && parent.Compare(last) <= 0 {
			r.Fail("folders out of order")
		}
		last = parent
		l.group(r, parent)
	}
}

func (l *loader) group(r *wire.Reader, parent signet.NodeID) {
	count := r.U32()
	if count == 0 {
		r.Fail("folder without records")
	}
	var last signet.NodeID
	for i := uint32(0); i < count && r.Err() == nil; i++ {
		n := l.record(r)
		if r.Err() != nil {
			return
		}
		if i > 0 && n.id.Compare(last) <= 0 {
			r.Fail("records out of order")
		}
		if l.nodes[n.id] != nil {
			r.Fail("a node twice")
		}
		last = n.id
		l.nodes[n.id] = n
		l.order = append(l.order, placed{n, parent})
	}
}

func (l *loader) record(r *wire.Reader) *node {
	n := &node{}
	r.Raw(n.id[:])
	n.typ = Type(r.U8())
	flags := r.U8()
	if flags >= hasMoved<<1 {
		r.Fail("record flags %#x", flags)
	}
	name := string(r.Vec16(MaxName))
	n.call(name)
	if !n.id.IsZero() && name != EscapeName(name) {
		r.Fail("name that replay does not make")
	}
	n.place = l.readStamp(r)
	n.content, n.attr = n.place, n.place
	if flags&hasContent != 0 {
		n.content = l.readStamp(r)
	}
	if flags&hasAttr != 0 {
		n.attr = l.readStamp(r)
		if *n.attr == *n.content {
			n.attr = n.content
		}
	}
	if flags&hasGone != 0 {
		n.gone = l.readStamp(r)
	}
	if flags&hasConflict != 0 {
		r.Raw(n.extra().conflictOf[:])
	}
	if flags&hasMoved != 0 {
		l.readMoved(r, n)
	}
	n.mode = r.U32()
	n.mtime = r.I64()
	switch n.typ {
	case File:
		n.size = r.I64()
		r.Raw(n.sha[:])
		r.Raw(n.pid[:])
		n.write(name, string(r.Vec16(maxContent)))
	case Link:
		n.write(name, string(r.Vec16(maxTarget)))
	case Dir:
	default:
		r.Fail("node of type %d", n.typ)
	}
	if n.size < 0 || n.mode > 0o7777 {
		r.Fail("size or mode out of range")
	}
	return n
}

func (l *loader) readStamp(r *wire.Reader) *stamp {
	var s stamp
	var m moment
	r.Raw(s.rev[:])
	m.pos = r.U64()
	s.op = r.U16()
	var d signet.DeviceID
	r.Raw(d[:])
	m.time = r.I64()
	if r.Err() == nil {
		m.device = l.intern(d)
	}
	if s.moment = l.moments[m]; s.moment == nil {
		first := m // m itself stays off the heap: nearly all stamps share a moment
		s.moment = &first
		l.moments[m] = s.moment
	}
	return &s
}

func (l *loader) readMoved(r *wire.Reader, n *node) {
	m := n.extra()
	var last signet.RevisionID
	for i := r.U32(); i > 0 && r.Err() == nil; i-- {
		d := redirect{node: n}
		var rev signet.RevisionID
		r.Raw(rev[:])
		d.pos = r.U64()
		d.op = r.U16()
		if _, twice := l.redirects[rev]; twice || len(m.redirects) > 0 && bytes.Compare(rev[:], last[:]) <= 0 {
			r.Fail("redirects out of order")
		}
		last = rev
		l.redirects[rev] = d
		m.redirects = append(m.redirects, rev)
	}
	var lastID signet.NodeID
	for i := r.U32(); i > 0 && r.Err() == nil; i-- {
		var id signet.NodeID
		r.Raw(id[:])
		if l.aliases[id] != nil || len(m.aliases) > 0 && id.Compare(lastID) <= 0 {
			r.Fail("aliases out of order")
		}
		lastID = id
		l.aliases[id] = n
		m.aliases = append(m.aliases, id)
	}
}

// connect hangs the nodes on their parents and checks that the result is what
// replay can make: one tree, folders above, live ancestors above the living.
func (l *loader) connect() error {
	root := l.nodes[signet.RootNode]
	if root == nil || root.typ != Dir || root.gone != nil {
		return fmt.Errorf("no root")
	}
	root.extra()
	l.root = root
	var p *node // of the node before, which mostly is its sibling
	for _, at := range l.order {
		n := at.node
		if p == nil || p.id != at.below {
			p = l.nodes[at.below]
		}
		if p == nil || p.typ != Dir {
			return fmt.Errorf("node below no folder")
		}
		n.parent = p
		if n == root {
			if p != root {
				return fmt.Errorf("root below a folder")
			}
			continue
		}
		if n.gone == nil {
			if p.gone != nil {
				return fmt.Errorf("living node below a deleted one")
			}
			l.count(n, 1)
		}
		n.link()
	}
	for id := range l.aliases {
		if l.nodes[id] != nil {
			return fmt.Errorf("alias of a node")
		}
	}
	return l.reachable()
}

// reachable fails if some nodes are on a cycle: those the root does not reach.
func (l *loader) reachable() error {
	seen := 0
	stack := []*node{l.root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		seen++
		if n.more == nil {
			continue
		}
		for _, head := range []*node{n.more.live, n.more.dead} {
			for k := head; k != nil; k = k.next {
				stack = append(stack, k)
			}
		}
	}
	if seen != len(l.nodes) {
		return fmt.Errorf("folders that hold each other")
	}
	return nil
}
