package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/region"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cold"
	"signet/device/enrol"
	"signet/device/past"
)

// ThawParams are those of restore --from and of verify: what is done with an
// export, and no service is asked for it.
type ThawParams struct {
	From   string    `json:"from"` // absolute
	To     string    `json:"to"`   // absolute; of restore
	Path   string    `json:"path"` // in the region; of restore: this alone; "": all
	At     time.Time `json:"at"`   // zero: as it was last
	DryRun bool      `json:"dry_run"`
	Deep   bool      `json:"deep"` // of verify
}

// A Thawed says what restore --from or verify did with an export.
type Thawed struct {
	From     string       `json:"from"`
	To       string       `json:"to,omitempty"`
	Region   string       `json:"region"`
	RegionID string       `json:"region_id"`
	Made     control.Time `json:"made"`
	By       string       `json:"by"` // the device that exported
	Place    string       `json:"place"`
	Entries  uint64       `json:"entries"`
	Behind   uint64       `json:"behind"` // entries that this device knows and the export lacks
	Files    int64        `json:"files"`
	Bytes    int64        `json:"bytes"`
	There    int64        `json:"there"`   // of Files: were in the folder already, with these bytes
	Objects  int64        `json:"objects"` // of verify: that are as they were
	Deep     bool         `json:"deep"`    // and all were read
	DryRun   bool         `json:"dry_run"`

	Damage   []ThawDamage   `json:"damage"`   // files of the export
	Problems []ThawProblem  `json:"problems"` // files of the region that were not restored
	Fault    *control.Fault `json:"fault,omitempty"`
}

// A ThawDamage is a file of an export that is not what was exported.
type ThawDamage struct {
	File   string   `json:"file"` // below the export's folder
	Kind   string   `json:"kind"` // export_damaged, export_missing
	Spared bool     `json:"spared"`
	Paths  []string `json:"paths"` // that need it
}

// A ThawProblem is a file that was not restored.
type ThawProblem struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"` // of the export
}

// A thaw opens exports: as this home's device, or as a recovery kit's.
type thaw struct {
	self     region.Self
	logKeys  signet.Hash
	check    func(*chain.Checkpoint, *chain.Tree) error // against what this device remembers; nil: it remembers nothing
	newest   func(signet.RegionID) uint64               // entries that it knows
	evidence func(kind, message string, evidence []byte) string
	note     func(x *cold.Export, t *Thawed) error // remembers a deep look; nil: nobody does
}

func (w *Work) thaw() *thaw {
	return &thaw{self: w.Self, logKeys: w.Account.LogKeys, check: w.Engine.CheckShown, evidence: w.Owner.evidence,
		newest: func(id signet.RegionID) (n uint64) {
			w.Engine.WithRegion(id, func(r *region.Region) error { n = r.State.Size(); return nil })
			return n
		},
		note: func(x *cold.Export, t *Thawed) error {
			k := knownOf(&x.Manifest, t.From)
			k.Verified, k.Damaged = time.Now().UnixMilli(), len(t.Damage)
			return w.remember(k)
		}}
}

func (w *Work) restoreExport(ctx context.Context, p ThawParams, ui control.UI) (any, error) {
	return w.thaw().restore(ctx, p, ui)
}

func (w *Work) verifyExport(ctx context.Context, p ThawParams, ui control.UI) (any, error) {
	return w.thaw().verify(ctx, p, ui)
}

// byKit opens exports with a recovery kit, without any home.
func byKit(kit enrol.RecoveryKit) (*thaw, error) {
	self, err := account.RecoverySelf(kit)
	return &thaw{self: self, logKeys: kit.LogKeys, evidence: func(string, string, []byte) string { return "" }}, err
}

// RestoreByKit is restore --from with a recovery kit and nothing else.
func RestoreByKit(ctx context.Context, kit enrol.RecoveryKit, p ThawParams, ui control.UI) (any, error) {
	t, err := byKit(kit)
	if err != nil {
		return nil, err
	}
	return t.restore(ctx, p, ui)
}

// VerifyByKit is verify with a recovery kit and nothing else.
func VerifyByKit(ctx context.Context, kit enrol.RecoveryKit, p ThawParams, ui control.UI) (any, error) {
	t, err := byKit(kit)
	if err != nil {
		return nil, err
	}
	return t.verify(ctx, p, ui)
}

