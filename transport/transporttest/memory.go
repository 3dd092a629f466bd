// Package transporttest has a service in memory for tests of whatever is above
// or below transport.
//
// Memory keeps what it is given and verifies nothing but a device's proof: it
// makes no real checkpoints and no proofs, and takes any bytes for a record.
// It promises the conduct that package conformance asks for, no more.
package transporttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"time"

	"signet"
	"signet/core/key"
	"signet/transport"
)

// Memory is a transport.Backend in memory. All its logs and regions are open
// to all its devices.
type Memory struct {
	Org signet.OrgID
	// Discard makes Put forget what it is given, for measurements.
	Discard bool

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever anything changes
	devices map[signet.DeviceID]*key.Public
	logs    map[signet.LogID]*memoryLog
	objects map[signet.RegionID]map[signet.ObjectID][]byte
	relay   map[relayKey][]byte
	records map[[32]byte][][]byte
	waiting map[*[]signet.Glimpse]signet.DeviceID // what streams are to be shown
	open    int
}

type memoryLog struct {
	records []signet.Record
	byBytes map[signet.Hash]uint64
}

type relayKey struct {
	place [32]byte
	slot  uint8
}

// New makes a service for an organisation, with its directory and no device.
func New(org signet.OrgID) *Memory {
	m := &Memory{
		Org: org, changed: make(chan struct{}),
		devices: make(map[signet.DeviceID]*key.Public),
		logs:    make(map[signet.LogID]*memoryLog),
		objects: make(map[signet.RegionID]map[signet.ObjectID][]byte),
		relay:   make(map[relayKey][]byte),
		records: make(map[[32]byte][][]byte),
		waiting: make(map[*[]signet.Glimpse]signet.DeviceID),
	}
	m.log(signet.Directory(org))
	return m
}

// Allow enrols a device.
func (m *Memory) Allow(d signet.DeviceID, p *key.Public) { m.change(func() { m.devices[d] = p }) }

// Revoke ends a device and its sessions.
func (m *Memory) Revoke(d signet.DeviceID) { m.change(func() { delete(m.devices, d) }) }

// NewLog begins to offer an empty log, if there is none of the name.
func (m *Memory) NewLog(l signet.LogID) { m.change(func() { m.log(l) }) }

// Sessions is the number of sessions that are open.
func (m *Memory) Sessions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

// AwaitSessions waits until n sessions are open.
func (m *Memory) AwaitSessions(ctx context.Context, n int) error {
	return m.await(ctx, func() bool { return m.open == n })
}

func (m *Memory) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
	close(m.changed)
	m.changed = make(chan struct{})
}

