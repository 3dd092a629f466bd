package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cold"
	"signet/device/engine"
)

// Copies says where copies of a region are.
type Copies struct {
	Region   string `json:"region"`
	RegionID string `json:"region_id"`
	Entries  uint64 `json:"entries"` // of the journal, as far as this device knows
	// Complete counts the copies that hold all as of some time and depend on no
	// other: this device's folder, the service, exports. Current are those of them
	// that are in step, or not older than their rhythm.
	Complete int           `json:"complete"`
	Current  int           `json:"current"`
	Copies   []Copy        `json:"copies"`
	Warnings []CopyWarning `json:"warnings"`
}

// A Copy is one of them.
type Copy struct {
	Kind     string       `json:"kind"` // this_device, device, service, export
	Name     string       `json:"name"`
	Where    string       `json:"where"` // of an export its place; of this device the folder; of the service the address
	State    string       `json:"state"` // of this device that of its folder; else current, behind, overdue, incomplete, damaged, unknown
	Entries  uint64       `json:"entries"`
	Behind   uint64       `json:"behind"`
	Time     control.Time `json:"time"` // as of when it is, or when it was heard of last
	Age      float64      `json:"age_seconds"`
	Verified control.Time `json:"verified"`      // of an export: when all of it was read last
	Every    int64        `json:"every_seconds"` // of an export: its rhythm; 0: none
	Dir      string       `json:"dir,omitempty"` // of an export: where it was written
	Here     bool         `json:"here"`          // and it is there now: the disk is with this device
	Bytes    uint64       `json:"bytes"`         // of an export
	Lacks    int          `json:"lacks"`         // of this device: files and links of the region that its folder does not have
	Older    int          `json:"older"`         // and those that it has as they were before
	Complete bool         `json:"complete"`
	Current  bool         `json:"current"`
}

// A CopyWarning is something that a person should do about copies.
type CopyWarning struct {
	Kind    string `json:"kind"` // overdue, one_place, damaged, incomplete
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// keeps is for how long an export counts as current of which no rhythm is known.
const keeps = 31 * 24 * time.Hour

// copies says of each region where copies are, how old, and when they were
// verified last. Of other devices it says what their own entries prove, and no
// more: whether files are on their disks nobody else knows.
func (w *Work) copies(ctx context.Context, _ struct{}, ui control.UI) (any, error) {
	reached := true
	if w.Running {
		reached, _ = w.Engine.Online()
	} else {
		err := w.Engine.Discover(ctx)
		reached = !errors.Is(err, signet.ErrUnavailable)
		if err := offline(err, ui); err != nil && !errors.Is(err, signet.ErrNotVerified) { // an alarm: status shows it
			return nil, err
		}
	}
	exports, err := w.exports()
	if err != nil {
		return nil, err
	}
	names := w.listed(ctx)
	list := []Copies{}
	for _, r := range w.Engine.Regions() {
		c := Copies{Region: r.Name, RegionID: r.ID.String(), Entries: r.Entries, Copies: []Copy{}, Warnings: []CopyWarning{}}
		c.Copies = append(c.Copies, w.hereAs(ctx, r))
		c.Copies = append(c.Copies, w.elsewhere(r, names)...)
		c.Copies = append(c.Copies, w.onService(r, reached))
		var cold []Copy
		for _, k := range exports {
			if k.Region == r.ID {
				cold = append(cold, exportAs(k, r.Entries, time.Now()))
			}
		}
		slices.SortFunc(cold, func(a, b Copy) int { return cmp.Or(b.Time.Compare(a.Time.Time), strings.Compare(a.Dir, b.Dir)) })
		c.Copies = append(c.Copies, cold...)
		for _, one := range c.Copies {
			if one.Complete {
				c.Complete++
			}
			if one.Complete && one.Current {
				c.Current++
			}
		}
		c.Warnings = append(c.Warnings, warn(r.Name, cold)...)
		list = append(list, c)
	}
	return list, nil
}

// listed are the devices of this ring; without the service what the directory says.
func (w *Work) listed(ctx context.Context) map[signet.DeviceID]string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	names := map[signet.DeviceID]string{}
	list, err := account.List(ctx, w.Account, w.Engine, w.Client)
	for _, d := range list {
		names[d.ID] = d.Profile.Name
	}
	if err != nil {
		names[w.Account.Device] = w.Account.Name
	}
	return names
}

func age(ms int64, now time.Time) float64 {
	if ms == 0 {
		return 0
	}
	return max(now.Sub(time.UnixMilli(ms)).Seconds(), 0)
}

// hereAs is this device's copy of a region: the folder, as it is now. Without a
// daemon that means to look at all of it.
func (w *Work) hereAs(ctx context.Context, r engine.RegionInfo) Copy {
	c := Copy{Kind: "this_device", Name: w.Account.Name, State: "none", Entries: r.Entries}
	for _, v := range w.Engine.Volumes() {
		if v.Region != r.ID {
			continue
		}
		c.State = string(w.Engine.VolumeStatus(v.ID).State) // before it is looked at
		c.Where, _ = control.Name(v.Dir)
		s, err := w.Engine.Survey(ctx, v.ID)
		if err != nil {
			c.State = "missing"
			continue
		}
		c.Here, c.Lacks, c.Older = true, s.Lacks, s.Older
		c.Complete = s.Lacks == 0 && s.Unlisted == 0
		c.Current = c.Complete && s.Older == 0
		switch {
		case !c.Complete:
			c.State = "incomplete"
		case !c.Current:
			c.State = "behind"
		}
	}
	return c
}