// open opens and verifies an export. What is not what was signed is an alarm with
// evidence.
func (t *thaw) open(p ThawParams) (*cold.Export, *Thawed, error) {
	until := int64(0)
	if !p.At.IsZero() {
		until = p.At.UnixMilli()
	}
	if _, err := os.Stat(p.From); err != nil {
		return nil, nil, control.Hinted(err, "is the disk mounted? name the folder that signet export --to wrote")
	}
	x, err := cold.Open(p.From, &t.self, t.logKeys, until)
	if err == nil && t.check != nil {
		dir, journal := x.Trees()
		if err = cmp.Or(t.check(x.Directory, dir), t.check(x.Journal, journal)); err != nil {
			x.Close()
		}
	}
	if err != nil {
		return nil, nil, t.alarm(exportProblem(err, p.From))
	}
	out := &Thawed{From: p.From, To: p.To, Region: x.Name, RegionID: x.Region.String(), Made: control.Milliseconds(x.Made), By: x.Device.String(),
		Place: x.Place, Entries: x.Journal.Size, DryRun: p.DryRun, Damage: []ThawDamage{}, Problems: []ThawProblem{}}
	if t.newest != nil {
		if n := t.newest(x.Region); n > out.Entries {
			out.Behind = n - out.Entries
		}
	}
	return x, out, nil
}

// alarm keeps evidence of what was not verified.
func (t *thaw) alarm(err error) error {
	if !errors.Is(err, signet.ErrNotVerified) {
		return err
	}
	f := control.FaultOf(err)
	var fork *chain.Fork
	var back *chain.Rollback
	var evidence []byte
	switch {
	case errors.As(err, &fork):
		evidence = fork.Evidence.Bytes()
	case errors.As(err, &back) && back.Evidence != nil:
		evidence = back.Evidence.Bytes()
	}
	f.Evidence = t.evidence(f.Kind, f.Message, evidence)
	return f
}

func (t *Thawed) damage(d cold.Damage) {
	line := ThawDamage{File: d.File, Kind: d.Kind(), Spared: d.Spared, Paths: []string{}}
	for _, p := range d.Paths {
		text, _ := control.Name(p)
		line.Paths = append(line.Paths, text)
	}
	t.Damage = append(t.Damage, line)
}

// judge makes the fault of what was found: an alarm where something was changed.
func (t *thaw) judge(out *Thawed) {
	changed, gone := 0, 0
	first := ""
	for _, d := range out.Damage {
		if d.Kind == "export_damaged" {
			if changed++; changed == 1 {
				first = d.File
			}
		} else if gone++; first == "" {
			first = d.File
		}
	}
	other, unsigned := 0, -1
	for i, p := range out.Problems {
		if p.File == "" {
			other++
		}
		if p.Kind == "not_verified" && unsigned < 0 {
			unsigned = i
		}
	}
	hint := "signet export --verify mends an export while there is a service; else take what is missing from another one"
	switch {
	case unsigned >= 0:
		p := out.Problems[unsigned]
		say := p.Path + ": " + p.Message
		out.Fault = &control.Fault{Kind: p.Kind, Message: say, Hint: "who wrote it signed something else: signet history says who", Code: control.NotVerified, Evidence: t.evidence(p.Kind, say, nil)}
	case changed > 0:
		say := fmt.Sprintf("%d files of the export are not what was exported, the first is %s", changed, first)
		out.Fault = &control.Fault{Kind: "export_damaged", Message: say, Hint: hint, Code: control.NotVerified, Evidence: t.evidence("export_damaged", say, nil)}
	case gone > 0:
		out.Fault = &control.Fault{Kind: "export_missing", Message: fmt.Sprintf("%d files of the export are missing, the first is %s", gone, first), Hint: hint, Code: control.Attention}
	case other > 0:
		p := out.Problems[0]
		out.Fault = &control.Fault{Kind: p.Kind, Message: fmt.Sprintf("%d files were not restored, the first is %s: %s", other, p.Path, p.Message), Code: control.Attention,
			Hint: "restore to another, empty folder"}
	}
}

// verify checks an export; deep, it reads every object.
func (t *thaw) verify(ctx context.Context, p ThawParams, ui control.UI) (any, error) {
	x, out, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	out.Deep = p.Deep
	for _, n := range x.Tree.Walk() {
		if n.Type != tree.Dir {
			out.Files++
		}
	}
	if out.Objects, out.Bytes, err = x.Check(ctx, p.Deep, pacer(ui, "verifying object")); err != nil {
		return nil, err
	}
	for _, d := range x.Damage {
		out.damage(d)
	}
	t.judge(out)
	if p.Deep && t.note != nil {
		err = t.note(x, out)
	}
	return out, err
}

