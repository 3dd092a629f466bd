package owner

import (
	"fmt"
	"math"
	"time"

	"signet/device/disk"
	"signet/device/engine"
)

// A WatchStatus says how a running daemon comes to know what happens in a volume.
type WatchStatus struct {
	Watched  int            `json:"watched"` // folders of which the system tells
	Polled   int            `json:"polled"`  // folders that are looked at from time to time
	Names    float64        `json:"names_seconds,omitempty"`
	Contents float64        `json:"contents_seconds,omitempty"`
	Setting  *SystemSetting `json:"setting,omitempty"` // nil: not a setting keeps more from being watched
}

// A SystemSetting is one that an administrator can raise.
type SystemSetting struct {
	Name   string `json:"name"` // as sysctl knows it
	Value  int    `json:"value"`
	Enough int    `json:"enough"` // for all volumes of this device, as far as is known
	File   string `json:"file"`   // where it lasts
}

// sysctlFile is where a setting is read from when the system starts.
const sysctlFile = "/etc/sysctl.d/90-signet.conf"

// watching adds to volumes how they are watched, and to their problems that the
// system's limit keeps some of their folders from being so.
func (w *Work) watching(list []VolumeStatus) {
	if !w.Running {
		return
	}
	// What would be enough is a question of all: they share the limit.
	var folders, volumes int
	open := make([]*disk.Volume, len(list))
	for i, v := range list {
		if open[i] = w.opened(v.VolumeStatus.Path); open[i] == nil {
			continue
		}
		p := open[i].Polls()
		folders += p.Folders
		if p.Limit.Instances() {
			volumes++
		}
	}
	for i, d := range open {
		if d == nil {
			continue
		}
		have, want, err := d.Watches()
		if want == 0 {
			continue // a system that does not tell
		}
		v := &list[i]
		v.Watch = &WatchStatus{Watched: have, Polled: want - have}
		if want == have {
			continue
		}
		p := d.Polls()
		v.Watch.Names, v.Watch.Contents = p.Names.Seconds(), p.Contents.Seconds()
		said := engine.Problem{Path: ".", Kind: engine.FewWatches, Message: fmt.Sprintf(
			"%d of %d folders are watched; the others are looked at every %s, and every %s for what is written inside a file", have, want, every(p.Names), every(p.Contents))}
		if err != nil {
			said.Message += ": " + err.Error()
		}
		if l := p.Limit; l.Name != "" {
			lacking := folders
			if l.Instances() {
				lacking = volumes
			}
			s := &SystemSetting{l.Name, l.Value, l.Enough(lacking), sysctlFile}
			v.Watch.Setting = s
			said.Hint = fmt.Sprintf("as root: sysctl %s=%d; to make it last: echo %s=%d > %s", s.Name, s.Enough, s.Name, s.Enough, s.File)
		}
		v.Problems = append([]engine.Problem{said}, v.Problems...)
	}
}

// every is a time as a person says it, rounded up.
func every(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()))
	}
	return fmt.Sprintf("%.0f min", math.Ceil(d.Minutes()))
}
