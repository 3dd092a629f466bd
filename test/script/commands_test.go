//go:build linux

package script

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what must happen.
const patience = 60 * time.Second

// A story is what one script has going.
type story struct {
	work    string
	mu      sync.Mutex
	spawned map[string]*child
	service *child
	address string // of the service, kept over restarts
	close   []func()
}

type storyKey struct{}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// A child is a program that runs beside the script.
type child struct {
	cmd  *exec.Cmd
	done chan struct{}
	code int
}

// start runs a program with its streams in NAME.out and NAME.err.
func (s *story) start(ts *testscript.TestScript, name string, args ...string) *child {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	out, err := os.Create(filepath.Join(s.work, name+".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(filepath.Join(s.work, name+".err"))
	ts.Check(err)
	defer errs.Close()
	c := &child{cmd: exec.Command(path, args[1:]...), done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Dir = out, errs, ts.MkAbs(".")
	c.cmd.Env = environment(ts)
	ts.Check(c.cmd.Start())
	go func() {
		c.cmd.Wait()
		c.code = c.cmd.ProcessState.ExitCode()
		close(c.done)
	}()
	return c
}

// environment is what a script's programs see of it.
func environment(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, k := range []string{"HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "SIGNET_KEYRING", "SIGNET_HOME", "SCRIPT_UID", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE"} {
		env = append(env, k+"="+ts.Getenv(k))
	}
	return env
}

func (c *child) wait() bool {
	select {
	case <-c.done:
		return true
	case <-time.After(patience):
		return false
	}
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// end stops everything that the script left: programs that it started, and
// the daemons of its homes.
func (s *story) end(t testscript.T) {
	homes, _ := filepath.Glob(filepath.Join(s.work, "*", "control.sock"))
	for _, h := range homes {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := exec.CommandContext(ctx, "signet", "down", "--home", filepath.Dir(h)).CombinedOutput()
		cancel()
		if err != nil && !errors.Is(err, exec.ErrNotFound) {
			t.Log("down ", h, err, string(out))
		}
	}
	for _, c := range s.spawned {
		c.kill()
	}
	if s.service != nil {
		s.service.kill()
	}
	for _, f := range slices.Backward(s.close) {
		f()
	}
}

// poll asks until the answer is yes or patience ends.
func poll(yes func() bool) bool {
	end := time.After(patience)
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for !yes() {
		select {
		case <-end:
			return yes()
		case <-t.C:
		}
	}
	return true
}

func want(ts *testscript.TestScript, neg bool, args []string, min, max int, usage string) {
	if neg || len(args) < min || max >= 0 && len(args) > max {
		ts.Fatalf("usage: %s", usage)
	}
}

// serviceCmd starts, stops or kills the script's service: TLS with a
// certificate of its own, or without where "plain" is said. $SERVICE is its
// address.
func serviceCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, -1, "service up [plain] [FLAG...] | down | kill")
	s := storyOf(ts)
	switch args[0] {
	case "up":
		at := s.address
		if at == "" {
			at = "127.0.0.1:0"
		}
		line := []string{"signet-server", "serve", "--data", filepath.Join(s.work, "service"), "--listen", at}
		if len(args) > 1 && args[1] == "plain" {
			line = append(line, args[2:]...)
		} else {
			line = append(append(line, "--tls-self"), args[1:]...)
		}
		s.service = s.start(ts, "service", line...)
		var url string
		poll(func() bool {
			select {
			case <-s.service.done:
				return true
			default:
			}
			b, _ := os.ReadFile(filepath.Join(s.work, "service.out"))
			first, _, ok := strings.Cut(string(b), "\n")
			url = strings.TrimPrefix(first, "listening on ")
			return ok
		})
		if url == "" {
			b, _ := os.ReadFile(filepath.Join(s.work, "service.err"))
			ts.Fatalf("the service did not start:\n%s", b)
		}
		_, s.address, _ = strings.Cut(url, "://")
		ts.Setenv("SERVICE", url)
	case "down", "kill":
		sig := syscall.SIGTERM
		if args[0] == "kill" {
			sig = syscall.SIGKILL
		}
		s.service.cmd.Process.Signal(sig)
		if !s.service.wait() || args[0] == "down" && s.service.code != 0 {
			b, _ := os.ReadFile(filepath.Join(s.work, "service.err"))
			ts.Fatalf("the service ended with %d:\n%s", s.service.code, b)
		}
		s.service = nil
	default:
		ts.Fatalf("service %s?", args[0])
	}
}

// codeCmd runs a program and wants an exit code: code 5 signet sync.
func codeCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, -1, "code N PROGRAM [ARG...]")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e := new(exec.ExitError); errors.As(err, &e) {
		got = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != n {
		ts.Fatalf("exit code %d, want %d", got, n)
	}
}

// spawnCmd starts a program beside the script: its output is in NAME.out and
// NAME.err.
func spawnCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, -1, "spawn NAME PROGRAM [ARG...]")
	s := storyOf(ts)
	s.spawned[args[0]] = s.start(ts, args[0], args[1:]...)
}

func signalCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "signal NAME INT|TERM|KILL")
	sig := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[1]]
	ts.Check(storyOf(ts).spawned[args[0]].cmd.Process.Signal(sig))
}

