package seal

import (
	"fmt"
	"slices"

	"signet"
	"signet/core/wire"
)

const pageFormat = 1

// A Manifest is an opened Content: all pieces of a file, and the objects that
// list them.
type Manifest struct {
	Pieces []Piece
	Pages  []Ref // empty for a file of one piece or none
	Root   *Ref  // of more than eight pages
}

// Objects are all objects of a version: pieces, manifest pages, and the object
// that lists these. An object that the version uses twice comes twice.
func (m *Manifest) Objects() []signet.ObjectID {
	ids := make([]signet.ObjectID, 0, len(m.Pieces)+len(m.Pages)+1)
	for i := range m.Pieces {
		ids = append(ids, m.Pieces[i].Object)
	}
	for i := range m.Pages {
		ids = append(ids, m.Pages[i].Object)
	}
	if m.Root != nil {
		ids = append(ids, m.Root.Object)
	}
	return ids
}

// Describe makes the Content of a version from its pieces in order. It seals
// the manifest pages that old, the previous version's manifest (or nil), does
// not have, and gives each to put before it returns; object is valid only
// during the call. sha is that of the whole.
func (s *Secret) Describe(sha [32]byte, pieces []Piece, old *Manifest, put func(ref Ref, object []byte) error) (*Content, *Manifest, error) {
	c := &Content{Hash: sha, PlaintextID: s.PlaintextIDOf(sha)}
	for i := range pieces {
		c.Size += int64(pieces[i].Size)
	}
	m := &Manifest{Pieces: slices.Clone(pieces)} // the caller may edit its own into the next version's
	switch len(pieces) {
	case 0:
		return c, m, nil
	case 1:
		ref := pieces[0].Ref
		c.Piece = &ref
		return c, m, nil
	}
	if c.Size > MaxSize || int64(len(pieces)) > maxPieces(c.Size) {
		return nil, nil, fmt.Errorf("manifest: %d pieces of %d bytes are too many", len(pieces), c.Size)
	}
	b := pager{put: put}
	if err := b.pages(pieces, old); err != nil {
		return nil, nil, err
	}
	if len(b.done) > maxPages { // only of short pages; without them there are under 33,000
		b.done = nil
		if err := b.pages(pieces, nil); err != nil {
			return nil, nil, err
		}
	}
	m.Pages = b.done
	if len(m.Pages) <= inlinePages {
		c.Pages = m.Pages
		return c, m, nil
	}
	root, err := b.seal(appendRoot(nil, m.Pages))
	if err != nil {
		return nil, nil, err
	}
	c.Root, m.Root = &root, &root
	return c, m, nil
}

// A pager makes the pages of one manifest.
type pager struct {
	put  func(Ref, []byte) error
	done []Ref
	buf  []byte
}

// pages makes the pages of pieces. A page of old whose pieces stand in pieces
// side by side is taken over, wherever that is; what lies between such pages is
// paged anew. So a change costs the page it is on, also where it adds pieces.
func (b *pager) pages(pieces []Piece, old *Manifest) error {
	first := map[signet.ObjectID]int{} // old pages by the object of their first piece
	var starts []int
	if old != nil && !crumbs(old) {
		at := 0
		for i, p := range old.Pages {
			first[old.Pieces[at].Object] = i
			starts = append(starts, at)
			at += pieceCount(p)
		}
	}
	from := 0 // first piece that is on no page yet
	for i := 0; i < len(pieces); {
		p, ok := first[pieces[i].Object]
		if !ok || !standsAt(pieces[i:], old.Pieces[starts[p]:], pieceCount(old.Pages[p])) {
			i++
			continue
		}
		if err := b.fresh(pieces[from:i]); err != nil {
			return err
		}
		b.done = append(b.done, old.Pages[p])
		i += pieceCount(old.Pages[p])
		from = i
	}
	return b.fresh(pieces[from:])
}

// crumbs reports whether edits have left so many short pages that paging
// everything anew is better.
func crumbs(m *Manifest) bool {
	return len(m.Pages) > inlinePages && len(m.Pieces)/len(m.Pages) < pageNominal/4
}

// standsAt reports whether the first n of old begin pieces.
func standsAt(pieces, old []Piece, n int) bool {
	if len(pieces) < n {
		return false
	}
	for i := range n {
		if pieces[i] != old[i] {
			return false
		}
	}
	return true
}

// fresh puts pieces on new pages.
func (b *pager) fresh(pieces []Piece) error {
	for len(pieces) > 0 {
		n := len(pieces)
		if n > pageMost {
			n = pageNominal
		}
		ref, err := b.seal(appendPage(nil, pieces[:n]))
		if err != nil {
			return err
		}
		b.done = append(b.done, ref)
		pieces = pieces[n:]
	}
	return nil
}

