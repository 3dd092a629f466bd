package owner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/disk"
	"signet/device/engine"
	"signet/device/ignore"
	"signet/device/line"
)

// A Work is an open home at work: what commands ask of it. Running says that a
// daemon keeps its volumes in step; Stop ends that.
type Work struct {
	*Owner
	Running bool
	Stop    func()
}

// With gives a method the open home; in a command's own process it opens it.
type With func(do func(w *Work) (any, error)) (any, error)

// Methods are what commands ask of an open home.
func Methods(with With) control.Methods {
	m := control.Methods{}
	on := func(name string, method control.Method) { m[name] = method }
	on("add", typed(with, (*Work).add))
	on("remove", typed(with, (*Work).remove))
	on("sync", typed(with, (*Work).sync))
	on("status", typed(with, (*Work).status))
	on("wait", typed(with, (*Work).wait))
	on("approve", typed(with, (*Work).approve))
	on("pause", typed(with, (*Work).pause))
	on("limit", typed(with, (*Work).limit))
	on("notices", typed(with, (*Work).notices))
	on("regions", typed(with, (*Work).regions))
	on("collect", typed(with, (*Work).collect))
	on("horizon", typed(with, (*Work).horizon))
	on("tree", typed(with, (*Work).tree))
	on("cat", typed(with, (*Work).cat))
	on("history", typed(with, (*Work).history))
	on("restore", typed(with, (*Work).restore))
	on("pin", typed(with, (*Work).pin))
	on("policy", typed(with, (*Work).policy))
	on("pin.list", typed(with, (*Work).pinList))
	on("conflicts", typed(with, (*Work).conflicts))
	on("ignore", typed(with, (*Work).ignore))
	on("ignore.list", typed(with, (*Work).ignoreList))
	on("ignore.check", typed(with, (*Work).ignoreCheck))
	on("select", typed(with, (*Work).choose))
	on("select.list", typed(with, (*Work).selectList))
	on("stop", typed(with, (*Work).stop))
	on("export", typed(with, (*Work).export))
	on("restore.export", typed(with, (*Work).restoreExport))
	on("verify", typed(with, (*Work).verify))
	on("verify.export", typed(with, (*Work).verifyExport))
	on("copies", typed(with, (*Work).copies))
	on("unsafe", typed(with, (*Work).unsafe))
	on("trash.list", typed(with, (*Work).trashList))
	on("trash.restore", typed(with, (*Work).trashRestore))
	return m
}

func typed[P any](with With, f func(*Work, context.Context, P, control.UI) (any, error)) control.Method {
	return control.Typed(func(ctx context.Context, p P, ui control.UI) (any, error) {
		return with(func(w *Work) (any, error) { return f(w, ctx, p, ui) })
	})
}

// A problem is a failure that a person can do something about.
type problem struct {
	kind, text, hint string
	code             int
}

func (p *problem) Error() string     { return p.text }
func (p *problem) ErrorKind() string { return p.kind }
func (p *problem) ErrorHint() string { return p.hint }
func (p *problem) ExitCode() int     { return p.code }

func failed(kind, hint, format string, args ...any) error {
	return &problem{kind, fmt.Sprintf(format, args...), hint, control.Failed}
}

// AddParams are those of the command add.
type AddParams struct {
	Dir    string `json:"dir"`
	Region string `json:"region"`
	New    bool   `json:"new"`
	Join   bool   `json:"join"`
	Relink bool   `json:"relink"`
	DryRun bool   `json:"dry_run"`
	// Only are the paths in the region that are selected; none: all of it.
	Only     []string `json:"only"`
	Siblings string   `json:"new_siblings"` // of these: "on" selects what comes to the region's top later
}

