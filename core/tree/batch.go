package tree

import (
	"crypto/rand"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Limits of a batch, which is the operations of one entry.
const (
	MaxOps   = 1000
	MaxBatch = 4 << 20 // bytes
	MaxLabel = 64      // bytes
)

const (
	batchFormat = 1
	saltSize    = 16
	maxOpBytes  = 1 << 14
)

// An Item is an operation with its salt. The salt keeps whoever sees revision
// ids (the service, an ex-member) from testing guesses of what was written.
type Item struct {
	Op       Op
	Revision signet.RevisionID // Sum(LabelRevisionHash, salt, operation)
	salt     [saltSize]byte
	raw      []byte // the operation as it was written; never re-encoded
}

// NewItem salts an operation. Its revision id is known from here on, so that
// later operations can name it as their base before it is ordered.
func NewItem(op Op) (Item, error) {
	raw, err := op.Bytes()
	if err != nil {
		return Item{}, err
	}
	var salt [saltSize]byte
	rand.Read(salt[:])
	return newItem(op, salt, raw), nil
}

func newItem(op Op, salt [saltSize]byte, raw []byte) Item {
	rev := key.Sum(key.LabelRevisionHash, salt[:], raw)
	return Item{Op: op, Revision: signet.RevisionID(rev), salt: salt, raw: raw}
}

// Size is the number of bytes that it adds to a batch.
func (it Item) Size() int { return saltSize + 2 + len(it.raw) }

// A Batch is the operations of one entry, in order. Immutable.
type Batch struct {
	Label string // the writer's device name, for the names of conflict copies
	Items []Item
}

// NewBatch makes a batch of items. Label is cut to MaxLabel bytes and made
// valid UTF-8. An empty batch is allowed: it is what a point entry holds.
func NewBatch(label string, items []Item) (*Batch, error) {
	b := &Batch{Label: cut(strings.ToValidUTF8(label, "_"), MaxLabel), Items: items}
	size := 5 + len(b.Label)
	for _, it := range items {
		size += it.Size()
	}
	if len(items) > MaxOps || size > MaxBatch || b.mixed() {
		return nil, fmt.Errorf("batch of %d operations, %d bytes: %w", len(items), size, wire.ErrMalformed)
	}
	return b, nil
}

// Bytes is the encoding that ParseBatch reads.
func (b *Batch) Bytes() []byte {
	var w wire.Writer
	w.U16(batchFormat)
	w.Vec8([]byte(b.Label))
	w.U16(uint16(len(b.Items)))
	for _, it := range b.Items {
		w.Raw(it.salt[:])
		w.Vec16(it.raw)
	}
	return w.B
}

// ParseBatch reads a batch. Every error wraps wire.ErrMalformed.
func ParseBatch(p []byte) (*Batch, error) {
	if len(p) > MaxBatch {
		return nil, fmt.Errorf("batch of %d bytes: %w", len(p), wire.ErrMalformed)
	}
	r := wire.NewReader(p)
	if f := r.U16(); f != batchFormat {
		r.Fail("batch of format %d", f)
	}
	b := &Batch{Label: string(r.Vec8(MaxLabel))}
	if !utf8.ValidString(b.Label) {
		r.Fail("label is not UTF-8")
	}
	n := int(r.U16())
	if n > MaxOps {
		r.Fail("%d operations", n)
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		var salt [saltSize]byte
		r.Raw(salt[:])
		raw := append([]byte(nil), r.Vec16(maxOpBytes)...)
		if r.Err() != nil {
			break
		}
		op, err := ParseOp(raw)
		if err != nil {
			return nil, fmt.Errorf("batch: item %d: %w", i, err)
		}
		b.Items = append(b.Items, newItem(op, salt, raw))
	}
	if b.mixed() {
		r.Fail("pins or a policy beside other operations")
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	return b, nil
}

// mixed reports whether pins, or policies, are beside other operations. That is
// refused: who does not know them skips the batch, and must not lack more than them.
func (b *Batch) mixed() bool {
	for _, it := range b.Items {
		if first := b.Items[0].Op.Kind; it.Op.Kind != first && (it.Op.Kind >= Mark || first >= Mark) {
			return true
		}
	}
	return false
}

func (b *Batch) leaves() []tlog.Hash {
	l := make([]tlog.Hash, len(b.Items))
	for i, it := range b.Items {
		l[i] = tlog.RecordHash(it.Revision[:])
	}
	return l
}

// Root is the RFC 6962 tree hash over the revision ids: what an entry's header
// carries. Of an empty batch it is the hash of nothing, as there.
func (b *Batch) Root() signet.Hash {
	l := b.leaves()
	if len(l) == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return signet.Hash(h)
	}
	return signet.Hash(merkle(l))
}

// Proof is the inclusion proof of item i in Root.
func (b *Batch) Proof(i int) []signet.Hash {
	var proof []signet.Hash
	l := b.leaves()
	for len(l) > 1 {
		k := split(len(l))
		if i < k {
			proof = append(proof, signet.Hash(merkle(l[k:])))
			l = l[:k]
		} else {
			proof = append(proof, signet.Hash(merkle(l[:k])))
			l, i = l[k:], i-k
		}
	}
	// RFC 6962 lists a path from the leaf up.
	for a, z := 0, len(proof)-1; a < z; a, z = a+1, z-1 {
		proof[a], proof[z] = proof[z], proof[a]
	}
	return proof
}

// CheckProof reports whether rev is item i of the n that root is over.
func CheckProof(root signet.Hash, n, i int, rev signet.RevisionID, proof []signet.Hash) error {
	p := make(tlog.RecordProof, len(proof))
	for k, h := range proof {
		p[k] = tlog.Hash(h)
	}
	if i < 0 || i >= n {
		return fmt.Errorf("operation %d of %d: %w", i, n, signet.ErrNotVerified)
	}
	if err := tlog.CheckRecord(p, int64(n), tlog.Hash(root), int64(i), tlog.RecordHash(rev[:])); err != nil {
		return fmt.Errorf("operation %d of %d: %w: %w", i, n, err, signet.ErrNotVerified)
	}
	return nil
}

// merkle is the RFC 6962 tree hash over one or more leaf hashes.
func merkle(l []tlog.Hash) tlog.Hash {
	if len(l) == 1 {
		return l[0]
	}
	k := split(len(l))
	return tlog.NodeHash(merkle(l[:k]), merkle(l[k:]))
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// cut shortens s to at most n bytes without splitting a rune. Bytes that are
// not UTF-8 are cut between any two.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for k := 0; k < utf8.UTFMax && n-k > 0; k++ {
		if utf8.RuneStart(s[n-k]) {
			return s[:n-k]
		}
	}
	return s[:n]
}
