package engine

import (
	"context"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/tree"
)

// A region whose policy keeps weeks without bound keeps them as long as there is
// room on the service. When it gets short, a manager's device gives up the oldest,
// by a policy that says so: whoever reads the journal knows which, and since when.

// Room gets short where more than 7/8 of it are used; then so many weeks are given
// up that 3/4 would be.
const (
	shortOf = 8
	shortAt = 7
	enough  = 6
)

// giveUpAgain is when more is given up at the earliest: what was is collected by
// then.
const giveUpAgain = (journal.DefaultGrace + 2) * 24 * time.Hour

// MakeRoom gives up the oldest weeks of a region where the service gets short of room.
// The sizes that it goes by are those of whole versions: what they share with others
// does not come free, so it may give up too little, and goes on the next time.
func (d *Device) MakeRoom(ctx context.Context, id signet.RegionID) error {
	u, err := d.Usage(ctx, id)
	if err != nil || u.Limit == 0 || u.Used <= u.Limit/shortOf*shortAt {
		return err
	}
	var stood []tree.Span
	var pins tree.Pins
	policy := tree.Policy{Keep: tree.DefaultKeep}
	spans := tree.Spans{Ended: func(s tree.Span) { s.Content = nil; stood = append(stood, s) }}
	_, err = d.Retell(id, nil, func(e Told) error {
		if e.Begins {
			spans.Begin(e.Tree)
		} else if e.Batch != nil {
			spans.Take(e.Tree, e.Of, e.Outcomes)
			pins.Take(e.Of, e.Batch)
			policy.Take(e.Of, e.Batch)
		}
		return nil
	})
	if err != nil || policy.Weeks != 0 || policy.Since > 0 && d.now()-policy.Time < giveUpAgain.Milliseconds() {
		return err
	}
	next, freed := policy.GiveUp(stood, pins, d.now(), u.Used-u.Limit/shortOf*enough)
	if freed == 0 {
		return nil
	}
	return d.Put(ctx, id, func(*tree.Tree) ([]tree.Op, error) { return []tree.Op{{Kind: tree.Rule, Keep: next}}, nil })
}
