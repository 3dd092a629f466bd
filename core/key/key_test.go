package key_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"signet"
	"signet/core/key"
)

func TestLabelsAreUniqueAndPrefixFree(t *testing.T) {
	l := key.Labels()
	for i, a := range l {
		for j, b := range l {
			if i != j && strings.HasPrefix(string(b), string(a)) {
				t.Errorf("%q is a prefix of %q", a, b)
			}
		}
		if strings.IndexByte(string(a), 0) >= 0 {
			t.Errorf("%q contains NUL", a)
		}
	}
}

func TestSignaturesAreBoundToLabelBodyAndKey(t *testing.T) {
	p, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
	q, _ := key.Generate()
	body := []byte("body")
	for _, l := range []key.Label{key.LabelEntry, key.LabelStatement} {
		sig, err := p.Sign(l, body)
		if err != nil {
			t.Fatal(err)
		}
		if len(sig) != key.SignatureSize(l) {
			t.Fatalf("%s: %d bytes", l, len(sig))
		}
		if err := p.Public().Verify(l, body, sig); err != nil {
			t.Fatal(err)
		}
		for _, other := range key.Labels() {
			if other == l {
				continue
			}
			if err := p.Public().Verify(other, body, sig); !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("a signature under %s verifies under %s", l, other)
			}
		}
		if p.Public().Verify(l, []byte("bodz"), sig) == nil || q.Public().Verify(l, body, sig) == nil {
			t.Errorf("%s: verifies with another body or key", l)
		}
		// Each half is needed.
		for i := range []int{0, len(sig) - 1} {
			bad := append([]byte(nil), sig...)
			bad[i] ^= 1
			if p.Public().Verify(l, body, bad) == nil {
				t.Errorf("%s: verifies with byte %d flipped", l, i)
			}
		}
	}
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	p, _ := key.FromSeed([32]byte{1, 2, 3})
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, p); strings.Contains(s, "1 2 3") || len(s) > 30 {
			t.Errorf("%s prints %s", f, s)
		}
	}
}
