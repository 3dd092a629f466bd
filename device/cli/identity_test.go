package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/owner"
	"signet/service"
	"signet/transport"
)

// serve starts a service and returns a maker of invitations.
func serve(t *testing.T) (url string, invite func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	logKey, _ := key.Generate()
	connector, _ := key.Generate()
	record := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: connector.Public()}
	s, err := service.Open(service.Config{Data: dir, Key: logKey, Connector: record, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	cert, pin, err := transport.SelfSigned(dir, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url = "https://" + l.Addr().String()
	if err := s.SetAddress(url, pin[:]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}},
			transport.NewHandler(s, transport.Limits{Drain: time.Second, PublicRate: 1e6}, slog.New(slog.DiscardHandler)))
	}()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	v := &service.Inviter{Data: dir, LogKey: logKey.Public(), Connector: connector, Device: record, Clock: time.Now}
	return url, func(name string) string {
		t.Helper()
		i, err := v.Invite(name)
		if err != nil {
			t.Fatal(err)
		}
		return i.URL
	}
}

// machine is a home with which command lines are run.
type machine struct {
	t    *testing.T
	home string
}

func newMachine(t *testing.T) machine {
	t.Setenv("SIGNET_KEYRING", "off")
	return machine{t, filepath.Join(t.TempDir(), "home")}
}

func (m machine) with(stdin string, who *person, args ...string) run {
	m.t.Helper()
	a, out, errOut := tester(m.t, stdin, who)
	a.methods, a.now = openMethods, time.Now
	code := a.run(m.t.Context(), append([]string{"--home", m.home}, args...))
	return run{out.String(), errOut.String(), code}
}

func (m machine) do(args ...string) run { m.t.Helper(); return m.with("", nil, args...) }

// ok runs a command line that must succeed and returns its stdout.
func (m machine) ok(args ...string) string {
	m.t.Helper()
	r := m.do(args...)
	if r.code != 0 {
		m.t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// link runs device add on m until the newcomer's command line has ended.
func (m machine) link(newcomer func(e event) run) (run, []event, run) {
	m.t.Helper()
	a, _, errOut := tester(m.t, "", nil)
	a.methods, a.now = openMethods, time.Now
	r, w := io.Pipe()
	a.stdout = w
	code := make(chan int, 1)
	go func() {
		code <- a.run(m.t.Context(), []string{"--home", m.home, "device", "add", "--json", "--yes"})
		w.Close()
	}()
	var events []event
	var second run
	lines := bufio.NewScanner(r)
	came := make(chan run, 1)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			m.t.Fatalf("%s: %v", lines.Text(), err)
		}
		events = append(events, e)
		if e.Event == "link" {
			go func() { came <- newcomer(e) }()
		}
	}
	giver := run{"", errOut.String(), <-code}
	if len(events) > 0 {
		second = <-came
	}
	return giver, events, second
}

