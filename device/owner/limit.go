package owner

import (
	"context"
	"time"

	"signet/device/cli/control"
	"signet/device/line"
	"signet/transport"
)

// A meter lets the client's bytes ask the line.
type meter struct{ *line.Line }

var ways = map[transport.Direction]line.Direction{transport.Up: line.Up, transport.Down: line.Down}

func (m meter) Begin(ctx context.Context, d transport.Direction) func() {
	return m.Line.Begin(ctx, ways[d])
}

func (m meter) Move(ctx context.Context, d transport.Direction, n int) error {
	return m.Line.Move(ctx, ways[d], n)
}

func (m meter) Message(ctx context.Context, d transport.Direction, n int) error {
	return m.Line.Message(ctx, ways[d], n)
}

// steerEvery is how often it is looked whether a time of the schedule began, the
// machine slept or, where the system does not tell by itself, the network changed.
// Each look wakes an idle machine.
const steerEvery = 5 * time.Second

// steer keeps the line to its limits, and connections to a network that is there,
// until the home is closed.
func (o *Owner) steer() {
	t := time.NewTicker(steerEvery)
	defer t.Stop()
	network := line.NewNetwork()
	defer network.Close()
	for {
		select {
		case <-o.closing:
			return
		case <-network.Told():
			select { // one change is told in several messages
			case <-o.closing:
				return
			case <-time.After(100 * time.Millisecond):
			}
		case <-t.C:
		}
		o.adjust()
		if c := network.Look(); c.Any() {
			// In this order: what is tried again finds no connection that is dead.
			o.Client.Drop(c.Concerns)
			o.Engine.Nudge()
		}
	}
}

// adjust sets the limits that hold now, and returns them.
func (o *Owner) adjust() line.Rates {
	o.mu.Lock()
	limits := o.limits
	o.mu.Unlock()
	now := limits.At(o.now())
	o.Line.SetLimit(line.Up, now.Up)
	o.Line.SetLimit(line.Down, now.Down)
	var room *uint64
	if limits.KeepFree != nil {
		n := uint64(max(*limits.KeepFree, 0))
		room = &n
	}
	o.Engine.KeepFree(room)
	why := ""
	switch {
	case now.Pause:
		why = "paused by the schedule"
	case limits.OnBattery && line.OnBattery():
		why = "paused while the machine runs on its battery"
	case limits.OnMetered && line.OnMetered():
		why = "paused while the network costs by the byte"
	}
	o.Engine.Hold(why)
	return now
}

// LimitParams are those of the command limit. What is nil stays as it is.
type LimitParams struct {
	Up        *int64         `json:"up,omitempty"`       // bytes a second; 0: no limit
	Down      *int64         `json:"down,omitempty"`     // likewise
	Schedule  *[]line.Window `json:"schedule,omitempty"` // in place of the one there is
	OnBattery *bool          `json:"pause_on_battery,omitempty"`
	OnMetered *bool          `json:"pause_on_metered,omitempty"`
	KeepFree  *Room          `json:"keep_free,omitempty"`
}

// A Room is how much of a disk downloads leave free.
type Room struct {
	Bytes *int64 `json:"bytes"` // null: 1 GiB, or 1 % of the disk where that is less
}

// Limited says which limits a device's line has.
type Limited struct {
	Up        int64         `json:"up"` // bytes a second; 0: no limit
	Down      int64         `json:"down"`
	Schedule  []line.Window `json:"schedule"`
	OnBattery bool          `json:"pause_on_battery"`
	OnMetered bool          `json:"pause_on_metered"`
	KeepFree  *int64        `json:"keep_free"` // of a disk, by downloads; null: 1 GiB, or 1 % where that is less
	Now       LimitedNow    `json:"now"`
	Daemon    bool          `json:"daemon"`
}

// LimitedNow are the limits at this time of the week.
type LimitedNow struct {
	Up    int64 `json:"up"`
	Down  int64 `json:"down"`
	Pause bool  `json:"pause"`
}

// limit changes and shows limits. They are kept in the home before they hold.
func (w *Work) limit(_ context.Context, p LimitParams, _ control.UI) (any, error) {
	w.mu.Lock()
	l := w.limits
	if p.Up != nil {
		l.Up = *p.Up
	}
	if p.Down != nil {
		l.Down = *p.Down
	}
	if p.Schedule != nil {
		l.Schedule = *p.Schedule
	}
	if p.OnBattery != nil {
		l.OnBattery = *p.OnBattery
	}
	if p.OnMetered != nil {
		l.OnMetered = *p.OnMetered
	}
	if p.KeepFree != nil {
		l.KeepFree = p.KeepFree.Bytes
	}
	if p != (LimitParams{}) {
		if err := l.Save(w.Home.LimitsFile()); err != nil {
			w.mu.Unlock()
			return nil, err
		}
	}
	w.limits = l
	w.mu.Unlock()
	now := w.adjust()
	if p.KeepFree != nil {
		w.Engine.Nudge() // what waits for room may have it now
	}
	out := Limited{Up: l.Up, Down: l.Down, Schedule: l.Schedule, OnBattery: l.OnBattery, OnMetered: l.OnMetered, KeepFree: l.KeepFree, Now: LimitedNow{now.Up, now.Down, now.Pause}, Daemon: w.Running}
	if out.Schedule == nil {
		out.Schedule = []line.Window{}
	}
	return out, nil
}

// A LineStatus is a device's line as status shows it.
type LineStatus struct {
	Up   WayStatus `json:"up"`
	Down WayStatus `json:"down"`
}

// A WayStatus is one direction of it, since this process began.
type WayStatus struct {
	Limit int64   `json:"limit"` // bytes a second, now; 0: none
	Rate  float64 `json:"rate"`  // bytes a second, as it was lately while there was something to move; 0: not known
	// Bytes of objects that were let through, by how urgent they were.
	Saved   int64 `json:"bytes_saved"`
	Small   int64 `json:"bytes_small"`
	Next    int64 `json:"bytes_next"`
	Largest int64 `json:"bytes_largest"`
}

func (o *Owner) lineStatus() LineStatus {
	way := func(d line.Direction) WayStatus {
		m := o.Line.Moved(d)
		return WayStatus{Limit: o.Line.Limit(d), Rate: o.Line.Rate(d), Saved: m[line.Saved], Small: m[line.Small], Next: m[line.Next], Largest: m[line.Largest]}
	}
	return LineStatus{way(line.Up), way(line.Down)}
}
