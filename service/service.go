// Package service accepts what devices signed, checks it, puts it in order and
// serves it again. It has no key that opens anything.
//
// It promises that a receipt is given only for a record that is valid at its
// place by the rules of core/ring and core/journal, whose objects are stored,
// and that was made durable before; that checkpoints of a log only ever grow;
// and that a device gets no more of the directory and of journals than it
// should. It can refuse and delay, and it cannot forge: devices check all of
// this themselves.
//
// Source: spec/chain.md, spec/journal.md, spec/transport.md.
package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/service/blob"
	"signet/service/meta"
	"signet/transport"
)

// Config is what a Service is made of. Zero fields have the defaults named.
type Config struct {
	Data    string           // folder of the database and packs
	Key     key.Signer       // signs checkpoints
	Clock   func() time.Time // time.Now
	Version string           // of the program

	// Connector is the public record of the built-in connector, shown to the
	// owner's devices so that the root can allow it; nil for none.
	Connector *ring.Device

	MaxUploads int64 // bytes of one device that no entry names: 64 GiB
	Quota      int64 // bytes that the regions of one owner may have: no limit

	// Ask is how often to look whether the command gc wants a round: never. A
	// round an hour is done all the same.
	Ask time.Duration
}

// A Service is the backend of one organisation.
type Service struct {
	config   Config
	db       *meta.DB
	store    blob.Store
	uploads  *uploads
	relay    relay
	chores   chan func() // for the committer, between commits
	gc       *collector
	offers   chan *offer
	reoffers chan *reoffer
	stop     context.CancelFunc
	done     sync.WaitGroup
	counters counters

	// mu guards all below. The committer alone changes logs and directory; it
	// holds mu while it does, and reads without.
	mu        sync.RWMutex
	directory *history // nil before the organisation is made
	ring      *ring.State
	tree      *chain.Tree // of the directory
	logs      map[signet.LogID]*history
	waiters   map[*waiter]struct{}
	recovery  *recovery               // nil: never restored
	owned     map[signet.RingID]int64 // bytes that the regions of each owner have
	coming    map[signet.RingID]int64 // those of entries that the group under way took
	quotas    map[signet.RingID]int64 // exceptions from config.Quota
	failed    error                   // memory and disk may differ: nothing is accepted any more
}

// maxSkew is by how much a device's clock may differ (spec/journal.md).
const maxSkew = 10 * time.Minute

// Open opens the service whose data lie in c.Data, made if missing.
func Open(c Config) (*Service, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.MaxUploads == 0 {
		c.MaxUploads = 64 << 30
	}
	db, err := meta.Open(filepath.Join(c.Data, databaseName))
	if err != nil {
		return nil, err
	}
	s := &Service{config: c, db: db, chores: make(chan func()), offers: make(chan *offer, 1024), reoffers: make(chan *reoffer, 64), logs: map[signet.LogID]*history{}, waiters: map[*waiter]struct{}{}}
	if err := s.openStore(); err != nil {
		db.Close()
		return nil, err
	}
	if err := errors.Join(s.loadRecovery(), s.load(), s.loadQuotas()); err != nil {
		s.store.Close()
		db.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.done.Go(func() { s.commitLoop(ctx) })
	s.done.Go(func() { s.uploads.loop(ctx) })
	s.done.Go(func() { s.gcLoop(ctx) })
	return s, nil
}

const databaseName = "signet.db"

// openStore opens the packs of a service.
func (s *Service) openStore() error {
	store, err := openPacks(s.db, s.config.Data, s.now())
	if err != nil {
		return err
	}
	if s.uploads, err = newUploads(s.db, store, s.config.MaxUploads); err != nil {
		store.Close()
		return err
	}
	s.store = store
	s.gc = &collector{db: s.db, packs: store, uploads: s.uploads, now: s.now, alone: s.alone, fallows: s.fallows, keep: func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.takesBack()
	}}
	return nil
}

