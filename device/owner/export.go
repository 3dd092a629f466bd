package owner

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/cold"
	"signet/device/disk"
	"signet/device/past"
)

// ExportParams are those of the command export.
type ExportParams struct {
	Region string         `json:"region"`
	To     string         `json:"to"` // absolute
	Place  *string        `json:"place,omitempty"`
	Every  *time.Duration `json:"every,omitempty"`
	Verify bool           `json:"verify"`
	DryRun bool           `json:"dry_run"`
}

// Exported says what export did, or would do.
type Exported struct {
	Region     string         `json:"region"`
	RegionID   string         `json:"region_id"`
	To         string         `json:"to"`
	Place      string         `json:"place"`
	Every      int64          `json:"every_seconds"`
	Made       control.Time   `json:"made"`
	Entries    uint64         `json:"entries"`     // of the journal, in all
	Objects    uint64         `json:"objects"`     // in all
	Bytes      uint64         `json:"bytes"`       // of the objects, in all
	NewRecords uint64         `json:"new_records"` // of both logs
	NewObjects int64          `json:"new_objects"`
	NewBytes   int64          `json:"new_bytes"` // of a dry run: of the contents, at most
	Missing    []string       `json:"missing"`   // objects that the service lacks
	Mended     []string       `json:"mended"`    // files of the export that were damaged, and are whole again
	DryRun     bool           `json:"dry_run"`
	Fault      *control.Fault `json:"fault,omitempty"`
}

// regionNamed finds a region by name, else by a path to its folder.
func (w *Work) regionNamed(name string) (spot, error) {
	s, err := w.at(name)
	if abs, aerr := filepath.Abs(name); err != nil && aerr == nil && filepath.IsAbs(name) {
		s, err = w.at(abs)
	}
	if err == nil && s.path != "" {
		err = failed("not_a_region", "signet export "+s.name, "%s is a path in a region: an export is of all of it", s)
	}
	return s, err
}

// source is a region of this device, for an export.
type source struct {
	*Work
	id signet.RegionID
}

func (s *source) Records(log signet.LogID, from, to uint64, each func(signet.Record) error) error {
	return s.Engine.Records(log, from, to, each)
}

func (s *source) Objects(to uint64, each func(position uint64, id signet.ObjectID) error) error {
	return s.Engine.Objects(s.id, to, each)
}

func (s *source) Get(ctx context.Context, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	return s.Client.Get(ctx, s.id, ids, each)
}

func (s *source) Signer(in signet.RingID, id signet.DeviceID) (by *key.Public, active bool) {
	s.Engine.Directory(func(dir *ring.State, _ *region.Keys) {
		if r, ok := dir.RingOf(id); ok && r == in {
			by, active = dir.Device(id).Sign, dir.Active(id, time.Now().UnixMilli())
		}
	})
	return by, active
}

func (s *source) Check(c *chain.Checkpoint) error { return s.Engine.CheckShown(c, nil) }

// export brings a cold copy of a region up to date.
func (w *Work) export(ctx context.Context, p ExportParams, ui control.UI) (any, error) {
	if p.Place != nil && len(*p.Place) > cold.MaxPlace {
		return nil, control.Usagef("--place has more than %d bytes", cold.MaxPlace)
	}
	if err := w.Engine.Discover(ctx); err != nil && !errors.Is(err, signet.ErrNotVerified) { // an alarm about another region
		return nil, err
	}
	s, err := w.regionNamed(p.Region)
	if err != nil {
		return nil, err
	}
	if err := w.mayExport(p.To); err != nil {
		return nil, err
	}
	j := &cold.Job{Dir: p.To, Org: w.Account.Org, Region: s.region, Ring: w.Account.Ring, Device: w.Account.Device, By: w.Self.Signer,
		Place: p.Place, Every: p.Every, Check: p.Verify, Source: &source{w, s.region}, Now: time.Now}
	if err := cold.Usable(p.To, j.Org, j.Region); err != nil {
		return nil, exportProblem(err, p.To)
	}
	if j.Directory, j.Journal, err = w.Engine.Freeze(ctx, s.region); err != nil {
		return nil, err
	}
	w.Engine.Directory(func(dir *ring.State, _ *region.Keys) { j.LogKeys = dir.LogKey() })
	j.Progress = pacer(ui, "exporting object")
	if p.DryRun {
		return w.planExport(s, j)
	}
	release, err := holdFolder(p.To)
	if err != nil {
		return nil, exportProblem(err, p.To)
	}
	defer release()
	// Once more: another device may have been at work at this export until now.
	if j.Directory, j.Journal, err = w.Engine.Freeze(ctx, s.region); err != nil {
		return nil, err
	}
	o, err := j.Run(ctx)
	if o == nil {
		return nil, w.thaw().alarm(exportProblem(err, p.To))
	}
	out := exported(s, p.To, o)
	switch {
	case err != nil: // objects that are not what they are called
		out.Fault = &control.Fault{Kind: "object", Message: err.Error(), Code: control.NotVerified, Evidence: w.evidence("object", err.Error(), nil),
			Hint: "the export has all else; do not trust what the service says until you know why"}
	case len(o.Missing) > 0:
		out.Fault = &control.Fault{Kind: "missing_content", Code: control.Attention, Message: fmt.Sprintf("the service lacks %d objects; the export has all else", len(o.Missing)),
			Hint: "signet verify " + p.To + " says which files need them"}
	}
	k := knownOf(&o.Manifest, p.To)
	k.Verified, k.Damaged = w.knownVerified(k.ID)
	if p.Verify {
		k.Verified, k.Damaged = o.Made, 0
	}
	return out, errors.Join(w.remember(k))
}

