package cli

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
	"signet/service"
	"signet/transport"
)

// TestMain is the program where a test runs it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("SIGNET_TEST_MAIN") != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do runs a command in this process.
func do(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, getenv: func(k string) string { return env[k] }, now: time.Now}
	code = a.run(t.Context(), args)
	return code, out.String(), errs.String()
}

// A process is a running signet-server.
type process struct {
	*exec.Cmd
	lines  *bufio.Reader
	url    string
	stderr *bytes.Buffer
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), stderr: &bytes.Buffer{}}
	p.Env = append(os.Environ(), "SIGNET_TEST_MAIN=1")
	p.Stderr = p.stderr
	out, err := p.StdoutPipe()
	must(t, err)
	must(t, p.Start())
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	p.lines = bufio.NewReader(out)
	p.url = p.line(t, "listening on ")
	return p
}

func (p *process) line(t *testing.T, prefix string) string {
	t.Helper()
	s, err := p.lines.ReadString('\n')
	rest, ok := strings.CutPrefix(s, prefix)
	if err != nil || !ok {
		p.Wait()
		t.Fatalf("stdout %q, %v; stderr:\n%s", s, err, p.stderr)
	}
	return strings.TrimSpace(rest)
}

// end sends a signal and returns the exit code.
func (p *process) end(t *testing.T, s os.Signal) int {
	t.Helper()
	must(t, p.Process.Signal(s))
	io.Copy(io.Discard, p.lines)
	p.Wait()
	return p.ProcessState.ExitCode()
}

func client(t *testing.T, c transport.Config) *transport.Client {
	t.Helper()
	x, err := transport.NewClient(c)
	must(t, err)
	t.Cleanup(x.Close)
	return x
}

func TestServeAnswersInvitesAndEnds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--tls-self")
	code, out, stderr := do(t, nil, "invite", "--data", dir, "Alice")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(stderr, "owns the organisation") {
		t.Fatalf("invite: %d, %q, %q", code, out, stderr)
	}
	i, err := ring.ParseInvite(out)
	must(t, err)
	if i.URL != p.url || i.Label != "Alice" || len(i.Pin) != 32 {
		t.Errorf("invite %+v, service at %s", i, p.url)
	}
	info, err := client(t, transport.Config{URL: i.URL, Pin: i.Pin}).Info(t.Context())
	must(t, err)
	pub, err := key.ParsePublic(info.LogKey)
	must(t, err)
	if !info.Fresh || chain.KeysHash(pub) != i.LogKeys {
		t.Errorf("info %+v does not fit the invitation", info)
	}

	_, out2, stderr := do(t, nil, "invite", "--data", dir, "Alice")
	if out2 == out || !strings.Contains(stderr, "takes the place") {
		t.Errorf("second invitation: %q", stderr)
	}
	code, _, stderr = do(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(stderr, "in use by another signet-server") || !strings.Contains(stderr, "hint:") {
		t.Errorf("second serve: %d, %q", code, stderr)
	}
	code, out, _ = do(t, nil, "status", "--data", dir, "--json")
	var s struct {
		Running  bool
		Settings map[string]any
	}
	must(t, json.Unmarshal([]byte(out), &s))
	if code != 0 || !s.Running || s.Settings["tls_self"] != true {
		t.Errorf("status: %d, %s", code, out)
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d; stderr:\n%s", code, p.stderr)
	}
	for line := range strings.Lines(p.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("log line is not JSON: %s", line)
		}
	}
	if code, out, stderr := do(t, nil, "check", "--data", dir); code != 0 || !strings.Contains(out, "0 problems") {
		t.Errorf("check: %d, %q, %q", code, out, stderr)
	}
	if code, out, _ := do(t, nil, "status", "--data", dir); code != 0 || !strings.Contains(out, "false") {
		t.Errorf("status: %d, %q", code, out)
	}

	// Started again it is the same service.
	p = start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--tls-self")
	again, err := client(t, transport.Config{URL: p.url, Pin: i.Pin}).Info(t.Context())
	must(t, err)
	if string(again.LogKey) != string(info.LogKey) {
		t.Error("another log key after a restart")
	}
	if code := p.end(t, os.Interrupt); code != 130 {
		t.Errorf("interrupt: exit %d", code)
	}
}

