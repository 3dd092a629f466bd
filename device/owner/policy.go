package owner

import (
	"context"
	"time"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
)

// PolicyParams are those of the command region policy. What is not given stays.
type PolicyParams struct {
	Path   string    `json:"path"` // of the region
	Days   *int64    `json:"days"`
	Weeks  *int64    `json:"weeks"` // 0: without end
	Since  time.Time `json:"since"` // weeks that ended by then are given up; zero: as it is
	DryRun bool      `json:"dry_run"`
}

// A PolicyLine is how long a region keeps its history, and what a change of that
// ends.
type PolicyLine struct {
	Region string       `json:"region"`
	Hours  int64        `json:"hours"`
	Days   int64        `json:"days"`
	Weeks  int64        `json:"weeks"` // 0: without end
	Since  control.Time `json:"weeks_since,omitzero"`
	Set    control.Time `json:"set,omitzero"` // zero: it is the default
	Device string       `json:"device,omitempty"`

	Ends   int   `json:"ends"`       // versions that are kept now, and are no more
	Bytes  int64 `json:"ends_bytes"` // of them
	DryRun bool  `json:"dry_run"`
}

// policy shows how long a region keeps its history, or changes it.
func (w *Work) policy(ctx context.Context, p PolicyParams, ui control.UI) (any, error) {
	s, err := w.wholeRegion(ctx, p.Path, ui, "signet region policy %s", "history is kept of a whole region")
	if err != nil {
		return nil, err
	}
	pins, now, err := keptIn(w.Engine, s.region)
	if err != nil {
		return nil, err
	}
	next := now.Keep
	for _, n := range []struct {
		to   *int64
		from *int64
	}{{&next.Days, p.Days}, {&next.Weeks, p.Weeks}} {
		if n.from == nil {
			continue
		}
		if *n.to = *n.from; *n.to < 0 || *n.to > tree.MaxKeep {
			return nil, &problem{"usage", "at most 10000 days or weeks", "", control.Usage}
		}
	}
	if !p.Since.IsZero() {
		next.Since = max(p.Since.UnixMilli(), 0)
	}
	out := PolicyLine{Region: s.name, Hours: next.Hours, Days: next.Days, Weeks: next.Weeks, DryRun: p.DryRun}
	if next.Since > 0 {
		out.Since = control.Milliseconds(next.Since)
	}
	if next == now.Keep {
		if now.Set {
			out.Set, out.Device = control.Milliseconds(now.Time), nameOf(w.deviceNames(ctx), now.Device)
		}
		return out, nil
	}
	if err := w.ends(s, now.Keep, next, pins, &out); err != nil {
		return nil, err
	}
	out.Set, out.Device = control.Time{Time: w.Engine.Now()}, w.Account.Name
	if p.DryRun {
		return out, nil
	}
	op := tree.Op{Kind: tree.Rule, Keep: next}
	return out, w.Engine.Put(ctx, s.region, func(*tree.Tree) ([]tree.Op, error) { return []tree.Op{op}, nil })
}

// ends counts what one policy keeps now and another does not.
func (w *Work) ends(s spot, before, after tree.Keep, pins []tree.Pin, out *PolicyLine) error {
	now := w.Engine.Now().UnixMilli()
	spans := tree.Spans{Ended: func(v tree.Span) {
		was, _ := before.Until(v, pins)
		if is, _ := after.Until(v, pins); was > now && is <= now {
			out.Ends, out.Bytes = out.Ends+1, out.Bytes+v.Size
		}
	}}
	_, err := w.Engine.Retell(s.region, nil, func(e engine.Told) error {
		if e.Begins {
			spans.Begin(e.Tree)
		} else if e.Batch != nil {
			spans.Take(e.Tree, e.Of, e.Outcomes)
		}
		return nil
	})
	return err
}
