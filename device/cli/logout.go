package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/keystore"
	"signet/transport"
)

type logoutParams struct {
	Revoke bool `json:"revoke,omitempty"`
	DryRun bool `json:"dry_run,omitempty"`
}

func (a *app) logout() *cobra.Command {
	var p logoutParams
	cmd := a.command("logout [flags]", "Forget the keys of this home; folders stay", 0, 0, func(ctx context.Context, _ []string) error {
		raw, err := a.call(ctx, "logout", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r map[string]any) error {
			verb := "forgot"
			if p.DryRun {
				verb = "would forget"
			}
			_, err := fmt.Fprintf(w, "%s the keys of %s; folders stay as they are\n", verb, r["organisation"])
			return err
		})
	})
	cmd.Flags().BoolVar(&p.Revoke, "revoke", false, "revoke this device too, so that the others get a new key")
	cmd.Flags().BoolVar(&p.DryRun, "dry-run", false, "only say what it would do")
	return cmd
}

// lastDeviceWait bounds how long logout asks the service who else there is.
const lastDeviceWait = 5 * time.Second

func logout(ctx context.Context, d home.Dir, with withMember, forget func(signet.OrgID) error, p logoutParams, ui control.UI) (any, error) {
	a, err := account.Find(d)
	if errors.Is(err, account.ErrPending) || err == nil {
		// An enrolment that was interrupted is forgotten like any other.
	} else {
		return nil, err
	}
	result := map[string]any{"organisation": "an unfinished enrolment", "revoked": p.Revoke, "dry_run": p.DryRun}
	if a == nil {
		return result, forgetAll(d, p.DryRun)
	}
	result["organisation"] = a.Org.String()
	_, err = with(func(m *member) (any, error) { return nil, leave(ctx, m, p, ui) })
	switch {
	case errors.Is(err, keystore.ErrNoKeys) || errors.Is(err, keystore.ErrCorrupt):
		if p.Revoke {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if p.DryRun {
		return result, nil
	}
	return result, forget(a.Org)
}

func forgetAll(d home.Dir, dry bool) error {
	orgs, err := d.Organisations()
	for _, o := range orgs {
		if err == nil && !dry {
			err = account.Forget(d, o)
		}
	}
	return err
}

// leave asks where this is the last device that can open the member's data,
// and revokes it if that was said.
func leave(ctx context.Context, m *member, p logoutParams, ui control.UI) error {
	short, cancel := context.WithTimeout(ctx, lastDeviceWait)
	all, err := account.List(short, m.account, m.dir, m.client)
	cancel()
	others := 0
	for _, l := range all {
		if !l.This && l.State != "revoked" {
			others++
		}
	}
	// Where the service cannot be asked nobody is held back.
	if err == nil && others == 0 && !p.DryRun {
		answer, err := ui.Ask(ctx, control.Question{YesNo: true, NoYes: true, Flag: "yes",
			Text: "This is the last device, and there is no recovery kit: afterwards nobody opens what is on the service. Forget its keys?"})
		if err != nil {
			return err
		}
		if answer != "yes" {
			return &control.Fault{Kind: "declined", Message: "nothing was forgotten", Code: control.Failed}
		}
	}
	if !p.Revoke || p.DryRun {
		return nil
	}
	active := false
	m.dir.Directory(func(s *ring.State, _ *region.Keys) { active = s.Active(m.account.Device, time.Now().UnixMilli()) })
	if !active && err == nil {
		return nil // revoked before
	}
	err = account.Revoke(ctx, m.account.Self(m.keys), m.dir, m.account.Device, time.Now)
	if errors.Is(err, transport.ErrNotEnrolled) {
		return nil // who is revoked is not told how that went
	}
	return err
}
