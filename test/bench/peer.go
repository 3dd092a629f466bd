package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A peer is a program that keeps folders in step.
type peer interface {
	name() string
	// open makes two empty folders below dir and whatever keeps them in step,
	// and returns once it does.
	open(ctx context.Context, dir string) (pair, error)
}

// A choosy peer is not in all workloads.
type choosy interface {
	fits(workload string) bool
}

// A keeper is a peer that can keep folder a alone: what is measured then is how
// long it takes until all of it is stored, sealed and durable.
type keeper interface {
	keep(ctx context.Context, dir string) (pair, error)
}

// storing is a pair of a keeper; store returns when all of a is stored.
type storing interface {
	store(ctx context.Context) error
}

// A pair is two folders, a and b, and the programs between them.
type pair interface {
	folders() (a, b string)
	// push carries what changed in a to b, for programs that do not run all
	// the time; the others return at once, they have begun already.
	push(ctx context.Context) error
	// settle returns when nothing is on its way.
	settle(ctx context.Context) error
	// start begins anew on a's side, after stop, and returns when that side
	// knows that nothing changed.
	stop(ctx context.Context) error
	start(ctx context.Context) error
	// usage is what the programs used so far, and fresh begins a new peak.
	usage() usage
	fresh()
	close()
}

// usage is what processes used.
type usage struct {
	cpu  time.Duration
	peak map[string]int64 // of the processes that run, bytes
}

// A process is a program that runs beside the bench.
type process struct {
	role string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// launch starts a program; what it says goes to a file of its role.
func launch(dir, role string, env []string, name string, args ...string) (*process, error) {
	p := &process{role: role, log: filepath.Join(dir, role+".log"), done: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd = exec.Command(name, args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(os.Environ(), env...), f, f
	// Whatever happens to the bench, it leaves nothing running.
	p.cmd.SysProcAttr = orphans()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	return p, nil
}

// says waits until the process has written a text since an offset.
func (p *process) says(ctx context.Context, text string, from int64) error {
	return until(ctx, 2*time.Millisecond, func() (bool, error) {
		select {
		case <-p.done:
			b, _ := os.ReadFile(p.log)
			return false, fmt.Errorf("%s ended: %s", p.role, tail(b))
		default:
		}
		b, err := os.ReadFile(p.log)
		return err == nil && int64(len(b)) >= from && bytes.Contains(b[from:], []byte(text)), nil
	})
}

func tail(b []byte) string {
	if len(b) > 600 {
		b = b[len(b)-600:]
	}
	return strings.TrimSpace(string(b))
}

// end stops a process, by force after a while.
func (p *process) end() {
	if p == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(2 * time.Minute) // a million files take a while to be put down
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.cmd.Process.Kill()
		<-p.done
	}
}

// cpu is what a process has used, finished or not.
func (p *process) cpu() time.Duration {
	select {
	case <-p.done:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return 0
	}
	ticks := int64(0)
	for _, v := range f[11:15] { // user and system, its own and of children that ended
		n, _ := strconv.ParseInt(v, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peak is the largest resident size since fresh, in bytes.
func (p *process) peak() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, rest, ok := bytes.Cut(b, []byte("VmHWM:"))
	if f := strings.Fields(string(rest)); ok && len(f) > 0 {
		kib, _ := strconv.ParseInt(f[0], 10, 64)
		return kib << 10
	}
	return 0
}

func (p *process) fresh() {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// group is the processes of a pair, with what finished ones used.
type group struct {
	running []*process
	spent   time.Duration
}

func (g *group) add(p *process) { g.running = append(g.running, p) }

func (g *group) drop(p *process) {
	for i, q := range g.running {
		if p == q {
			g.running = append(g.running[:i:i], g.running[i+1:]...)
			p.end()
			g.spent += p.cpu()
		}
	}
}

func (g *group) usage() usage {
	u := usage{cpu: g.spent, peak: map[string]int64{}}
	for _, p := range g.running {
		u.cpu += p.cpu()
		u.peak[p.role] = p.peak()
	}
	return u
}

func (g *group) fresh() {
	for _, p := range g.running {
		p.fresh()
	}
}

// close ends all, the last begun first.
func (g *group) close() {
	for i := len(g.running) - 1; i >= 0; i-- {
		g.running[i].end()
	}
	g.running = nil
}

// run runs a command to its end and returns what it wrote.
func (g *group) run(ctx context.Context, env []string, in, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if cmd.ProcessState != nil {
		g.spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, tail(errs.Bytes()))
	}
	return string(out), nil
}

// until asks again and again, at most once in a step.
func until(ctx context.Context, step time.Duration, ok func() (bool, error)) error {
	t := time.NewTicker(step)
	defer t.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("did not happen in time: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// freePort is a port of the loopback address that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// loopback is how many bytes went over the loopback interface of this network
// namespace, and ok whether it is ours alone.
func loopback() (n int64, ok bool) {
	b, err := os.ReadFile("/proc/self/net/dev")
	if err != nil || os.Getenv(ownNet) == "" {
		return 0, false
	}
	_, rest, found := bytes.Cut(b, []byte("lo:"))
	f := strings.Fields(string(rest))
	if !found || len(f) == 0 {
		return 0, false
	}
	n, err = strconv.ParseInt(f[0], 10, 64)
	return n, err == nil
}

// flush makes a file system durable, as a peer that does not do so by itself
// has to.
func flush(ctx context.Context, dir string) error {
	out, err := exec.CommandContext(ctx, "sync", "-f", dir).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("sync -f: %s", tail(out)), err)
	}
	return nil
}
