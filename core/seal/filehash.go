package seal

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"signet/core/key"
)

// LongFile is from which length on, in bytes, a file's hash is not its SHA-256
// but a hash over those of its parts. Below, one core hashes it in a moment, and
// everybody can compare it with the SHA-256 that other programs print.
const LongFile = 64 << 20

// FileHash is the file hash of b: its SHA-256, or for a long file a hash over
// the SHA-256 of each part of nominal length (see FileHasher).
func FileHash(b []byte) [32]byte {
	h := NewFileHasher(int64(len(b)))
	h.Write(b)
	return h.Sum()
}

// A FileHasher computes a file hash from bytes in order. A long file's is over
// the hashes of parts, cut where a first version's pieces are, so that parts can
// be hashed on several cores, in any order (Parts), and so that one pass over a
// new piece gives its own hash and the file's.
//
// SHA-256 names a short file and SHA-512/256 is over the list of a long one, so
// that no short file can be made whose hash is a long one's.
type FileHasher struct {
	Parts
	h    hash.Hash
	next int   // the part that h is in
	room int64 // bytes of it to come
}

// NewFileHasher hashes a file of size bytes.
func NewFileHasher(size int64) *FileHasher {
	f := &FileHasher{Parts: *NewParts(size), h: sha256.New()}
	f.room = f.Len(0)
	return f
}

// Write implements io.Writer. It never fails; bytes beyond the size count for
// nothing but make Sum another.
func (f *FileHasher) Write(b []byte) (int, error) {
	n := len(b)
	for {
		k := min(int64(len(b)), f.room)
		f.h.Write(b[:k])
		b, f.room = b[k:], f.room-k
		if len(b) == 0 || f.next == len(f.sums)-1 {
			break
		}
		f.turn()
	}
	if len(b) > 0 { // longer than it was said to be
		f.h.Write(b)
	}
	return n, nil
}

// turn ends a part.
func (f *FileHasher) turn() {
	f.h.Sum(f.sums[f.next][:0])
	f.h.Reset()
	f.next++
	f.room = f.Len(f.next)
}

// Sum is the hash of what was written. Call it once.
func (f *FileHasher) Sum() [32]byte {
	f.h.Sum(f.sums[f.next][:0])
	return f.Parts.Sum()
}

// Parts is a file hash whose parts come in any order. Different parts may be
// set concurrently.
type Parts struct {
	size int64
	part int64
	sums [][32]byte
}

// NewParts is for a file of size bytes. It holds 32 bytes for each part, of
// which there are at most 2,048 in a file of up to 8 GiB.
func NewParts(size int64) *Parts {
	p := &Parts{size: size, part: max(size, 1)}
	if size >= LongFile {
		p.part = int64(PieceSize(size))
	}
	p.sums = make([][32]byte, max((size+p.part-1)/p.part, 1))
	return p
}

// Count is how many parts there are: one, or of a long file at least 512.
func (p *Parts) Count() int { return len(p.sums) }

// At is where part i begins, in bytes.
func (p *Parts) At(i int) int64 { return int64(i) * p.part }

// Len is how long part i is, in bytes: all have one length but the last.
func (p *Parts) Len(i int) int64 { return min(p.part, p.size-p.At(i)) }

// Of is the part that holds the byte at off.
func (p *Parts) Of(off int64) int { return int(off / p.part) }

// Set says that the SHA-256 of part i is sum.
func (p *Parts) Set(i int, sum [32]byte) { p.sums[i] = sum }

// Sum is the hash of the whole, when all parts are set.
func (p *Parts) Sum() (sum [32]byte) {
	if p.size < LongFile {
		return p.sums[0]
	}
	h := sha512.New512_256()
	b := append([]byte(key.LabelFile), 0)
	h.Write(binary.BigEndian.AppendUint64(b, uint64(p.size)))
	for i := range p.sums {
		h.Write(p.sums[i][:])
	}
	h.Sum(sum[:0])
	return sum
}
