package seal

import (
	"encoding/binary"
	"math/bits"

	"signet/core/key"
)

// The rolling sum of n bytes is the sum of (byte+1)·kⁿ⁻¹⁻ⁱ modulo 2⁶¹−1, k
// being keyed by the region secret. Two windows that differ have equal sums
// with a chance of n in 2⁶¹ for whoever does not know k, so nobody outside the
// region can make files that are slow to cut; a sum is a hint all the same,
// and nothing is reused before its keyed id is compared.
const prime = 1<<61 - 1

// rolling holds the powers of one secret's k.
type rolling struct {
	k, k2, k8, k16 uint64
	in             [8][256]uint64 // in[j][b] = (b+1)·k⁷⁻ʲ
}

// mul is a·b modulo prime, not fully reduced: below 2⁶²+16. a may be up to
// 2⁶¹+15, b is reduced.
func mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return lo&prime + (lo>>61 | hi<<3)
}

// fold takes anything to at most 2⁶¹+6.
func fold(a uint64) uint64 { return a&prime + a>>61 }

// whole takes what fold gave to the one number below prime.
func whole(a uint64) uint64 {
	if a >= prime {
		a -= prime
	}
	return a
}

// rolling is made when first asked for: a reader never needs it.
func (s *Secret) rolling() *rolling {
	s.in().once.Do(func() {
		r := &rolling{k: binary.BigEndian.Uint64(derive(s.in().b[:], nil, key.LabelRolling, nil, 8)) % prime}
		pow := uint64(1)
		for j := 7; j >= 0; j-- {
			for b := range r.in[j] {
				r.in[j][b] = whole(fold(mul(pow, uint64(b+1))))
			}
			pow = whole(fold(mul(pow, r.k)))
		}
		r.k2, r.k8, r.k16 = whole(fold(mul(r.k, r.k))), pow, whole(fold(mul(pow, pow)))
		s.in().rolled = r
	})
	return s.in().rolled
}

// power is k to the n.
func (r *rolling) power(n int) uint64 {
	p, sq := uint64(1), r.k
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			p = whole(fold(mul(p, sq)))
		}
		sq = whole(fold(mul(sq, sq)))
	}
	return p
}

// sum is the rolling sum of b, in one go: sixteen bytes a step, because each
// step waits for the one before it.
func (r *rolling) sum(b []byte) uint64 {
	var h uint64
	in, k8, k16 := &r.in, r.k8, r.k16
	for len(b) >= 16 {
		v, w := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		first := in[0][byte(v)] + in[1][byte(v>>8)] + in[2][byte(v>>16)] + in[3][byte(v>>24)] +
			in[4][byte(v>>32)] + in[5][byte(v>>40)] + in[6][byte(v>>48)] + in[7][byte(v>>56)]
		second := in[0][byte(w)] + in[1][byte(w>>8)] + in[2][byte(w>>16)] + in[3][byte(w>>24)] +
			in[4][byte(w>>32)] + in[5][byte(w>>40)] + in[6][byte(w>>48)] + in[7][byte(w>>56)]
		h = fold(mul(h, k16) + fold(mul(fold(first), k8)) + fold(second))
		b = b[16:]
	}
	for _, c := range b {
		h = fold(mul(h, r.k) + in[7][c])
	}
	return whole(h)
}

// Sum is the rolling sum of a piece: at a fraction of the time of its id a hint
// where the piece may be. Nothing may rest on it before an id, or the file
// hash, agrees. Safe for concurrent use.
func (s *Secret) Sum(piece []byte) uint64 { return s.rolling().sum(piece) }

// A roller moves one window of fixed length over bytes and stops where its sum
// may be one that it looks for.
type roller struct {
	*rolling
	out   [2][256]uint64 // out[j][b] = −(b+1)·kⁿ⁺ʲ: takes a byte out of the window
	maybe [filter]uint64 // a bit for every sum looked for, at its low bits
}

// filter is a fixed size, so that the loop needs no bounds check: 64 KiB, in
// which 2,048 sums stop one byte in 250 for nothing.
const filter = 1 << 13

func (r *rolling) roller(window int, sums map[uint64]int) *roller {
	x := &roller{rolling: r}
	pow := r.power(window)
	for j := range x.out {
		for b := range x.out[j] {
			x.out[j][b] = prime - whole(fold(mul(pow, uint64(b+1))))
		}
		pow = whole(fold(mul(pow, r.k)))
	}
	for s := range sums {
		x.maybe[s>>6%filter] |= 1 << (s & 63)
	}
	return x
}

// roll moves the window whose sum is h one byte at a time, out leaving and in
// entering, by at least one byte, until the sum may be wanted or in ends. It
// returns the new sum and by how many bytes it moved. out and in have the same
// length, at least 1.
//
// Two bytes are taken a step, each from the sum before the step, because a
// multiplication waits for the one before it. What is looked up is folded but
// not whole: a sum that differs by it is missed once in 2⁵⁸, which costs
// sending a piece again and no more.
func (x *roller) roll(h uint64, out, in []byte) (sum uint64, n int) {
	in1, in2, out1, out2, maybe := &x.in[7], &x.in[6], &x.out[0], &x.out[1], &x.maybe
	k, k2 := x.k, x.k2
	out = out[:len(in)]
	for ; n+1 < len(in); n += 2 {
		a, b, c, d := in[n], in[n+1], out[n], out[n+1]
		first := fold(mul(h, k) + in1[a] + out1[c])
		h = fold(mul(h, k2) + in2[a] + out2[c] + in1[b] + out1[d])
		if maybe[first>>6%filter]>>(first&63)&1 != 0 {
			return whole(first), n + 1
		}
		if maybe[h>>6%filter]>>(h&63)&1 != 0 {
			return whole(h), n + 2
		}
	}
	if n < len(in) {
		h = fold(mul(h, k) + in1[in[n]] + out1[out[n]])
		n++
	}
	return whole(h), n
}
