// Package cli is the command signet: flags, questions, output and exit codes.
//
// It promises the contract of the command line: results on stdout, everything
// else on stderr; one error with a kind, a hint and an exit code; no question
// where nobody can answer it; names escaped before a terminal sees them. What
// commands do is in the packages below and in the methods that they call
// through device/cli/control, in this process or in the home's daemon.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/cli/home"
)

// A world is what a command touches besides its home: a test has another.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	terminal       func() (terminal, error) // the controlling one
	isTerminal     func(io.Writer) bool
}

// flags are those that every command has.
type flags struct {
	json, quiet, verbose, yes, noColor bool
	home                               string
	timeout                            time.Duration
}

// An app is one run of the command.
type app struct {
	world
	flags
	dir     home.Dir
	screen  *screen
	methods methodMaker
	extra   []*cobra.Command // of tests
	started bool             // a command's own work has begun: what fails now is no mistake of usage
}

// Main runs the command signet with the process's arguments and streams, and
// returns its exit code.
func Main() int {
	// The first signal ends the work in order, the second ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	a := &app{world: world{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now,
		terminal: openTerminal, isTerminal: isTerminal,
	}, methods: openMethods}
	return a.run(ctx, os.Args[1:])
}

// run carries out one command line.
func (a *app) run(ctx context.Context, args []string) int {
	// A command line that cannot be read is still answered as it asks to be.
	for _, arg := range args {
		if arg == "--" {
			break
		}
		a.json = a.json || arg == "--json"
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if a.screen == nil { // nothing of a command ran
		a.screen = newScreen(a)
	}
	a.screen.finish()
	if err != nil && !a.started && control.FaultOf(err).Kind == "failed" {
		err = control.Usagef("%v", err)
	}
	if f := control.FaultOf(err); f != nil && f.Code == control.Usage && f.Hint == "" {
		err = control.Hinted(err, cmd.CommandPath()+" --help")
	}
	return a.exit(ctx, err)
}

// exit reports err, if any, and returns the exit code. It is the only place
// that makes one.
func (a *app) exit(ctx context.Context, err error) int {
	f := control.FaultOf(err)
	if f == nil {
		return control.Done
	}
	// What an interruption made fail is an interruption.
	if ctx.Err() != nil && f.Code != control.NotVerified && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f = &control.Fault{Kind: "interrupted", Message: "interrupted", Code: control.Interrupted}
	}
	a.report(f)
	return f.Code
}

// root makes the command tree.
func (a *app) root() *cobra.Command {
	root := a.group("signet", "Keep folders in step between your devices; nobody else can read them")
	root.Use = "signet"
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(a.help())
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", a.json, "results as JSON")
	f.StringVar(&a.home, "home", "", "folder that holds everything of this device (SIGNET_HOME)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no messages and no progress")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "more messages")
	f.BoolVarP(&a.yes, "yes", "y", false, "answer yes to questions")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this time, such as 90s (exit 6)")
	f.BoolVar(&a.noColor, "no-color", false, "no colours (NO_COLOR)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return control.Usagef("%v", err) })
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	root.AddCommand(a.general()...)
	root.AddCommand(a.identity()...)
	root.AddCommand(a.volumes()...)
	root.AddCommand(a.background()...)
	root.AddCommand(a.cold()...)
	root.AddCommand(a.extra...)
	return root
}

// help shows the help of a command, which must exist.
func (a *app) help() *cobra.Command {
	var cmd *cobra.Command
	cmd = a.command("help [COMMAND]", "Show help about a command", 0, -1, func(_ context.Context, args []string) error {
		c, rest, err := cmd.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return control.Hinted(control.Usagef("no help on %q", strings.Join(args, " ")), "signet help")
		}
		return c.Help()
	})
	return cmd
}

// group makes a command that only has others below it. Without one of them it
// shows its help; with something else it fails.
func (a *app) group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return control.Hinted(control.Usagef("unknown command %q for %q", args[0], c.CommandPath()), c.CommandPath()+" --help")
			}
			return c.Help()
		},
	}
}

// command makes a command that takes from min to max arguments (max < 0: any
// number). Its context ends after --timeout.
func (a *app) command(use, short string, min, max int, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagsInUseLine: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < min || max >= 0 && len(args) > max {
				return control.Hinted(control.Usagef("%d arguments for: %s", len(args), c.UseLine()), c.CommandPath()+" --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			a.started = true
			ctx := c.Context()
			if a.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, a.timeout)
				defer cancel()
			}
			return run(ctx, args)
		},
	}
}

// prepare reads what the flags and the environment say together.
func (a *app) prepare() error {
	if a.timeout < 0 {
		return control.Usagef("--timeout is negative")
	}
	var err error
	if a.dir, err = home.Find(a.home, a.getenv); err != nil {
		return control.Usagef("%v", err)
	}
	if a.getenv("NO_COLOR") != "" {
		a.noColor = true
	}
	a.screen = newScreen(a)
	return nil
}

// A methodMaker opens what a home's owner can do, in this process, with the
// home's lock held.
type methodMaker func(ctx context.Context, d home.Dir) (control.Methods, io.Closer, error)

// call runs a method on the home, in its daemon or here.
func (a *app) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	return a.callWith(ctx, method, params, a.screen)
}

// open finds who carries out methods on the home.
func (a *app) open(ctx context.Context) (control.Node, error) {
	if err := a.dir.Make(); err != nil {
		return nil, err
	}
	waiting := func() { a.screen.Note("waiting for another command that works in this home") }
	return control.Open(ctx, a.dir, waiting, func(ctx context.Context) (control.Methods, io.Closer, error) {
		return a.methods(ctx, a.dir)
	})
}
