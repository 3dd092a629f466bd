package seal_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"slices"
	"testing"

	"signet/core/seal"
)

// fileHash is the file hash as spec/content.md has it, without any of seal.
func fileHash(b []byte) [32]byte {
	if len(b) < 64*mib {
		return sha256.Sum256(b)
	}
	part := 128 * kib
	for part < 4*mib && part*2048 < len(b) {
		part *= 2
	}
	list := append([]byte("signet/v1/hash/file"), 0)
	list = binary.BigEndian.AppendUint64(list, uint64(len(b)))
	for len(b) > 0 {
		n := min(part, len(b))
		sum := sha256.Sum256(b[:n])
		list, b = append(list, sum[:]...), b[n:]
	}
	return sha512.Sum512_256(list)
}

func TestFileHash(t *testing.T) {
	all := random(1, 260*mib)
	for _, n := range []int{0, 1, 128 * kib, 256*kib - 1, 256 * kib, mib + 5, 64*mib - 1, 64 * mib, 64*mib + 1, 256 * mib, 256*mib + 1} {
		if testing.Short() && n > 64*mib+1 {
			continue
		}
		b := all[:n]
		want := fileHash(b)
		if got := seal.FileHash(b); got != want {
			t.Errorf("%d bytes at once: %x, want %x", n, got, want)
		}
		h := seal.NewFileHasher(int64(n))
		for rest, k := b, 1; len(rest) > 0; k = k*3%100003 + 1 {
			k = min(k, len(rest))
			h.Write(rest[:k])
			rest = rest[k:]
		}
		if got := h.Sum(); got != want {
			t.Errorf("%d bytes in pieces: %x, want %x", n, got, want)
		}
		p := seal.NewParts(int64(n))
		for i := p.Count() - 1; i >= 0; i-- {
			p.Set(i, sha256.Sum256(b[p.At(i):p.At(i)+p.Len(i)]))
		}
		if got := p.Sum(); got != want {
			t.Errorf("%d bytes by parts: %x, want %x", n, got, want)
		}
	}
}

func TestFileHashOfAnotherLengthIsAnother(t *testing.T) {
	b := random(2, 70*mib)
	for _, size := range []int64{0, 1, 64*mib - 1, 64 * mib, 70*mib - 1, 70*mib + 1, 140 * mib} {
		h := seal.NewFileHasher(size)
		h.Write(b)
		if h.Sum() == seal.FileHash(b) {
			t.Errorf("70 MiB said to be %d bytes have the hash of 70 MiB", size)
		}
	}
	// The list that is hashed is no file with that hash.
	list := append([]byte("signet/v1/hash/file"), 0)
	list = binary.BigEndian.AppendUint64(list, uint64(len(b)))
	for part := range slices.Chunk(b, 128*kib) {
		sum := sha256.Sum256(part)
		list = append(list, sum[:]...)
	}
	if seal.FileHash(list) == seal.FileHash(b) {
		t.Error("a short file has the hash of a long one")
	}
}
