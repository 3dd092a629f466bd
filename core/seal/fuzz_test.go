package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"signet"
	"signet/core/wire"
	"signet/spec/vectors"
)

func corpus(f *testing.F, format, what, file string) {
	cases, err := vectors.Load(format)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if c.Fields["what"] == what {
			f.Add(c.Files[file])
		}
	}
}

// verified fails a fuzz target whose parser fails with anything but an alarm.
func verified(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("%v is not an alarm", err)
	}
}

func FuzzContentParsesAndAppendsSameBytes(f *testing.F) {
	corpus(f, "manifest", "content", "bytes")
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseContent(b)
		if err != nil {
			verified(t, err)
			return
		}
		var w wire.Writer
		c.Append(&w)
		if !bytes.Equal(w.B, b) || len(b) > MaxContent {
			t.Fatalf("%x read and written gives %x", b, w.B)
		}
	})
}

func FuzzPageParsesAndAppendsSameBytes(f *testing.F) {
	corpus(f, "manifest", "page", "bytes")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, left, err := parsePage(nil, 1<<30, b)
		if err != nil {
			verified(t, err)
			return
		}
		if left < 0 || !bytes.Equal(appendPage(nil, p), b) {
			t.Fatalf("%x read and written differs", b)
		}
	})
}

func FuzzGlimpseParsesAndAppendsSameBytes(f *testing.F) {
	corpus(f, "manifest", "glimpse", "bytes")
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGlimpse(b)
		if err != nil {
			verified(t, err)
			return
		}
		var w wire.Writer
		g.Append(&w)
		if !bytes.Equal(w.B, b) {
			t.Fatalf("%x read and written gives %x", b, w.B)
		}
	})
}

func FuzzRootParsesAndAppendsSameBytes(f *testing.F) {
	corpus(f, "manifest", "root", "bytes")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseRoot(b)
		if err != nil {
			verified(t, err)
			return
		}
		if !bytes.Equal(appendRoot(nil, p), b) {
			t.Fatalf("%x read and written differs", b)
		}
	})
}

// What a writer of bad will can put into a chunk: it comes out as it went in,
// within the promised size, or not at all.
func FuzzUnpack(f *testing.F) {
	f.Add(inner(nil, []byte("piece"), true), 5)
	f.Add(inner(nil, make([]byte, 1000), true), 1000)
	f.Add(inner(nil, make([]byte, 1000), true), 999)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if len(in) < chunkTrailer || size < 0 || size > 1<<20 {
			return
		}
		room := append([]byte("before"), in...)
		out, err := unpack(room[:6], room[6:], size)
		if err != nil {
			verified(t, err)
			return
		}
		if len(out) != 6+size || string(out[:6]) != "before" {
			t.Fatalf("%d bytes, %d promised", len(out)-6, size)
		}
	})
}

func FuzzOpenObject(f *testing.F) {
	corpus(f, "content", "object", "object")
	f.Fuzz(func(t *testing.T, b []byte) {
		ref := Ref{Object: sha256.Sum256(b), Key: [32]byte(bytes.Repeat([]byte{1}, 32)), Size: 20}
		if _, err := OpenPiece(nil, ref, b); err != nil {
			verified(t, err)
		}
	})
}

func FuzzOpenEnvelopeAndBlob(f *testing.F) {
	corpus(f, "envelope", "envelope", "envelope")
	corpus(f, "envelope", "operations", "blob")
	corpus(f, "envelope", "back-link", "link")
	seed := must(SeedFromBytes(make([]byte, 32)))
	secret := newSecret([32]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := OpenEnvelope(Context{}, seed.Opener(), b, seed.Public(), secret.Commit(OfRing))
		verified(t, err)
		_, err = OpenOps(seed, nil, b)
		verified(t, err)
		_, err = OpenBack(BackContext{}, seed, b, seed.Public())
		verified(t, err)
	})
}
