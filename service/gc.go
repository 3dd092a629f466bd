package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"signet"
	"signet/service/blob"
	"signet/service/meta"
)

// unnamedTime is for how long an object stays that no entry names, after it was
// last put, asked for by a writer, or named by an entry that lacked others
// (PROTOCOL 6).
const unnamedTime = 30 * 24 * time.Hour

// When a pack is compacted: at least half of it is dead, and so much that it pays.
// One that is all dead goes without being copied, whatever its size.
const minDead = 64 << 10

// Sizes of the steps of gc.
const (
	expireStep  = 1000      // objects that go in one transaction, between commits
	moveStep    = 2000      // objects that are moved in one transaction
	compactStep = 256 << 20 // live bytes that are copied to one pack
	packStep    = 256       // packs that are looked through at once
)

// Freed says what gc found and gave back.
type Freed struct {
	Objects     int64 `json:"objects"`      // that no entry named in time, and that went
	ObjectBytes int64 `json:"object_bytes"` // of them
	Entries     int64 `json:"entries"`      // whose operations went, because they are behind a horizon
	EntryBytes  int64 `json:"entry_bytes"`  // of those
	Packs       int64 `json:"packs"`        // that are gone
	Copied      int64 `json:"copied"`       // bytes of them that were live, and were copied to others
	Bytes       int64 `json:"freed"`        // bytes of disk that are free again
	Left        int64 `json:"left"`         // dead bytes that stay, because too little around them is dead
	Damaged     int64 `json:"damaged"`      // packs that stay because they are not whole: check says more
	Waiting     int64 `json:"waiting"`      // packs that stay until a backup or a check has read them
}

func (f *Freed) add(g Freed) {
	f.Objects, f.ObjectBytes = f.Objects+g.Objects, f.ObjectBytes+g.ObjectBytes
	f.Entries, f.EntryBytes = f.Entries+g.Entries, f.EntryBytes+g.EntryBytes
	f.Packs, f.Copied, f.Bytes = f.Packs+g.Packs, f.Copied+g.Copied, f.Bytes+g.Bytes
}

// sparse reports whether a pack is worth compacting, if so many of its bytes are
// live.
func sparse(p meta.Pack) bool {
	dead := p.Dead()
	return dead > 0 && (p.Live == 0 || dead >= minDead && 2*dead >= p.End-blob.HeaderSize)
}

// A collector gives back the space of what is dead. One process does it, the one
// that has the data folder, so nothing is written from two sides.
//
// Order matters. A pack is sealed, and all that was put in it indexed, before
// anybody looks what of it is live. Copies are durable before the index points to
// them; the index points nowhere else before a pack is removed; the name is gone
// for good before the index forgets the pack. A crash leaves a pack in which
// nothing lies, and the next round removes it.
type collector struct {
	db      *meta.DB
	packs   *blob.Disk
	uploads *uploads
	now     func() int64
	alone   func(context.Context, func() error) error // between commits
	keep    func() bool                               // what no entry names stays: devices may give back the entry
	fallows func(context.Context) ([]fallow, error)   // what horizons let go

	round sync.Mutex // one at a time

	// For tests; zero otherwise.
	step  func(string) // called wherever a crash would leave something else
	moves int          // instead of moveStep and expireStep
	eager bool         // each pack is worth compacting
}

func (c *collector) at(step string) {
	if c.step != nil {
		c.step(step)
	}
}

// A budget bounds a round of the service; 0 is no bound.
type budget struct {
	objects int64 // unnamed ones that go
	entries int64 // that lose their operations
	copied  int64 // bytes
	packs   int   // looked through
}

