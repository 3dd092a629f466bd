package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"signet/device/owner"
)

// trash are the commands about what other devices' changes took from this
// device's folders.
func (a *app) trash() *cobra.Command {
	list := func(ctx context.Context, args []string) error {
		dir, err := dirParam(args)
		if err != nil {
			return err
		}
		return stream(ctx, a, "trash.list", map[string]string{"dir": dir}, func(t owner.Trashed) error {
			_, err := fmt.Fprintf(a.stdout, "%s  %10s  %s\n", t.Deleted.Local().Format("2006-01-02 15:04:05"), size(t.Size), exact(t.Path, t.PathB64))
			return err
		})
	}
	cmd := a.command("trash [list [DIR] | restore PATH]", "Show what was deleted or replaced in the folders of this device, for 30 days", 0, 0, list)
	cmd.AddCommand(
		a.command("list [DIR]", "List it, newest first", 0, 1, list),
		a.trashRestore(),
	)
	return cmd
}

func (a *app) trashRestore() *cobra.Command {
	var p owner.TrashParams
	cmd := a.command("restore PATH [flags]", "Move a file from the trash back to where it was", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = filepath.Abs(args[0]); err != nil {
			return err
		}
		if p.To != "" {
			if p.To, err = filepath.Abs(p.To); err != nil {
				return err
			}
		}
		raw, err := a.call(ctx, "trash.restore", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r struct {
			Path   string
			Daemon bool
		}) error {
			fmt.Fprintf(w, "restored: %s\n", escape(r.Path))
			if !r.Daemon {
				a.hint("signet sync takes it to the other devices")
			}
			return nil
		})
	})
	cmd.Flags().StringVar(&p.ID, "id", "", "the one with this id, where several were there (default: the newest)")
	cmd.Flags().StringVar(&p.To, "to", "", "move it to this PATH in the same folder instead")
	return cmd
}