// endedCmd waits for a spawned program and wants its exit code.
func endedCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "ended NAME CODE")
	s := storyOf(ts)
	c := s.spawned[args[0]]
	if !c.wait() {
		ts.Fatalf("%s did not end", args[0])
	}
	delete(s.spawned, args[0])
	if strconv.Itoa(c.code) != args[1] {
		out, _ := os.ReadFile(filepath.Join(s.work, args[0]+".out"))
		errs, _ := os.ReadFile(filepath.Join(s.work, args[0]+".err"))
		ts.Fatalf("%s ended with %d, want %s\n%s%s", args[0], c.code, args[1], out, errs)
	}
}

// awaitCmd waits until a file is there (! await: is not), with text that a
// pattern matches if there is one; or until a command's output does.
func awaitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 2 && args[0] == "-run" {
		re := regexp.MustCompile("(?m)" + args[1])
		var last []byte
		if !poll(func() bool {
			cmd := exec.Command(args[2], args[3:]...)
			cmd.Env, cmd.Dir = environment(ts), ts.MkAbs(".")
			last, _ = cmd.CombinedOutput()
			return re.Match(last) != neg
		}) {
			ts.Fatalf("%v (!: %v) did not happen; last:\n%s", args, neg, last)
		}
		return
	}
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: [!] await FILE [PATTERN] | await -run PATTERN PROGRAM [ARG...]")
	}
	file := ts.MkAbs(args[0])
	var last []byte
	if !poll(func() bool {
		b, err := os.ReadFile(file)
		if info, e := os.Lstat(file); e == nil && !info.Mode().IsRegular() {
			err = nil
		}
		last = b
		ok := err == nil
		if ok && len(args) == 2 {
			ok = regexp.MustCompile("(?m)" + args[1]).Match(b)
		}
		return ok != neg
	}) {
		ts.Fatalf("%v (!: %v) did not happen; last:\n%s", args, neg, last)
	}
}

// lineCmd puts a line of a file (of the last output: stdout) into a variable.
func lineCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "line FILE N VARIABLE")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	lines := strings.Split(ts.ReadFile(args[0]), "\n")
	if n > len(lines) {
		ts.Fatalf("%s has %d lines", args[0], len(lines))
	}
	ts.Setenv(args[2], lines[n-1])
}

// wordCmd puts what a pattern's group finds in a file into a variable.
func wordCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "word FILE PATTERN VARIABLE")
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[0]))
	if len(m) != 2 {
		ts.Fatalf("%q is not in:\n%s", args[1], ts.ReadFile(args[0]))
	}
	ts.Setenv(args[2], m[1])
}

// linkCmd adds a device: link HOME NEWHOME NAME, by the link, both sides
// saying yes.
func linkCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "link HOME NEWHOME NAME")
	s := storyOf(ts)
	giver := s.start(ts, "link", "signet", "--home", args[0], "device", "add", "--yes")
	var url string
	if !poll(func() bool {
		b, _ := os.ReadFile(filepath.Join(s.work, "link.out"))
		first, _, ok := strings.Cut(string(b), "\n")
		url = first
		return ok
	}) {
		giver.kill()
		ts.Fatalf("no link")
	}
	err := ts.Exec("signet", "--home", args[1], "login", "--yes", "--device", args[2], url)
	if err != nil {
		giver.kill()
		ts.Fatalf("login: %v", err)
	}
	if !giver.wait() || giver.code != 0 {
		b, _ := os.ReadFile(filepath.Join(s.work, "link.err"))
		ts.Fatalf("device add: exit %d\n%s", giver.code, b)
	}
}

// sameCmd wants two folders to hold the same: names, types, modes, times,
// contents, targets.
func sameCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] same DIR DIR")
	}
	a, b := listing(ts, ts.MkAbs(args[0])), listing(ts, ts.MkAbs(args[1]))
	if bytes.Equal(a, b) == neg {
		ts.Fatalf("same: %v\n%s\n%s", !neg, a, b)
	}
}

// winnerCmd waits for two spawned programs, of which one wins: its output is
// winner.out, the other's error loser.err; $WINNER and $LOSER are their homes.
func winnerCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "winner A B")
	s := storyOf(ts)
	first, second := s.spawned[args[0]], s.spawned[args[1]]
	if !first.wait() || !second.wait() {
		ts.Fatalf("no end")
	}
	w, l := args[0], args[1]
	homes := []string{"one", "two"}
	if first.code != 0 {
		w, l = l, w
		slices.Reverse(homes)
	}
	if (first.code == 0) == (second.code == 0) {
		a, _ := os.ReadFile(filepath.Join(s.work, args[0]+".err"))
		b, _ := os.ReadFile(filepath.Join(s.work, args[1]+".err"))
		ts.Fatalf("exit codes %d and %d\n%s%s", first.code, second.code, a, b)
	}
	ts.Check(os.Rename(filepath.Join(s.work, w+".out"), filepath.Join(s.work, "winner.out")))
	ts.Check(os.Rename(filepath.Join(s.work, l+".err"), filepath.Join(s.work, "loser.err")))
	ts.Setenv("WINNER", homes[0])
	ts.Setenv("LOSER", homes[1])
}
