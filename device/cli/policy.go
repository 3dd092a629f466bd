package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"signet/core/tree"
	"signet/device/cli/control"
	"signet/device/owner"
)

// regionPolicy is about how long a region keeps what was.
func (a *app) regionPolicy() *cobra.Command {
	var p owner.PolicyParams
	var days, weeks, before string
	cmd := a.command("policy REGION [flags]", "Show or change how long a region keeps earlier versions", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = regionParam(args[0]); err != nil {
			return err
		}
		if p.Days, err = periods("--days", days, false); err != nil {
			return err
		}
		if p.Weeks, err = periods("--weeks", weeks, true); err != nil {
			return err
		}
		if p.Since, err = a.flagTime(before); err != nil {
			return err
		}
		raw, err := a.call(ctx, "policy", p)
		if err != nil {
			return err
		}
		return result(a, raw, a.showPolicy)
	})
	cmd.Long = "What is current or pinned is kept for good, all else that stood within the last 24 hours; the last of each day and of each week for as long as this says. " +
		"All devices keep by it, also what is there already. What it ends goes from the service after the grace of region collect; until then another policy keeps it again."
	f := cmd.Flags()
	f.StringVar(&days, "days", "", "keep the last of each day for so many")
	f.StringVar(&weeks, "weeks", "", "keep the last of each week for so many, or all")
	f.StringVar(&before, "before", "", "give up the weeks that ended before this TIME")
	f.BoolVar(&p.DryRun, "dry-run", false, "say what would not be kept any more; change nothing")
	return cmd
}

// periods reads a number of days or weeks; nil is none given. all, where it is one,
// is 0.
func periods(flag, s string, all bool) (*int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case s == "":
		return nil, nil
	case all && s == "all":
		n = 0
	case err != nil || n < 0 || n > tree.MaxKeep || all && n == 0:
		return nil, control.Usagef("%s %q is no number up to %d", flag, s, tree.MaxKeep)
	}
	return &n, nil
}

func (a *app) showPolicy(w io.Writer, l owner.PolicyLine) error {
	weeks := "of each week for good"
	if l.Weeks > 0 {
		weeks = fmt.Sprintf("of each week for %d weeks", l.Weeks)
	}
	if !l.Since.IsZero() {
		weeks += ", but for those that ended by " + moment(l.Since)
	}
	by := "the default"
	if !l.Set.IsZero() {
		by = "set " + moment(l.Set) + " by " + escape(l.Device)
	}
	if l.DryRun {
		by = "not set yet"
	}
	fmt.Fprintf(w, "%s keeps all of %d hours, the last of each day for %d days, %s (%s)\n", escape(l.Region), l.Hours, l.Days, weeks, by)
	if l.Ends > 0 {
		verb := "are not kept any more"
		if l.DryRun {
			verb = "would not be kept any more"
		}
		fmt.Fprintf(w, "%d versions, %s, %s\n", l.Ends, size(l.Bytes), verb)
	}
	return nil
}
