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
			if n.Unselected {
				text += "  (not selected)"
			}
			_, err := fmt.Fprintf(a.stdout, "%s %12s  %s\n", n.Mode, size(n.Size), text)
			return err
		})
	})
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