// Added says what add did.
type Added struct {
	Path     string  `json:"path"`
	PathB64  []byte  `json:"path_b64,omitempty"`
	Region   string  `json:"region"`
	RegionID string  `json:"region_id,omitempty"`
	Action   string  `json:"action"` // made, joined, relinked, estimated
	Files    int64   `json:"files"`
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds,omitempty"` // of a dry run: until all is safe
	SmallIn  float64 `json:"documents_seconds,omitempty"`
	Rate     float64 `json:"bytes_per_second,omitempty"`
	Measured bool    `json:"rate_measured"`
	Limited  bool    `json:"rate_limited,omitempty"` // it is the limit of now
	Daemon   bool    `json:"daemon"`
	// Unselected are names that are not selected, without what is below them.
	Unselected int `json:"unselected,omitempty"`
}

// add keeps a folder in step with a region.
func (w *Work) add(ctx context.Context, p AddParams, ui control.UI) (any, error) {
	info, err := os.Stat(p.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failed("no_folder", "make it first: mkdir "+p.Dir, "%s: no such folder", p.Dir)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, failed("no_folder", "name the folder that it is in", "%s: not a folder", p.Dir)
	}
	dir, err := filepath.EvalSymlinks(p.Dir)
	if err != nil {
		return nil, err
	}
	name := p.Region
	if name == "" {
		name = filepath.Base(dir)
	}
	switch {
	case p.Region == "" && dir == filepath.Dir(dir):
		return nil, failed("no_region", "signet add "+p.Dir+" --region NAME", "the root of the file system has no name that a region could have")
	case strings.ContainsRune(name, '/'):
		return nil, failed("no_region", "regions that other members own can be joined once sharing is there", "region %q is not one of your own", name)
	case strings.ContainsAny(name, ":\n"): // a PATH is REGION:PATH
		return nil, failed("no_region", "signet add "+p.Dir+" --region NAME, without a colon", "region %q could not be named in a PATH", name)
	}
	out := Added{Region: name, Daemon: w.Running}
	out.Path, out.PathB64 = control.Name(dir)
	if p.DryRun {
		if err := w.keepsOut(dir); err != nil {
			return nil, err
		}
		return w.estimate(ctx, dir, out)
	}
	var others []string
	for _, v := range w.Engine.Volumes() {
		if v.Dir == dir && !p.Relink {
			return nil, failed("exists", "signet status shows it; signet add --relink if the folder was replaced", "%s is kept in step with region %s already", dir, v.Name)
		}
		if v.Dir != dir {
			others = append(others, v.Dir)
		}
	}
	if err := disk.Overlap(dir, others...); err != nil {
		return nil, failed("overlap", "a folder inside a volume is in step already; around one, signet remove that first", "%v", err)
	}
	// Before a region is made for it:
	if err := w.keepsOut(dir); err != nil {
		return nil, err
	}
	if err := mayMark(dir); err != nil {
		return nil, err
	}
	if err := w.Engine.Discover(ctx); err != nil {
		return nil, err
	}
	id, action, err := w.region(ctx, name, p)
	if err != nil {
		return nil, err
	}
	for _, v := range w.Engine.Volumes() {
		if v.Region == id && !p.Relink {
			return nil, failed("exists", "signet add --relink if the folder was moved to "+dir, "region %s is kept in step with %s already", name, v.Dir)
		}
	}
	var marks plan.Marks
	switch {
	case len(p.Only) > 0:
		if marks, err = w.only(id, name, p.Only, p.Siblings); err == nil {
			err = w.apart(id, dir, marks)
		}
	case p.Relink:
		marks, err = w.carried(id, dir)
	}
	if err != nil {
		return nil, err
	}
	if p.Relink {
		action = "relinked"
	}
	if err := w.createVolume(ctx, dir, id, p.Relink, marks); err != nil {
		if errors.Is(err, disk.ErrIsVolume) {
			hint := "signet add --relink " + p.Dir
			return nil, failed("is_volume", hint+" --region "+name+" takes it over; nothing in it is deleted; where it was moved here, name the region that it was in step with", "%s has a volume marker already, of another device or an earlier add", dir)
		}
		return nil, err
	}
	out.Action, out.RegionID = action, id.String()
	err = w.Engine.WithListing(id, func(t *tree.Tree) error {
		for _, l := range unselected(t, marks, dir) {
			if !l.Selected {
				out.Unselected++
			}
		}
		return nil
	})
	return out, err
}

