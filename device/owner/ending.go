package owner

import (
	"context"
	"errors"
	"time"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
)

// CollectParams are those of region collect.
type CollectParams struct {
	Path   string `json:"path"` // of the region
	DryRun bool   `json:"dry_run"`
}

// A Collected is what region collect did: numbers of objects.
type Collected struct {
	Region    string        `json:"region"`
	Kept      int           `json:"kept"`
	Condemned int           `json:"condemned"`
	Spared    int           `json:"spared"`
	Collected int           `json:"collected"`
	Waiting   int           `json:"waiting"`
	Due       *control.Time `json:"due,omitempty"` // when the first of the waiting is
}

// collect condemns what no kept version uses, and collects what was condemned
// long enough ago.
func (w *Work) collect(ctx context.Context, p CollectParams, ui control.UI) (any, error) {
	s, err := w.wholeRegion(ctx, p.Path, ui, "signet region collect %s", "objects end in a whole region")
	if err != nil {
		return nil, err
	}
	e, err := w.Engine.EndObjects(ctx, s.region, tree.DefaultKeep, p.DryRun)
	if errors.Is(err, engine.ErrNotWhole) {
		return nil, failed("not_whole", "wait until signet status says that it is in step, and try again", "%s: %v", s.name, engine.ErrNotWhole)
	}
	if err != nil {
		return nil, err
	}
	out := Collected{Region: s.name, Kept: e.Kept, Condemned: e.Condemned, Spared: e.Spared, Collected: e.Collected, Waiting: e.Waiting}
	if e.Due > 0 {
		out.Due = &control.Time{Time: time.UnixMilli(e.Due)}
	}
	return out, nil
}
