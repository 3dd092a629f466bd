package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
)

// loadVolumes makes the volumes that the store knows.
func (d *Device) loadVolumes() error {
	rows, err := d.Store.db.Query("SELECT id, path, region, added, paused, seen, counters FROM volumes")
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	type row struct {
		id, path         string
		region, counters []byte
		added, seen      int64
		paused           pause
	}
	var list []row
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.path, &r.region, &r.added, &r.paused, &r.seen, &r.counters); err != nil {
			rows.Close()
			return fmt.Errorf("index: %w", err)
		}
		list = append(list, r)
	}
	rows.Close()
	for _, r := range list {
		d.mu.Lock()
		known := d.volumes[r.id] != nil
		d.mu.Unlock()
		if known {
			continue
		}
		x, err := d.early.take(d.Store, r.id)
		if err != nil {
			return err
		}
		d.mu.Lock()
		id := signet.RegionID(r.region)
		reg := d.regions[id]
		if reg == nil {
			reg = d.newRegion(id)
			d.regions[id] = reg
		}
		reg.seen = uint64(r.seen)
		v := &volume{d: d, id: r.id, dir: r.path, region: reg, added: time.UnixMilli(r.added), index: x, scan: true, fresh: true,
			paused: r.paused, poke: make(chan struct{}, 1), sealed: map[[32]byte]sealedFile{}}
		v.silence.now = func() time.Time { return d.Now() }
		json.Unmarshal(r.counters, &v.total)
		// What it was when somebody last looked, until somebody looks again.
		if last, err := d.Store.Note(statusNote(r.id)); err == nil && last != nil {
			json.Unmarshal(last, &v.status)
		}
		if v.status.State == "" || v.status.State == Paused { // whether it is so now, Status says
			v.status.State = Scanning
		}
		v.status.Region, v.status.Generation = reg.Name(), reg.State.Current().Number
		if err := errors.Join(v.loadGuard(), v.loadRules(), v.loadMarks()); err != nil {
			d.mu.Unlock()
			return err
		}
		d.volumes[r.id] = v
		d.signal()
		d.mu.Unlock()
	}
	return nil
}

// LoadVolumes reads the volumes of the store, for commands without a daemon.
func (d *Device) LoadVolumes() error { return d.loadVolumes() }

// AddVolume notes that dir, which has a marker for volume id, is kept in step
// with a region. The index starts empty: what is there is joined by content.
// Adding an id again relinks it: the old base is forgotten. What this device
// wrote before is no base either: it was written from another folder, and what
// this one lacks of it was not deleted.
func (d *Device) AddVolume(id, dir string, regionID signet.RegionID) error {
	d.halt(id)
	d.early.drop(id)
	d.mu.Lock()
	var written uint64
	if reg := d.regions[regionID]; reg != nil {
		written, reg.own = reg.State.Size(), nil
		reg.seen = written
	}
	d.mu.Unlock()
	first, err := json.Marshal(VolumeStatus{State: Scanning, Seeding: &Seeding{Begun: d.Now().UTC()}})
	if err != nil {
		return err
	}
	err = d.Store.write(func(b *batch) {
		b.exec("DELETE FROM nodes WHERE volume = ?", id)
		b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", statusNote(id), first)
		b.exec("INSERT OR REPLACE INTO volumes(id, path, region, added, seen) VALUES(?,?,?,?,?)", id, dir, regionID[:], d.now(), int64(written))
	})
	if err != nil {
		return err
	}
	return d.loadVolumes()
}

// RemoveVolume forgets a volume; its files stay. It returns when its loop ended.
func (d *Device) RemoveVolume(id string) error {
	d.halt(id)
	return d.Store.write(func(b *batch) {
		b.exec("DELETE FROM nodes WHERE volume = ?", id)
		b.exec("DELETE FROM volumes WHERE id = ?", id)
		b.exec("DELETE FROM notes WHERE key IN (?, ?, ?, ?, ?, ?, ?)", statusNote(id), guardNote(id), rulesNote(id), displacedNote(id), marksNote(id), takenNote(id), saidNote(id))
	})
}

// A VolumeInfo says which folder is kept in step with which region.
type VolumeInfo struct {
	ID     string
	Dir    string
	Region signet.RegionID
	Name   string // of the region
}

// Volumes lists the volumes, by folder.
func (d *Device) Volumes() []VolumeInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []VolumeInfo
	for _, v := range d.volumes {
		list = append(list, VolumeInfo{v.id, v.dir, v.region.ID(), v.region.Name()})
	}
	slices.SortFunc(list, func(a, b VolumeInfo) int { return strings.Compare(a.Dir, b.Dir) })
	return list
}

func (d *Device) volume(id string) (*volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v == nil {
		return nil, fmt.Errorf("volume: %w", signet.ErrNotFound)
	}
	return v, nil
}