// await returns when cond holds; m.mu is held while it is called.
func (m *Memory) await(ctx context.Context, cond func() bool) error {
	for {
		m.mu.Lock()
		ok, changed := cond(), m.changed
		m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// log returns a log, made if need be; m.mu is held.
func (m *Memory) log(l signet.LogID) *memoryLog {
	if m.logs[l] == nil {
		m.logs[l] = &memoryLog{byBytes: make(map[signet.Hash]uint64)}
	}
	return m.logs[l]
}

// Info implements transport.Backend.
func (m *Memory) Info(context.Context) (transport.Info, error) {
	return transport.Info{Org: m.Org, LogKey: []byte("no key"), Time: time.Now().UnixMilli(), Version: "memory"}, nil
}

// Connect implements transport.Backend.
func (m *Memory) Connect(_ context.Context, d signet.DeviceID, binding, signature []byte) (transport.Session, error) {
	m.mu.Lock()
	p := m.devices[d]
	m.mu.Unlock()
	if p == nil {
		return nil, transport.ErrNotEnrolled
	}
	if err := p.Verify(key.LabelConnection, binding, signature); err != nil {
		return nil, err
	}
	m.change(func() { m.open++ })
	return &session{m, d}, nil
}

// Enrol implements transport.Backend.
func (m *Memory) Enrol(_ context.Context, r signet.Record, sent int64) (signet.Receipt, error) {
	return m.append(signet.Directory(m.Org), r, sent), nil
}

// RelayPut implements transport.Backend.
func (m *Memory) RelayPut(_ context.Context, place [32]byte, slot uint8, message []byte) (err error) {
	m.change(func() {
		k := relayKey{place, slot}
		if old, ok := m.relay[k]; ok && !bytes.Equal(old, message) {
			err = fmt.Errorf("relay slot %d is taken: %w", slot, signet.ErrConflict)
			return
		}
		m.relay[k] = bytes.Clone(message)
	})
	return err
}

// RelayGet implements transport.Backend.
func (m *Memory) RelayGet(ctx context.Context, place [32]byte, slot uint8) (message []byte, err error) {
	if slot == transport.InvitationSlot {
		return nil, fmt.Errorf("no such invitation: %w", signet.ErrNotFound)
	}
	err = m.await(ctx, func() (ok bool) {
		message, ok = m.relay[relayKey{place, slot}]
		return ok
	})
	return message, err
}

func checkpoint(size int) []byte { return fmt.Appendf(nil, "memory\n%d\n", size) }

func (m *Memory) append(l signet.LogID, r signet.Record, sent int64) (c signet.Receipt) {
	m.change(func() {
		log := m.log(l)
		h := key.Sum(key.LabelEntryHash, r.Head, r.Blob)
		at, ok := log.byBytes[h]
		if !ok {
			at = uint64(len(log.records))
			r.Leaf = binary.BigEndian.AppendUint64(h[:], uint64(sent))
			log.records = append(log.records, r)
			log.byBytes[h] = at
		}
		c = signet.Receipt{Position: at, Leaf: log.records[at].Leaf, Checkpoint: checkpoint(len(log.records))}
	})
	return c
}

// page returns up to 100 records; m.mu is held.
func (m *Memory) page(l signet.LogID, from uint64, parts signet.Parts) signet.Page {
	all := m.logs[l].records
	p := signet.Page{Log: l, From: from, Checkpoint: checkpoint(len(all))}
	for i := from; i < uint64(len(all)) && i < from+100; i++ {
		r := signet.Record{Leaf: all[i].Leaf}
		if parts&signet.WithHead != 0 {
			r.Head = all[i].Head
		}
		if parts&signet.WithBlob != 0 {
			r.Blob = all[i].Blob
		}
		p.Records = append(p.Records, r)
	}
	return p
}

type session struct {
	m      *Memory
	device signet.DeviceID
}

// allowed fails after a revocation; m.mu is held.
func (s *session) allowed() error {
	if s.m.devices[s.device] == nil {
		return transport.ErrNotEnrolled
	}
	return nil
}

func (s *session) check() error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.allowed()
}

// Append implements signet.Log.
func (s *session) Append(_ context.Context, l signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	if err := s.check(); err != nil {
		return signet.Receipt{}, err
	}
	return s.m.append(l, r, sent), nil
}

// Read implements signet.Log.
func (s *session) Read(_ context.Context, l signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err := s.allowed(); err != nil {
		return signet.Page{}, err
	}
	if s.m.logs[l] == nil {
		return signet.Page{}, fmt.Errorf("log %s: %w", l, signet.ErrNotFound)
	}
	return s.m.page(l, from, parts), nil
}

// Wait implements signet.Log.
func (s *session) Wait(ctx context.Context, heads map[signet.LogID]uint64, each func(signet.Page) error, shown func(signet.Glimpse)) error {
	heads = maps.Clone(heads)
	if heads == nil {
		heads = make(map[signet.LogID]uint64)
	}
	var mine []signet.Glimpse
	s.m.change(func() { s.m.waiting[&mine] = s.device })
	defer s.m.change(func() { delete(s.m.waiting, &mine) })
	for first := true; ; first = false {
		var pages []signet.Page
		var glimpses []signet.Glimpse
		var gone error
		err := s.m.await(ctx, func() bool {
			for l, log := range s.m.logs {
				size, known := heads[l]
				if uint64(len(log.records)) > size || !known && l.Kind != signet.DirectoryLog {
					p := s.m.page(l, size, signet.Whole)
					heads[l] = size + uint64(len(p.Records))
					pages = append(pages, p)
				}
			}
			gone = s.allowed()
			if first {
				pages = append(pages, s.m.caughtUp(heads))
			}
			glimpses, mine = mine, nil
			return gone != nil || len(pages) > 0 || len(glimpses) > 0
		})
		if err != nil {
			return err
		}
		if gone != nil {
			return gone
		}
		for _, g := range glimpses {
			if shown != nil {
				shown(g)
			}
		}
		for _, p := range pages {
			if err := each(p); err != nil {
				return err
			}
		}
	}
}

// caughtUp is the empty page of the directory that ends what there was.
func (m *Memory) caughtUp(heads map[signet.LogID]uint64) signet.Page {
	d := signet.Directory(m.Org)
	p := m.page(d, heads[d], signet.LeafOnly)
	p.Records = nil
	return p
}

// Show implements signet.Chunks.
func (s *session) Show(_ context.Context, region signet.RegionID, sealed []byte) (seen bool, err error) {
	s.m.mu.Lock()
	err = s.allowed()
	s.m.mu.Unlock()
	if err != nil {
		return false, err
	}
	if len(sealed) > transport.MaxGlimpse {
		return false, transport.Errorf(transport.KindTooLarge, "glimpse of %d bytes, at most %d allowed", len(sealed), transport.MaxGlimpse)
	}
	s.m.change(func() {
		for list, d := range s.m.waiting {
			if d != s.device {
				*list = append(*list, signet.Glimpse{Region: region, From: s.device, Sealed: bytes.Clone(sealed)})
				seen = true
			}
		}
	})
	return seen, nil
}

// Have implements signet.Chunks.
func (s *session) Have(_ context.Context, region signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, id := range ids {
		if _, ok := s.m.objects[region][id]; !ok {
			missing = append(missing, id)
		}
	}
	return missing, s.allowed()
}

// Put implements signet.Chunks.
func (s *session) Put(_ context.Context, region signet.RegionID, objects [][]byte) error {
	if err := s.check(); err != nil || s.m.Discard {
		return err
	}
	for _, o := range objects {
		id := signet.ObjectID(sha256.Sum256(o))
		o = bytes.Clone(o)
		s.m.change(func() {
			if s.m.objects[region] == nil {
				s.m.objects[region] = make(map[signet.ObjectID][]byte)
			}
			s.m.objects[region][id] = o
		})
	}
	return nil
}

// Get implements signet.Chunks.
func (s *session) Get(_ context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	for _, id := range ids {
		s.m.mu.Lock()
		o, ok := s.m.objects[region][id]
		err := s.allowed()
		s.m.mu.Unlock()
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("object %s: %w", id, signet.ErrNotFound)
		}
		if err := each(id, o); err != nil {
			return err
		}
	}
	return nil
}

