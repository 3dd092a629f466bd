package seal

import (
	"encoding/binary"
	"math"
	"math/bits"

	"signet/core/key"
)

// The rolling sum of bytes taken four at a time as big-endian numbers w0 …
// w(m−1), the last filled up with zero bytes, is Σ wi·k^(m−1−i) modulo 2⁶¹−1, k
// being keyed by the region secret. Two windows of one length that differ have
// equal sums with a chance of m in 2⁶¹ for whoever does not know k, so nobody
// outside the region can make files that are slow to cut; a sum is a hint all
// the same, and nothing is reused before its keyed id is compared.
//
// Words instead of bytes make the sum of a piece three times as fast. To move
// by a byte all the same, four windows that begin a byte apart roll beside each
// other, each by a word.
const prime = 1<<61 - 1

// wordSize is the length of a word in bytes, and of how many windows roll.
const wordSize = 4

// rolling holds the powers of one secret's k, by exponent.
type rolling struct {
	powers [9]uint64
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
		k := binary.BigEndian.Uint64(derive(s.in().b[:], nil, key.LabelRolling, nil, 8)) % prime
		r := &rolling{powers: [9]uint64{0: 1}}
		for i := 1; i < len(r.powers); i++ {
			r.powers[i] = whole(fold(mul(r.powers[i-1], k)))
		}
		s.in().rolled = r
	})
	return s.in().rolled
}

// power is k to the n.
func (r *rolling) power(n int) uint64 {
	p, sq := uint64(1), r.powers[1]
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			p = whole(fold(mul(p, sq)))
		}
		sq = whole(fold(mul(sq, sq)))
	}
	return p
}

// reduce takes the number hi·2⁶⁴+lo, hi below 2⁵⁹, to what fold gives.
func reduce(hi, lo uint64) uint64 { return fold(lo&prime + (lo>>61 | hi<<3)) }

// eight is h·k⁸ and the sum of the eight words in a to d, folded. All products
// together are below 2¹²³, so they are reduced once.
func (r *rolling) eight(h, a, b, c, d uint64) uint64 {
	hi, lo := bits.Mul64(a>>32, r.powers[7])
	hi, lo = more(hi, lo, a&math.MaxUint32, r.powers[6])
	hi, lo = more(hi, lo, b>>32, r.powers[5])
	hi, lo = more(hi, lo, b&math.MaxUint32, r.powers[4])
	hi, lo = more(hi, lo, c>>32, r.powers[3])
	hi, lo = more(hi, lo, c&math.MaxUint32, r.powers[2])
	hi, lo = more(hi, lo, d>>32, r.powers[1])
	lo, carry := bits.Add64(lo, d&math.MaxUint32, 0)
	hi += carry
	hi, lo = more(hi, lo, h, r.powers[8]) // last, because it waits for the step before
	return reduce(hi, lo)
}

// more adds x·y to hi·2⁶⁴+lo.
func more(hi, lo, x, y uint64) (uint64, uint64) {
	h, l := bits.Mul64(x, y)
	l, carry := bits.Add64(lo, l, 0)
	h, _ = bits.Add64(hi, h, carry)
	return h, l
}

// sum is the rolling sum of b, in one go.
func (r *rolling) sum(b []byte) uint64 {
	var h uint64
	for len(b) >= 32 {
		h = r.eight(h, binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:]))
		b = b[32:]
	}
	for len(b) > 0 {
		var word [wordSize]byte
		n := copy(word[:], b)
		h = fold(mul(h, r.powers[1]) + uint64(binary.BigEndian.Uint32(word[:])))
		b = b[n:]
	}
	return whole(h)
}

// Sum is the rolling sum of a piece: at a fraction of the time of its id a hint
// where the piece may be. Nothing may rest on it before an id, or the file
// hash, agrees. Safe for concurrent use.
func (s *Secret) Sum(piece []byte) uint64 { return s.rolling().sum(piece) }

// A roller moves a window of fixed length over bytes, to where its sum is one
// of those it looks for.
type roller struct {
	*rolling
	window int    // a multiple of wordSize, in bytes
	drop   uint64 // −kᵐ: takes a word out of the window
	sums   map[uint64]int
	maybe  [filter]uint64 // a bit for every sum looked for, at its low bits

	// lanes are the sums of the window and of those that begin one to three
	// bytes after it; ready says that they are.
	lanes [wordSize]uint64
	ready bool
}

