//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
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

// clone is a copy of this module without what git does not have, shared by the
// tests: they run one after the other in it.
var clone = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "firstrun")
	if err != nil {
		return "", err
	}
	return dir, copyModule(dir, filepath.Join("..", ".."))
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := clone(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func copyModule(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || name == "." {
			return err
		}
		switch {
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "bin" || e.Name() == ".run" || e.Name() == ".tools" || e.Name() == "node_modules" || e.Name() == "vectors" || e.Name() == "testdata"):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !e.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, info.Mode().Perm())
	})
}

// runMake runs make in the copy as a person does and returns what it printed
// and its exit code.
func runMake(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := makeCommand(t, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func makeCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := clone()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", append([]string{"--no-print-directory"}, args...)...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, e := range os.Environ() { // a make of its own, not a part of ours
		if !strings.HasPrefix(e, "MAKE") && !strings.HasPrefix(e, "MFLAGS") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "DIR=/", "SIGNET_HOME=/nowhere") // what must not matter
	return cmd
}

// stopped fails if anything that a run started is still there.
func stopped(t *testing.T) {
	t.Helper()
	dir, _ := clone()
	pids, err := filepath.Glob(filepath.Join(dir, ".run", "*", "service.pid"))
	if err != nil || len(pids) > 0 {
		t.Errorf("a service is still there: %v, %v", pids, err)
	}
	homes, _ := filepath.Glob(filepath.Join(dir, ".run", "demo", "*", "home"))
	for _, h := range homes {
		out, err := exec.Command(filepath.Join(dir, signet), "--home", h, "down").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "no daemon is running") {
			t.Errorf("%s: a daemon is still there: %v %s", h, err, out)
		}
	}
}

// fact is the only match of a pattern in a run's output.
func fact(t *testing.T, out, pattern string) []string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("%q is not in the output:\n%s", pattern, out)
	}
	return m
}

