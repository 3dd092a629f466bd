package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"signet/service"
)

// data adds the flag --data and returns where it lands.
func (a *app) data(c *cobra.Command) *string {
	return c.Flags().String("data", "", "folder of everything that the service keeps")
}

// withData runs a command on an existing data folder.
func (a *app) withData(dir *string, run func(c *cobra.Command, dir string, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := fill(c, a.getenv); err != nil {
			return err
		}
		if *dir == "" {
			return usage("--data is missing: the folder of everything that the service keeps")
		}
		if err := needData(*dir); err != nil {
			return err
		}
		return run(c, *dir, args)
	}
}

func (a *app) inviteCommand() *cobra.Command {
	c := &cobra.Command{Use: "invite --data DIR NAME", Short: "Print an enrolment URL; the first one makes the owner and the organisation", Args: exactly(1)}
	dir := a.data(c)
	c.RunE = a.withData(dir, func(_ *cobra.Command, dir string, args []string) error {
		i, err := a.invite(dir, args[0])
		if err != nil {
			return err
		}
		switch {
		case i.Replaced:
			fmt.Fprintln(a.stderr, "note: this takes the place of the invitation before it, which was not redeemed")
		case i.Bootstrap:
			fmt.Fprintln(a.stderr, "note: whoever redeems this owns the organisation")
		}
		if a.json {
			return a.print(map[string]any{"url": i.URL, "owner": i.Bootstrap})
		}
		_, err = fmt.Fprintln(a.stdout, i.URL)
		return err
	})
	return c
}

func (a *app) invite(dir, name string) (service.Invited, error) {
	logKey, err := signingKey(filepath.Join(dir, fileLogKey), false)
	if err != nil {
		return service.Invited{}, err
	}
	k, device, err := connectorKey(dir, true)
	if err != nil {
		return service.Invited{}, err
	}
	v := service.Inviter{Data: dir, LogKey: logKey.Public(), Connector: k, Device: device, Clock: a.now}
	i, err := v.Invite(name)
	switch {
	case errors.Is(err, service.ErrNoAddress):
		err = hinted(err, "run signet-server serve --data "+dir+" once")
	case errors.Is(err, service.ErrNoConnector):
		err = hinted(err, "the owner can allow it, or invites from a device")
	}
	return i, err
}

func (a *app) checkCommand() *cobra.Command {
	c := &cobra.Command{Use: "check --data DIR [--repair]", Short: "Verify every record, checkpoint and object", Args: exactly(0)}
	dir := a.data(c)
	repair := c.Flags().Bool("repair", false, "point the index at whole copies of damaged objects, and let devices send again those that have none; the service must not run")
	c.RunE = a.withData(dir, func(c *cobra.Command, dir string, _ []string) error {
		if *repair {
			release, err := hold(dir)
			if err != nil {
				return err
			}
			defer release()
		}
		logKey, err := signingKey(filepath.Join(dir, fileLogKey), false)
		if err != nil {
			return err
		}
		n, err := service.Check(c.Context(), dir, logKey.Public(), *repair, a.problem)
		if err != nil {
			return err
		}
		if a.json {
			err = a.print(n)
		} else {
			_, err = fmt.Fprintf(a.stdout, "checked %d logs, %d records, %d objects of %d bytes: %d problems, %d mended\n",
				n.Logs, n.Records, n.Objects, n.Bytes, n.Problems, n.Mended)
		}
		if err == nil && n.Problems > n.Mended {
			err = &failure{err: fmt.Errorf("%d problems", n.Problems-n.Mended), kind: "damaged", code: exitFailed,
				hint: hintBackup}
		}
		return err
	})
	return c
}

func (a *app) problem(p service.Problem) {
	if a.json {
		a.print(map[string]any{"problem": p})
		return
	}
	where := p.Log
	if p.Object != "" {
		where += " " + p.Object
	}
	if where != "" {
		where += ": "
	}
	mended := ""
	if p.Mended {
		mended = " (mended)"
	}
	fmt.Fprintf(a.stdout, "problem: %s%s%s\n", where, p.Message, mended)
}

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status --data DIR", Short: "Print what the service holds and its settings", Args: exactly(0)}
	dir := a.data(c)
	c.RunE = a.withData(dir, func(_ *cobra.Command, dir string, _ []string) error {
		s, err := service.ReadStatus(dir, a.now())
		if err != nil {
			return err
		}
		release, err := hold(dir)
		if err == nil {
			release()
		}
		out := status{Status: s, Running: errors.Is(err, errHeld), Version: version()}
		if out.DiskBytes, err = diskUse(dir); err != nil {
			return err
		}
		if a.json {
			return a.print(out)
		}
		return a.printStatus(out)
	})
	return c
}

type status struct {
	service.Status
	Running   bool   `json:"running"`
	Version   string `json:"version"`
	DiskBytes int64  `json:"disk_bytes"`
}

func (a *app) printStatus(s status) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	line := func(k string, v any) { fmt.Fprintf(w, "%s\t%v\n", k, v) }
	line("version", s.Version)
	line("running", s.Running)
	line("address", s.Address)
	line("organisation", s.Organisation)
	line("built-in connector", s.Connector)
	line("regions", s.Regions)
	line("records", s.Records)
	line("objects", fmt.Sprintf("%d of %d bytes", s.Objects, s.ObjectBytes))
	line("not named by an entry", fmt.Sprintf("%d of %d bytes", s.Unpinned, s.UnpinnedBytes))
	line("dead in packs", fmt.Sprintf("%d bytes", s.Dead))
	line("reclaimable", fmt.Sprintf("%d bytes", s.Reclaimable))
	if s.Recovering > 0 {
		line("recovering", fmt.Sprintf("%d logs wait for what devices give back; signet-server restore --open ends the wait", s.Recovering))
	}
	if s.Lost > 0 {
		line("lost", fmt.Sprintf("%d objects that no device has given back yet", s.Lost))
	}
	line("on disk", fmt.Sprintf("%d bytes", s.DiskBytes))
	if !s.LastEntry.IsZero() {
		line("last record", s.LastEntry.Format(time.RFC3339))
	}
	var effective settings
	if json.Unmarshal(s.Settings, &effective) == nil {
		line("--data", effective.Data)
		line("--listen", effective.Listen)
		line("--public-url", effective.PublicURL)
		line("--tls-cert", effective.TLSCert)
		line("--tls-key", effective.TLSKey)
		line("--tls-self", effective.TLSSelf)
		line("--admin", effective.Admin)
		line("--max-uploads", effective.MaxUploads)
		line("--quota", (*byteCount)(&effective.Quota))
	}
	return w.Flush()
}

// diskUse sums the sizes of all files of the data folder.
func diskUse(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := e.Info()
		if err != nil {
			return ignoreGone(err)
		}
		n += info.Size()
		return nil
	})
	return n, err
}

// ignoreGone passes over a file that a running service took away meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
