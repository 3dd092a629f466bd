package seal_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"signet"
	"signet/core/seal"
)

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("%s: got %v, want not verified", what, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestSecretsDoNotPrintOrMarshal(t *testing.T) {
	raw := [32]byte{0xfe, 0xdc, 0xba}
	p := must(seal.FromSeed(raw))
	s := must(seal.SeedFromBytes(raw[:]))
	c := must(seal.SecretFromBytes(raw[:]))
	type around struct{ s seal.Secret }
	for _, v := range []any{p, s, c, *p, *s, *c, &around{*c}, around{*c}} {
		for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			got := strings.ToLower(fmt.Sprintf(f, v))
			if strings.Contains(got, "fedcba") || strings.Contains(got, "254") || strings.Contains(got, "0xfe, 0xdc") {
				t.Errorf("%s of %T prints %s", f, v, got)
			}
		}
	}
	for _, v := range []any{p, s, c} {
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("%T marshals as %s", v, b)
		}
	}
}

func TestKeysAreDeterministicAndApart(t *testing.T) {
	p, q := must(seal.FromSeed([32]byte{1})), must(seal.FromSeed([32]byte{1}))
	if p.Public() != q.Public() || p.Seed() != [32]byte{1} {
		t.Error("one seed makes two keys")
	}
	s := must(seal.SeedFromBytes(make([]byte, 32)))
	if z := must(seal.FromSeed([32]byte{})); s.Public() == z.Public() {
		t.Error("a generation's pair is the pair of its bare seed")
	}
	a, b := must(seal.NewSeed(s)), must(seal.NewSeed(s))
	if a.Public() == b.Public() || a.Public() == s.Public() {
		t.Error("two generations are the same")
	}
	if _, err := seal.SeedFromBytes(make([]byte, 31)); err == nil {
		t.Error("a seed of 31 bytes")
	}
	if _, err := seal.SecretFromBytes(make([]byte, 33)); err == nil {
		t.Error("a secret of 33 bytes")
	}
}

func TestSecretNamesWithoutCollisionsBetweenUses(t *testing.T) {
	s, o := seal.NewSecret(), seal.NewSecret()
	seen := map[[32]byte]string{}
	add := func(name string, h [32]byte) {
		if p, ok := seen[h]; ok {
			t.Errorf("%s is %s", name, p)
		}
		seen[h] = name
	}
	add("commit ring", s.Commit(seal.OfRing))
	add("commit region", s.Commit(seal.OfRegion))
	add("claim", s.RegionClaim("a", 0))
	add("claim 1", s.RegionClaim("a", 1))
	add("claim of another ring", o.RegionClaim("a", 0))
	add("claim of another name", s.RegionClaim("a\x00\x00\x00\x00", 0))
	add("digest", s.DigestKey())
	add("id", s.PlaintextID([]byte("a")))
	add("id in another region", o.PlaintextID([]byte("a")))
	if s.PlaintextID([]byte("a")) != s.PlaintextIDOf(sha256.Sum256([]byte("a"))) {
		t.Error("streaming gives another id")
	}
	if b := must(seal.SecretFromBytes(s.Bytes())); b.Commit(seal.OfRing) != s.Commit(seal.OfRing) {
		t.Error("a secret does not survive its bytes")
	}
}

func context() seal.Context {
	return seal.Context{
		Org: signet.OrgID{1}, OwnerKind: seal.OfRegion, Owner: [32]byte{2}, Generation: 3,
		RecipientKind: seal.ToRing, Recipient: [32]byte{4}, RecipientGeneration: 5, Giver: signet.DeviceID{6},
	}
}

