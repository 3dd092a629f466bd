package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signet/service"
	"signet/service/meta"
)

func (a *app) gcCommand() *cobra.Command {
	c := &cobra.Command{Use: "gc --data DIR [--dry-run]", Short: "Give back the space of what is gone for good, also while the service runs", Args: exactly(0),
		Long: "Give back the space of what is gone for good: objects that no entry named within 30 days, and those that entries gave up, and operations\n" +
			"behind a horizon.\n" +
			"A service that runs does so by itself, some of it every hour; this does all of it now. Where one runs on the folder, it is\n" +
			"the service that works, and goes on if this is interrupted."}
	dir := a.data(c)
	dry := c.Flags().Bool("dry-run", false, "say what would go, and change nothing")
	c.RunE = a.withData(dir, func(c *cobra.Command, dir string, _ []string) error {
		var f service.Freed
		var err error
		if *dry {
			f, err = service.GCPlan(dir, a.now())
		} else {
			f, err = a.collect(c.Context(), dir)
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, meta.ErrFull) {
			return &failure{err: err, kind: "no_space", hint: "free 256 MiB on the disk, then run it again: it goes on"}
		}
		if err != nil {
			return err
		}
		if a.json {
			return a.print(struct {
				DryRun bool `json:"dry_run"`
				service.Freed
			}{*dry, f})
		}
		return a.printFreed(f, *dry)
	})
	return c
}

// collect does a round itself, or has the service do it that has the folder.
func (a *app) collect(ctx context.Context, dir string) (service.Freed, error) {
	var asked *service.GCRequest
	said := time.Now()
	progress := func(f service.Freed) {
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			fmt.Fprintf(a.stderr, "note: so far %d objects and %d packs gone, %d bytes copied\n", f.Objects, f.Packs, f.Copied)
		}
	}
	defer func() {
		if asked != nil {
			asked.Close()
		}
	}()
	for try := 0; ; try++ {
		if try%10 == 0 { // whoever has the folder may have ended
			release, err := hold(dir)
			if err == nil {
				if asked != nil { // else the next service does it again
					asked.Close()
					asked = nil
				}
				f, err := service.GC(ctx, dir, a.now, progress)
				release()
				return f, err
			}
			if !errors.Is(err, errHeld) {
				return service.Freed{}, err
			}
		}
		if asked == nil {
			var err error
			if asked, err = service.AskGC(dir); err != nil {
				return service.Freed{}, err
			}
		}
		f, done, err := asked.Answer()
		if err != nil || done {
			return f, err
		}
		progress(f)
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *app) printFreed(f service.Freed, dry bool) error {
	verb := "freed"
	if dry {
		verb = "would free"
	}
	fmt.Fprintf(a.stdout, "%s %d bytes: %d packs gone, %d bytes of them copied\n", verb, f.Bytes, f.Packs, f.Copied)
	fmt.Fprintf(a.stdout, "objects that no entry named within 30 days: %d of %d bytes\n", f.Objects, f.ObjectBytes)
	fmt.Fprintf(a.stdout, "operations behind a horizon: of %d entries, %d bytes in the database\n", f.Entries, f.EntryBytes)
	_, err := fmt.Fprintf(a.stdout, "dead bytes that stay, among much that is live: %d\n", f.Left)
	if f.Waiting > 0 {
		fmt.Fprintf(a.stderr, "note: %d packs stay until a backup or a check has read them; they go the next time\n", f.Waiting)
	}
	if f.Damaged > 0 {
		fmt.Fprintf(a.stderr, "note: %d packs stay because they are damaged; signet-server check says more\n", f.Damaged)
	}
	return err
}
