package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/owner"
)

// background are the commands that start, run and stop the daemon.
func (a *app) background() []*cobra.Command {
	return []*cobra.Command{
		a.command("up", "Keep the folders in step in the background; returns when ready", 0, 0, func(ctx context.Context, _ []string) error { return a.up(ctx) }),
		a.command("down", "Stop the background daemon; returns when it has stopped", 0, 0, func(ctx context.Context, _ []string) error { return a.down(ctx) }),
		a.command("daemon", "Keep the folders in step in the foreground", 0, 0, func(ctx context.Context, _ []string) error { return a.daemon(ctx) }),
	}
}

// daemon owns the home until it is stopped: the engine runs, and commands are
// answered at the home's socket.
func (a *app) daemon(ctx context.Context) error {
	if n, err := control.Connect(ctx, a.dir); err == nil {
		n.Close()
		return control.Hinted(fmt.Errorf("a daemon runs in this home already"), "signet down stops it")
	}
	if err := a.dir.Check(); err != nil {
		return err
	}
	lock, err := a.dir.Lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	o, err := owner.Open(a.dir, Version)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := &running{app: a, owner: o, stop: stop}
	methods := identityMethods(a.dir, d.member)
	maps.Copy(methods, owner.Methods(d.work))
	ended := make(chan error, 1)
	go func() { ended <- o.Engine.Run(ctx) }()
	err = control.Serve(ctx, a.dir, methods, Version, func() { a.screen.Note("daemon ready") })
	stop()
	err = errors.Join(err, <-ended)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner != nil {
		err = errors.Join(err, o.Close())
	}
	return err
}

// running is a daemon at work: one open home for all commands.
type running struct {
	*app
	mu    sync.Mutex
	owner *owner.Owner
	stop  func()
}

func (d *running) open() (*owner.Owner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner == nil {
		return nil, control.Hinted(errors.New("this device was logged out"), "signet down")
	}
	return d.owner, nil
}

func (d *running) member(do func(*member) (any, error)) (any, error) {
	o, err := d.open()
	if err != nil {
		return nil, err
	}
	return do(memberOf(o))
}

func (d *running) work(do func(*owner.Work) (any, error)) (any, error) {
	o, err := d.open()
	if err != nil {
		return nil, err
	}
	return do(&owner.Work{Owner: o, Running: true, Stop: d.stop})
}

// startWait is how long up waits for the daemon to answer.
const startWait = 60 * time.Second

// up starts the daemon as a process of its own and returns when it answers.
func (a *app) up(ctx context.Context) error {
	if n, err := control.Connect(ctx, a.dir); err == nil {
		n.Close()
		a.screen.Note("the daemon is running already")
		return nil
	}
	// What would make the daemon fail at once is said here, where it is seen.
	if _, err := a.call(ctx, "status", struct{}{}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(a.dir.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "daemon", "--home", string(a.dir))
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if n, err := control.Connect(ctx, a.dir); err == nil {
			n.Close()
			if !a.quiet {
				a.screen.Note("the daemon is running; signet status shows how far it is")
			}
			return nil
		}
		select {
		case err := <-died:
			return control.Hinted(fmt.Errorf("the daemon ended at once: %w", err), "its words are in "+a.dir.LogFile())
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not answer: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// down stops the daemon and returns when the home is free.
func (a *app) down(ctx context.Context) error {
	n, err := control.Connect(ctx, a.dir)
	if err != nil {
		a.screen.Note("no daemon is running")
		return nil
	}
	_, err = n.Call(ctx, "stop", struct{}{}, a.screen)
	n.Close()
	var f *control.Fault
	if err != nil && errors.As(err, &f) && f.Kind == "version" {
		return err
	}
	// The answer may be lost with the daemon: that the lock is free counts.
	lock, err := a.dir.Lock(ctx)
	if err != nil {
		return err
	}
	return lock.Unlock()
}

// callWith is call with another UI.
func (a *app) callWith(ctx context.Context, method string, params any, ui control.UI) (json.RawMessage, error) {
	n, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	result, err := n.Call(ctx, method, params, ui)
	return result, errors.Join(err, n.Close())
}
