package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"signet"
	"signet/service/blob"
	"signet/service/meta"
	"signet/transport"
)

// uploads is what was put and is not indexed yet. A row of the index is
// written only after its pack was synced, so an indexed object is a durable
// one; until then this is the index, and a crash forgets it (the next start
// finds again what is whole).
type uploads struct {
	db    *meta.DB
	store blob.Store
	max   int64 // bytes of one device that no entry names

	flushing sync.Mutex   // one flush at a time
	putting  sync.RWMutex // held for reading from the store's Put to pending
	wake     chan struct{}

	mu      sync.Mutex
	epoch   uint64 // counts failed syncs: what was put before one is lost
	pending map[place]meta.Object
	synced  map[place]meta.Object // being indexed
	bytes   int64                 // of pending
	going   map[place]bool        // dropped by a commit under way: not there for what comes after
	lost    map[place]bool        // indexed, and not there until somebody sends them again
	usage   map[meta.DeviceNum]int64
}

// place names an object of a region.
type place struct {
	log meta.LogNum
	id  signet.ObjectID
}

// When pending objects are flushed though no entry asks for it.
const (
	flushBytes   = 32 << 20
	flushObjects = 8192
	flushEvery   = 5 * time.Second
)

func newUploads(db *meta.DB, store blob.Store, max int64) (*uploads, error) {
	usage, err := db.Unpinned()
	if err != nil {
		return nil, err
	}
	lost, err := lostObjects(db)
	if err != nil {
		return nil, err
	}
	return &uploads{db: db, store: store, max: max, wake: make(chan struct{}, 1), pending: map[place]meta.Object{}, usage: usage, lost: lost}, nil
}

// lostObjects are those that have a row in the index, and whose bytes are gone.
func lostObjects(db *meta.DB) (map[place]bool, error) {
	list, err := db.Lost()
	if err != nil {
		return nil, err
	}
	lost := map[place]bool{}
	for _, o := range list {
		lost[place{o.Log, o.ID}] = true
	}
	return lost, nil
}

// loop flushes in the background, so that a commit after a large upload finds
// little left to sync.
func (u *uploads) loop(ctx context.Context) {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-u.wake:
		}
		u.flush(nil) // a failure shows where an entry needs the objects
	}
}

