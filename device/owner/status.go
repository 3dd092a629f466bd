package owner

import (
	"context"
	"time"

	"signet"
	"signet/device/cli/control"
	"signet/device/engine"
)

// Status is what status shows.
type Status struct {
	Device       string         `json:"device"`
	DeviceID     string         `json:"device_id"`
	Member       string         `json:"member"`
	Organisation string         `json:"organisation"`
	Service      ServiceStatus  `json:"service"`
	Daemon       bool           `json:"daemon"`
	Volumes      []VolumeStatus `json:"volumes"`
	Alarms       []Alarm        `json:"alarms"`
	Line         LineStatus     `json:"line"`
	IndexAnew    bool           `json:"index_anew,omitempty"` // no folder is known any more
}

// An Alarm is an engine's alarm as results show it.
type Alarm struct {
	Kind     string       `json:"kind"`
	Message  string       `json:"message"`
	Evidence string       `json:"evidence"` // a file; "" where none could be kept
	Since    control.Time `json:"since"`
	Region   string       `json:"region,omitempty"`
	Device   string       `json:"device,omitempty"` // whom it is about, where it is one
	Hint     string       `json:"hint,omitempty"`   // what to do

	State string        `json:"state,omitempty"` // recovering, ended; empty: it stands
	Ended *control.Time `json:"ended,omitempty"`
}

// alarms lists the alarms, the first first: those that stand, or also those that
// ended by themselves or are about to.
func (w *Work) alarms(past bool) []Alarm {
	list := []Alarm{}
	for _, a := range w.Engine.Alarms() {
		if a.State != "" && !past {
			continue
		}
		out := Alarm{a.Kind, a.Message, a.Evidence, control.Time{Time: a.Since}, a.Region, a.Device, a.Hint, a.State, nil}
		if a.Ended != nil {
			out.Ended = &control.Time{Time: *a.Ended}
		}
		list = append(list, out)
	}
	return list
}

// VolumeStatus is a volume as status shows it. Where no daemon runs it is what
// was known when somebody looked last.
type VolumeStatus struct {
	engine.VolumeStatus
	Path    string       `json:"path"`
	PathB64 []byte       `json:"path_b64,omitempty"`
	Reason  string       `json:"reason"`
	Watch   *WatchStatus `json:"watch,omitempty"` // nil: no daemon watches it
}

// volumes lists the volumes' states, by folder.
func (w *Work) volumes() []VolumeStatus {
	list := []VolumeStatus{}
	for _, i := range w.Engine.Volumes() {
		v := VolumeStatus{VolumeStatus: w.Engine.VolumeStatus(i.ID)}
		v.Path, v.PathB64 = control.Name(i.Dir)
		v.Reason = v.VolumeStatus.Reason
		list = append(list, v)
	}
	w.watching(list)
	return list
}

// ServiceStatus is the service as this device sees it.
type ServiceStatus struct {
	URL     string  `json:"url"`
	State   string  `json:"state"` // online, offline, unknown (no daemon)
	Reason  string  `json:"reason,omitempty"`
	HeadAge float64 `json:"head_age"` // seconds since the newest directory checkpoint was signed
}

func (w *Work) status(ctx context.Context, _ struct{}, _ control.UI) (any, error) {
	w.weigh(ctx)
	s := Status{Device: w.Account.Name, DeviceID: w.Account.Device.String(), Member: w.Account.Ring.String(), Organisation: w.Account.Org.String(),
		Daemon: w.Running, IndexAnew: w.anew(), Volumes: w.volumes(), Alarms: w.alarms(false), Line: w.lineStatus(), Service: ServiceStatus{URL: w.Account.Service, State: "unknown"}}
	if w.Running {
		on, err := w.Engine.Online()
		s.Service.State = map[bool]string{true: "online", false: "offline"}[on]
		if err != nil {
			s.Service.Reason = err.Error()
		}
	}
	if age, ok := w.Engine.HeadAge(); ok {
		s.Service.HeadAge = age.Seconds()
	}
	return s, nil
}

// usageWait is for how long status waits for the service to say what it has.
const usageWait = 2 * time.Second

// weigh asks the service what the owners of the regions use, where a daemon has a
// connection: without one the last answer is shown.
func (w *Work) weigh(ctx context.Context) {
	if on, _ := w.Engine.Online(); !on || !w.Running {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, usageWait)
	defer cancel()
	for _, v := range w.Engine.Volumes() {
		if _, err := w.Engine.Usage(ctx, v.Region); err != nil {
			return
		}
	}
}

type noticesParams struct {
	Seen bool `json:"seen"`
}

func (w *Work) notices(_ context.Context, p noticesParams, _ control.UI) (any, error) {
	a := w.alarms(true)
	if p.Seen {
		return a, w.Engine.Seen()
	}
	return a, nil
}

// Region is a line of region list.
type Region struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Own        bool              `json:"own"`
	Generation signet.Generation `json:"generation"`
	Entries    uint64            `json:"entries"`
	Nodes      int               `json:"nodes"`
	Path       string            `json:"path,omitempty"`
	PathB64    []byte            `json:"path_b64,omitempty"`
}

func (w *Work) regions(ctx context.Context, _ struct{}, ui control.UI) (any, error) {
	if err := w.refresh(ctx, ui); err != nil {
		return nil, err
	}
	list := []Region{}
	at := map[signet.RegionID]string{}
	for _, v := range w.Engine.Volumes() {
		at[v.Region] = v.Dir
	}
	for _, r := range w.Engine.Regions() {
		e := Region{Name: r.Name, ID: r.ID.String(), Own: r.Own, Generation: r.Generation, Entries: r.Entries, Nodes: r.Nodes}
		e.Path, e.PathB64 = control.Name(at[r.ID])
		list = append(list, e)
	}
	return list, nil
}
