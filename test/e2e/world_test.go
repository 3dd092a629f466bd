package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A world is a service behind a proxy, and devices of one member.
type world struct {
	*proxy
	t       *testing.T
	dir     string
	public  string // the service's address
	service *process
	devices []*device
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldBehind(t, "")
}

// newWorldBehind is a world whose devices find the service at an address of the
// test's, which leads to the proxy's upstream; "": at the proxy.
func newWorldBehind(t *testing.T, public string) *world {
	t.Helper()
	w := &world{proxy: newProxy(t), t: t, dir: t.TempDir(), public: public}
	if public == "" {
		w.public = w.addr()
	}
	// t.TempDir is closed to others; a device may run as another user.
	if err := os.Chmod(filepath.Dir(w.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	w.start()
	return w
}

func (w *world) data() string { return filepath.Join(w.dir, "service") }

// start starts the service, on a port of its own each time.
func (w *world) start() {
	w.t.Helper()
	// The address that the service prints is the proxy's; where it listens it
	// gets told.
	l := listenAddress(w.t)
	cmd := exec.Command(programs.service, "serve", "--data", w.data(), "--listen", l,
		"--public-url", "https://"+w.public, "--tls-self")
	p, line := startProcess(w.t, cmd, filepath.Join(w.dir, "service.log"))
	if !strings.HasPrefix(line, "listening on ") {
		w.t.Fatalf("the service says %q\n%s", line, p.words())
	}
	w.service = p
	w.upstream.Store(&l)
}

// listenAddress is a free address: of two that want it at once one fails
// loudly.
func listenAddress(t *testing.T) string {
	t.Helper()
	l, err := netListen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// stop ends the service as an administrator does.
func (w *world) stop() {
	w.t.Helper()
	w.upstream.Store(nil)
	if err := w.service.end(syscall.SIGTERM); err != nil {
		w.t.Fatalf("service: %v\n%s", err, w.service.words())
	}
}

// check runs signet-server check.
func (w *world) check() {
	w.t.Helper()
	out, err := exec.Command(programs.service, "check", "--data", w.data()).CombinedOutput()
	if err != nil {
		w.t.Errorf("signet-server check: %v\n%s", err, out)
	}
}

// A process is a program that runs until it is told otherwise.
type process struct {
	*exec.Cmd
	log   string
	ended chan struct{}
	err   error
}

// startProcess starts cmd with stderr going to a file, and returns the first
// line of its stdout.
func startProcess(t *testing.T, cmd *exec.Cmd, log string) (*process, string) {
	t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stderr = f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, log: log, ended: make(chan struct{})}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	r := bufio.NewReader(out)
	line, _ := r.ReadString('\n')
	go func() {
		r.WriteTo(nowhere{})
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, strings.TrimSpace(line)
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// end sends a signal and waits; the error is that of the process.
func (p *process) end(s syscall.Signal) error {
	p.Process.Signal(s)
	<-p.ended
	return p.err
}

func (p *process) words() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-4000):])
}

// A device is a home, and usually one volume.
type device struct {
	t         *testing.T
	w         *world
	name      string
	home, dir string
	inside    []string            // words before each command: how it gets where the volume is
	user      *syscall.Credential // who runs it; nil: who runs the test
	daemon    *process
}

// device enrols the next device of the member. Its folder is made, and not
// added yet.
func (w *world) device(name string) *device {
	w.t.Helper()
	return w.enrol(name, nil, nil)
}

func (w *world) deviceOf(name string, user *syscall.Credential) *device {
	w.t.Helper()
	return w.enrol(name, user, nil)
}

// deviceIn is a device whose commands run behind some words.
func (w *world) deviceIn(name string, inside []string) *device {
	w.t.Helper()
	return w.enrol(name, nil, inside)
}