// mayExport refuses a folder that is kept in step, or in which this device's keys
// are: an export is a copy for elsewhere.
func (w *Work) mayExport(to string) error {
	inside := failed("in_volume", "name a folder elsewhere, best on another disk", "%s lies in a folder that is kept in step, or around one", to)
	real, err := filepath.EvalSymlinks(to)
	if err == nil {
		var dirs []string
		for _, v := range w.Engine.Volumes() {
			dirs = append(dirs, v.Dir)
		}
		if marked(real) || disk.Overlap(real, dirs...) != nil {
			return inside
		}
		return w.keepsOut(real)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// One that is not there yet is in all that its parent is in, and around nothing.
	if real, err = filepath.EvalSymlinks(filepath.Dir(to)); err != nil {
		return exportProblem(err, to)
	}
	if marked(real) || disk.Overlap(real) != nil {
		return inside
	}
	own, err := filepath.EvalSymlinks(string(w.Home))
	if err == nil && past.Within(filepath.ToSlash(real), filepath.ToSlash(own)) {
		return failed("holds_keys", "name a folder elsewhere", "%s lies in this device's own folder %s", to, own)
	}
	return err
}

// marked reports whether a folder is a volume of any device.
func marked(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, tree.Hidden, "marker"))
	return err == nil
}

// holdFolder keeps other commands, also of other devices, out of an export.
func holdFolder(dir string) (release func(), err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	l, err := home.Dir(dir).TryLock()
	if errors.Is(err, home.ErrHeld) {
		return nil, &problem{"busy", dir + ": another command works at this export", "wait for it", control.TimedOut}
	}
	if err != nil {
		return nil, err
	}
	return func() { l.Unlock() }, nil
}

func exported(s spot, to string, o *cold.Outcome) *Exported {
	out := &Exported{Region: s.name, RegionID: s.region.String(), To: to, Place: o.Place, Every: int64(o.Every) * 60, Made: control.Milliseconds(o.Made),
		Objects: o.Objects, Bytes: o.Bytes, NewRecords: o.NewRecords, NewObjects: o.NewObjects, NewBytes: o.NewBytes,
		Missing: []string{}, Mended: []string{}}
	if c, err := cold.Entries(&o.Manifest); err == nil {
		out.Entries = c
	}
	for _, id := range o.Missing {
		out.Missing = append(out.Missing, id.String())
	}
	out.Mended = append(out.Mended, o.Mended...)
	return out
}

// planExport says what an export would copy. Of the bytes it knows the contents'
// lengths, not what is of them in other versions already: so, at most.
func (w *Work) planExport(s spot, j *cold.Job) (any, error) {
	o, _, err := j.Plan()
	if err != nil {
		return nil, exportProblem(err, j.Dir)
	}
	out := exported(s, j.Dir, o)
	out.DryRun = true
	from := o.Since()
	if out.NewObjects == 0 {
		return out, nil
	}
	err = w.Engine.Events(s.region, func(e tree.Event, op *tree.Op) error {
		if op != nil && e.Position >= from && op.Node == e.Node && (op.Kind == tree.Create || op.Kind == tree.Edit) {
			out.NewBytes += op.Size
		}
		return nil
	})
	return out, err
}