// keepsOut refuses a folder with this device's own home in it, or in which the
// home is: its keys would be sent, and its index replaced by another device's.
func (w *Work) keepsOut(dir string) error {
	own, err := filepath.EvalSymlinks(string(w.Home))
	if err != nil {
		return err
	}
	within := func(a, b string) bool {
		rel, err := filepath.Rel(b, a)
		return err == nil && (rel == "." || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)))
	}
	if within(own, dir) || within(dir, own) {
		return failed("holds_keys", "add the folders in it that you want in step, one by one", "%s and Signet's own folder %s, with this device's keys, lie in each other", dir, own)
	}
	return nil
}

// mayMark reports why a folder cannot get the marker that makes it a volume.
func mayMark(dir string) error {
	hidden := filepath.Join(dir, ".signet")
	switch err := os.Mkdir(hidden, 0o700); {
	case err == nil:
		return os.Remove(hidden)
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return failed("permission", "make the folder writable for this user", "%s: %v", dir, err)
	default:
		return err
	}
}

// region finds or makes the region that a folder is to be kept in step with.
func (w *Work) region(ctx context.Context, name string, p AddParams) (signet.RegionID, string, error) {
	for _, r := range w.Engine.Regions() {
		if r.Own && r.Name == name {
			if p.New {
				return r.ID, "", failed("exists", "leave out --new to join it", "there is a region %s already", name)
			}
			return r.ID, "joined", nil
		}
	}
	if p.Join || p.Relink || len(p.Only) > 0 {
		return signet.RegionID{}, "", failed("no_region", "signet region list shows those there are", "there is no region %s", name)
	}
	id, made, err := w.Engine.MakeRegion(ctx, name)
	if err != nil || made {
		return id, "made", err
	}
	return id, "joined", nil
}

// Rates that an estimate assumes where nothing was measured yet.
const (
	assumedRate  = 10 << 20 // bytes a second: a line of about 100 Mbit/s
	assumedFiles = 500      // files a second
	smallFile    = 1 << 20
)

// estimate says what adding a folder would cost.
func (w *Work) estimate(ctx context.Context, dir string, out Added) (any, error) {
	var small int64
	var rules *ignore.Rules
	if text, err := os.ReadFile(filepath.Join(dir, ignore.File)); err == nil && len(text) <= ignore.MaxSize {
		rules = ignore.Parse(text)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), skip(e, err))
		}
		if rel, err := filepath.Rel(dir, path); err == nil && rel != "." && rules.Leaves(filepath.ToSlash(rel), e.IsDir()) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() && e.Name() == ".signet" {
			return fs.SkipDir
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			out.Files++
			out.Bytes += info.Size()
			if info.Size() < smallFile {
				small += info.Size()
			}
		}
		return nil
	})
	out.Action, out.Rate, out.Measured = "estimated", assumedRate, false
	if r := w.Engine.Rate(); r > 0 {
		out.Rate, out.Measured = r, true
	}
	if limit := float64(w.Line.Limit(line.Up)); limit > 0 && out.Rate > limit {
		out.Rate, out.Limited = limit, true
	}
	out.Seconds = float64(out.Bytes)/out.Rate + float64(out.Files)/assumedFiles
	out.SmallIn = float64(small)/out.Rate + float64(out.Files)/assumedFiles
	return out, err
}

