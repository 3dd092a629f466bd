// Package wire reads and writes the length-prefixed binary of spec/encoding.md:
// the TLS presentation style (RFC 8446, section 3), big-endian, one encoding
// per value.
//
// A Reader promises that it never reads past its input, never allocates more
// than the input's length, and that Done fails unless every byte was used. It
// does not know what the bytes mean.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is the cause of every error of this package.
var ErrMalformed = errors.New("malformed")

// A Writer appends values to B. The zero Writer is ready for use. Writing more
// than a vector's length field can say is a programming error and panics:
// callers bound what they write before they write it.
type Writer struct{ B []byte }

func (w *Writer) U8(v uint8)   { w.B = append(w.B, v) }
func (w *Writer) U16(v uint16) { w.B = binary.BigEndian.AppendUint16(w.B, v) }
func (w *Writer) U32(v uint32) { w.B = binary.BigEndian.AppendUint32(w.B, v) }
func (w *Writer) U64(v uint64) { w.B = binary.BigEndian.AppendUint64(w.B, v) }

// I64 writes a signed number in two's complement.
func (w *Writer) I64(v int64) { w.U64(uint64(v)) }

// Raw writes b without a length: for fields of fixed size.
func (w *Writer) Raw(b []byte) { w.B = append(w.B, b...) }

// Vec8, Vec16, Vec24 and Vec32 write b after its length in 1 to 4 bytes.
func (w *Writer) Vec8(b []byte)  { w.vec(1, b) }
func (w *Writer) Vec16(b []byte) { w.vec(2, b) }
func (w *Writer) Vec24(b []byte) { w.vec(3, b) }
func (w *Writer) Vec32(b []byte) { w.vec(4, b) }

func (w *Writer) vec(n int, b []byte) {
	if uint64(len(b)) >= 1<<(8*n) {
		panic(fmt.Sprintf("wire: %d bytes in a vector of %d length bytes", len(b), n))
	}
	for i := n - 1; i >= 0; i-- {
		w.B = append(w.B, byte(len(b)>>(8*i)))
	}
	w.B = append(w.B, b...)
}

// A Reader takes values off the front of a byte string. The first failure
// sticks: later reads give zero values, and Err and Done report it.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which it does not copy.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Fail makes r fail with a reason, unless it failed already.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// Err is the first failure.
func (r *Reader) Err() error { return r.err }

// Done is the first failure, or an error if bytes are left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) != 0 {
		r.Fail("%d bytes left over", len(r.b))
	}
	return r.err
}

// Len is the number of bytes not read yet; 0 after a failure.
func (r *Reader) Len() int {
	if r.err != nil {
		return 0
	}
	return len(r.b)
}

func (r *Reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.Fail("%d bytes wanted, %d there", n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *Reader) number(n int) (v uint64) {
	for _, c := range r.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (r *Reader) U8() uint8   { return uint8(r.number(1)) }
func (r *Reader) U16() uint16 { return uint16(r.number(2)) }
func (r *Reader) U32() uint32 { return uint32(r.number(4)) }
func (r *Reader) U64() uint64 { return r.number(8) }

// I64 reads what Writer.I64 wrote.
func (r *Reader) I64() int64 { return int64(r.number(8)) }

// Raw fills dst with the next bytes; on failure it leaves dst as it was.
func (r *Reader) Raw(dst []byte) { copy(dst, r.take(len(dst))) }

// Take returns the next n bytes, not copied.
func (r *Reader) Take(n int) []byte { return r.take(n) }

// Vec8 to Vec32 read a vector of at most max bytes. The result shares r's
// memory.
func (r *Reader) Vec8(max int) []byte  { return r.vec(1, max) }
func (r *Reader) Vec16(max int) []byte { return r.vec(2, max) }
func (r *Reader) Vec24(max int) []byte { return r.vec(3, max) }
func (r *Reader) Vec32(max int) []byte { return r.vec(4, max) }

func (r *Reader) vec(n, max int) []byte {
	l := r.number(n)
	if r.err == nil && l > uint64(max) {
		r.Fail("vector of %d bytes, at most %d allowed", l, max)
	}
	if r.err != nil {
		return nil
	}
	return r.take(int(l))
}

// Const reads len(want) bytes and fails unless they are want.
func (r *Reader) Const(want string) {
	if got := r.take(len(want)); r.err == nil && string(got) != want {
		r.Fail("expected %q, found %q", want, got)
	}
}