// exportProblem gives what is wrong with an export's folder a kind and a hint.
func exportProblem(err error, dir string) error {
	p := func(kind, hint string) error { return &exportFault{kind, hint, err} }
	var fork *chain.Fork
	var back *chain.Rollback
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fork):
		return p("fork", "export and device were shown two histories: keep both, and the evidence")
	case errors.As(err, &back):
		return p("rollback", "the service shows less than it had shown when the export was made: keep the export, and find out why")
	case errors.Is(err, cold.ErrTaken):
		return p("not_empty", "name a new folder, or that of an earlier export of this region")
	case errors.Is(err, cold.ErrOther):
		return p("other_export", "give each region a folder of its own")
	case errors.Is(err, cold.ErrNone):
		return p("no_export", "name the folder that signet export --to wrote")
	case errors.Is(err, cold.ErrUnfinished):
		return p("unfinished", "signet export to this folder goes on")
	case errors.Is(err, cold.ErrNewer):
		return p("newer_format", "update Signet on this device")
	case errors.Is(err, cold.ErrBefore):
		return p("behind_horizon", "name a later time, or none")
	case errors.Is(err, region.ErrNoKey):
		return p("no_key", "what is exported opens for devices and recovery kits that were there when the export was made, and could read the region")
	case errors.Is(err, signet.ErrNotVerified):
		return p("export_damaged", "use another export; keep this one, as its objects may still be of use")
	case errors.Is(err, fs.ErrNotExist):
		return p("no_folder", "is the disk mounted? the folder around an export must be there: mkdir "+filepath.Dir(dir))
	}
	return err
}

// An exportFault is an error about an export that says what it is.
type exportFault struct {
	kind, hint string
	error
}

func (f *exportFault) Unwrap() error     { return f.error }
func (f *exportFault) ErrorKind() string { return f.kind }
func (f *exportFault) ErrorHint() string { return f.hint }

// pacer makes progress with a rate and the time left of counts.
func pacer(ui control.UI, what string) func(done, total, bytes int64) {
	began := time.Now()
	return func(done, total, bytes int64) {
		p := control.Progress{What: fmt.Sprintf("%s %d of %d", what, done, total), Bytes: bytes}
		if s := time.Since(began).Seconds(); s > 0.5 && done > 0 {
			p.Rate = float64(bytes) / s
			p.ETA = float64(total-done) / float64(done) * s
		}
		ui.Progress(p)
	}
}

// A known is what this device remembers of an export.
type known struct {
	ID       string          `json:"id"`
	Region   signet.RegionID `json:"-"`
	RegionID string          `json:"region"`
	Dir      string          `json:"dir"`
	Place    string          `json:"place"`
	Every    uint32          `json:"every"` // minutes
	Made     int64           `json:"made"`  // ms since 1970
	Entries  uint64          `json:"entries"`
	Objects  uint64          `json:"objects"`
	Bytes    uint64          `json:"bytes"`
	Missing  int             `json:"missing"`
	Verified int64           `json:"verified"` // when all of it was read last, ms since 1970; 0 never
	Damaged  int             `json:"damaged"`  // files, when it was verified last
	By       string          `json:"by"`       // the device that exported
}

const noteExport = "export/"

func knownOf(m *cold.Manifest, dir string) known {
	entries, _ := cold.Entries(m)
	return known{ID: hex.EncodeToString(m.ID[:]), RegionID: m.Region.String(), Dir: dir, Place: m.Place, Every: m.Every, Made: m.Made, Entries: entries,
		Objects: m.Objects, Bytes: m.Bytes, Missing: len(m.Missing), By: m.Device.String()}
}

// remember notes an export in the home's index.
func (w *Work) remember(k known) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return w.store.SetNote(noteExport+k.ID, b)
}

// knownVerified is when an export was verified last, and how much of it was damaged.
func (w *Work) knownVerified(id string) (at int64, damaged int) {
	var k known
	if b, err := w.store.Note(noteExport + id); err == nil && b != nil && json.Unmarshal(b, &k) == nil {
		return k.Verified, k.Damaged
	}
	return 0, 0
}

// exports lists the exports that this device remembers.
func (w *Work) exports() ([]known, error) {
	notes, err := w.store.Notes(noteExport)
	if err != nil {
		return nil, err
	}
	var list []known
	for _, b := range notes {
		var k known
		if err := json.Unmarshal(b, &k); err != nil {
			return nil, fmt.Errorf("index: export: %w", err)
		}
		if k.Region, err = signet.ParseRegionID(k.RegionID); err != nil {
			return nil, fmt.Errorf("index: export: %w", err)
		}
		list = append(list, k)
	}
	return list, nil
}
