//go:build linux

// Package slowline is a slow line for tests and the bench: two network
// namespaces, a cable between them that passes so many bits a second in each
// direction, and a proxy at its far end that adds a delay and counts. It needs
// root, and the programs ip, tc, unshare and nsenter.
package slowline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of a line's ends, each in a namespace of its own.
const (
	NearAddress = "10.78.0.2"
	FarAddress  = "10.78.0.1"
)

// A Line is a cable between two namespaces that nothing else has.
type Line struct {
	near, far *exec.Cmd
	listener  net.Listener

	// Upstream is where the proxy finds the service, from the namespace of
	// whoever opened the line; "": nobody is there.
	Upstream atomic.Pointer[string]
	Delay    time.Duration // that each byte takes more, in each direction
	Up, Down atomic.Int64  // bytes that came to and from the service
}

// Open makes a line of so many bits a second in each direction; 0: as fast as
// it goes.
func Open(bits int, delay time.Duration) (l *Line, err error) {
	for _, tool := range []string{"ip", "tc", "unshare", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("a slow line needs the program %s (on Debian: apt-get install iproute2 util-linux; scripts/deps does)", tool)
		}
	}
	if os.Getuid() != 0 {
		return nil, errors.New("a slow line is made of network namespaces, which only root may make: run this as root, or in a container whose root may (--cap-add SYS_ADMIN,NET_ADMIN)")
	}
	l = &Line{Delay: delay}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.near, err = namespace(); err != nil {
		return l, err
	}
	if l.far, err = namespace(); err != nil {
		return l, err
	}
	for _, words := range [][]string{
		append(l.Near(), "ip", "link", "set", "lo", "up"),
		append(l.Far(), "ip", "link", "set", "lo", "up"),
		append(l.Near(), "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(l.far.Process.Pid)),
		append(l.Near(), "ip", "addr", "add", NearAddress+"/30", "dev", "eth0"),
		append(l.Far(), "ip", "addr", "add", FarAddress+"/30", "dev", "eth0"),
	} {
		if err := run(words); err != nil {
			return l, err
		}
	}
	if err := l.Connect(); err != nil {
		return l, err
	}
	if bits > 0 {
		for _, end := range [][]string{l.Near(), l.Far()} {
			if err := run(append(end, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", strconv.Itoa(bits)+"bit", "burst", "16k", "latency", "100ms")); err != nil {
				return l, err
			}
		}
	}
	l.listener, err = l.listen()
	if err == nil {
		go l.accept()
	}
	return l, err
}

// namespace starts a process that does nothing, in a network of its own.
func namespace() (*exec.Cmd, error) {
	cmd := exec.Command("unshare", "-n", "sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return cmd, err
	}
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for range 2500 {
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)); err == nil && its != own {
			return cmd, nil
		}
		<-t.C
	}
	return cmd, errors.New("unshare makes no network namespace: it is not allowed here")
}

func run(words []string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// Near are the words before a command that is to run at the near end, where
// devices are.
func (l *Line) Near() []string { return enter(l.near) }

// Far are the words before a command at the far end: it reaches the service
// past the slow part.
func (l *Line) Far() []string { return enter(l.far) }

func enter(cmd *exec.Cmd) []string {
	return []string{"nsenter", "-n", "-t", strconv.Itoa(cmd.Process.Pid), "--"}
}

// Cut takes the near end off the network, as when a cable is pulled; Connect
// puts it back.
func (l *Line) Cut() error { return run(append(l.Near(), "ip", "link", "set", "eth0", "down")) }

// Connect brings both ends up.
func (l *Line) Connect() error {
	return errors.Join(run(append(l.Far(), "ip", "link", "set", "eth0", "up")), run(append(l.Near(), "ip", "link", "set", "eth0", "up")))
}

// Close ends both namespaces, and what was sent through.
func (l *Line) Close() {
	if l.listener != nil {
		l.listener.Close()
	}
	for _, c := range []*exec.Cmd{l.near, l.far} {
		if c != nil {
			c.Process.Kill()
			c.Wait()
		}
	}
}

// Addr is where devices find the proxy.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// listen opens a socket at the far end: it stays there, whoever uses it.
func (l *Line) listen() (net.Listener, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", l.far.Process.Pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	type opened struct {
		net.Listener
		error
	}
	done := make(chan opened)
	go func() {
		// The thread goes back to where it was: if it ended instead, so would
		// processes that it started.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- opened{nil, err}
			return
		}
		defer own.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- opened{nil, err}
			return
		}
		x, err := net.Listen("tcp", FarAddress+":0")
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			panic(back) // a thread in the wrong network would harm everybody
		}
		done <- opened{x, err}
	}()
	o := <-done
	return o.Listener, o.error
}

func (l *Line) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.serve(c)
	}
}

func (l *Line) serve(device net.Conn) {
	defer device.Close()
	to := l.Upstream.Load()
	if to == nil {
		return
	}
	service, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", *to)
	if err != nil {
		return
	}
	defer service.Close()
	near := strings.HasPrefix(device.RemoteAddr().String(), NearAddress+":")
	var up, down *atomic.Int64
	delay := time.Duration(0)
	if near {
		up, down, delay = &l.Up, &l.Down, l.Delay
	}
	var both sync.WaitGroup
	both.Go(func() { carry(service, device, up, delay) })
	both.Go(func() { carry(device, service, down, delay) })
	both.Wait()
}

// carry copies from one connection to the other, each byte after a delay. What
// is under way is bounded: where the reader is slow, the sender is too.
func carry(to, from net.Conn, count *atomic.Int64, delay time.Duration) {
	type part struct {
		b   []byte
		due time.Time
	}
	parts := make(chan part, 16)
	go func() {
		defer close(parts)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				if count != nil {
					count.Add(int64(n))
				}
				parts <- part{b[:n], time.Now().Add(delay)}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					to.Close()
				}
				return
			}
		}
	}()
	for p := range parts {
		if wait := time.Until(p.due); wait > 0 {
			<-time.After(wait)
		}
		if _, err := to.Write(p.b); err != nil {
			from.Close()
		}
	}
	if c, ok := to.(*net.TCPConn); ok {
		c.CloseWrite()
	}
}
