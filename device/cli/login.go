package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"signet"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/enrol"
)

// loginParams is one of: a link of either kind, words with a service, a kit.
type loginParams struct {
	Link    string `json:"link,omitempty"`
	Service string `json:"service,omitempty"`
	Words   string `json:"words,omitempty"`
	Kit     string `json:"kit,omitempty"`
	Root    string `json:"root,omitempty"` // organisation that it must be
	Name    string `json:"name"`
}

// loginResult is what login did.
type loginResult struct {
	How          string `json:"how"` // created, joined, linked, recovered
	Organisation string `json:"organisation"`
	Member       string `json:"member"`
	Device       string `json:"device"`
	Name         string `json:"name"`
	Service      string `json:"service"`
	Keys         string `json:"keys"`      // where they rest: file, keyring
	Connector    bool   `json:"connector"` // the built-in one was allowed
}

func (a *app) login() *cobra.Command {
	var p loginParams
	var kitFile, rootFile string
	cmd := a.command("login [URL|-] [flags]", "Enrol this device", 0, 1, func(ctx context.Context, args []string) error {
		if err := a.readLogin(ctx, &p, args, kitFile, rootFile); err != nil {
			return err
		}
		// A device invitation is answered once: whoever could not compare the
		// codes is told before it is used up.
		_, noLink := enrol.ParseDeviceInvitation(p.Link)
		_, noWords := enrol.ParseSecret(p.Words)
		if noLink == nil || noWords == nil {
			if err := a.needPerson("Does the other device show the same code?"); err != nil {
				return err
			}
		}
		raw, err := a.call(ctx, "login", p)
		if err != nil {
			return err
		}
		return result(a, raw, a.showLogin)
	})
	f := cmd.Flags()
	f.StringVar(&p.Name, "device", "", "name of this device (default: the host's)")
	f.StringVar(&p.Service, "service", "", "address of the service; asks for the words of `signet device add`")
	f.StringVar(&kitFile, "recovery-file", "", "enrol by the recovery kit in this file (- for stdin)")
	f.StringVar(&rootFile, "root-file", "", "file with the fingerprint that the organisation must have")
	return cmd
}

// readLogin reads what the flags and the argument name.
func (a *app) readLogin(ctx context.Context, p *loginParams, args []string, kitFile, rootFile string) (err error) {
	if p.Name == "" {
		if p.Name, err = os.Hostname(); err != nil || p.Name == "" {
			p.Name = "device"
		}
	}
	if len(p.Name) > account.MaxName {
		return control.Usagef("--device has more than %d bytes", account.MaxName)
	}
	if rootFile != "" {
		if p.Root, err = a.readFile(rootFile); err != nil {
			return err
		}
		p.Root = strings.TrimSpace(p.Root)
		if _, err := signet.ParseOrgID(p.Root); err != nil {
			return control.Usagef("--root-file holds no fingerprint of an organisation")
		}
	}
	switch {
	case kitFile != "" && p.Service != "":
		return control.Usagef("--recovery-file and --service exclude each other")
	case kitFile != "":
		if len(args) == 1 {
			if p.Service, err = enrol.ServiceURL(args[0]); err != nil {
				return err
			}
		}
		p.Kit, err = a.readFile(kitFile)
		return err
	case p.Service != "":
		return a.readWords(ctx, p, args)
	case len(args) == 0:
		return control.Hinted(control.Usagef("login needs a link"), "signet login URL, or signet login - to type it, or signet login --service URL")
	case args[0] == "-":
		p.Link, err = a.readSecretLine(ctx, "Link:")
		return err
	}
	p.Link = args[0]
	return nil
}

// readWords gets the words from stdin where the argument says so, else from
// the person.
func (a *app) readWords(ctx context.Context, p *loginParams, args []string) (err error) {
	if p.Service, err = enrol.ServiceURL(p.Service); err != nil {
		return err
	}
	if len(args) == 1 && args[0] != "-" {
		return control.Usagef("--service and a link exclude each other")
	}
	if len(args) == 1 {
		p.Words, err = a.readSecretLine(ctx, "Words:")
		return err
	}
	p.Words, err = a.ask(ctx, control.Question{Text: "Words that the other device shows:"})
	return err
}

// readSecretLine reads one line of stdin. Where that is a terminal the person
// is asked for it.
func (a *app) readSecretLine(ctx context.Context, prompt string) (string, error) {
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		return a.ask(ctx, control.Question{Text: prompt})
	}
	line, err := bufio.NewReader(io.LimitReader(a.stdin, 1<<16)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("stdin: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", control.Usagef("nothing on stdin")
	}
	return line, nil
}

// maxSmall bounds the small files that commands read.
const maxSmall = 1 << 20

// readFile reads a small file, or stdin for "-".
func (a *app) readFile(name string) (string, error) {
	var r io.Reader = a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxSmall))
	return string(b), err
}

func (a *app) showLogin(w io.Writer, r loginResult) error {
	switch r.How {
	case "created":
		fmt.Fprintf(w, "Made the organisation. Its fingerprint:\n  %s\n", r.Organisation)
		if r.Connector {
			fmt.Fprintln(w, "The service's host may invite members: signet-server invite NAME")
		}
	default:
		fmt.Fprintf(w, "Joined the organisation:\n  %s\n", r.Organisation)
	}
	fmt.Fprintf(w, "This device is %q; its keys rest in: %s\n", escape(r.Name), r.Keys)
	a.hint("signet add DIR keeps a folder in step, and signet up goes on doing so")
	if r.How == "created" || r.How == "joined" { // a first device: nothing else opens what it seals
		a.hint("signet recovery new --to FILE makes a key for the day all devices are lost")
	}
	return nil
}

