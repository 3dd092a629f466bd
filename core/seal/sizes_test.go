package seal

import "testing"

// The figures in spec/content.md and spec/envelope.md.
func TestSizesAreThoseOfTheSpecification(t *testing.T) {
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"empty object", ObjectSize(0), 67},
		{"object of 1,000 bytes", ObjectSize(1000), 1091},
		{"object of 100,000 bytes", ObjectSize(100000), 100419},
		{"object of 512 KiB", ObjectSize(512 << 10), 524355},
		{"longest object", MaxObject, 4194371},
		{"page of 512 pieces", pageHeader + 512*pieceSize, 55299},
		{"object of a page of 512 pieces", ObjectSize(pageHeader + 512*pieceSize), 57411},
		{"content of four pages", MaxContent - 4*refSize, 346},
		{"longest content", MaxContent, 618},
		{"envelope", EnvelopeSize, 1201},
		{"back-link", BlobSize(32), 130},
		{"blob of 100 bytes", BlobSize(100), 202},
		{"blob of 1,000 bytes", BlobSize(1000), 1122},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.what, c.got, c.want)
		}
	}
}

func TestPaddingIsMonotoneAndSmall(t *testing.T) {
	last := 0
	for n := range 1 << 18 {
		p := padme(n)
		if p < n || p < last || padme(p) != p || (p-n)*100 > 12*n {
			t.Fatalf("%d is padded to %d", n, p)
		}
		last = p
	}
	for n := 1; n <= MaxPiece; n *= 2 {
		if padme(n) != n {
			t.Errorf("%d is padded to %d", n, padme(n))
		}
	}
}
