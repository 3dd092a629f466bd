package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// signetPeer is Signet: a service and two devices with daemons, over TLS 1.3
// on loopback. Both sides make what they take durable by themselves.
type signetPeer struct {
	bin string // where signet and signet-server are
}

func (signetPeer) name() string { return "signet" }

type signetPair struct {
	group
	bin, dir string
	daemon   map[string]*process
	in       map[string][]string // by device: words before its commands
}

// keyless keeps the devices' keys in files: a bench asks no keyring.
var keyless = []string{"SIGNET_KEYRING=off"}

func (s signetPeer) open(ctx context.Context, dir string) (pair, error) {
	return s.begin(ctx, dir, "a", "b")
}

// keep implements keeper: a service and one device.
func (s signetPeer) keep(ctx context.Context, dir string) (pair, error) {
	return s.begin(ctx, dir, "a")
}

func (s signetPeer) begin(ctx context.Context, dir string, devices ...string) (_ pair, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	p := &signetPair{bin: s.bin, dir: dir, daemon: map[string]*process{}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := p.serve(ctx, "", nil, devices...); err != nil {
		return nil, err
	}
	for _, d := range devices {
		if _, err := p.signet(ctx, d, "", "add", filepath.Join(dir, d), "--region", "Bench"); err != nil {
			return nil, err
		}
		if err := p.begin(ctx, d); err != nil {
			return nil, err
		}
	}
	return p, p.settle(ctx)
}

// serve starts the service and enrols one or two devices, whose folders it makes.
// Where they find it under another address than its own, at is told that one.
func (p *signetPair) serve(ctx context.Context, public string, at func(string), devices ...string) error {
	for _, d := range devices {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o755); err != nil {
			return err
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	data, address := filepath.Join(p.dir, "service"), fmt.Sprintf("127.0.0.1:%d", port)
	if public == "" {
		public = address
	} else {
		at(address)
	}
	server, err := launch(p.dir, "service-of-signet", keyless, filepath.Join(p.bin, "signet-server"), "serve", "--data", data,
		"--listen", address, "--public-url", "https://"+public, "--tls-self")
	if err != nil {
		return err
	}
	server.role = "service"
	p.add(server)
	if err := server.says(ctx, "listening", 0); err != nil {
		return err
	}
	url, err := p.run(ctx, keyless, "", filepath.Join(p.bin, "signet-server"), "invite", "--data", data, "bench")
	if err != nil {
		return err
	}
	if _, err := p.signet(ctx, "a", "", "login", strings.TrimSpace(url), "--yes", "--device", "a"); err != nil {
		return err
	}
	if len(devices) == 1 {
		return nil
	}
	return p.link(ctx)
}

// words are a command of a device's program.
func (p *signetPair) words(home string, args ...string) []string {
	w := append(append([]string(nil), p.in[home]...), filepath.Join(p.bin, "signet"), "--home", p.home(home))
	return append(w, args...)
}

// signet runs one command in a home.
func (p *signetPair) signet(ctx context.Context, home, in string, args ...string) (string, error) {
	w := p.words(home, args...)
	return p.run(ctx, keyless, in, w[0], w[1:]...)
}

func (p *signetPair) home(name string) string { return filepath.Join(p.dir, "home-"+name) }

// link makes the second device, as a person does with two terminals.
func (p *signetPair) link(ctx context.Context) error {
	w := p.words("a", "--json", "device", "add", "--yes")
	cmd := exec.CommandContext(ctx, w[0], w[1:]...)
	cmd.Env = append(os.Environ(), keyless...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	var l struct{ URL string }
	if err == nil {
		err = json.Unmarshal([]byte(line), &l)
	}
	if err == nil {
		_, err = p.signet(ctx, "b", l.URL+"\n", "login", "-", "--yes", "--device", "b")
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	for _, err = r.ReadString('\n'); err == nil; _, err = r.ReadString('\n') {
	}
	return cmd.Wait()
}

// begin starts a daemon.
func (p *signetPair) begin(ctx context.Context, name string) error {
	old, _ := os.ReadFile(filepath.Join(p.dir, "device-"+name+".log"))
	w := p.words(name, "daemon")
	d, err := launch(p.dir, "device-"+name, keyless, w[0], w[1:]...)
	if err != nil {
		return err
	}
	p.daemon[name] = d
	p.add(d)
	return d.says(ctx, "daemon ready", int64(len(old)))
}

func (p *signetPair) folders() (string, string) {
	return filepath.Join(p.dir, "a"), filepath.Join(p.dir, "b")
}

func (p *signetPair) push(context.Context) error { return nil }

func (p *signetPair) settle(ctx context.Context) error {
	if len(p.daemon) == 1 {
		return p.store(ctx)
	}
	for _, d := range []string{"a", "b", "a"} {
		if _, err := p.signet(ctx, d, "", "wait"); err != nil {
			return err
		}
	}
	return nil
}

// store implements storing.
func (p *signetPair) store(ctx context.Context) error {
	_, err := p.signet(ctx, "a", "", "--timeout", "20m", "wait")
	return err
}

func (p *signetPair) stop(context.Context) error {
	p.drop(p.daemon["a"])
	return nil
}

func (p *signetPair) start(ctx context.Context) error {
	if err := p.begin(ctx, "a"); err != nil {
		return err
	}
	_, err := p.signet(ctx, "a", "", "wait")
	return err
}
