package owner

import (
	"cmp"
	"slices"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/past"
)

// A Former is what a path of a region was at a time.
type Former struct {
	Time     int64 // of the last entry that counts, ms since 1970
	IsFolder bool

	folder past.Then
	file   past.Version
}

// FormerAt finds what a path was: a folder, at the newest kept point that is not
// after a time, ms since 1970; a file, at that very time. It commits nothing.
func FormerAt(e *engine.Device, id signet.RegionID, path string, at int64) (f Former, err error) {
	times, err := e.LeafTimes(id)
	if err != nil {
		return f, err
	}
	point, err := keptPoint(e, id, times, at)
	if err != nil {
		return f, err
	}
	found := false
	look := func(position uint64) error {
		then, err := treeAt(e, id, position)
		if err != nil {
			return err
		}
		f.Time = times[position]
		return e.WithRegion(id, func(r *region.Region) error {
			if f.folder, f.IsFolder = past.FolderThen(then, r.Tree, path); !f.IsFolder {
				f.file, found = past.FileThen(then, r.Tree, path)
			}
			return nil
		})
	}
	if err := look(point); err != nil {
		return f, err
	}
	if very, _ := slices.BinarySearch(times, at+1); !f.IsFolder && uint64(very-1) != point && uint64(very) >= e.Horizon(id) {
		if err := look(uint64(very - 1)); err != nil {
			return f, err
		}
		f.IsFolder = false // it is not at the kept point
	}
	if !f.IsFolder && !found {
		return f, failed("not_found", "signet history shows what there is", "%s:%s: nothing had that name at %s", e.NameOf(id), path, local(f.Time))
	}
	return f, nil
}

// Versions lists what was there, by path.
func (f *Former) Versions() []past.Version {
	if !f.IsFolder {
		return []past.Version{f.file}
	}
	return f.folder.Versions()
}

// Deeds says what it takes that it is so again, over the tree as it is now.
func (f *Former) Deeds(now *tree.Tree) (d past.Deeds) {
	if !f.IsFolder {
		d.Ops, d.Back = past.Bring(now, f.Versions(), true)
		return d
	}
	wants, left := f.folder.Wants(now)
	d = past.Become(now, wants)
	d.Left = append(left, d.Left...)
	return d
}

func local(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

// leastKeep is what every policy keeps.
var leastKeep = tree.Keep{Hours: tree.DefaultKeep.Hours, Since: tree.Forever}

// keptPoint finds the newest kept point that is not after a time, ms since 1970.
// Pins and the policy are in the journal, and seldom what decides it: it is read
// for them only if they may.
func keptPoint(e *engine.Device, id signet.RegionID, times []int64, at int64) (uint64, error) {
	name := e.NameOf(id)
	if len(times) == 0 || at < times[0] {
		if len(times) > 0 {
			return 0, failed("not_found", "signet history "+name+": shows its kept points", "%s began at %s", name, local(times[0]))
		}
		return 0, failed("not_found", "", "%s: nothing is known of it yet", name)
	}
	horizon := e.Horizon(id)
	now := e.Now().UnixMilli()
	very, _ := slices.BinarySearch(times, at+1)
	if p, ok := past.At(times, leastKeep, nil, at, now); ok && p == uint64(very-1) && p+1 >= horizon {
		return p, nil
	}
	pins, policy, err := keptIn(e, id)
	if err != nil {
		return 0, err
	}
	p, ok := past.At(times, policy.Keep, pins, at, now)
	if ok && p+1 < horizon {
		return 0, failed("behind_horizon", "signet history "+name+": shows its kept points", "%s: nothing is kept of before the horizon, %s", name, local(times[horizon-1]))
	}
	if !ok {
		return 0, failed("not_found", "signet history "+name+": shows its kept points", "%s: no kept point so early", name)
	}
	return p, nil
}

// keptIn is what a region keeps: its pins, by what they hold, oldest first, and its
// policy.
func keptIn(e *engine.Device, id signet.RegionID) ([]tree.Pin, tree.Policy, error) {
	var pins tree.Pins
	policy := tree.Policy{Keep: tree.DefaultKeep}
	_, err := e.Retell(id, nil, func(e engine.Told) error {
		if e.Batch != nil {
			pins.Take(e.Of, e.Batch)
			policy.Take(e.Of, e.Batch)
		}
		return nil
	})
	pins = pins.From(e.Horizon(id))
	slices.SortStableFunc(pins, func(a, b tree.Pin) int { return cmp.Compare(a.At, b.At) })
	return pins, policy, err
}

// treeAt is a region's tree after an entry.
func treeAt(e *engine.Device, id signet.RegionID, position uint64) (*tree.Tree, error) {
	return e.Retell(id, nil, func(e engine.Told) error {
		if e.Position == position {
			return engine.ErrEnough
		}
		return nil
	})
}

// An Undoing is what it takes to take back what entries did.
type Undoing struct {
	undo past.Undo
	path string
}

// UndoSince takes back, at and below a path, what the entries of a device, or of
// all (no id), did since a time, ms since 1970. It commits nothing.
func UndoSince(e *engine.Device, id signet.RegionID, path string, by signet.DeviceID, since int64) (*Undoing, error) {
	u := &Undoing{path: path}
	u.undo.Of = func(e tree.Entry) bool {
		return e.Time >= since && (by == (signet.DeviceID{}) || e.Device == by)
	}
	_, err := e.Retell(id, u.undo.Before, func(e engine.Told) error {
		if e.Entry != nil {
			u.undo.Take(e.Tree, e.Of, e.Batch, e.Outcomes)
		}
		return nil
	})
	return u, err
}

// Entries is how many are undone that did something.
func (u *Undoing) Entries() int { return u.undo.Entries }

// Pins makes the operations that set pins again which were taken off. They go
// last.
func (u *Undoing) Pins() []tree.Op { return u.undo.Pins() }

// Deeds says what it takes, over the tree as it is now.
func (u *Undoing) Deeds(now *tree.Tree) past.Deeds {
	wants, left := u.undo.Wants(now)
	wants = slices.DeleteFunc(wants, func(v past.Want) bool {
		return !past.Within(v.Path, u.path) && !past.Within(now.Path(v.Node.ID), u.path)
	})
	left = slices.DeleteFunc(left, func(l past.Left) bool { return !past.Within(l.Path, u.path) })
	d := past.Become(now, wants)
	d.Left = append(left, d.Left...)
	return d
}
