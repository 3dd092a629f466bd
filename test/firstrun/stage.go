//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A stage is a service and its devices in one folder, and the person who types.
type stage struct {
	root    string // the clone, absolute: commands are typed there
	dir     string // of this stage, relative to root
	out     io.Writer
	service *exec.Cmd
	ended   chan error // of the service
	step    int
}

func newStage(root, dir string) *stage { return &stage{root: root, dir: dir, out: os.Stdout} }

const (
	signet = "bin/signet"
	server = "bin/signet-server"
)

// home is the option that makes a command one of a device's.
func (s *stage) home(device string) []string {
	return []string{signet, "--home", filepath.Join(s.dir, device, "home")}
}

// device makes a command of a device.
func (s *stage) device(device string, args ...string) []string {
	return append(s.home(device), args...)
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// heading begins a step.
func (s *stage) heading(text string) {
	s.step++
	s.say("\n%d. %s", s.step, text)
}

// note says something about what is seen.
func (s *stage) note(format string, args ...any) { s.say("   "+format, args...) }

// show prints a command as it can be pasted into a terminal.
func (s *stage) show(line string) { s.say("   $ %s", line) }

// line quotes a command for a shell.
func line(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.ContainsAny(a, " \t\n'\"\\$&;|<>()*?[]#~`!{}") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// command prepares a command: in the clone, in a process group of its own (a
// Ctrl-C is for this program, which then stops the others in order), with
// nothing of the person's own Signet in its environment.
func (s *stage) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SIGNET_") && !strings.HasPrefix(e, "XDG_RUNTIME_DIR=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	if runtime.GOOS == "linux" { // where sockets never need a short path
		cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(s.root, s.dir, "tmp"))
	}
	return cmd
}

// run shows a command, runs it and returns what it printed, and its exit code.
func (s *stage) run(ctx context.Context, args ...string) (string, int, error) {
	s.show(line(args))
	return s.quietly(ctx, &indent{w: s.out}, args...)
}

// quietly runs a command and copies what it prints to w.
func (s *stage) quietly(ctx context.Context, w io.Writer, args ...string) (string, int, error) {
	var kept bytes.Buffer
	env := ""
	if name, value, ok := strings.Cut(args[0], "="); ok { // an assignment before a command
		env, args = name+"="+value, args[1:]
	}
	cmd := s.command(ctx, args...)
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	both := io.MultiWriter(&kept, w)
	cmd.Stdout, cmd.Stderr = both, both // one pipe: the order stays
	err := cmd.Run()
	if ctx.Err() != nil {
		return kept.String(), 0, errInterrupted
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return kept.String(), exit.ExitCode(), nil
	}
	return kept.String(), 0, err
}

// must is run of a command that is to succeed.
func (s *stage) must(ctx context.Context, args ...string) (string, error) {
	out, code, err := s.run(ctx, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d", line(args), code)
	}
	return out, err
}

// shell shows a line that a person would type at a shell, and runs it.
func (s *stage) shell(ctx context.Context, text string) error {
	s.show(text)
	out, code, err := s.quietly(ctx, io.Discard, "sh", "-c", text)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: %s", text, out)
	}
	return err
}

// serve starts the service and waits until it answers.
func (s *stage) serve(ctx context.Context, listen string) error {
	log, pid := filepath.Join(s.dir, "service.log"), filepath.Join(s.root, s.dir, "service.pid")
	args := []string{server, "serve", "--data", filepath.Join(s.dir, "service"), "--listen", listen, "--tls-self"}
	s.show(line(args) + " 2>" + log + " &")
	if err := os.MkdirAll(filepath.Join(s.root, s.dir, "tmp"), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.root, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := s.command(context.WithoutCancel(ctx), args...) // it is stopped last
	cmd.Stderr = f
	ready := make(chan string, 1)
	cmd.Stdout = io.MultiWriter(&indent{w: s.out}, firstLine(ready))
	if err := cmd.Start(); err != nil {
		return err
	}
	s.service, s.ended = cmd, make(chan error, 1)
	go func() { s.ended <- cmd.Wait() }()
	if err := os.WriteFile(pid, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case err := <-s.ended:
		s.service = nil
		text, _ := os.ReadFile(filepath.Join(s.root, log))
		return fmt.Errorf("the service ended at once (%v): %s", err, last(string(text)))
	case <-ctx.Done():
		return errInterrupted
	}
}

// last is the last lines of a log.
func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], "; ")
}

// stopWait bounds how long stopping takes.
const stopWait = 20 * time.Second

// stop ends the daemons, then the service. It is called however a run ends.
func (s *stage) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	err := s.downAll(ctx)
	if s.service == nil {
		return err
	}
	s.service.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-ctx.Done():
		s.service.Process.Kill()
		<-s.ended
		err = errors.Join(err, errors.New("the service did not end when asked to"))
	}
	s.service = nil
	return errors.Join(err, os.Remove(filepath.Join(s.root, s.dir, "service.pid")))
}

// downAll stops the daemons of all devices of this stage.
func (s *stage) downAll(ctx context.Context) error {
	homes, _ := filepath.Glob(filepath.Join(s.root, s.dir, "*", "home"))
	var errs []error
	for _, h := range homes {
		if out, code, err := s.quietly(ctx, io.Discard, signet, "--home", h, "down"); err != nil || code != 0 {
			errs = append(errs, fmt.Errorf("%s: down: %v %s", h, err, strings.TrimSpace(out)))
		}
	}
	return errors.Join(errs...)
}

// stopLeft ends what a run that was killed left at work in this stage.
func (s *stage) stopLeft() error {
	if _, err := os.Stat(filepath.Join(s.root, s.dir)); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if err := s.downAll(ctx); err != nil {
		return err
	}
	file := filepath.Join(s.root, s.dir, "service.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return os.Remove(file)
	}
	// The number may be another program's by now: it is ours only if it is a
	// service on this data.
	mine := func() bool {
		return strings.Contains(arguments(ctx, pid), server+" serve --data "+filepath.Join(s.dir, "service"))
	}
	for asked := false; mine(); asked = true {
		if !asked {
			syscall.Kill(pid, syscall.SIGTERM)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d, a service of an earlier run, does not end", pid)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return os.Remove(file)
}

// arguments are those of a process; none if it is not there.
func arguments(ctx context.Context, pid int) string {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// An indent shows what a command prints below it.
type indent struct {
	w   io.Writer
	mid bool // within a line
	mu  sync.Mutex
}

func (i *indent) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for l := range bytes.Lines(p) {
		if !i.mid {
			io.WriteString(i.w, "     ")
		}
		i.w.Write(l)
		i.mid = l[len(l)-1] != '\n'
	}
	return len(p), nil
}

// firstLine sends the first line that is written to it.
func firstLine(to chan<- string) io.Writer { return &first{to: to} }

type first struct {
	to   chan<- string
	have []byte
	sent bool
}

func (f *first) Write(p []byte) (int, error) {
	if f.sent {
		return len(p), nil
	}
	f.have = append(f.have, p...)
	if l, _, ok := bytes.Cut(f.have, []byte("\n")); ok {
		f.sent = true
		f.to <- string(l)
	}
	return len(p), nil
}
