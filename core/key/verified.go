package key

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// verified remembers signatures that were found good. A device and a service
// meet many of them more than once: a record is checked before it is taken in
// and when it is, and every entry repeats the checkpoint that its writer saw.
// Verifying takes 60 to 200 µs, looking up 1 µs.
//
// What it knows of is a SHA-256 over everything that was verified, so whoever
// finds a signature here that is not good has found a collision. Bad ones are
// not remembered. Nothing in it is secret.
var verified memory

// remembered is how many signatures are remembered at least; at most twice as
// many, in about 100 bytes each.
const remembered = 8192

// memory is two generations: when the young one is full it becomes the old
// one, and what was in that is forgotten.
type memory struct {
	mu         sync.Mutex
	young, old map[[32]byte]struct{}
}

// trace is what a signature is remembered by. The length keeps sig and what
// follows it apart.
func trace(p *Public, sig, message []byte) (t [32]byte) {
	h := sha256.New()
	h.Write(p.sum[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(sig))))
	h.Write(sig)
	h.Write(message)
	h.Sum(t[:0])
	return t
}

func (m *memory) has(t [32]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.young[t]; ok {
		return true
	}
	_, ok := m.old[t]
	if ok {
		m.addLocked(t) // so that what is in use stays
	}
	return ok
}

func (m *memory) add(t [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(t)
}

func (m *memory) addLocked(t [32]byte) {
	if len(m.young) >= remembered {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = make(map[[32]byte]struct{})
	}
	m.young[t] = struct{}{}
}
