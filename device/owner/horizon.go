package owner

import (
	"context"
	"errors"
	"time"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
)

// HorizonParams are those of region horizon.
type HorizonParams struct {
	Path   string    `json:"path"`   // of the region
	Before time.Time `json:"before"` // zero: any time
	DryRun bool      `json:"dry_run"`
}

// A HorizonLine is what region horizon did, or would do.
type HorizonLine struct {
	Region  string        `json:"region"`
	State   string        `json:"state"`             // set, coming (was set before), none (nothing to drop)
	Point   *control.Time `json:"point,omitempty"`   // of the last entry before the horizon
	Due     *control.Time `json:"due,omitempty"`     // from when on the service drops
	Entries int           `json:"entries"`           // whose operations go
	Bytes   int64         `json:"bytes"`             // of these
	Keeps   int           `json:"keeps"`             // earlier entries that prove what files hold, and stay
	Oldest  control.Time  `json:"oldest"`            // kept point
	Current *control.Time `json:"current,omitempty"` // last entry before the horizon in effect
	DryRun  bool          `json:"dry_run"`
}

// States of a HorizonLine.
const (
	HorizonSet    = "set"
	HorizonComing = "coming"
	HorizonNone   = "none"
)

// horizon lets operations go that nothing kept needs.
func (w *Work) horizon(ctx context.Context, p HorizonParams, ui control.UI) (any, error) {
	s, err := w.wholeRegion(ctx, p.Path, ui, "signet region horizon %s", "a horizon is of a whole region")
	if err != nil {
		return nil, err
	}
	before := tree.Forever
	if !p.Before.IsZero() {
		before = p.Before.UnixMilli()
	}
	l, err := w.Engine.SetHorizon(ctx, s.region, tree.DefaultKeep, before, p.DryRun)
	if errors.Is(err, engine.ErrNotWhole) {
		return nil, failed("not_whole", "wait until signet status says that it is in step, and try again", "%s: %v", s.name, engine.ErrNotWhole)
	}
	if err != nil {
		return nil, err
	}
	at := func(ms int64) *control.Time { return &control.Time{Time: time.UnixMilli(ms)} }
	out := HorizonLine{Region: s.name, State: HorizonNone, Entries: l.Entries, Bytes: l.Bytes, Keeps: l.Keeps, Oldest: *at(l.Oldest), DryRun: p.DryRun}
	if l.At > 0 {
		if out.State = HorizonSet; l.Coming {
			out.State = HorizonComing
		}
		out.Point, out.Due = at(l.Point), at(l.Due)
	}
	if l.Now > 0 {
		times, err := w.Engine.LeafTimes(s.region)
		if err != nil {
			return nil, err
		}
		out.Current = at(times[l.Now-1])
	}
	return out, nil
}
