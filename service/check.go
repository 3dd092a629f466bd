package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/service/blob"
	"signet/service/meta"
)

// A Problem is something that Check found wrong.
type Problem struct {
	Log     string `json:"log,omitempty"`    // which log, if one
	Object  string `json:"object,omitempty"` // which object, if one
	Message string `json:"message"`
	Mended  bool   `json:"mended"`
}

// A Checked says what Check looked at.
type Checked struct {
	Logs     int64 `json:"logs"`
	Records  int64 `json:"records"`
	Objects  int64 `json:"objects"`
	Bytes    int64 `json:"bytes"` // of objects
	Problems int64 `json:"problems"`
	Mended   int64 `json:"mended"` // of the problems
}

// Check verifies all that the data in dir hold: each log's leaves against its
// checkpoints, every signature, that every object is there and hashes to its
// name. report is called for each problem. It may run beside a service; with
// repair it must not, and it then points the index at whole copies of objects
// that it does not find where they should be, and notes those of which no whole
// copy is left as lost, so that devices are told and can send them again. Records
// it cannot bring back: devices can.
func Check(ctx context.Context, dir string, pub *key.Public, repair bool, report func(Problem)) (Checked, error) {
	release, err := blob.Hold(ctx, dir) // a service that runs does not remove packs meanwhile
	if err != nil {
		return Checked{}, err
	}
	defer release()
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return Checked{}, err
	}
	defer db.Close()
	store := blob.OpenReader(dir)
	defer store.Close()
	if err := store.Known(); err != nil {
		return Checked{}, err
	}
	return checkAll(ctx, db, store, pub, repair, false, report)
}

// checkCopy verifies a copy of the database and the packs in dir.
func checkCopy(ctx context.Context, db *meta.DB, dir string, pub *key.Public, report func(Problem)) (Checked, error) {
	store := blob.OpenReader(dir)
	defer store.Close()
	return checkAll(ctx, db, store, pub, false, true, report)
}

func checkAll(ctx context.Context, db *meta.DB, store *blob.Disk, pub *key.Public, repair, copied bool, report func(Problem)) (Checked, error) {
	c := &checker{copy: copied, ctx: ctx, db: db, store: store, pub: pub, dir: ring.NewState(signet.OrgID{}), tree: &chain.Tree{}, named: map[meta.LogNum]map[signet.ObjectID]uint64{}}
	c.report = func(p Problem) {
		c.Problems++
		if p.Mended {
			c.Mended++
		}
		report(p)
	}
	if err := c.database(); err != nil {
		return c.Checked, err
	}
	logs, err := db.Logs()
	if err != nil {
		return c.Checked, err
	}
	if c.lost, err = lostObjects(db); err != nil {
		return c.Checked, err
	}
	for _, kind := range []signet.LogKind{signet.DirectoryLog, signet.RegionLog} {
		for _, l := range logs {
			if l.ID.Kind == kind {
				if err := c.log(l); err != nil {
					return c.Checked, err
				}
			}
		}
	}
	var lost []lostObject
	for _, l := range logs {
		if l.ID.Kind == signet.RegionLog {
			more, err := c.objects(l)
			if err != nil {
				return c.Checked, err
			}
			lost = append(lost, more...)
		}
	}
	if err := c.mend(lost, repair); err != nil {
		return c.Checked, err
	}
	return c.Checked, errors.Join(c.counts(repair), c.charges(logs, repair))
}

// charges compares what logs are charged with what they have.
func (c *checker) charges(logs []meta.Log, repair bool) error {
	wrong, err := c.db.Overcounts()
	if err != nil {
		return err
	}
	for _, o := range wrong {
		if repair {
			if err := c.db.Update(func(tx *meta.Tx) error { tx.Correct(o); return nil }); err != nil {
				return err
			}
		}
		name := ""
		for _, l := range logs {
			if l.Num == o.Log {
				name = l.ID.String()
			}
		}
		c.report(Problem{Log: name, Message: fmt.Sprintf("%d bytes are said to be used, %d are", o.Said, o.Has), Mended: repair})
	}
	return nil
}

// counts compares what the index says is live of each pack with its rows: what gc
// goes by.
func (c *checker) counts(repair bool) error {
	wrong, err := c.db.Miscounts()
	if err != nil {
		return err
	}
	for _, m := range wrong {
		if repair {
			if err := c.db.Update(func(tx *meta.Tx) error { return tx.Recount(m) }); err != nil {
				return err
			}
		}
		c.report(Problem{Message: fmt.Sprintf("pack %08x: %d bytes are said to be live, %d are", m.Pack, m.Said, m.Lives), Mended: repair})
	}
	return nil
}

type checker struct {
	Checked
	ctx    context.Context
	db     *meta.DB
	store  *blob.Disk
	pub    *key.Public
	dir    *ring.State
	tree   *chain.Tree
	named  map[meta.LogNum]map[signet.ObjectID]uint64 // by the entry at a position
	short  []uint64                                   // of the log at hand: entries without operations
	lost   map[place]bool                             // known to be
	copy   bool                                       // a backup's: what was lost before it is none of its problems
	report func(Problem)
}

func (c *checker) database() error {
	problems, err := c.db.Integrity()
	for _, p := range problems {
		c.report(Problem{Message: "database: " + p})
	}
	return err
}