func (w *world) enrol(name string, user *syscall.Credential, inside []string) *device {
	w.t.Helper()
	base := filepath.Join(w.dir, name)
	d := &device{t: w.t, w: w, name: name, home: filepath.Join(base, "home"), dir: filepath.Join(base, "folder"), user: user, inside: inside}
	for _, dir := range []string{base, d.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
		if user != nil {
			if err := os.Chown(dir, int(user.Uid), int(user.Gid)); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if len(w.devices) == 0 {
		out, err := exec.Command(programs.service, "invite", "--data", w.data(), "anna").Output()
		if err != nil {
			w.t.Fatalf("invite: %v", err)
		}
		d.run("login", strings.TrimSpace(string(out)), "--yes", "--device", name)
	} else {
		first := w.devices[0]
		adding, line := startProcess(w.t, first.command("device", "add", "--yes", "--json"), filepath.Join(w.dir, "add-"+name+".log"))
		var link struct{ URL string }
		if err := json.Unmarshal([]byte(line), &link); err != nil || link.URL == "" {
			w.t.Fatalf("device add says %q: %v\n%s", line, err, adding.words())
		}
		if r := d.try(link.URL+"\n", "login", "-", "--yes", "--device", name); r.code != 0 {
			w.t.Fatalf("login: exit %d\n%s", r.code, r.stderr)
		}
		<-adding.ended
		if adding.err != nil {
			w.t.Fatalf("device add: %v\n%s", adding.err, adding.words())
		}
	}
	w.devices = append(w.devices, d)
	return d
}

// command makes a command of the device's program.
func (d *device) command(args ...string) *exec.Cmd {
	all := append(append([]string(nil), d.inside...), programs.device, "--home", d.home)
	all = append(all, args...)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Env = append(os.Environ(), "SIGNET_KEYRING=off", "NO_COLOR=1")
	cmd.Dir = d.w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: d.user}
	if d.user != nil {
		cmd.Env = append(cmd.Env, "HOME="+filepath.Dir(d.home))
	}
	return cmd
}

// A result is what a command left behind.
type result struct {
	stdout, stderr string
	code           int
	wall, cpu      time.Duration
	rss            int64 // peak, in bytes
}

// commandTime is more than any command here may take.
const commandTime = 4 * time.Minute

// try runs a command with some text on stdin.
func (d *device) try(stdin string, args ...string) result {
	d.t.Helper()
	cmd := d.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), commandTime)
	defer cancel()
	var peak atomic.Int64
	watched := make(chan struct{})
	ended := make(chan struct{})
	go func() { defer close(watched); watchMemory(cmd.Process.Pid, &peak, ended) }()
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	stop()
	close(ended)
	<-watched
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("signet %s: %v", strings.Join(args, " "), err)
	}
	s := cmd.ProcessState
	return result{out.String(), errs.String(), s.ExitCode(), time.Since(start), s.UserTime() + s.SystemTime(), peak.Load()}
}

// watchMemory notes a process's peak memory until it ends.
func watchMemory(pid int, peak *atomic.Int64, ended chan struct{}) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if n := peakMemory(pid); n > peak.Load() {
			peak.Store(n)
		}
		select {
		case <-ended:
			return
		case <-t.C:
		}
	}
}

