package seal

import (
	"crypto/rand"
	"math/big"
	"testing"
)

// The sum as the specification says it, in big numbers.
func slowSum(k uint64, b []byte) uint64 {
	p, h := big.NewInt(prime), new(big.Int)
	for len(b) > 0 {
		var word [4]byte
		n := copy(word[:], b)
		b = b[n:]
		h.Mul(h, new(big.Int).SetUint64(k))
		h.Add(h, new(big.Int).SetBytes(word[:]))
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
			if got, want := r.sum(b[:n]), slowSum(r.powers[1], b[:n]); got != want {
				t.Fatalf("%d bytes: %d, want %d", n, got, want)
			}
		}
		const w = 64
		for _, total := range []int{w + 1, w + 2, w + 7, w + 8, w + 13, w + 21, 300} {
			x := r.roller(w, map[uint64]int{prime: 0})
			for at := 0; at < total-w; {
				h, n := x.roll(b[at:total], min(total-w-at, 1+at%37))
				at += n
				if want := slowSum(r.powers[1], b[at:at+w]); h != want {
					t.Fatalf("rolled to %d of %d: %d, want %d", at, total, h, want)
				}
			}
		}
	}
}

func TestRollStopsAtEveryWantedSum(t *testing.T) {
	r := NewSecret().rolling()
	b := make([]byte, 1000)
	rand.Read(b)
	const w = 48
	for want := 1; want <= len(b)-w; want++ {
		s := r.sum(b[want : want+w])
		x := r.roller(w, map[uint64]int{s: 0})
		h, at := r.sum(b[:w]), 0
		for at < len(b)-w && h != s {
			var n int
			h, n = x.roll(b[at:], min(len(b)-w-at, 1+want%90))
			at += n
		}
		if at != want {
			t.Fatalf("stopped at %d, want %d", at, want)
		}
		if s := slowSum(r.powers[1], b[at:at+w]); h != s {
			t.Fatalf("stopped at %d with %d, want %d", at, h, s)
		}
	}
}

func TestWindowThatJumpedIsSummedAnew(t *testing.T) {
	r := NewSecret().rolling()
	b := make([]byte, 1000)
	rand.Read(b)
	const w = 48
	x := r.roller(w, map[uint64]int{prime: 0})
	x.roll(b, 40)
	x.jump()
	if h, n := x.roll(b[500:], 40); n != 40 || h != slowSum(r.powers[1], b[540:540+w]) {
		t.Fatalf("moved %d, sum %d", n, h)
	}
}
