package chain

import (
	"bytes"
	"errors"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// MaxEvidence is the largest encoded Evidence in bytes.
const MaxEvidence = 2*MaxCheckpoint + 4096

// ClockSlack is by how many milliseconds the times of two checkpoints may be
// in the wrong order before they are evidence: a service that serves several
// requests at once may sign them in an order that is not that of its sizes.
const ClockSlack = 60_000

// ErrAgree is what NewFork answers where two checkpoints do not contradict
// each other, as far as the tree at hand can show.
var ErrAgree = errors.New("the checkpoints do not contradict each other")

// A Contradiction says why two checkpoints cannot both be true of a log that
// only grows.
type Contradiction uint8

// The contradictions.
const (
	Split     Contradiction = 1 // one size, two roots
	Rewritten Contradiction = 2 // the larger tree begins with another tree than the smaller one
	Backwards Contradiction = 3 // the smaller size was signed later, by more than ClockSlack
)

const evidenceFormat = 1

// Evidence is two checkpoints of one log that contradict each other, and what
// shows it. Whoever has the log's public key can verify it offline; it holds
// nothing secret.
type Evidence struct {
	Kind Contradiction
	A, B *Checkpoint // Split: by root; else A is the smaller one

	root  signet.Hash   // of Rewritten: what the tree of B has at the size of A
	proof []signet.Hash // of Rewritten: consistency of root with B
}

// NewFork makes evidence of two opened checkpoints. t may be nil; a
// rewritten history needs the tree that the larger checkpoint is of. Where
// nothing contradicts, the error is ErrAgree.
func NewFork(a, b *Checkpoint, t *Tree) (*Evidence, error) {
	if a.Log != b.Log {
		return nil, fmt.Errorf("%s and %s: %w", a.Log, b.Log, ErrAgree)
	}
	if a.Size > b.Size || (a.Size == b.Size && bytes.Compare(a.Root[:], b.Root[:]) > 0) {
		a, b = b, a
	}
	e := &Evidence{Kind: Split, A: a, B: b}
	if a.Size != b.Size && t != nil && t.Size() >= b.Size {
		if err := e.rewritten(t); err != nil {
			return nil, err
		}
	}
	if e.contradicts() == nil {
		return e, nil
	}
	e = &Evidence{Kind: Backwards, A: a, B: b}
	if e.contradicts() == nil {
		return e, nil
	}
	return nil, ErrAgree
}

func (e *Evidence) rewritten(t *Tree) (err error) {
	e.Kind = Rewritten
	if e.root, err = t.RootAt(e.A.Size); err != nil {
		return err
	}
	e.proof, err = t.Consistency(e.A.Size, e.B.Size)
	return err
}

// Log is the log whose history is contradicted.
func (e *Evidence) Log() signet.LogID { return e.A.Log }

// Verify checks that both checkpoints were signed by pub and contradict each
// other. Its failures wrap signet.ErrNotVerified.
func (e *Evidence) Verify(pub *key.Public) error {
	for _, c := range []*Checkpoint{e.A, e.B} {
		if err := c.verify(pub); err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
	}
	return e.contradicts()
}

func (e *Evidence) contradicts() error {
	ok := false
	switch e.Kind {
	case Split:
		ok = e.A.Size == e.B.Size && bytes.Compare(e.A.Root[:], e.B.Root[:]) < 0
	case Rewritten:
		ok = e.A.Size < e.B.Size && e.A.Root != e.root &&
			CheckConsistency(e.proof, e.A.Size, e.root, e.B.Size, e.B.Root) == nil
	case Backwards:
		ok = e.A.Size < e.B.Size && e.A.Time-ClockSlack > e.B.Time
	}
	if !ok || e.A.Log != e.B.Log {
		return fmt.Errorf("evidence: the checkpoints do not contradict each other: %w", signet.ErrNotVerified)
	}
	return nil
}

// Bytes encodes the evidence; ParseEvidence reads it.
func (e *Evidence) Bytes() []byte {
	var w wire.Writer
	w.U16(evidenceFormat)
	w.U8(uint8(e.Kind))
	w.Vec16(e.A.raw)
	w.Vec16(e.B.raw)
	if e.Kind == Rewritten {
		w.Raw(e.root[:])
		w.U8(uint8(len(e.proof)))
		for _, h := range e.proof {
			w.Raw(h[:])
		}
	}
	return w.B
}

// ParseEvidence reads what Bytes wrote. It checks that the checkpoints
// contradict each other, not who signed them: that is Verify's. Its failures
// wrap signet.ErrNotVerified.
func ParseEvidence(b []byte) (*Evidence, error) {
	e, err := decodeEvidence(b)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w: %w", err, signet.ErrNotVerified)
	}
	return e, e.contradicts()
}

func decodeEvidence(b []byte) (e *Evidence, err error) {
	r := wire.NewReader(b)
	if f := r.U16(); r.Err() == nil && f != evidenceFormat {
		return nil, fmt.Errorf("format %d is not known", f)
	}
	e = &Evidence{Kind: Contradiction(r.U8())}
	rawA, rawB := r.Vec16(MaxCheckpoint), r.Vec16(MaxCheckpoint)
	if e.Kind == Rewritten {
		r.Raw(e.root[:])
		n := int(r.U8())
		if n > MaxProof {
			r.Fail("proof of %d hashes", n)
		}
		for range n {
			if r.Err() != nil {
				break
			}
			var h signet.Hash
			r.Raw(h[:])
			e.proof = append(e.proof, h)
		}
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	if e.A, err = parse(rawA); err != nil {
		return nil, err
	}
	if e.B, err = parse(rawB); err != nil {
		return nil, err
	}
	return e, nil
}
