package owner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/past"
)

// RestoreParams are those of the command restore.
type RestoreParams struct {
	Path     string    `json:"path"`
	At       time.Time `json:"at"`
	Revision string    `json:"revision"`
	Undo     string    `json:"undo"`  // name or id of the device whose entries are undone; "": of all
	Since    time.Time `json:"since"` // of entries that are undone
	To       string    `json:"to"`    // a folder, absolute
	DryRun   bool      `json:"dry_run"`
}

// Restored says what restore did.
type Restored struct {
	Files   int          `json:"files"`
	Bytes   int64        `json:"bytes"`
	Back    int          `json:"held_deletions_undone"`
	To      string       `json:"to,omitempty"`
	DryRun  bool         `json:"dry_run"`
	Paths   []string     `json:"paths"`
	Daemon  bool         `json:"daemon"`
	RegionN string       `json:"region"`
	Point   control.Time `json:"point"`   // of the last entry that counts, with At
	Moved   int          `json:"moved"`   // of Paths
	Removed []string     `json:"removed"` // made since: in the history, and in each device's trash
	Left    []LeftLine   `json:"left"`
	Entries int          `json:"entries"` // that are undone
	Pins    int          `json:"pins"`    // set again
}

// A LeftLine is something that a restore left as it is.
type LeftLine struct {
	Path    string       `json:"path"`
	PathB64 []byte       `json:"path_b64,omitempty"`
	Why     string       `json:"why"` // changed, deleted, moved_here, not_empty, in_itself
	Device  string       `json:"device,omitempty"`
	Time    control.Time `json:"time"`
}

func (r *Restored) tell(vs []past.Version) {
	r.Files, r.Bytes, r.Paths = 0, 0, []string{}
	for _, v := range vs {
		if v.Type != tree.Dir {
			r.Files++
			r.Bytes += v.Size
		}
		text, _ := control.Name(v.Path)
		r.Paths = append(r.Paths, text)
	}
}

// deeds tells what operations do; names are those of devices.
func (r *Restored) deeds(d past.Deeds, names map[signet.DeviceID]string) {
	r.tell(d.Back)
	r.Moved, r.Removed, r.Left = d.Moved, []string{}, []LeftLine{}
	for _, v := range d.Gone {
		text, _ := control.Name(v.Path)
		r.Removed = append(r.Removed, text)
	}
	for _, l := range d.Left {
		line := LeftLine{Why: l.Why, Time: control.Milliseconds(l.Time)}
		line.Path, line.PathB64 = control.Name(l.Path)
		if l.Device != (signet.DeviceID{}) {
			line.Device = nameOf(names, l.Device)
		}
		r.Left = append(r.Left, line)
	}
}

// restore brings back a file or a folder: as it was at a time, at a revision,
// without what entries did, or, with nothing of these, as past.Lives.Last says.
// Restores are ordinary operations that name objects the service has: nothing
// is sent again.
func (w *Work) restore(ctx context.Context, p RestoreParams, ui control.UI) (any, error) {
	s, err := w.found(ctx, p.Path, ui)
	if err != nil {
		return nil, err
	}
	switch {
	case !p.Since.IsZero():
		return w.undo(ctx, s, p, ui)
	case !p.At.IsZero():
		return w.restoreAt(ctx, s, p)
	}
	vs, err := w.versions(s, p)
	if err != nil {
		return nil, err
	}
	return w.restoreVersions(ctx, s, p, vs, Restored{})
}

