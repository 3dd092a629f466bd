package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"signet"
	"signet/core/key"
)

// MaxPiece is the longest piece, in bytes; also the longest manifest page.
const MaxPiece = 4 << 20

// A chunk object is suite, format, commitment; then nonce, ciphertext, tag.
// The plaintext is the payload (the piece, or a zstd frame of it), zero bytes
// up to its Padmé length, the payload's length in four bytes, and a flag.
const (
	chunkFormat  = 1
	chunkHeader  = 2 + sumSize
	chunkTrailer = 4 + 1

	flagPlain = 0
	flagZstd  = 1
)

// MinObject and MaxObject are the lengths in bytes of the shortest and the
// longest chunk object.
const (
	MinObject = chunkHeader + nonceSize + chunkTrailer + tagSize
	MaxObject = MinObject + MaxPiece // a power of two, which Padmé leaves as it is
)

// ObjectSize is the length in bytes of the object whose payload has n bytes: of
// an n-byte piece that did not pay to compress.
func ObjectSize(n int) int { return MinObject + padme(n) }

// A Ref is what opens one object: its id, the key that opens it and no other,
// and the length of the piece in bytes. Whoever has a Ref can read the piece,
// so a Ref travels inside sealed bytes only.
type Ref struct {
	Object signet.ObjectID
	Key    [32]byte
	Size   uint32
}

// scratch holds buffers for the plaintext that AES reads: sealing in place
// would cost a second copy, because the nonce comes first.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// SealPiece seals a piece of at most MaxPiece bytes with a key of its own and
// appends the object to dst. Safe for concurrent use.
func SealPiece(dst, piece []byte) (object []byte, ref Ref, err error) {
	return sealPiece(dst, slices.Clip(piece), true)
}

// Room is how many bytes SealInPlace wants behind a piece of n bytes.
func Room(n int) int { return padme(n) - n + chunkTrailer }

// SealInPlace is SealPiece for a piece with room behind it: what lies between
// its length and its capacity is overwritten. With Room(len(piece)) bytes there
// a piece that does not compress is sealed from where it lies.
func SealInPlace(dst, piece []byte) (object []byte, ref Ref, err error) {
	return sealPiece(dst, piece, true)
}

func sealPiece(dst, piece []byte, compress bool) (object []byte, ref Ref, err error) {
	if len(piece) > MaxPiece {
		return dst, ref, fmt.Errorf("seal piece: %d bytes, at most %d", len(piece), MaxPiece)
	}
	rand.Read(ref.Key[:])
	ref.Size = uint32(len(piece))

	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	inner := inner((*buf)[:0], piece, compress)
	if cap(piece) == 0 || &inner[0] != &piece[:1][0] { // else it is the caller's
		*buf = inner
	}

	start := len(dst)
	dst = slices.Grow(dst, chunkHeader+nonceSize+len(inner)+tagSize)
	dst = append(dst, suite, chunkFormat)
	dst = append(dst, chunkCommitment(ref.Key)...)
	dst = chunkKey(ref.Key).Seal(dst, nil, inner, dst[start:])
	ref.Object = sha256.Sum256(dst[start:])
	return dst, ref, nil
}

func chunkKey(k [32]byte) cipher.AEAD {
	return gcm(derive(k[:], nil, key.LabelChunk, nil, sumSize))
}

func chunkCommitment(k [32]byte) []byte {
	return derive(k[:], nil, key.LabelChunkCommit, nil, sumSize)
}

// inner appends the plaintext of a chunk to dst, or makes it behind the piece
// where there is the room.
func inner(dst, piece []byte, compress bool) []byte {
	flag := byte(flagPlain)
	if compress && worthTrying(piece) {
		if c := deflate(slices.Grow(dst, len(piece)+len(piece)/8+64), piece); pays(len(c), len(piece)) {
			dst, flag = c, flagZstd
		}
	}
	switch {
	case flag != flagPlain:
	case cap(piece)-len(piece) >= Room(len(piece)):
		dst = piece
	default:
		dst = append(dst, piece...)
	}
	n := len(dst)
	pad := padme(n) - n
	dst = slices.Grow(dst, pad+chunkTrailer)[:n+pad]
	clear(dst[n:])
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	return append(dst, flag)
}

