package seal

import (
	"crypto/rand"
	"math/big"
	"testing"
)

// The sum as the specification says it, in big numbers.
func slowSum(k uint64, b []byte) uint64 {
	p, h := big.NewInt(prime), new(big.Int)
	for _, c := range b {
		h.Mul(h, new(big.Int).SetUint64(k))
		h.Add(h, big.NewInt(int64(c)+1))
		h.Mod(h, p)
	}
	return h.Uint64()
}

func TestRollingSumIsTheSpecifiedOne(t *testing.T) {
	for range 20 {
		r := NewSecret().rolling()
		b := make([]byte, 300)
		rand.Read(b)
		for i := range 50 {
			b[i+100] = 0xff // the largest terms
		}
		for n := range 60 {
			if got, want := r.sum(b[:n]), slowSum(r.k, b[:n]); got != want {
				t.Fatalf("%d bytes: %d, want %d", n, got, want)
			}
		}
		const w = 64
		for _, total := range []int{w + 1, w + 2, w + 7, 300} {
			x := r.roller(w, map[uint64]int{prime: 0})
			h := r.sum(b[:w])
			for at := 0; at < total-w; {
				var n int
				h, n = x.roll(h, b[at:total-w], b[at+w:total])
				at += n
				if want := slowSum(r.k, b[at:at+w]); h != want {
					t.Fatalf("rolled to %d: %d, want %d", at, h, want)
				}
			}
		}
	}
}

func TestRollStopsAtEveryWantedSum(t *testing.T) {
	r := NewSecret().rolling()
	b := make([]byte, 1000)
	rand.Read(b)
	const w = 50
	for want := 1; want <= len(b)-w; want++ {
		s := r.sum(b[want : want+w])
		x := r.roller(w, map[uint64]int{s: 0})
		h, at := r.sum(b[:w]), 0
		for at < len(b)-w && h != s {
			var n int
			h, n = x.roll(h, b[at:len(b)-w], b[at+w:])
			at += n
		}
		if at != want {
			t.Fatalf("stopped at %d, want %d", at, want)
		}
	}
}