func TestCheckExits1WhereSomethingIsWrong(t *testing.T) {
	dir := t.TempDir()
	p := start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0")
	p.end(t, syscall.SIGTERM)
	execute(t, dir, "INSERT INTO logs (kind, id, size, time, tip, full) VALUES (1, zeroblob(32), 1, 0, x'', x'')")
	code, out, stderr := do(t, nil, "check", "--data", dir)
	if code != 1 || !strings.Contains(out, "problem: directory/org_") || !strings.Contains(stderr, "error: 1 problems") {
		t.Errorf("exit %d, %q, %q", code, out, stderr)
	}
	if code, _, stderr := do(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0"); code == 0 || !strings.Contains(stderr, "hint: signet-server check") {
		t.Errorf("serve on damaged data: exit %d, %q", code, stderr)
	}
}

func TestDevPrintsAnInvitation(t *testing.T) {
	p := start(t, "dev")
	i, err := ring.ParseInvite(p.line(t, "invitation "))
	must(t, err)
	if i.URL != p.url || !strings.HasPrefix(i.URL, "http://127.0.0.1:") {
		t.Errorf("invitation to %s, listening on %s", i.URL, p.url)
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestAdminAddressAnswersProbes(t *testing.T) {
	k, err := key.Generate()
	must(t, err)
	svc, err := service.Open(service.Config{Data: t.TempDir(), Key: k})
	must(t, err)
	defer svc.Close()
	h := adminHandler(svc)
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "signet_commits_total 0"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestSettingsComeFromFlagThenEnvironmentThenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conf")
	must(t, os.WriteFile(file, []byte("# comment\nlisten = 127.0.0.1:1\npublic-url=https://file.example\nmax-uploads = 7\n"), 0o600))
	a := &app{getenv: func(k string) string {
		return map[string]string{"SIGNET_SERVER_CONFIG": file, "SIGNET_SERVER_LISTEN": "127.0.0.1:2", "SIGNET_SERVER_PUBLIC_URL": "https://env.example"}[k]
	}}
	var s settings
	c := a.serveCommand()
	c.ResetFlags()
	s.flags(c.Flags(), "127.0.0.1:8443")
	must(t, c.Flags().Parse([]string{"--listen", "127.0.0.1:3"}))
	must(t, fill(c, a.getenv))
	if s.Listen != "127.0.0.1:3" || s.PublicURL != "https://env.example" || s.MaxUploads != 7 {
		t.Errorf("%+v", s)
	}
	must(t, os.WriteFile(file, []byte("listne = 1\n"), 0o600))
	if code, _, stderr := do(t, nil, "serve", "--data", "x", "--config", file); code != 2 || !strings.Contains(stderr, "listne") {
		t.Errorf("unknown setting: %d, %q", code, stderr)
	}
}

func TestMistakesOfUsageExit2WithAHint(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"serve"}, {"serve", "--data", dir, "extra"}, {"serve", "--nope"}, {"nope"}, {"invite", "--data", dir}, {"check"},
		{"serve", "--data", dir, "--listen", ":0"},
		{"serve", "--data", dir, "--listen", "127.0.0.1"},
		{"serve", "--data", dir, "--tls-cert", "x"},
		{"serve", "--data", dir, "--public-url", "http://example.org"},
		{"serve", "--data", dir, "--public-url", "https://example.org/path"},
		{"serve", "--data", dir, "--admin", "0.0.0.0:1"},
	} {
		code, out, stderr := do(t, nil, args...)
		if code != 2 || out != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, out, stderr)
		}
	}
	if code, _, stderr := do(t, nil, "--json", "serve"); code != 2 || !json.Valid([]byte(stderr)) {
		t.Errorf("--json: %d, %q", code, stderr)
	}
	if code, _, stderr := do(t, nil, "status", "--data", dir); code != 1 || !strings.Contains(stderr, "no service's data") {
		t.Errorf("status of nothing: %d, %q", code, stderr)
	}
}

