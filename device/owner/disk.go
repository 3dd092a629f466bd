package owner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"signet/core/tree"
	"signet/device/disk"
	"signet/device/engine"
)

// volume is a disk.Volume as the engine wants it.
type volume struct {
	*disk.Volume
	id, region string
	owner      *Owner
	expired    time.Time // when the trash was looked through last
}

// Close closes the folder for the engine.
func (v *volume) Close() error {
	v.owner.mu.Lock()
	if v.owner.open[v.Dir()] == v.Volume {
		delete(v.owner.open, v.Dir())
	}
	v.owner.mu.Unlock()
	return v.Volume.Close()
}

// opened is the folder that the engine has open, or nil: a volume is opened
// once at a time.
func (o *Owner) opened(dir string) *disk.Volume {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open[dir]
}

// openVolume opens a folder whose marker this device signed.
func (o *Owner) openVolume(dir string) (engine.Volume, error) {
	v, m, err := disk.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := o.checkMarker(m); err != nil {
		v.Close()
		return nil, err
	}
	// What a crash left in staging is of no use but for files that were being
	// downloaded piece by piece: these have a name and go on.
	if err := v.CleanStaging(func(name string) bool { return len(name) > 2 && name[:2] == "c-" }); err != nil {
		v.Close()
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[dir] = v
	return &volume{Volume: v, id: m.Volume, region: m.Region, owner: o}, nil
}

// trashKept is how long what was deleted or displaced on this disk is kept, and
// expireEvery how often a daemon looks for what was kept longer.
const (
	trashKept   = 30 * 24 * time.Hour
	expireEvery = 24 * time.Hour
)

func (v *volume) Identity() (string, string) { return v.id, v.region }

// Scan also expires the trash, when that is due: the engine looks at the whole
// folder at its start, and about once an hour.
func (v *volume) Scan(ctx context.Context, from string, skip func(path string) bool, emit func(engine.Listing) error) error {
	if now := time.Now(); from == "" && now.Sub(v.expired) > expireEvery {
		_, _ = v.TrashExpire(now.Add(-trashKept)) // what could not be removed is tried again
		v.expired = now
	}
	return v.Volume.Scan(ctx, disk.ScanOptions{From: from, Skip: skip}, func(l disk.Listing) error {
		out := engine.Listing{Path: l.Path, Stat: l.Stat, Err: l.Err, Entries: make([]engine.Entry, len(l.Entries))}
		for i, e := range l.Entries {
			out.Entries[i] = engine.Entry{Name: e.Name, Stat: e.Stat, Err: e.Err}
			if e.OtherMount {
				out.Entries[i].Stat.Type = tree.Other
			}
		}
		return emit(out)
	})
}

func (v *volume) Watch(ctx context.Context, skip func(path string) bool) (<-chan engine.Event, error) {
	in, err := v.Volume.Watch(ctx, skip)
	if err != nil {
		return nil, err
	}
	// The engine sees in the middle of a turn that something waits. It takes all that
	// does at the next: a folder that came tells of each folder in it, and one after
	// the other they would cut a turn after the other short.
	out := make(chan engine.Event, 1024)
	go func() {
		defer close(out)
		for e := range in {
			ev := engine.Event{Path: e.Path, Kind: engine.Touched}
			switch e.Kind {
			case disk.Changed:
				ev.Kind = engine.Written
			case disk.MovedTo:
				ev.Kind = engine.Arrived
			case disk.Gone:
				ev.Kind = engine.Removed
			case disk.Inside:
				ev.Kind = engine.Inside
			case disk.Overflow:
				ev.Kind = engine.Overflow
			case disk.RootGone:
				ev.Kind = engine.RootGone
			}
			select {
			case out <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// reading is a file being read.
type reading struct {
	*os.File
	v    *disk.Volume
	path string
	stat tree.Stat
}

func (v *volume) Read(path string) (engine.Reading, error) {
	f, st, err := v.OpenFile(path)
	if err != nil {
		return nil, err
	}
	return &reading{f, v.Volume, path, st}, nil
}

func (r *reading) Stat() tree.Stat  { return r.stat }
func (r *reading) Writing() bool    { return writing(r.File) }
func (r *reading) Unchanged() error { return r.v.Intact(r.path, r.File, r.stat) }

func (v *volume) Stage(name string) (engine.Staged, error) {
	s, err := v.Volume.Stage(name)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (v *volume) Settle(ctx context.Context, files []engine.Staged) error {
	list := make([]*disk.Staged, len(files))
	for i, f := range files {
		list[i] = f.(*disk.Staged)
	}
	return v.SyncStaged(ctx, list)
}

func (v *volume) Place(s engine.Staged, path string) (tree.Stat, error) {
	return v.Volume.Place(s.(*disk.Staged), path)
}

func (v *volume) Replace(s engine.Staged, path string, expect tree.Stat, trash string) (tree.Stat, engine.Displaced, error) {
	st, item, err := v.Volume.Replace(s.(*disk.Staged), path, expect, trash)
	return st, displaced{v.Volume, item}, err
}

func (v *volume) ReplaceLink(target, path string, expect tree.Stat, trash string) (tree.Stat, engine.Displaced, error) {
	st, item, err := v.Volume.ReplaceLink(target, path, expect, trash)
	return st, displaced{v.Volume, item}, err
}

// displaced is an item of the trash that may still be written to.
type displaced struct {
	v    *disk.Volume
	item disk.TrashItem
}

func (d displaced) Changed() (bool, error) { return d.v.TrashChanged(d.item) }

func (d displaced) Writing() bool {
	f, _, err := d.v.OpenTrash(d.item)
	if err != nil {
		return false // a link, or gone
	}
	defer f.Close()
	return writing(f)
}

func (d displaced) Rescue(path string) error {
	_, err := d.v.TrashRestore(d.item, path)
	return err
}

func (d displaced) Drop() error { return d.v.TrashDrop(d.item) }

func (v *volume) Trash(path string, expect tree.Stat, id string) (engine.Displaced, error) {
	item, err := v.Volume.Trash(path, expect, id)
	return displaced{v.Volume, item}, err
}

func (v *volume) Displaced(id, path string, was tree.Stat) (engine.Displaced, error) {
	item, err := v.TrashFind(id, path, was)
	return displaced{v.Volume, item}, err
}

func (v *volume) Sync(ctx context.Context) error { return v.SyncFolders(ctx) }

// classify tells the engine what kind of trouble a disk made.
func classify(err error) engine.Fault {
	switch {
	case err == nil:
		return engine.Trouble
	case errors.Is(err, disk.ErrRootMissing):
		return engine.RootMissing
	case errors.Is(err, disk.ErrRootReplaced):
		return engine.RootOther
	case errors.Is(err, disk.ErrChanged), errors.Is(err, disk.ErrNotEmpty),
		errors.Is(err, disk.ErrNotFolder), errors.Is(err, disk.ErrNotFile), errors.Is(err, disk.ErrChanging):
		return engine.Changed
	case errors.Is(err, disk.ErrExists):
		return engine.Taken
	case errors.Is(err, fs.ErrNotExist):
		return engine.NotThere
	case errors.Is(err, disk.ErrNoSpace):
		return engine.NoRoom
	case errors.Is(err, fs.ErrPermission), errors.Is(err, disk.ErrReadOnly):
		return engine.Denied
	}
	return engine.Trouble
}