// Status lists the volumes' states, by folder.
func (d *Device) Status() []VolumeStatus {
	list := []VolumeStatus{}
	for _, i := range d.Volumes() {
		if v, err := d.volume(i.ID); err == nil {
			list = append(list, v.Status())
		}
	}
	return list
}

// SyncVolume brings one volume in step, without a daemon.
func (d *Device) SyncVolume(ctx context.Context, id string) (Counters, error) {
	v, err := d.volume(id)
	if err != nil {
		return Counters{}, err
	}
	c, err := v.sync(ctx)
	v.saveCounters()
	return c, err
}

// A pause is what the index keeps of one: notPaused, paused until somebody says
// otherwise, or the time when it ends by itself, in ms since 1970.
type pause int64

const (
	notPaused pause = iota
	forGood
)

// on reports whether a pause holds, and when it ends; zero where nobody said.
func (p pause) on(now time.Time) (on bool, until time.Time) {
	if p <= forGood {
		return p == forGood, until
	}
	until = time.UnixMilli(int64(p))
	return now.Before(until), until
}

// Pause stops or resumes a volume.
func (d *Device) Pause(id string, paused bool) error {
	if paused {
		return d.pause(id, forGood)
	}
	return d.pause(id, notPaused)
}

// PauseUntil stops a volume until some time, or until Pause resumes it.
func (d *Device) PauseUntil(id string, until time.Time) error {
	return d.pause(id, max(pause(until.UnixMilli()), forGood+1))
}

func (d *Device) pause(id string, p pause) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.paused = p
	if on, _ := p.on(d.Now()); on && v.interrupt != nil {
		v.interrupt()
	}
	v.mu.Unlock()
	v.wake()
	return d.Store.write(func(b *batch) { b.exec("UPDATE volumes SET paused = ? WHERE id = ?", int64(p), id) })
}

// Hold pauses all volumes for a reason, until it is called with "". It is not
// kept: whoever runs the device says it again.
func (d *Device) Hold(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.held.Load()
	if old == nil && why == "" || old != nil && *old == why {
		return
	}
	now := &why
	if why == "" {
		now = nil
	}
	d.held.Store(now)
	for _, v := range d.volumes {
		v.mu.Lock()
		if why != "" && v.interrupt != nil {
			v.interrupt()
		}
		v.mu.Unlock()
		v.wake()
	}
	d.signal()
}

// Put commits operations on a region that a person asked for (restore), not a
// scan. build sees the tree and must not keep it.
func (d *Device) Put(ctx context.Context, id signet.RegionID, build func(t *tree.Tree) ([]tree.Op, error)) error {
	for try := 0; ; try++ {
		did, err := d.put(ctx, id, build)
		if !errors.Is(err, errAgain) || did > 0 || try >= 5 {
			return err
		}
	}
}

