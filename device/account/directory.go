package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/region"
	"signet/core/ring"
)

// A Directory is the organisation's directory as this device verified it, and
// the way to add to it. The engine's Device is one, which remembers it.
type Directory interface {
	// SyncDirectory reads up to the service's newest.
	SyncDirectory(ctx context.Context) error
	// AppendStatement signs what build makes over the directory as it is and
	// appends it; where another statement came first it does so again.
	AppendStatement(ctx context.Context, build func(dir *ring.State, keys *region.Keys) (signet.Record, error)) error
	// Directory calls f with the directory and the ring's keys (nil where
	// this device has none), which must not be kept.
	Directory(f func(dir *ring.State, keys *region.Keys))
	// DirectoryHead is the newest verified checkpoint; nil before the first.
	DirectoryHead() *chain.Checkpoint
}

// fresh is the directory of a device that is just enrolling: it has nothing to
// remember yet and is read from the first leaf on.
type fresh struct {
	self    region.Self
	log     signet.Log
	logKeys signet.Hash
	now     func() time.Time
	state   *ring.State
	tree    chain.Tree
	head    chain.Follower
}

func newFresh(self region.Self, log signet.Log, logKeys signet.Hash, now func() time.Time) *fresh {
	return &fresh{self: self, log: log, logKeys: logKeys, now: now,
		state: ring.NewState(self.Org), head: chain.Follower{Log: signet.Directory(self.Org)}}
}

func (f *fresh) SyncDirectory(ctx context.Context) error {
	for {
		from := f.tree.Size()
		p, err := f.log.Read(ctx, f.head.Log, from, signet.Whole)
		if err != nil {
			return err
		}
		rest := p.Records
		if from == 0 && len(rest) > 0 { // it has the key of the checkpoint
			if err := f.take(rest[0]); err != nil {
				return err
			}
			rest = rest[1:]
		}
		if f.state.LogKey() == nil {
			return fmt.Errorf("directory: empty: %w", signet.ErrNotVerified)
		}
		c, err := chain.Open(p.Checkpoint, f.head.Log, f.state.LogKey())
		if err != nil {
			return err
		}
		if c.Size < f.tree.Size() {
			return fmt.Errorf("directory: %d leaves, %d of them signed: %w", f.tree.Size(), c.Size, signet.ErrNotVerified)
		}
		// What is shown beyond what is signed would be here alone.
		for _, r := range rest[:min(uint64(len(rest)), c.Size-f.tree.Size())] {
			if err := f.take(r); err != nil {
				return err
			}
		}
		if c.Size > f.tree.Size() && len(p.Records) > 0 {
			continue // the page did not bring all that it covers
		}
		return f.head.Accept(c, &f.tree)
	}
}

// take replays a record. Whatever is wrong with it, the service should not
// have taken it: an alarm.
func (f *fresh) take(r signet.Record) error {
	leaf, err := ring.ParseLeaf(r.Leaf)
	if err == nil {
		err = f.state.Apply(leaf, r.Head, r.Blob)
	}
	if err != nil && !errors.Is(err, signet.ErrNotVerified) {
		return fmt.Errorf("directory: leaf %d: %v: %w", f.tree.Size(), err, signet.ErrNotVerified)
	} else if err != nil {
		return err
	}
	f.tree.Append(r.Leaf)
	if f.tree.Size() == 1 && (f.state.LogKey() == nil || chain.KeysHash(f.state.LogKey()) != f.logKeys) {
		return fmt.Errorf("directory: %w", ErrLogKeys)
	}
	return nil
}

func (f *fresh) Directory(do func(*ring.State, *region.Keys)) {
	keys, err := region.OpenKeys(f.state, &f.self)
	if err != nil {
		keys = nil
	}
	do(f.state, keys)
}

func (f *fresh) DirectoryHead() *chain.Checkpoint { return f.head.Last }

// maxRaces is how often AppendStatement tries against other writers.
const maxRaces = 10

func (f *fresh) AppendStatement(ctx context.Context, build func(*ring.State, *region.Keys) (signet.Record, error)) error {
	for try := 0; ; try++ {
		if err := f.SyncDirectory(ctx); err != nil {
			return err
		}
		var rec signet.Record
		var err error
		f.Directory(func(s *ring.State, k *region.Keys) { rec, err = build(s, k) })
		if err != nil {
			return err
		}
		receipt, err := f.log.Append(ctx, f.head.Log, rec, f.now().UnixMilli())
		if errors.Is(err, signet.ErrConflict) && try < maxRaces {
			continue
		} else if err != nil {
			return err
		}
		if err := checkReceipt(f.head.Log, receipt, f.state); err != nil {
			return err
		}
		return f.SyncDirectory(ctx)
	}
}

func checkReceipt(log signet.LogID, r signet.Receipt, s *ring.State) error {
	c, err := chain.Open(r.Checkpoint, log, s.LogKey())
	if err == nil {
		err = chain.CheckInclusion(r.Proof, c.Size, c.Root, r.Position, chain.LeafHash(r.Leaf))
	}
	if err != nil {
		return fmt.Errorf("receipt for %s: %w", log, err)
	}
	return nil
}
