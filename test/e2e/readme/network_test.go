//go:build linux

package readme

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// A machine is a network namespace with a home folder: what runs in it reaches
// other machines through its cable and nothing else.
type machine struct {
	name, ns, home string
	bin            string
}

// Under nohup, what is started here would ignore that its terminal goes away,
// and the terminal would never end: a signal that is caught is a child's by
// default again.
func TestMain(m *testing.M) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// machines makes some: the first, a server, has a cable to each of the others.
// All that is made goes when the test ends.
func machines(t *testing.T, bin string, names ...string) []*machine {
	t.Helper()
	for _, tool := range []string{"ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs the program %s (on Debian: apt-get install iproute2 util-linux; scripts/deps does)", tool)
		}
	}
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces, which only root may: run it as root, or in a container whose root may (--cap-add SYS_ADMIN,NET_ADMIN)")
	}
	one := func(name string) *machine {
		m := &machine{name: name, ns: fmt.Sprintf("signet-%d-%s", os.Getpid(), name), home: t.TempDir(), bin: bin}
		if out, err := exec.Command("ip", "netns", "add", m.ns).CombinedOutput(); err != nil {
			t.Fatalf("this test makes network namespaces, which is not allowed here: %v: %s", err, out)
		}
		t.Cleanup(func() { m.remove(t) })
		m.ip(t, "link", "set", "lo", "up")
		return m
	}
	all := []*machine{one(names[0])}
	for i, name := range names[1:] {
		m := one(name)
		all[0].cable(t, m, fmt.Sprintf("10.77.%d.1", i+1), fmt.Sprintf("10.77.%d.2", i+1))
		all = append(all, m)
	}
	return all
}

// address is the one under which all devices reach the server.
const address = "10.77.1.1"

// ip configures the machine's network.
func (m *machine) ip(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"-n", m.ns}, args...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// cable joins two machines; the other one sends everything through it.
func (m *machine) cable(t *testing.T, other *machine, mine, theirs string) {
	t.Helper()
	m.ip(t, "link", "add", "to-"+other.name, "type", "veth", "peer", "name", "eth0", "netns", other.ns)
	m.ip(t, "addr", "add", mine+"/30", "dev", "to-"+other.name)
	m.ip(t, "link", "set", "to-"+other.name, "up")
	other.ip(t, "addr", "add", theirs+"/30", "dev", "eth0")
	other.ip(t, "link", "set", "eth0", "up")
	other.ip(t, "route", "add", "default", "via", mine)
}

// remove ends what runs in the machine, and takes it away.
func (m *machine) remove(t *testing.T) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		out, err := exec.Command("ip", "netns", "pids", m.ns).Output()
		pids := strings.Fields(string(out))
		if err != nil || len(pids) == 0 || time.Now().After(deadline) {
			break
		}
		for _, p := range pids {
			if pid, err := strconv.Atoi(p); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	if out, err := exec.Command("ip", "netns", "del", m.ns).CombinedOutput(); err != nil {
		t.Errorf("ip netns del %s: %v: %s", m.ns, err, out)
	}
}

// A terminal is a window on a machine with a shell in it, and a person before
// it who types and reads.
type terminal struct {
	t     *testing.T
	m     *machine
	tty   *os.File
	mu    sync.Mutex
	text  string // all that was shown; with mu
	read  int    // how far the person has read
	typed []string
}

// open opens a terminal on a machine.
func (m *machine) open(t *testing.T) *terminal {
	t.Helper()
	// Each machine has a name of its own, which is what devices are called.
	cmd := exec.Command("ip", "netns", "exec", m.ns, "unshare", "--uts", "sh", "-c", "hostname "+m.name+" && cd && exec sh -i")
	cmd.Env = []string{"HOME=" + m.home, "PATH=" + m.bin + ":" + os.Getenv("PATH"), "TERM=xterm", "PS1=[$?] " + m.name + "$ ", "TMPDIR=" + t.TempDir(), "LANG=C.UTF-8"}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	w := &terminal{t: t, m: m, tty: tty}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			w.mu.Lock()
			w.text += string(b[:n])
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		tty.Close()
		<-ended
		if t.Failed() {
			t.Logf("the terminal of %s:\n%s", m.name, w.text)
		}
	})
	w.prompt()
	return w
}

// patience is how long anything may take.
const patience = 60 * time.Second

// shows waits until something is to be read, and returns its groups.
func (w *terminal) shows(pattern string) []string {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		w.mu.Lock()
		at := re.FindStringSubmatchIndex(w.text[w.read:])
		if at != nil {
			groups := re.FindStringSubmatch(w.text[w.read:])
			w.read += at[1]
			w.mu.Unlock()
			return groups
		}
		w.mu.Unlock()
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: nothing like %q comes", w.m.name, pattern)
		}
	}
}

// prompt waits until the shell asks for the next line, and returns the exit
// code of the last one and all that was shown since the last reading.
func (w *terminal) prompt() (code int, shown string) {
	w.t.Helper()
	from := w.read
	m := w.shows(`\[(\d+)\] ` + w.m.name + `\$ `)
	code, _ = strconv.Atoi(m[1])
	return code, strings.ReplaceAll(w.all()[from:w.read], "\r\n", "\n")
}

// all is what was shown since the terminal was opened.
func (w *terminal) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text
}

// types types a line and Enter.
func (w *terminal) types(line string) {
	w.t.Helper()
	w.typed = append(w.typed, line)
	if _, err := w.tty.WriteString(line + "\n"); err != nil {
		w.t.Fatal(err)
	}
}

// does types a line that has to succeed, and returns what it showed.
func (w *terminal) does(line string) string {
	w.t.Helper()
	w.types(line)
	code, shown := w.prompt()
	if code != 0 {
		w.t.Fatalf("%s: %s: exit code %d", w.m.name, line, code)
	}
	return shown
}

// interrupt presses Ctrl-C.
func (w *terminal) interrupt() { w.tty.Write([]byte{3}) }

// documents fills ~/Documents.
func (m *machine) documents(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(m.home, "Documents")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
