package tree

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A DigestKey keys the state digest of a region. Derived from the region
// secret, which an ex-member has: so it hides nothing that the salts of
// revision ids do not hide.
type DigestKey [32]byte

const (
	pageFormat = 1
	perPage    = 512 // records that a page holds on average, at most
)

// digestCache is what Digest knows from its last call.
type digestCache struct {
	key    DigestKey
	shift  uint      // page of a bucket = bucket >> shift
	dirs   [][]*node // by page: nodes that have, or had, children
	hashes []signet.Hash
	dirty  []bool
}

// pageCount is a power of two and depends on the number of nodes and
// tombstones alone.
func pageCount(records int) int {
	n := 1
	for n*perPage < records {
		n *= 2
	}
	return n
}

func keyed(k DigestKey, l key.Label, parts ...[]byte) signet.Hash {
	m := hmac.New(sha256.New, k[:])
	m.Write([]byte(l))
	m.Write([]byte{0})
	for _, p := range parts {
		m.Write(p)
	}
	return signet.Hash(m.Sum(nil))
}

// touch notes that n's record changed.
func (t *Tree) touch(n *node) {
	t.changes.add(Change{Node: n.id})
	t.stale(n)
}

// touchPlace notes that n has come to live where it is, or has ceased or is
// about to cease to.
func (t *Tree) touchPlace(n *node) {
	t.changes.add(Change{Node: n.id, Placed: true, Folder: n.parent.id, Name: n.name()})
	t.stale(n)
}

// stale notes that the page which n is on is another now. Call it before and
// after n gets another parent.
func (t *Tree) stale(n *node) {
	c := t.cache
	if c == nil {
		return
	}
	p := n.parent
	c.place(p)
	c.dirty[p.more.bucket>>c.shift] = true
}

// place puts a folder on its page's list.
func (c *digestCache) place(dir *node) {
	m := dir.extra()
	if m.paged {
		return
	}
	h := keyed(c.key, key.LabelPage, dir.id[:])
	m.paged, m.bucket = true, binary.BigEndian.Uint64(h[:])
	c.dirs[m.bucket>>c.shift] = append(c.dirs[m.bucket>>c.shift], dir)
}

// pages brings the cache up to the tree. After the first call with a key, it
// costs what changed, unless the number of pages changed.
func (t *Tree) pages(k DigestKey) *digestCache {
	n := pageCount(len(t.nodes))
	c := t.cache
	if c != nil && c.key == k && len(c.dirs) == n {
		return c
	}
	fresh := &digestCache{
		key: k, shift: uint(64 - bits.TrailingZeros(uint(n))),
		dirs: make([][]*node, n), hashes: make([]signet.Hash, n), dirty: make([]bool, n),
	}
	for i := range fresh.dirty {
		fresh.dirty[i] = true
	}
	for _, d := range t.nodes {
		if d.more == nil || d.more.live == nil && d.more.dead == nil && d != t.root {
			continue
		}
		if c == nil || c.key != k {
			d.more.paged = false
		}
		if d.more.paged {
			p := d.more.bucket >> fresh.shift
			fresh.dirs[p] = append(fresh.dirs[p], d)
		} else {
			fresh.place(d)
		}
	}
	if c != nil {
		// A folder whose last child moved away is on no list now; it is
		// placed again with its next child.
		for _, dirs := range c.dirs {
			for _, d := range dirs {
				if d.more.live == nil && d.more.dead == nil && d != t.root {
					d.more.paged = false
				}
			}
		}
	}
	t.cache = fresh
	return fresh
}

// Digest is the keyed, canonical digest of the whole state: nodes, tombstones,
// redirects. Two trees have equal digests under a key iff they are equal. It
// costs what changed since the last call with the same key.
func (t *Tree) Digest(k DigestKey) signet.Hash {
	c := t.pages(k)
	leaves := make([]tlog.Hash, len(c.dirs))
	for i := range c.dirs {
		if c.dirty[i] {
			c.hashes[i] = pageHash(k, t.page(c, i))
			c.dirty[i] = false
		}
		leaves[i] = tlog.RecordHash(c.hashes[i][:])
	}
	root := merkle(leaves)
	return keyed(k, key.LabelDigest, []byte{2}, binary.BigEndian.AppendUint64(nil, uint64(len(t.nodes))), root[:])
}

func pageHash(k DigestKey, page []byte) signet.Hash {
	return keyed(k, key.LabelDigest, []byte{1}, page)
}