// loginMethod enrols the home's device.
func loginMethod(d home.Dir) control.Method {
	return control.Typed(func(ctx context.Context, p loginParams, ui control.UI) (any, error) {
		// An invitation is not used up for a home that has its organisation.
		if _, err := account.Find(d); err == nil {
			return nil, account.ErrEnrolled
		}
		o, err := options(d, p.Name)
		if err != nil {
			return nil, err
		}
		var j *account.Joined
		r := loginResult{Name: p.Name}
		switch {
		case p.Kit != "":
			r.How = "recovered"
			j, err = loginByKit(ctx, o, p)
		case p.Words != "":
			r.How = "linked"
			var s enrol.Secret
			if s, err = enrol.ParseSecret(p.Words); err == nil {
				j, err = account.LinkByWords(ctx, o, p.Service, s, confirmCode(ui))
			}
		case enrol.IsDeviceInvitation(p.Link):
			r.How = "linked"
			j, err = loginByLink(ctx, o, p, ui)
		default:
			j, err = loginByInvite(ctx, o, p, ui, &r)
		}
		if err != nil {
			return nil, err
		}
		defer j.Close()
		if err := j.SayName(ctx); err != nil {
			ui.Note(fmt.Sprintf("this device's name could not be stored (%v): signet device rename does it later", err))
		}
		// The device is enrolled; what it could not keep now, its next command
		// reads again. An alarm is an alarm.
		if err := remember(ctx, d); errors.Is(err, signet.ErrNotVerified) {
			return nil, err
		} else if err != nil {
			ui.Note(fmt.Sprintf("the directory could not be kept yet: %v", err))
		}
		r.Organisation, r.Member, r.Device = j.Account.Org.String(), j.Account.Ring.String(), j.Account.Device.String()
		r.Service, r.Keys = j.Account.Service, j.Keys.Where().String()
		return r, nil
	})
}

// wanted fails unless the organisation is the one that --root-file names.
func (p loginParams) wanted(o signet.OrgID) error {
	if p.Root == "" || p.Root == o.String() {
		return nil
	}
	return fmt.Errorf("the link is for organisation %s, not for %s: %w", o, p.Root, signet.ErrNotVerified)
}

// parseKit reads a recovery kit, whose words no device shows.
func parseKit(text string) (enrol.RecoveryKit, error) {
	kit, err := enrol.ParseRecoveryKit(text)
	return kit, control.Hinted(err, hintFor(err, enrol.ErrWords, "compare them with the file or paper that `signet recovery new` made"))
}

func loginByKit(ctx context.Context, o account.Options, p loginParams) (*account.Joined, error) {
	kit, err := parseKit(p.Kit)
	if err != nil {
		return nil, err
	}
	if p.Service != "" { // the service has moved
		kit.Service = p.Service
	}
	if err := p.wanted(kit.Org); err != nil {
		return nil, err
	}
	return account.Recover(ctx, o, kit)
}

func loginByLink(ctx context.Context, o account.Options, p loginParams, ui control.UI) (*account.Joined, error) {
	i, err := enrol.ParseDeviceInvitation(p.Link)
	if err != nil {
		return nil, err
	}
	if err := p.wanted(i.Org); err != nil {
		return nil, err
	}
	return account.LinkByURL(ctx, o, i, confirmCode(ui))
}

// loginByInvite redeems an enrolment URL. The owner's question comes first:
// where nobody can answer it nothing has happened.
func loginByInvite(ctx context.Context, o account.Options, p loginParams, ui control.UI, r *loginResult) (*account.Joined, error) {
	i, err := ring.ParseInvite(p.Link)
	if err != nil {
		// The cause repeats nothing of the link, which is a secret.
		return nil, fmt.Errorf("%v: %w", err, enrol.ErrLink)
	}
	if i.Org != (signet.OrgID{}) {
		r.How = "joined"
		if err := p.wanted(i.Org); err != nil {
			return nil, err
		}
		return account.Redeem(ctx, o, i)
	}
	if p.Root != "" {
		return nil, control.Usagef("--root-file: this link makes an organisation, which has no fingerprint yet")
	}
	r.How = "created"
	yes, err := ui.Ask(ctx, control.Question{Text: "May the service's host invite members (signet-server invite)? It can admit strangers but give them nothing.", YesNo: true, Flag: "yes"})
	if err != nil {
		return nil, err
	}
	j, err := account.Redeem(ctx, o, i)
	if errors.Is(err, signet.ErrConflict) {
		return nil, fmt.Errorf("another device made this service's organisation: %w", account.ErrUsed)
	}
	if err != nil || yes != "yes" {
		return j, err
	}
	c, err := j.Connector(ctx)
	if err == nil && c != nil {
		err = j.AllowConnector(ctx, c)
		r.Connector = err == nil
	}
	if err != nil {
		// The organisation is there and this device is its owner's: that is
		// not undone for want of a convenience.
		ui.Note(fmt.Sprintf("the service's host may not invite members yet (%v)", err))
	}
	return j, nil
}

// confirmCode has a newcomer's person compare the codes.
func confirmCode(ui control.UI) account.Confirm {
	return func(ctx context.Context, _ string, code enrol.Code) (bool, error) {
		ui.Note("code: " + code.String())
		a, err := ui.Ask(ctx, control.Question{Text: "Does the other device show the code " + code.String() + "?", YesNo: true, NoYes: true, Flag: "yes"})
		return a == "yes", err
	}
}
