package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"signet/core/wire"
	"signet/spec/vectors"
)

func TestVectors(t *testing.T) {
	vectors.Run(t, "encoding", func(c vectors.Case) string {
		r := wire.NewReader(c.Files["bytes"])
		r.Vec16(4)
		if err := r.Done(); errors.Is(err, wire.ErrMalformed) {
			return "malformed"
		} else if err != nil {
			return err.Error()
		}
		return "ok"
	})
}

func FuzzReadVectorsAppendSameBytes(f *testing.F) {
	cases, err := vectors.Load("encoding")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Files["bytes"])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		a, n, v := r.Vec16(1<<16), r.U32(), r.Vec24(1<<24)
		if r.Done() != nil {
			return
		}
		var w wire.Writer
		w.Vec16(a)
		w.U32(n)
		w.Vec24(v)
		if !bytes.Equal(w.B, b) {
			t.Fatalf("%x read and written gives %x", b, w.B)
		}
	})
}

func TestFirstFailureSticks(t *testing.T) {
	r := wire.NewReader([]byte{1, 2, 3})
	r.U32()
	first := r.Err()
	if r.U8() != 0 || r.Len() != 0 || r.Done() != first {
		t.Error("a reader goes on after a failure")
	}
}