// alone makes a command run where there is no network but the machine's own
// loopback, and where every folder that programs write to by custom (home,
// temporary, runtime) is one empty folder, which it returns. Only the Go tool
// keeps the home that it has: its caches are not part of the promise.
func alone(t *testing.T, cmd *exec.Cmd) (canary string) {
	t.Helper()
	canary, tools := t.TempDir(), t.TempDir()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	var env, own []string
	for _, e := range cmd.Env {
		switch name, value, _ := strings.Cut(e, "="); {
		case name == "PATH":
			env = append(env, "PATH="+tools+":"+value)
		case name == "HOME" || name == "TMPDIR" || strings.HasPrefix(name, "XDG_"):
			own = append(own, name+"='"+strings.ReplaceAll(value, "'", `'\''`)+"'")
		default:
			env = append(env, e)
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nunset HOME TMPDIR XDG_RUNTIME_DIR\n%s exec '%s' \"$@\"\n", strings.Join(own, " "), tool)
	if err := os.WriteFile(filepath.Join(tools, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(env, "HOME="+canary, "TMPDIR="+canary, "XDG_RUNTIME_DIR="+canary)
	args := []string{"unshare", "--net"}
	if os.Getuid() != 0 {
		args = append(args, "--map-root-user")
	}
	args = append(args, "sh", "-c", `ip link set lo up && [ "$(ip -o link | wc -l)" = 1 ] && exec "$@"`, "sh")
	cmd.Args = append(args, cmd.Args...)
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatalf("%v: scripts/deps installs it", err)
	}
	return canary
}

// modified is when a name in a folder came or went last.
func modified(t *testing.T, dir string) time.Time {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// outside is what a folder has but for .run/ and what make build makes.
func outside(t *testing.T, dir string) listing {
	t.Helper()
	all, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if top, _, _ := strings.Cut(name, "/"); top == ".run" || top == "bin" {
			delete(all, name)
		}
	}
	return all
}

func TestRunShowsSevenStepsAndEndsByItself(t *testing.T) {
	cmd := makeCommand(t, "run", "ONCE=1")
	canary, before := alone(t, cmd), outside(t, cmd.Dir)
	made := modified(t, canary)
	began := time.Now()
	text, err := cmd.CombinedOutput()
	out := string(text)
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if d := differences(before, outside(t, cmd.Dir)); len(d) > 0 {
		t.Errorf("written to beside .run/: %q", d)
	}
	if left, err := os.ReadDir(canary); err != nil || len(left) > 0 || !modified(t, canary).Equal(made) {
		t.Errorf("written to the home, temporary or runtime folder; what is left: %v, %v", left, err)
	}
	t.Logf("built and run in %v", time.Since(began).Round(time.Millisecond))
	for i, title := range []string{"A service that", "The first device", "A second device", "With both daemons", "What the service has", "One byte", "A folder of your own"} {
		fact(t, out, fmt.Sprintf(`(?m)^%d\. %s`, i+1, title))
	}
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Errorf("%q is no figure", s)
		}
		return f
	}
	fact(t, out, `listening on https://127\.0\.0\.1:\d+`)
	fact(t, out, `Documents: in step: 20 files up`)
	if m := fact(t, out, `code on the laptop: (\d{6}), code on the desktop: (\d{6}): equal`); m[1] != m[2] {
		t.Errorf("codes %s and %s", m[1], m[2])
	}
	if m := fact(t, out, `20 of 20 files and 8 of 8 folders are equal, by SHA-256\n.* ([0-9a-f]{32}) on one,\n +([0-9a-f]{32}) on the other`); m[1] != m[2] {
		t.Errorf("hashes %s and %s", m[1], m[2])
	}
	fact(t, out, `had the new line after \d+ ms`)
	fact(t, out, `9 more changes: median \d+ ms, slowest \d+ ms`)
	fact(t, out, `a renamed folder of 5 files: on the other side after \d+ ms, as 1 operation and 0 objects of content`)
	fact(t, out, `in the service 3 of 3 things`)
	m := fact(t, out, `searched (\d+) files of the service for (\d+) names and (\d+) contents: found (\d+)`)
	if number(m[1]) < 5 || number(m[2]) < 28 || number(m[3]) != 19 || number(m[4]) != 0 {
		t.Errorf("the search: %s", m[0])
	}
	fact(t, out, `exit code 3: not verified\. The desktop's folder is untouched: 20 of 20 files as before`)
	fact(t, out, `the byte is put back\n.*sync\n.*in step: 1 files down`)
	if m := fact(t, out, `Done in ([\d.]+) s`); number(m[1]) > 20 {
		t.Errorf("took %s s, more than 20", m[1])
	}
	stopped(t)
}

// A screen collects what is shown on a terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.text.String(), "\r\n", "\n")
}

// shows waits until a text is on the screen.
func (s *screen) shows(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(s.String(), text); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%q does not come:\n%s", text, s)
		}
	}
}

func TestRunOnATerminalStaysAndItsCommandsCanBeTyped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	cmd := makeCommand(t, "run")
	cmd.SysProcAttr = nil // pty makes a session
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	var s screen
	go io.Copy(&s, tty)
	s.shows(t, "Ctrl-C ends them.")
	typed := 0
	for l := range strings.Lines(s.String()) {
		l, ok := strings.CutPrefix(strings.TrimSpace(l), "$ ")
		if !ok || !regexp.MustCompile(` (sync|wait|up|notices --seen)$|^echo |^bin/signet-server invite `).MatchString(l) {
			continue // what can be done once only, or would change the rest
		}
		c := exec.Command("sh", "-c", l)
		c.Dir = cmd.Dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("typed again, %s: %v\n%s", l, err, out)
		}
		typed++
	}
	if typed < 10 {
		t.Errorf("only %d commands to type", typed)
	}
	tty.Write([]byte{3}) // Ctrl-C
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Fatalf("Ctrl-C does not end it:\n%s", &s)
	}
	stopped(t)
}