// Pages yields the snapshot of the tree: its pages in order, each with its
// hash, by which a writer knows the pages that did not change. Load reads
// them. Bodies must not Apply.
func (t *Tree) Pages(k DigestKey) iter.Seq2[[]byte, signet.Hash] {
	return func(yield func([]byte, signet.Hash) bool) {
		c := t.pages(k)
		for i := range c.dirs {
			b := t.page(c, i)
			c.hashes[i], c.dirty[i] = pageHash(k, b), false
			if !yield(b, c.hashes[i]) {
				return
			}
		}
	}
}

// PageHashes are those of the pages: a page whose hash is known need not be
// encoded again. They cost what Digest does. Do not modify.
func (t *Tree) PageHashes(k DigestKey) []signet.Hash {
	t.Digest(k)
	return t.cache.hashes
}

// Page encodes one of the pages that PageHashes listed.
func (t *Tree) Page(k DigestKey, i int) []byte { return t.page(t.pages(k), i) }

// page encodes page i: the children of its folders, tombstones too, folders
// and children by id.
func (t *Tree) page(c *digestCache, i int) []byte {
	var w wire.Writer
	w.U16(pageFormat)
	w.U32(uint32(i))
	w.U32(uint32(len(c.dirs)))
	dirs := slices.Clone(c.dirs[i])
	slices.SortFunc(dirs, func(a, b *node) int { return a.id.Compare(b.id) })
	var kids []*node
	for _, d := range dirs {
		kids = kids[:0]
		if d == t.root {
			kids = append(kids, d)
		}
		for n := d.more.live; n != nil; n = n.next {
			kids = append(kids, n)
		}
		for n := d.more.dead; n != nil; n = n.next {
			kids = append(kids, n)
		}
		if len(kids) == 0 {
			continue
		}
		slices.SortFunc(kids, func(a, b *node) int { return a.id.Compare(b.id) })
		w.Raw(d.id[:])
		w.U32(uint32(len(kids)))
		for _, n := range kids {
			t.record(&w, n)
		}
	}
	return w.B
}

// Which optional parts a record has.
const (
	hasContent  = 1 << iota // the content's stamp differs from the place's
	hasAttr                 // so does the attributes'
	hasGone                 // a tombstone
	hasConflict             // a conflict copy
	hasMoved                // redirects or aliases lead here
)

func (t *Tree) record(w *wire.Writer, n *node) {
	var flags uint8
	set := func(cond bool, f uint8) {
		if cond {
			flags |= f
		}
	}
	m := n.more
	if m == nil {
		m = &more{}
	}
	set(*n.content != *n.place, hasContent)
	set(*n.attr != *n.place, hasAttr)
	set(n.gone != nil, hasGone)
	set(!m.conflictOf.IsZero(), hasConflict)
	set(len(m.redirects)+len(m.aliases) > 0, hasMoved)
	w.Raw(n.id[:])
	w.U8(uint8(n.typ))
	w.U8(flags)
	w.Vec16([]byte(n.name()))
	t.writeStamp(w, n.place)
	if flags&hasContent != 0 {
		t.writeStamp(w, n.content)
	}
	if flags&hasAttr != 0 {
		t.writeStamp(w, n.attr)
	}
	if flags&hasGone != 0 {
		t.writeStamp(w, n.gone)
	}
	if flags&hasConflict != 0 {
		w.Raw(m.conflictOf[:])
	}
	if flags&hasMoved != 0 {
		t.writeMoved(w, m)
	}
	w.U32(n.mode)
	w.I64(n.mtime)
	switch n.typ {
	case File:
		w.I64(n.size)
		w.Raw(n.sha[:])
		w.Raw(n.pid[:])
		w.Vec16([]byte(n.data()))
	case Link:
		w.Vec16([]byte(n.data()))
	}
}

func (t *Tree) writeStamp(w *wire.Writer, s *stamp) {
	w.Raw(s.rev[:])
	w.U64(s.pos)
	w.U16(s.op)
	w.Raw(t.devices[s.device][:])
	w.I64(s.time)
}

func (t *Tree) writeMoved(w *wire.Writer, m *more) {
	revs := slices.Clone(m.redirects)
	slices.SortFunc(revs, func(a, b signet.RevisionID) int { return bytes.Compare(a[:], b[:]) })
	w.U32(uint32(len(revs)))
	for _, rev := range revs {
		d := t.redirects[rev]
		w.Raw(rev[:])
		w.U64(d.pos)
		w.U16(d.op)
	}
	ids := slices.Clone(m.aliases)
	slices.SortFunc(ids, signet.NodeID.Compare)
	w.U32(uint32(len(ids)))
	for _, id := range ids {
		w.Raw(id[:])
	}
}
