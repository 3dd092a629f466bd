package chain

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"signet"
	"signet/core/key"
)

func TestMemoryIsBoundedAndKeepsWhatIsInUse(t *testing.T) {
	var m memory
	at := func(n int) (t [32]byte) { binary.BigEndian.PutUint64(t[:], uint64(n)); return t }
	first := &Checkpoint{}
	m.add(at(0), first)
	for n := 1; n < 3*remembered; n++ {
		m.add(at(n), &Checkpoint{})
		if n%100 == 0 && m.get(at(0)) != first {
			t.Fatalf("forgot after %d others what was asked for all the time", n)
		}
	}
	if m.get(at(1)) != nil {
		t.Error("remembers what was not asked for")
	}
	if n := len(m.young) + len(m.old); n > 2*remembered {
		t.Errorf("remembers %d", n)
	}
}

// A checkpoint that was opened opens again, and makes no other one, log or key good.
func TestWhatWasOpenedLendsNothingToOthers(t *testing.T) {
	var who [2]*key.Private
	for n := range who {
		p, err := key.FromSeed([32]byte{byte(n)})
		if err != nil {
			t.Fatal(err)
		}
		who[n] = p
	}
	log, pub := signet.Journal(signet.RegionID{7}), who[0].Public()
	c, err := Sign(who[0], log, 3, signet.Hash{1}, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	raw := slices.Clone(c.Bytes())
	for range 2 {
		if got, err := Open(raw, log, pub); err != nil || got.Size != 3 || string(got.Bytes()) != string(c.Bytes()) {
			t.Fatalf("%v: %v", got, err)
		}
		if _, err := Open(raw, signet.Directory(signet.OrgID{7}), pub); !errors.Is(err, ErrOtherLog) {
			t.Errorf("as one of another log: %v", err)
		}
		if _, err := Open(raw, log, who[1].Public()); !errors.Is(err, ErrOtherKeys) {
			t.Errorf("by another key: %v", err)
		}
		for _, at := range []int{len(origin), len(raw) / 2, len(raw) - 2} {
			bad := slices.Clone(raw)
			bad[at] ^= 1
			if _, err := Open(bad, log, pub); !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("with byte %d changed: %v", at, err)
			}
		}
	}
	raw[len(raw)-3] ^= 1 // the caller's bytes are the caller's
	if got, err := Open(c.Bytes(), log, pub); err != nil || string(got.Bytes()) != string(c.Bytes()) {
		t.Errorf("%v: %v", got, err)
	}
}