func TestIdentityCommandsEndToEnd(t *testing.T) {
	url, invite := serve(t)
	one, two, three, four := newMachine(t), newMachine(t), newMachine(t), newMachine(t)

	if r := one.do("device", "list"); r.code != control.NotAllowed || !strings.Contains(r.err, "hint: signet login LINK") {
		t.Fatalf("before login: %+v", r)
	}
	first := invite("alice")
	if r := one.do("login", first); r.code != control.Usage || !strings.Contains(r.err, "--yes") {
		t.Fatalf("nobody to ask: %+v", r)
	}
	who := &person{Reader: strings.NewReader("y\n")}
	if r := one.with("", who, "login", first, "--device", "desktop"); r.code != 0 || !strings.Contains(r.out, "org_") || !strings.Contains(r.err, "signet add") {
		t.Fatalf("login: %+v", r)
	}
	if r := two.do("login", first, "--yes"); r.code != control.NotAllowed || !strings.Contains(r.err, "hint:") {
		t.Fatalf("the same invitation again: %+v", r)
	}

	giver, events, second := one.link(func(e event) run { return two.with(e.URL+"\n", nil, "login", "-", "--device", "laptop", "--yes") })
	if giver.code != 0 || second.code != 0 || len(events) != 3 || events[1].Name != "laptop" || events[2].Event != "added" ||
		!strings.Contains(second.err, events[1].Code) {
		t.Fatalf("link: %+v %+v %+v", giver, events, second)
	}
	giver, _, second = one.link(func(e event) run {
		return three.with(strings.ToUpper(e.Words)+"\n", nil, "login", "--service", url, "-", "--device", "phone", "--yes", "--json")
	})
	if giver.code != 0 || second.code != 0 || !strings.Contains(second.out, `"how":"linked"`) {
		t.Fatalf("words: %+v %+v", giver, second)
	}

	one.ok("device", "rename", "laptop", "old \x1blaptop")
	if out := two.ok("device", "list"); !strings.Contains(out, `old \x1blaptop`) || !strings.Contains(out, "this device") {
		t.Errorf("list:\n%s", out)
	}
	one.ok("device", "revoke", "phone", "--dry-run")
	two.ok("device", "revoke", "phone")
	if r := three.do("device", "list"); r.code != control.NotAllowed {
		t.Errorf("a revoked device lists: %+v", r)
	}
	if r := one.do("device", "revoke", "phone"); r.code != control.Failed {
		t.Errorf("revoked twice: %+v", r)
	}
	if r := one.do("device", "revoke", "desktop"); r.code != control.Usage || !strings.Contains(r.err, "logout --revoke") {
		t.Errorf("revoking oneself: %+v", r)
	}

	kit := filepath.Join(t.TempDir(), "kit.txt")
	one.ok("recovery", "new", "--to", kit)
	if r := one.do("recovery", "new", "--to", kit); r.code != control.Usage {
		t.Errorf("over a kit that is there: %+v", r)
	}
	if info, err := os.Stat(kit); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kit: %v, %v", info, err)
	}
	four.ok("recovery", "test", "--from", kit)
	two.ok("logout", "--revoke")
	one.ok("logout")
	four.ok("login", "--recovery-file", kit, "--device", "new")
	var list []struct {
		Name, State, ID string
		This, Prime     bool
	}
	if err := json.Unmarshal([]byte(four.ok("device", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, d := range list {
		states[d.Name] = d.State
	}
	for name, want := range map[string]string{"desktop": "active", "old \x1blaptop": "revoked", "phone": "revoked", "new": "active"} {
		if states[name] != want {
			t.Errorf("%q is %q, want %q", name, states[name], want)
		}
	}
	four.ok("device", "revoke", "desktop")

	// A member whom the service's host admitted, as the owner allowed.
	bob := newMachine(t)
	if out := bob.ok("login", invite("bob"), "--json"); !strings.Contains(out, `"how":"joined"`) {
		t.Errorf("bob: %s", out)
	}
	if r := bob.do("logout"); r.code != control.Usage || !strings.Contains(r.err, "last device") {
		t.Errorf("the last device goes without a question: %+v", r)
	}
	bob.ok("logout", "--yes")
	if r := bob.do("logout"); r.code != control.NotAllowed {
		t.Errorf("logged out twice: %+v", r)
	}
}

func TestLoginMistakesAreOneClearError(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	link := invite("alice")
	rootFile := filepath.Join(t.TempDir(), "root")
	os.WriteFile(rootFile, []byte("nonsense"), 0o600)
	for _, c := range []struct {
		stdin, kind string
		code        int
		args        []string
	}{
		{"", "usage", control.Usage, nil},
		{"", "usage", control.Usage, []string{"-"}},
		{"", "bad_link", control.Failed, []string{"hello"}},
		{"", "bad_link", control.Failed, []string{link[:len(link)-9]}},
		{"", "bad_link", control.Failed, []string{"https://127.0.0.1:1/#dAAAA"}},
		{"lalala\n", "bad_words", control.Failed, []string{"--service", "https://127.0.0.1:1", "-"}},
		{"", "usage", control.Usage, []string{"--service", "https://127.0.0.1:1"}},
		{"", "bad_link", control.Failed, []string{"--service", "ftp://x", "-"}},
		{"", "not_found", control.Failed, []string{"--recovery-file", "/nowhere"}},
		{"dear diary\n", "bad_recovery_kit", control.Failed, []string{"--recovery-file", "-"}},
		{"", "usage", control.Usage, []string{link, "--root-file", rootFile}},
		{"", "usage", control.Usage, []string{link, "--device", strings.Repeat("x", 300)}},
	} {
		r := m.with(c.stdin, nil, append([]string{"login", "--json"}, c.args...)...)
		var e struct {
			Error struct{ Kind, Message string }
		}
		if err := json.Unmarshal([]byte(r.err), &e); err != nil || r.code != c.code || e.Error.Kind != c.kind || r.out != "" {
			t.Errorf("%v: %+v", c.args, r)
		}
		if i := strings.Index(link, "#"); strings.Contains(r.err, link[i:][:30]) {
			t.Errorf("%v: the error repeats the link", c.args)
		}
	}
	// A service that is not there: exit 4, and the home is as it was.
	gone := strings.Replace(link, link[:strings.Index(link, "/#")], "https://127.0.0.1:1", 1)
	if r := m.do("login", gone, "--yes"); r.code != control.Unreachable {
		t.Errorf("service down: %+v", r)
	}
	m.ok("login", link, "--yes")
}

func TestDeviceAddNeedsSomebodyToCompareTheCodes(t *testing.T) {
	m := newMachine(t)
	if r := m.do("device", "add"); r.code != control.Usage || !strings.Contains(r.err, "--yes") {
		t.Errorf("%+v", r)
	}
	if r := m.do("device", "add", "--yes", "--expires", "2h"); r.code != control.Usage {
		t.Errorf("%+v", r)
	}
}

func TestDeviceAddShowsLinkThenWordsForPeople(t *testing.T) {
	a, out, _ := tester(t, "", nil)
	for _, e := range []event{{Event: "link", URL: "https://x/#d", Words: "babab dadad"}, {Event: "request", Name: "a\x1bb", Platform: "linux", Code: "042517"}} {
		b, _ := json.Marshal(e)
		if err := a.showEvent(out, b); err != nil {
			t.Fatal(err)
		}
	}
	want := "https://x/#d\nbabab dadad\na\\x1bb (linux) asks to be added, code 042517\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
	if err := a.showEvent(io.Discard, []byte("x")); err == nil || errors.Is(err, io.EOF) {
		t.Error("nonsense is an event")
	}
}

func TestDamagedHomeIsOneClearErrorAndStaysAsItIs(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	m.ok("login", invite("alice"), "--yes")
	orgs, err := filepath.Glob(filepath.Join(m.home, "organisations", "org_*"))
	if err != nil || len(orgs) != 1 {
		t.Fatal(orgs, err)
	}
	keys := filepath.Join(orgs[0], "keys")
	whole, _ := os.ReadFile(keys)
	damage := func(b []byte, mode os.FileMode) func() {
		return func() { os.WriteFile(keys, b, 0o600); os.Chmod(keys, mode) }
	}
	newer := append([]byte(nil), whole...)
	newer[12]++
	for kind, do := range map[string]func(){
		"key_file": damage(whole[:len(whole)-1], 0o600), "newer_format": damage(newer, 0o600), "key_file_mode": damage(whole, 0o644),
		"not_enrolled": func() { os.Remove(keys) },
	} {
		do()
		before, _ := os.ReadFile(keys)
		r := m.do("device", "list", "--json")
		var e struct {
			Error struct{ Kind, Message, Hint string }
		}
		if err := json.Unmarshal([]byte(r.err), &e); err != nil || e.Error.Kind != kind || e.Error.Hint == "" || r.code == 0 || r.out != "" {
			t.Errorf("%s: %+v", kind, r)
		}
		if after, _ := os.ReadFile(keys); string(after) != string(before) {
			t.Errorf("%s: the file was changed", kind)
		}
		damage(whole, 0o600)()
	}
	m.ok("device", "list")
	if r := m.do("self-check"); r.code != 0 || !strings.Contains(r.out, "rest in: file") {
		t.Errorf("self-check: %+v", r)
	}
}

func TestCommandsWorkThroughTheDaemonOfTheHome(t *testing.T) {
	_, invite := serve(t)
	m := newMachine(t)
	m.ok("login", invite("alice"), "--yes")
	d := home.Dir(m.home)
	lock, err := d.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	methods, _, err := openMethods(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- control.Serve(ctx, d, methods, "test", func() { close(ready) }) }()
	<-ready
	if out := m.ok("device", "list", "--json"); !strings.Contains(out, `"this":true`) {
		t.Errorf("list: %s", out)
	}
	two := newMachine(t)
	giver, events, second := m.link(func(e event) run { return two.with(e.URL, nil, "login", "-", "--yes") })
	if giver.code != 0 || second.code != 0 || len(events) != 3 {
		t.Errorf("link through the daemon: %+v %+v %+v", giver, events, second)
	}
	if r := m.do("device", "revoke", "nobody"); r.code != control.Failed || !strings.Contains(r.err, "not found") {
		t.Errorf("revoke: %+v", r)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// directory lets breaking have a method that is called Directory.
type directory = account.Directory

// breaking is a directory whose service goes away at a given moment.
type breaking struct {
	directory
	at string // "before", "after" the append; "refused"
}

func (b *breaking) SyncDirectory(ctx context.Context) error {
	if b.at == "before" {
		return signet.ErrUnavailable
	}
	return b.directory.SyncDirectory(ctx)
}

func (b *breaking) AppendStatement(ctx context.Context, build func(*ring.State, *region.Keys) (signet.Record, error)) error {
	if b.at == "refused" {
		return signet.ErrNotAllowed
	}
	return errors.Join(b.directory.AppendStatement(ctx, build), signet.ErrUnavailable)
}

func TestRecoveryKitThatMayCountIsKept(t *testing.T) {
	_, invite := serve(t)
	one, two := newMachine(t), newMachine(t)
	one.ok("login", invite("anna"), "--yes")
	try := func(at string, args ...string) run {
		a, out, errOut := tester(t, "", nil)
		a.now = time.Now
		a.methods = func(_ context.Context, d home.Dir) (control.Methods, io.Closer, error) {
			return identityMethods(d, func(do func(*member) (any, error)) (any, error) {
				o, err := owner.Open(d, Version)
				if err != nil {
					return nil, err
				}
				defer o.Close()
				m := memberOf(o)
				m.dir = &breaking{m.dir, at}
				return do(m)
			}, nil), nil, nil
		}
		code := a.run(t.Context(), append([]string{"--home", one.home, "recovery", "new"}, args...))
		return run{out.String(), errOut.String(), code}
	}
	kit := filepath.Join(t.TempDir(), "kit")
	for _, at := range []string{"before", "refused"} {
		if r := try(at, "--to", kit); r.code == 0 || strings.Contains(r.err, "recovery test") {
			t.Errorf("%s: %+v", at, r)
		}
		if _, err := os.Stat(kit); err == nil {
			t.Errorf("%s: a kit that counts for nothing was left", at)
		}
	}
	r := try("after", "--to", kit)
	if r.code != control.Unreachable || !strings.Contains(r.err, "may or may not count") || !strings.Contains(r.err, "signet recovery test --from "+kit) {
		t.Errorf("%+v", r)
	}
	two.ok("recovery", "test", "--from", kit)
	for _, flags := range [][]string{{"--to", "-"}, {"--to", "-", "--json"}} {
		r := try("after", flags...)
		text := r.out
		if len(flags) > 2 {
			var v struct{ Kit string }
			if err := json.Unmarshal([]byte(r.out), &v); err != nil {
				t.Fatalf("%v: %+v", err, r)
			}
			text = v.Kit
		}
		if got := two.with(text, nil, "recovery", "test", "--from", "-"); got.code != 0 || r.code != control.Unreachable {
			t.Errorf("%q: %+v, then %+v", flags, r, got)
		}
	}
}