// collect does a round. progress, if not nil, is called now and then.
func (c *collector) collect(ctx context.Context, b budget, progress func(Freed)) (out Freed, err error) {
	c.round.Lock()
	defer c.round.Unlock()
	if progress == nil {
		progress = func(Freed) {}
	}
	if !c.keep() {
		if err := c.expire(ctx, b.objects, &out, progress); err != nil {
			return out, err
		}
		if err := c.shorten(ctx, b.entries, &out, progress); err != nil {
			return out, err
		}
	}
	tried := map[uint32]bool{}
	for (b.copied == 0 || out.Copied < b.copied) && (b.packs == 0 || len(tried) < b.packs) {
		batch, err := c.choose(tried)
		if err != nil || len(batch) == 0 {
			return out, errors.Join(err, c.rest(&out))
		}
		if err := c.compact(ctx, batch, &out); err != nil {
			return out, err
		}
		progress(out)
	}
	return out, c.rest(&out)
}

// expire drops what no entry named in time. A crash leaves what it has not come to.
func (c *collector) expire(ctx context.Context, most int64, out *Freed, progress func(Freed)) error {
	before := c.now() - unnamedTime.Milliseconds()
	for most == 0 || out.Objects < most {
		var gone []meta.Object
		err := c.alone(ctx, func() error {
			return c.db.Update(func(tx *meta.Tx) (err error) {
				gone, err = tx.Expire(before, expireStep)
				return err
			})
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		c.at("expired")
		c.uploads.pinned(gone)
		for _, o := range gone {
			out.Objects++
			out.ObjectBytes += int64(o.Place.Length)
		}
		progress(*out)
	}
	return nil
}

// choose finds packs to be compacted into one: those with the least that is live
// first, because they give back the most, and need the least space for it.
func (c *collector) choose(tried map[uint32]bool) (batch []meta.Pack, err error) {
	all, _, err := c.all()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b meta.Pack) int {
		if a.Live != b.Live {
			return int(min(max(a.Live-b.Live, -1), 1))
		}
		return int(int64(a.Pack) - int64(b.Pack))
	})
	var live int64
	for _, p := range all {
		if tried[p.Pack] {
			continue
		}
		if live += p.Live; len(batch) == packStep || len(batch) > 0 && live > compactStep {
			break
		}
		tried[p.Pack] = true
		batch = append(batch, p)
	}
	return batch, nil
}

// all lists the packs that are worth compacting, those in which nothing lies that a
// crash left, and the numbers of which the index knows and the disk has nothing.
func (c *collector) all() (out []meta.Pack, stale []uint32, err error) {
	known, err := c.db.Packs()
	if err != nil {
		return nil, nil, err
	}
	files, err := c.packs.Packs()
	if err != nil {
		return nil, nil, err
	}
	here := map[uint32]bool{}
	for _, p := range files {
		here[p] = true
	}
	for _, p := range known {
		last := p.End == 0 && p.Pack == known[len(known)-1].Pack // keeps the number
		switch {
		case here[p.Pack] && (sparse(p) || c.eager && p.Live > 0 || p.Live == 0 && p.End < 0):
			out = append(out, p)
		case !here[p.Pack] && p.Live == 0 && !last:
			stale = append(stale, p.Pack)
		}
		delete(here, p.Pack)
	}
	for p := range here {
		if c.packs.Left(p) {
			out = append(out, meta.Pack{Mark: blob.Mark{Pack: p}})
		}
	}
	return out, stale, nil
}

// rest says what stays, and forgets numbers without a pack.
func (c *collector) rest(out *Freed) error {
	if _, stale, err := c.all(); err != nil {
		return err
	} else if len(stale) > 0 {
		if err := c.forget(stale); err != nil {
			return err
		}
	}
	packs, err := c.db.Packs()
	out.Left = 0
	for _, p := range packs {
		out.Left += p.Dead()
	}
	return err
}

