package seal

import (
	"slices"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Limits of a glimpse, in bytes and pieces.
const (
	MaxGlimpse   = 128 // pieces that one shows
	GlimpseBytes = BlobHeadroom + glimpseHeader + MaxGlimpse*placedSize

	glimpseFormat = 1
	glimpseHeader = 1 + 16 + 16 + 8 + 8 + 2
	placedSize    = 4 + 32 + 32
)

// BlobHeadroom is more than a blob has beside a plaintext of that length.
const BlobHeadroom = 2 << 10

// A Glimpse says what the service has already of a long file that is still being
// sent. Nobody signed it, and nothing rests on it: it says which objects are worth
// fetching before an entry names them (spec/content.md, "Glimpse").
type Glimpse struct {
	Node    signet.NodeID // the file
	Parent  signet.NodeID // the folder that it is in
	Reading [8]byte       // random: tells one reading of the file from the next
	Size    int64         // the file's length in bytes
	Pieces  []Placed      // 1 to MaxGlimpse, by index
}

// Placed is a piece of a first version, whose parts and pieces are the same: it is
// at Parts.At(Index) and as long as Parts.Len(Index), which is Ref.Size.
type Placed struct {
	Index uint32
	Ref
}

// Append writes g, whose pieces it sorts.
func (g *Glimpse) Append(w *wire.Writer) {
	slices.SortFunc(g.Pieces, func(a, b Placed) int { return int(a.Index) - int(b.Index) })
	w.U8(glimpseFormat)
	w.Raw(g.Node[:])
	w.Raw(g.Parent[:])
	w.Raw(g.Reading[:])
	w.U64(uint64(g.Size))
	w.U16(uint16(len(g.Pieces)))
	for i := range g.Pieces {
		p := &g.Pieces[i]
		w.U32(p.Index)
		w.Raw(p.Object[:])
		w.Raw(p.Key[:])
	}
}

// ParseGlimpse reads what Append wrote.
func ParseGlimpse(b []byte) (*Glimpse, error) {
	r, g := reader(b), &Glimpse{}
	if f := r.U8(); f != glimpseFormat {
		r.Fail("glimpse of format %d", f)
	}
	r.Raw(g.Node[:])
	r.Raw(g.Parent[:])
	r.Raw(g.Reading[:])
	g.Size = r.I64()
	if g.Size < LongFile || g.Size > MaxSize {
		r.Fail("glimpse of a file of %d bytes", g.Size)
	}
	n := int(r.U16())
	if n == 0 || n > MaxGlimpse {
		r.Fail("glimpse of %d pieces", n)
	}
	if r.Err() == nil {
		g.pieces(r, n)
	}
	if err := r.Done(); err != nil {
		return nil, malformed("glimpse", err)
	}
	return g, nil
}

// pieces reads n pieces. It makes nothing of the file's length, which may be false.
func (g *Glimpse) pieces(r *wire.Reader, n int) {
	part := int64(PieceSize(g.Size))
	count, last := (g.Size+part-1)/part, int64(-1)
	for range n {
		p := Placed{Index: r.U32()}
		r.Raw(p.Object[:])
		r.Raw(p.Key[:])
		i := int64(p.Index)
		if i >= count || i <= last {
			r.Fail("piece %d of %d in a glimpse, after %d", i, count, last)
			return
		}
		p.Size = uint32(min(part, g.Size-i*part))
		g.Pieces, last = append(g.Pieces, p), i
	}
}

// SealGlimpse seals an encoded glimpse under a generation's seed, bound to its
// context.
func SealGlimpse(seed *Seed, context, plaintext []byte) ([]byte, error) {
	return sealBlob(seed, key.LabelGlimpse, context, plaintext)
}

// OpenGlimpse opens what SealGlimpse sealed; every failure is ErrOpen.
func OpenGlimpse(seed *Seed, context, blob []byte) ([]byte, error) {
	return openBlob(seed, key.LabelGlimpse, context, blob)
}