// OpenPiece opens an object that came from anywhere and appends the piece to
// dst. It checks the id, the key commitment, the ciphertext and the length:
// every failure is ErrOpen, and dst is then returned as it was. It does not
// change object. Safe for concurrent use.
func OpenPiece(dst []byte, ref Ref, object []byte) ([]byte, error) {
	out, err := openPiece(dst, ref, object)
	if err != nil {
		return dst, fmt.Errorf("open %s: %w", ref.Object, err)
	}
	return out, nil
}

// OpenUnnamed is OpenPiece without the look at the id, a third of the work, as
// long as the object opens. What another object of the same key would give is
// not noticed, and only who knows the key can make one: it is for pieces that a
// device of the reader's own ring sealed, by a caller who compares what they
// make together with the file hash that its writer signed, before use.
func OpenUnnamed(dst []byte, ref Ref, object []byte) ([]byte, error) {
	if out, err := decrypt(dst, ref, object); err == nil {
		return out, nil
	}
	return OpenPiece(dst, ref, object) // which says what is wrong with it
}

func openPiece(dst []byte, ref Ref, object []byte) ([]byte, error) {
	if sha256.Sum256(object) != ref.Object {
		return nil, fmt.Errorf("bytes are not what the id promises: %w", ErrOpen)
	}
	return decrypt(dst, ref, object)
}

func decrypt(dst []byte, ref Ref, object []byte) ([]byte, error) {
	if len(object) < MinObject || len(object) > MaxObject || ref.Size > MaxPiece {
		return nil, fmt.Errorf("object of %d bytes for a piece of %d: %w", len(object), ref.Size, ErrOpen)
	}
	if object[0] != suite || object[1] != chunkFormat {
		return nil, fmt.Errorf("suite %d, format %d: %w", object[0], object[1], ErrOpen)
	}
	// Without this a writer could make one object that opens under two keys,
	// and show two members two files where the log shows one.
	if subtle.ConstantTimeCompare(object[2:chunkHeader], chunkCommitment(ref.Key)) != 1 {
		return nil, fmt.Errorf("sealed with another key: %w", ErrOpen)
	}
	dst = slices.Grow(dst, len(object)-chunkHeader-nonceSize-tagSize)
	out, err := chunkKey(ref.Key).Open(dst, nil, object[chunkHeader:], object[:chunkHeader])
	if err != nil {
		return nil, ErrOpen
	}
	return unpack(dst, out[len(dst):], int(ref.Size))
}

// unpack takes the plaintext of a chunk, which lies in the room behind dst, and
// appends the piece to dst.
func unpack(dst, inner []byte, size int) ([]byte, error) {
	body := inner[:len(inner)-chunkTrailer]
	n := int(binary.BigEndian.Uint32(inner[len(body):]))
	if n > len(body) || padme(n) != len(body) || !zero(body[n:]) {
		return nil, fmt.Errorf("padding: %w", ErrOpen)
	}
	switch flag := inner[len(inner)-1]; flag {
	case flagPlain:
		if n != size {
			return nil, fmt.Errorf("piece of %d bytes, %d promised: %w", n, size, ErrOpen)
		}
		return dst[:len(dst)+n], nil // it lies there already
	case flagZstd:
		buf := scratch.Get().(*[]byte)
		defer scratch.Put(buf)
		*buf = append((*buf)[:0], body[:n]...) // dst's room is where the piece goes
		return inflate(dst, *buf, size)
	default:
		return nil, fmt.Errorf("flag %d: %w", flag, ErrOpen)
	}
}