// skip goes on where something cannot be looked at: it is an estimate.
func skip(e fs.DirEntry, err error) error {
	if err != nil && e != nil && e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// dirParams name a volume by its folder, or all of them.
type dirParams struct {
	Dir    string `json:"dir"`
	Pause  bool   `json:"pause"`
	DryRun bool   `json:"dry_run"` // of what removes something
	For    int64  `json:"for_ms"`  // of a pause: milliseconds; 0: until it is ended
}

// chosen are the volumes that a folder names; all where it is empty.
func (w *Work) chosen(dir string) ([]engine.VolumeInfo, error) {
	all := w.Engine.Volumes()
	if dir == "" {
		return all, nil
	}
	real := dir
	if r, err := filepath.EvalSymlinks(dir); err == nil {
		real = r
	}
	for _, v := range all {
		if v.Dir == real || v.Dir == dir {
			return []engine.VolumeInfo{v}, nil
		}
	}
	return nil, failed("no_volume", "signet add "+dir, "%s is not kept in step", dir)
}

// Removed says what remove did.
type Removed struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	Region  string `json:"region"`
	Trash   bool   `json:"trash"` // the trash is not empty, and stays
	DryRun  bool   `json:"dry_run"`
}

// sweep takes Signet's own trace out of a folder: the marker, and staging,
// which holds nothing that is not elsewhere. What was deleted or displaced
// here stays for whoever looks for it, in .signet/trash.
func sweep(dir string, dry bool) (trash bool) {
	private := filepath.Join(dir, ".signet")
	if dry {
		items, _ := os.ReadDir(filepath.Join(private, "trash"))
		return len(items) > 0
	}
	os.Remove(filepath.Join(private, "marker"))
	os.Remove(filepath.Join(private, "choice"))
	os.RemoveAll(filepath.Join(private, "staging"))
	os.Remove(filepath.Join(private, "trash"))
	os.Remove(private)
	_, err := os.Lstat(filepath.Join(private, "trash"))
	return err == nil
}

func (w *Work) remove(_ context.Context, p dirParams, _ control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	if p.Dir == "" {
		return nil, control.Usagef("which folder?")
	}
	if !p.DryRun {
		if err := w.Engine.RemoveVolume(vs[0].ID); err != nil {
			return nil, err
		}
	}
	out := Removed{Region: vs[0].Name, Trash: sweep(vs[0].Dir, p.DryRun), DryRun: p.DryRun}
	out.Path, out.PathB64 = control.Name(vs[0].Dir)
	return out, nil
}

// approve lets held deletions go. Without a daemon they go at once, with the
// rest of what there is to do: what was approved is not remembered.
func (w *Work) approve(ctx context.Context, p dirParams, ui control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	out := Approved{Daemon: w.Running, DryRun: p.DryRun}
	for _, v := range vs {
		if p.DryRun {
			out.Approved += w.Engine.VolumeStatus(v.ID).HeldDeletes
			continue
		}
		n, err := w.Engine.ApproveDeletes(v.ID)
		if err != nil {
			return nil, err
		}
		out.Approved += n
		if n == 0 || w.Running {
			continue
		}
		if _, err := w.Engine.SyncVolume(ctx, v.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Dir, explain(err, v.Dir))
		}
	}
	return out, nil
}

// Approved says how many deletions approve-deletes let go.
type Approved struct {
	Approved int  `json:"approved"`
	Daemon   bool `json:"daemon"` // which carries them out; else they are done
	DryRun   bool `json:"dry_run"`
}

func (w *Work) pause(_ context.Context, p dirParams, _ control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	for _, v := range vs {
		err := error(nil)
		if p.Pause && p.For > 0 {
			err = w.Engine.PauseUntil(v.ID, w.now().Add(time.Duration(p.For)*time.Millisecond))
		} else {
			err = w.Engine.Pause(v.ID, p.Pause)
		}
		if err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// refresh catches up with the service where it can be reached; where not, what
// is known here has to do, and is said to be that.
func (w *Work) refresh(ctx context.Context, ui control.UI) error {
	return offline(w.Engine.Discover(ctx), ui)
}

// offline says that what is known here has to do, where that is so.
func offline(err error, ui control.UI) error {
	if err != nil && errors.Is(err, signet.ErrUnavailable) {
		ui.Note("the service cannot be reached: this is what this device knew last")
		return nil
	}
	return err
}

func (w *Work) stop(context.Context, struct{}, control.UI) (any, error) {
	if w.Stop != nil {
		w.Stop()
	}
	return struct{}{}, nil
}
