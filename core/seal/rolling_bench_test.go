package seal

import (
	"crypto/rand"
	"testing"
)

func BenchmarkRoll(b *testing.B) {
	data := make([]byte, 1<<20)
	rand.Read(data)
	r := NewSecret().rolling()
	x := r.roller(1<<17, map[uint64]int{1: 0})
	n := len(data) - 1<<17
	b.SetBytes(int64(n))
	for b.Loop() {
		x.jump()
		for at := 0; at < n; {
			_, m := x.roll(data[at:], n-at)
			at += m
		}
	}
}
