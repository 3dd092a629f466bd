package owner

import (
	"context"
	"encoding/json"
	"slices"

	"signet"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/past"
)

// HistoryParams are those of the command history.
type HistoryParams struct {
	Path string `json:"path"`
	// Changes lists what happened in a whole region too, instead of its kept
	// points.
	Changes bool `json:"changes"`
}

// A Revision is a line of a history.
type Revision struct {
	Revision  string       `json:"revision"`
	Time      control.Time `json:"time"`
	Device    string       `json:"device"`
	Member    string       `json:"member"`
	Kind      string       `json:"kind"`
	Path      string       `json:"path"`
	PathB64   []byte       `json:"path_b64,omitempty"`
	Size      int64        `json:"size"`
	SHA256    string       `json:"sha256,omitempty"` // as Node.SHA256
	Conflict  bool         `json:"conflict,omitempty"`
	Kept      string       `json:"kept,omitempty"` // why the content is kept that it had after this: current, pinned, weekly, daily, recent, no
	KeptUntil control.Time `json:"kept_until"`     // null: without an end
}

// A PointLine is a kept point of a region.
type PointLine struct {
	Point     control.Time `json:"point"` // of the last entry that it holds
	Position  uint64       `json:"position"`
	Kinds     []string     `json:"kinds"` // current, pinned, weekly, daily, hourly
	Pins      []string     `json:"pins,omitempty"`
	Files     int          `json:"files"` // and links
	Bytes     int64        `json:"bytes"`
	Changes   int          `json:"changes"` // since the point before
	Devices   []string     `json:"devices"` // that made these
	KeptUntil control.Time `json:"kept_until"`
}

// A HistoryLine is either.
type HistoryLine struct {
	*Revision
	*PointLine
}

// UnmarshalJSON implements json.Unmarshaler: a point is what has one.
func (l *HistoryLine) UnmarshalJSON(b []byte) error {
	var is struct {
		Point *control.Time `json:"point"`
	}
	if err := json.Unmarshal(b, &is); err != nil {
		return err
	}
	if is.Point != nil {
		return json.Unmarshal(b, &l.PointLine)
	}
	return json.Unmarshal(b, &l.Revision)
}

// history streams what happened at a path and below it, newest first; of a
// whole region its kept points.
func (w *Work) history(ctx context.Context, p HistoryParams, ui control.UI) (any, error) {
	s, err := w.found(ctx, p.Path, ui)
	if err != nil {
		return nil, err
	}
	if s.path == "" && !p.Changes {
		return w.points(ctx, s, ui)
	}
	return w.revisions(ctx, s, ui)
}

// A content is what a node had.
type content struct {
	node signet.NodeID
	rev  signet.RevisionID
}

// historyMost is how many events a history holds before it knows whose it needs;
// if there are more, it reads the journal twice.
var historyMost = 1 << 18

// A chronicle is what happened to some nodes, and how long each of their
// contents stood.
type chronicle struct {
	events []tree.Event
	stood  map[content][]tree.Span
	pins   tree.Pins
	policy tree.Policy
}

// chronicle reads what happened to all nodes that were ever at or below a path.
func (w *Work) chronicle(s spot) (*chronicle, map[signet.NodeID]bool, error) {
	mine := map[signet.NodeID]bool{}
	c, all, err := w.readChronicle(s, mine, false)
	if err == nil && !all {
		c, _, err = w.readChronicle(s, mine, true)
	}
	return c, mine, err
}

// readChronicle reads the journal, notes in mine whose events are at or below a
// path, and keeps those, or, while nobody knows whose these are, all; all is
// false if these were too many.
func (w *Work) readChronicle(s spot, mine map[signet.NodeID]bool, known bool) (c *chronicle, all bool, err error) {
	c, all = &chronicle{stood: map[content][]tree.Span{}, policy: tree.Policy{Keep: tree.DefaultKeep}}, true
	horizon := w.Engine.Horizon(s.region)
	note := func(v tree.Span) {
		if !v.Current && v.End < horizon {
			return // nothing is kept of it
		}
		if all && (!known || mine[v.Node]) {
			v.Content = nil
			of := content{v.Node, v.Revision}
			c.stood[of] = append(c.stood[of], v)
		}
	}
	spans, others := tree.Spans{Ended: note}, 0
	_, err = w.Engine.Retell(s.region, nil, func(e engine.Told) error {
		for _, v := range e.Events {
			if past.Within(v.Path, s.path) {
				mine[v.Node] = true // also what it did under other names
			}
			if all && (!known || mine[v.Node]) {
				c.events = append(c.events, v)
			}
			if !mine[v.Node] {
				others++
			}
		}
		if others > historyMost && !known {
			all, c.events, c.stood = false, nil, nil
		}
		if e.Begins {
			spans.Begin(e.Tree)
		} else if e.Batch != nil {
			spans.Take(e.Tree, e.Of, e.Outcomes)
			c.pins.Take(e.Of, e.Batch)
			c.policy.Take(e.Of, e.Batch)
		}
		return nil
	})
	c.pins = c.pins.From(horizon)
	if err == nil {
		spans.Rest(note)
	}
	return c, all, err
}

