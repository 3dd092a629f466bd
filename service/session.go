package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/service/meta"
	"signet/transport"
)

// fulls remembers the newest full checkpoint of each log that went to a
// session. A device takes a tip only on top of one that is younger than
// chain.FullEvery; this sends it one where it would not.
type fulls struct {
	mu   sync.Mutex
	time map[signet.LogID]int64
}

// checkpoint chooses what a session gets: the newest tip, or a full one of the
// same text. The service's mu is held for writing.
func (f *fulls) checkpoint(h *history, by key.Signer) (*chain.Checkpoint, error) {
	if f == nil {
		return h.fullOfTip(by)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := h.tip
	if last, ok := f.time[h.ID]; !ok || c.Time-last > chain.FullEvery || last-c.Time > chain.ClockSlack {
		var err error
		if c, err = h.fullOfTip(by); err != nil {
			return nil, err
		}
	}
	if c.Full {
		f.time[h.ID] = c.Time
	}
	return c, nil
}

// session implements transport.Session for one connection of a device.
type session struct {
	*Service
	device signet.DeviceID
	own    signet.RingID
	fulls  *fulls

	once   sync.Once // numbers the device at its first upload
	number meta.DeviceNum
	err    error
}

// Connect implements transport.Backend.
func (s *Service) Connect(_ context.Context, device signet.DeviceID, binding, signature []byte) (transport.Session, error) {
	s.mu.RLock()
	r, ok := s.ring.RingOf(device)
	record := s.ring.Device(device)
	active := s.ring.Active(device, s.now())
	s.mu.RUnlock()
	if !ok || !active {
		return nil, transport.ErrNotEnrolled
	}
	if err := record.Sign.Verify(key.LabelConnection, binding, signature); err != nil {
		return nil, transport.ErrNotEnrolled
	}
	return &session{Service: s, device: device, own: r, fulls: &fulls{time: map[signet.LogID]int64{}}}, nil
}

// Close implements transport.Session.
func (x *session) Close() {}

// active is the first question of every method: a revoked device gets nothing
// more, on connections that it has open too. mu is held.
func (x *session) active() error {
	if !x.ring.Active(x.device, x.now()) {
		return transport.ErrNotEnrolled
	}
	return nil
}

// reads finds a log that the device may read. mu is held.
func (x *session) reads(log signet.LogID) (*history, error) {
	if err := x.active(); err != nil {
		return nil, err
	}
	h := x.logs[log]
	if h == nil || h.tip == nil {
		return nil, fmt.Errorf("no such log: %w", signet.ErrNotFound)
	}
	if h.journal != nil && !h.journal.MayRead(x.device, x.now()) {
		return nil, fmt.Errorf("this device's ring has no role in the region: %w", signet.ErrNotAllowed)
	}
	return h, nil
}

// region finds the log of a region in which the device's ring has a role.
func (x *session) region(r signet.RegionID, role journal.Role) (meta.LogNum, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	h, err := x.reads(signet.Journal(r))
	if err != nil {
		return 0, err
	}
	if h.journal.Role(x.own) < role {
		return 0, fmt.Errorf("this device's ring may not write in the region: %w", signet.ErrNotAllowed)
	}
	return h.Num, nil
}

// Append implements signet.Log.
func (x *session) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	x.mu.RLock()
	err := x.active()
	h := x.logs[log]
	if err == nil && h != nil && h.tip != nil {
		_, err = x.reads(log)
	}
	x.mu.RUnlock()
	if err != nil {
		return signet.Receipt{}, err
	}
	return x.offer(ctx, &offer{log: log, record: r, sent: sent, fulls: x.fulls})
}

// Sizes of a page: it is cut after the record that passes maxPageBytes.
const (
	maxPageBytes   = 4 << 20
	maxPageRecords = transport.MaxPageRecords
)

// Read implements signet.Log.
func (x *session) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	x.mu.Lock()
	h, err := x.reads(log)
	if err != nil {
		x.mu.Unlock()
		return signet.Page{}, err
	}
	// Who reads may have lost, or may not have been able to use, the full
	// checkpoint that it got before: a Read is always answered with one.
	c, err := h.fullOfTip(x.config.Key)
	size, num, sees := h.Size, h.Num, x.sees(h)
	x.mu.Unlock()
	if err != nil {
		return signet.Page{}, err
	}
	page := signet.Page{Log: log, From: from, Checkpoint: c.Bytes()}
	page.Records, err = x.records(num, from, size, parts, sees)
	return page, err
}

// records reads a page's worth of records before size from the database.
func (s *Service) records(num meta.LogNum, from, size uint64, parts signet.Parts, sees func([]byte) bool) (out []signet.Record, err error) {
	if from >= size {
		return nil, nil
	}
	bytes := 0
	err = s.db.Records(num, from, size, parts, func(_ uint64, r signet.Record) (bool, error) {
		r = shown(r, sees)
		out = append(out, r)
		bytes += len(r.Leaf) + len(r.Head) + len(r.Blob)
		return bytes < maxPageBytes && len(out) < maxPageRecords, nil
	})
	return out, err
}

// shown withholds a record's body from a device that may not see it.
func shown(r signet.Record, sees func(leaf []byte) bool) signet.Record {
	if sees != nil && !sees(r.Leaf) {
		r.Head, r.Blob = nil, nil
	}
	return r
}

