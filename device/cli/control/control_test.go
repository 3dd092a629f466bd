package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/device/cli/home"
)

// script is a UI that keeps what it is shown and answers from a list.
type script struct {
	mu      sync.Mutex
	saw     []string
	answers []string
	hang    bool // a person who never answers
}

func (s *script) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saw = append(s.saw, fmt.Sprintf(format, args...))
}

func (s *script) Note(text string)    { s.add("note %s", text) }
func (s *script) Progress(p Progress) { s.add("progress %s %d", p.What, p.Files) }
func (s *script) Item(v any) error {
	b, err := json.Marshal(v)
	s.add("item %s", b)
	return err
}
func (s *script) Ask(ctx context.Context, q Question) (string, error) {
	s.add("ask %s %v", q.Text, q.Secret)
	if s.hang {
		<-ctx.Done()
		return "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) == 0 {
		return "", Usagef("nobody to ask: use --%s", q.Flag)
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	return a, nil
}

type greeting struct {
	Name string `json:"name"`
}

// methods are what the tests call; die, if set, ends the daemon midway.
func methods(die func()) Methods {
	return Methods{
		"greet": Typed(func(ctx context.Context, g greeting, ui UI) (any, error) {
			ui.Note("hello")
			ui.Progress(Progress{What: "greeting", Files: 1})
			if err := ui.Item(map[string]int{"n": 1}); err != nil {
				return nil, err
			}
			a, err := ui.Ask(ctx, Question{Text: "sure?", Secret: true, Flag: "yes"})
			return map[string]string{g.Name: a}, err
		}),
		"fail": Typed(func(context.Context, struct{}, UI) (any, error) {
			return nil, Hinted(fmt.Errorf("entry 7: %w", signet.ErrNotVerified), "look")
		}),
		"nothing": Typed(func(context.Context, struct{}, UI) (any, error) { return nil, nil }),
		"die": Typed(func(ctx context.Context, _ struct{}, ui UI) (any, error) {
			ui.Note("working")
			die()
			<-ctx.Done()
			return nil, ctx.Err()
		}),
		"wait": Typed(func(ctx context.Context, _ struct{}, ui UI) (any, error) {
			ui.Note("waiting")
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}
}

func newHome(t *testing.T) home.Dir {
	t.Helper()
	dir, err := os.MkdirTemp("", "h") // t.TempDir's name would make the path long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return home.Dir(dir)
}

// daemon serves on d until the test ends or stop is called.
func daemon(t *testing.T, d home.Dir, m Methods) (stop func()) {
	t.Helper()
	lock, err := d.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- Serve(ctx, d, m, "test", func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		lock.Unlock()
	})
	t.Cleanup(stop)
	return stop
}

func inProcess(context.Context) (Methods, io.Closer, error) { return methods(nil), nil, nil }

func TestMethodBehavesAlikeInProcessAndThroughTheDaemon(t *testing.T) {
	d := newHome(t)
	var runs [][]string
	for _, remote := range []bool{false, true} {
		if remote {
			daemon(t, d, methods(nil))
		}
		n, err := Open(t.Context(), d, nil, inProcess)
		if err != nil {
			t.Fatal(err)
		}
		if n.Remote() != remote {
			t.Fatalf("remote: %v, want %v", n.Remote(), remote)
		}
		ui := &script{answers: []string{"yes"}}
		r, err := n.Call(t.Context(), "greet", greeting{"bob"}, ui)
		ui.add("%s %v", r, err)
		_, err = n.Call(t.Context(), "greet", greeting{"bob"}, ui) // nobody answers
		ui.add("%+v", *FaultOf(err))
		_, err = n.Call(t.Context(), "fail", struct{}{}, ui)
		ui.add("%+v %v", *FaultOf(err), errors.Is(err, signet.ErrNotVerified))
		r, err = n.Call(t.Context(), "nothing", struct{}{}, ui)
		ui.add("%s %v", r, err)
		_, err = n.Call(t.Context(), "nothing", greeting{"x"}, ui)
		ui.add("%+v", *FaultOf(err))
		_, err = n.Call(t.Context(), "unknown", nil, ui)
		ui.add("%+v", *FaultOf(err))
		runs = append(runs, ui.saw)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(runs[0], runs[1]); diff != "" {
		t.Errorf("in process (-), through the daemon (+):\n%s", diff)
	}
	if want := `{"bob":"yes"} <nil>`; runs[0][4] != want {
		t.Errorf("result %q, want %q", runs[0][4], want)
	}
}

func TestSocketIsReachedWhateverTheLengthOfTheHome(t *testing.T) {
	d := home.Dir(filepath.Join(string(newHome(t)), strings.Repeat("long/", 40)))
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	daemon(t, d, methods(nil))
	n, err := Connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.Call(t.Context(), "nothing", struct{}{}, &script{}); err != nil {
		t.Error(err)
	}
	if runtime.GOOS == "linux" {
		if info, err := os.Stat(d.SocketFile()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v, %v", info, err)
		}
	}
}

func TestSocketMovesWhereTheHomeCannotHoldOne(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", string(newHome(t)))
	d := newHome(t)
	// What is in the way cannot be removed, so nothing can be bound there.
	if err := os.MkdirAll(filepath.Join(d.SocketFile(), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	stop := daemon(t, d, methods(nil))
	n, err := Connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	stop()
	if _, err := Connect(t.Context(), d); err == nil {
		t.Error("the daemon is gone and still answers")
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	d := newHome(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.SocketFile(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as a killed daemon leaves it
	l.Close()
	n, err := Open(t.Context(), d, nil, inProcess)
	if err != nil || n.Remote() {
		t.Fatalf("with a stale socket: %v", err)
	}
	n.Close()
	stop := daemon(t, d, methods(nil))
	if n, err = Open(t.Context(), d, nil, inProcess); err != nil || !n.Remote() {
		t.Fatalf("the daemon is not reached: %v", err)
	}
	n.Close()
	stop()
	if _, err := os.Lstat(d.SocketFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestCommandWaitsForTheHomeAndForADaemonThatStarts(t *testing.T) {
	d := newHome(t)
	lock, err := d.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, d, nil, inProcess); !errors.Is(err, home.ErrHeld) || FaultOf(err).Code != TimedOut || FaultOf(err).Kind != "busy" {
		t.Errorf("a held home: %v", err)
	}
	got := make(chan error)
	go func() {
		n, err := Open(t.Context(), d, nil, inProcess)
		if err == nil {
			err = n.Close()
		}
		got <- err
	}()
	lock.Unlock()
	if err := <-got; err != nil {
		t.Errorf("after the lock was given back: %v", err)
	}
}

func TestDaemonThatStopsEndsItsCallsAndSaysSo(t *testing.T) {
	d := newHome(t)
	var stop func()
	stop = daemon(t, d, methods(func() { go stop() }))
	n, err := Connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err = n.Call(t.Context(), "die", struct{}{}, &script{}); err == nil {
		t.Error("a call of a daemon that stopped succeeded")
	}
}

// TestDaemonThatIsKilledMidwayIsAnError runs itself as the daemon, in a
// process that can be killed.
func TestDaemonThatIsKilledMidwayIsAnError(t *testing.T) {
	if dir := os.Getenv("SIGNET_TEST_DAEMON"); dir != "" {
		d := home.Dir(dir)
		if _, err := d.TryLock(); err != nil {
			t.Fatal(err)
		}
		self, _ := os.FindProcess(os.Getpid())
		t.Fatal(Serve(t.Context(), d, methods(func() { self.Kill() }), "test", nil))
	}
	d := newHome(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SIGNET_TEST_DAEMON="+string(d))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var n Node
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		if n, err = Connect(t.Context(), d); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer n.Close()
	_, err = n.Call(t.Context(), "die", struct{}{}, &script{})
	if f := FaultOf(err); f == nil || f.Kind != "daemon_ended" || f.Code != Failed || f.Hint == "" {
		t.Errorf("killed midway: %+v", f)
	}
	cmd.Wait()
	next, err := Open(t.Context(), d, nil, inProcess)
	if err != nil || next.Remote() {
		t.Fatalf("after the kill: %v", err)
	}
	next.Close()
}

func TestCallEndsWithItsCommandEvenAtAQuestion(t *testing.T) {
	d := newHome(t)
	daemon(t, d, methods(nil))
	n, err := Connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, method := range []string{"wait", "greet"} {
		ctx, cancel := context.WithCancel(t.Context())
		ui := &cancelling{script{hang: true}, cancel, method}
		if _, err := n.Call(ctx, method, struct{}{}, ui); !errors.Is(err, context.Canceled) || FaultOf(err).Code != Interrupted {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// cancelling ends the call when the method waits.
type cancelling struct {
	script
	cancel func()
	method string
}

func (c *cancelling) Note(string) {
	if c.method == "wait" {
		c.cancel()
	}
}

func (c *cancelling) Ask(ctx context.Context, q Question) (string, error) {
	c.cancel()
	return c.script.Ask(ctx, q)
}

func TestDaemonOfAnotherProtocolIsNamed(t *testing.T) {
	d := newHome(t)
	l, err := listen(d)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"signet\":99,\"version\":\"9\"}")
	}()
	if _, err := Open(t.Context(), d, nil, inProcess); err == nil || FaultOf(err).Kind != "version" {
		t.Errorf("another protocol: %v", err)
	}
}

// deaf is a UI that takes nothing until it is released.
type deaf struct {
	script
	release chan struct{}
}

func (d *deaf) Item(any) error {
	<-d.release
	return nil
}

func TestCallEndsFromWithinWhateverItsCommandDoes(t *testing.T) {
	within, end := context.WithCancelCause(t.Context())
	began := make(chan struct{}, 1)
	ended := make(chan error, 1)
	m := methods(nil)
	m["flood"] = func(ctx context.Context, _ json.RawMessage, ui UI) (any, error) {
		began <- struct{}{}
		for {
			if err := ui.Item(strings.Repeat("x", 1<<16)); err != nil {
				ended <- err
				return nil, err
			}
		}
	}
	m["greet"] = func(ctx context.Context, _ json.RawMessage, ui UI) (any, error) {
		began <- struct{}{}
		return ui.Ask(ctx, Question{Text: "sure?"})
	}
	m["end"] = func(context.Context, json.RawMessage, UI) (any, error) {
		end(fmt.Errorf("gone: %w", signet.ErrNotAllowed))
		<-ended // the last of them, as a logout waits
		return "mine", nil
	}
	d := newHome(t)
	daemon(t, d, m.Within(within))
	n, err := Connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var calls sync.WaitGroup
	ui := &deaf{release: make(chan struct{})}
	calls.Go(func() {
		if _, err := n.Call(t.Context(), "flood", struct{}{}, ui); err == nil {
			t.Error("who read nothing has a result")
		}
	})
	<-began
	calls.Go(func() {
		// What it fails with is the cause.
		if _, err := n.Call(t.Context(), "greet", greeting{}, &script{hang: true}); !errors.Is(err, signet.ErrNotAllowed) {
			t.Errorf("%v", err)
		}
	})
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	mine, err := n.Call(ctx, "end", struct{}{}, &script{})
	close(ui.release)
	if string(mine) != `"mine"` || err != nil {
		t.Fatalf("the call that ended the others: %s, %v", mine, err)
	}
	calls.Wait()
}

// told is an error that says itself what it is.
type told struct{ kind, hint string }

func (t *told) Error() string         { return "told" }
func (t *told) ErrorKind() string     { return t.kind }
func (t *told) ErrorHint() string     { return t.hint }
func (t *told) ErrorEvidence() string { return "evidence.txt" }
func (t *told) Unwrap() error         { return signet.ErrUnavailable }

func TestFaultSaysKindCodeAndHint(t *testing.T) {
	_, notThere := os.Open("/nowhere/\xff")
	for _, c := range []struct {
		err        error
		kind       string
		code       int
		hint, path string
	}{
		{errors.New("x"), "failed", Failed, "", ""},
		{Usagef("x"), "usage", Usage, "", ""},
		{fmt.Errorf("a: %w", signet.ErrNotAllowed), "not_allowed", NotAllowed, "", ""},
		{fmt.Errorf("a: %w", &told{"captive", "pay"}), "captive", Unreachable, "pay", ""},
		{fmt.Errorf("a: %w", &told{"captive", ""}), "captive", Unreachable, "", ""},
		{Hinted(fmt.Errorf("a: %w", signet.ErrNotFound), "look"), "not_found", Failed, "look", ""},
		{context.DeadlineExceeded, "timeout", TimedOut, "give --timeout more", ""},
		{context.Canceled, "interrupted", Interrupted, "", ""},
		{notThere, "not_found", Failed, "check the path", "/nowhere/\uFFFD"},
		{Hinted(errors.New("x"), ""), "failed", Failed, "", ""},
		{errors.Join(signet.ErrUnavailable, signet.ErrNotAllowed), "not_allowed", NotAllowed, "", ""},
		{errors.Join(context.DeadlineExceeded, signet.ErrNotVerified, signet.ErrUnavailable), "not_verified", NotVerified, classes[0].hint, ""},
		{fmt.Errorf("%w (%w)", signet.ErrNotAllowed, context.DeadlineExceeded), "not_allowed", NotAllowed, "", ""},
	} {
		f := FaultOf(c.err)
		if f.Kind != c.kind || f.Code != c.code || f.Hint != c.hint || f.Path != c.path || f.Message != c.err.Error() {
			t.Errorf("%v: %+v", c.err, *f)
		}
		// What came over the socket stays what it was.
		if again := FaultOf(f); *cloneFault(again) != *cloneFault(f) {
			t.Errorf("%v: %+v, then %+v", c.err, *f, *again)
		}
	}
	if FaultOf(nil) != nil {
		t.Error("no error is a fault")
	}
	if f := FaultOf(fmt.Errorf("b: %w", &told{})); f.Evidence != "evidence.txt" {
		t.Errorf("evidence %q", f.Evidence)
	}
}

type flat struct {
	kind, message, hint, path, exact, evidence string
	code                                       int
}

func cloneFault(f *Fault) *flat {
	return &flat{f.Kind, f.Message, f.Hint, f.Path, string(f.PathB64), f.Evidence, f.Code}
}

func TestGraverCodeWins(t *testing.T) {
	order := []int{NotVerified, NotAllowed, Unreachable, TimedOut, Attention, Failed, Done}
	for i, a := range order {
		for _, b := range order[i:] {
			if Worse(a, b) != a || Worse(b, a) != a {
				t.Errorf("of %d and %d the graver is %d", a, b, Worse(a, b))
			}
		}
	}
}