// filter is a fixed size, so that the loop needs no bounds check: 64 KiB, in
// which 2,048 sums make it look for nothing once in 250 bytes.
const filter = 1 << 13

func (r *rolling) roller(window int, sums map[uint64]int) *roller {
	x := &roller{rolling: r, window: window, drop: prime - r.power(window/wordSize), sums: sums}
	for s := range sums {
		x.maybe[s>>6%filter] |= 1 << (s & 63)
	}
	return x
}

// jump says that the next window is not where the last one stopped.
func (x *roller) jump() { x.ready = false }

// roll moves the window at the start of b by at least one byte and at most n,
// until its sum is wanted. It returns the sum and by how many bytes it moved. b
// holds at least window+n bytes; with eight more it is fast to the end.
func (x *roller) roll(b []byte, n int) (sum uint64, moved int) {
	far := min(n, len(b)-x.window-2*wordSize)
	if far <= 0 { // the end of the file
		x.ready = false
		for moved < n {
			moved++
			if sum = x.sum(b[moved : moved+x.window]); x.wanted(sum) {
				break
			}
		}
		return sum, moved
	}
	if !x.ready {
		for i := range x.lanes {
			x.lanes[i] = x.sum(b[i : i+x.window])
		}
		x.ready = true
	}
	if far >= wordSize {
		return x.words(b, far/wordSize)
	}
	for moved < far {
		if moved++; x.wanted(x.lanes[moved]) {
			break
		}
	}
	return x.bytes(b, moved), moved
}

// bytes moves the window at the start of b by less than a word, and returns its
// sum.
func (x *roller) bytes(b []byte, n int) (sum uint64) {
	leave, enter := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[x.window:])
	for range n {
		next := step(x.lanes[0], x.powers[1], leave>>32, x.drop, enter>>32)
		leave, enter = leave<<8, enter<<8
		x.lanes = [wordSize]uint64{x.lanes[1], x.lanes[2], x.lanes[3], next}
	}
	return whole(x.lanes[0])
}

// wanted reports whether a sum is looked for. What fold gave is not whole: a sum
// that differs by it is missed once in 2⁵⁸, which costs sending a piece again
// and no more.
func (x *roller) wanted(sum uint64) bool {
	if x.maybe[sum>>6%filter]>>(sum&63)&1 == 0 {
		return false
	}
	_, ok := x.sums[whole(sum)]
	return ok
}

// words is roll by at most n words, the lanes being ready.
func (x *roller) words(b []byte, n int) (sum uint64, moved int) {
	l0, l1, l2, l3 := x.lanes[0], x.lanes[1], x.lanes[2], x.lanes[3]
	k, drop, maybe := x.powers[1], x.drop, &x.maybe
	in := b[x.window:]
	for range n {
		if maybe[l1>>6%filter]>>(l1&63)&1|maybe[l2>>6%filter]>>(l2&63)&1|maybe[l3>>6%filter]>>(l3&63)&1 != 0 {
			for i, l := range [...]uint64{l1, l2, l3} {
				if x.wanted(l) {
					x.lanes = [wordSize]uint64{l0, l1, l2, l3}
					return x.bytes(b[moved:], i+1), moved + i + 1
				}
			}
		}
		leave, enter := binary.BigEndian.Uint64(b[moved:]), binary.BigEndian.Uint64(in[moved:])
		l0 = step(l0, k, leave>>32, drop, enter>>32)
		l1 = step(l1, k, leave>>24&math.MaxUint32, drop, enter>>24&math.MaxUint32)
		l2 = step(l2, k, leave>>16&math.MaxUint32, drop, enter>>16&math.MaxUint32)
		l3 = step(l3, k, leave>>8&math.MaxUint32, drop, enter>>8&math.MaxUint32)
		moved += wordSize
		if x.wanted(l0) {
			break
		}
	}
	x.lanes = [wordSize]uint64{l0, l1, l2, l3}
	return whole(l0), moved
}

// step moves a window by a word: h·k + leave·drop + enter.
func step(h, k, leave, drop, enter uint64) uint64 {
	hi, lo := bits.Mul64(h, k)
	h1, l1 := bits.Mul64(leave, drop)
	lo, c := bits.Add64(lo, l1, 0)
	hi, _ = bits.Add64(hi, h1, c)
	lo, c = bits.Add64(lo, enter, 0)
	return reduce(hi+c, lo)
}
