package seal_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"signet/core/seal"
)

const kib, mib = 1 << 10, 1 << 20

// random is n bytes that are the same in every run.
func random(seed uint64, n int) []byte {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(s).Read(b)
	return b
}

// version is what a test keeps of one version: its pieces as a manifest would,
// and how many bytes were new in it.
type version struct {
	pieces []seal.Piece
	fresh  int // bytes in new pieces
	news   int // new pieces
}

// cut cuts data and checks that the pieces make the data again.
func cut(t testing.TB, s *seal.Secret, data []byte, r io.Reader, old []seal.Piece) version {
	t.Helper()
	var v version
	var off int
	sha, err := s.Cut(r, int64(len(data)), old, func(c seal.Cut) error {
		if off+len(c.Data) > len(data) || !bytes.Equal(c.Data, data[off:off+len(c.Data)]) {
			t.Fatalf("piece %d at %d is not the file's", len(v.pieces), off)
		}
		off += len(c.Data)
		if c.Reuse >= 0 {
			p := old[c.Reuse]
			if int(p.Size) != len(c.Data) || p.ID != s.PlaintextID(c.Data) {
				t.Fatalf("old piece %d is not what lies at %d", c.Reuse, off)
			}
			v.pieces = append(v.pieces, p)
			return nil
		}
		p := seal.Piece{Ref: seal.Ref{Size: uint32(len(c.Data))}}
		p.Sum, p.ID = s.Sum(c.Data), s.PlaintextID(c.Data)
		v.pieces = append(v.pieces, p)
		v.fresh += len(c.Data)
		v.news++
		return nil
	})
	if err != nil || off != len(data) || sha != fileHash(data) {
		t.Fatalf("%d of %d bytes, %v", off, len(data), err)
	}
	return v
}

func cutBytes(t testing.TB, s *seal.Secret, data []byte, old []seal.Piece) version {
	t.Helper()
	return cut(t, s, data, bytes.NewReader(data), old)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestPieceSizes(t *testing.T) {
	for size, want := range map[int64]int{
		0: 0, 1: 1, 256*kib - 1: 256*kib - 1, 256 * kib: 128 * kib, 256 * mib: 128 * kib, 256*mib + 1: 256 * kib,
		1 << 30: 512 * kib, 1<<30 + 1: mib, 4 << 30: 2 * mib, 8 << 30: 4 * mib, 1 << 40: 4 * mib,
	} {
		if got := seal.PieceSize(size); got != want {
			t.Errorf("file of %d bytes: pieces of %d, want %d", size, got, want)
		}
	}
}

func TestDelta(t *testing.T) {
	size, nominal := 64*mib, 128*kib
	if testing.Short() {
		size = 8 * mib
	}
	s := seal.NewSecret()
	data := random(1, size)
	first := cutBytes(t, s, data, nil)
	if first.news != size/nominal || first.fresh != size {
		t.Fatalf("first version: %d new pieces", first.news)
	}
	at := size/3 + 12345 // no border
	overwritten := bytes.Clone(data)
	copy(overwritten[at:], random(2, kib))
	for name, c := range map[string]struct {
		data []byte
		most int
	}{
		"identical":            {data, 0},
		"1 KiB inserted":       {join(data[:at], random(2, kib), data[at:]), nominal + kib},
		"1 KiB removed":        {join(data[:at], data[at+kib:]), nominal},
		"1 KiB overwritten":    {overwritten, nominal},
		"1 byte at the front":  {join([]byte{9}, data), 1},
		"first byte removed":   {data[1:], nominal},
		"appended":             {join(data, random(2, 1000)), 1000},
		"cut at a border":      {data[:size/2], 0},
		"cut in a piece":       {data[:size/2+77], 77},
		"halves swapped":       {join(data[at:], data[:at]), 2 * nominal},
		"near the end":         {join(data[:size-50], random(2, kib), data[size-50:]), nominal + kib},
		"two edits":            {join(data[:at], []byte("x"), data[at:at+mib], []byte("y"), data[at+mib:]), 2*nominal + 2},
		"something else":       {random(3, size), size},
		"cut to nothing":       {nil, 0},
		"cut to a short file":  {data[:100*kib], 100 * kib},
		"doubled":              {join(data, data), 0},
		"a piece in the front": {join(data[5*nominal:6*nominal], data), 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := cutBytes(t, s, c.data, first.pieces)
			if v.fresh > c.most {
				t.Errorf("%d bytes in %d new pieces, want at most %d", v.fresh, v.news, c.most)
			}
		})
	}
}

