package region

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"signet"
	"signet/core/tree"
	"signet/core/wire"
)

// A Progress is how far a region was replayed: with the pages of its tree,
// enough to go on from there. It is a device's own note; nobody else's is taken.
type Progress struct {
	Position uint64
	Digest   signet.Hash // of the tree there
	since    uint64
	points   map[uint64]signet.Hash
	undone   []signet.NodeID
	Start    Start // where the tree began
	vouched  bool
}

const progressFormat = 2 // 1 does not say where the tree began: with the first entry

// Append appends the encoding of p to b.
func (p *Progress) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U16(progressFormat)
	w.U64(p.Position)
	w.Raw(p.Digest[:])
	w.U64(p.since)
	w.U32(uint32(len(p.points)))
	for _, at := range slices.Sorted(maps.Keys(p.points)) {
		h := p.points[at]
		w.U64(at)
		w.Raw(h[:])
	}
	w.U32(uint32(len(p.undone)))
	for _, id := range p.undone {
		w.Raw(id[:])
	}
	w.U64(p.Start.At)
	w.Raw(p.Start.Digest[:])
	vouched := uint8(0)
	if p.vouched {
		vouched = 1
	}
	w.U8(vouched)
	return w.B
}

// ParseProgress reads what Append wrote.
func ParseProgress(b []byte) (p Progress, err error) {
	r := wire.NewReader(b)
	f := r.U16()
	if r.Err() == nil && f != 1 && f != progressFormat {
		r.Fail("progress of format %d", f)
	}
	p.Position = r.U64()
	r.Raw(p.Digest[:])
	p.since, p.points = r.U64(), map[uint64]signet.Hash{}
	for n := r.U32(); n > 0 && r.Err() == nil; n-- {
		at, h := r.U64(), signet.Hash{}
		r.Raw(h[:])
		p.points[at] = h
	}
	for n := r.U32(); n > 0 && r.Err() == nil; n-- {
		var id signet.NodeID
		r.Raw(id[:])
		p.undone = append(p.undone, id)
	}
	if f == progressFormat {
		p.Start.At = r.U64()
		r.Raw(p.Start.Digest[:])
		p.vouched = r.U8() == 1
	}
	return p, r.Done()
}

// Progress is that of the tree as it is, with the hashes of its pages; ok is
// false before the region's secret is known.
func (r *Region) Progress() (p Progress, pages []signet.Hash, ok bool) {
	if r.secret == nil {
		return p, nil, false
	}
	k := tree.DigestKey(r.secret.DigestKey())
	pages = r.Tree.PageHashes(k)
	return Progress{Position: r.replayed, Digest: r.Tree.Digest(k), since: uint64(r.since), points: maps.Clone(r.digests), undone: r.Tree.Undone(), Start: r.start, vouched: r.vouched}, pages, true
}

// VouchedBy is p with what is known now of who vouches for where r's tree began.
func (p Progress) VouchedBy(r *Region) Progress {
	p.vouched = r.vouched
	return p
}

// Page encodes a page of the tree as it is.
func (r *Region) Page(i int) []byte { return r.Tree.Page(tree.DigestKey(r.secret.DigestKey()), i) }

// Resume goes on from p with the tree of its pages, instead of replaying what
// comes before. All that must have been verified (Take), and nothing replayed. An
// error changes nothing, and says that pages or p are not whole: replay then.
func (r *Region) Resume(p Progress, pages iter.Seq[[]byte]) error {
	if r.replayed > 0 || p.Position > r.State.Size() {
		return fmt.Errorf("%s: resumed at %d of %d", r.ID(), p.Position, r.State.Size())
	}
	if _, err := r.seed(r.State.Current().Number); err != nil {
		return err
	}
	t, err := tree.Resume(tree.DigestKey(r.secret.DigestKey()), p.Digest, pages)
	if err != nil {
		return fmt.Errorf("%s: the tree kept at %d: %w", r.ID(), p.Position, err)
	}
	t.MarkUndone(p.undone)
	r.Tree, r.replayed, r.since, r.digests = t, p.Position, int(p.since), p.points
	r.start, r.vouched = p.Start, p.vouched
	for at := range p.points {
		r.point = max(r.point, at)
	}
	return nil
}
