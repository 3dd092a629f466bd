package chain

import (
	"errors"
	"fmt"

	"signet"
)

// FullEvery is how many milliseconds a full checkpoint carries tips: one that
// is signed later must itself be full.
const FullEvery = 60_000

// ErrTip says that a tip came where a full checkpoint is due. The first
// remedy is to ask for one (a Read is always answered with a full one); a
// service that gives none is not followed further.
var ErrTip = fmt.Errorf("tip checkpoint where a full one is due: %w", signet.ErrNotVerified)

// ErrAhead says that the checkpoint covers leaves that the tree does not have
// yet: read them first.
var ErrAhead = errors.New("checkpoint is ahead of the leaves at hand")

// A Fork is the error for a service that showed two histories.
type Fork struct{ Evidence *Evidence }

func (f *Fork) Error() string {
	return fmt.Sprintf("the service showed two histories of %s: at size %d and at size %d",
		f.Evidence.Log(), f.Evidence.A.Size, f.Evidence.B.Size)
}

// Unwrap makes a Fork a signet.ErrNotVerified.
func (f *Fork) Unwrap() error { return signet.ErrNotVerified }

// A Rollback is the error for a service that showed less than before.
type Rollback struct {
	Last, Shown *Checkpoint
	// Evidence is nil where the times do not prove that Shown was signed
	// after Last: then it may be an old answer that came late.
	Evidence *Evidence
}

func (r *Rollback) Error() string {
	if r.Shown.Size > r.Last.Size {
		return fmt.Sprintf("the service signed size %d of %s before size %d", r.Shown.Size, r.Last.Log, r.Last.Size)
	}
	return fmt.Sprintf("the service went back in %s: from size %d to size %d", r.Last.Log, r.Last.Size, r.Shown.Size)
}

// Unwrap makes a Rollback a signet.ErrNotVerified.
func (r *Rollback) Unwrap() error { return signet.ErrNotVerified }

// A Mismatch is the error for leaves that do not hash to the checkpoint that
// came with them. It is no evidence by itself, because leaves are not signed:
// drop the leaves above Last. Where the service has another history, reading
// that from position 0 into a tree of its own and calling NewFork with Last,
// Shown and that tree makes evidence.
type Mismatch struct {
	Last, Shown *Checkpoint // Last is nil where nothing was accepted before
	Have        signet.Hash // root of the leaves at hand at the size of Shown
}

func (m *Mismatch) Error() string {
	return fmt.Sprintf("leaves of %s do not hash to the checkpoints at hand: size %d", m.Shown.Log, m.Shown.Size)
}

// Unwrap makes a Mismatch a signet.ErrNotVerified.
func (m *Mismatch) Unwrap() error { return signet.ErrNotVerified }

// A Follower is what a device remembers of a log's checkpoints. It stores both
// durably (Bytes) before it acts on what they cover, and gives them back after
// a restart.
type Follower struct {
	Log  signet.LogID
	Last *Checkpoint // newest accepted; nil before the first
	Full *Checkpoint // newest accepted full one; nil before the first
}

// Accept takes c, which Open returned, as the newest checkpoint of the log
// whose leaves are in t. It leaves the Follower unchanged where it fails:
//
//   - *Fork: c contradicts Last;
//   - *Rollback: c is smaller than Last. Use Check for answers that may have
//     been overtaken by newer ones;
//   - *Mismatch: the leaves of t do not hash to c;
//   - ErrAhead: t lacks leaves that c covers;
//   - ErrTip: c is a tip and no full checkpoint of the last FullEvery ms was
//     accepted.
func (f *Follower) Accept(c *Checkpoint, t *Tree) error {
	if err := f.Check(c, t); err != nil {
		return err
	}
	if f.Last != nil {
		e, err := NewFork(f.Last, c, nil)
		if c.Size < f.Last.Size || err == nil {
			return &Rollback{Last: f.Last, Shown: c, Evidence: e}
		}
	}
	if !c.Full && (f.Full == nil || c.Time-f.Full.Time > FullEvery || f.Full.Time-c.Time > ClockSlack) {
		return ErrTip
	}
	// Of two checkpoints of one size the later stays; a full one is kept as
	// such even if a tip was signed after it.
	if f.Last == nil || c.Size > f.Last.Size || c.Time >= f.Last.Time {
		f.Last = c
	}
	if c.Full && (f.Full == nil || c.Size > f.Full.Size || c.Time > f.Full.Time) {
		f.Full = c
	}
	return nil
}

// Check verifies c against the leaves of t and against Last without moving the
// Follower: for receipts and pages that newer ones may have overtaken, and for
// checkpoints that others saw (an entry's observed head). Its failures are
// *Fork, *Mismatch and ErrAhead.
func (f *Follower) Check(c *Checkpoint, t *Tree) error {
	if c.Log != f.Log {
		return fmt.Errorf("%w: %s, not %s", ErrOtherLog, c.Log, f.Log)
	}
	if c.Size > t.Size() {
		return fmt.Errorf("checkpoint at size %d, %d leaves: %w", c.Size, t.Size(), ErrAhead)
	}
	have, err := t.RootAt(c.Size)
	if err != nil || have == c.Root && f.begins(t) {
		return err
	}
	if f.Last != nil {
		if e, err := NewFork(f.Last, c, t); err == nil && e.Kind != Backwards {
			return &Fork{Evidence: e}
		}
	}
	return &Mismatch{Last: f.Last, Shown: c, Have: have}
}

// begins reports whether t, as far as it goes, is the tree that was followed
// so far. It is not where a device lost its leaves, kept its checkpoints, and
// reads the log again from a service with another history.
func (f *Follower) begins(t *Tree) bool {
	if f.Last == nil || f.Last.Size > t.Size() {
		return true
	}
	root, err := t.RootAt(f.Last.Size)
	return err == nil && root == f.Last.Root
}
