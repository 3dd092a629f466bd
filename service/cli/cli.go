// Package cli is the command signet-server: flags, settings, output and exit
// codes around package service.
//
// It promises the contract of the command line: results on stdout, messages
// and JSON log lines on stderr, one error with a hint and an exit code, and
// that one data folder is served by one process at a time. It prints no name,
// path of content or key, because the service knows none; a path that an
// administrator gave may stand in a message to the administrator.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signet"
	"signet/internal/manual"
	"signet/service/blob"
	"signet/service/meta"
)

// Exit codes of the contract that this program has a use for.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotVerified = 3
	exitUnavailable = 4
	exitNotAllowed  = 7
	exitInterrupted = 130
)

// exits is the contract of exit codes, as far as this program has a use for it.
var exits = []manual.Exit{
	{Code: exitDone, Says: "Done."},
	{Code: exitFailed, Says: "Failed."},
	{Code: exitUsage, Says: "Usage: the command line cannot be meant."},
	{Code: exitNotVerified, Says: "Not verified: something stored is not what was signed."},
	{Code: exitUnavailable, Says: "Unavailable: what it needs cannot be reached, or is in use."},
	{Code: exitNotAllowed, Says: "Not allowed."},
	{Code: exitInterrupted, Says: "Interrupted."},
}

// An app is one run of the program.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	json           bool
}

// Main runs signet-server with the process's arguments and streams, and
// returns its exit code.
func Main() int {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		stop(caught{<-signals})
		signal.Stop(signals) // the second one ends the process
	}()
	a := &app{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now}
	return a.run(ctx, os.Args[1:])
}

// caught is why a context ended: a signal.
type caught struct{ os.Signal }

func (c caught) Error() string { return c.String() }

func (a *app) run(ctx context.Context, args []string) int {
	for _, arg := range args { // a command line that cannot be read is answered as it asks to be
		a.json = a.json || arg == "--json"
	}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	var c caught
	if errors.As(context.Cause(ctx), &c) && c.Signal == os.Interrupt && (err == nil || errors.Is(err, context.Canceled)) {
		return exitInterrupted
	}
	return a.exit(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "signet-server", Short: "Store and order what devices sealed and signed, without any key that opens it",
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().BoolVar(&a.json, "json", a.json, "results as JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.AddCommand(a.serveCommand(), a.devCommand(), a.inviteCommand(), a.checkCommand(), a.statusCommand(), a.gcCommand(), a.quotaCommand(), a.backupCommand(), a.restoreCommand(), a.versionCommand(), a.manCommand(), a.completionCommand())
	return root
}

// exactly refuses another number of arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%d arguments for: %s", len(args), c.UseLine())
		}
		return nil
	}
}

// A failure is an error with what the person should know besides.
type failure struct {
	err  error
	hint string
	kind string // stable name under --json; empty: by the error
	code int    // 0: by the error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), hint: "signet-server --help", kind: "usage", code: exitUsage}
}

func hinted(err error, hint string) error { return &failure{err: err, hint: hint} }

// errNewer says that a key file was written by a newer program.
var errNewer = errors.New("written by a newer signet-server")

// newer reports whether a program that is newer than this one wrote the data.
func newer(err error) bool {
	return errors.Is(err, meta.ErrNewer) || errors.Is(err, blob.ErrNewer) || errors.Is(err, errNewer)
}

const (
	hintNewer  = "update signet-server on this machine"
	hintBackup = "keep a copy of this data as it is; what devices have in their folders is not harmed"
)

// classes is what errors become that do not say it themselves. The first that
// fits holds.
var classes = []struct {
	sentinel error
	kind     string
	code     int
	hint     string
}{
	{meta.ErrNewer, "newer_format", exitFailed, hintNewer},
	{blob.ErrNewer, "newer_format", exitFailed, hintNewer},
	{errNewer, "newer_format", exitFailed, hintNewer},
	{signet.ErrNotVerified, "not_verified", exitNotVerified, ""},
	{meta.ErrDamaged, "damaged", exitFailed, hintBackup}, // nothing of it is signed
	{signet.ErrNotAllowed, "not_allowed", exitNotAllowed, ""},
	{signet.ErrUnavailable, "unavailable", exitUnavailable, ""},
}

// exit reports err, if any, and returns the exit code. It is the only place
// that makes one.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	f := &failure{}
	if !errors.As(err, &f) {
		f = &failure{}
	}
	code, kind, hint := f.code, f.kind, f.hint
	if code == 0 {
		code = exitFailed
		for _, c := range classes {
			if errors.Is(err, c.sentinel) {
				code, kind = c.code, c.kind
				if hint == "" {
					hint = c.hint
				}
				break
			}
		}
	}
	var k interface{ ErrorKind() string }
	if kind == "" && errors.As(err, &k) {
		kind = k.ErrorKind()
	}
	if kind == "" {
		kind = "failed"
	}
	if a.json {
		var out struct {
			Error struct {
				Kind    string `json:"kind"`
				Message string `json:"message"`
				Hint    string `json:"hint,omitempty"`
			} `json:"error"`
		}
		out.Error.Kind, out.Error.Message, out.Error.Hint = kind, err.Error(), hint
		json.NewEncoder(a.stderr).Encode(out)
		return code
	}
	fmt.Fprintf(a.stderr, "error: %v\n", err)
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
	return code
}

// print writes one JSON value to stdout.
func (a *app) print(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the program's version", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.print(map[string]string{"version": version()})
			}
			_, err := fmt.Fprintln(a.stdout, "signet-server", version())
			return err
		}}
}

func (a *app) manCommand() *cobra.Command {
	var to string
	c := &cobra.Command{Use: "man --to DIR", Short: "Write the manual pages into a folder", Args: exactly(0), DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return usage("man needs --to")
			}
			return manual.Write(c.Root(), version(), to, exits)
		}}
	c.Flags().StringVar(&to, "to", "", "folder for the pages")
	return c
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{Use: "completion SHELL", Short: "Print a completion script for bash, zsh, fish or powershell",
		Args: exactly(1), ValidArgs: manual.Shells(), DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			ok, err := manual.Complete(c.Root(), args[0], a.stdout)
			if !ok {
				return usage("no completion for shell %q, which is one of %s", args[0], strings.Join(manual.Shells(), ", "))
			}
			return err
		}}
}

// version is the module's version, or the commit that the program was built
// from.
func version() string { return built(debug.ReadBuildInfo()) }

// built reads what the go command stamped.
func built(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	stamp := map[string]string{}
	for _, s := range info.Settings {
		stamp[s.Key] = s.Value
	}
	v := "devel"
	if r := stamp["vcs.revision"]; len(r) >= 12 {
		if v += "-" + r[:12]; stamp["vcs.modified"] == "true" {
			v += "+dirty"
		}
	}
	return v
}