func TestEnvelopeOpensInItsContextOnly(t *testing.T) {
	to, other := must(seal.New()), must(seal.New())
	seed, secret := must(seal.NewSeed(nil)), seal.NewSecret()
	c := context()
	env := must(seal.SealEnvelope(c, to.Public(), seed, secret))
	if len(env) != seal.EnvelopeSize {
		t.Errorf("envelope of %d bytes, want %d", len(env), seal.EnvelopeSize)
	}
	open := func(c seal.Context, o seal.Opener, env []byte) error {
		_, _, err := seal.OpenEnvelope(c, o, env, seed.Public(), secret.Commit(seal.OfRegion))
		return err
	}
	s, x, err := seal.OpenEnvelope(c, to, env, seed.Public(), secret.Commit(seal.OfRegion))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Bytes(), seed.Bytes()) || !bytes.Equal(x.Bytes(), secret.Bytes()) {
		t.Error("another seed or secret came out")
	}
	refused(t, "another recipient", open(c, other, env))
	for name, change := range map[string]func(*seal.Context){
		"org":                  func(c *seal.Context) { c.Org[31]++ },
		"owner":                func(c *seal.Context) { c.Owner[31]++ },
		"owner kind":           func(c *seal.Context) { c.OwnerKind = seal.OfRing },
		"generation":           func(c *seal.Context) { c.Generation++ },
		"recipient":            func(c *seal.Context) { c.Recipient[0]++ },
		"recipient kind":       func(c *seal.Context) { c.RecipientKind = seal.ToDevice },
		"recipient generation": func(c *seal.Context) { c.RecipientGeneration++ },
		"giver":                func(c *seal.Context) { c.Giver[0]++ },
	} {
		d := c
		change(&d)
		refused(t, "another "+name, open(d, to, env))
	}
	for i := range env {
		bad := bytes.Clone(env)
		bad[i] ^= 1 << (i % 8)
		refused(t, fmt.Sprintf("byte %d changed", i), open(c, to, bad))
	}
	refused(t, "short", open(c, to, env[:len(env)-1]))
	refused(t, "long", open(c, to, append(bytes.Clone(env), 0)))
	refused(t, "empty", open(c, to, nil))
}

// What a key opened once opens again without it, and lends nothing to what differs.
func TestEnvelopeThatWasOpenedOpensForTheSameAlone(t *testing.T) {
	to := must(seal.New())
	seed, secret := must(seal.NewSeed(nil)), seal.NewSecret()
	c, public, commit := context(), seed.Public(), secret.Commit(seal.OfRegion)
	env := must(seal.SealEnvelope(c, to.Public(), seed, secret))
	for range 100 {
		s, x, err := seal.OpenEnvelope(c, to, env, public, commit)
		if err != nil || !bytes.Equal(s.Bytes(), seed.Bytes()) || !bytes.Equal(x.Bytes(), secret.Bytes()) {
			t.Fatalf("another seed or secret, or %v", err)
		}
		other := commit
		other[0]++
		if _, _, err := seal.OpenEnvelope(c, to, env, public, other); !errors.Is(err, seal.ErrKeyCommitment) {
			t.Errorf("another commitment of the secret: %v", err)
		}
		if _, _, err := seal.OpenEnvelope(c, to, env, to.Public(), commit); !errors.Is(err, seal.ErrKeyCommitment) {
			t.Errorf("another commitment of the seed: %v", err)
		}
		moved := c
		moved.Generation++
		_, _, err = seal.OpenEnvelope(moved, to, env, public, commit)
		refused(t, "another generation", err)
		spoiled := bytes.Clone(env)
		spoiled[len(spoiled)-1] ^= 1
		_, _, err = seal.OpenEnvelope(c, to, spoiled, public, commit)
		refused(t, "a spoiled one", err)
	}
}

func TestEnvelopeWithAnotherSeedOrSecretIsRefused(t *testing.T) {
	to := must(seal.New())
	seed, secret := must(seal.NewSeed(nil)), seal.NewSecret()
	c := context()
	env := must(seal.SealEnvelope(c, to.Public(), must(seal.NewSeed(nil)), secret))
	_, _, err := seal.OpenEnvelope(c, to, env, seed.Public(), secret.Commit(seal.OfRegion))
	if !errors.Is(err, seal.ErrKeyCommitment) {
		t.Errorf("another seed: %v", err)
	}
	refused(t, "another seed", err)
	env = must(seal.SealEnvelope(c, to.Public(), seed, seal.NewSecret()))
	_, _, err = seal.OpenEnvelope(c, to, env, seed.Public(), secret.Commit(seal.OfRegion))
	if !errors.Is(err, seal.ErrKeyCommitment) {
		t.Errorf("another secret: %v", err)
	}
}

