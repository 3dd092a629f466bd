package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"signet"
	"signet/service"
)

// A byteCount is a number of bytes on the command line: 1500, 500M, 20G, 2T. 0 is
// "none".
type byteCount int64

// String implements pflag.Value.
func (b *byteCount) String() string {
	if *b == 0 {
		return "none"
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements pflag.Value.
func (b *byteCount) Type() string { return "bytes" }

// Set implements pflag.Value.
func (b *byteCount) Set(s string) error {
	digits, shift := s, 0
	if i := strings.IndexAny(s, "KMGT"); i > 0 && i == len(s)-1 {
		digits, shift = s[:i], 10*(1+strings.IndexByte("KMGT", s[i]))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case s == "none":
		n = 0
	case err != nil || n < 0 || n > 1<<62>>shift:
		return fmt.Errorf("%q is no number of bytes, as 1500, 500M, 20G, 2T", s)
	}
	*b = byteCount(n << shift)
	return nil
}

func (a *app) quotaCommand() *cobra.Command {
	c := &cobra.Command{Use: "quota --data DIR [OWNER BYTES|none|default]", Short: "Show what the owners of regions have and may have, or set a limit of one",
		Long: "Show how many bytes the regions of each owner have, and may have at most. With an OWNER, as this prints it, and BYTES (500G),\n" +
			"that owner gets a limit of its own; with none it has no limit, with default that of serve --quota again. A service that runs\n" +
			"takes it up within a second.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly(2)(c, args)
		}}
	dir := a.data(c)
	c.RunE = a.withData(dir, func(_ *cobra.Command, dir string, args []string) error {
		if len(args) == 2 {
			if err := setQuota(dir, args[0], args[1]); err != nil {
				return err
			}
		}
		s, err := service.ReadStatus(dir, a.now())
		if err != nil {
			return err
		}
		var serving settings
		if err := json.Unmarshal(s.Settings, &serving); err != nil {
			return err
		}
		owners, err := service.Owners(dir, serving.Quota)
		if err != nil {
			return err
		}
		if a.json {
			return a.print(owners)
		}
		return a.printOwners(owners)
	})
	return c
}

func setQuota(dir, owner, bytes string) error {
	ring, err := signet.ParseRingID(owner)
	if err != nil {
		return &failure{err: usage("%v", err), hint: "signet-server quota --data " + dir + " lists the owners", kind: "usage", code: exitUsage}
	}
	n := byteCount(-1)
	if bytes != "default" {
		if err := n.Set(bytes); err != nil {
			return usage("%v", err)
		}
	}
	return service.SetQuota(dir, ring, int64(n))
}

func (a *app) printOwners(owners []service.Owner) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "owner\tused\tlimit\tregions")
	for _, o := range owners {
		limit := byteCount(o.Limit)
		said := limit.String()
		if o.Own {
			said += " (its own)"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\n", o.Ring, o.Used, said, len(o.Regions))
	}
	return w.Flush()
}

// askEvery is how often a service looks whether gc or quota was called on its data.
const askEvery = 500 * time.Millisecond