// sees tells which statements of the directory the device gets whole: those of
// its own ring, of the root and of the owner's ring; a device of the owner's
// ring gets all. nil means every record. mu is held.
func (x *session) sees(h *history) func(leaf []byte) bool {
	if h.journal != nil {
		return nil
	}
	owner, ok := x.ring.Owner()
	if ok && owner == x.own {
		return nil
	}
	root := signet.RingID(x.ring.Org())
	return func(leaf []byte) bool {
		l, err := ring.ParseLeaf(leaf)
		return err == nil && (l.Ring == x.own || l.Ring == root || ok && l.Ring == owner)
	}
}

// Have implements signet.Chunks.
func (x *session) Have(ctx context.Context, region signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	num, err := x.region(region, journal.Reader)
	if err != nil {
		return nil, err
	}
	if _, err := x.region(region, journal.Writer); err == nil {
		return x.uploads.stay(num, ids, x.now())
	}
	for _, id := range ids {
		ok, err := x.uploads.has(num, id)
		if err != nil {
			return nil, err
		}
		if !ok {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// Put implements signet.Chunks.
func (x *session) Put(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	num, err := x.region(region, journal.Writer)
	if err != nil {
		return err
	}
	left, err := x.left(region)
	if err != nil {
		return err
	}
	x.once.Do(func() { x.number, x.err = x.db.Device(x.device) })
	if x.err != nil {
		return x.err
	}
	return x.uploads.put(num, region, x.number, objects, left, x.now())
}

// Get implements signet.Chunks.
func (x *session) Get(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	num, err := x.region(region, journal.Reader)
	if err != nil {
		return err
	}
	objects := make([]meta.Object, 0, len(ids))
	have, err := x.uploads.findAll(num, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		o, ok := have[id]
		if !ok {
			return fmt.Errorf("%s: %w", id, signet.ErrNotFound)
		}
		objects = append(objects, o)
	}
	// In the order of the packs: what was written together is read together.
	slices.SortFunc(objects, func(a, b meta.Object) int {
		if a.Place.Pack != b.Place.Pack {
			return int(int64(a.Place.Pack) - int64(b.Place.Pack))
		}
		return int(int64(a.Place.Offset) - int64(b.Place.Offset))
	})
	bp := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(bp)
	for _, o := range objects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if *bp, err = x.fetch(num, o, (*bp)[:0]); err != nil {
			return fmt.Errorf("%s: %w", o.ID, err)
		}
		if err := each(o.ID, *bp); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads an object. One that is not where it was found has been moved since,
// by gc, and is looked up again.
func (s *Service) fetch(log meta.LogNum, o meta.Object, dst []byte) ([]byte, error) {
	for {
		b, err := s.store.Get(o.Place, dst)
		if !errors.Is(err, signet.ErrNotFound) {
			return b, err
		}
		now, ferr := s.uploads.find(log, o.ID)
		if ferr != nil {
			return dst, ferr
		}
		if now.Place == o.Place {
			return dst, err
		}
		o = now
	}
}

var readBuffers = sync.Pool{New: func() any { return new([]byte) }}

// PutRecord implements transport.Session.
func (x *session) PutRecord(ctx context.Context, record []byte) error {
	r, err := ring.ParseRecord(record)
	if err != nil {
		return transport.Errorf(transport.KindInvalid, "%v", err)
	}
	x.mu.RLock()
	err = x.active()
	if err == nil && (r.Signer != x.device || r.Ring != x.own) {
		err = fmt.Errorf("sealed record of another device: %w", signet.ErrNotAllowed)
	}
	if err == nil {
		err = x.ring.VerifyRecord(r)
	}
	x.mu.RUnlock()
	if err != nil {
		return err
	}
	if r.Version > 1<<62 {
		return transport.Errorf(transport.KindInvalid, "sealed record: version out of bounds")
	}
	return x.db.Update(func(tx *meta.Tx) error {
		return tx.PutSealed(r.Ring, r.Subject, r.Version, record, transport.MaxRecords)
	})
}

// Records implements transport.Session. The owner is a ring, or a device of
// the ring; the zero owner stands for the service itself, whose one record is
// that of its built-in connector, for the owner's devices to allow.
func (x *session) Records(ctx context.Context, owner [32]byte) ([][]byte, error) {
	x.mu.RLock()
	err := x.active()
	ownerRing, _ := x.ring.Owner()
	of, isDevice := x.ring.RingOf(signet.DeviceID(owner))
	x.mu.RUnlock()
	switch {
	case err != nil:
		return nil, err
	case owner == [32]byte{}:
		if x.config.Connector == nil || x.own != ownerRing {
			return nil, nil
		}
		return [][]byte{x.config.Connector.Append(nil)}, nil
	case owner == [32]byte(x.own):
		return x.db.Sealed(owner)
	case isDevice && of == x.own:
		all, err := x.db.Sealed(x.own)
		return slices.DeleteFunc(all, func(b []byte) bool {
			r, err := ring.ParseRecord(b)
			return err != nil || r.Subject != owner
		}), err
	}
	return nil, fmt.Errorf("sealed records of another ring: %w", signet.ErrNotAllowed)
}
