package seal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/core/seal"
	"signet/core/wire"
)

// store is a place for objects, and counts what was put since it was asked last.
type store struct {
	objects map[signet.ObjectID][]byte
	news    int
	bytes   int
}

func newStore() *store { return &store{objects: map[signet.ObjectID][]byte{}} }

func (s *store) put(ref seal.Ref, object []byte) error {
	s.objects[ref.Object] = bytes.Clone(object)
	s.news++
	s.bytes += len(object)
	return nil
}

func (s *store) get(id signet.ObjectID) ([]byte, error) {
	if o, ok := s.objects[id]; ok {
		return o, nil
	}
	return nil, signet.ErrNotFound
}

// invent makes n pieces that no bytes belong to.
func invent(n int, size uint32) []seal.Piece {
	b := random(77, n*72)
	pieces := make([]seal.Piece, n)
	for i := range pieces {
		p := &pieces[i]
		copy(p.Object[:], b[72*i:])
		copy(p.Key[:], b[72*i+32:])
		p.Size, p.Sum, p.ID = size, uint64(i), sha256.Sum256(b[72*i:72*i+64])
	}
	return pieces
}

func encode(c *seal.Content) []byte {
	var w wire.Writer
	c.Append(&w)
	return w.B
}

// describe makes, encodes, parses and opens a Content.
func describe(t *testing.T, s *seal.Secret, st *store, pieces []seal.Piece, old *seal.Manifest) (*seal.Content, *seal.Manifest) {
	t.Helper()
	st.news, st.bytes = 0, 0
	c, m, err := s.Describe([32]byte{1}, pieces, old, st.put)
	if err != nil {
		t.Fatal(err)
	}
	b := encode(c)
	if len(b) > seal.MaxContent {
		t.Errorf("a content of %d bytes", len(b))
	}
	d, err := seal.ParseContent(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, d); diff != "" {
		t.Fatal(diff)
	}
	got, err := d.Open(st.get)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Pieces, pieces) && len(pieces) != 1 {
		t.Fatal("other pieces come out")
	}
	if !slices.Equal(got.Objects(), m.Objects()) {
		t.Fatal("other objects come out")
	}
	return c, m
}

func TestManifestOfOneGiBCostsOnePageAChange(t *testing.T) {
	s, st := seal.NewSecret(), newStore()
	pieces := invent(2048, 512*kib)
	c, m := describe(t, s, st, pieces, nil)
	if st.news != 4 || len(encode(c)) > 400 {
		t.Errorf("%d pages, content of %d bytes", st.news, len(encode(c)))
	}
	t.Logf("2,048 pieces: %d pages, %d bytes; content %d bytes", st.news, st.bytes, len(encode(c)))
	describe(t, s, st, pieces, m)
	if st.news != 0 {
		t.Errorf("unchanged: %d new pages", st.news)
	}
	other := invent(2050, 1000)[2048:]
	overwritten := slices.Clone(pieces)
	overwritten[700] = other[0]
	describe(t, s, st, overwritten, m)
	if st.news != 1 || st.bytes > 60*kib {
		t.Errorf("one piece overwritten: %d new pages, %d bytes", st.news, st.bytes)
	}
	inserted := slices.Insert(slices.Clone(overwritten), 701, other[1])
	_, m2 := describe(t, s, st, inserted, m)
	if st.news != 1 {
		t.Errorf("one piece inserted: %d new pages", st.news)
	}
	describe(t, s, st, slices.Delete(slices.Clone(inserted), 10, 20), m2)
	if st.news != 1 {
		t.Errorf("ten pieces removed: %d new pages", st.news)
	}
}