func TestBackLinkOpensUnderItsGenerationOnly(t *testing.T) {
	prev := must(seal.NewSeed(nil))
	next := must(seal.NewSeed(prev))
	c := seal.BackContext{Org: signet.OrgID{1}, OwnerKind: seal.OfRing, Owner: [32]byte{2}, Generation: 2}
	link := must(seal.SealBack(c, next, prev))
	got, err := seal.OpenBack(c, next, link, prev.Public())
	if err != nil || !bytes.Equal(got.Bytes(), prev.Bytes()) {
		t.Fatal(err)
	}
	_, err = seal.OpenBack(c, must(seal.NewSeed(prev)), link, prev.Public())
	refused(t, "another generation's seed", err)
	d := c
	d.Generation++
	_, err = seal.OpenBack(d, next, link, prev.Public())
	refused(t, "another generation", err)
	if _, err = seal.OpenBack(c, next, link, next.Public()); !errors.Is(err, seal.ErrKeyCommitment) {
		t.Errorf("another seed inside: %v", err)
	}
}

func TestBlobsOpenUnderTheirSeedLabelAndContextOnly(t *testing.T) {
	seed := must(seal.NewSeed(nil))
	for _, n := range []int{0, 1, 9, 100, 5000, seal.MaxBlob} {
		p := noise(n)
		b := must(seal.SealOps(seed, []byte("here"), p))
		if len(b) != seal.BlobSize(n) {
			t.Errorf("%d bytes make a blob of %d, want %d", n, len(b), seal.BlobSize(n))
		}
		if got, err := seal.OpenOps(seed, []byte("here"), b); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		_, err := seal.OpenOps(seed, []byte("there"), b)
		refused(t, "another context", err)
		_, err = seal.OpenRecord(seed, []byte("here"), b)
		refused(t, "another label", err)
		_, err = seal.OpenOps(must(seal.NewSeed(seed)), []byte("here"), b)
		refused(t, "another seed", err)
	}
	r := must(seal.SealRecord(seed, nil, []byte("name")))
	if got, err := seal.OpenRecord(seed, nil, r); err != nil || string(got) != "name" {
		t.Error(got, err)
	}
	if _, err := seal.SealOps(seed, nil, make([]byte, seal.MaxBlob+1)); err == nil {
		t.Error("a blob over the limit is sealed")
	}
	for i := range len(r) * 8 {
		bad := bytes.Clone(r)
		bad[i/8] ^= 1 << (i % 8)
		_, err := seal.OpenRecord(seed, nil, bad)
		refused(t, fmt.Sprintf("bit %d", i), err)
	}
}

func TestPieceRoundTrips(t *testing.T) {
	text := bytes.Repeat([]byte("the same line over and over\n"), 1<<18)
	for _, n := range []int{0, 1, 2, 63, 64, 65, 1000, 65536, 65537, 131072, 524288, 1 << 20, 3<<20 + 7, seal.MaxPiece} {
		for name, p := range map[string][]byte{"noise": noise(n), "text": text[:n], "zeros": make([]byte, n)} {
			o, ref, err := seal.SealPiece([]byte("before"), p)
			if err != nil {
				t.Fatal(err)
			}
			object := o[len("before"):]
			if string(o[:6]) != "before" || ref.Object != sha256.Sum256(object) || int(ref.Size) != n {
				t.Fatalf("%s %d: ref does not fit", name, n)
			}
			if name == "noise" && len(object) != seal.ObjectSize(n) || len(object) > seal.ObjectSize(n) {
				t.Errorf("%s %d: object of %d bytes", name, n, len(object))
			}
			if name == "text" && n > 1000 && len(object) > n/4 && runtime.GOOS != "js" { // a browser compresses nothing
				t.Errorf("text of %d bytes in %d", n, len(object))
			}
			keep := bytes.Clone(object)
			got, err := seal.OpenPiece([]byte("x"), ref, object)
			if err != nil || !bytes.Equal(got[1:], p) || got[0] != 'x' {
				t.Fatalf("%s %d: %v", name, n, err)
			}
			got, err = seal.OpenPiece(make([]byte, 0, n+n/8+100), ref, object)
			if err != nil || !bytes.Equal(got, p) || !bytes.Equal(object, keep) {
				t.Fatalf("%s %d with room: %v", name, n, err)
			}
		}
	}
	if _, _, err := seal.SealPiece(nil, make([]byte, seal.MaxPiece+1)); err == nil {
		t.Error("a piece over the limit is sealed")
	}
}

