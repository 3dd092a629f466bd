package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"signet"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/engine"
	"signet/device/owner"
)

// background are the commands that start, run and stop the daemon.
func (a *app) background() []*cobra.Command {
	var background bool
	daemon := a.command("daemon", "Keep the folders in step in the foreground", 0, 0, func(ctx context.Context, _ []string) error {
		if background { // the log has all words
			a.stderr = io.Discard
		}
		return a.daemon(ctx)
	})
	daemon.Flags().BoolVar(&background, "background", false, "of signet up: say nothing")
	daemon.Flags().MarkHidden("background")
	return []*cobra.Command{
		a.command("up", "Keep the folders in step in the background; returns when ready", 0, 0, func(ctx context.Context, _ []string) error { return a.up(ctx) }),
		a.command("down", "Stop the background daemon; returns when it has stopped", 0, 0, func(ctx context.Context, _ []string) error { return a.down(ctx) }),
		daemon,
		a.log(),
	}
}

// daemon owns the home until it is stopped: the engine runs, and commands are
// answered at the home's socket.
func (a *app) daemon(ctx context.Context) error {
	if n, err := control.Connect(ctx, a.dir); err == nil {
		n.Close()
		return control.Hinted(&control.Fault{Kind: "daemon_running", Message: "a daemon runs in this home already", Code: control.Failed}, "signet down stops it")
	}
	if !a.dir.Exists() {
		return account.ErrNotEnrolled
	}
	if err := a.dir.Check(); err != nil {
		return err
	}
	lock, err := a.dir.Lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := account.Find(a.dir); err != nil {
		return err
	}
	out, err := openLog(a.dir.LogFile(), maxLog)
	if err != nil {
		return err
	}
	defer out.Close()
	log := logger(out)
	log.Info("daemon starts", "version", Version, "pid", os.Getpid())
	err = a.keepInStep(ctx, log)
	if err != nil {
		log.Error("daemon failed", "kind", control.FaultOf(err).Kind, "message", err.Error(), "hint", control.FaultOf(err).Hint)
	} else {
		log.Info("daemon stopped")
	}
	return err
}

// keepInStep runs the engine and answers commands until ctx ends, or a command
// ends it.
func (a *app) keepInStep(ctx context.Context, log *slog.Logger) error {
	o, err := owner.Open(a.dir, Version)
	if err != nil {
		return err
	}
	// Before anybody can ask: whoever asks a daemon that has just begun is not
	// told that there is nothing.
	if err := o.Engine.LoadVolumes(); err != nil {
		return errors.Join(err, o.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The engine ends before the answers do: logout takes its files away.
	work, halt := context.WithCancel(ctx)
	defer halt()
	d := a.running(o, stop, halt)
	go func() {
		defer close(d.ended)
		var both sync.WaitGroup
		both.Go(func() { watch(work, o.Engine, log) })
		both.Go(func() { slim(work, o.Engine) })
		d.failed = o.Engine.Run(work)
		both.Wait()
	}()
	err = control.Serve(ctx, a.dir, d.methods(), Version, func() {
		log.Info("daemon ready")
		a.screen.Note("daemon ready")
	})
	stop()
	return errors.Join(err, d.close(context.Canceled))
}

// slim gives memory back when the daemon has come to rest after much work: it
// rests nearly always, and what a start or a large transfer took would stay with
// it.
func slim(ctx context.Context, e *engine.Device) {
	const (
		rest = 3 * time.Second
		much = 64 << 20 // bytes allocated since the last time
	)
	debug.SetGCPercent(50) // most of what it has lives long
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.Changed():
			continue // until nothing did for a while
		case <-time.After(rest):
		}
		metrics.Read(allocated)
		if now := allocated[0].Value.Uint64(); now-last > much {
			last = now
			e.Rest()
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-e.Changed():
		}
	}
}

// running is a daemon at work: one open home for all commands.
type running struct {
	*app
	stop   func() // ends the daemon
	halt   func() // ends the engine
	ended  chan struct{}
	failed error // of the engine, once it ended

	within context.Context // of the calls
	cancel context.CancelCauseFunc
	once   sync.Once
	closed error // of the home, once it was closed

	mu    sync.Mutex
	owner *owner.Owner   // nil from when closing begins
	calls sync.WaitGroup // that use owner; raised under the lock, while it is there
}

func (a *app) running(o *owner.Owner, stop, halt func()) *running {
	within, cancel := context.WithCancelCause(context.Background())
	return &running{app: a, owner: o, stop: stop, halt: halt, ended: make(chan struct{}), within: within, cancel: cancel}
}

// methods are what the daemon does for commands.
func (d *running) methods() control.Methods {
	m := identityMethods(d.dir, d.member, d.forget)
	maps.Copy(m, owner.Methods(d.work))
	return m.Within(d.within)
}

// close ends the engine and all calls, these for a reason, and closes the home.
// The caller uses it no more; it returns when nobody does. In this order: who
// comes now finds no home, who is there is told to end, and what they use is
// closed when the last one has.
func (d *running) close(why error) error {
	d.once.Do(func() {
		d.mu.Lock()
		o := d.owner
		d.owner = nil
		d.mu.Unlock()
		d.halt()
		d.cancel(why)
		<-d.ended
		d.calls.Wait()
		d.closed = errors.Join(d.failed, o.Close())
	})
	return d.closed
}

// forget closes the home before an organisation's files go. The daemon has
// nothing left to do then, and ends when its command has its answer.
func (d *running) forget(o signet.OrgID) error {
	if err := d.close(account.ErrNotEnrolled); err != nil {
		d.screen.Note(err.Error())
	}
	defer d.stop()
	return account.Forget(d.dir, o)
}

// open is for one call, which says done when it uses the home no more.
func (d *running) open() (o *owner.Owner, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner == nil {
		return nil, nil, account.ErrNotEnrolled
	}
	d.calls.Add(1)
	return d.owner, d.calls.Done, nil
}

func (d *running) member(do func(*member) (any, error)) (any, error) {
	o, done, err := d.open()
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := do(memberOf(o))
	return v, told(err)
}

func (d *running) work(do func(*owner.Work) (any, error)) (any, error) {
	o, done, err := d.open()
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := do(&owner.Work{Owner: o, Running: true, Stop: d.stop})
	return v, told(err)
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
	cmd := exec.Command(self, "daemon", "--background", "--home", string(a.dir))
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/" // for what a crash says
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
			a.screen.Note("the daemon is running; signet status shows how far it is")
			return nil
		}
		select {
		case err := <-died:
			return control.Hinted(fmt.Errorf("the daemon ended at once: %v", err), "signet log says why")
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
