package owner

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"signet/core/tree"
	"signet/device/cli/control"
)

// PinParams are those of the commands pin add and pin remove.
type PinParams struct {
	Path   string    `json:"path"` // of the region
	Name   string    `json:"name"`
	At     time.Time `json:"at"` // zero: now
	Remove bool      `json:"remove"`
	DryRun bool      `json:"dry_run"`
}

// A PinLine is a pin.
type PinLine struct {
	Region   string       `json:"region"`
	Name     string       `json:"name"`
	Point    control.Time `json:"point"` // of the last entry that it holds
	Position uint64       `json:"position"`
	Set      control.Time `json:"set"`
	Device   string       `json:"device"`
}

// pinList streams the pins of a region, or of all, oldest point first.
func (w *Work) pinList(ctx context.Context, p pathParams, ui control.UI) (any, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	var spots []spot
	if p.Path != "" {
		s, err := w.at(p.Path)
		if err != nil {
			return nil, err
		}
		spots = append(spots, s)
	} else {
		for _, r := range w.Engine.Regions() {
			spots = append(spots, spot{region: r.ID, name: r.Name})
		}
	}
	for _, s := range spots {
		lines, err := w.pinLines(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if err := ui.Item(l); err != nil {
				return nil, err
			}
		}
	}
	return struct{}{}, nil
}

func (w *Work) pinLines(ctx context.Context, s spot) (lines []PinLine, err error) {
	pins, err := w.pins(s.region)
	if err != nil || len(pins) == 0 {
		return nil, err
	}
	times, err := w.Engine.LeafTimes(s.region)
	if err != nil {
		return nil, err
	}
	names := w.deviceNames(ctx)
	for _, p := range pins {
		lines = append(lines, PinLine{Region: s.name, Name: p.Name, Point: control.Milliseconds(times[p.At]), Position: p.At,
			Set: control.Milliseconds(p.Time), Device: nameOf(names, p.Device)})
	}
	return lines, nil
}

// pin sets a pin of a region's newest kept point that is not after a time, or
// takes one off.
func (w *Work) pin(ctx context.Context, p PinParams, ui control.UI) (any, error) {
	if !isPinName(p.Name) {
		return nil, &problem{"usage", "a pin's name has 1 to 255 bytes that can be seen", "", control.Usage}
	}
	s, err := w.wholeRegion(ctx, p.Path, ui, "signet pin add %s NAME", "a pin holds a whole region")
	if err != nil {
		return nil, err
	}
	pins, err := w.pins(s.region)
	if err != nil {
		return nil, err
	}
	pins = slices.DeleteFunc(pins, func(o tree.Pin) bool { return o.Name != p.Name })
	times, err := w.Engine.LeafTimes(s.region)
	if err != nil {
		return nil, err
	}
	out := PinLine{Region: s.name, Name: p.Name, Device: w.Account.Name, Set: control.Time{Time: w.Engine.Now()}}
	var ops []tree.Op
	switch {
	case p.Remove && len(pins) == 0:
		return nil, failed("not_found", "signet pin list", "%s has no pin %q", s.name, p.Name)
	case p.Remove:
		out.Position = pins[0].At
		for _, o := range pins {
			ops = append(ops, tree.Op{Kind: tree.Mark, Node: o.ID})
		}
	case len(pins) > 0:
		return nil, failed("exists", "signet pin remove "+s.name+" NAME takes it off", "%s has a pin %q", s.name, p.Name)
	default:
		at := p.At
		if at.IsZero() {
			at = time.UnixMilli(times[len(times)-1])
		}
		if out.Position, err = keptPoint(w.Engine, s.region, times, at.UnixMilli()); err != nil {
			return nil, err
		}
		op := tree.Op{Kind: tree.Mark, Name: p.Name, Seen: out.Position}
		rand.Read(op.Node[:])
		ops = append(ops, op)
	}
	if out.Point = control.Milliseconds(times[out.Position]); p.DryRun {
		return out, nil
	}
	return out, w.Engine.Put(ctx, s.region, func(*tree.Tree) ([]tree.Op, error) { return ops, nil })
}

// isPinName reports whether a pin can have a name.
func isPinName(name string) bool {
	return name != "" && len(name) <= tree.MaxName && utf8.ValidString(name) && strings.TrimSpace(name) == name &&
		!strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) })
}
