package service

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"signet"
	"signet/service/meta"
)

// settingSettings is what the program's flags were when it last started.
const settingSettings = "settings"

// SetSettings stores the program's effective settings (JSON) for status.
func (s *Service) SetSettings(settings []byte) error {
	return s.db.Update(func(tx *meta.Tx) error { return tx.Set(settingSettings, settings) })
}

// A Status is what an administrator can know of a service: sizes and settings,
// no names.
type Status struct {
	Organisation  string          `json:"organisation"` // its identifier, or empty before there is one
	Address       string          `json:"address"`
	Connector     string          `json:"connector"` // "allowed" or "not allowed"
	Regions       int64           `json:"regions"`
	Records       int64           `json:"records"`
	Objects       int64           `json:"objects"`
	ObjectBytes   int64           `json:"object_bytes"`
	Unpinned      int64           `json:"unpinned"`
	UnpinnedBytes int64           `json:"unpinned_bytes"`
	Dead          int64           `json:"dead_bytes"`        // of packs: no object lies there any more
	Reclaimable   int64           `json:"reclaimable_bytes"` // that gc would give back now
	LastEntry     time.Time       `json:"last_record,omitzero"`
	Recovering    int64           `json:"recovering"` // logs that wait for what devices give back, after a restoring
	Lost          int64           `json:"lost"`       // objects that no device had so far
	Settings      json.RawMessage `json:"settings"`
}

// ReadStatus reads the status of the service whose data lie in dir, running or
// not.
func ReadStatus(dir string, now time.Time) (Status, error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return Status{}, err
	}
	defer db.Close()
	c, err := db.Count()
	if err != nil {
		return Status{}, err
	}
	out := Status{Records: c.Records, Objects: c.Objects, ObjectBytes: c.ObjectBytes, Unpinned: c.Unpinned, UnpinnedBytes: c.UnpinnedBytes,
		Connector: "not allowed", Settings: json.RawMessage("null")}
	logs, err := db.Logs()
	if err != nil {
		return Status{}, err
	}
	for _, l := range logs {
		if l.ID.Kind == signet.DirectoryLog {
			out.Organisation = signet.OrgID(l.ID.ID).String()
		} else {
			out.Regions++
		}
		if t := time.UnixMilli(l.Time).UTC(); t.After(out.LastEntry) {
			out.LastEntry = t
		}
	}
	r, err := readRecovery(db)
	if err != nil {
		return Status{}, err
	}
	if out.Dead, out.Reclaimable, err = reclaimable(db, now.UnixMilli()); err != nil {
		return Status{}, err
	}
	if r != nil {
		open, err := db.Setting(settingOpen)
		if err != nil && !errors.Is(err, signet.ErrNotFound) {
			return Status{}, err
		}
		for _, l := range logs {
			if r.waits(l.ID.String()) && string(open) != r.stamp() {
				out.Recovering++
			}
		}
		for _, holes := range r.Holes {
			out.Lost += int64(len(holes))
		}
	}
	for name, use := range map[string]func([]byte){
		settingAddress:   func(b []byte) { out.Address = string(b) },
		settingConnector: func(b []byte) { out.Connector = string(b) },
		settingSettings:  func(b []byte) { out.Settings = b },
	} {
		b, err := db.Setting(name)
		if errors.Is(err, signet.ErrNotFound) {
			continue
		}
		if err != nil {
			return Status{}, err
		}
		use(b)
	}
	return out, nil
}

// reclaimable tells how many bytes of packs are dead, and how many gc would free.
func reclaimable(db *meta.DB, now int64) (dead, bytes int64, err error) {
	packs, err := db.Packs()
	if err != nil {
		return 0, 0, err
	}
	for _, p := range packs {
		dead += p.Dead()
	}
	keep, err := keeps(db, now)
	if err != nil {
		return 0, 0, err
	}
	f, err := plan(db, now, keep)
	return dead, f.Bytes, err
}

// A Metric is a number for a monitoring system.
type Metric struct {
	Name, Help, Type string
	Value            int64
}

// counters count what the committer did.
type counters struct {
	commits, records, refused, failures  atomic.Int64
	gcObjects, gcFreed, gcCopied, gcFail atomic.Int64
}

// collected counts a round of gc.
func (c *counters) collected(f Freed, err error) {
	c.gcObjects.Add(f.Objects)
	c.gcFreed.Add(f.Bytes)
	c.gcCopied.Add(f.Copied)
	if err != nil && !errors.Is(err, context.Canceled) {
		c.gcFail.Add(1)
	}
}

// Metrics returns the service's numbers since it started.
func (s *Service) Metrics() []Metric {
	s.mu.RLock()
	logs, waiters := len(s.logs), len(s.waiters)
	s.mu.RUnlock()
	s.uploads.mu.Lock()
	pending, bytes := len(s.uploads.pending), s.uploads.bytes
	s.uploads.mu.Unlock()
	return []Metric{
		{"signet_commits_total", "Transactions that took records.", "counter", s.counters.commits.Load()},
		{"signet_records_total", "Records taken.", "counter", s.counters.records.Load()},
		{"signet_refused_total", "Records refused.", "counter", s.counters.refused.Load()},
		{"signet_commit_failures_total", "Transactions that failed.", "counter", s.counters.failures.Load()},
		{"signet_gc_objects_total", "Objects that no entry named in time, and that went.", "counter", s.counters.gcObjects.Load()},
		{"signet_gc_freed_bytes_total", "Bytes of disk that gc gave back.", "counter", s.counters.gcFreed.Load()},
		{"signet_gc_copied_bytes_total", "Bytes that gc copied for it.", "counter", s.counters.gcCopied.Load()},
		{"signet_gc_failures_total", "Rounds of gc that failed.", "counter", s.counters.gcFail.Load()},
		{"signet_logs", "Logs, the directory included.", "gauge", int64(logs)},
		{"signet_waiting_streams", "Devices that wait for news.", "gauge", int64(waiters)},
		{"signet_unindexed_objects", "Objects stored and not yet indexed.", "gauge", int64(pending)},
		{"signet_unindexed_bytes", "Bytes of objects stored and not yet indexed.", "gauge", bytes},
	}
}
