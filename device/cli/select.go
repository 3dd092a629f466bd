package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"signet/device/owner"
)

// choose are the commands about what of a region is on this device's disk.
func (a *app) choose() *cobra.Command {
	list := func(ctx context.Context, args []string) error {
		dir, err := dirParam(args)
		if err != nil {
			return err
		}
		return stream(ctx, a, "select.list", map[string]string{"dir": dir}, func(u owner.Unselected) error {
			text := exact(u.Path, u.PathB64)
			if u.Selected {
				text += "/: what is new in it is not selected"
			} else {
				text += fmt.Sprintf(": not selected (%d files, %s)", u.Files, size(u.Bytes))
			}
			if u.Here {
				text += ", still on this disk"
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	cmd := a.command("select [list [DIR] | add | remove]", "Choose what of a region is on this device's disk; nothing is deleted", 0, 0, list)
	cmd.Long = "Choose what of a region is on this device's disk; nothing is deleted.\n\n" +
		"What is not selected is taken from this disk once the service has all of it, and stays in the region and on all other devices."
	cmd.AddCommand(
		a.command("list [DIR]", "List what is not selected", 0, 1, list),
		a.choice("add", "Select folders or files, and bring them to this disk", false),
		a.choice("remove", "Unselect folders or files: send what is unsent, then take them from this disk", true),
	)
	return cmd
}

// choice is select add, or remove.
func (a *app) choice(name, short string, remove bool) *cobra.Command {
	p := owner.SelectParams{Remove: remove}
	cmd := a.command(name+" PATH... [flags]", short, 1, -1, func(ctx context.Context, args []string) error {
		p.Paths = nil
		for _, arg := range args {
			path, err := pathParam(arg)
			if err != nil {
				return err
			}
			p.Paths = append(p.Paths, path)
		}
		raw, err := a.call(ctx, "select", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r owner.Chosen) error { return a.showChosen(w, remove, r) })
	})
	f := cmd.Flags()
	f.StringVar(&p.Siblings, "new-siblings", "", "on or off: whether what others make beside these later is selected (default: as it is)")
	f.BoolVar(&p.DryRun, "dry-run", false, "only say how many files and bytes go or come")
	return cmd
}

func (a *app) showChosen(w io.Writer, remove bool, r owner.Chosen) error {
	state, does, would := "selected", "come to this disk", "would come to this disk"
	if remove {
		state, does, would = "not selected", "go from this disk once the service has all of them", "would go from this disk once the service has all of them"
	}
	if r.DryRun {
		does = would
	}
	changed := false
	for _, c := range r.Paths {
		path := exact(c.Path, c.PathB64)
		if c.Type == "dir" {
			path += "/"
		}
		if !c.Changed {
			fmt.Fprintf(w, "%s: %s already\n", path, state)
			continue
		}
		changed = true
		fmt.Fprintf(w, "%s: %d files (%s) %s\n", path, c.Files, size(c.Bytes), does)
	}
	switch r.Siblings {
	case "on":
		fmt.Fprintln(w, "what others make beside them from now on is selected")
	case "off":
		fmt.Fprintln(w, "what others make beside them from now on is not selected")
	}
	switch {
	case !changed || r.DryRun:
	case r.Daemon:
		a.hint("signet wait returns when it is done")
	default:
		a.hint("signet sync carries it out")
	}
	return nil
}