func TestRunWithAFolderGoesOnAndCleanRunRemovesAllTraces(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	mine := filepath.Join(t.TempDir(), "My papers")
	if err := sample(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("Read me first.txt", filepath.Join(mine, "a link")); err != nil {
		t.Fatal(err)
	}
	before, err := list(mine)
	if err != nil {
		t.Fatal(err)
	}
	// Ctrl-C as a terminal sends it, to all that run there.
	cmd := makeCommand(t, "run", "DIR="+mine)
	var s screen
	cmd.Stdout, cmd.Stderr = &s, &s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.shows(t, "home add")
	syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	if err := cmd.Wait(); err == nil {
		t.Errorf("was not interrupted:\n%s", &s)
	}
	fact(t, s.String(), `goes on where this was`)
	for range 2 {
		out, code := runMake(t, "run", "DIR="+mine)
		if code != 0 {
			t.Fatalf("exit code %d:\n%s", code, out)
		}
		fact(t, out, regexp.QuoteMeta(filepath.Join(mine, ".signet"))+`\n +one hidden folder`)
		fact(t, out, `My papers: 20 files, \d+\.\d KiB\n.*all safe after about`)
		fact(t, out, `both folders: 21 of 21 files and 8 of 8 folders are equal`)
	}
	out, code := runMake(t, "clean-run")
	dir, _ := clone()
	if _, err := os.Stat(filepath.Join(dir, ".run")); code != 0 || err == nil {
		t.Errorf("clean-run: exit code %d, .run/ is %v:\n%s", code, err, out)
	}
	if _, err := os.Stat(filepath.Join(mine, ".signet")); err == nil {
		t.Error("clean-run leaves the hidden folder")
	}
	after, err := list(mine)
	if d := differences(before, after); err != nil || len(d) > 0 {
		t.Errorf("the person's files changed: %v %q", err, d)
	}
}

func TestRunRefusesFoldersThatItMustNotTouch(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	dir, err := clone()
	if err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.Mkdir(filepath.Join(taken, ".signet"), 0o700); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		filepath.Dir(dir):              "lie within each other",
		filepath.Join(taken, "no"):     "no such file",
		taken:                          "another Signet keeps this folder in step",
		filepath.Join(dir, "go.mod"):   "is not a folder",
		filepath.Join(dir, ".run", ""): "lie within each other",
	} {
		if err := os.MkdirAll(filepath.Join(dir, ".run"), 0o700); err != nil {
			t.Fatal(err)
		}
		out, code := runMake(t, "run", "DIR="+folder)
		if code == 0 || !strings.Contains(out, want) || !strings.Contains(out, "hint: ") {
			t.Errorf("DIR=%s: exit code %d, want an error with %q and a hint:\n%s", folder, code, want, out)
		}
	}
}

func TestSearchFindsNamesAndContentsInEverySpelling(t *testing.T) {
	docs, service := t.TempDir(), t.TempDir()
	content := []byte("the heating in the back room has been cold since Tuesday")
	if err := os.WriteFile(filepath.Join(docs, "Landlord.txt"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	ns, err := names(docs)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := contents(docs)
	if err != nil {
		t.Fatal(err)
	}
	all := append(ns, cs...)
	leak := filepath.Join(service, "pack")
	for what, c := range map[string]struct {
		bytes []byte
		want  int
	}{
		"nothing":         {[]byte("noise"), 0},
		"name":            {[]byte("xxLandlord.txtxx"), 1},
		"content":         {append([]byte("xx"), content...), 1},
		"part of content": {append([]byte("xx"), content[len(content)-20:]...), 1},
		"hexadecimal":     {[]byte("x" + hex.EncodeToString(content)), 1},
		"base64":          {[]byte(base64.StdEncoding.EncodeToString(content)), 1},
		"base64, shifted": {[]byte(base64.RawURLEncoding.EncodeToString(append([]byte("x"), content...))), 1},
	} {
		if err := os.WriteFile(leak, c.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		found, files, err := search(service, all)
		if err != nil || files != 1 || len(found) != c.want {
			t.Errorf("%s: found %q in %d files (%v), want %d", what, found, files, err, c.want)
		}
	}
	if err := os.Rename(leak, filepath.Join(service, "Landlord.txt.tmp")); err != nil {
		t.Fatal(err)
	}
	if found, _, err := search(service, ns); err != nil || len(found) != 1 {
		t.Errorf("a file's name is not searched: %q, %v", found, err)
	}
}
