package engine

import (
	"context"
	"errors"
	"fmt"

	"signet"
	"signet/core/seal"
	"signet/core/tree"
)

// Contents calls each with every content that a file of a region ever had, and
// with until when it is kept (tree.Keep.Until), by the region's policy or, where it
// has none, by keep: those that ended first, then what the files have now. It reads the whole journal, as Retell does, and
// holds some 250 bytes for each content.
func (d *Device) Contents(id signet.RegionID, keep tree.Keep, each func(s tree.Span, until int64, why tree.Why) error) error {
	var ended []tree.Span
	var pins tree.Pins
	policy := tree.Policy{Keep: keep}
	spans := tree.Spans{Ended: func(s tree.Span) { ended = append(ended, s) }}
	_, err := d.Retell(id, nil, func(e Told) error {
		if e.Begins {
			spans.Begin(e.Tree)
		} else if e.Batch != nil {
			spans.Take(e.Tree, e.Of, e.Outcomes)
			pins.Take(e.Of, e.Batch)
			policy.Take(e.Of, e.Batch)
		}
		return nil
	})
	if err != nil {
		return err
	}
	spans.Rest(func(s tree.Span) { ended = append(ended, s) })
	horizon := d.Horizon(id)
	pins = pins.From(horizon)
	for _, s := range ended {
		until, why := policy.Until(s, pins)
		if !s.Current && s.End < horizon {
			until, why = 0, tree.KeptNot // those who came later cannot know of it
		}
		if err := each(s, until, why); err != nil {
			return err
		}
	}
	return nil
}

// KeptUntil is, for each object that a content of a region ever used, the time,
// ms since 1970, until which it is kept by the region's policy, or by keep: tree.Forever, or that of the
// content which needs it longest. What is not after now, no kept revision uses.
// Manifests of long files are fetched, a page of several versions once; one
// that is gone, of a content that is not kept at now, tells nothing.
//
// What else entries name is either a snapshot's, or was put and adopted: no
// revision ever used it.
func (d *Device) KeptUntil(ctx context.Context, id signet.RegionID, keep tree.Keep, now int64) (map[signet.ObjectID]int64, error) {
	until := map[signet.ObjectID]int64{}
	type version struct {
		content *seal.Content
		until   int64
	}
	var long []version
	note := func(ids []signet.ObjectID, t int64) {
		for _, o := range ids {
			until[o] = max(until[o], t)
		}
	}
	err := d.Contents(id, keep, func(s tree.Span, t int64, _ tree.Why) error {
		if len(s.Content) == 0 { // a link
			return nil
		}
		c, err := seal.ParseContent(s.Content)
		if err != nil {
			return nil // every reader of it has the same trouble; it uses nothing
		}
		note(c.Objects(), t)
		if c.Root != nil || len(c.Pages) > 0 {
			long = append(long, version{c, t})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pages := map[signet.ObjectID][]byte{}
	get := func(o signet.ObjectID) ([]byte, error) {
		if b, ok := pages[o]; ok {
			return b, nil
		}
		b, err := d.object(ctx, id, o)
		if err == nil {
			pages[o] = b
		}
		return b, err
	}
	for _, v := range long {
		m, err := v.content.Open(get)
		if errors.Is(err, signet.ErrNotFound) && v.until <= now {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("manifest of a file of %d bytes: %w", v.content.Size, err)
		}
		note(m.Objects(), v.until)
	}
	return until, nil
}
