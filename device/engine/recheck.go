package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"signet"
	"signet/core/region"
	"signet/core/seal"
	"signet/core/tree"
)

// A Recheck is what was verified again of all that this device knows.
type Recheck struct {
	Statements, Entries uint64
	Regions             int
	Objects, Bytes      int64 // that the service has, as their names promise; of a deep one
	Faults              []ObjectTrouble
}

// An ObjectTrouble is an object that the service lacks, or has other bytes for.
type ObjectTrouble struct {
	Region signet.RegionID
	Object signet.ObjectID
	Gone   bool     // else it has other bytes
	Given  bool     // it is gone no more: this device kept it, and sent it again
	Paths  []string // that need it as the region is now
}

// Recheck replays what the store holds once more, from nothing: statements,
// entries, checkpoints, digests. Deep, it gets every object that the regions name
// from the service, and holds it against its name; what the service lacks and this
// device kept is sent again. An error is about the logs, or the road; what is wrong
// with objects is in Faults.
func (d *Device) Recheck(ctx context.Context, deep bool, progress func(done, total, bytes int64)) (Recheck, error) {
	again, err := Open(Config{Self: d.Self, Service: d.Service, Store: d.Store, Now: d.Now, LogKeys: d.LogKeys, Classify: d.Classify})
	if err != nil {
		return Recheck{}, d.raise(notVerified(err), signet.RegionID{})
	}
	r := Recheck{Statements: again.dir.Tree.Size()}
	wants := map[signet.RegionID][]signet.ObjectID{}
	total := int64(0)
	for id, reg := range again.regions {
		r.Regions++
		r.Entries += reg.State.Size()
		if !deep {
			continue
		}
		seen := map[signet.ObjectID]bool{}
		err := again.Objects(id, reg.State.Size(), func(_ uint64, o signet.ObjectID) error {
			if !seen[o] {
				seen[o] = true
				wants[id] = append(wants[id], o)
			}
			return nil
		})
		if err != nil {
			return r, err
		}
		total += int64(len(wants[id]))
	}
	for id, ids := range wants {
		bad, err := d.getAll(ctx, id, ids, func(n int64) {
			r.Objects++
			r.Bytes += n
			if progress != nil {
				progress(r.Objects, total, r.Bytes)
			}
		})
		if err != nil {
			return r, err
		}
		again.blame(ctx, id, bad)
		if err := d.supply(ctx, id, bad); err != nil {
			return r, err
		}
		r.Faults = append(r.Faults, bad...)
	}
	slices.SortFunc(r.Faults, func(a, b ObjectTrouble) int { return bytes.Compare(a.Object[:], b.Object[:]) })
	return r, nil
}

// getAll gets objects and lists those that are not what they should be; good is
// called once for each other one, one at a time.
func (d *Device) getAll(ctx context.Context, id signet.RegionID, ids []signet.ObjectID, good func(size int64)) (bad []ObjectTrouble, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for some := range slices.Chunk(ids, 128) {
		g.Go(func() error {
			had := map[signet.ObjectID]bool{}
			take := func(o signet.ObjectID, object []byte) error {
				same := sha256.Sum256(object) == o
				mu.Lock()
				defer mu.Unlock()
				had[o] = true
				if same {
					good(int64(len(object)))
				} else {
					bad = append(bad, ObjectTrouble{Region: id, Object: o})
				}
				return nil
			}
			err := d.Service.Get(ctx, id, some, take)
			if !errors.Is(err, signet.ErrNotFound) {
				return err
			}
			for _, o := range some { // one that the service lacks holds up nobody else
				if had[o] {
					continue
				}
				err := d.Service.Get(ctx, id, []signet.ObjectID{o}, take)
				if errors.Is(err, signet.ErrNotFound) {
					mu.Lock()
					bad = append(bad, ObjectTrouble{Region: id, Object: o, Gone: true})
					mu.Unlock()
				} else if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return bad, g.Wait()
}

// supply sends the service again what it lacks of a region, where this device may
// write there: objects that it kept, as they were, and files that lie here as the region
// has them sealed anew, as after a restoring (reseal), by the next turn of their volume.
func (d *Device) supply(ctx context.Context, id signet.RegionID, bad []ObjectTrouble) error {
	lacks := map[signet.ObjectID]bool{}
	for _, t := range bad {
		if t.Gone {
			lacks[t.Object] = true
		}
	}
	d.mu.Lock()
	reg := d.regions[id]
	may := reg != nil && reg.MayWrite()
	d.mu.Unlock()
	if len(lacks) == 0 || !may {
		return nil
	}
	if err := d.giveKept(ctx, id, maps.Clone(lacks)); err != nil {
		return err
	}
	// One that does not know that it lacks them takes nothing: what it says that it has is no
	// answer.
	gone, err := d.getAll(ctx, id, slices.Collect(maps.Keys(lacks)), func(int64) {})
	if err != nil {
		return err
	}
	still := map[signet.ObjectID]bool{}
	for _, t := range gone {
		still[t.Object] = true
	}
	for i := range bad {
		bad[i].Given = bad[i].Gone && !still[bad[i].Object]
	}
	if len(still) == 0 {
		return nil
	}
	return d.doubt(id)
}

// blame says which files of a region, as it is now, need objects that are bad.
func (d *Device) blame(ctx context.Context, id signet.RegionID, bad []ObjectTrouble) {
	if len(bad) == 0 {
		return
	}
	by := map[signet.ObjectID]*ObjectTrouble{}
	for i := range bad {
		by[bad[i].Object] = &bad[i]
	}
	get := func(o signet.ObjectID) (b []byte, err error) {
		err = d.Service.Get(ctx, id, []signet.ObjectID{o}, func(_ signet.ObjectID, object []byte) error {
			b = bytes.Clone(object)
			return nil
		})
		return b, err
	}
	_ = d.WithRegion(id, func(r *region.Region) error { // which was replayed
		for p, n := range r.Tree.Walk() {
			if n.Type != tree.File {
				continue
			}
			c, err := seal.ParseContent(n.Data)
			if err != nil {
				continue
			}
			ids := c.Objects()
			if m, err := c.Open(get); err == nil {
				ids = append(ids, m.Objects()...)
			}
			for _, o := range ids {
				if t := by[o]; t != nil && !slices.Contains(t.Paths, p) {
					t.Paths = append(t.Paths, p)
				}
			}
		}
		return nil
	})
}

// Error says what it is.
func (t ObjectTrouble) Error() string {
	if t.Gone {
		return fmt.Sprintf("the service lacks %s", t.Object)
	}
	return fmt.Sprintf("%s: %v", t.Object, ErrObject)
}
