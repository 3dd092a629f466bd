//go:build !js

package seal

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(decodeWindow))
	if err != nil {
		panic("seal: " + err.Error()) // the options are constants
	}
	return e
}}

// worthTrying reports whether the start of a piece shrinks.
func worthTrying(piece []byte) bool {
	if len(piece) < tooShort {
		return false
	}
	if len(piece) <= probe {
		return true
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	*buf = deflate((*buf)[:0], piece[:probe])
	return pays(len(*buf), probe)
}

// deflate appends one zstd frame of piece to dst.
func deflate(dst, piece []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(piece, dst)
}