func TestPieceWithAnyBitFlippedIsRefused(t *testing.T) {
	object, ref, err := seal.SealPiece(nil, []byte("a piece of some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(object) * 8 {
		bad := bytes.Clone(object)
		bad[i/8] ^= 1 << (i % 8)
		_, err := seal.OpenPiece(nil, ref, bad)
		refused(t, "wrong id", err)
		// A storer that could also change the reference's id gains nothing.
		moved := ref
		moved.Object = sha256.Sum256(bad)
		_, err = seal.OpenPiece(nil, moved, bad)
		refused(t, fmt.Sprintf("bit %d with its id", i), err)
	}
	for name, change := range map[string]func(*seal.Ref){
		"id":   func(r *seal.Ref) { r.Object[0]++ },
		"key":  func(r *seal.Ref) { r.Key[0]++ },
		"size": func(r *seal.Ref) { r.Size++ },
		"less": func(r *seal.Ref) { r.Size-- },
		"huge": func(r *seal.Ref) { r.Size = 1<<32 - 1 },
	} {
		bad := ref
		change(&bad)
		_, err := seal.OpenPiece(nil, bad, object)
		refused(t, name, err)
	}
}

// Two pieces of one plaintext have nothing in common but the length.
func TestSealingTwiceGivesTwoObjects(t *testing.T) {
	a, ra, _ := seal.SealPiece(nil, make([]byte, 100))
	b, rb, _ := seal.SealPiece(nil, make([]byte, 100))
	if ra.Object == rb.Object || ra.Key == rb.Key || bytes.Equal(a[34:], b[34:]) || len(a) != len(b) {
		t.Error("sealing is not randomised")
	}
}

func TestSealInPlaceMakesTheSameObjectsAndTouchesNoMoreThanItsRoom(t *testing.T) {
	for _, n := range []int{0, 1, 100, 1000, 100 * kib, 512 * kib} {
		for _, room := range []int{0, seal.Room(n) - 1, seal.Room(n), seal.Room(n) + 10} {
			buf := random(uint64(n), n+room+5)
			want, after := bytes.Clone(buf[:n]), bytes.Clone(buf[n+room:])
			o, ref, err := seal.SealInPlace(nil, buf[:n:n+room])
			if err != nil {
				t.Fatal(err)
			}
			if p, err := seal.OpenPiece(nil, ref, o); err != nil || !bytes.Equal(p, want) {
				t.Errorf("%d bytes with room for %d: opened to %d bytes, %v", n, room, len(p), err)
			}
			if !bytes.Equal(buf[:n], want) || !bytes.Equal(buf[n+room:], after) {
				t.Errorf("%d bytes with room for %d: what is not room was changed", n, room)
			}
			o2, ref2, err := seal.SealInPlace(o[:0], random(9, 100)) // the buffers inside are not the caller's
			if p, _ := seal.OpenPiece(nil, ref2, o2); err != nil || !bytes.Equal(p, random(9, 100)) || !bytes.Equal(buf[:n], want) {
				t.Errorf("after %d bytes with room for %d: %v", n, room, err)
			}
		}
	}
}

func TestOpenUnnamedRefusesWhatDoesNotOpen(t *testing.T) {
	piece := random(1, 1000)
	o, ref, _ := seal.SealPiece(nil, piece)
	if p, err := seal.OpenUnnamed(nil, ref, o); err != nil || !bytes.Equal(p, piece) {
		t.Fatal(err)
	}
	for i := 0; i < len(o); i += 17 {
		bad := bytes.Clone(o)
		bad[i] ^= 1
		if _, err := seal.OpenUnnamed(nil, ref, bad); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
	}
	other := ref
	other.Size++
	if _, err := seal.OpenUnnamed(nil, other, o); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("of another length: %v", err)
	}
}
