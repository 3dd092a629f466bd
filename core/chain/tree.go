// Package chain is the append-only log that every history in Signet stands
// on: a Merkle tree over leaves (RFC 6962), checkpoints signed by the service,
// proofs, and evidence that a service showed two histories.
//
// It promises that a checkpoint it opened was signed by the given log keys for
// the given log, that a Follower never goes back and never accepts a root that
// its own leaves do not hash to, and that Evidence convinces whoever has the
// log's public key and nothing else. It does not know what a leaf means, and
// it cannot tell a service that refuses or delays from one that is idle.
//
// The format is spec/chain.md. The tree arithmetic is golang.org/x/mod/sumdb/tlog.
package chain

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"signet"
)

// MaxSize is the largest number of leaves of a log: 2^48. The bound keeps the
// tree arithmetic inside an int64 whatever a peer sends.
const MaxSize = 1 << 48

// MaxProof is the largest number of hashes of a proof in a tree of MaxSize.
const MaxProof = 64

// LeafHash is the hash of a leaf in the tree: SHA-256 over a zero byte and the
// leaf.
func LeafHash(leaf []byte) signet.Hash { return signet.Hash(tlog.RecordHash(leaf)) }

// emptyRoot is the root of the tree without leaves: SHA-256 of nothing.
var emptyRoot = func() signet.Hash {
	h, _ := tlog.TreeHash(0, nil) // reads nothing and cannot fail at size 0
	return signet.Hash(h)
}()

// A Tree holds all hashes of one log in memory: 64 bytes a leaf. The zero Tree
// is the empty log. A Tree is not safe for use by several goroutines.
type Tree struct {
	size   uint64
	hashes []tlog.Hash // in the order of tlog.StoredHashIndex, so that a cut-off tail is a smaller tree
}

// Append adds a leaf.
func (t *Tree) Append(leaf []byte) { t.AppendHash(LeafHash(leaf)) }

// AppendHash adds a leaf by its LeafHash. Growing past MaxSize, which needs
// more memory than there is, panics.
func (t *Tree) AppendHash(h signet.Hash) {
	if t.size >= MaxSize {
		panic("chain: tree is full")
	}
	more, err := tlog.StoredHashesForRecordHash(int64(t.size), tlog.Hash(h), t)
	if err != nil {
		panic("chain: " + err.Error()) // ReadHashes below does not fail on a whole tree
	}
	t.hashes = append(t.hashes, more...)
	t.size++
}

// ReadHashes implements tlog.HashReader over the tree's own memory.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("hash %d of %d", x, len(t.hashes))
		}
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Leaf is the LeafHash of the leaf at index, which must be below Size.
func (t *Tree) Leaf(index uint64) signet.Hash {
	return signet.Hash(t.hashes[tlog.StoredHashIndex(0, int64(index))])
}

// Root is the root over all leaves.
func (t *Tree) Root() signet.Hash {
	r, err := t.RootAt(t.size)
	if err != nil {
		panic("chain: " + err.Error()) // every hash up to Size is in memory
	}
	return r
}

// RootAt is the root over the first size leaves. It fails if there are fewer.
func (t *Tree) RootAt(size uint64) (signet.Hash, error) {
	if size > t.size {
		return signet.Hash{}, fmt.Errorf("root at %d: tree has %d leaves", size, t.size)
	}
	h, err := tlog.TreeHash(int64(size), t)
	return signet.Hash(h), err
}

// Inclusion proves that the leaf at index is in the tree of the first size
// leaves.
func (t *Tree) Inclusion(index, size uint64) ([]signet.Hash, error) {
	if size > t.size || index >= size {
		return nil, fmt.Errorf("inclusion of %d at %d: tree has %d leaves", index, size, t.size)
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), t)
	return ours(p), err
}

// Consistency proves that the first from leaves of the tree of to leaves are
// the tree of from leaves. The proof from the empty tree is empty.
func (t *Tree) Consistency(from, to uint64) ([]signet.Hash, error) {
	if to > t.size || from > to {
		return nil, fmt.Errorf("consistency of %d with %d: tree has %d leaves", from, to, t.size)
	}
	if from == 0 {
		return nil, nil
	}
	p, err := tlog.ProveTree(int64(to), int64(from), t)
	return ours(p), err
}

// Truncate drops all leaves from position size on. A device does this with
// leaves that it read and that no checkpoint covers. Larger sizes change
// nothing.
func (t *Tree) Truncate(size uint64) {
	if size >= t.size {
		return
	}
	t.size = size
	t.hashes = t.hashes[:tlog.StoredHashIndex(0, int64(size))]
}

// CheckInclusion checks a proof of Inclusion. Its failures wrap
// signet.ErrNotVerified.
func CheckInclusion(proof []signet.Hash, size uint64, root signet.Hash, index uint64, leaf signet.Hash) error {
	if size > MaxSize || len(proof) > MaxProof {
		return fmt.Errorf("inclusion of leaf %d at %d: out of bounds: %w", index, size, signet.ErrNotVerified)
	}
	// index is compared here because a value above 2^63 would turn negative.
	if index >= size || tlog.CheckRecord(theirs(proof), int64(size), tlog.Hash(root), int64(index), tlog.Hash(leaf)) != nil {
		return fmt.Errorf("inclusion of leaf %d at %d: proof fails: %w", index, size, signet.ErrNotVerified)
	}
	return nil
}

// CheckConsistency checks a proof of Consistency between the tree of from
// leaves with root old and that of to leaves with root. Its failures wrap
// signet.ErrNotVerified.
func CheckConsistency(proof []signet.Hash, from uint64, old signet.Hash, to uint64, root signet.Hash) error {
	if from > to || to > MaxSize || len(proof) > MaxProof {
		return fmt.Errorf("consistency of %d with %d: out of bounds: %w", from, to, signet.ErrNotVerified)
	}
	ok := false
	if from == 0 {
		ok = len(proof) == 0 && old == emptyRoot && (to != 0 || root == emptyRoot)
	} else {
		ok = tlog.CheckTree(theirs(proof), int64(to), tlog.Hash(root), int64(from), tlog.Hash(old)) == nil
	}
	if !ok {
		return fmt.Errorf("consistency of %d with %d: proof fails: %w", from, to, signet.ErrNotVerified)
	}
	return nil
}

func ours(p []tlog.Hash) []signet.Hash {
	out := make([]signet.Hash, len(p))
	for i, h := range p {
		out[i] = signet.Hash(h)
	}
	return out
}

func theirs(p []signet.Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(p))
	for i, h := range p {
		out[i] = tlog.Hash(h)
	}
	return out
}