// seal seals a page, without trying to compress what is hashes and keys.
func (b *pager) seal(page []byte) (Ref, error) {
	object, ref, err := sealPiece(b.buf[:0], slices.Clip(page), false)
	if err != nil {
		return ref, err
	}
	b.buf = object
	return ref, b.put(ref, object)
}

// Open fetches what lists the pieces of c, with get, which answers with bytes
// that are checked here, and returns all pieces. For a file of one piece or
// none get is not called. A manifest that does not fit c is
// signet.ErrNotVerified.
func (c *Content) Open(get func(signet.ObjectID) ([]byte, error)) (*Manifest, error) {
	switch {
	case c.Piece != nil:
		return &Manifest{Pieces: []Piece{{Ref: *c.Piece, ID: c.PlaintextID}}}, nil
	case c.Root == nil && len(c.Pages) == 0:
		return &Manifest{}, nil
	}
	m := &Manifest{Pages: c.Pages, Root: c.Root}
	if c.Root != nil {
		b, err := fetch(*c.Root, get)
		if err != nil {
			return nil, err
		}
		if m.Pages, err = parseRoot(b); err != nil {
			return nil, err
		}
	}
	// Before anything is fetched: what the pages hold is known from their lengths.
	var count int64
	for _, p := range m.Pages {
		n := pieceCount(p)
		if n < 1 || n > maxOnPage {
			return nil, errPage("page of %d bytes", p.Size)
		}
		count += int64(n)
	}
	if count > maxPieces(c.Size) {
		return nil, errPage("%d pieces of a file of %d bytes", count, c.Size)
	}
	m.Pieces = make([]Piece, 0, count)
	left := c.Size
	for _, p := range m.Pages {
		b, err := fetch(p, get)
		if err != nil {
			return nil, err
		}
		if m.Pieces, left, err = parsePage(m.Pieces, left, b); err != nil {
			return nil, err
		}
	}
	if left != 0 {
		return nil, errPage("pieces are %d bytes short of the file", left)
	}
	return m, nil
}

func fetch(ref Ref, get func(signet.ObjectID) ([]byte, error)) ([]byte, error) {
	object, err := get(ref.Object)
	if err != nil {
		return nil, err
	}
	return OpenPiece(nil, ref, object)
}

func appendPage(b []byte, pieces []Piece) []byte {
	w := wire.Writer{B: b}
	w.U8(pageFormat)
	w.U16(uint16(len(pieces)))
	for i := range pieces {
		p := &pieces[i]
		p.Ref.append(&w)
		w.U64(p.Sum)
		w.Raw(p.ID[:])
	}
	return w.B
}

// parsePage appends the pieces of a page to dst, of which there must be no more
// than left bytes.
func parsePage(dst []Piece, left int64, b []byte) ([]Piece, int64, error) {
	r := reader(b)
	if f := r.U8(); f != pageFormat {
		r.Fail("page format %d, only %d is known", f, pageFormat)
	}
	n := int(r.U16())
	if n == 0 || n > maxOnPage {
		r.Fail("%d pieces on a page", n)
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		p := Piece{Ref: readRef(r), Sum: r.U64()}
		r.Raw(p.ID[:])
		if p.Size == 0 || p.Size > MaxPiece || int64(p.Size) > left {
			r.Fail("piece of %d bytes where %d are left", p.Size, left)
		}
		if p.Sum >= prime {
			r.Fail("rolling sum out of range")
		}
		left -= int64(p.Size)
		dst = append(dst, p)
	}
	if err := r.Done(); err != nil {
		return nil, 0, malformed("manifest page", err)
	}
	return dst, left, nil
}

func appendRoot(b []byte, pages []Ref) []byte {
	w := wire.Writer{B: b}
	w.U8(pageFormat)
	w.U16(uint16(len(pages)))
	for i := range pages {
		pages[i].append(&w)
	}
	return w.B
}

func parseRoot(b []byte) ([]Ref, error) {
	r := reader(b)
	if f := r.U8(); f != pageFormat {
		r.Fail("format %d, only %d is known", f, pageFormat)
	}
	n := int(r.U16())
	if n <= inlinePages || n > maxPages {
		r.Fail("a list of %d pages", n)
	}
	var pages []Ref
	for i := 0; i < n && r.Err() == nil; i++ {
		p := readRef(r)
		if k := pieceCount(p); k < 1 || k > maxOnPage {
			r.Fail("manifest page of %d bytes", p.Size)
		}
		pages = append(pages, p)
	}
	if err := r.Done(); err != nil {
		return nil, malformed("list of manifest pages", err)
	}
	return pages, nil
}