// openPacks opens the packs in dir and indexes what the last run stored and did not
// get to index.
func openPacks(db *meta.DB, dir string, now int64) (*blob.Disk, error) {
	marks, err := db.Marks()
	if err != nil {
		return nil, err
	}
	nums, err := regions(db)
	if err != nil {
		return nil, err
	}
	found := map[meta.LogNum][]meta.Object{}
	ends := map[uint32]int64{}
	store, err := blob.Open(dir, marks, func(f blob.Found) error {
		if n := nums[f.Region]; n != 0 {
			found[n] = append(found[n], meta.Object{ID: f.ID, Place: f.Place, Added: now})
		}
		ends[f.Place.Pack] = max(ends[f.Place.Pack], int64(f.Place.Offset)+int64(f.Place.Length))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *meta.Tx) error {
		for n, objects := range found {
			if err := tx.PutObjects(n, objects); err != nil {
				return err
			}
		}
		var marks []blob.Mark
		for p, e := range ends {
			marks = append(marks, blob.Mark{Pack: p, End: e})
		}
		return tx.Marks(marks)
	})
	if err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// regions tells the logs of all regions.
func regions(db *meta.DB) (map[signet.RegionID]meta.LogNum, error) {
	logs, err := db.Logs()
	nums := map[signet.RegionID]meta.LogNum{}
	for _, l := range logs {
		if l.ID.Kind == signet.RegionLog {
			nums[l.ID.ID] = l.Num
		}
	}
	return nums, err
}

// load replays all logs: the directory first, because journals are judged by
// it, then the journals, two at a time.
func (s *Service) load() error {
	s.ring, s.tree = ring.NewState(signet.OrgID{}), &chain.Tree{}
	s.owned, s.coming = map[signet.RingID]int64{}, nil
	logs, err := s.db.Logs()
	if err != nil {
		return err
	}
	for _, l := range logs {
		if l.ID.Kind == signet.DirectoryLog {
			h := &history{Log: l, tree: s.tree}
			if err := s.replayDirectory(h); err != nil {
				return err
			}
			s.directory, s.logs[l.ID] = h, h
		}
	}
	var g errgroup.Group
	g.SetLimit(2)
	for _, l := range logs {
		if l.ID.Kind != signet.RegionLog {
			continue
		}
		h := &history{Log: l}
		s.logs[l.ID] = h
		g.Go(func() error { return s.replayJournal(h) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, h := range s.logs {
		if h.journal != nil {
			s.owned[h.journal.Owner()] += h.Used
		}
	}
	return nil
}

func (s *Service) replayDirectory(h *history) error {
	err := s.db.Records(h.Num, 0, h.Size, signet.Whole, func(_ uint64, r signet.Record) (bool, error) {
		leaf, err := ring.ParseLeaf(r.Leaf)
		if err != nil {
			return false, err
		}
		if err := s.ring.Apply(leaf, r.Head, r.Blob); err != nil {
			return false, err
		}
		s.tree.Append(r.Leaf)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", h.ID, err)
	}
	return h.verify(s.config.Key.Public())
}

func (s *Service) replayJournal(h *history) error {
	h.journal = journal.NewState(h.ID.ID, journal.Directory{State: s.ring, Tree: s.tree})
	h.tree = &h.journal.Tree
	if err := replayHeads(s.db, h.Log, h.journal); err != nil {
		return fmt.Errorf("%s: %w", h.ID, err)
	}
	return h.verify(s.config.Key.Public())
}

// Close ends accepting, finishes what was taken, and closes the data.
func (s *Service) Close() error {
	s.stop()
	s.done.Wait()
	return errors.Join(s.uploads.flush(nil), s.store.Close(), s.db.Close())
}

func (s *Service) now() int64 { return s.config.Clock().UnixMilli() }

// Ready says why the service accepts nothing; nil if it does.
func (s *Service) Ready() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// Info implements transport.Backend.
func (s *Service) Info(context.Context) (transport.Info, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return transport.Info{
		Org: s.ring.Org(), LogKey: s.config.Key.Public().Bytes(), Time: s.now(),
		Version: s.config.Version, Fresh: s.directory == nil,
	}, nil
}
