package chain_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"signet"
	"signet/core/chain"
	"signet/core/key"
)

var (
	testLog  = signet.Journal(signet.RegionID{7})
	otherLog = signet.Directory(signet.OrgID{7})
)

func signer(t testing.TB, n byte) *key.Private {
	t.Helper()
	p, err := key.FromSeed([32]byte{n})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// grow makes a tree of n leaves; history tells trees apart from position from on.
func grow(n, from int, history string) *chain.Tree {
	t := &chain.Tree{}
	for i := range n {
		if i < from {
			t.Append(fmt.Appendf(nil, "leaf %d", i))
			continue
		}
		t.Append(fmt.Appendf(nil, "%s %d", history, i))
	}
	return t
}

func sign(t testing.TB, p *key.Private, tree *chain.Tree, size uint64, ms int64, full bool) *chain.Checkpoint {
	t.Helper()
	root, err := tree.RootAt(size)
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.Sign(p, testLog, size, root, ms, full)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = chain.Open(c.Bytes(), testLog, p.Public()); err != nil {
		t.Fatal(err)
	}
	return c
}

// The inputs and roots are those that implementations of RFC 6962 share.
func TestRootsAreThoseOfRFC6962(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := map[uint64]string{
		0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	tree := &chain.Tree{}
	for _, s := range leaves {
		b, _ := hex.DecodeString(s)
		tree.Append(b)
	}
	for size, want := range roots {
		got, err := tree.RootAt(size)
		if err != nil || hex.EncodeToString(got[:]) != want {
			t.Errorf("root at %d is %x (%v), want %s", size, got, err, want)
		}
	}
}

func TestProofsHoldForEverySizeAndAgreeWithTlog(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "leaves")
		tree := grow(n, n, "")
		to := uint64(rapid.IntRange(1, n).Draw(rt, "to"))
		from := uint64(rapid.IntRange(0, int(to)).Draw(rt, "from"))
		index := uint64(rapid.IntRange(0, int(to)-1).Draw(rt, "index"))
		root, _ := tree.RootAt(to)
		old, _ := tree.RootAt(from)

		in, err := tree.Inclusion(index, to)
		if err != nil {
			rt.Fatal(err)
		}
		if err := chain.CheckInclusion(in, to, root, index, tree.Leaf(index)); err != nil {
			rt.Fatal(err)
		}
		want, err := tlog.ProveRecord(int64(to), int64(index), tree)
		if err != nil || !slices.EqualFunc(in, want, func(a signet.Hash, b tlog.Hash) bool { return a == signet.Hash(b) }) {
			rt.Fatalf("proof is not tlog's (%v)", err)
		}
		wrong := tree.Leaf(index)
		wrong[0] ^= 1
		if err := chain.CheckInclusion(in, to, root, index, wrong); !errors.Is(err, signet.ErrNotVerified) {
			rt.Fatal("another leaf is included")
		}

		con, err := tree.Consistency(from, to)
		if err != nil {
			rt.Fatal(err)
		}
		if err := chain.CheckConsistency(con, from, old, to, root); err != nil {
			rt.Fatal(err)
		}
		old[0] ^= 1
		if err := chain.CheckConsistency(con, from, old, to, root); !errors.Is(err, signet.ErrNotVerified) {
			rt.Fatal("another beginning is consistent")
		}
	})
}

func TestProofsRefuseWhatIsOutOfBounds(t *testing.T) {
	h := signet.Hash{1}
	for _, n := range []uint64{0, 1, chain.MaxSize, chain.MaxSize + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		for _, m := range []uint64{0, 1, chain.MaxSize, chain.MaxSize + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			for _, p := range [][]signet.Hash{nil, {h}, make([]signet.Hash, 100)} {
				if n == 1 && m == 0 && p == nil {
					continue // one leaf is its own proof
				}
				if chain.CheckInclusion(p, n, h, m, h) == nil {
					t.Errorf("inclusion of %d at %d holds", m, n)
				}
				if n == m && p == nil && n > 0 && n <= chain.MaxSize {
					continue // so is a tree that did not grow
				}
				if chain.CheckConsistency(p, n, h, m, h) == nil {
					t.Errorf("consistency of %d with %d holds", n, m)
				}
			}
		}
	}
	tree := grow(3, 3, "")
	if _, err := tree.RootAt(4); err == nil {
		t.Error("root past the end")
	}
	if _, err := tree.Inclusion(3, 3); err == nil {
		t.Error("inclusion past the end")
	}
	if _, err := tree.Consistency(3, 2); err == nil {
		t.Error("consistency backwards")
	}
}

