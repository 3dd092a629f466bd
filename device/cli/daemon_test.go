package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/owner"
)

func TestLogoutClosesTheHomeWhenItsCallsHaveEnded(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	m.ok("login", invite("alice"), "--yes")
	d := home.Dir(m.home)
	o, err := owner.Open(d, Version)
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := tester(t, "", nil)
	if err := a.root().ParseFlags([]string{"--yes"}); err != nil {
		t.Fatal(err)
	}
	a.dir = d
	a.screen = newScreen(a)
	engine, halt := context.WithCancel(t.Context())
	r := a.running(o, func() {}, halt)
	go func() { <-engine.Done(); close(r.ended) }()

	began := make(chan struct{}, 2)
	keys := d.KeyFile(o.Account.Org)
	// What a call does once it is told to end still finds the home as it was: it
	// does so much that a close which does not wait for it comes in between.
	end := func(ctx context.Context, o *owner.Owner) error {
		began <- struct{}{}
		<-ctx.Done()
		for range 1000 {
			if _, err := os.Stat(keys); err != nil {
				t.Errorf("the files went under a call: %v", err)
				break
			}
			if _, err := o.Engine.Store.Note("any"); err != nil {
				t.Errorf("the store went under a call: %v", err)
				break
			}
		}
		return fmt.Errorf("a call: %w", ctx.Err())
	}
	methods := r.methods()
	for name, f := range (control.Methods{
		"member": func(ctx context.Context, _ json.RawMessage, _ control.UI) (any, error) {
			return r.member(func(*member) (any, error) { return nil, end(ctx, o) })
		},
		"work": func(ctx context.Context, _ json.RawMessage, _ control.UI) (any, error) {
			return r.work(func(w *owner.Work) (any, error) { return nil, end(ctx, w.Owner) })
		},
	}).Within(r.within) {
		methods[name] = f
	}
	n := control.Local(methods, nil)
	call := func(name string, params any) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := n.Call(ctx, name, params, a.screen)
		return err
	}
	var calls sync.WaitGroup
	for _, name := range []string{"member", "work"} {
		calls.Go(func() {
			if err := call(name, struct{}{}); !errors.Is(err, account.ErrNotEnrolled) {
				t.Errorf("%s ended with %v", name, err)
			}
		})
		<-began
	}
	// Others come and go all the while.
	for range 4 {
		calls.Go(func() {
			for {
				switch err := call("device.list", struct{}{}); {
				case errors.Is(err, account.ErrNotEnrolled):
					return
				case err != nil:
					t.Errorf("device.list: %v", err)
					return
				}
			}
		})
	}
	a.yes = true // it is the last device
	if err := call("logout", logoutParams{}); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if _, err := os.Stat(keys); err == nil {
		t.Error("the keys are there")
	}
	if _, err := o.Engine.Store.Note("any"); err == nil {
		t.Error("the store is open")
	}
}

// said tells that something was written.
type said chan struct{}

func (s said) Write(b []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(b), nil
}

func TestLogoutThroughTheDaemonAnswersAllCommandsAndEndsIt(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	m.ok("login", invite("alice"), "--yes")
	dir := filepath.Join(t.TempDir(), "docs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m.ok("add", dir)
	a, _, _ := tester(t, "", nil)
	ready := make(said, 1)
	a.methods, a.now, a.stderr = openMethods, time.Now, ready
	ended := make(chan int, 1)
	go func() { ended <- a.run(t.Context(), []string{"--home", m.home, "daemon"}) }()
	select {
	case <-ready:
	case code := <-ended:
		t.Fatalf("the daemon ended with %d", code)
	}
	var calls sync.WaitGroup
	// One waits for a newcomer, who does not come.
	calls.Go(func() {
		giver, events, _ := m.link(func(event) run {
			r := m.do("logout", "--yes")
			if r.code != 0 {
				t.Errorf("logout: %+v", r)
			}
			return r
		})
		if giver.code != control.NotAllowed || len(events) != 1 {
			t.Errorf("device add: %+v, %+v", giver, events)
		}
	})
	for _, line := range [][]string{{"device", "list"}, {"status"}, {"tree", dir}, {"history", dir}} {
		calls.Go(func() {
			for {
				// The connection itself may end with the daemon, and afterwards
				// there is no home.
				if r := m.do(append(line, "--json")...); r.code == control.NotAllowed {
					return
				}
			}
		})
	}
	calls.Wait()
	if code := <-ended; code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	if orgs, err := home.Dir(m.home).Organisations(); err != nil || len(orgs) != 0 {
		t.Errorf("left: %v, %v", orgs, err)
	}
}

// Whoever asks a daemon that has just begun is told what it keeps in step.
func TestDaemonKnowsItsFoldersWhenItAnswers(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	m.ok("login", invite("alice"), "--yes")
	dir := filepath.Join(t.TempDir(), "docs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m.ok("add", dir)
	for range 20 {
		a, _, _ := tester(t, "", nil)
		ready := make(said, 1)
		a.methods, a.now, a.stderr = openMethods, time.Now, ready
		ended := make(chan int, 1)
		go func() { ended <- a.run(t.Context(), []string{"--home", m.home, "daemon"}) }()
		select {
		case <-ready:
		case code := <-ended:
			t.Fatalf("the daemon ended with %d", code)
		}
		if r := m.do("status", "--json"); !strings.Contains(r.out, "docs") {
			t.Errorf("status: %+v", r)
		}
		m.ok("down")
		if code := <-ended; code != 0 {
			t.Fatalf("the daemon ended with %d", code)
		}
	}
}