// After an insertion a file has pieces of other lengths: they are found again
// where they follow what they followed, and where they stood, from either end.
func TestDeltaFindsOddPiecesAgain(t *testing.T) {
	const nominal = 128 * kib
	s := seal.NewSecret()
	data := random(1, 8*mib+5000)
	at := 3*mib + 777
	data = join(data[:at], []byte("odd"), data[at:])
	first := cutBytes(t, s, data, cutBytes(t, s, join(data[:at], data[at+3:]), nil).pieces)
	same := cutBytes(t, s, data, first.pieces)
	if same.news != 0 {
		t.Errorf("identical: %d new pieces", same.news)
	}
	// The piece before the odd one is overwritten: the odd one stays.
	changed := bytes.Clone(data)
	changed[at-at%nominal+5] ^= 1
	if v := cutBytes(t, s, changed, first.pieces); v.fresh > nominal {
		t.Errorf("overwritten before an odd piece: %d new bytes", v.fresh)
	}
	// Something is put in front, and the last nominal piece changes: the
	// short end is found from the end.
	changed = join([]byte("front"), data)
	changed[len(changed)-6000] ^= 1
	if v := cutBytes(t, s, changed, first.pieces); v.fresh > nominal+8 {
		t.Errorf("front and near the end: %d new bytes", v.fresh)
	}
}

func TestDeltaCutsAfreshWhenGroundToDust(t *testing.T) {
	s := seal.NewSecret()
	data := random(1, 2*mib)
	v := cutBytes(t, s, data, nil)
	edits := 200
	if testing.Short() {
		edits = 60 // past the first time that it is cut afresh
	}
	for i := range edits {
		at := (i * 40503) % len(data)
		data = join(data[:at], []byte{byte(i)}, data[at:])
		v = cutBytes(t, s, data, v.pieces)
		if n := len(data) / len(v.pieces); n < 128*kib/4-8*kib {
			t.Fatalf("edit %d: pieces average %d bytes", i, n)
		}
	}
}

func TestDeltaAcrossPieceSizes(t *testing.T) {
	if testing.Short() {
		return // the border lies at 256 MiB
	}
	s := seal.NewSecret()
	data := random(1, 256*mib)
	first := cutBytes(t, s, data, nil)
	grown := join(data, random(2, mib))
	if v := cutBytes(t, s, grown, first.pieces); v.fresh > mib {
		t.Errorf("grown over the border of a piece size: %d new bytes", v.fresh)
	}
}

func TestDeltaOfZerosAndPeriods(t *testing.T) {
	s := seal.NewSecret()
	zeros := make([]byte, 5*mib)
	first := cutBytes(t, s, zeros, nil)
	if v := cutBytes(t, s, zeros[:4*mib+9], first.pieces); v.fresh > 9 {
		t.Errorf("zeros: %d new bytes", v.fresh)
	}
	period := bytes.Repeat([]byte("0123456789abcdef0123456789abcde"), 200000)
	first = cutBytes(t, s, period, nil)
	if v := cutBytes(t, s, join([]byte("!"), period), first.pieces); v.fresh > 1 {
		t.Errorf("period: %d new bytes", v.fresh)
	}
}