func TestManifestForms(t *testing.T) {
	s, st := seal.NewSecret(), newStore()
	for _, n := range []int{0, 1, 2, 512, 768, 769, 8 * 512, 8*512 + 300, 9 * 512, 20000} {
		pieces := invent(n, 4*mib)
		c, m := describe(t, s, st, pieces, nil)
		if (c.Piece != nil) != (n == 1) || (c.Root != nil) != (len(m.Pages) > 8) || c.Size != int64(n)*4*mib {
			t.Errorf("%d pieces: wrong form", n)
		}
		if len(c.Objects()) == 0 && n > 0 {
			t.Errorf("%d pieces: no objects", n)
		}
		for i := range pieces { // edits everywhere must not leave crumbs for ever
			if i%300 == 0 && n > 10000 {
				pieces = slices.Insert(pieces, i, invent(1, uint32(i+1))...)
				_, m = describe(t, s, st, pieces, m)
			}
		}
		if n > 10000 && len(m.Pages) > len(pieces)/128+1 {
			t.Errorf("%d pieces on %d pages", len(pieces), len(m.Pages))
		}
	}
}

func TestManifestThatDoesNotFitIsRefused(t *testing.T) {
	s, st := seal.NewSecret(), newStore()
	pieces := invent(20000, 4*mib)
	c, _ := describe(t, s, st, pieces, nil)
	small, _ := describe(t, s, st, pieces[:600], nil)
	for name, change := range map[string]func(c, small *seal.Content){
		"longer":           func(c, _ *seal.Content) { c.Size++ },
		"shorter":          func(c, _ *seal.Content) { c.Size-- },
		"far shorter":      func(c, _ *seal.Content) { c.Size = 300 * kib },
		"a page as root":   func(c, s *seal.Content) { c.Root = &s.Pages[0] },
		"the root as page": func(c, s *seal.Content) { c.Root, c.Pages = nil, []seal.Ref{*c.Root} },
		"one page over and over": func(c, s *seal.Content) {
			c.Root, c.Pages = nil, slices.Repeat(s.Pages[:1], 8)
			c.Size = 400 * kib
		},
		"another page": func(c, s *seal.Content) { c.Root, c.Pages = nil, s.Pages },
	} {
		d, e := *c, *small
		change(&d, &e)
		_, err := d.Open(st.get)
		refused(t, name, err)
	}
	if _, err := c.Open(func(signet.ObjectID) ([]byte, error) { return nil, signet.ErrNotFound }); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("a missing page: %v", err)
	}
	if _, _, err := s.Describe([32]byte{}, invent(10000, 1), nil, st.put); err == nil {
		t.Error("a manifest of 10,000 pieces of one byte")
	}
}

func TestContentRefusesWhatIsNotCanonical(t *testing.T) {
	s, st := seal.NewSecret(), newStore()
	empty, _ := describe(t, s, st, nil, nil)
	one, _ := describe(t, s, st, invent(1, 1000), nil)
	two, _ := describe(t, s, st, invent(2, 1<<17), nil)
	for _, c := range []*seal.Content{empty, one, two} {
		b := encode(c)
		for i := range b {
			_, err := seal.ParseContent(b[:i])
			refused(t, "cut short", err)
		}
		_, err := seal.ParseContent(append(b, 0))
		refused(t, "trailing byte", err)
		b[72] = 9
		_, err = seal.ParseContent(b)
		refused(t, "unknown form", err)
	}
	for name, c := range map[string]seal.Content{
		"empty with a length":    {Size: 1},
		"piece without a length": {Piece: &seal.Ref{}},
		"piece too long":         {Size: seal.MaxPiece + 1, Piece: &seal.Ref{}},
		"pages without a length": {Pages: two.Pages},
		"page of no pieces":      {Size: 5, Pages: []seal.Ref{{Size: 3}}},
		"page of an odd length":  {Size: 5, Pages: []seal.Ref{{Size: 100}}},
		"too many pages":         {Size: 5, Pages: slices.Repeat(two.Pages, 9)},
		"file too long":          {Size: seal.MaxSize + 1, Root: &seal.Ref{}},
		"negative length":        {Size: -1, Root: &seal.Ref{}},
		"list of pages too long": {Size: 5, Root: &seal.Ref{Size: seal.MaxPiece + 1}},
	} {
		_, err := seal.ParseContent(encode(&c))
		refused(t, name, err)
	}
}
