package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signet"
	"signet/core/region"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/enrol"
	"signet/internal/durable"
)

// identity are the commands about who this device is and which others there
// are.
func (a *app) identity() []*cobra.Command {
	device := a.group("device", "This member's devices")
	device.AddCommand(a.deviceAdd(), a.deviceList(), a.deviceRename(), a.deviceRevoke())
	recovery := a.group("recovery", "A key on paper for the day all devices are lost")
	recovery.AddCommand(a.recoveryNew(), a.recoveryTest())
	return []*cobra.Command{a.login(), a.logout(), device, recovery}
}

// identityMethods are the methods behind them.
func identityMethods(d home.Dir, with withMember, forget func(signet.OrgID) error) control.Methods {
	return control.Methods{
		"login": loginMethod(d),
		"logout": control.Typed(func(ctx context.Context, p logoutParams, ui control.UI) (any, error) {
			return logout(ctx, d, with, forget, p, ui)
		}),
		"device.add":  control.Typed(func(ctx context.Context, p addParams, ui control.UI) (any, error) { return addDevice(ctx, with, p, ui) }),
		"device.list": control.Typed(func(ctx context.Context, _ struct{}, _ control.UI) (any, error) { return listDevices(ctx, with) }),
		"device.rename": control.Typed(func(ctx context.Context, p renameParams, _ control.UI) (any, error) {
			return renameDevice(ctx, with, p)
		}),
		"device.revoke": control.Typed(func(ctx context.Context, p revokeParams, _ control.UI) (any, error) {
			return revokeDevice(ctx, with, p)
		}),
		"recovery.add": control.Typed(func(ctx context.Context, p kitParams, _ control.UI) (any, error) { return addRecovery(ctx, with, p) }),
	}
}

type addParams struct {
	Seconds float64 `json:"seconds"`
}

// event is one line of `device add --json`.
type event struct {
	Event    string        `json:"event"` // link, request, added
	URL      string        `json:"url,omitempty"`
	Words    string        `json:"words,omitempty"`
	Expires  *control.Time `json:"expires,omitempty"`
	Name     string        `json:"name,omitempty"`
	NameB64  []byte        `json:"name_b64,omitempty"`
	Platform string        `json:"platform,omitempty"`
	Code     string        `json:"code,omitempty"`
	Device   string        `json:"device,omitempty"`
}

// maxExpiry is the longest that a device invitation is good for: what the
// service relays lives a quarter of an hour.
const maxExpiry = 15 * time.Minute

func (a *app) deviceAdd() *cobra.Command {
	var expires string
	cmd := a.command("add [flags]", "Add another device: shows a link and words for it, then waits", 0, 0, func(ctx context.Context, _ []string) error {
		d, err := parseSpan(expires)
		if err != nil {
			return err
		}
		if d <= 0 || d > maxExpiry {
			return control.Usagef("--expires is more than nothing and at most %s", span(maxExpiry))
		}
		// Whoever cannot answer when the newcomer is there is told now.
		if err := a.needPerson("Are the codes on both devices the same?"); err != nil {
			return err
		}
		a.screen.human = a.showEvent
		_, err = a.call(ctx, "device.add", addParams{d.Seconds()})
		return err
	})
	cmd.Flags().StringVar(&expires, "expires", "10m", "how long the invitation is good")
	return cmd
}

func (a *app) showEvent(w io.Writer, item []byte) error {
	var e event
	if err := json.Unmarshal(item, &e); err != nil {
		return err
	}
	switch e.Event {
	case "link":
		fmt.Fprintf(w, "%s\n%s\n", e.URL, e.Words)
		if a.isTerminal(w) {
			showQR(w, e.URL)
			fmt.Fprintln(a.stderr, "On the other device: signet login - and this link, or signet login --service ADDRESS and these words.")
		}
	case "request":
		fmt.Fprintf(w, "%s (%s) asks to be added, code %s\n", escape(e.Name), escape(e.Platform), e.Code)
	case "added":
		fmt.Fprintf(w, "added %s\n", e.Device)
	}
	return nil
}

func addDevice(ctx context.Context, with withMember, p addParams, ui control.UI) (any, error) {
	return with(func(m *member) (any, error) {
		if err := m.dir.SyncDirectory(ctx); err != nil {
			return nil, err
		}
		until := time.Now().Add(time.Duration(p.Seconds * float64(time.Second)))
		g, err := account.Give(ctx, m.account, m.keys, m.dir, m.client, until)
		if err != nil {
			return nil, err
		}
		i := g.Invitation
		err = ui.Item(event{Event: "link", URL: i.URL(), Words: enrol.Words(i.Secret[:]), Expires: &control.Time{Time: i.Expires}})
		if err != nil {
			return nil, err
		}
		id, err := g.Add(ctx, func(ctx context.Context, q enrol.Request) (bool, error) {
			e := event{Event: "request", Platform: escape(q.Platform), Code: q.Code.String()}
			e.Name, e.NameB64 = control.Name(q.Name)
			if err := ui.Item(e); err != nil {
				return false, err
			}
			a, err := ui.Ask(ctx, control.Question{Text: fmt.Sprintf("Does %s show the code %s? Then it is added.", q.Name, q.Code), YesNo: true, NoYes: true, Flag: "yes"})
			return a == "yes", err
		})
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err() // not the invitation's time was up, but the command's
		} else if err != nil {
			return nil, err
		}
		return nil, ui.Item(event{Event: "added", Device: id.String()})
	})
}

