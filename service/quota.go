package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"signet"
	"signet/core/journal"
	"signet/service/meta"
	"signet/transport"
)

// A region's bytes are charged to the ring that owns it: what entries take and the
// objects that they name. An upload that no entry names yet is its device's, up to
// MaxUploads: it may be of a file that does not fit, and must not stand in the way
// of those that do. What would go over the limit is refused, unless it brings
// nothing: who has no room left can still delete, move, rekey, revoke, condemn and
// collect, which is how room comes back.

// settingQuotas is who has another limit than all: JSON of ring to bytes.
const settingQuotas = "quotas"

// loadQuotas reads who has another limit than all.
func (s *Service) loadQuotas() error {
	q, err := readQuotas(s.db)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.quotas = q
	s.mu.Unlock()
	return nil
}

// rereadQuotas takes up what the command quota wrote. Where it cannot be read the
// limits stay, and it is tried again.
func (s *Service) rereadQuotas() { _ = s.loadQuotas() }

func readQuotas(db *meta.DB) (map[signet.RingID]int64, error) {
	b, err := db.Setting(settingQuotas)
	if errors.Is(err, signet.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var named map[string]int64
	if err := json.Unmarshal(b, &named); err != nil {
		return nil, fmt.Errorf("limits: %w: %w", err, meta.ErrDamaged)
	}
	out := map[signet.RingID]int64{}
	for name, n := range named {
		r, err := signet.ParseRingID(name)
		if err != nil {
			return nil, fmt.Errorf("limits: %w: %w", err, meta.ErrDamaged)
		}
		out[r] = n
	}
	return out, nil
}

// limit is how many bytes an owner's regions may have; 0: any. mu is held.
func (s *Service) limit(owner signet.RingID) int64 {
	if n, ok := s.quotas[owner]; ok {
		return n
	}
	return s.config.Quota
}

// An allowance is what an owner has and may have.
type allowance struct{ used, limit int64 }

// takes reports whether so many bytes fit.
func (a allowance) takes(bytes int64) bool { return a.limit == 0 || a.used+bytes <= a.limit }

func (a allowance) refusal(bytes int64) error {
	return transport.Errorf(transport.KindQuota, "the owner of this region has %d bytes on the service, at most %d allowed: %d more do not fit", a.used, a.limit, bytes).
		WithHint("signet region collect gives back what nothing kept uses, after its grace; or ask who runs the service for more")
}

// allowance of an owner. mu is held.
func (s *Service) allowance(owner signet.RingID) allowance {
	return allowance{s.owned[owner] + s.coming[owner], s.limit(owner)}
}

// room refuses an entry that brings objects for which there is no room. One that
// brings none passes: the service cannot tell a deletion from a new name.
func (s *Service) room(o *offer, e *journal.Entry, owner signet.RingID, fresh int64) error {
	if e.Type.Authority() || fresh == 0 {
		return nil
	}
	a := s.allowance(owner)
	if a.takes(fresh + o.bytes()) {
		return nil
	}
	return a.refusal(fresh + o.bytes())
}

// bytes is what the offer's record takes, but for the leaf.
func (o *offer) bytes() int64 { return int64(len(o.record.Head) + len(o.record.Blob)) }

// come counts what the group under way took; settled ends that.
func (s *Service) come(owner signet.RingID, bytes int64) {
	if s.coming == nil {
		s.coming = map[signet.RingID]int64{}
	}
	s.coming[owner] += bytes
}

func (s *Service) settled() {
	s.mu.Lock()
	s.coming = nil
	s.mu.Unlock()
}

// charge takes over what the database was told.
func (s *Service) charge(by map[*history]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, n := range by {
		s.owe(h, n)
	}
}

// owe changes what a log is charged. mu is held.
func (s *Service) owe(h *history, bytes int64) {
	h.Used += bytes
	if h.journal != nil {
		s.owned[h.journal.Owner()] += bytes
	}
}

// left is what the owner of a region has and may have.
func (x *session) left(region signet.RegionID) (allowance, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	h, err := x.reads(signet.Journal(region))
	if err != nil {
		return allowance{}, err
	}
	return x.allowance(h.journal.Owner()), nil
}

// Usage implements transport.Session.
func (x *session) Usage(_ context.Context, region signet.RegionID) (signet.Usage, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	h, err := x.reads(signet.Journal(region))
	if err != nil {
		return signet.Usage{}, err
	}
	owner := h.journal.Owner()
	return signet.Usage{Region: h.Used, Used: x.owned[owner], Limit: x.limit(owner)}, nil
}

// An Owner is what a ring has on the service: sizes, no name.
type Owner struct {
	Ring    string      `json:"ring"`
	Used    int64       `json:"used"`
	Limit   int64       `json:"limit"` // 0: none
	Own     bool        `json:"own"`   // a limit of its own
	Regions []OwnRegion `json:"regions"`
}

// An OwnRegion is a region of an Owner.
type OwnRegion struct {
	Region string `json:"region"`
	Used   int64  `json:"used"`
}

// Owners lists the owners of regions, and who has a limit of its own, in the data
// in dir, running or not. all is the limit of those who have none of their own.
func Owners(dir string, all int64) ([]Owner, error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	quotas, err := readQuotas(db)
	if err != nil {
		return nil, err
	}
	logs, err := db.Logs()
	if err != nil {
		return nil, err
	}
	owners := map[signet.RingID]*Owner{}
	of := func(r signet.RingID) *Owner {
		if owners[r] == nil {
			n, own := quotas[r]
			if !own {
				n = all
			}
			owners[r] = &Owner{Ring: r.String(), Limit: n, Own: own, Regions: []OwnRegion{}}
		}
		return owners[r]
	}
	for r := range quotas {
		of(r)
	}
	for _, l := range logs {
		if l.ID.Kind != signet.RegionLog || l.Size == 0 {
			continue
		}
		err := db.Records(l.Num, 0, 1, signet.WithHead, func(_ uint64, r signet.Record) (bool, error) {
			h, err := journal.IDOf(r.Head)
			if err == nil {
				o := of(h.Ring)
				o.Used += l.Used
				o.Regions = append(o.Regions, OwnRegion{signet.RegionID(l.ID.ID).String(), l.Used})
			}
			return false, err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.ID, err)
		}
	}
	return slices.SortedFunc(func(yield func(Owner) bool) {
		for o := range maps.Values(owners) {
			if !yield(*o) {
				return
			}
		}
	}, func(a, b Owner) int { return strings.Compare(a.Ring, b.Ring) }), nil
}

// SetQuota gives an owner a limit of its own in the data in dir, 0 for none, or,
// with bytes below 0, that of all again. A service that runs takes it up within a
// second.
func SetQuota(dir string, ring signet.RingID, bytes int64) error {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *meta.Tx) error {
		q, err := readQuotas(db)
		if err != nil {
			return err
		}
		named := map[string]int64{}
		for r, n := range q {
			named[r.String()] = n
		}
		if named[ring.String()] = bytes; bytes < 0 {
			delete(named, ring.String())
		}
		if len(named) == 0 {
			return tx.Set(settingQuotas, nil)
		}
		b, err := json.Marshal(named)
		if err != nil {
			return err
		}
		return tx.Set(settingQuotas, b)
	})
}
