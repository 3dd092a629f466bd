package sim

import (
	"context"
	"errors"
	"fmt"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
	"signet/device/owner"
	"signet/device/past"
)

// bring has the device's user take something back as the commands do: a path as it
// was at a time, or all that a device did, or everybody, since one.
func (d *device) bring(ctx context.Context, e *engine.Device, l *life) error {
	id := d.org.region
	var deeds func(*tree.Tree) past.Deeds
	err := d.do(d.name+".user", "takes back", l, func() {
		times, err := e.LeafTimes(id)
		if err != nil || len(times) == 0 {
			d.t.Errorf("%s: leaf times: %d, %v", d.name, len(times), err)
			return
		}
		at := times[len(times)-1-d.whim.IntN(min(len(times), 30))]
		if d.whim.IntN(2) == 0 {
			var by signet.DeviceID
			if d.whim.IntN(3) > 0 {
				by = d.org.selves[d.whim.IntN(len(d.devices))].Device
			}
			u, err := owner.UndoSince(e, id, "", by, at)
			if err != nil {
				d.t.Errorf("%s: undo: %v", d.name, err)
				return
			}
			d.note(fmt.Sprintf("%s: undoes %d entries", d.name, u.Entries()))
			deeds = u.Deeds
			return
		}
		paths := []string{""}
		e.WithRegion(id, func(r *region.Region) error {
			for p := range r.Tree.Walk() {
				paths = append(paths, p)
			}
			return nil
		})
		p := paths[d.whim.IntN(len(paths))]
		f, err := owner.FormerAt(e, id, p, at)
		if err != nil {
			d.note(fmt.Sprintf("%s: restores nothing: %v", d.name, err)) // it was not there
			return
		}
		d.note(fmt.Sprintf("%s: restores %q", d.name, p))
		deeds = f.Deeds
	})
	if err != nil || deeds == nil {
		return nil
	}
	gone := map[[32]byte]bool{}
	err = e.Put(ctx, id, func(now *tree.Tree) ([]tree.Op, error) {
		x := deeds(now)
		for _, op := range x.Ops {
			if op.Kind == tree.Edit || op.Kind == tree.Delete {
				takes(now, op.Node, gone)
			}
		}
		return x.Ops, nil
	})
	d.do(d.name+".user", "took back", nil, func() {
		for c := range d.owed {
			if gone[hashOf(c)] {
				d.removed[c] = true
			}
		}
	})
	switch {
	case d.doubtful(d.n) && errors.Is(err, signet.ErrNotVerified): // what rests on another history is refused; the next look says why
		return nil
	case errors.Is(err, signet.ErrUnavailable), d.gone && errors.Is(err, signet.ErrNotAllowed), l.dead.Load():
		return nil
	}
	return err
}

// takes notes the contents that a node and all below it has.
func takes(t *tree.Tree, id signet.NodeID, gone map[[32]byte]bool) {
	n, ok := t.Node(id)
	if !ok || n.Deleted {
		return
	}
	if n.Type == tree.File {
		gone[n.Hash] = true
	}
	for _, k := range t.Children(id) {
		takes(t, k.ID, gone)
	}
}