// listed is a device of `device list --json`.
type listed struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	NameB64  []byte       `json:"name_b64,omitempty"`
	This     bool         `json:"this"`
	Prime    bool         `json:"prime"`
	Class    string       `json:"class"`
	State    string       `json:"state"`
	Added    control.Time `json:"added"`
	AddedBy  string       `json:"added_by"`
	LastSeen control.Time `json:"last_seen"` // null: never, as far as this device knows
	Platform string       `json:"platform"`
}

func (a *app) deviceList() *cobra.Command {
	return a.command("list", "List this member's devices", 0, 0, func(ctx context.Context, _ []string) error {
		raw, err := a.call(ctx, "device.list", struct{}{})
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, all []struct {
			ID, Name, Class, State, Platform string
			This                             bool
			Added                            time.Time
		}) error {
			var rows [][]string
			for _, d := range all {
				this := ""
				if d.This {
					this = "this device"
				}
				rows = append(rows, []string{d.Name, d.State, d.Class, d.Platform, d.Added.Local().Format("2006-01-02 15:04"), this, d.ID})
			}
			return table(w, []string{"NAME", "STATE", "CLASS", "PLATFORM", "ADDED", "", "ID"}, rows)
		})
	})
}

func listDevices(ctx context.Context, with withMember) (any, error) {
	return with(func(m *member) (any, error) {
		all, err := account.List(ctx, m.account, m.dir, m.client)
		out := []listed{}
		for _, l := range all {
			d := listed{ID: l.ID.String(), This: l.This, Prime: l.Prime, Class: l.Class.String(), State: l.State,
				Added: control.Milliseconds(l.Added), AddedBy: l.AddedBy.String(), Platform: l.Profile.Platform}
			d.Name, d.NameB64 = control.Name(l.Profile.Name)
			if ms, ok := m.seen(l.ID); ok {
				d.LastSeen = control.Milliseconds(ms)
			}
			out = append(out, d)
		}
		return out, err
	})
}

type renameParams struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (a *app) deviceRename() *cobra.Command {
	return a.command("rename OLD NEW", "Give a device another name", 2, 2, func(ctx context.Context, args []string) error {
		if args[1] == "" || len(args[1]) > account.MaxName {
			return control.Usagef("a name has 1 to %d bytes", account.MaxName)
		}
		raw, err := a.call(ctx, "device.rename", renameParams{args[0], args[1]})
		if err != nil {
			return err
		}
		return result(a, raw, func(io.Writer, map[string]string) error { return nil })
	})
}

func renameDevice(ctx context.Context, with withMember, p renameParams) (any, error) {
	return with(func(m *member) (any, error) {
		err := account.Rename(ctx, m.account, m.account.Self(m.keys), m.dir, m.client, p.From, p.To)
		return map[string]string{"name": p.To}, control.Hinted(err, hintFor(err, signet.ErrNotFound, "signet device list"))
	})
}

type revokeParams struct {
	Name   string `json:"name"`
	DryRun bool   `json:"dry_run,omitempty"`
}

func (a *app) deviceRevoke() *cobra.Command {
	var p revokeParams
	cmd := a.command("revoke NAME [flags]", "Remove a device: it opens nothing that is sealed from now on", 1, 1, func(ctx context.Context, args []string) error {
		p.Name = args[0]
		raw, err := a.call(ctx, "device.revoke", p)
		if err != nil {
			return err
		}
		return result(a, raw, func(w io.Writer, r map[string]any) error {
			verb := "revoked"
			if p.DryRun {
				verb = "would revoke"
			}
			_, err := fmt.Fprintf(w, "%s %s\n", verb, r["device"])
			return err
		})
	})
	cmd.Flags().BoolVar(&p.DryRun, "dry-run", false, "only say which device it would be")
	return cmd
}

func revokeDevice(ctx context.Context, with withMember, p revokeParams) (any, error) {
	return with(func(m *member) (any, error) {
		all, err := account.List(ctx, m.account, m.dir, m.client)
		if err != nil {
			return nil, err
		}
		l, err := account.Choose(all, p.Name)
		if was := slices.IndexFunc(all, func(l account.Listed) bool { return l.Profile.Name == p.Name }); errors.Is(err, signet.ErrNotFound) && was >= 0 {
			l, err = all[was], nil // a revoked one, which gave its name free
		}
		if err != nil {
			return nil, control.Hinted(err, "signet device list")
		}
		switch {
		case l.This:
			return nil, control.Hinted(control.Usagef("%q is this device", p.Name), "signet logout --revoke")
		case l.State == "revoked":
			return nil, control.Hinted(fmt.Errorf("device %q is revoked already: %w", p.Name, signet.ErrConflict), "signet device list")
		}
		if !p.DryRun {
			err = account.Revoke(ctx, m.account.Self(m.keys), m.dir, l.ID, time.Now)
		}
		return map[string]any{"device": l.ID.String(), "name": l.Profile.Name, "dry_run": p.DryRun}, err
	})
}