// compact moves what is live of some packs to a new one, and removes them.
func (c *collector) compact(ctx context.Context, batch []meta.Pack, out *Freed) error {
	for _, p := range batch {
		c.packs.Seal(p.Pack)
	}
	if err := c.uploads.settle(); err != nil {
		return err
	}
	c.at("sealed")
	from, err := c.again(batch)
	if err != nil {
		return err
	}
	into := c.packs.NextPack()
	if err := c.db.Update(func(tx *meta.Tx) error { return tx.Reserve(into) }); err != nil {
		return err
	}
	c.at("reserved")
	nums, err := regions(c.db)
	if err != nil {
		return err
	}
	done, err := c.packs.Compact(ctx, into, from, func(f blob.Found) (bool, error) {
		o, err := c.db.Object(nums[f.Region], f.ID)
		if errors.Is(err, signet.ErrNotFound) {
			return false, nil
		}
		c.at("copying")
		return o.Place == f.Place, err
	})
	if err != nil {
		return err // the next round forgets the number
	}
	c.at("copied")
	if done.Mark.End == 0 {
		if err := c.forget([]uint32{into}); err != nil {
			return err
		}
	} else {
		if err := c.move(nums, done.Mark); err != nil {
			return err
		}
		out.Copied += done.Mark.End - blob.HeaderSize
		out.Bytes -= done.Mark.End
	}
	return c.remove(from, done.Damaged, out)
}

// again reads what the index says of packs now.
func (c *collector) again(batch []meta.Pack) (from []blob.Mark, err error) {
	known, err := c.db.Packs()
	if err != nil {
		return nil, err
	}
	marks := map[uint32]blob.Mark{}
	for _, p := range known {
		marks[p.Pack] = p.Mark
	}
	for _, p := range batch {
		from = append(from, blob.Mark{Pack: p.Pack, End: marks[p.Pack].End})
	}
	return from, nil
}

// move points the index at the copies, some at a time, so that commits need not
// wait long. A crash in between leaves some objects in the new pack and some in the
// old ones, which are all there.
func (c *collector) move(nums map[signet.RegionID]meta.LogNum, to blob.Mark) error {
	var moves []meta.Moved
	most := moveStep
	if c.moves > 0 {
		most = c.moves
	}
	flush := func() error {
		err := c.db.Update(func(tx *meta.Tx) error {
			if err := tx.Marks([]blob.Mark{to}); err != nil {
				return err
			}
			return tx.Move(moves)
		})
		moves = moves[:0]
		c.at("moved")
		return err
	}
	err := c.packs.Records(to.Pack, func(f blob.Found) error {
		if moves = append(moves, meta.Moved{Log: nums[f.Region], ID: f.ID, Place: f.Place}); len(moves) < most {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		c.packs.Adopt(to)
	}
	return err
}

// remove removes packs in which nothing lies any more.
func (c *collector) remove(from []blob.Mark, damaged map[uint32]bool, out *Freed) error {
	packs, err := c.empty(from, damaged)
	out.Damaged += int64(len(damaged))
	if err != nil || len(packs) == 0 {
		return err
	}
	gone, err := c.packs.Remove(packs)
	if errors.Is(err, blob.ErrInUse) {
		err = nil
	}
	if err != nil {
		return err
	}
	c.at("removed")
	out.Waiting += int64(len(packs) - len(gone))
	for _, p := range gone {
		for _, m := range from {
			if m.Pack == p && m.End > 0 {
				out.Packs++
				out.Bytes += m.End
			}
		}
	}
	return c.forget(gone)
}

// empty finds those of the packs in which no object lies. Compact has looked at
// each record; where a pack is not whole the index is searched as well.
func (c *collector) empty(from []blob.Mark, damaged map[uint32]bool) (out []uint32, err error) {
	known, err := c.db.Packs()
	if err != nil {
		return nil, err
	}
	live := map[uint32]int64{}
	for _, p := range known {
		live[p.Pack] = p.Live
	}
	for _, m := range from {
		if live[m.Pack] != 0 {
			continue
		}
		if damaged[m.Pack] {
			if lies, err := c.db.Names(m.Pack); err != nil {
				return nil, err
			} else if lies {
				continue
			}
			delete(damaged, m.Pack)
		}
		out = append(out, m.Pack)
	}
	return out, nil
}

func (c *collector) forget(packs []uint32) error {
	err := c.db.Update(func(tx *meta.Tx) error { return tx.Forget(packs) })
	c.at("forgotten")
	return err
}
