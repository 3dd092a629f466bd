package owner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signet/core/region"
	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/disk"
	"signet/device/engine"
	"signet/device/ignore"
)

// An IgnoreRule is a line of ignore list.
type IgnoreRule struct {
	Path    string `json:"path"` // of the file of rules, absolute
	PathB64 []byte `json:"path_b64,omitempty"`
	Line    int    `json:"line"`
	Pattern string `json:"pattern"`
	Keep    bool   `json:"keep"`
	Problem string `json:"problem,omitempty"` // why it can fit nothing
}

// ignoreList streams the rules of a folder, or of all.
func (w *Work) ignoreList(_ context.Context, p dirParams, ui control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	for _, v := range vs {
		err := w.withDisk(v, func(d *disk.Volume) error {
			text, _, err := readRules(d, v.Dir)
			if err != nil {
				return err
			}
			r := ignore.Parse(text)
			why := map[int]string{}
			for _, p := range r.Problems() {
				why[p.Line] = p.Why
			}
			for _, u := range r.All() {
				l := IgnoreRule{Line: u.Line, Pattern: u.Pattern, Keep: u.Keep, Problem: why[u.Line]}
				l.Path, l.PathB64 = control.Name(filepath.Join(v.Dir, ignore.File))
				if err := ui.Item(l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// readRules reads a folder's file of rules; stat is zero where there is none.
func readRules(d *disk.Volume, dir string) (text []byte, stat tree.Stat, err error) {
	full := filepath.Join(dir, ignore.File)
	f, st, err := d.OpenFile(ignore.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, tree.Stat{}, nil
	case errors.Is(err, disk.ErrNotFile):
		return nil, st, failed("ignore_rules", "move it away: rules are an ordinary file of that name", "%s is not a file", full)
	case err != nil:
		return nil, st, err
	}
	defer f.Close()
	if st.Size > ignore.MaxSize {
		return nil, st, failed("ignore_rules", "make it shorter", "%s has more than %d bytes", full, ignore.MaxSize)
	}
	if text, err = io.ReadAll(f); err != nil {
		return nil, st, err
	}
	return text, st, d.Intact(ignore.File, f, st)
}

// IgnoreParams are those of ignore add and remove.
type IgnoreParams struct {
	Dir      string   `json:"dir"`  // whose rules; "" for the one that Here is in, or the only one
	Here     string   `json:"here"` // where the command was given
	Patterns []string `json:"patterns"`
	Presets  []string `json:"presets"`
	Remove   bool     `json:"remove"`
	DryRun   bool     `json:"dry_run"`
}

// Ignored says what ignore add or remove did.
type Ignored struct {
	Path    string   `json:"path"` // of the file of rules
	PathB64 []byte   `json:"path_b64,omitempty"`
	Changed []string `json:"changed"` // the patterns that were added, or removed
	// Files are how many files of the region are ignored from now on, and Back
	// how many are not any more.
	Files  int  `json:"files"`
	Back   int  `json:"back"`
	DryRun bool `json:"dry_run"`
	Daemon bool `json:"daemon"`
}

// ignore changes a folder's rules, as an editor would.
func (w *Work) ignore(ctx context.Context, p IgnoreParams, _ control.UI) (any, error) {
	patterns, err := patternsOf(p)
	if err != nil {
		return nil, err
	}
	v, err := w.oneVolume(p.Dir, p.Here)
	if err != nil {
		return nil, err
	}
	out := Ignored{DryRun: p.DryRun, Daemon: w.Running, Changed: []string{}}
	out.Path, out.PathB64 = control.Name(filepath.Join(v.Dir, ignore.File))
	err = w.withDisk(v, func(d *disk.Volume) error {
		old, st, err := readRules(d, v.Dir)
		if err != nil {
			return err
		}
		var text []byte
		if p.Remove {
			text, out.Changed = without(old, patterns)
		} else {
			text, out.Changed = with(old, patterns)
		}
		switch {
		case len(out.Changed) == 0 && p.Remove:
			return failed("not_found", "signet ignore list shows the rules", "%s has no such rule", filepath.Join(v.Dir, ignore.File))
		case len(out.Changed) == 0:
			return nil
		case len(text) > ignore.MaxSize:
			return failed("ignore_rules", "use fewer, wider patterns", "rules have at most %d bytes", ignore.MaxSize)
		}
		if err := w.compareRules(v, ignore.Parse(old), ignore.Parse(text), &out); err != nil || p.DryRun {
			return err
		}
		return writeRules(ctx, d, text, st)
	})
	return out, err
}

// patternsOf checks what is to be added or removed.
func patternsOf(p IgnoreParams) (patterns []string, err error) {
	for _, name := range p.Presets {
		i := slices.IndexFunc(ignore.Presets, func(s ignore.Preset) bool { return s.Name == name })
		if i < 0 {
			var names []string
			for _, s := range ignore.Presets {
				names = append(names, s.Name)
			}
			return nil, control.Usagef("there is no preset %q: there are %s", name, strings.Join(names, ", "))
		}
		patterns = append(patterns, ignore.Presets[i].Patterns...)
	}
	for _, s := range p.Patterns {
		r := ignore.Parse([]byte(s))
		switch all := r.All(); {
		case strings.ContainsAny(s, "\n\r\x00"):
			return nil, control.Usagef("pattern %q: a rule is one line", s)
		case p.Remove: // as it stands there
		case strings.HasPrefix(s, "#"):
			return nil, control.Usagef(`pattern %q is a remark; write \%s`, s, s)
		case len(all) == 0 || all[0].Pattern != s:
			return nil, control.Usagef(`pattern %q is empty, or ends with spaces; protect them with \`, s)
		case len(r.Problems()) > 0:
			return nil, control.Usagef("pattern %q %s: it can fit nothing", s, r.Problems()[0].Why)
		}
		patterns = append(patterns, s)
	}
	if len(patterns) == 0 {
		return nil, control.Usagef("which pattern, or --preset?")
	}
	return patterns, nil
}

// with adds the patterns that rules do not have yet, at their end.
func with(old []byte, patterns []string) (text []byte, added []string) {
	have := map[string]bool{}
	for _, u := range ignore.Parse(old).All() {
		have[u.Pattern] = true
	}
	text = slices.Clone(old)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	added = []string{}
	for _, s := range patterns {
		if !have[s] {
			have[s] = true
			added = append(added, s)
			text = append(text, s+"\n"...)
		}
	}
	return text, added
}

// without takes out the lines that are one of the patterns.
func without(old []byte, patterns []string) (text []byte, removed []string) {
	lines := map[int]bool{}
	removed = []string{}
	for _, u := range ignore.Parse(old).All() {
		if slices.Contains(patterns, u.Pattern) {
			lines[u.Line] = true
			removed = append(removed, u.Pattern)
		}
	}
	n := 0
	for line := range strings.SplitAfterSeq(string(old), "\n") {
		if n++; !lines[n] {
			text = append(text, line...)
		}
	}
	return text, removed
}

// compareRules counts the files of the region about which two sets of rules do
// not agree.
func (w *Work) compareRules(v engine.VolumeInfo, old, text *ignore.Rules, out *Ignored) error {
	leaves := func(r *ignore.Rules, path string) bool {
		u, ok := r.Check(path, false)
		return ok && !u.Keep
	}
	return w.Engine.WithRegion(v.Region, func(r *region.Region) error {
		for path, n := range r.Tree.Walk() {
			if n.Type == tree.Dir {
				continue
			}
			switch was, is := leaves(old, path), leaves(text, path); {
			case is && !was:
				out.Files++
			case was && !is:
				out.Back++
			}
		}
		return nil
	})
}

// writeRules puts rules in place, if they are still what was read.
func writeRules(ctx context.Context, d *disk.Volume, text []byte, was tree.Stat) error {
	s, err := d.Stage("")
	if err != nil {
		return err
	}
	defer s.Discard()
	if _, err := s.Write(text); err != nil {
		return err
	}
	mode := uint32(0o644)
	if was.Type != 0 {
		mode = was.Mode
	}
	if err := s.Finish(mode, time.Now().UnixNano()); err != nil {
		return err
	}
	if err := d.SyncStaged(ctx, []*disk.Staged{s}); err != nil {
		return err
	}
	if was.Type == 0 {
		_, err = d.Place(s, ignore.File)
	} else {
		var id [8]byte
		rand.Read(id[:])
		_, _, err = d.Replace(s, ignore.File, was, "i-"+hex.EncodeToString(id[:]))
	}
	if errors.Is(err, disk.ErrChanged) || errors.Is(err, disk.ErrExists) {
		return failed("changed", "try again", "the rules were changed at this moment")
	}
	return errors.Join(err, d.SyncFolders(ctx))
}

// oneVolume is the volume that a folder names; where it names none, the one
// that here is in, or else the only one.
func (w *Work) oneVolume(dir, here string) (engine.VolumeInfo, error) {
	if dir != "" {
		vs, err := w.chosen(dir)
		if err != nil {
			return engine.VolumeInfo{}, err
		}
		return vs[0], nil
	}
	all := w.Engine.Volumes()
	if s, err := w.at(here); err == nil && s.volume != "" {
		for _, v := range all {
			if v.ID == s.volume {
				return v, nil
			}
		}
	}
	switch len(all) {
	case 0:
		return engine.VolumeInfo{}, failed("no_volume", "signet add DIR", "no folder is kept in step")
	case 1:
		return all[0], nil
	}
	return engine.VolumeInfo{}, control.Usagef("%d folders are kept in step: which one? --dir DIR", len(all))
}

// A Verdict is a line of ignore check.
type Verdict struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	Ignored bool   `json:"ignored"`
	// Own says that no rule can leave it out.
	Own bool `json:"own,omitempty"`
	// Rules, Line and Pattern are the rule that decides; Line is 0 where none does.
	Rules   string `json:"rules,omitempty"`
	Line    int    `json:"line"`
	Pattern string `json:"pattern,omitempty"`
	// InRegion says that the region has it all the same.
	InRegion bool `json:"in_region"`
}

// ignoreCheck streams what the rules say of paths.
func (w *Work) ignoreCheck(_ context.Context, p struct {
	Paths []string `json:"paths"`
}, ui control.UI) (any, error) {
	for _, name := range p.Paths {
		s, err := w.at(name)
		if err != nil {
			return nil, err
		}
		if s.volume == "" || s.path == "" {
			return nil, failed("no_volume", "name a path in a folder that is kept in step", "%s is in none", name)
		}
		out := Verdict{Own: ignore.Own(s.path) || s.path == tree.Hidden || strings.HasPrefix(s.path, tree.Hidden+"/")}
		out.Path, out.PathB64 = control.Name(filepath.Join(s.dir, s.path))
		folder := strings.HasSuffix(name, "/")
		if info, err := os.Lstat(filepath.Join(s.dir, s.path)); err == nil {
			folder = info.IsDir()
		}
		err = w.Engine.WithRegion(s.region, func(r *region.Region) error {
			n, ok := r.Tree.Lookup(s.path)
			out.InRegion = ok
			folder = folder || ok && n.Type == tree.Dir
			return nil
		})
		if err != nil {
			return nil, err
		}
		err = w.withDisk(engine.VolumeInfo{ID: s.volume, Dir: s.dir}, func(d *disk.Volume) error {
			text, _, err := readRules(d, s.dir)
			if u, ok := ignore.Parse(text).Check(s.path, folder); err == nil && ok && !out.Own {
				out.Ignored, out.Line, out.Pattern = !u.Keep, u.Line, strings.ToValidUTF8(u.Pattern, "\uFFFD")
				out.Rules, _ = control.Name(filepath.Join(s.dir, ignore.File))
			}
			return err
		})
		if err == nil {
			err = ui.Item(out)
		}
		if err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}