// restore writes the tree of an export to a folder. What cannot be had is said,
// with the file of the export that it is for; all else is restored.
func (t *thaw) restore(ctx context.Context, p ThawParams, ui control.UI) (any, error) {
	x, out, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	vs := treeVersions(x.Tree)
	if p.Path != "" {
		if vs = below(vs, p.Path); len(vs) == 0 {
			return nil, failed("not_found", "signet restore --from "+p.From+" --to DIR restores all", "%s: nothing of that name in the export: %s", p.From, p.Path)
		}
	}
	if len(vs) == 0 && !p.At.IsZero() {
		return nil, failed("not_found", "name a later time, or leave out --at", "%s: the region was empty, or not there yet, at that time", p.From)
	}
	var total int64
	for _, v := range vs {
		total += v.Size
	}
	if p.DryRun {
		for _, v := range vs {
			if v.Type != tree.Dir {
				out.Files++
				out.Bytes += v.Size
			}
		}
		if _, _, err := x.Check(ctx, false, nil); err != nil {
			return nil, err
		}
		for _, d := range x.Damage {
			out.damage(d)
		}
		t.judge(out)
		return out, nil
	}
	for _, d := range x.Damage {
		out.damage(d)
	}
	if err := os.MkdirAll(p.To, 0o755); err != nil {
		return nil, err
	}
	o, err := openOutside(p.To, x.Fetch)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	o.later = o.settle() == nil // one sync for all files, where there is such a thing
	began := time.Now()
	for _, v := range vs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.place(ctx, o, v, out); err != nil {
			return nil, err
		}
		pr := control.Progress{What: "restoring", Files: out.Files, FilesTotal: int64(len(vs)), Bytes: out.Bytes, BytesTotal: total}
		if s := time.Since(began).Seconds(); s > 0.5 && out.Bytes > 0 {
			pr.Rate = float64(out.Bytes) / s
			pr.ETA = float64(total-out.Bytes) / pr.Rate
		}
		ui.Progress(pr)
	}
	if o.later {
		if err := o.settle(); err != nil {
			return nil, err
		}
	}
	t.judge(out)
	return out, nil
}

// place restores one version. Only what concerns the folder as a whole is an
// error.
func (t *thaw) place(ctx context.Context, o *outside, v past.Version, out *Thawed) error {
	var err error
	switch there, herr := o.holds(v); {
	case herr != nil:
		err = herr
	case there:
		out.There++
	case !filepath.IsLocal(filepath.FromSlash(v.Path)):
		err = failed("name", "", "it cannot be a path here")
	case v.Type == tree.Dir:
		_, err = o.folder(v.Path, v.Node)
		if err == nil {
			return nil
		}
	default:
		err = o.place(ctx, v, v.Path)
	}
	if err == nil {
		out.Files++
		out.Bytes += v.Size
		return nil
	}
	if ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) {
		return err
	}
	pr := ThawProblem{Kind: control.FaultOf(err).Kind, Message: err.Error()}
	pr.Path, pr.PathB64 = control.Name(v.Path)
	var fault *cold.ObjectFault
	if errors.As(err, &fault) {
		pr.Kind, pr.File = fault.Kind(), fault.File
		fault.Paths = []string{v.Path}
		out.merge(fault.Damage)
	}
	out.Problems = append(out.Problems, pr)
	return nil
}

// merge adds damage to an object that several files may need.
func (t *Thawed) merge(d cold.Damage) {
	for i := range t.Damage {
		if t.Damage[i].File == d.File {
			text, _ := control.Name(d.Paths[0])
			t.Damage[i].Paths = append(t.Damage[i].Paths, text)
			return
		}
	}
	t.damage(d)
}

// below are what is at a path and below it, by the path that it has beside what is
// restored of it.
func below(vs []past.Version, top string) (list []past.Version) {
	base := path.Dir(top)
	for _, v := range vs {
		if past.Within(v.Path, top) {
			if base != "." {
				v.Path = strings.TrimPrefix(v.Path, base+"/")
			}
			list = append(list, v)
		}
	}
	return list
}

// treeVersions lists a tree's files, links and folders by path, with the names
// that they have on a disk: each path is one node.
func treeVersions(t *tree.Tree) (list []past.Version) {
	var in func(folder signet.NodeID, at string)
	in = func(folder signet.NodeID, at string) {
		names := t.Names(folder, tree.Caps{})
		for _, n := range t.Children(folder) {
			v := past.Version{Node: n.ID, Path: path.Join(at, names[n.ID]), Type: n.Type, Content: n.Data, Hash: n.Hash, Target: n.Target, MTime: n.MTime, Mode: n.Mode}
			if n.Type == tree.File {
				v.Size = n.Size
			}
			list = append(list, v)
			if n.Type == tree.Dir {
				in(n.ID, v.Path)
			}
		}
	}
	in(signet.RootNode, "")
	return list
}

// holds reports whether a file or link is at its path already, as an earlier run
// put it there: then a restoring that was cut off goes on.
func (o *outside) holds(v past.Version) (bool, error) {
	in, ok := o.names[path.Dir(v.Path)]
	if v.Type == tree.Dir || !ok {
		return false, nil
	}
	at := path.Join(in, path.Base(v.Path))
	info, err := o.Lstat(at)
	if err != nil || typeOf(info) != v.Type {
		return false, nil
	}
	if v.Type == tree.Link {
		to, err := o.Readlink(at)
		return err == nil && to == v.Target, nil
	}
	if info.Size() != v.Size {
		return false, nil
	}
	f, err := o.Open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := seal.NewFileHasher(v.Size)
	if _, err := io.Copy(h, f); err != nil || h.Sum() != v.Hash {
		return false, err
	}
	if err := f.Chmod(os.FileMode(v.Mode & 0o777)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return false, err
	}
	mtime := time.Unix(0, v.MTime)
	return true, o.Chtimes(at, mtime, mtime)
}
