package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/owner"
)

// statusAll is status, with the two questions of who fears for files: where the
// copies are, and what is here alone.
func (a *app) statusAll() *cobra.Command {
	var copies, unsafe bool
	cmd := a.status()
	run := cmd.RunE
	ask := a.command("", "", 0, 0, func(ctx context.Context, _ []string) error {
		check, _ := cmd.Flags().GetBool("check")
		follow, _ := cmd.Flags().GetBool("follow")
		if copies && unsafe || follow {
			return control.Usagef("--copies, --unsafe and --follow exclude each other")
		}
		if unsafe {
			return a.unsafe(ctx, check)
		}
		return a.copies(ctx, check)
	})
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if copies || unsafe {
			return ask.RunE(c, args)
		}
		return run(c, args)
	}
	cmd.Flags().BoolVar(&copies, "copies", false, "show where copies of each region are, how old, and when they were verified last")
	cmd.Flags().BoolVar(&unsafe, "unsafe", false, "show what would be lost if this device were lost now, smallest first")
	return cmd
}

func (a *app) copies(ctx context.Context, check bool) error {
	raw, err := a.call(ctx, "copies", struct{}{})
	if err != nil {
		return err
	}
	var list []owner.Copies
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	if err := result(a, raw, a.showCopies); err != nil || !check {
		return err
	}
	for _, c := range list {
		if len(c.Warnings) > 0 {
			return &control.Fault{Kind: "copies", Message: c.Region + ": " + c.Warnings[0].Message, Hint: c.Warnings[0].Hint, Code: control.Attention}
		}
	}
	return nil
}

func (a *app) showCopies(w io.Writer, list []owner.Copies) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "there are no regions yet: signet add DIR")
	}
	for _, r := range list {
		fmt.Fprintf(w, "%s: %d complete copies, %d of them current\n", escape(r.Region), r.Complete, r.Current)
		var rows [][]string
		exports := 0
		for _, c := range r.Copies {
			if c.Kind == "export" {
				exports++
			}
			rows = append(rows, []string{copyName(c), copyState(c), copyAge(c), copyVerified(c)})
		}
		if err := table(w, []string{"COPY", "STATE", "AS OF", "VERIFIED"}, rows); err != nil {
			return err
		}
		for _, warn := range r.Warnings {
			fmt.Fprintf(w, "warning: %s\n", escape(warn.Message))
			fmt.Fprintf(w, "    hint: %s\n", escape(warn.Hint))
		}
		if exports == 0 {
			a.hint("signet export " + r.Region + " --to DIR makes a copy that needs no service; it opens with a device or a recovery kit")
		}
	}
	return nil
}

func copyName(c owner.Copy) string {
	switch c.Kind {
	case "this_device":
		if c.Where == "" {
			return "this device"
		}
		return "this device, " + c.Where
	case "device":
		return "device " + c.Name
	case "service":
		return "service " + c.Where
	}
	if c.Where == "" {
		return "export " + c.Dir
	}
	return "export " + c.Where + ", " + c.Dir
}

func copyState(c owner.Copy) string {
	text := strings.ReplaceAll(c.State, "_", " ")
	switch {
	case c.Kind == "device" && c.Time.IsZero():
		return "unknown: never wrote here"
	case c.Kind == "device":
		return fmt.Sprintf("unknown: had read to entry %d when it last wrote", c.Entries)
	case c.Kind == "this_device" && c.State == "none":
		return "no folder here"
	case c.Kind == "this_device" && c.Lacks > 0:
		return fmt.Sprintf("incomplete: %d files are not here", c.Lacks)
	case c.Kind == "this_device" && c.Older > 0:
		return fmt.Sprintf("behind: %d files are here as they were", c.Older)
	case c.Kind == "export" && c.Behind > 0 && c.State != "behind":
		text += fmt.Sprintf(", %d entries behind", c.Behind)
	case c.Kind == "export" && c.Behind > 0:
		text = fmt.Sprintf("%d entries behind", c.Behind)
	}
	if c.Kind == "export" && c.Here {
		text += ", its disk is here"
	}
	return text
}

func copyAge(c owner.Copy) string {
	if c.Time.IsZero() {
		return "-"
	}
	text := span(seconds(c.Age)) + " ago"
	if c.Every > 0 {
		text += ", every " + span(seconds(float64(c.Every)))
	}
	return text
}

func copyVerified(c owner.Copy) string {
	switch {
	case c.Kind != "export":
		return ""
	case c.Verified.IsZero():
		return "never"
	}
	return c.Verified.Local().Format("2006-01-02 15:04")
}

func (a *app) unsafe(ctx context.Context, check bool) error {
	raw, err := a.call(ctx, "unsafe", struct{}{})
	if err != nil {
		return err
	}
	var r owner.UnsafeReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if err := result(a, raw, a.showUnsafe); err != nil || !check || r.Files == 0 {
		return err
	}
	return &control.Fault{Kind: "unsafe", Message: fmt.Sprintf("%d files, %s are on this device alone", r.Files, size(r.Bytes)), Code: control.Attention, Hint: "signet status --unsafe lists them"}
}

func (a *app) showUnsafe(w io.Writer, r owner.UnsafeReport) error {
	if r.Files == 0 {
		fmt.Fprintln(w, "nothing is on this device alone: the service has the newest bytes of every file")
	} else {
		fmt.Fprintf(w, "%d files, %s are on this device alone\n", r.Files, size(r.Bytes))
		left := r.Files - r.Stuck
		from := "at the rate measured"
		if !r.Measured {
			from = "assuming 100 Mbit/s, nothing was measured yet"
		}
		switch {
		case left > 0 && r.Daemon:
			fmt.Fprintf(w, "safe after about %s (%s/s, %s)\n", span(seconds(r.SafeIn)), size(int64(r.Rate)), from)
		case left > 0:
			fmt.Fprintf(w, "safe after about %s of signet sync (%s/s, %s)\n", span(seconds(r.SafeIn)), size(int64(r.Rate)), from)
		}
		if r.Stuck > 0 {
			fmt.Fprintf(w, "%d of them are not sent by themselves: signet status says why\n", r.Stuck)
		}
	}
	for i, f := range r.List {
		if i == 20 && !a.verbose {
			fmt.Fprintf(w, "  … and %d more (--verbose)\n", len(r.List)-i)
			break
		}
		note := strings.ReplaceAll(f.State, "_", " ")
		if f.Older {
			note += ", an older version is safe"
		}
		fmt.Fprintf(w, "  %10s  %s  (%s)\n", size(f.Size), exact(f.Path, f.PathB64), escape(note))
	}
	for _, v := range r.Volumes {
		if v.Error != "" {
			fmt.Fprintf(w, "%s could not be looked at: %s\n", exact(v.Path, v.PathB64), escape(v.Error))
		}
	}
	for _, n := range []struct {
		count int64
		what  string
	}{{r.Ignored, "names are ignored, with what is below them: they are nowhere else"}, {r.Odd, "names do not synch, being no files, folders or links"},
		{r.Unlisted, "folders could not be listed: what changed in them is not known"}} {
		if n.count > 0 {
			fmt.Fprintf(w, "%d %s\n", n.count, n.what)
		}
	}
	return nil
}
