package chain

import (
	"crypto/sha256"
	"sync"

	"signet"
	"signet/core/key"
)

// opened remembers checkpoints that were opened. Every entry carries the one that its
// writer saw, which other entries name as well, and a journal is replayed at each
// start: to read a full one takes some fifteen times as long as to look it up, even
// when its signatures are known to be good.
//
// It is found by a SHA-256 over all that Open was given, so whoever finds another one
// has found a collision. What did not open is not remembered. Nothing in it is secret.
var opened memory

// remembered is how many checkpoints are remembered at least; at most twice as many,
// in about 10 KB each.
const remembered = 128

// memory is two generations: when the young one is full it becomes the old one, and
// what was in that is forgotten.
type memory struct {
	mu         sync.Mutex
	young, old map[[32]byte]*Checkpoint
}

// trace is what a checkpoint is remembered by. All but raw have a fixed length.
func trace(raw []byte, log signet.LogID, pub *key.Public) (t [32]byte) {
	h, sum := sha256.New(), pub.Sum()
	h.Write(sum[:])
	h.Write([]byte{byte(log.Kind)})
	h.Write(log.ID[:])
	h.Write(raw)
	h.Sum(t[:0])
	return t
}

func (m *memory) get(t [32]byte) *Checkpoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.young[t]
	if c == nil {
		if c = m.old[t]; c != nil {
			m.addLocked(t, c) // so that what is in use stays
		}
	}
	return c
}

func (m *memory) add(t [32]byte, c *Checkpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(t, c)
}

func (m *memory) addLocked(t [32]byte, c *Checkpoint) {
	if len(m.young) >= remembered {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = make(map[[32]byte]*Checkpoint)
	}
	m.young[t] = c
}