// A member can put sums into a manifest that are right and ids that are wrong:
// the others must neither reuse nor become slow.
func TestDeltaReusesNothingByItsSumAlone(t *testing.T) {
	s := seal.NewSecret()
	data := make([]byte, 2*mib)
	lie := cutBytes(t, s, data, nil)
	for i := range lie.pieces {
		lie.pieces[i].ID = [32]byte{byte(i)}
	}
	if v := cutBytes(t, s, join([]byte("x"), data), lie.pieces); v.fresh != len(data)+1 {
		t.Errorf("%d bytes were taken over", len(data)+1-v.fresh)
	}
}

// Bytes that repeat what was once cut into dust must not make a manifest that
// no reader takes.
func TestDeltaOfRepeatedDustStaysWithinTheLimit(t *testing.T) {
	s, st := seal.NewSecret(), newStore()
	data := random(1, 128*kib+3000)
	var old []seal.Piece
	add := func(b []byte) {
		p := seal.Piece{Ref: seal.Ref{Size: uint32(len(b))}}
		p.Sum, p.ID = s.Sum(b), s.PlaintextID(b)
		old = append(old, p)
	}
	add(data[:128*kib])
	for i := range 3000 {
		add(data[128*kib+i:][:1])
	}
	for range 1000 {
		add(make([]byte, 128*kib))
	}
	v := cutBytes(t, s, bytes.Repeat(data, 20), old)
	if len(v.pieces) < 3000 {
		t.Fatal("the dust was not taken over, so this test shows nothing")
	}
	if _, _, err := s.Describe([32]byte{}, v.pieces, nil, st.put); err != nil {
		t.Error(err)
	}
}

func TestCutReportsAFileThatChangesItsLength(t *testing.T) {
	s := seal.NewSecret()
	none := func(seal.Cut) error { return nil }
	for _, n := range []int{100, 300 * kib} {
		data := random(1, n)
		if _, err := s.Cut(bytes.NewReader(data[1:]), int64(n), nil, none); !errors.Is(err, seal.ErrResized) {
			t.Errorf("%d, shorter: %v", n, err)
		}
		if _, err := s.Cut(bytes.NewReader(join(data, data)), int64(n), nil, none); !errors.Is(err, seal.ErrResized) {
			t.Errorf("%d, longer: %v", n, err)
		}
		boom := errors.New("boom")
		if _, err := s.Cut(iotest.ErrReader(boom), int64(n), nil, none); !errors.Is(err, boom) {
			t.Errorf("%d, broken: %v", n, err)
		}
		if _, err := s.Cut(bytes.NewReader(data), int64(n), nil, func(seal.Cut) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("%d, emit: %v", n, err)
		}
	}
	if _, err := s.Cut(bytes.NewReader(nil), -1, nil, none); err == nil {
		t.Error("a negative size")
	}
}

// Whatever is edited how, and however the reader hands it out, the pieces make
// the file, and every piece taken over is an old one with these bytes (cut
// checks both).
func TestPiecesAlwaysMakeTheFile(t *testing.T) {
	s := seal.NewSecret()
	base := random(1, 3*mib/2)
	rapid.Check(t, func(rt *rapid.T) {
		at := func(n int, name string) int { return rapid.IntRange(0, n).Draw(rt, name) }
		data := bytes.Clone(base[:at(len(base), "length")])
		var old []seal.Piece
		for range at(3, "versions") {
			old = cutBytes(t, s, data, old).pieces
			for range at(3, "edits") {
				a := at(len(data), "from")
				b := a + at(min(len(data)-a, 400*kib), "removed")
				x := at(len(base)-1, "source")
				ins := base[x : x+at(min(len(base)-x, 300*kib), "inserted")]
				data = join(data[:a], ins, data[b:])
			}
		}
		var r io.Reader = bytes.NewReader(data)
		if rapid.Bool().Draw(rt, "halves") {
			r = iotest.HalfReader(r)
		}
		if rapid.Bool().Draw(rt, "eof with data") {
			r = iotest.DataErrReader(r)
		}
		cut(t, s, data, r, old)
	})
}
