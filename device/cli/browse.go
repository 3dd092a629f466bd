package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/owner"
)

// lines decodes what a method streams, for people.
type lines[T any] struct {
	*screen
	show func(T) error
}

func (l *lines[T]) Item(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var t T
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	return l.show(t)
}

// stream calls a method whose results are lines: as they are under --json,
// else as show writes them.
func stream[T any](ctx context.Context, a *app, method string, params any, show func(T) error) error {
	if a.json {
		_, err := a.call(ctx, method, params)
		return err
	}
	_, err := a.callWith(ctx, method, params, &lines[T]{a.screen, show})
	return err
}

func (a *app) tree(name string) *cobra.Command {
	short, use := "List a region or folder, whole, sorted by path", "tree REGION|DIR"
	if name == "ls" {
		short, use = "List one folder of a region", "ls PATH"
	}
	return a.command(use, short, 1, 1, func(ctx context.Context, args []string) error {
		p, err := pathParam(args[0])
		if err != nil {
			return err
		}
		return stream(ctx, a, "tree", map[string]any{"path": p, "deep": name == "tree"}, func(n owner.Node) error {
			text := exact(n.Path, n.PathB64)
			switch n.Type {
			case "dir":
				text += "/"
			case "link":
				text += " -> " + escape(n.Target)
			}
			_, err := fmt.Fprintf(a.stdout, "%s %12s  %s\n", n.Mode, size(n.Size), text)
			return err
		})
	})
}

func (a *app) history() *cobra.Command {
	return a.command("history PATH", "Show what happened to a file or folder, newest first", 1, 1, func(ctx context.Context, args []string) error {
		p, err := pathParam(args[0])
		if err != nil {
			return err
		}
		return stream(ctx, a, "history", map[string]any{"path": p}, func(r owner.Revision) error {
			_, err := fmt.Fprintf(a.stdout, "%s  %-7s %10s  %s  by %s  %s\n", r.Time.Local().Format("2006-01-02 15:04:05"), r.Kind, size(r.Size), exact(r.Path, r.PathB64), escape(r.Device), r.Revision)
			return err
		})
	})
}

func (a *app) restore() *cobra.Command {
	var p owner.RestoreParams
	var at, to string
	cmd := a.command("restore PATH [flags]", "Bring back a file or folder, as it was before or at a time", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = pathParam(args[0]); err != nil {
			return err
		}
		if at != "" {
			if p.At, err = parseTime(at, a.now()); err != nil {
				return err
			}
		}
		if at != "" && p.Revision != "" {
			return control.Usagef("--at and --revision exclude each other")
		}
		if to != "" {
			if p.To, err = filepath.Abs(to); err != nil {
				return err
			}
		}
		raw, err := a.call(ctx, "restore", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r owner.Restored) error {
			verb := "restored"
			if r.DryRun {
				verb = "would restore"
			}
			fmt.Fprintf(w, "%s: %d files, %s\n", verb, r.Files, size(r.Bytes))
			for i, path := range r.Paths {
				if i == 10 && !a.verbose {
					fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.Paths)-i)
					break
				}
				fmt.Fprintf(w, "  %s\n", escape(path))
			}
			if r.Back > 0 {
				fmt.Fprintf(w, "%d held deletions undone\n", r.Back)
			}
			if !r.DryRun && r.To == "" && !r.Daemon {
				a.hint("signet sync brings it to the folder")
			}
			return nil
		})
	})
	f := cmd.Flags()
	f.StringVar(&at, "at", "", "as it was at this TIME, places and modes too: RFC 3339, local \"2026-09-12 16:30\", or 2h, 3d ago")
	f.StringVar(&p.Revision, "revision", "", "the content of this revision of history")
	f.StringVar(&to, "to", "", "write into this folder instead")
	f.BoolVar(&p.DryRun, "dry-run", false, "say what would be restored; change nothing")
	return cmd
}

func (a *app) cat() *cobra.Command {
	return a.command("cat PATH", "Write a file of a region to stdout", 1, 1, func(ctx context.Context, args []string) error {
		p, err := pathParam(args[0])
		if err != nil {
			return err
		}
		// Whole and verified before the first byte is shown, and plaintext
		// nowhere but in the home.
		if err := a.dir.Make(); err != nil {
			return err
		}
		dir, err := os.MkdirTemp(string(a.dir), owner.StagedCat)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "file")
		if _, err := a.call(ctx, "cat", map[string]any{"path": p, "to": file, "private": true}); err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		os.RemoveAll(dir) // where a name cannot go while it is open, it goes later
		_, err = io.Copy(a.stdout, f)
		return err
	})
}

func (a *app) get() *cobra.Command {
	return a.command("get PATH FILE", "Write a file of a region to a new local file", 2, 2, func(ctx context.Context, args []string) error {
		p, err := pathParam(args[0])
		if err != nil {
			return err
		}
		to, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		_, err = a.call(ctx, "cat", map[string]string{"path": p, "to": to})
		return err
	})
}

func (a *app) conflicts(ctx context.Context, args []string) error {
	dir, err := dirParam(args)
	if err != nil {
		return err
	}
	type conflict struct {
		Path string    `json:"path"`
		Of   string    `json:"of"`
		Time time.Time `json:"time"`
		Size int64     `json:"size"`
	}
	return stream(ctx, a, "conflicts", map[string]string{"dir": dir}, func(c conflict) error {
		_, err := fmt.Fprintf(a.stdout, "%s  (of %s)\n", escape(c.Path), escape(c.Of))
		return err
	})
}
