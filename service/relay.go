package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"signet"
	"signet/transport"
)

// relay keeps the messages of devices that are linking. They are sealed for
// each other and live in memory alone: after a restart both begin again.
type relay struct {
	mu       sync.Mutex
	messages map[spot]*message
	bytes    int
}

type spot struct {
	place [32]byte
	slot  uint8
}

type message struct {
	text    []byte        // nil: somebody waits for it
	arrived chan struct{} // closed when text is set
	expires time.Time
	waiting int
}

// Bounds of the relay. Linking needs a few messages of some kilobytes.
const (
	relayBytes = 64 << 20
	relaySpots = 65536
)

// expire forgets what ran out; it is called where the relay would grow. mu is
// held.
func (r *relay) expire(now time.Time) {
	for k, m := range r.messages {
		if m.waiting == 0 && now.After(m.expires) {
			r.bytes -= len(m.text)
			delete(r.messages, k)
		}
	}
}

// at returns the message at a spot, made if there is none. mu is held.
func (r *relay) at(k spot, now time.Time) (*message, error) {
	if m := r.messages[k]; m != nil {
		if m.text != nil && now.After(m.expires) {
			r.bytes -= len(m.text)
			m.text, m.arrived = nil, make(chan struct{})
		}
		return m, nil
	}
	if len(r.messages) >= relaySpots || r.bytes >= relayBytes {
		if r.expire(now); len(r.messages) >= relaySpots || r.bytes >= relayBytes {
			return nil, transport.Errorf(transport.KindRate, "too many devices are linking").WithHint("try again in some minutes")
		}
	}
	if r.messages == nil {
		r.messages = map[spot]*message{}
	}
	m := &message{arrived: make(chan struct{}), expires: now.Add(transport.RelayTime)}
	r.messages[k] = m
	return m, nil
}

// RelayPut implements transport.Backend.
func (s *Service) RelayPut(_ context.Context, place [32]byte, slot uint8, text []byte) error {
	now := s.config.Clock()
	r := &s.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(spot{place, slot}, now)
	if err != nil {
		return err
	}
	if m.text != nil {
		if string(m.text) == string(text) {
			return nil
		}
		return fmt.Errorf("another message is there: %w", signet.ErrConflict)
	}
	m.text, m.expires = append([]byte{}, text...), now.Add(transport.RelayTime)
	r.bytes += len(text)
	close(m.arrived)
	return nil
}

// RelayGet implements transport.Backend. Who has an invitation's URL asks in
// its slot for what the URL is too short to hold; one that is not there now
// never comes, so nobody waits for it.
func (s *Service) RelayGet(ctx context.Context, place [32]byte, slot uint8) ([]byte, error) {
	if slot == transport.InvitationSlot {
		return s.db.Invitation(place)
	}
	r := &s.relay
	r.mu.Lock()
	m, err := r.at(spot{place, slot}, s.config.Clock())
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	m.waiting++
	arrived := m.arrived
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		m.waiting--
		if m.waiting == 0 && m.text == nil {
			delete(r.messages, spot{place, slot})
		}
		r.mu.Unlock()
	}()
	select {
	case <-arrived:
		r.mu.Lock()
		defer r.mu.Unlock()
		return m.text, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