// restoreVersions brings versions back, in the region or into another folder.
// What is there and is none of them stays.
func (w *Work) restoreVersions(ctx context.Context, s spot, p RestoreParams, vs []past.Version, out Restored) (any, error) {
	exact := !p.At.IsZero() // places and modes come back too
	out.To, out.DryRun, out.Daemon, out.RegionN = p.To, p.DryRun, w.Running, s.name
	out.Removed, out.Left = []string{}, []LeftLine{}
	if p.To != "" {
		out.tell(vs)
		if len(vs) == 0 {
			return nil, failed("not_found", "signet history shows what there is", "%s: nothing to restore", s)
		}
		if p.DryRun {
			return out, nil
		}
		return out, w.restoreTo(ctx, s, vs, p.To)
	}
	var did []past.Version
	err := w.Engine.WithRegion(s.region, func(r *region.Region) error {
		_, did = past.Bring(r.Tree, vs, exact)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.tell(did)
	if p.DryRun {
		if len(did) == 0 {
			return nil, w.asItWas(s)
		}
		return out, nil
	}
	out.Back, err = w.bringBack(ctx, s)
	if err != nil {
		return nil, err
	}
	if out.Back > 0 && p.At.IsZero() && p.Revision == "" {
		// It was about the deletions that are held, not about older ones.
		out.tell(nil)
		return out, nil
	}
	if len(did) == 0 && out.Back == 0 {
		return nil, w.asItWas(s)
	}
	err = w.Engine.Put(ctx, s.region, func(t *tree.Tree) ([]tree.Op, error) {
		ops, did := past.Bring(t, vs, exact)
		out.tell(did)
		return ops, nil
	})
	return out, err
}

func (w *Work) asItWas(s spot) error {
	return failed("not_found", "signet history shows what there is to restore", "%s: nothing to restore: it is as it was", s)
}

// versions finds what a restore means that names no time.
func (w *Work) versions(s spot, p RestoreParams) ([]past.Version, error) {
	var h past.Lives
	var asked *past.Version
	_, err := w.Engine.Retell(s.region, nil, func(e engine.Told) error {
		h.Take(e.Events, e.Batch)
		for _, e := range e.Events {
			if p.Revision == "" || e.Revision.String() != p.Revision {
				continue
			}
			if v, ok := h.Version(e.Node); ok {
				v.Path = e.Path
				asked = &v
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case p.Revision != "" && asked == nil:
		return nil, failed("not_found", "signet history --json shows the revisions", "no revision %s in region %s", p.Revision, s.name)
	case p.Revision != "":
		if p.To == "" { // the file that it is a revision of, wherever that is now
			now, _ := h.Version(asked.Node)
			asked.Path = now.Path
		}
		return []past.Version{*asked}, nil
	}
	return h.Last(s.path), nil
}

// restoreAt brings a path back as FormerAt has it.
func (w *Work) restoreAt(ctx context.Context, s spot, p RestoreParams) (any, error) {
	was, err := FormerAt(w.Engine, s.region, s.path, p.At.UnixMilli())
	if err != nil {
		return nil, err
	}
	out := Restored{Point: control.Milliseconds(was.Time), To: p.To, DryRun: p.DryRun, Daemon: w.Running, RegionN: s.name}
	if was.IsFolder && p.To == "" {
		return w.become(ctx, s, out, was.Deeds, nil)
	}
	return w.restoreVersions(ctx, s, p, was.Versions(), out)
}

// become commits what makes a region's nodes what they are to be. ask, if not
// nil, sees first what that is.
func (w *Work) become(ctx context.Context, s spot, out Restored, deeds func(now *tree.Tree) past.Deeds, ask func(Restored) error) (any, error) {
	names := w.deviceNames(ctx)
	var d past.Deeds
	if err := w.Engine.WithRegion(s.region, func(r *region.Region) error { d = deeds(r.Tree); return nil }); err != nil {
		return nil, err
	}
	out.deeds(d, names)
	held := s.volume != "" && w.Engine.VolumeStatus(s.volume).HeldDeletes > 0
	if len(d.Ops) == 0 && len(d.Left) == 0 && !held && out.Pins == 0 {
		return nil, w.asItWas(s)
	}
	if out.DryRun {
		return out, nil
	}
	if ask != nil && len(d.Ops)+out.Pins > 0 {
		if err := ask(out); err != nil {
			return nil, err
		}
	}
	var err error
	if out.Back, err = w.bringBack(ctx, s); err != nil {
		return nil, err
	}
	err = w.Engine.Put(ctx, s.region, func(t *tree.Tree) ([]tree.Op, error) {
		d := deeds(t)
		out.deeds(d, names)
		return d.Ops, nil
	})
	return out, err
}

// undo takes back what the entries of a device, or of all, did since a time.
func (w *Work) undo(ctx context.Context, s spot, p RestoreParams, ui control.UI) (any, error) {
	var by signet.DeviceID
	if p.Undo != "" {
		var err error
		if by, err = w.deviceNamed(ctx, p.Undo); err != nil {
			return nil, err
		}
	}
	since := p.Since.UnixMilli()
	if began := w.Engine.Began(s.region); began > 0 {
		times, err := w.Engine.LeafTimes(s.region)
		if err != nil {
			return nil, err
		}
		if t := times[began-1]; since < t {
			return nil, failed("behind_horizon", "name a time after that, or undo it on a device that was there then",
				"%s: this device knows nothing of before the horizon, %s", s.name, local(t))
		}
	}
	u, err := UndoSince(w.Engine, s.region, s.path, by, since)
	if err != nil {
		return nil, err
	}
	pins := u.Pins()
	out := Restored{DryRun: p.DryRun, Daemon: w.Running, RegionN: s.name, Entries: u.Entries(), Pins: len(pins)}
	done, err := w.become(ctx, s, out, u.Deeds, func(r Restored) error {
		whose := "all devices"
		if p.Undo != "" {
			whose = p.Undo
		}
		answer, err := ui.Ask(ctx, control.Question{YesNo: true, NoYes: true, Flag: "yes", Text: fmt.Sprintf(
			"Undo %d entries of %s in %s since %s? %d files come back, %d go, %d are left as they are (--dry-run shows them).",
			r.Entries, whose, s, local(since), r.Files, len(r.Removed), len(r.Left))})
		if err == nil && answer != "yes" {
			err = failed("not_done", "", "nothing was undone")
		}
		return err
	})
	if err != nil || p.DryRun || len(pins) == 0 {
		return done, err
	}
	return done, w.Engine.Put(ctx, s.region, func(*tree.Tree) ([]tree.Op, error) { return pins, nil })
}

// deviceNamed finds a device by its name or id.
func (w *Work) deviceNamed(ctx context.Context, name string) (found signet.DeviceID, err error) {
	for id, n := range w.deviceNames(ctx) {
		if n != name && id.String() != name {
			continue
		}
		if found != (signet.DeviceID{}) {
			return found, failed("ambiguous", "signet device list --json shows their ids", "several devices are called %s", name)
		}
		found = id
	}
	if found == (signet.DeviceID{}) {
		if found, err = signet.ParseDeviceID(name); err != nil {
			return found, failed("no_device", "signet device list shows those there are", "there is no device %q", name)
		}
	}
	return found, nil
}

// bringBack undoes deletions that are held: what the region has below the path
// and the disk lacks comes back.
func (w *Work) bringBack(ctx context.Context, s spot) (int, error) {
	if s.volume == "" || w.Engine.VolumeStatus(s.volume).HeldDeletes == 0 {
		return 0, nil
	}
	var nodes []signet.NodeID
	err := w.Engine.WithRegion(s.region, func(r *region.Region) error {
		for full, n := range r.Tree.Walk() {
			if past.Within(full, s.path) {
				if _, err := os.Lstat(filepath.Join(s.dir, full)); os.IsNotExist(err) {
					nodes = append(nodes, n.ID)
				}
			}
		}
		return nil
	})
	if err != nil || len(nodes) == 0 {
		return 0, err
	}
	if err := w.Engine.BringBack(s.volume, nodes); err != nil || w.Running {
		return len(nodes), err
	}
	// Nobody would remember it after this process.
	_, err = w.Engine.SyncVolume(ctx, s.volume)
	return len(nodes), err
}