func TestDataOfANewerProgramAreSaidToBe(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"database": func(t *testing.T, dir string) { execute(t, dir, "PRAGMA user_version = 99") },
		"log key": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, fileLogKey), []byte("signet-server key 2\n"), 0o600))
		},
		"pack": func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, "packs", "00"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "packs", "00", "00000001.pack"), []byte("signet pack 2\n\x00\x00"), 0o600))
		},
	} {
		dir := t.TempDir()
		start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0").end(t, syscall.SIGTERM)
		spoil(t, dir)
		for _, args := range [][]string{{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, {"check", "--data", dir}, {"check", "--repair", "--data", dir}} {
			code, _, stderr := do(t, nil, append(args, "--json")...)
			if code != 1 || !strings.Contains(stderr, `"kind":"newer_format"`) || !strings.Contains(stderr, `"hint":"update signet-server`) {
				t.Errorf("%s: %q: exit %d, %s", name, args, code, stderr)
			}
		}
	}
}

func TestDatabaseThatLacksARecordIsDamagedAndNoAlarm(t *testing.T) {
	dir := t.TempDir()
	start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0").end(t, syscall.SIGTERM)
	execute(t, dir, "INSERT INTO logs (kind, id, size, time, tip, full) VALUES (1, zeroblob(32), 1, 0, x'', x'')")
	code, _, stderr := do(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--json")
	if code != 1 || !strings.Contains(stderr, `"kind":"damaged"`) || !strings.Contains(stderr, `"hint":"signet-server check`) {
		t.Errorf("serve: exit %d, %s", code, stderr)
	}
	if code := (&app{stderr: io.Discard}).exit(fmt.Errorf("read: %w", signet.ErrNotVerified)); code != 3 {
		t.Errorf("what does not verify: exit %d", code)
	}
}

// execute changes the database behind the program's back.
func execute(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "signet.db"))
	must(t, err)
	_, err = db.Exec(statement)
	must(t, err)
	must(t, db.Close())
}

func TestKeyFilesAreOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log-key")
	k, err := signingKey(path, true)
	must(t, err)
	again, err := signingKey(path, false)
	must(t, err)
	if !k.Public().Equal(again.Public()) {
		t.Error("another key")
	}
	must(t, os.Chmod(path, 0o644))
	if _, err := signingKey(path, false); err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("a key that others can read: %v", err)
	}
	for name, text := range map[string]string{"newer": "signet-server key 2\n", "damaged": keyFormat + "AAAA\n", "not a key": "hello"} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.Chmod(path, 0o600))
		if _, err := signingKey(path, true); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A gc that waits for whoever has the folder does the work itself when that ends
// without an answer.
func TestGCTakesOverWhereTheServiceEnds(t *testing.T) {
	dir := t.TempDir()
	start(t, "serve", "--data", dir, "--listen", "127.0.0.1:0").end(t, syscall.SIGTERM)
	release, err := hold(dir)
	must(t, err)
	type result struct {
		code        int
		out, stderr string
	}
	done := make(chan result)
	go func() {
		code, out, stderr := do(t, nil, "gc", "--data", dir)
		done <- result{code, out, stderr}
	}()
	asked := func() (n int) {
		db, err := sql.Open("sqlite", filepath.Join(dir, "signet.db"))
		must(t, err)
		defer db.Close()
		must(t, db.QueryRow("SELECT count(*) FROM settings WHERE name = 'gc-ask'").Scan(&n))
		return n
	}
	for asked() == 0 {
		select {
		case r := <-done:
			t.Fatalf("it did not wait: %+v", r)
		default:
		}
	}
	release()
	if r := <-done; r.code != 0 || !strings.Contains(r.out, "freed 0 bytes") {
		t.Errorf("%+v", r)
	}
	if asked() != 0 {
		t.Error("the question is left")
	}
}