type kitParams struct {
	Kit string `json:"kit"`
}

func (a *app) recoveryNew() *cobra.Command {
	var to string
	cmd := a.command("new --to FILE|-", "Make a recovery kit", 0, 0, func(ctx context.Context, _ []string) error {
		if to == "" {
			return control.Hinted(control.Usagef("recovery new needs --to"), "signet recovery new --to FILE, or --to - to print it")
		}
		member, err := account.Find(a.dir)
		if err != nil {
			return err
		}
		text := account.NewKit(member, a.now()).Format()
		// The kit is on the disk before the ring knows its device: a crash in
		// between leaves a kit that does not work, which `recovery test`
		// says, not a device that nobody holds.
		if to != "-" {
			if _, err := os.Lstat(to); err == nil {
				return control.Hinted(control.Usagef("%s is there already", to), "name a file that is not there yet")
			}
			if err := durable.WriteFile(to, []byte(text), 0o600); err != nil {
				return err
			}
		}
		raw, err := a.call(ctx, "recovery.add", kitParams{text})
		switch {
		case err == nil:
			return a.showKit(raw, text, to)
		case !unsure(err):
			if to != "-" {
				os.Remove(to)
			}
			return err
		}
		// The ring may have a device whose only keys are these.
		hint := "signet recovery test --from " + to + " says whether the kit counts; if not, delete it"
		if to == "-" {
			hint = "keep the kit until signet recovery test --from FILE says whether it counts"
			err = errors.Join(err, a.showKit([]byte("{}"), text, to))
		}
		if ctx.Err() != nil { // an interruption has no hint of its own
			a.hint(hint)
		}
		return control.Hinted(err, hint)
	})
	cmd.Flags().StringVar(&to, "to", "", "file for the kit, - for stdout")
	return cmd
}

// unsureKind is the kind of a failure that may have come after the ring took
// the kit's device.
const unsureKind = "recovery_unsure"

// unsure reports whether a kit may count although adding it failed.
func unsure(err error) bool {
	f := control.FaultOf(err)
	return f.Kind == unsureKind || f.Kind == "daemon_ended" || f.Kind == "timeout" || f.Code == control.Interrupted
}

func (a *app) showKit(raw []byte, text, to string) error {
	if a.json {
		var r map[string]string
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		if r["to"] = to; to == "-" {
			r["kit"] = text
		}
		return writeJSON(a.stdout, r)
	}
	if to == "-" {
		_, err := io.WriteString(a.stdout, text)
		return err
	}
	a.screen.Note("hint: print " + to + ", check it with signet recovery test --from FILE, and delete the file")
	_, err := fmt.Fprintln(a.stdout, escape(to))
	return err
}

func addRecovery(ctx context.Context, with withMember, p kitParams) (any, error) {
	return with(func(m *member) (any, error) {
		kit, err := enrol.ParseRecoveryKit(p.Kit)
		if err != nil {
			return nil, err
		}
		// Where the service is not there at all, nothing was sent, and that is
		// sure.
		if err := m.dir.SyncDirectory(ctx); err != nil {
			return nil, err
		}
		id, err := account.AddRecovery(ctx, m.account.Self(m.keys), m.dir, kit)
		if err == nil || refused(err) {
			return map[string]string{"device": id.String()}, err
		}
		f := control.FaultOf(err)
		f.Kind, f.Message, f.Hint = unsureKind, f.Message+"; the kit may or may not count", "signet recovery test --from FILE says whether it does"
		return nil, f
	})
}

// refused reports whether an error says that the directory did not take a
// statement.
func refused(err error) bool {
	for _, sure := range []error{signet.ErrNotAllowed, signet.ErrConflict, signet.ErrStale, region.ErrNoKey, enrol.ErrKit} {
		if errors.Is(err, sure) {
			return true
		}
	}
	return false
}

func (a *app) recoveryTest() *cobra.Command {
	var from string
	cmd := a.command("test --from FILE|-", "Check that a recovery kit would work", 0, 0, func(ctx context.Context, _ []string) error {
		if from == "" {
			return control.Usagef("recovery test needs --from")
		}
		text, err := a.readFile(from)
		if err != nil {
			return err
		}
		kit, err := parseKit(text)
		if err != nil {
			return err
		}
		// It is another device's keys that are tried, not this home's.
		o := account.Options{Home: a.dir, Now: a.now, Version: Version}
		if err := account.TestRecovery(ctx, o, kit); err != nil {
			return err
		}
		if a.json {
			return writeJSON(a.stdout, map[string]any{"works": true, "organisation": kit.Org.String()})
		}
		_, err = fmt.Fprintln(a.stdout, "the kit works")
		return err
	})
	cmd.Flags().StringVar(&from, "from", "", "file with the kit, - for stdin")
	return cmd
}
