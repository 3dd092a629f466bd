package engine

import (
	"context"
	"errors"
	"slices"

	"signet"
	"signet/core/plan"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/line"
)

// What no device kept of the objects that a restored service lost is not made
// again: they are random. But a file that lies here as the region has it is sealed
// anew, as a version of its own with the same bytes. Only of versions before it
// the content is gone.

// doubt notes that the service may lack objects of a region. It outlives a crash.
func (d *Device) doubt(id signet.RegionID) error {
	d.mu.Lock()
	r := d.regions[id]
	known := r == nil || r.doubt
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := d.Store.SetNote(doubtNote(id), []byte{1}); err != nil {
		return err
	}
	d.mu.Lock()
	r.doubt = true
	r.wake()
	d.mu.Unlock()
	return nil
}

func doubtNote(id signet.RegionID) string { return "doubt/" + id.String() }

// reseal seals those files anew of whose content the service lacks something,
// and tells how many it did. It asks once, after a service was restored.
func (v *volume) reseal(ctx context.Context) (did int, err error) {
	v.d.mu.Lock()
	ask := v.region.doubt && v.region.MayWrite()
	v.d.mu.Unlock()
	if !ask {
		return 0, nil
	}
	files, missing, err := v.lost(ctx)
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		v.d.mu.Lock()
		v.region.doubt = false
		v.d.mu.Unlock()
		return 0, v.d.Store.SetNote(doubtNote(v.region.ID()), nil)
	}
	v.forgetEarly()
	if err := v.d.Store.forgetSealed(v.region.ID(), missing); err != nil {
		return 0, err
	}
	return v.upFiles(ctx, line.Small, nil, files)
}

// lost lists files that lie here as the region has them, and of which the
// service lacks an object.
func (v *volume) lost(ctx context.Context) (files []upFile, missing []signet.ObjectID, err error) {
	v.d.mu.Lock()
	var nodes []tree.Node
	for id, l := range locals(v.index.items).All() {
		if n, ok := v.region.Tree.Node(id); ok && !n.Deleted && n.Type == tree.File && n.Size > 0 && asRegion(l, n) {
			nodes = append(nodes, n)
		}
	}
	v.d.mu.Unlock()
	slices.SortFunc(nodes, func(a, b tree.Node) int { return a.ID.Compare(b.ID) }) // in an order that is the same at every run
	objects := map[signet.NodeID][]signet.ObjectID{}
	var all []signet.ObjectID
	for _, n := range nodes {
		ids, err := v.objectsOf(ctx, n.Data)
		if err != nil {
			return nil, nil, err
		}
		objects[n.ID] = ids
		all = append(all, ids...)
	}
	lacks := map[signet.ObjectID]bool{}
	for all = unique(all); len(all) > 0; {
		n := min(len(all), haveMost)
		gone, err := v.d.Service.Have(ctx, v.region.ID(), all[:n])
		if err != nil {
			return nil, nil, err
		}
		for _, id := range gone {
			lacks[id] = true
		}
		missing, all = append(missing, gone...), all[n:]
	}
	for _, n := range nodes {
		for _, id := range objects[n.ID] {
			path, ok := v.index.path(n.ID)
			if !lacks[id] || !ok {
				continue
			}
			op := tree.Op{Kind: tree.Edit, Node: n.ID, Type: tree.File, Size: n.Size, Hash: n.Hash, MTime: n.MTime, BaseContent: n.Content.Revision}
			files = append(files, upFile{op: op, path: path, anew: true})
			break
		}
	}
	return files, missing, nil
}

func asRegion(l plan.Local, n tree.Node) bool {
	return l.Type == tree.File && !l.Unsettled && l.Size == n.Size && l.Hash == n.Hash
}

// objectsOf lists all objects of a content, or those on the way to one that the
// service lacks.
func (v *volume) objectsOf(ctx context.Context, data []byte) ([]signet.ObjectID, error) {
	c, err := seal.ParseContent(data)
	if err != nil {
		return nil, err
	}
	ids := c.Objects()
	if c.Piece != nil {
		return ids, nil
	}
	m, err := c.Open(func(id signet.ObjectID) ([]byte, error) {
		ids = append(ids, id)
		return v.object(ctx, id)
	})
	if errors.Is(err, signet.ErrNotFound) {
		return ids, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range m.Pieces {
		ids = append(ids, m.Pieces[i].Object)
	}
	return ids, nil
}
