package chain_test

import (
	"errors"
	"testing"

	"signet"
	"signet/core/chain"
)

// follow makes a Follower that has accepted a full checkpoint of tree at size.
func follow(t *testing.T, tree *chain.Tree, size uint64, ms int64) *chain.Follower {
	t.Helper()
	f := &chain.Follower{Log: testLog}
	if err := f.Accept(sign(t, signer(t, 1), tree, size, ms, true), tree); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFollowerAcceptsALogThatGrows(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	f := follow(t, tree, 0, 1000)
	for size := uint64(1); size <= 9; size++ {
		if err := f.Accept(sign(t, p, tree, size, 1000+int64(size), false), tree); err != nil {
			t.Fatal(err)
		}
	}
	if f.Last.Size != 9 || f.Full.Size != 0 {
		t.Errorf("last at %d, full at %d", f.Last.Size, f.Full.Size)
	}
}

func TestFollowerReportsRollback(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	const late = chain.ClockSlack + 1
	for _, c := range []struct {
		name     string
		size     uint64
		ms       int64
		evidence bool
	}{
		{"an old answer proves nothing", 3, 1000, false},
		{"a smaller size signed later is evidence", 3, 1_000_000 + late, true},
		{"a larger size signed earlier is evidence", 9, 1_000_000 - late, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := follow(t, tree, 6, 1_000_000)
			before := *f
			err := f.Accept(sign(t, p, tree, c.size, c.ms, true), tree)
			var r *chain.Rollback
			if !errors.As(err, &r) || !errors.Is(err, signet.ErrNotVerified) {
				t.Fatalf("got %v", err)
			}
			if r.Last.Size != 6 || r.Shown.Size != c.size || (r.Evidence != nil) != c.evidence {
				t.Errorf("last %d, shown %d, evidence %v", r.Last.Size, r.Shown.Size, r.Evidence)
			}
			if c.evidence {
				if err := r.Evidence.Verify(p.Public()); err != nil {
					t.Error(err)
				}
			}
			if *f != before {
				t.Error("the follower moved")
			}
		})
	}
}

func TestCheckAcceptsAnAnswerThatWasOvertaken(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	f := follow(t, tree, 6, 1000)
	if err := f.Check(sign(t, p, tree, 3, 900, false), tree); err != nil {
		t.Error(err)
	}
	if f.Last.Size != 6 {
		t.Error("the follower moved")
	}
}

func TestFollowerReportsAFork(t *testing.T) {
	p := signer(t, 1)
	mine, theirs := grow(9, 9, ""), grow(9, 4, "theirs")
	for _, c := range []struct {
		name  string
		shown *chain.Checkpoint
		tree  *chain.Tree
		kind  chain.Contradiction
	}{
		{"of the same size", sign(t, p, theirs, 6, 1000, true), mine, chain.Split},
		{"below what is known", sign(t, p, theirs, 5, 1000, true), mine, chain.Rewritten},
		{"of the same size after the leaves were lost", sign(t, p, theirs, 6, 1000, true), theirs, chain.Split},
		{"above what is known after the leaves were lost", sign(t, p, theirs, 9, 1000, true), theirs, chain.Rewritten},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := follow(t, mine, 6, 1000)
			err := f.Accept(c.shown, c.tree)
			var fork *chain.Fork
			if !errors.As(err, &fork) || !errors.Is(err, signet.ErrNotVerified) {
				t.Fatalf("got %v", err)
			}
			if fork.Evidence.Kind != c.kind {
				t.Errorf("kind %d", fork.Evidence.Kind)
			}
			if err := fork.Evidence.Verify(p.Public()); err != nil {
				t.Error(err)
			}
			if f.Last.Size != 6 || f.Last.Root == c.shown.Root {
				t.Error("the follower moved")
			}
		})
	}
}

func TestLeavesThatDoNotHashToTheirCheckpointAreAMismatch(t *testing.T) {
	p := signer(t, 1)
	mine, theirs := grow(6, 6, ""), grow(9, 4, "theirs")
	f := follow(t, mine, 6, 1000)
	mine.Append([]byte("whatever the service sends"))
	shown := sign(t, p, theirs, 7, 1001, true)
	err := f.Accept(shown, mine)
	var m *chain.Mismatch
	if !errors.As(err, &m) || !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("got %v", err)
	}
	// The other history, read from its beginning, makes it evidence.
	e, err := chain.NewFork(m.Last, m.Shown, theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(p.Public()); err != nil || e.Kind != chain.Rewritten {
		t.Errorf("kind %d: %v", e.Kind, err)
	}
}

func TestFollowerWantsLeavesBeforeTheirCheckpoint(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	f := follow(t, tree, 3, 1000)
	err := f.Accept(sign(t, p, tree, 9, 1001, true), grow(5, 5, ""))
	if !errors.Is(err, chain.ErrAhead) || errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("got %v", err)
	}
}

func TestTipsNeedAFullCheckpointOfTheLastMinute(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	fresh := &chain.Follower{Log: testLog}
	if err := fresh.Accept(sign(t, p, tree, 1, 1000, false), tree); !errors.Is(err, chain.ErrTip) {
		t.Errorf("a tip comes first: %v", err)
	}
	f := follow(t, tree, 1, 100_000)
	for _, c := range []struct {
		size uint64
		ms   int64
		full bool
		want error
	}{
		{2, 100_000 + chain.FullEvery, false, nil},
		{3, 100_001 + chain.FullEvery, false, chain.ErrTip},
		{3, 100_001 + chain.FullEvery, true, nil},
		{4, 100_002 + chain.FullEvery, false, nil},
	} {
		if err := f.Accept(sign(t, p, tree, c.size, c.ms, c.full), tree); !errors.Is(err, c.want) {
			t.Errorf("size %d, time %d, full %v: %v", c.size, c.ms, c.full, err)
		}
	}
	// A clock that runs back does not stretch the minute.
	f = follow(t, tree, 1, 100_000)
	if err := f.Accept(sign(t, p, tree, 1, 99_999-chain.ClockSlack, false), tree); !errors.Is(err, chain.ErrTip) {
		t.Errorf("a tip from before: %v", err)
	}
}

func TestFollowerRefusesAnotherLog(t *testing.T) {
	p, tree := signer(t, 1), grow(3, 3, "")
	c, err := chain.Sign(p, otherLog, 3, tree.Root(), 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := follow(t, tree, 1, 1000).Accept(c, tree); !errors.Is(err, chain.ErrOtherLog) {
		t.Errorf("got %v", err)
	}
}
