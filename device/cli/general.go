package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"signet/device/cli/control"
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

func (a *app) man() *cobra.Command {
	var to string
	var cmd *cobra.Command
	cmd = a.command("man --to DIR", "Write the manual pages into a folder", 0, 0, func(context.Context, []string) error {
		if to == "" {
			return control.Hinted(control.Usagef("man needs --to"), "signet man --to DIR")
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true // pages of one version are equal whenever they are made
		return doc.GenManTree(root, &doc.GenManHeader{Title: "SIGNET", Section: "1", Source: "signet " + Version, Manual: "Signet"}, to)
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
	makers := map[string]func(*cobra.Command, io.Writer) error{
		"bash":       func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"zsh":        func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
		"fish":       func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
		"powershell": func(c *cobra.Command, w io.Writer) error { return c.GenPowerShellCompletionWithDesc(w) },
	}
	var cmd *cobra.Command
	cmd = a.command("completion SHELL", "Print a completion script for bash, zsh, fish or powershell", 1, 1, func(_ context.Context, args []string) error {
		write, ok := makers[args[0]]
		if !ok {
			return control.Hinted(control.Usagef("no completion for shell %q", args[0]), "one of bash, zsh, fish, powershell")
		}
		return write(cmd.Root(), a.stdout)
	})
	cmd.ValidArgs = []string{"bash", "fish", "powershell", "zsh"}
	return cmd
}