// log verifies one log up to the size that its checkpoint says.
func (c *checker) log(l meta.Log) error {
	c.Logs++
	h := &history{Log: l}
	bad := func(format string, args ...any) {
		c.report(Problem{Log: l.ID.String(), Message: fmt.Sprintf(format, args...)})
	}
	if l.ID.Kind == signet.DirectoryLog {
		h.tree = c.tree
	} else {
		h.journal = journal.NewState(l.ID.ID, journal.Directory{State: c.dir, Tree: c.tree})
		h.tree = &h.journal.Tree
		c.named[l.Num] = map[signet.ObjectID]uint64{}
	}
	c.short = nil
	err := c.db.Records(l.Num, 0, l.Size, signet.Whole, func(at uint64, r signet.Record) (bool, error) {
		c.Records++
		if err := c.record(h, r); err != nil {
			// What comes after depends on it, and would be reported for its
			// sake alone.
			return false, fmt.Errorf("record %d: %w", at, err)
		}
		return true, c.ctx.Err()
	})
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err != nil {
		bad("%v", err)
		return nil
	}
	if err := h.verify(c.pub); err != nil {
		bad("%v", err)
	}
	for _, at := range c.short {
		if !h.journal.Horizon(math.MaxInt64).Drops(at) {
			bad("record %d: its operations are gone, and no horizon lets them go", at)
		}
	}
	return nil
}

// record replays one record: its leaf, hashes, signature and authority.
func (c *checker) record(h *history, r signet.Record) error {
	if h.journal == nil {
		leaf, err := ring.ParseLeaf(r.Leaf)
		if err != nil {
			return err
		}
		c.tree.Append(r.Leaf)
		return c.dir.Apply(leaf, r.Head, r.Blob)
	}
	leaf, err := journal.ParseLeaf(r.Leaf)
	if err != nil {
		return err
	}
	e, reason, err := h.journal.Apply(leaf, r.Head, r.Blob)
	if err := errors.Join(reason, err); err != nil {
		return err
	}
	if e.Dropped {
		c.short = append(c.short, e.Position)
	} else if !e.Whole {
		return fmt.Errorf("its operations are gone: %w", meta.ErrDamaged)
	}
	for _, id := range e.Objects {
		if _, ok := c.named[h.Num][id]; !ok {
			c.named[h.Num][id] = h.journal.Size() - 1
		}
	}
	for _, id := range dropped(e) {
		delete(c.named[h.Num], id)
	}
	return nil
}

// dropped is what an entry ends: the objects of a collect that has effect.
func dropped(e *journal.Entry) []signet.ObjectID {
	if e.Type != journal.Collect || e.Void != nil {
		return nil
	}
	return e.Ending
}

// A lostObject is one whose bytes are not whole where the index says.
type lostObject struct {
	log    meta.LogNum
	name   string
	object meta.Object
	why    string
	at     uint64 // of one that is unindexed: the entry that names it
}

// unindexed is why an object is lost of which the index knows nothing.
const unindexed = "an entry names it and it is not indexed"

// known is why an object is lost that a repair noted as lost.
const known = "lost, and no device has sent it again yet"

// objects reads every indexed object of a region, and looks for those that
// entries name and the index lacks.
func (c *checker) objects(l meta.Log) (lost []lostObject, err error) {
	named := c.named[l.Num]
	var buf []byte
	err = c.db.Objects(l.Num, func(o meta.Object) error {
		delete(named, o.ID)
		if c.lost[place{l.Num, o.ID}] {
			if !c.copy {
				lost = append(lost, lostObject{l.Num, l.ID.String(), o, known, 0})
			}
			return nil
		}
		c.Objects++
		c.Bytes += int64(o.Place.Length)
		var err error
		why := ""
		if buf, err = c.store.Get(o.Place, buf[:0]); err != nil {
			why = err.Error()
		} else if sha256.Sum256(buf) != o.ID {
			why = fmt.Sprintf("pack %08x byte %d: bytes do not hash to the object's name", o.Place.Pack, o.Place.Offset)
		}
		if why != "" {
			lost = append(lost, lostObject{l.Num, l.ID.String(), o, why, 0})
		}
		return c.ctx.Err()
	})
	for id, at := range named {
		lost = append(lost, lostObject{l.Num, l.ID.String(), meta.Object{ID: id}, unindexed, at})
	}
	return lost, err
}

// mend looks for whole copies of lost objects in all packs.
func (c *checker) mend(lost []lostObject, repair bool) error {
	if len(lost) == 0 {
		return nil
	}
	copies := map[signet.ObjectID]blob.Place{}
	if repair {
		for _, l := range lost {
			copies[l.object.ID] = blob.Place{}
		}
		err := c.store.Scan(func(f blob.Found, bad error) error {
			if _, wanted := copies[f.ID]; wanted && bad == nil {
				copies[f.ID] = f.Place
			}
			return c.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	for _, l := range lost {
		p := Problem{Log: l.name, Object: l.object.ID.String(), Message: l.why}
		if at := copies[l.object.ID]; at.Pack != 0 {
			err := c.db.Update(func(tx *meta.Tx) error {
				l.object.Place = at
				if err := tx.PutObjects(l.log, []meta.Object{l.object}); err != nil {
					return err
				}
				if l.why == unindexed { // else it were an upload that nobody names, which gc drops
					_, err := tx.Pin(l.log, l.object.ID, l.at)
					return err
				}
				return tx.Found(l.log, l.object.ID, at)
			})
			if err != nil {
				return err
			}
			p.Mended = true
		} else if repair && l.why != unindexed && l.why != known {
			// Who has it can send it again: until then the service says that it lacks it,
			// instead of giving out what is not the object.
			if err := c.db.Update(func(tx *meta.Tx) error { return tx.Lose(l.log, l.object.ID) }); err != nil {
				return err
			}
			p.Message += "; devices that have it can send it again now: signet verify --deep"
		}
		c.report(p)
	}
	return nil
}
