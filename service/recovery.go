package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
	"signet/service/meta"
	"signet/transport"
)

// Settings of a service that was restored.
const (
	settingRecovery = "recovery"      // what of it is whole again; gone: never restored
	settingOpen     = "recovery-open" // the restoring that an administrator opened
)

// recoveryFormat is the number in what settingRecovery holds.
const recoveryFormat = 1

// recoveryWindow is for how long a restored service takes things back, and how
// far before a log's end somebody wrote whom it waits for.
const recoveryWindow = 30 * 24 * time.Hour

// A recovery is what a restored service knows of how far it is whole again. A
// log takes nothing but re-offers until it is (spec/transport.md, "After a
// restoring"). Names are those of signet.LogID, DeviceID and ObjectID.
type recovery struct {
	Format int                          `json:"format"`
	Since  int64                        `json:"since"`  // ms: when it was restored
	Base   map[string]uint64            `json:"base"`   // sizes of the logs in the backup
	Target map[string]uint64            `json:"target"` // the largest that devices have shown
	Whole  map[string]bool              `json:"whole"`
	Shown  map[string]map[string]bool   `json:"shown"` // by log: devices that have nothing more for it
	News   map[string]bool              `json:"news"`  // devices that had something newer than the backup
	Holes  map[string]map[string]uint64 `json:"holes"` // by log: objects that nobody had, and the entries' positions
}

// MarkRestored makes the data in dir those of a service that was restored, and
// tells how many logs there are. Nothing else may have them open.
func MarkRestored(dir string, now time.Time) (logs int, err error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	list, err := db.Logs()
	if err != nil {
		return 0, err
	}
	r := recovery{Format: recoveryFormat, Since: now.UnixMilli(), Base: map[string]uint64{}}
	for _, l := range list {
		r.Base[l.ID.String()] = l.Size
	}
	return len(list), db.Update(func(tx *meta.Tx) error {
		if err := tx.Set(settingOpen, nil); err != nil {
			return err
		}
		return r.store(tx)
	})
}

// ErrNotRestored says that data were not restored, so that nothing waits.
var ErrNotRestored = errors.New("this data was not restored from a backup")

// OpenRestored ends the wait for re-offers, also of a service that runs.
func OpenRestored(dir string) error {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return err
	}
	defer db.Close()
	r, err := readRecovery(db)
	if err != nil {
		return err
	}
	if r == nil {
		return ErrNotRestored
	}
	return db.Update(func(tx *meta.Tx) error { return tx.Set(settingOpen, []byte(r.stamp())) })
}

func (r *recovery) stamp() string { return strconv.FormatInt(r.Since, 10) }

func (r *recovery) store(tx *meta.Tx) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Set(settingRecovery, b)
}

// same reports whether two say the same.
func (r *recovery) same(o *recovery) bool {
	a, err := json.Marshal(r)
	b, oerr := json.Marshal(o)
	return err == nil && oerr == nil && bytes.Equal(a, b)
}

