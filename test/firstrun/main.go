//go:build unix

// Command firstrun is what `make run` and `make clean-run` do: it shows Signet
// at work by typing its public commands, and measures what it says.
//
// It promises to work in .run/ below the folder that it is started in and
// nowhere else (with DIR, also in one hidden folder .signet of DIR), to ask
// nothing, to print each command before it runs it, and to stop whatever it
// started however it ends. It knows nothing that a person at a terminal does
// not: no package of Signet is imported.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"
)

// errInterrupted ends the run where a person pressed Ctrl-C.
var errInterrupted = errors.New("interrupted")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := start(ctx, os.Args[1:])
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; all that was started has been stopped")
		os.Exit(130)
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	var h *hinted
	if errors.As(err, &h) {
		fmt.Fprintln(os.Stderr, "hint:", h.hint)
	}
	os.Exit(1)
}

// start does what the arguments and the environment say.
func start(ctx context.Context, args []string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "signet")); err != nil {
		return &hinted{fmt.Errorf("bin/signet is not built"), "make run builds it"}
	}
	run := filepath.Join(root, ".run")
	if len(args) == 1 && args[0] == "clean" {
		return clean(run, root)
	}
	if len(args) > 0 {
		return &hinted{fmt.Errorf("unknown argument %q", args[0]), "make run, make run DIR=PATH, make clean-run"}
	}
	unlock, err := lock(run)
	if err != nil {
		return err
	}
	defer unlock()
	stay := os.Getenv("ONCE") == "" && term.IsTerminal(int(os.Stdout.Fd()))
	if dir := os.Getenv("DIR"); dir != "" {
		return own(ctx, root, dir, stay)
	}
	return demo(ctx, root, stay)
}

// lock keeps a second run out of .run/ while the first is at work.
func lock(run string) (func(), error) {
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(run, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, &hinted{errors.New("another `make run` is at work in this folder"), "end it with Ctrl-C in its terminal, then try again"}
	}
	return func() { f.Close() }, nil
}

// A hinted error says what to do about it.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// demo shows the seven steps with files of its own, from nothing each time.
func demo(ctx context.Context, root string, stay bool) (err error) {
	s := newStage(root, filepath.Join(".run", "demo"))
	if err := s.stopLeft(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(root, s.dir)); err != nil {
		return err
	}
	began := time.Now()
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.sevenSteps(ctx); err != nil {
		return err
	}
	s.say("\nDone in %.1f s. All of it is in .run/; make clean-run removes it.", time.Since(began).Seconds())
	return s.stayUntilInterrupted(ctx, stay)
}

// stayUntilInterrupted keeps service and daemons at work for whoever wants to
// try commands of their own.
func (s *stage) stayUntilInterrupted(ctx context.Context, stay bool) error {
	if !stay {
		return nil
	}
	s.say("The service and both devices go on working, so try the commands in a second terminal.")
	s.say("Ctrl-C ends them.")
	<-ctx.Done()
	s.say("\nStopping all of it.")
	return nil
}
