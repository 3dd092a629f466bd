package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/owner"
)

func (a *app) history() *cobra.Command {
	var p owner.HistoryParams
	cmd := a.command("history PATH [flags]", "Show what happened to a file or folder, newest first; of a region its kept points", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = pathParam(args[0]); err != nil {
			return err
		}
		points := false
		defer func() {
			if points {
				a.hint("of the last 24 hours each moment can be restored, not these alone: signet restore --at TIME")
			}
		}()
		return stream(ctx, a, "history", p, func(l owner.HistoryLine) error {
			if l.PointLine != nil {
				points = true
				return a.point(l.PointLine)
			}
			r := l.Revision
			_, err := fmt.Fprintf(a.stdout, "%s  %-7s %10s  %s  by %s  %s%s\n", moment(r.Time), r.Kind, size(r.Size), exact(r.Path, r.PathB64), escape(r.Device), r.Revision, keptText(r.Kept, r.KeptUntil))
			return err
		})
	})
	cmd.Flags().BoolVar(&p.Changes, "changes", false, "of a region too: what happened in it")
	return cmd
}

// point writes a kept point of a region.
func (a *app) point(p *owner.PointLine) error {
	text := strings.Join(p.Kinds, ", ")
	for _, name := range p.Pins {
		text += " " + fmt.Sprintf("%q", escape(name))
	}
	if !p.KeptUntil.IsZero() {
		text += ", until " + moment(p.KeptUntil)
	}
	by := ""
	if len(p.Devices) > 0 {
		by = " by " + escape(strings.Join(p.Devices, ", "))
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %9d files %10s  %7d changes%s  (%s)\n", moment(p.Point), p.Files, size(p.Bytes), p.Changes, by, text)
	return err
}

func moment(t control.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// keptText says until when a content can be had again.
func keptText(kept string, until control.Time) string {
	switch {
	case kept == "":
		return ""
	case kept == "current":
		return "  (current)"
	case kept == "no":
		return "  (not kept)"
	case until.IsZero():
		return "  (kept: " + kept + ")"
	}
	return "  (kept until " + moment(until) + ": " + kept + ")"
}

func (a *app) restore() *cobra.Command {
	var p owner.RestoreParams
	var at, since, to string
	cmd := a.command("restore PATH [flags]", "Bring back a file, folder or region, as it was before or at a time; or undo what a device did", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = pathParam(args[0]); err != nil {
			return err
		}
		if p.At, err = a.flagTime(at); err != nil {
			return err
		}
		if p.Since, err = a.flagTime(since); err != nil {
			return err
		}
		if err := restoreFlags(at, since, to, &p); err != nil {
			return err
		}
		if to != "" {
			if p.To, err = filepath.Abs(to); err != nil {
				return err
			}
		}
		if since != "" && !p.DryRun {
			if err := a.needPerson("Undo it?"); err != nil {
				return err
			}
		}
		raw, err := a.call(ctx, "restore", p)
		if err != nil {
			return err
		}
		return result(a, raw, a.restored)
	})
	f := cmd.Flags()
	f.StringVar(&at, "at", "", "as it was at this TIME, places and modes too, nothing more: RFC 3339, local \"2026-09-12 16:30\", or 2h, 3d ago")
	f.StringVar(&p.Revision, "revision", "", "the content of this revision of history")
	f.StringVar(&to, "to", "", "write into this folder instead")
	f.StringVar(&p.Undo, "undo", "", "undo what this DEVICE did since --since, and leave what others changed afterwards")
	f.StringVar(&since, "since", "", "undo what was done since this TIME, by all devices or that of --undo")
	f.BoolVar(&p.DryRun, "dry-run", false, "say what would be restored, and what would go; change nothing")
	return cmd
}

// flagTime reads a TIME; none is the zero one.
func (a *app) flagTime(s string) (t time.Time, err error) {
	if s == "" {
		return t, nil
	}
	return parseTime(s, a.now())
}

// restoreFlags checks that flags go together.
func restoreFlags(at, since, to string, p *owner.RestoreParams) error {
	n := 0
	for _, set := range []bool{at != "", p.Revision != "", since != "" || p.Undo != ""} {
		if set {
			n++
		}
	}
	switch {
	case at != "" && p.Revision != "":
		return control.Usagef("--at and --revision exclude each other")
	case n > 1:
		return control.Usagef("--undo and --since go with neither --at nor --revision")
	case p.Undo != "" && since == "":
		return control.Hinted(control.Usagef("--undo says whose changes, not since when"), "add --since TIME")
	case since != "" && to != "":
		return control.Hinted(control.Usagef("--to does not go with --since"), "--at TIME --to DIR writes what was there at a time")
	}
	return nil
}

// restored says what a restore did, or would do.
func (a *app) restored(w io.Writer, r owner.Restored) error {
	verb, gone := "restored", "deleted"
	if r.DryRun {
		verb, gone = "would restore", "would delete"
	}
	text := fmt.Sprintf("%s: %d files, %s", verb, r.Files, size(r.Bytes))
	if r.Moved > 0 {
		text += fmt.Sprintf(", %d moved back", r.Moved)
	}
	if !r.Point.IsZero() {
		text += ", as of " + moment(r.Point)
	}
	if r.Entries > 0 {
		text += fmt.Sprintf(", without %d entries", r.Entries)
	}
	fmt.Fprintln(w, text)
	a.some(w, len(r.Paths), func(i int) string { return escape(r.Paths[i]) })
	if len(r.Removed) > 0 {
		fmt.Fprintf(w, "%s: %d, made since\n", gone, len(r.Removed))
		a.some(w, len(r.Removed), func(i int) string { return escape(r.Removed[i]) })
	}
	if len(r.Left) > 0 {
		fmt.Fprintf(w, "left as it is: %d\n", len(r.Left))
		a.some(w, len(r.Left), func(i int) string { return leftText(r.Left[i]) })
	}
	if r.Pins > 0 {
		fmt.Fprintf(w, "pins set again: %d\n", r.Pins)
	}
	if r.Back > 0 {
		fmt.Fprintf(w, "%d held deletions undone\n", r.Back)
	}
	if !r.DryRun && r.To == "" && !r.Daemon {
		a.hint("signet sync brings it to the folder")
	}
	return nil
}

// some writes the first of a list, or all of it.
func (a *app) some(w io.Writer, n int, text func(int) string) {
	for i := range n {
		if i == 10 && !a.verbose {
			fmt.Fprintf(w, "  … and %d more (--verbose)\n", n-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", text(i))
	}
}

func leftText(l owner.LeftLine) string {
	text := exact(l.Path, l.PathB64)
	by := func(what string) string { return text + ": " + what + " by " + escape(l.Device) + " " + moment(l.Time) }
	switch l.Why {
	case "changed":
		return by("changed afterwards")
	case "deleted":
		return by("deleted afterwards")
	case "moved_here":
		return by("moved here since,")
	case "not_empty":
		return text + ": has something in it that stays"
	}
	return text + ": its place is below itself now"
}

// pin are the commands about points that are kept for good.
func (a *app) pin() *cobra.Command {
	list := func(ctx context.Context, args []string) error {
		var p string
		if len(args) > 0 {
			var err error
			if p, err = pathParam(args[0]); err != nil {
				return err
			}
		}
		return stream(ctx, a, "pin.list", map[string]any{"path": p}, func(l owner.PinLine) error {
			_, err := fmt.Fprintf(a.stdout, "%s  %s  %s  by %s\n", moment(l.Point), escape(l.Region), escape(l.Name), escape(l.Device))
			return err
		})
	}
	cmd := a.command("pin [list [REGION] | add REGION NAME | remove REGION NAME]", "Keep what a region is, or was at a time, under a name and for good", 0, 0, list)
	cmd.AddCommand(
		a.command("list [REGION]", "List the pins, oldest moment first", 0, 1, list),
		a.pinChange("add", "Pin a region as it is, or was at a time", "pinned", false),
		a.pinChange("remove", "Take a pin off: from now on it keeps nothing", "taken off", true),
	)
	return cmd
}

// pinChange is pin add, or remove.
func (a *app) pinChange(name, short, done string, remove bool) *cobra.Command {
	p := owner.PinParams{Remove: remove}
	var at string
	cmd := a.command(name+" REGION NAME [flags]", short, 2, 2, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = pathParam(args[0]); err != nil {
			return err
		}
		p.Name = args[1]
		if p.At, err = a.flagTime(at); err != nil {
			return err
		}
		raw, err := a.call(ctx, "pin", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, l owner.PinLine) error {
			if p.DryRun {
				done = "would be " + done
			}
			_, err := fmt.Fprintf(w, "%s: %s, %s as of %s\n", done, escape(l.Name), escape(l.Region), moment(l.Point))
			return err
		})
	})
	if !remove {
		cmd.Flags().StringVar(&at, "at", "", "as it was at this TIME, at the newest kept point before")
	}
	cmd.Flags().BoolVar(&p.DryRun, "dry-run", false, "say what would be done; change nothing")
	return cmd
}
