package seal_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"signet/core/seal"
)

var sizes = []int{4 * kib, 128 * kib, 512 * kib, 4 * mib}

func BenchmarkSealPiece(b *testing.B) {
	for _, n := range sizes {
		for name, data := range map[string][]byte{"noise": random(1, n), "text": bytes.Repeat([]byte("func (p *PrivateKey) Open(info []byte)\n"), n/39+1)[:n]} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, n/kib), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				var buf []byte
				for b.Loop() {
					buf, _, _ = seal.SealPiece(buf[:0], data)
				}
			})
		}
	}
}

func BenchmarkOpenPiece(b *testing.B) {
	for _, n := range sizes {
		object, ref, _ := seal.SealPiece(nil, random(1, n))
		b.Run(fmt.Sprintf("%dKiB", n/kib), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf, _ = seal.OpenPiece(buf[:0], ref, object)
			}
		})
	}
}

func BenchmarkSHA256(b *testing.B) {
	data := random(1, mib)
	b.SetBytes(mib)
	for b.Loop() {
		sha256.Sum256(data)
	}
}

func BenchmarkSum(b *testing.B) {
	s, data := seal.NewSecret(), random(1, mib)
	b.SetBytes(mib)
	for b.Loop() {
		s.Sum(data)
	}
}

func BenchmarkCut(b *testing.B) {
	s := seal.NewSecret()
	data := random(1, 256*mib)
	old := cutBytes(b, s, data, nil).pieces
	at := 100*mib + 12345
	inserted := join(data[:at], random(2, kib), data[at:])
	for _, c := range []struct {
		name string
		data []byte
		old  []seal.Piece
	}{
		{"first", data, nil},
		{"identical", data, old},
		{"inserted", inserted, old},
		{"all new", random(3, 256*mib), old},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			for b.Loop() {
				fresh := 0
				_, err := s.Cut(bytes.NewReader(c.data), int64(len(c.data)), c.old, func(c seal.Cut) error {
					if c.Reuse < 0 {
						fresh += len(c.Data)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(fresh)/kib, "new-KiB")
			}
		})
	}
}

// The bar of 1 KiB inserted in 1 GiB: what is uploaded, pieces and pages.
func BenchmarkInsertInOneGiB(b *testing.B) {
	s, st := seal.NewSecret(), newStore()
	data := random(1, 1<<30)
	old := cutBytes(b, s, data, nil).pieces
	for i := range old { // as sealing would
		old[i].Object = sha256.Sum256(old[i].ID[:])
	}
	_, m, err := s.Describe([32]byte{}, old, nil, st.put)
	if err != nil {
		b.Fatal(err)
	}
	at := 600*mib + 12345
	data = join(data[:at], random(2, kib), data[at:])
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		st.bytes = 0
		var pieces []seal.Piece
		sha, err := s.Cut(bytes.NewReader(data), int64(len(data)), m.Pieces, func(c seal.Cut) error {
			if c.Reuse >= 0 {
				pieces = append(pieces, m.Pieces[c.Reuse])
				return nil
			}
			object, ref, err := seal.SealPiece(nil, c.Data)
			if err != nil {
				return err
			}
			p := seal.Piece{Ref: ref}
			p.Sum, p.ID = s.Sum(c.Data), s.PlaintextID(c.Data)
			pieces = append(pieces, p)
			return st.put(ref, object)
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.Describe(sha, pieces, m, st.put); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(st.bytes)/kib, "sent-KiB")
	}
}

func BenchmarkNewGeneration(b *testing.B) {
	to, secret := must(seal.New()).Public(), seal.NewSecret()
	for b.Loop() {
		seed, _ := seal.NewSeed(nil)
		seed.Public()
		seal.SealEnvelope(seal.Context{}, to, seed, secret)
	}
}