// put stores objects of a region for a device, but for those that are there, as
// far as left has room for them.
func (u *uploads) put(log meta.LogNum, region signet.RegionID, device meta.DeviceNum, objects [][]byte, left allowance, now int64) error {
	var named, fresh []blob.Object
	var ids []signet.ObjectID
	var size int64
	for _, b := range objects {
		if len(b) > blob.MaxObject {
			return transport.Errorf(transport.KindTooLarge, "object of %d bytes, at most %d allowed", len(b), blob.MaxObject)
		}
		named = append(named, blob.Name(b))
		ids = append(ids, named[len(named)-1].ID)
	}
	missing, err := u.stay(log, ids, now)
	if err != nil {
		return err
	}
	for _, o := range named {
		if len(missing) > 0 && missing[0] == o.ID {
			missing = missing[1:]
			fresh = append(fresh, o)
			size += int64(len(o.Bytes))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if !left.takes(size) {
		return left.refusal(size)
	}
	epoch, err := u.charge(device, size)
	if err != nil {
		return err
	}
	u.putting.RLock()
	defer u.putting.RUnlock()
	places, err := u.store.Put(region, fresh)
	if err != nil {
		u.refund(device, size)
		return fmt.Errorf("store objects: %w", errors.Join(err, signet.ErrUnavailable))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.epoch != epoch {
		u.usage[device] -= size
		return fmt.Errorf("store objects: a sync failed meanwhile: %w", signet.ErrUnavailable)
	}
	for i, o := range fresh {
		k := place{log, o.ID}
		if _, twice := u.pending[k]; twice { // put by two at once: both lie in packs, one is indexed
			u.usage[device] -= int64(len(o.Bytes))
			continue
		}
		u.pending[k] = meta.Object{ID: o.ID, Place: places[i], Device: device, Added: now}
		u.bytes += int64(len(o.Bytes))
	}
	if u.bytes >= flushBytes || len(u.pending) >= flushObjects {
		select {
		case u.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (u *uploads) charge(device meta.DeviceNum, size int64) (epoch uint64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.usage[device]+size > u.max {
		return 0, transport.Errorf(transport.KindNotAllowed, "this device has %d bytes on the service that no entry names, at most %d allowed", u.usage[device], u.max).
			WithHint("wait until what was uploaded is committed")
	}
	u.usage[device] += size
	return u.epoch, nil
}

func (u *uploads) refund(device meta.DeviceNum, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.usage[device] -= size
}

// pinned takes objects off their senders' accounts.
func (u *uploads) pinned(objects []meta.Object) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, o := range objects {
		if u.usage[o.Device] -= int64(o.Place.Length); u.usage[o.Device] <= 0 {
			delete(u.usage, o.Device)
		}
	}
}

// find looks an object up here and in the index; signet.ErrNotFound if it is
// in neither.
func (u *uploads) find(log meta.LogNum, id signet.ObjectID) (meta.Object, error) {
	k := place{log, id}
	u.mu.Lock()
	o, ok := u.pending[k]
	if !ok {
		o, ok = u.synced[k]
	}
	gone := u.going[k] || !ok && u.lost[k]
	u.mu.Unlock()
	if gone {
		return meta.Object{}, signet.ErrNotFound
	}
	if ok {
		return o, nil
	}
	return u.db.Object(log, id)
}

// findAll is find for several objects: those that are in neither are left out.
func (u *uploads) findAll(log meta.LogNum, ids []signet.ObjectID) (map[signet.ObjectID]meta.Object, error) {
	here := make(map[signet.ObjectID]meta.Object)
	rest := make([]signet.ObjectID, 0, len(ids))
	u.mu.Lock()
	for _, id := range ids {
		k := place{log, id}
		o, ok := u.pending[k]
		if !ok {
			o, ok = u.synced[k]
		}
		switch {
		case u.going[k]:
		case ok:
			here[id] = o
		case u.lost[k]:
		default:
			rest = append(rest, id)
		}
	}
	u.mu.Unlock()
	if len(rest) == 0 {
		return here, nil
	}
	all, err := u.db.Find(log, rest) // after the look above: what leaves it is there
	if err != nil {
		return nil, err
	}
	maps.Copy(all, here)
	return all, nil
}

func (u *uploads) has(log meta.LogNum, id signet.ObjectID) (bool, error) {
	_, err := u.find(log, id)
	if errors.Is(err, signet.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// renewAfter is how old an object that no entry names is before it is renewed:
// once a day at most.
const renewAfter = 24 * time.Hour

// stay tells which objects of a region are missing, in order, and gives those that
// are there and named by no entry another 30 days: somebody is about to name them.
func (u *uploads) stay(log meta.LogNum, ids []signet.ObjectID, now int64) (missing []signet.ObjectID, err error) {
	var old []signet.ObjectID
	gone := map[signet.ObjectID]bool{}
	have, err := u.findAll(log, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		o, ok := have[id]
		switch {
		case !ok:
			gone[id] = true
		case o.Entry == 0 && now-o.Added > renewAfter.Milliseconds():
			old = append(old, id)
		}
	}
	if len(old) > 0 {
		err := u.db.Update(func(tx *meta.Tx) error {
			away, err := tx.Renew(log, old, now)
			for _, id := range away {
				gone[id] = true // since it was found
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("renew objects: %w", errors.Join(err, signet.ErrUnavailable))
		}
	}
	for _, id := range ids {
		if gone[id] {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// drop makes objects as good as gone until dropped is called: what the same group
// of a commit names after that must not be found. The committer calls both.
func (u *uploads) drop(log meta.LogNum, ids []signet.ObjectID) {
	if len(ids) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.going == nil {
		u.going = map[place]bool{}
	}
	for _, id := range ids {
		u.going[place{log, id}] = true
	}
}

// dropped is called when the group is committed, or taken back.
func (u *uploads) dropped() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.going = nil
}

// settle makes all that was put in sealed packs durable and indexed.
func (u *uploads) settle() error {
	u.putting.Lock() // what is stored is also pending
	u.putting.Unlock()
	return u.flush(nil)
}

// anyPending reports whether an object is not indexed yet.
func (u *uploads) anyPending(log meta.LogNum, ids []signet.ObjectID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if _, ok := u.pending[place{log, id}]; ok {
			return true
		}
		if _, ok := u.synced[place{log, id}]; ok {
			return true
		}
	}
	return false
}

// flush syncs the packs and indexes what was pending, in one transaction with
// whatever more writes (nil: nothing). After a failed sync what was pending is
// gone: devices are told that it is missing, and send it again.
func (u *uploads) flush(more func(*meta.Tx) error) error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	u.mu.Lock()
	batch := u.pending
	for k, o := range u.synced { // a failed transaction left them
		batch[k] = o
	}
	u.synced, u.pending, u.bytes = batch, map[place]meta.Object{}, 0
	u.mu.Unlock()
	if len(batch) == 0 && more == nil {
		return nil
	}
	marks, err := u.store.Sync()
	if err != nil {
		u.lose()
		return fmt.Errorf("store objects: %w", errors.Join(err, signet.ErrUnavailable))
	}
	u.covered(batch, marks)
	rows := map[meta.LogNum][]meta.Object{}
	var found []place
	u.mu.Lock()
	for k, o := range batch {
		rows[k.log] = append(rows[k.log], o)
		if u.lost[k] {
			found = append(found, k)
		}
	}
	u.mu.Unlock()
	err = u.db.Update(func(tx *meta.Tx) error {
		for log, objects := range rows {
			if err := tx.PutObjects(log, objects); err != nil {
				return err
			}
		}
		for _, k := range found {
			if err := tx.Found(k.log, k.id, batch[k].Place); err != nil {
				return err
			}
		}
		if err := tx.Marks(marks); err != nil || more == nil {
			return err
		}
		return more(tx)
	})
	if err != nil {
		return fmt.Errorf("index objects: %w", errors.Join(err, signet.ErrUnavailable))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.synced = nil
	for _, k := range found {
		delete(u.lost, k)
		o := batch[k]
		u.usage[o.Device] -= int64(o.Place.Length) // its row counts as it did
	}
	return nil
}

// covered adds to batch what was put while the packs were being synced and is
// covered by their marks: the next start looks only beyond a mark for objects
// that no row names.
func (u *uploads) covered(batch map[place]meta.Object, marks []blob.Mark) {
	ends := map[uint32]int64{}
	for _, m := range marks {
		ends[m.Pack] = m.End
	}
	u.putting.Lock() // what is stored is also pending
	defer u.putting.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, o := range u.pending {
		if int64(o.Place.Offset)+int64(o.Place.Length) <= ends[o.Place.Pack] {
			batch[k] = o
			delete(u.pending, k)
			u.bytes -= int64(o.Place.Length)
		}
	}
}

// lose forgets all that was not durable.
func (u *uploads) lose() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.epoch++
	for _, m := range []map[place]meta.Object{u.pending, u.synced} {
		for _, o := range m {
			u.usage[o.Device] -= int64(o.Place.Length)
		}
	}
	u.pending, u.synced, u.bytes = map[place]meta.Object{}, nil, 0
}
