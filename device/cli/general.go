package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/internal/manual"
)

// general are the commands that need no service and no keys.
func (a *app) general() []*cobra.Command {
	return []*cobra.Command{
		a.command("version", "Print the version", 0, 0, func(context.Context, []string) error { return a.version() }),
		a.command("paths", "Print where everything of this device is", 0, 0, func(context.Context, []string) error { return a.paths() }),
		a.command("self-check", "Check this program's cryptography and this device's home", 0, 0, func(context.Context, []string) error { return a.selfCheck() }),
		a.completion(),
		a.man(),
	}
}

// exits is the contract of exit codes. Where several apply, it is the one that comes
// first of 3, 7, 4, 6, 5.
var exits = []manual.Exit{
	{Code: 0, Says: "Done."},
	{Code: 1, Says: "Failed."},
	{Code: 2, Says: "Usage: the command line cannot be meant."},
	{Code: 3, Says: "Not verified: a security alarm. Its kind, and where evidence is kept, are printed."},
	{Code: 4, Says: "The service is unreachable."},
	{Code: 5, Says: "Finished, but something needs a person: conflicts, held deletions, files that cannot be read."},
	{Code: 6, Says: "Not finished within --timeout."},
	{Code: 7, Says: "Not allowed: not enrolled, revoked, by role, policy or quota."},
	{Code: 130, Says: "Interrupted."},
}

func (a *app) man() *cobra.Command {
	var to string
	var cmd *cobra.Command
	cmd = a.command("man --to DIR", "Write the manual pages into a folder", 0, 0, func(context.Context, []string) error {
		if to == "" {
			return control.Hinted(control.Usagef("man needs --to"), "signet man --to DIR")
		}
		return manual.Write(cmd.Root(), Version, to, exits)
	})
	cmd.Flags().StringVar(&to, "to", "", "folder for the pages")
	return cmd
}

// paths lists files and folders, which need not exist.
func (a *app) paths() error {
	type path struct {
		Name string `json:"name"`
		Path string `json:"path"`
	}
	all := []path{
		{"home", string(a.dir)}, {"lock", a.dir.LockFile()}, {"socket", a.dir.SocketFile()},
		{"config", a.dir.ConfigFile()}, {"limits", a.dir.LimitsFile()}, {"log", a.dir.LogFile()},
	}
	orgs, err := a.dir.Organisations()
	if err != nil {
		return err
	}
	for _, o := range orgs {
		all = append(all, path{"organisation", a.dir.Organisation(o)}, path{"keys", a.dir.KeyFile(o)},
			path{"account", a.dir.AccountFile(o)}, path{"index", a.dir.IndexFile(o)}, path{"evidence", a.dir.EvidenceDir(o)})
	}
	if a.json {
		m := map[string]any{}
		organisations := []map[string]string{}
		for _, p := range all {
			switch p.Name {
			case "organisation":
				organisations = append(organisations, map[string]string{"path": p.Path})
			case "keys", "account", "index", "evidence":
				organisations[len(organisations)-1][p.Name] = p.Path
			default:
				m[p.Name] = p.Path
			}
		}
		m["organisations"] = organisations
		return writeJSON(a.stdout, m)
	}
	var rows [][]string
	for _, p := range all {
		rows = append(rows, []string{p.Name, p.Path})
	}
	return table(a.stdout, []string{"WHAT", "WHERE"}, rows)
}

func (a *app) completion() *cobra.Command {
	var cmd *cobra.Command
	cmd = a.command("completion SHELL", "Print a completion script for bash, zsh, fish or powershell", 1, 1, func(_ context.Context, args []string) error {
		ok, err := manual.Complete(cmd.Root(), args[0], a.stdout)
		if !ok {
			return control.Hinted(control.Usagef("no completion for shell %q", args[0]), "one of "+strings.Join(manual.Shells(), ", "))
		}
		return err
	})
	cmd.ValidArgs = manual.Shells()
	return cmd
}
