package service

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"signet/service/blob"
	"signet/service/meta"
)

// plan tells what collect would do now: exactly, but for what is put meanwhile.
func plan(db *meta.DB, now int64, keep bool) (out Freed, err error) {
	gone := map[uint32]int64{}
	if !keep {
		if out.Objects, out.ObjectBytes, gone, err = db.Expiring(now - unnamedTime.Milliseconds()); err != nil {
			return out, err
		}
	}
	if !keep {
		if err := planShort(db, now, &out); err != nil {
			return out, err
		}
	}
	packs, err := db.Packs()
	if err != nil {
		return out, err
	}
	for _, p := range packs {
		p.Live -= gone[p.Pack]
		if !sparse(p) {
			out.Left += p.Dead()
			continue
		}
		out.Packs++
		out.Copied += p.Live
		out.Bytes += p.Dead()
		if p.Live == 0 {
			out.Bytes += blob.HeaderSize
		}
	}
	return out, nil
}

// keeps reports whether the data are those of a service that takes back what it
// lost: objects that no entry names may then be those of an entry that is coming.
func keeps(db *meta.DB, now int64) (bool, error) {
	r, err := readRecovery(db)
	if err != nil || r == nil {
		return false, err
	}
	logs, err := db.Logs()
	wait := now-r.Since < recoveryWindow.Milliseconds()
	for _, l := range logs {
		wait = wait || r.waits(l.ID.String())
	}
	return wait, err
}

// GCPlan tells what GC would do to the data in dir, also while they are served.
func GCPlan(dir string, now time.Time) (Freed, error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return Freed{}, err
	}
	defer db.Close()
	keep, err := keeps(db, now.UnixMilli())
	if err != nil {
		return Freed{}, err
	}
	return plan(db, now.UnixMilli(), keep)
}

// GC drops what no entry named in time from the data in dir, and gives back the
// space of what is dead. Who calls it holds the folder.
func GC(ctx context.Context, dir string, clock func() time.Time, progress func(Freed)) (out Freed, err error) {
	c, err := openCollector(dir, clock)
	if err != nil {
		return Freed{}, err
	}
	out, err = c.collect(ctx, budget{}, progress)
	return out, errors.Join(err, c.packs.Close(), c.db.Close())
}

// openCollector opens data that nobody serves.
func openCollector(dir string, clock func() time.Time) (*collector, error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	now := func() int64 { return clock().UnixMilli() }
	keep, err := keeps(db, now())
	var store *blob.Disk
	if err == nil {
		store, err = openPacks(db, dir, now())
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	u, err := newUploads(db, store, 0)
	if err != nil {
		return nil, errors.Join(err, store.Close(), db.Close())
	}
	return &collector{db: db, packs: store, uploads: u, now: now, keep: func() bool { return keep },
		alone:   func(_ context.Context, f func() error) error { return f() },
		fallows: func(context.Context) ([]fallow, error) { return fallowsOf(db, now()) }}, nil
}
