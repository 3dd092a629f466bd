package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"signet/device/owner"
)

// regionHorizon is about dropping what nobody can ask for any more.
func (a *app) regionHorizon() *cobra.Command {
	var p owner.HorizonParams
	var before string
	cmd := a.command("horizon REGION [flags]", "Let the service drop what happened before all that is kept, 30 days later", 1, 1, func(ctx context.Context, args []string) error {
		var err error
		if p.Path, err = regionParam(args[0]); err != nil {
			return err
		}
		if p.Before, err = a.flagTime(before); err != nil {
			return err
		}
		raw, err := a.call(ctx, "horizon", p)
		if err != nil {
			return err
		}
		return result(a, raw, showHorizon)
	})
	cmd.Long = "What operations did before the oldest kept point and the oldest pin nobody can ask for any more. This seals the region's tree as it was then, " +
		"and from 30 days later on the service drops those operations, but for the ones that prove what files hold. " +
		"No kept version is lost: how long those are kept says signet region policy. Devices that were away, and new ones, begin with that tree; " +
		"files that were deleted meanwhile go to their trash, and what they changed stays. No daemon does this by itself."
	f := cmd.Flags()
	f.StringVar(&before, "before", "", "nothing that happened at this TIME or later")
	f.BoolVar(&p.DryRun, "dry-run", false, "say what would go; change nothing")
	return cmd
}

func showHorizon(w io.Writer, l owner.HorizonLine) error {
	name := escape(l.Region)
	switch l.State {
	case owner.HorizonComing:
		fmt.Fprintf(w, "%s: what happened until %s goes from the service from %s on\n", name, moment(*l.Point), moment(*l.Due))
		fmt.Fprintln(w, "no other can be set until then")
	case owner.HorizonSet:
		verb, until := "lose their operations", "from "+moment(*l.Due)+" on"
		if l.DryRun {
			verb, until = "would lose their operations", "30 days later"
		}
		fmt.Fprintf(w, "%s: %d entries until %s %s, %s, %s\n", name, l.Entries, moment(*l.Point), verb, size(l.Bytes), until)
		fmt.Fprintf(w, "%d earlier entries stay: they prove what files hold\n", l.Keeps)
	default:
		fmt.Fprintf(w, "%s: nothing to drop\n", name)
	}
	fmt.Fprintf(w, "the oldest kept point is of %s: signet history %s shows all\n", moment(l.Oldest), name)
	if l.Current != nil {
		fmt.Fprintf(w, "what happened until %s is gone already\n", moment(*l.Current))
	}
	return nil
}
