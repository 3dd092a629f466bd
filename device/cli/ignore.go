package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"signet/device/ignore"
	"signet/device/owner"
)

// ignore are the commands about what is left out of a region.
func (a *app) ignore() *cobra.Command {
	list := func(ctx context.Context, args []string) error {
		dir, err := dirParam(args)
		if err != nil {
			return err
		}
		return stream(ctx, a, "ignore.list", map[string]string{"dir": dir}, func(r owner.IgnoreRule) error {
			text := fmt.Sprintf("%s:%d: %s", exact(r.Path, r.PathB64), r.Line, escape(r.Pattern))
			if r.Problem != "" {
				text += " (" + escape(r.Problem) + ": it can fit nothing)"
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	cmd := a.command("ignore [list [DIR] | add | remove | check]", "Rules of what is left out of a region, on all its devices; nothing is deleted", 0, 0, list)
	cmd.Long = "Rules of what is left out of a region, on all its devices; nothing is deleted for them.\n\n" +
		"They are the file " + ignore.File + " at the top of the folder, in the syntax of gitignore."
	cmd.AddCommand(
		a.command("list [DIR]", "List the rules", 0, 1, list),
		a.ignoreChange("add", "Add rules", "added", false),
		a.ignoreChange("remove", "Take rules away", "removed", true),
		a.ignoreCheck(),
	)
	return cmd
}

// ignoreChange is ignore add, or remove.
func (a *app) ignoreChange(name, short, done string, remove bool) *cobra.Command {
	p := owner.IgnoreParams{Remove: remove}
	cmd := a.command(name+" [PATTERN...] [flags]", short, 0, -1, func(ctx context.Context, args []string) error {
		var err error
		if p.Patterns = args; p.Dir != "" {
			if p.Dir, err = filepath.Abs(p.Dir); err != nil {
				return err
			}
		}
		if p.Here, err = os.Getwd(); err != nil {
			return err
		}
		raw, err := a.call(ctx, "ignore", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r owner.Ignored) error { return a.showIgnored(w, done, remove, r) })
	})
	var presets []string
	cmd.Long = short + ", which are patterns in the syntax of gitignore, or those of a preset:\n"
	for _, s := range ignore.Presets {
		presets = append(presets, s.Name)
		cmd.Long += fmt.Sprintf("\n  %-8s %s\n           %s\n", s.Name, s.Short, strings.Join(s.Patterns, " "))
	}
	f := cmd.Flags()
	f.StringSliceVar(&p.Presets, "preset", nil, "the rules of a preset: "+strings.Join(presets, ", "))
	f.StringVar(&p.Dir, "dir", "", "the folder whose rules they are (default: the one you are in, or the only one)")
	f.BoolVar(&p.DryRun, "dry-run", false, "only say what it would do")
	return cmd
}

func (a *app) showIgnored(w io.Writer, done string, remove bool, r owner.Ignored) error {
	if len(r.Changed) == 0 {
		fmt.Fprintf(w, "%s has these rules already\n", exact(r.Path, r.PathB64))
		return nil
	}
	if r.DryRun {
		done = "would be " + done
	}
	for _, s := range r.Changed {
		fmt.Fprintf(w, "%s: %s\n", done, escape(s))
	}
	if r.Files > 0 {
		fmt.Fprintf(w, "files of the region that are ignored then: %d; they stay in the region, and on each device\n", r.Files)
	}
	if r.Back > 0 {
		fmt.Fprintf(w, "files of the region that are not ignored any more: %d\n", r.Back)
	}
	if !r.Daemon && !r.DryRun {
		a.hint("signet sync takes it to the other devices")
	}
	return nil
}

func (a *app) ignoreCheck() *cobra.Command {
	return a.command("check PATH...", "Say whether a path is ignored, and by which rule", 1, -1, func(ctx context.Context, args []string) error {
		var paths []string
		for _, arg := range args {
			p, err := pathParam(arg)
			if err != nil {
				return err
			}
			if strings.HasSuffix(arg, "/") && !strings.HasSuffix(p, "/") {
				p += "/"
			}
			paths = append(paths, p)
		}
		return stream(ctx, a, "ignore.check", map[string]any{"paths": paths}, func(v owner.Verdict) error {
			text := exact(v.Path, v.PathB64) + ": "
			rule := fmt.Sprintf("%s:%d: %s", escape(v.Rules), v.Line, escape(v.Pattern))
			switch {
			case v.Own:
				text += "Signet's own, no rule is about it"
			case v.Ignored:
				text += "ignored by " + rule
				if v.InRegion {
					text += " (the region has one, and keeps it)"
				}
			case v.Line > 0:
				text += "not ignored, by " + rule
			default:
				text += "not ignored"
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		})
	})
}
