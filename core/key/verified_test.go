package key

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestMemoryIsBoundedAndKeepsWhatIsInUse(t *testing.T) {
	var m memory
	trace := func(n int) (t [32]byte) { binary.BigEndian.PutUint64(t[:], uint64(n)); return t }
	m.add(trace(0))
	for n := 1; n < 3*remembered; n++ {
		m.add(trace(n))
		if n%1000 == 0 && !m.has(trace(0)) {
			t.Fatalf("forgot after %d others what was asked for all the time", n)
		}
	}
	if m.has(trace(1)) {
		t.Error("remembers what was not asked for")
	}
	if n := len(m.young) + len(m.old); n > 2*remembered {
		t.Errorf("remembers %d", n)
	}
}

// A signature that was found good must not make a bad one good.
func TestWhatWasVerifiedLendsNothingToOthers(t *testing.T) {
	p, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := p.Sign(LabelEntry, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Public().Verify(LabelEntry, []byte("body"), sig); err != nil {
			t.Fatal(err)
		}
	}
	long := append(append([]byte(nil), sig...), 'x')
	for _, bad := range []struct{ body, sig []byte }{{[]byte("bodybody"), sig}, {nil, sig}, {[]byte("body"), sig[:len(sig)-1]}, {[]byte("ody"), long}} {
		for range 2 { // and bad ones are not remembered
			if err := p.Public().Verify(LabelEntry, bad.body, bad.sig); !errors.Is(err, ErrSignature) {
				t.Errorf("%q: %v", bad.body, err)
			}
		}
	}
}

// Only what a pair that remembers signed itself is taken without being verified, and
// nothing else of it.
func TestOwnSignaturesAreRememberedWhereThatWasAskedFor(t *testing.T) {
	for _, own := range []bool{false, true} {
		p, err := Generate()
		if err != nil {
			t.Fatal(err)
		}
		if own {
			p.RememberOwn()
		}
		sig, err := p.Sign(LabelFull, []byte("body"))
		if err != nil {
			t.Fatal(err)
		}
		if has := verified.has(trace(p.Public(), sig, message(LabelFull, []byte("body")))); has != own {
			t.Errorf("remembers what it signed: %v, want %v", has, own)
		}
		if err := p.Public().Verify(LabelFull, []byte("body"), sig); err != nil {
			t.Error(err)
		}
		sig[len(sig)-1] ^= 1
		if err := p.Public().Verify(LabelFull, []byte("body"), sig); !errors.Is(err, ErrSignature) {
			t.Errorf("a spoiled one: %v", err)
		}
	}
}

func BenchmarkVerifyAgain(b *testing.B) {
	p, _ := Generate()
	body := make([]byte, 400)
	sig, _ := p.Sign(LabelStatement, body)
	for b.Loop() {
		if p.Public().Verify(LabelStatement, body, sig) != nil {
			b.Fatal("does not verify")
		}
	}
}