// peakMemory is VmHWM in bytes; 0 where the process is gone.
func peakMemory(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// run runs a command that must end well.
func (d *device) run(args ...string) result {
	d.t.Helper()
	r := d.try("", args...)
	if r.code != 0 {
		d.t.Fatalf("%s: signet %s: exit %d\n%s%s", d.name, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// fails runs a command that must end with a code and, if not "", a kind.
func (d *device) fails(code int, kind string, args ...string) fault {
	d.t.Helper()
	r := d.try("", append([]string{"--json"}, args...)...)
	f := r.fault()
	if r.code != code || kind != "" && f.Kind != kind {
		d.t.Errorf("%s: signet %s: exit %d, kind %q, want %d %q\n%s%s", d.name, strings.Join(args, " "), r.code, f.Kind, code, kind, r.stdout, r.stderr)
	}
	if f.Message == "" {
		d.t.Errorf("%s: signet %s: no message: %s", d.name, strings.Join(args, " "), r.stderr)
	}
	return f
}

// A fault is a failure as --json tells it.
type fault struct{ Kind, Message, Hint string }

func (r result) fault() (f fault) {
	for line := range strings.Lines(r.stderr) {
		var e struct{ Error fault }
		if json.Unmarshal([]byte(line), &e) == nil && e.Error.Kind != "" {
			f = e.Error
		}
	}
	return f
}

// counters are those of the command line's contract.
type counters struct {
	FilesUp     int64 `json:"files_up"`
	FilesDown   int64 `json:"files_down"`
	BytesUp     int64 `json:"bytes_up"`
	BytesDown   int64 `json:"bytes_down"`
	ObjectsUp   int64 `json:"objects_up"`
	ObjectsDown int64 `json:"objects_down"`
	Entries     int64 `json:"entries"`
	Moves       int64 `json:"moves"`
	Deletes     int64 `json:"deletes"`
	Conflicts   int64 `json:"conflicts"`
}

type volume struct {
	Path, Region, State, Reason, Hint string
	Files                             int64
	HeldDeletes                       int `json:"held_deletes"`
	Conflicts                         int
	Problems                          []struct {
		Path, Kind, Message string
		PathB64             []byte `json:"path_b64"`
	}
	Counters counters
}

// synced runs sync, which must end with a code, and returns what it did in
// each volume.
func (d *device) synced(code int) (vs []volume, r result) {
	d.t.Helper()
	r = d.try("", "--json", "sync")
	if r.code != code {
		d.t.Fatalf("%s: signet sync: exit %d, want %d\n%s%s", d.name, r.code, code, r.stdout, r.stderr)
	}
	var s struct{ Volumes []volume }
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
			d.t.Fatalf("%s: signet sync says %q: %v", d.name, r.stdout, err)
		}
	}
	return s.Volumes, r
}

// sync brings the device's only volume in step.
func (d *device) sync() counters {
	d.t.Helper()
	vs, _ := d.synced(0)
	return vs[0].Counters
}

// quiet says that nothing is left to do for any of the devices.
func quiet(t *testing.T, ds ...*device) {
	t.Helper()
	for _, d := range ds {
		vs, _ := d.synced(0)
		for _, v := range vs {
			if v.Counters != (counters{}) {
				t.Errorf("%s: another sync of %s did %+v", d.name, v.Region, v.Counters)
			}
		}
	}
}

// add keeps the device's folder in step with the region Docs.
func (d *device) add() { d.t.Helper(); d.run("add", d.dir, "--region", "Docs") }

func (d *device) status() (vs []volume) {
	d.t.Helper()
	var s struct{ Volumes []volume }
	r := d.run("--json", "status")
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		d.t.Fatalf("%s: status: %v", d.name, err)
	}
	return s.Volumes
}

// A line is what status says of a device's line.
type line struct{ Up lineWay }

type lineWay struct {
	Limit   int64
	Rate    float64
	Saved   int64 `json:"bytes_saved"`
	Small   int64 `json:"bytes_small"`
	Next    int64 `json:"bytes_next"`
	Largest int64 `json:"bytes_largest"`
}

func (d *device) line() line {
	d.t.Helper()
	var s struct{ Line line }
	r := d.run("--json", "status")
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		d.t.Fatalf("%s: status: %v", d.name, err)
	}
	return s.Line
}

// up starts the device's daemon in the foreground of a process of the test's.
func (d *device) up() {
	d.t.Helper()
	cmd := d.command("daemon")
	log, err := os.OpenFile(filepath.Join(d.w.dir, d.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	p := &process{Cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.ended) }()
	d.t.Cleanup(func() { p.end(syscall.SIGKILL) })
	d.daemon = p
}

// ready waits until the daemon answers.
func (d *device) ready() {
	d.t.Helper()
	var last result
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(last.stdout, `"daemon":true`) {
		select {
		case <-d.daemon.ended:
			d.t.Fatalf("the daemon of %s ended: %v\n%s", d.name, d.daemon.err, d.daemon.words())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			d.daemon.end(syscall.SIGQUIT) // it says what it was doing
			b, _ := os.ReadFile(d.daemon.log)
			d.t.Fatalf("the daemon of %s does not answer: %s%s\n%s", d.name, last.stdout, last.stderr, b)
		}
		if _, err := os.Stat(filepath.Join(d.home, "control.sock")); err == nil {
			last = d.try("", "--json", "--timeout", "5s", "status")
		}
	}
}

// down stops the device's daemon.
func (d *device) down() {
	d.t.Helper()
	d.run("down")
	<-d.daemon.ended
	if d.daemon.err != nil {
		d.t.Errorf("daemon of %s: %v\n%s", d.name, d.daemon.err, d.daemon.words())
	}
	d.daemon = nil
}

// kill kills the device's daemon as a power cut does.
func (d *device) kill() { d.daemon.end(syscall.SIGKILL); d.daemon = nil }

// wait waits until daemons say that all is in step, twice round: what the last
// sends, the first may still have to fetch.
func wait(t *testing.T, ds ...*device) {
	t.Helper()
	for range 2 {
		for _, d := range ds {
			// In step with conflict copies, or two files of one name, is in step: who
			// makes them looks at them.
			r := d.try("", "--json", "--timeout", "120s", "wait")
			if kind := r.fault().Kind; r.code != 0 && kind != "conflicts" && kind != "alias" {
				t.Fatalf("%s: wait: exit %d\n%s%s", d.name, r.code, r.stdout, r.stderr)
			}
		}
	}
}

// until polls a condition.
func until(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(most)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", most, what)
		}
		<-tick.C
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