// elsewhere are the other devices that may have the region's files. Kits on paper
// hold keys and no files.
func (w *Work) elsewhere(r engine.RegionInfo, names map[signet.DeviceID]string) (list []Copy) {
	now := time.Now()
	type one struct {
		id  signet.DeviceID
		rec *ring.Device
	}
	var all []one
	w.Engine.Directory(func(dir *ring.State, _ *region.Keys) {
		for _, m := range dir.Members(w.Account.Ring) {
			if m.ID != w.Account.Device && m.Record.Class != ring.Recovery && dir.Active(m.ID, now.UnixMilli()) {
				all = append(all, one{m.ID, m.Record})
			}
		}
	})
	w.Engine.WithRegion(r.ID, func(open *region.Region) error {
		for _, d := range all {
			c := Copy{Kind: "device", Name: names[d.id], State: "unknown"}
			if c.Name == "" {
				c.Name = d.id.String()
			}
			if at, ok := open.State.LastOf(d.id); ok {
				c.Time, c.Age = control.Milliseconds(at), age(at, now)
				c.Entries = open.State.SeenBy(d.id)
				c.Behind = r.Entries - min(c.Entries, r.Entries)
			}
			list = append(list, c)
		}
		return nil
	})
	return list
}

// onService is the service's copy: it signed what this device has verified.
func (w *Work) onService(r engine.RegionInfo, reached bool) Copy {
	c := Copy{Kind: "service", Name: "service", Where: w.Account.Service, State: "current", Entries: r.Entries, Complete: true, Current: true}
	if _, head := w.Engine.Heads(r.ID); head != nil {
		c.Time, c.Age = control.Milliseconds(head.Time), age(head.Time, time.Now())
	}
	if !reached {
		c.State, c.Current = "unreachable", false
	}
	return c
}

// exportAs is an export as a copy.
func exportAs(k known, entries uint64, now time.Time) Copy {
	c := Copy{Kind: "export", Where: k.Place, State: "current", Entries: k.Entries, Behind: entries - min(k.Entries, entries), Time: control.Milliseconds(k.Made),
		Age: age(k.Made, now), Verified: control.Milliseconds(k.Verified), Every: int64(k.Every) * 60, Dir: k.Dir, Bytes: k.Bytes, Complete: true, Current: true}
	c.Name = k.Place
	if c.Name == "" {
		c.Name = filepath.Base(k.Dir)
	}
	if m, err := cold.Peek(k.Dir); err == nil && knownOf(m, k.Dir).ID == k.ID {
		c.Here = true
	}
	limit := keeps
	if k.Every > 0 {
		limit = time.Duration(k.Every) * time.Minute
	}
	switch {
	case k.Damaged > 0:
		c.State, c.Complete, c.Current = "damaged", false, false
	case k.Missing > 0:
		c.State, c.Complete, c.Current = "incomplete", false, false
	case now.Sub(time.UnixMilli(k.Made)) > limit:
		c.State, c.Current = "overdue", false
	case c.Behind > 0:
		c.State = "behind"
	}
	return c
}

// place is where an export is: with this device, if its disk is, whatever was
// said; a place that was not said is this device's.
func (c Copy) place() string {
	if c.Here || c.Where == "" {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(c.Where))
}

// warn says what a person should do about a region's exports.
func warn(name string, exports []Copy) (list []CopyWarning) {
	again := "signet export " + name + " --to "
	places := map[string]bool{}
	current := 0
	var last Copy
	for _, c := range exports {
		switch {
		case c.State == "damaged":
			list = append(list, CopyWarning{"damaged", fmt.Sprintf("the export %s was damaged when it was verified last", c.called()), again + c.Dir + " --verify mends it"})
		case c.State == "incomplete":
			list = append(list, CopyWarning{"incomplete", fmt.Sprintf("the export %s lacks objects that the service could not give", c.called()), "signet verify " + c.Dir + " says which files need them"})
		case c.State == "overdue" && c.Every > 0:
			list = append(list, CopyWarning{"overdue", fmt.Sprintf("the export %s is %s old, its rhythm is %s", c.called(), days(c.Age), days(float64(c.Every))), again + c.Dir})
		case c.State == "overdue":
			list = append(list, CopyWarning{"overdue", fmt.Sprintf("the export %s is %s old", c.called(), days(c.Age)), again + c.Dir})
		}
		if c.Current {
			current++
			places[c.place()] = true
			last = c
		}
	}
	switch {
	case len(places) != 1:
	case places[""] && last.Here && last.Where != "" && current == 1:
		list = append(list, CopyWarning{"one_place", fmt.Sprintf("the only current export, for %s, is still with this device", last.called()), "bring it there"})
	case places[""]:
		list = append(list, CopyWarning{"one_place", "all current exports are with this device: what takes the one may take the others", "keep one elsewhere: " + again + "DIR --place NAME"})
	case current > 1:
		list = append(list, CopyWarning{"one_place", fmt.Sprintf("all current exports are in one place: %s", last.Where), "keep one elsewhere: " + again + "DIR --place NAME"})
	}
	return list
}

func (c Copy) called() string {
	if c.Where != "" {
		return "\"" + c.Where + "\""
	}
	return c.Dir
}

// days is an age for a message.
func days(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
