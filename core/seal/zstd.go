package seal

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compressing is decided per piece, by trying: nothing is compressed together
// that did not come together in one piece of one file, so a length tells of
// one file only.
const (
	probe        = 64 << 10 // bytes tried before a longer piece is compressed whole
	tooShort     = 64       // bytes under which a frame's own header eats what it saves
	decodeWindow = MaxPiece // the most that a frame may make a reader look back, in bytes
)

// Coders are kept between pieces because each has tables of some hundred KiB.
var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(decodeWindow),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("seal: " + err.Error())
	}
	return d
}}

// pays reports whether a payload of c bytes instead of n saves a sixteenth
// after padding. Less is not worth the reader's time.
func pays(c, n int) bool { return padme(c) <= padme(n)-n/16 && c < n }

// inflate appends the piece of size bytes that frame holds to dst. The room it
// decodes into is exactly size bytes, so a frame that holds more (a
// decompression bomb) is refused before it takes any memory.
func inflate(dst, frame []byte, size int) ([]byte, error) {
	n := len(dst)
	dst = slices.Grow(dst, size)
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	out, err := d.DecodeAll(frame, dst[n:n:n+size])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", ErrOpen)
	}
	if len(out) != size {
		return nil, fmt.Errorf("piece of %d bytes, %d promised: %w", len(out), size, ErrOpen)
	}
	if size > 0 && &out[0] != &dst[n : n+1][0] {
		return append(dst[:n], out...), nil
	}
	return dst[:n+size], nil
}