// put is one try; did is how many operations were committed.
func (d *Device) put(ctx context.Context, id signet.RegionID, build func(t *tree.Tree) ([]tree.Op, error)) (did int, err error) {
	d.mu.Lock()
	r := d.regions[id]
	if r == nil {
		d.mu.Unlock()
		return 0, fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	ops, err := build(r.Tree)
	floor := r.State.Floor()
	d.mu.Unlock()
	if err == nil {
		err = d.spare(ctx, r, ops) // what is brought back may be condemned
	}
	if err != nil {
		return 0, err
	}
	items := make([]tree.Item, 0, len(ops))
	for _, op := range ops {
		it, err := tree.NewItem(op)
		if err != nil {
			return 0, err
		}
		items = append(items, it)
	}
	for did < len(items) {
		n := fits(items[did:])
		if err := d.commit(ctx, r, floor, items[did:did+n], nil); err != nil {
			return did, err
		}
		did += n
	}
	return did, nil
}

// LastSeen is the newest time, by the service in ms since 1970, of what a device
// signed and this one has: an entry of a region, or the statement with which it
// joined, added a device or gave its ring a key. A recovery kit does not join;
// others sign for it. ok is false where there is nothing.
func (d *Device) LastSeen(id signet.DeviceID) (ms int64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := func(at int64) { ms, ok = max(ms, at), true }
	for _, r := range d.regions {
		if at, wrote := r.State.LastOf(id); wrote {
			seen(at)
		}
	}
	in, _ := d.dir.RingOf(id)
	for _, m := range d.dir.Members(in) {
		if m.AddedBy == id || m.ID == id && m.Record.Class != ring.Recovery {
			seen(d.dir.TimeOf(m.Added))
		}
	}
	for _, g := range d.dir.Generations(in) {
		if g.Giver == id {
			seen(d.dir.TimeOf(g.Position))
		}
	}
	return ms, ok
}

// Settle asks a running volume to look at everything once more, disk and
// service, and returns its status when it has, or when the disk is silent.
func (d *Device) Settle(ctx context.Context, id string) (VolumeStatus, error) {
	v, err := d.volume(id)
	if err != nil {
		return VolumeStatus{}, err
	}
	// The journal first: a turn that began before it was read knows less.
	if err := d.SyncRegion(ctx, v.region.ID()); err != nil {
		return v.Status(), err
	}
	v.mu.Lock()
	v.asked++
	n := v.asked
	v.mu.Unlock()
	v.wake()
	for {
		changed := d.Changed()
		v.mu.Lock()
		answered := v.answered
		v.mu.Unlock()
		_, _, silent := v.silence.is()
		switch {
		case answered >= n, silent:
			return v.Status(), nil
		case v.gone():
			return v.Status(), fmt.Errorf("volume: %w", signet.ErrNotFound)
		}
		select {
		case <-ctx.Done():
			return v.Status(), ctx.Err()
		case <-changed:
		case <-time.After(silentAfter / 3): // that a disk is silent, nothing tells
		}
	}
}

// Seen forgets the alarms, and lets what they stopped go on: if the cause is
// still there, they come again.
func (d *Device) Seen() error {
	d.mu.Lock()
	d.alarms, d.failed = nil, nil
	for _, r := range d.regions {
		r.failed = nil
		r.wake()
	}
	d.signal()
	d.mu.Unlock()
	return d.Store.SetNote("alarms", nil)
}

// object fetches one object.
func (d *Device) object(ctx context.Context, id signet.RegionID, o signet.ObjectID) (b []byte, err error) {
	err = d.Service.Get(ctx, id, []signet.ObjectID{o}, func(_ signet.ObjectID, got []byte) error {
		b = bytes.Clone(got)
		return nil
	})
	return b, err
}

// Fetch writes the content of a version to w: c is tree.Op.Content, sha what
// the signed operation promises.
func (d *Device) Fetch(ctx context.Context, id signet.RegionID, content []byte, sha [32]byte, w io.Writer) error {
	c, err := seal.ParseContent(content)
	if err != nil {
		return err
	}
	get := func(o signet.ObjectID) ([]byte, error) {
		b, err := d.object(ctx, id, o)
		if errors.Is(err, signet.ErrNotFound) && d.wasCollected(id, o) {
			err = ErrCollected
		}
		return b, err
	}
	m, err := c.Open(get)
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.Is(err, signet.ErrUnavailable), errors.Is(err, signet.ErrNotFound), errors.Is(err, signet.ErrNotAllowed):
		return err
	default:
		return d.raise(fmt.Errorf("%w: %w", err, ErrObject), id)
	}
	h := seal.NewFileHasher(c.Size)
	var plain []byte
	for i := range m.Pieces {
		object, err := get(m.Pieces[i].Object)
		if err != nil {
			return err
		}
		if plain, err = seal.OpenPiece(plain[:0], m.Pieces[i].Ref, object); err != nil {
			return d.raise(fmt.Errorf("%w: %w", err, ErrObject), id)
		}
		h.Write(plain)
		if _, err := w.Write(plain); err != nil {
			return err
		}
	}
	if h.Sum() != sha {
		return d.raise(fmt.Errorf("content does not hash to what its writer signed: %w", ErrObject), id)
	}
	return nil
}

// NameOf is a region's name.
func (d *Device) NameOf(id signet.RegionID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.regions[id]; r != nil {
		return r.name()
	}
	return ""
}

// HeadAge is how old the newest checkpoint of the directory is.
func (d *Device) HeadAge() (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirHead.Last == nil {
		return 0, false
	}
	return d.Now().Sub(time.UnixMilli(d.dirHead.Last.Time)), true
}

// VolumeStatus is the status of one volume; zero if there is none.
func (d *Device) VolumeStatus(id string) VolumeStatus {
	v, err := d.volume(id)
	if err != nil {
		return VolumeStatus{}
	}
	return v.Status()
}

// Minus is what happened since.
func (c Counters) Minus(o Counters) Counters {
	return Counters{c.FilesUp - o.FilesUp, c.FilesDown - o.FilesDown, c.BytesUp - o.BytesUp, c.BytesDown - o.BytesDown,
		c.ObjectsUp - o.ObjectsUp, c.ObjectsDown - o.ObjectsDown, c.Entries - o.Entries, c.Moves - o.Moves, c.Deletes - o.Deletes, c.Conflicts - o.Conflicts, c.Released - o.Released}
}

// Plus is the sum of two.
func (c Counters) Plus(o Counters) Counters { return c.Minus(Counters{}.Minus(o)) }

// Rate is the upload rate that was last measured, in bytes a second; 0 where
// none was.
func (d *Device) Rate() float64 {
	b, err := d.Store.Note("rate_up")
	if err != nil || b == nil {
		return 0
	}
	var r float64
	json.Unmarshal(b, &r)
	return r
}