// readRecovery reads what was stored; nil where the service was never restored.
func readRecovery(db *meta.DB) (*recovery, error) {
	b, err := db.Setting(settingRecovery)
	if errors.Is(err, signet.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &recovery{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("state of the recovery: %w: %w", err, meta.ErrDamaged)
	}
	if r.Format > recoveryFormat {
		return nil, fmt.Errorf("state of the recovery: %w: format %d", meta.ErrNewer, r.Format)
	}
	return r, nil
}

// clone copies what a re-offer changes, so that a commit that fails leaves r as
// it was.
func (r *recovery) clone() *recovery {
	c := *r
	c.Base, c.Target, c.Whole, c.News = maps.Clone(r.Base), copied(r.Target), copied(r.Whole), copied(r.News)
	c.Shown, c.Holes = map[string]map[string]bool{}, map[string]map[string]uint64{}
	for k, v := range r.Shown {
		c.Shown[k] = maps.Clone(v)
	}
	for k, v := range r.Holes {
		c.Holes[k] = maps.Clone(v)
	}
	return &c
}

func copied[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// show notes that a device has nothing more for a log.
func (r *recovery) show(log, device string) {
	if r.Shown[log] == nil {
		r.Shown[log] = map[string]bool{}
	}
	r.Shown[log][device] = true
}

// hole notes an object that an entry names and nobody had.
func (r *recovery) hole(log string, id signet.ObjectID, position uint64) {
	if r.Holes[log] == nil {
		r.Holes[log] = map[string]uint64{}
	}
	r.Holes[log][id.String()] = position
}

// forgo forgets holes that objects would fill which are gone for good now; nil where
// there is none of them.
func (r *recovery) forgo(log string, ids []signet.ObjectID) *recovery {
	if r == nil || len(r.Holes[log]) == 0 {
		return nil
	}
	var c *recovery
	for _, id := range ids {
		if _, ok := r.Holes[log][id.String()]; !ok {
			continue
		}
		if c == nil {
			c = r.clone()
		}
		delete(c.Holes[log], id.String())
	}
	return c
}

// loadRecovery reads how far the service is whole again.
func (s *Service) loadRecovery() (err error) {
	s.recovery, err = readRecovery(s.db)
	return err
}

// takesBack reports whether re-offers are taken. mu is held.
func (s *Service) takesBack() bool {
	if s.recovery == nil {
		return false
	}
	wait := s.now()-s.recovery.Since < recoveryWindow.Milliseconds()
	for id := range s.logs {
		wait = wait || s.waiting(id)
	}
	return wait
}

// waiting reports whether a log takes nothing but re-offers. One that was made
// since the restoring never waits. mu is held.
func (s *Service) waiting(log signet.LogID) bool {
	return s.recovery != nil && s.recovery.waits(log.String())
}

func (r *recovery) waits(log string) bool {
	_, before := r.Base[log]
	return !r.Whole[log] && (before || r.Target[log] > 0)
}

// ordinary refuses a new record of a log that waits for re-offers. A new log
// waits until all others are whole: what was lost may hold its claim. Called by
// the committer, with mu held.
func (s *Service) ordinary(log signet.LogID, fresh bool) error {
	wait := !fresh && s.waiting(log)
	for id := range s.logs {
		wait = wait || fresh && s.waiting(id)
	}
	if !wait {
		return nil
	}
	if open, err := s.db.Setting(settingOpen); err == nil && string(open) == s.recovery.stamp() {
		return s.openAll()
	}
	return errRecovering
}

var errRecovering = transport.Errorf(transport.KindRecovering, "the service was restored from a backup and waits for what devices have that is newer").
	WithHint("devices give it back by themselves when they connect; who runs the service can end the wait: signet-server restore --open")

// openAll ends the wait in all logs, because an administrator says so.
func (s *Service) openAll() error {
	next := s.recovery.clone()
	for id := range s.logs {
		next.Whole[id.String()] = true
	}
	if err := s.db.Update(next.store); err != nil {
		return err
	}
	s.recovery = next
	return nil
}

// complete reports whether a log waits for nobody any more: of every ring that
// wrote in its last 30 days a device has shown its head that had something newer
// than the backup, or all have that wrote. A device that was away since before
// the backup knows nothing of what was lost, and so does not speak for the
// others of its ring. mu is held.
func (s *Service) complete(h *history, r *recovery) (bool, error) {
	shown := r.Shown[h.ID.String()]
	if len(shown) == 0 {
		return false, nil
	}
	last, end, err := s.writers(h)
	if err != nil {
		return false, err
	}
	spoken := map[signet.RingID]bool{}
	for d := range shown {
		id, err := signet.ParseDeviceID(d)
		if err != nil {
			return false, fmt.Errorf("state of the recovery: %w: %w", err, meta.ErrDamaged)
		}
		if of, ok := s.ring.RingOf(id); ok && r.News[d] {
			spoken[of] = true
		}
	}
	now := s.now()
	for d, t := range last {
		of, ok := s.ring.RingOf(d)
		if !ok || t < end-recoveryWindow.Milliseconds() || !s.ring.Active(d, now) {
			continue
		}
		if c := s.ring.Device(d).Class; c != ring.Lasting && c != ring.Gateway {
			continue // no program of theirs comes back by itself
		}
		if !spoken[of] && !shown[d.String()] {
			return false, nil
		}
	}
	return true, nil
}

// writers tells when each device wrote last in a log, and when the log ends, in
// ms. mu is held.
func (s *Service) writers(h *history) (last map[signet.DeviceID]int64, end int64, err error) {
	last = map[signet.DeviceID]int64{}
	if h.journal != nil {
		for _, r := range s.ring.Rings() {
			for _, m := range s.ring.Members(r) {
				if t, ok := h.journal.LastOf(m.ID); ok {
					last[m.ID] = t
				}
			}
		}
		return last, h.journal.Time(), nil
	}
	if h.Size == 0 {
		return last, 0, nil
	}
	end = s.ring.TimeOf(h.Size - 1)
	err = s.db.Records(h.Num, 0, h.Size, signet.WithHead, func(at uint64, r signet.Record) (bool, error) {
		t := s.ring.TimeOf(at)
		if t < end-recoveryWindow.Milliseconds() {
			return true, nil
		}
		st, err := ring.Parse(r.Head)
		if err != nil {
			return false, err
		}
		last[st.Signer] = t
		return true, nil
	})
	return last, end, err
}

// directoryFirst is the answer to entries that name a directory that was lost too.
var directoryFirst = transport.Errorf(transport.KindRecovering, "the directory is to be given back first")

func needsDirectory(err error) bool { return errors.Is(err, journal.ErrNeedDirectory) }
