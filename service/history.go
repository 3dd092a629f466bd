package service

import (
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/service/meta"
)

// A history is a log in memory. Size, Time, Tip and Full are those that were
// committed; tree and journal run ahead of them inside a commit.
type history struct {
	meta.Log
	tree    *chain.Tree
	journal *journal.State // nil for the directory

	tip, full *chain.Checkpoint // parsed Tip; newest full one, stored or made for a reader

	// What a commit under way has taken: time of its last leaf, offers by their
	// head bytes, and the claim of a region that is being made.
	time  int64
	ahead map[string]*offer
	claim signet.Hash

	// The newest records, so that waiting devices need no database.
	recent      []signet.Record
	recentBytes int
}

// Bounds of recent.
const (
	maxRecent      = 512     // records
	maxRecentBytes = 1 << 20 // bytes
	maxNoticeBlob  = 64 << 10
)

// verify checks what was replayed against the stored checkpoint: a database
// that was changed behind the service's back is not served.
func (h *history) verify(pub *key.Public) error {
	tip, err := chain.Open(h.Tip, h.ID, pub)
	if err != nil {
		return fmt.Errorf("stored checkpoint: %w", err)
	}
	root, err := h.tree.RootAt(h.Size)
	if err != nil || tip.Size != h.Size || tip.Root != root {
		return fmt.Errorf("%s: %d records do not hash to the stored checkpoint of size %d: %w", h.ID, h.Size, tip.Size, signet.ErrNotVerified)
	}
	if h.full, err = chain.Open(h.Full, h.ID, pub); err != nil {
		return fmt.Errorf("stored full checkpoint: %w", err)
	}
	h.tip = tip
	return nil
}

// due is the time of the next checkpoint, and whether it must be a full one:
// where the writer needs it, or the last full one is older than
// chain.FullEvery. Called with mu held.
func (h *history) due(now int64, full bool) (int64, bool) {
	if h.tip != nil {
		now = max(now, h.tip.Time)
	}
	return now, full || h.full == nil || now-h.full.Time > chain.FullEvery
}

// remember keeps committed records for those that wait.
func (h *history) remember(records []signet.Record) {
	for _, r := range records {
		if len(r.Blob) > maxNoticeBlob {
			r.Blob = nil
		}
		h.recent = append(h.recent, r)
		h.recentBytes += len(r.Leaf) + len(r.Head) + len(r.Blob)
	}
	drop := 0
	for drop < len(h.recent) && (len(h.recent)-drop > maxRecent || h.recentBytes > maxRecentBytes) {
		r := h.recent[drop]
		h.recentBytes -= len(r.Leaf) + len(r.Head) + len(r.Blob)
		drop++
	}
	// Copied, so that what was dropped is freed and pages handed out before
	// do not change.
	h.recent = append([]signet.Record(nil), h.recent[drop:]...)
}

// since returns the records from position from to the end, if recent has them.
func (h *history) since(from uint64) ([]signet.Record, bool) {
	first := h.Size - uint64(len(h.recent))
	if from < first || from > h.Size {
		return nil, false
	}
	return h.recent[from-first:], true
}

// fullOfTip is the newest checkpoint as a full one: of the same text as the
// tip, so that two devices that compare them see one. Called with mu held for
// writing.
func (h *history) fullOfTip(by key.Signer) (*chain.Checkpoint, error) {
	if h.tip.Full {
		return h.tip, nil
	}
	if h.full.Size == h.tip.Size && h.full.Time == h.tip.Time {
		return h.full, nil
	}
	c, err := chain.Sign(by, h.ID, h.tip.Size, h.tip.Root, h.tip.Time, true)
	if err != nil {
		return nil, err
	}
	h.full = c
	return c, nil
}
