package owner

import (
	"cmp"
	"context"
	"slices"

	"signet/device/cli/control"
	"signet/device/engine"
)

// UnsafeFile is a file whose newest bytes are on this device alone.
type UnsafeFile struct {
	Path    string  `json:"path"` // of the folder, with its name
	PathB64 []byte  `json:"path_b64,omitempty"`
	Region  string  `json:"region"`
	Size    int64   `json:"size"`
	State   string  `json:"state"` // unread, in_use, waiting, uploading, held, over_quota, unsynched
	Reason  string  `json:"reason,omitempty"`
	Older   bool    `json:"older_is_safe"`   // an earlier version of it is
	SafeIn  float64 `json:"safe_in_seconds"` // at the rate below, the smallest going first; -1: not by itself
}

// UnsafeReport is what would be lost if this device drowned now.
type UnsafeReport struct {
	Files    int64            `json:"files"`
	Bytes    int64            `json:"bytes"`
	States   map[string]int64 `json:"states"`  // files by state
	Stuck    int64            `json:"stuck"`   // of Files: will not be sent by themselves
	Ignored  int64            `json:"ignored"` // names that rules leave out: nowhere else, and not in Files
	Odd      int64            `json:"odd"`     // names that are neither file, folder nor link, or on other mounts
	Unlisted int64            `json:"unlisted_folders"`
	SafeIn   float64          `json:"safe_in_seconds"`  // until all but the stuck ones are safe
	Rate     float64          `json:"bytes_per_second"` // that this rests on
	Measured bool             `json:"rate_measured"`
	Daemon   bool             `json:"daemon"` // that sends them; else nothing is sent before signet up or sync
	Volumes  []UnsafeVolume   `json:"volumes"`
	List     []UnsafeFile     `json:"list"` // smallest first
}

// UnsafeVolume says of a folder why nothing is known of it, or sent.
type UnsafeVolume struct {
	Path    string       `json:"path"`
	PathB64 []byte       `json:"path_b64,omitempty"`
	Region  string       `json:"region"`
	State   engine.State `json:"state"`
	Files   int64        `json:"files"` // unsafe
	Bytes   int64        `json:"bytes"`
	Error   string       `json:"error,omitempty"` // why it could not be looked at
}

// unsafe says what is on this device alone. It sends nothing, and asks no service.
func (w *Work) unsafe(ctx context.Context, _ struct{}, _ control.UI) (any, error) {
	out := UnsafeReport{Daemon: w.Running, States: map[string]int64{}, Volumes: []UnsafeVolume{}, List: []UnsafeFile{}}
	vs := w.Engine.Volumes()
	if len(vs) == 0 {
		return nil, w.nothing()
	}
	online, _ := w.Engine.Online()
	cut := w.Running && !online
	for _, v := range vs {
		uv := UnsafeVolume{Region: v.Name, State: w.Engine.VolumeStatus(v.ID).State} // before it is looked at
		s, err := w.Engine.Survey(ctx, v.ID)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		uv.Path, uv.PathB64 = control.Name(v.Dir)
		if err != nil {
			uv.Error = explain(err, v.Dir).Error()
		}
		out.Rate += s.Rate
		out.Ignored, out.Odd, out.Unlisted = out.Ignored+int64(s.Ignored), out.Odd+int64(s.Odd), out.Unlisted+int64(s.Unlisted)
		stopped := stands(uv.State) || cut || uv.State == engine.OverQuota && !w.Running // nobody knows which fit
		for _, u := range s.Files {
			uv.Files++
			uv.Bytes += u.Size
			f := UnsafeFile{Region: v.Name, Size: u.Size, State: string(u.State), Reason: u.Reason, Older: u.Before}
			f.Path, f.PathB64 = control.Name(v.Dir + "/" + u.Path)
			if stopped || u.State == engine.HeldBack || u.State == engine.NotFitted || u.State == engine.Unsynched {
				f.SafeIn = -1
				out.Stuck++
			}
			out.States[f.State]++
			out.List = append(out.List, f)
		}
		out.Files, out.Bytes = out.Files+uv.Files, out.Bytes+uv.Bytes
		out.Volumes = append(out.Volumes, uv)
	}
	out.order(w.Engine.Rate())
	return out, nil
}

// stands reports whether a folder in a state sends nothing until a person, or the
// service, does something.
func stands(s engine.State) bool {
	switch s {
	case engine.Paused, engine.ReadOnly, engine.Stopped, engine.AlarmedAt, engine.Offline, engine.Recover, engine.Starved:
		return true
	}
	return false
}

// order sorts the files of all folders, and says when each is safe: at the rate
// of now, else the one measured last, else an assumed one.
func (r *UnsafeReport) order(measured float64) {
	switch {
	case r.Rate > 0:
		r.Measured = true
	case measured > 0:
		r.Rate, r.Measured = measured, true
	default:
		r.Rate = assumedRate
	}
	slices.SortStableFunc(r.List, func(a, b UnsafeFile) int { return cmp.Compare(a.Size, b.Size) })
	at := 0.0
	for i := range r.List {
		f := &r.List[i]
		if f.SafeIn < 0 {
			continue
		}
		at += float64(f.Size)/r.Rate + 1.0/assumedFiles
		f.SafeIn = at
	}
	r.SafeIn = at
}
