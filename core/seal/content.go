package seal

import (
	"fmt"

	"signet"
	"signet/core/wire"
)

// MaxSize is the length in bytes of the longest file.
const MaxSize = 1 << 44

// How an encoded Content says where the bytes are.
const (
	formEmpty = 0 // no bytes
	formPiece = 1 // one piece, of the file's length
	formPages = 2 // manifest pages, at most inlinePages
	formRoot  = 3 // an object that lists the manifest pages
)

// Limits of manifests.
const (
	inlinePages = 8     // page references that a Content carries itself
	pageNominal = 512   // pieces on a page where a run of pages is cut
	pageMost    = 768   // pieces on the last page of such a run
	maxOnPage   = 1024  // pieces on a page that is read
	maxPages    = 60000 // pages that a list names: it fits in one object
	refSize     = 32 + 32 + 4
	pieceSize   = refSize + 8 + 32
	pageHeader  = 1 + 2
)

// A Content is what an operation says of a file's bytes. Its encoding has at
// most MaxContent bytes.
type Content struct {
	Size        int64    // bytes
	Hash        [32]byte // file hash
	PlaintextID [32]byte // of the whole (Secret.PlaintextIDOf its Hash)

	// At most one of these is set; none for an empty file.
	Piece *Ref  // the only piece; its Size is the file's
	Pages []Ref // manifest pages
	Root  *Ref  // of a long manifest: an object that lists the pages
}

// MaxContent is the length in bytes of the longest encoded Content.
const MaxContent = 8 + 32 + 32 + 1 + 1 + inlinePages*refSize

func (r *Ref) append(w *wire.Writer) {
	w.Raw(r.Object[:])
	w.Raw(r.Key[:])
	w.U32(r.Size)
}

func readRef(r *wire.Reader) (ref Ref) {
	r.Raw(ref.Object[:])
	r.Raw(ref.Key[:])
	ref.Size = r.U32()
	return ref
}

// Append writes c.
func (c *Content) Append(w *wire.Writer) {
	w.U64(uint64(c.Size))
	w.Raw(c.Hash[:])
	w.Raw(c.PlaintextID[:])
	switch {
	case c.Piece != nil:
		w.U8(formPiece)
		w.Raw(c.Piece.Object[:])
		w.Raw(c.Piece.Key[:])
	case c.Root != nil:
		w.U8(formRoot)
		c.Root.append(w)
	case len(c.Pages) > 0:
		w.U8(formPages)
		w.U8(uint8(len(c.Pages)))
		for i := range c.Pages {
			c.Pages[i].append(w)
		}
	default:
		w.U8(formEmpty)
	}
}

// ReadContent reads what Append wrote and leaves what follows. What it refuses,
// r.Err tells.
func ReadContent(r *wire.Reader) *Content {
	c := &Content{Size: r.I64()}
	r.Raw(c.Hash[:])
	r.Raw(c.PlaintextID[:])
	form := r.U8()
	if c.Size < 0 || c.Size > MaxSize {
		r.Fail("file of %d bytes", c.Size)
	}
	switch form {
	case formEmpty:
	case formPiece:
		c.Piece = &Ref{Size: uint32(min(c.Size, MaxPiece))}
		r.Raw(c.Piece.Object[:])
		r.Raw(c.Piece.Key[:])
	case formPages:
		n := int(r.U8())
		if n == 0 || n > inlinePages {
			r.Fail("%d manifest pages", n)
		}
		for i := 0; i < n && r.Err() == nil; i++ {
			p := readRef(r)
			if n := pieceCount(p); n < 1 || n > maxOnPage {
				r.Fail("manifest page of %d bytes", p.Size)
			}
			c.Pages = append(c.Pages, p)
		}
	case formRoot:
		root := readRef(r)
		if root.Size > MaxPiece {
			r.Fail("list of manifest pages of %d bytes", root.Size)
		}
		c.Root = &root
	default:
		r.Fail("content form %d", form)
	}
	if (form == formEmpty) != (c.Size == 0) || form == formPiece && c.Size > MaxPiece {
		r.Fail("content form %d of a file of %d bytes", form, c.Size)
	}
	return c
}

// ParseContent reads an encoded Content with nothing behind it.
func ParseContent(b []byte) (*Content, error) {
	r := reader(b)
	c := ReadContent(r)
	if err := r.Done(); err != nil {
		return nil, malformed("content", err)
	}
	return c, nil
}

// Objects are the objects that c names itself: those to fetch before Open.
func (c *Content) Objects() []signet.ObjectID {
	var ids []signet.ObjectID
	if c.Piece != nil {
		ids = append(ids, c.Piece.Object)
	}
	if c.Root != nil {
		ids = append(ids, c.Root.Object)
	}
	for i := range c.Pages {
		ids = append(ids, c.Pages[i].Object)
	}
	return ids
}

// maxPieces is how many pieces a file of size bytes may have: generous, because
// edits leave short pieces, but a bound on what a short manifest that names one
// page over and over can make a reader hold.
func maxPieces(size int64) int64 {
	n := int64(max(PieceSize(size), minPiece))
	return 8192 + 16*((size+n-1)/n)
}

// pieceCount is how many pieces stand on a manifest page, from its length; -1 if
// no page has that length.
func pieceCount(page Ref) int {
	n := int(page.Size) - pageHeader
	if n < 0 || n%pieceSize != 0 {
		return -1
	}
	return n / pieceSize
}

func errPage(what string, args ...any) error {
	return fmt.Errorf("manifest: "+what+": %w", append(args, signet.ErrNotVerified)...)
}
