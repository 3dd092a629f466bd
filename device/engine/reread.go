package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"signet"
	"signet/core/tree"
)

// A Reread is what came of reading all files of this device's folders once more.
type Reread struct {
	Files, Bytes int64 // that are as they were hashed
	Faults       []FileTrouble
}

// A FileTrouble is a file that cannot be read, or that has other bytes than it had when
// it was hashed though its stat is what it was: a disk that fails, or a program that sets
// times back. A look takes such a file for unchanged, so what it has now does not travel.
type FileTrouble struct {
	Region signet.RegionID
	Path   string // "": the folder itself cannot be opened
	Err    error  // nil: other bytes
}

// Reread reads all files whose content this device knows and holds them against that.
// What changed since it was looked at is left to the next look. Nothing is changed.
func (d *Device) Reread(ctx context.Context, progress func(done, total, bytes int64)) (Reread, error) {
	if err := d.loadVolumes(); err != nil {
		return Reread{}, err
	}
	d.mu.Lock()
	var volumes []*volume
	for _, v := range d.volumes {
		volumes = append(volumes, v)
	}
	d.mu.Unlock()
	slices.SortFunc(volumes, func(a, b *volume) int { return cmp.Compare(a.id, b.id) })
	var r Reread
	for _, v := range volumes {
		if err := v.reread(ctx, &r, progress); err != nil {
			return r, err
		}
	}
	return r, nil
}

// reread reads the files of a volume. Its loop goes on meanwhile, so what is known is
// what the store has of it.
func (v *volume) reread(ctx context.Context, r *Reread, progress func(done, total, bytes int64)) error {
	x, err := v.d.Store.loadIndex(v.id, 0)
	if err != nil {
		return err
	}
	type known struct {
		path string
		*item
	}
	var list []known
	for id, it := range x.items {
		if it.stat.Type != tree.File || it.sha == [32]byte{} {
			continue
		}
		if p, ok := x.path(id); ok {
			list = append(list, known{p, it})
		}
	}
	slices.SortFunc(list, func(a, b known) int { return cmp.Compare(a.path, b.path) })
	total := r.Files + int64(len(r.Faults)+len(list))
	read, done, err := v.reader()
	if err != nil {
		r.Faults = append(r.Faults, FileTrouble{v.region.ID(), "", err})
		return nil
	}
	defer done()
	for _, k := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch same, err := v.isAsHashed(ctx, read, k.path, k.item); {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNotListed), err == nil && !same && k.racy():
			total-- // another one than was hashed, or it may be: the next look tells
			continue
		case err != nil, !same:
			r.Faults = append(r.Faults, FileTrouble{v.region.ID(), k.path, err})
		default:
			r.Files++
			r.Bytes += k.stat.Size
		}
		if progress != nil {
			progress(r.Files+int64(len(r.Faults)), total, r.Bytes)
		}
	}
	return nil
}

// isAsHashed reports whether a file has the bytes that were hashed. errNotListed where it is
// another one by now, or is being written.
func (v *volume) isAsHashed(ctx context.Context, read func(path string) (Reading, error), path string, it *item) (bool, error) {
	f, err := read(path)
	if err != nil {
		if c := v.d.Classify(err); c == NotThere || c == Changed {
			err = errNotListed
		}
		return false, err
	}
	defer f.Close()
	if !sameBytes(it.stat, f.Stat()) || f.Writing() {
		return false, errNotListed
	}
	sha, err := v.hashReading(ctx, f)
	if err != nil && v.d.Classify(err) == Changed {
		err = errNotListed
	}
	return sha == it.sha, err
}

// errNotOpen says that the loop of a volume has its folder not open.
var errNotOpen = errors.New("the folder is not open: signet status says why")

// reader opens files of a volume for who is not its loop: by the loop's own opening of
// the folder, as nobody else may open it while that runs, or, where none does, by one of
// its own.
func (v *volume) reader() (read func(path string) (Reading, error), done func(), err error) {
	v.d.mu.Lock()
	runs := v.ended != nil
	v.d.mu.Unlock()
	v.diskMu.RLock()
	defer v.diskMu.RUnlock()
	switch {
	case v.disk == nil && runs:
		return nil, nil, errNotOpen
	case v.disk == nil:
		disk, err := v.d.OpenVolume(v.dir)
		if err != nil {
			return nil, nil, err
		}
		return disk.Read, func() { disk.Close() }, nil
	}
	return func(path string) (Reading, error) {
		v.diskMu.RLock()
		defer v.diskMu.RUnlock()
		if v.disk == nil {
			return nil, errNotListed // its loop says why
		}
		return v.disk.Read(path)
	}, func() {}, nil
}
