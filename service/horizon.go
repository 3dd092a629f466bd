package service

import (
	"context"
	"errors"
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring"
	"signet/service/meta"
)

// Operations that are behind a horizon go from the database, in rounds of gc: of
// their records stays all else. A day later than they may: who has another clock
// must not meet one that is not to be gone yet.

const horizonSlack = 24 * 3600 * 1000 // ms

// A fallow is a journal with a horizon in effect.
type fallow struct {
	log meta.LogNum
	*journal.Horizon
	less func(bytes int64) // tells who counts that it is so much smaller; nil: nobody
}

// fallowAt is what a journal lets go at a time; ok is false if nothing.
func fallowAt(num meta.LogNum, j *journal.State, now int64) (f fallow, ok bool) {
	h := j.Horizon(now)
	if h == nil || h.Due+horizonSlack > now {
		return f, false
	}
	return fallow{log: num, Horizon: h}, true
}

// fallows are those of a service that runs.
func (s *Service) fallows(ctx context.Context) (out []fallow, err error) {
	now := s.now()
	err = s.alone(ctx, func() error {
		for _, h := range s.logs {
			if h.journal == nil || h.Num == 0 {
				continue
			}
			if f, ok := fallowAt(h.Num, h.journal, now); ok {
				f.less = func(n int64) {
					s.mu.Lock()
					s.owe(h, -n)
					s.mu.Unlock()
				}
				out = append(out, f)
			}
		}
		return nil
	})
	return out, err
}

// fallowsOf are those of data that nobody serves, or that are only looked at. What
// has a horizon is replayed for it.
func fallowsOf(db *meta.DB, now int64) (out []fallow, err error) {
	logs, err := db.Logs()
	if err != nil {
		return nil, err
	}
	var dir *journal.Directory
	for _, l := range logs {
		if l.ID.Kind != signet.RegionLog {
			continue
		}
		if any, err := db.Has(l.Num, uint8(journal.Limiting)); err != nil {
			return nil, err
		} else if !any {
			continue
		}
		if dir == nil {
			if dir, err = directoryOf(db, logs); err != nil {
				return nil, err
			}
		}
		j := journal.NewState(l.ID.ID, *dir)
		if err := replayHeads(db, l, j); err != nil {
			return nil, fmt.Errorf("%s: %w", l.ID, err)
		}
		if f, ok := fallowAt(l.Num, j, now); ok {
			out = append(out, f)
		}
	}
	return out, nil
}

// directoryOf replays the directory.
func directoryOf(db *meta.DB, logs []meta.Log) (*journal.Directory, error) {
	dir := &journal.Directory{State: ring.NewState(signet.OrgID{}), Tree: &chain.Tree{}}
	for _, l := range logs {
		if l.ID.Kind != signet.DirectoryLog {
			continue
		}
		err := db.Records(l.Num, 0, l.Size, signet.Whole, func(_ uint64, r signet.Record) (bool, error) {
			leaf, err := ring.ParseLeaf(r.Leaf)
			if err == nil {
				err = dir.State.Apply(leaf, r.Head, r.Blob)
			}
			dir.Tree.Append(r.Leaf)
			return true, err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.ID, err)
		}
	}
	return dir, nil
}

// replayHeads replays a journal from its heads, and the bodies of its authority
// entries.
func replayHeads(db *meta.DB, l meta.Log, j *journal.State) error {
	return db.Records(l.Num, 0, l.Size, signet.WithHead, func(at uint64, r signet.Record) (bool, error) {
		leaf, err := journal.ParseLeaf(r.Leaf)
		if err != nil {
			return false, err
		}
		header, err := journal.IDOf(r.Head)
		if err == nil && header.Type.Authority() {
			r.Blob, err = db.Blob(l.Num, at)
		}
		if err != nil {
			return false, err
		}
		_, reason, err := j.Apply(leaf, r.Head, r.Blob)
		return true, errors.Join(reason, err)
	})
}

// A short is a record that is to lose its operations.
type short struct {
	at   uint64
	blob []byte
	less int64
}

// eachShort calls each with the records of f from a position on that are to lose
// their operations, so many at a time, until it says that it is enough.
func eachShort(db *meta.DB, f fallow, step int, each func([]short) (more bool, err error)) error {
	for from := uint64(0); from < f.At; {
		var some []short
		err := db.Records(f.log, from, f.At, signet.Whole, func(at uint64, r signet.Record) (bool, error) {
			from = at + 1
			if blob, ok := journal.Drop(r.Head, r.Blob); ok && f.Drops(at) {
				some = append(some, short{at, blob, int64(len(r.Blob) - len(blob))})
			}
			return len(some) < step, nil
		})
		if err != nil || len(some) == 0 {
			return err
		}
		if more, err := each(some); err != nil || !more {
			return err
		}
	}
	return nil
}

func doneSetting(f fallow) string { return fmt.Sprintf("horizon-%d", f.log) }

// done reports whether all is gone that f lets go.
func (f fallow) done(db *meta.DB) (bool, error) {
	b, err := db.Setting(doneSetting(f))
	if errors.Is(err, signet.ErrNotFound) {
		return false, nil
	}
	return err == nil && string(b) == f.Hash.String(), err
}

// shorten drops the operations that are behind horizons, of at most so many entries;
// 0 is no bound. A crash leaves those that it has not come to, and the next
// round finds them.
func (c *collector) shorten(ctx context.Context, most int64, out *Freed, progress func(Freed)) error {
	if c.fallows == nil {
		return nil
	}
	list, err := c.fallows(ctx)
	if err != nil {
		return err
	}
	for _, f := range list {
		if done, err := f.done(c.db); err != nil || done {
			if err != nil {
				return err
			}
			continue
		}
		whole := true
		step := expireStep
		if c.moves > 0 {
			step = c.moves
		}
		err := eachShort(c.db, f, step, func(some []short) (bool, error) {
			var less int64
			err := c.alone(ctx, func() error {
				err := c.db.Update(func(tx *meta.Tx) error {
					for _, r := range some {
						less += r.less
						if err := tx.Shorten(f.log, r.at, r.blob, r.less); err != nil {
							return err
						}
					}
					return nil
				})
				if err == nil && f.less != nil {
					f.less(less)
				}
				return err
			})
			if err != nil {
				return false, err
			}
			c.at("shortened")
			out.Entries += int64(len(some))
			out.EntryBytes += less
			progress(*out)
			whole = most == 0 || out.Entries < most
			return whole, ctx.Err()
		})
		if err != nil {
			return err
		}
		if !whole {
			return nil
		}
		if err := c.db.Update(func(tx *meta.Tx) error { return tx.Set(doneSetting(f), []byte(f.Hash.String())) }); err != nil {
			return err
		}
	}
	return nil
}

// planShort tells what shorten would do.
func planShort(db *meta.DB, now int64, out *Freed) error {
	list, err := fallowsOf(db, now)
	if err != nil {
		return err
	}
	for _, f := range list {
		err := eachShort(db, f, expireStep, func(some []short) (bool, error) {
			for _, r := range some {
				out.Entries++
				out.EntryBytes += r.less
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