func TestTruncatedTreeGrowsLikeOneThatNeverHadMore(t *testing.T) {
	for size := range 40 {
		tree := grow(40, size, "dropped")
		tree.Truncate(uint64(size))
		tree.Truncate(uint64(size) + 5) // more than there is changes nothing
		for i := size; i < 40; i++ {
			tree.Append(fmt.Appendf(nil, "leaf %d", i))
		}
		if tree.Size() != 40 || tree.Root() != grow(40, 40, "").Root() {
			t.Fatalf("truncated at %d: size %d, other root", size, tree.Size())
		}
	}
}

func TestCheckpointComesBackAsSigned(t *testing.T) {
	p := signer(t, 1)
	for _, full := range []bool{false, true} {
		tree := grow(5, 5, "")
		c := sign(t, p, tree, 5, 1_790_000_000_123, full)
		if c.Log != testLog || c.Size != 5 || c.Root != tree.Root() || c.Time != 1_790_000_000_123 || c.Full != full {
			t.Errorf("got %s, full %v", c, c.Full)
		}
	}
	tip, full := sign(t, p, grow(5, 5, ""), 5, 9, false), sign(t, p, grow(5, 5, ""), 5, 9, true)
	if tip.Hash() != full.Hash() {
		t.Error("a tip and a full checkpoint of one text have two hashes")
	}
	if tip.Hash() == sign(t, p, grow(5, 5, ""), 5, 10, false).Hash() {
		t.Error("two texts have one hash")
	}
}

func TestSignRefusesWhatOpenWouldRefuse(t *testing.T) {
	p := signer(t, 1)
	for _, c := range []struct {
		size uint64
		ms   int64
	}{{chain.MaxSize + 1, 0}, {1, -1}, {0, 0}} {
		if _, err := chain.Sign(p, testLog, c.size, signet.Hash{1}, c.ms, false); err == nil {
			t.Errorf("signs size %d, time %d", c.size, c.ms)
		}
	}
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	p := signer(t, 1)
	c := sign(t, p, grow(3, 3, ""), 3, 1000, false)
	for i := range c.Bytes() {
		b := slices.Clone(c.Bytes())
		b[i] ^= 1
		if _, err := chain.Open(b, testLog, p.Public()); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
}

func TestOpenRefusesOtherKeysAndOtherLogs(t *testing.T) {
	p, q := signer(t, 1), signer(t, 2)
	c := sign(t, p, grow(3, 3, ""), 3, 1000, true)
	if _, err := chain.Open(c.Bytes(), testLog, q.Public()); !errors.Is(err, chain.ErrOtherKeys) {
		t.Errorf("other keys: %v", err)
	}
	if _, err := chain.Open(c.Bytes(), otherLog, p.Public()); !errors.Is(err, chain.ErrOtherLog) {
		t.Errorf("other log: %v", err)
	}
	if chain.KeysHash(p.Public()) == chain.KeysHash(q.Public()) {
		t.Error("two keys have one hash")
	}
}

// tipVerifier lets x/mod's reader of signed notes check a tip.
type tipVerifier struct {
	pub *key.Public
	id  uint32
}

func (v tipVerifier) Name() string    { return "tip" }
func (v tipVerifier) KeyHash() uint32 { return v.id }
func (v tipVerifier) Verify(msg, sig []byte) bool {
	return v.pub.Verify(key.LabelTip, msg, sig) == nil
}

func TestCheckpointIsASignedNote(t *testing.T) {
	p := signer(t, 1)
	h := key.Sum(key.LabelLogKeys, []byte("tip"), p.Public().Bytes())
	id := uint32(h[0])<<24 | uint32(h[1])<<16 | uint32(h[2])<<8 | uint32(h[3])
	c := sign(t, p, grow(3, 3, ""), 3, 1000, false)
	n, err := note.Open(c.Bytes(), note.VerifierList(tipVerifier{p.Public(), id}))
	if err != nil || len(n.Sigs) != 1 {
		t.Fatalf("%v, %+v", err, n)
	}
}

func BenchmarkReplay(b *testing.B) {
	leaf := make([]byte, 104)
	for b.Loop() {
		var t chain.Tree
		for range 100_000 {
			t.Append(leaf)
		}
		t.Root()
	}
}

func BenchmarkOpenTip(b *testing.B) {
	p := signer(b, 1)
	c := sign(b, p, grow(3, 3, ""), 3, 1000, false)
	for b.Loop() {
		if _, err := chain.Open(c.Bytes(), testLog, p.Public()); err != nil {
			b.Fatal(err)
		}
	}
}