// Usage implements transport.Session: there is no limit, and nothing is counted.
func (s *session) Usage(context.Context, signet.RegionID) (signet.Usage, error) {
	return signet.Usage{}, s.check()
}

// Recovering implements transport.Session: every log is whole.
func (s *session) Recovering(context.Context) ([]signet.LogID, error) { return nil, s.check() }

// Reoffer implements transport.Session. The records are taken as they come.
func (s *session) Reoffer(_ context.Context, r signet.Reoffer) (size uint64, whole bool, err error) {
	if err := s.check(); err != nil {
		return 0, false, err
	}
	s.m.change(func() {
		l := s.m.log(r.Log)
		for i, rec := range r.Records {
			if r.From+uint64(i) == uint64(len(l.records)) {
				l.records = append(l.records, rec)
			}
		}
		size = uint64(len(l.records))
	})
	return size, true, nil
}

// PutRecord implements transport.Session. The owner is the first 32 bytes.
func (s *session) PutRecord(_ context.Context, record []byte) error {
	if err := s.check(); err != nil {
		return err
	}
	if len(record) < 32 {
		return transport.Errorf(transport.KindInvalid, "sealed record of %d bytes", len(record))
	}
	s.m.change(func() {
		owner := [32]byte(record)
		s.m.records[owner] = append(s.m.records[owner], bytes.Clone(record))
	})
	return nil
}

// Records implements transport.Session.
func (s *session) Records(_ context.Context, owner [32]byte) ([][]byte, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.records[owner], s.allowed()
}

// Close implements transport.Session.
func (s *session) Close() { s.m.change(func() { s.m.open-- }) }
