package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// loadVolumes makes the volumes that the store knows.
func (d *Device) loadVolumes() error {
	rows, err := d.Store.db.Query("SELECT id, path, region, added, paused, counters FROM volumes")
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	type row struct {
		id, path         string
		region, counters []byte
		added            int64
		paused           bool
	}
	var list []row
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.path, &r.region, &r.added, &r.paused, &r.counters); err != nil {
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
		x, err := d.Store.loadIndex(r.id)
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
		v := &volume{d: d, id: r.id, dir: r.path, region: reg, added: time.UnixMilli(r.added), index: x, scan: true,
			paused: r.paused, poke: make(chan struct{}, 1)}
		json.Unmarshal(r.counters, &v.total)
		v.status.State, v.status.Region = Scanning, reg.Name()
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
// Adding an id again relinks it: the old base is forgotten.
func (d *Device) AddVolume(id, dir string, regionID signet.RegionID) error {
	err := d.Store.write(func(b *batch) {
		b.exec("DELETE FROM nodes WHERE volume = ?", id)
		b.exec("INSERT OR REPLACE INTO volumes(id, path, region, added) VALUES(?,?,?,?)", id, dir, regionID[:], d.now())
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.volumes, id)
	d.signal()
	d.mu.Unlock()
	return d.loadVolumes()
}

// RemoveVolume forgets a volume; its files stay. It returns when its loop ended.
func (d *Device) RemoveVolume(id string) error {
	d.mu.Lock()
	v := d.volumes[id]
	delete(d.volumes, id)
	if v != nil {
		v.wake()
	}
	d.signal()
	d.mu.Unlock()
	return d.Store.write(func(b *batch) {
		b.exec("DELETE FROM nodes WHERE volume = ?", id)
		b.exec("DELETE FROM volumes WHERE id = ?", id)
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

// Nudge makes a running daemon look at everything again.
func (d *Device) Nudge(id string, rescan bool) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	v.wake()
	return nil
}

// ApproveDeletes lets the deletions go that the guard holds in a volume, and
// returns how many these are.
func (d *Device) ApproveDeletes(id string) (int, error) {
	v, err := d.volume(id)
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	n := v.status.HeldDeletes
	v.approve = true
	v.mu.Unlock()
	v.wake()
	return n, nil
}

// Pause stops or resumes a volume.
func (d *Device) Pause(id string, paused bool) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.paused = paused
	v.mu.Unlock()
	v.wake()
	return d.Store.write(func(b *batch) { b.exec("UPDATE volumes SET paused = ? WHERE id = ?", paused, id) })
}

// Put commits operations on a region that a person asked for (restore), not a
// scan. build sees the tree and must not keep it.
func (d *Device) Put(ctx context.Context, id signet.RegionID, build func(t *tree.Tree) ([]tree.Op, error)) error {
	d.mu.Lock()
	r := d.regions[id]
	if r == nil {
		d.mu.Unlock()
		return fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	ops, err := build(r.Tree)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	items := make([]tree.Item, 0, len(ops))
	for _, op := range ops {
		it, err := tree.NewItem(op)
		if err != nil {
			return err
		}
		items = append(items, it)
	}
	for len(items) > 0 {
		n := fits(items)
		if err := d.commit(ctx, r, items[:n], nil); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// Events replays a region's journal from its beginning and calls each with
// what happened, oldest first; op is the operation behind the event.
func (d *Device) Events(id signet.RegionID, each func(e tree.Event, op *tree.Op) error) error {
	d.mu.Lock()
	r := d.regions[id]
	if r == nil {
		d.mu.Unlock()
		return fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	fresh := d.blankRegion(id)
	d.mu.Unlock()
	return d.Store.records(r.log, 0, func(_ uint64, rec signet.Record) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, _, err := fresh.Take(rec); err != nil {
			return err
		}
		s, err := fresh.Replay(rec)
		if err != nil {
			return err
		}
		byRev := map[signet.RevisionID]*tree.Op{}
		if s.Batch != nil {
			for i := range s.Batch.Items {
				byRev[s.Batch.Items[i].Revision] = &s.Batch.Items[i].Op
			}
		}
		for _, e := range s.Events {
			if err := each(e, byRev[e.Revision]); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForgetBase makes a volume take nodes that are gone from its disk, whose
// deletion is held, as never seen: they come back.
func (d *Device) ForgetBase(id string, nodes map[signet.NodeID]bool) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	if v.disk != nil {
		return errors.New("volume is running")
	}
	for n := range nodes {
		if _, here := v.index.items[n]; !here {
			delete(v.index.base, n)
			v.index.dirty[n] = true
		}
	}
	return d.Store.flush(id, v.index)
}

var _ = plan.Exceeds