// revisions streams what happened at a path and below it.
func (w *Work) revisions(ctx context.Context, s spot, ui control.UI) (any, error) {
	c, mine, err := w.chronicle(s)
	if err != nil {
		return nil, err
	}
	names, now := w.deviceNames(ctx), w.Engine.Now().UnixMilli()
	n := 0
	for _, e := range slices.Backward(c.events) {
		if !mine[e.Node] || e.Node == signet.RootNode {
			continue
		}
		r := Revision{Revision: e.Revision.String(), Time: control.Milliseconds(e.Time), Device: nameOf(names, e.Device), Member: w.memberOf(e.Device),
			Kind: e.Kind, Size: e.Size, Conflict: e.Conflict}
		if e.Type == tree.File {
			if r.SHA256, err = w.sha256(ctx, s.region, e.Node, e.Size, e.Hash); err != nil {
				return nil, err
			}
		}
		if e.Type != tree.Dir {
			r.kept(c.stood[content{e.Node, e.Content}], c.policy.Keep, c.pins, now)
		}
		r.Path, r.PathB64 = control.Name(e.Path)
		n++
		if err := ui.Item(r); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		return nil, failed("not_found", "signet tree "+s.name+": shows what there is", "%s: nothing of that name, now or before", s)
	}
	return struct{}{}, nil
}

// kept says until when a content is kept that stood so often.
func (r *Revision) kept(stood []tree.Span, keep tree.Keep, pins []tree.Pin, now int64) {
	r.Kept = "no"
	var last int64
	for _, v := range stood {
		until, why := keep.Until(v, pins)
		if until < last {
			continue
		}
		if last = until; until > now {
			r.Kept = string(why)
		}
	}
	if last != tree.Forever {
		r.KeptUntil = control.Milliseconds(last)
	}
}

// points streams a region's kept points, newest first.
func (w *Work) points(ctx context.Context, s spot, ui control.UI) (any, error) {
	type tally struct { // after an entry
		files   int
		bytes   int64
		changes int // of the entry
		device  signet.DeviceID
	}
	var times []int64
	var after []tally
	var pins tree.Pins
	policy := tree.Policy{Keep: tree.DefaultKeep}
	var sum tally
	spans := tree.Spans{
		Began: func(v tree.Span) { sum.files++; sum.bytes += v.Size },
		Ended: func(v tree.Span) { sum.files--; sum.bytes -= v.Size },
	}
	_, err := w.Engine.Retell(s.region, nil, func(e engine.Told) error {
		if e.Begins && len(times) > int(e.Position) { // told before, for what it set
			times, after = times[:e.Position], after[:e.Position]
		}
		times = append(times, e.Time)
		if e.Begins {
			spans.Begin(e.Tree)
		} else if e.Batch != nil {
			spans.Take(e.Tree, e.Of, e.Outcomes)
			pins.Take(e.Of, e.Batch)
			policy.Take(e.Of, e.Batch)
		}
		sum.changes, sum.device = len(e.Events), e.Of.Device
		if e.Begins {
			sum.changes = 0 // of who knows when
		}
		after = append(after, sum)
		return nil
	})
	if err != nil {
		return nil, err
	}
	names := w.deviceNames(ctx)
	horizon := w.Engine.Horizon(s.region)
	list := slices.DeleteFunc(past.Points(times, policy.Keep, pins.From(horizon), w.Engine.Now().UnixMilli()), func(k past.Point) bool { return k.Position+1 < horizon })
	for i := len(list) - 1; i >= 0; i-- {
		k := list[i]
		l := PointLine{Point: control.Milliseconds(k.Time), Position: k.Position, Kinds: k.Kinds, Files: after[k.Position].files, Bytes: after[k.Position].bytes, Devices: []string{}}
		for _, p := range k.Pins {
			text, _ := control.Name(p)
			l.Pins = append(l.Pins, text)
		}
		if k.Until != tree.Forever {
			l.KeptUntil = control.Milliseconds(k.Until)
		}
		from := uint64(0)
		if i > 0 {
			from = list[i-1].Position + 1
		}
		for _, a := range after[from : k.Position+1] {
			l.Changes += a.changes
			if d := nameOf(names, a.device); a.changes > 0 && !slices.Contains(l.Devices, d) {
				l.Devices = append(l.Devices, d)
			}
		}
		if err := ui.Item(l); err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// pins are the pins of a region, by what they hold, oldest first.
func (w *Work) pins(id signet.RegionID) ([]tree.Pin, error) {
	pins, _, err := keptIn(w.Engine, id)
	return pins, err
}
