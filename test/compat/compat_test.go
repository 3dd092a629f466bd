// Package compat opens what earlier versions stored: homes and service folders
// as each closed issue left them, for ever. It promises that today's programs
// read them, go on with them, and lose nothing.
//
// A fixture is testdata/NAME.tar.gz with the folders service, home and folder.
// UPDATE=NAME makes one with the programs as they are; one that was committed
// is never made again.
package compat

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signet-compat-")
	if err != nil {
		panic(err)
	}
	bin = dir
	out, err := exec.Command("go", "build", "-o", dir+"/", "../../cmd/...").CombinedOutput()
	code := 1
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s", out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// A world is a service folder, a home and a folder, at work.
type world struct {
	t   *testing.T
	dir string
	url string
	cmd *exec.Cmd
}

// serve starts the service on its data, at any free port.
func (w *world) serve() {
	w.t.Helper()
	w.cmd = exec.Command(filepath.Join(bin, "signet-server"), "serve", "--data", w.path("service"), "--listen", "127.0.0.1:0", "--tls-self")
	w.cmd.Stderr = io.Discard
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		w.t.Fatalf("the service says %q, %v", line, err)
	}
	w.url = url
	w.t.Cleanup(w.stop)
}

func (w *world) stop() {
	if w.cmd != nil {
		w.cmd.Process.Signal(syscall.SIGTERM)
		w.cmd.Wait()
		w.cmd = nil
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// run runs a program and returns its stdout.
func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = append(os.Environ(), "SIGNET_KEYRING=off", "SIGNET_HOME="+w.path("home"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

func (w *world) write(name, content string) {
	w.t.Helper()
	p := filepath.Join(w.path("folder"), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.path("folder"), name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// big is content of many pieces.
func big() string {
	var b strings.Builder
	for i := 0; b.Len() < 600<<10; i++ {
		fmt.Fprintln(&b, "line", i)
	}
	return b.String()
}

func TestMakeFixture(t *testing.T) {
	name := os.Getenv("UPDATE")
	if name == "" {
		return // fixtures are made once, by hand
	}
	file := filepath.Join("testdata", name+".tar.gz")
	if _, err := os.Stat(file); err == nil {
		t.Fatalf("%s was made before", file)
	}
	w := &world{t: t, dir: t.TempDir()}
	w.serve()
	invite := strings.TrimSpace(w.run("signet-server", "invite", "--data", w.path("service"), "anna"))
	w.run("signet", "login", invite, "--yes", "--device", "first")
	w.write("letter.txt", "the first version")
	w.write("folder/big.txt", big())
	w.write("gone.txt", "deleted later")
	w.run("signet", "add", w.path("folder"), "--region", "Docs")
	w.run("signet", "sync")
	w.write("letter.txt", "the second version")
	if err := errors.Join(os.Remove(filepath.Join(w.path("folder"), "gone.txt")),
		os.Rename(filepath.Join(w.path("folder"), "folder"), filepath.Join(w.path("folder"), "renamed"))); err != nil {
		t.Fatal(err)
	}
	w.run("signet", "sync")
	w.stop()
	if err := pack(file, w.dir); err != nil {
		t.Fatal(err)
	}
}

func TestWhatEarlierVersionsStoredIsReadAndWrittenOn(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.tar.gz")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range fixtures {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".tar.gz"), func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir()}
			if err := unpack(file, w.dir); err != nil {
				t.Fatal(err)
			}
			w.serve()
			w.moved()
			w.run("signet-server", "check", "--data", w.path("service"))
			// The folder is a copy of the one that was added, which is noticed;
			// taking it over joins it by content.
			w.run("signet", "add", w.path("folder"), "--region", "Docs", "--relink")
			w.run("signet", "sync")
			if w.read("letter.txt") != "the second version" || w.read("renamed/big.txt") != big() {
				t.Error("contents differ")
			}
			if out := w.run("signet", "history", "Docs:letter.txt"); strings.Count(out, "\n") != 2 {
				t.Errorf("history of a file with two versions:\n%s", out)
			}
			w.run("signet", "restore", "Docs:gone.txt")
			w.write("new.txt", "written by a later version")
			w.run("signet", "sync")
			if w.read("gone.txt") != "deleted later" {
				t.Error("restored another content")
			}
			w.run("signet-server", "check", "--data", w.path("service"))
		})
	}
}

// moved tells the home that its service has another port now: what an
// administrator would do with DNS.
func (w *world) moved() {
	w.t.Helper()
	n := 0
	err := filepath.WalkDir(w.path("home"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "account.json" {
			return err
		}
		n++
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(p, regexp.MustCompile(`https://127\.0\.0\.1:\d+`).ReplaceAll(b, []byte(w.url)), 0o600)
	})
	if err != nil || n != 1 {
		w.t.Fatalf("%d accounts, %v", n, err)
	}
}

func pack(file, dir string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
	tw := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			return err // sockets are not kept
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name, _ = filepath.Rel(dir, p)
		h.Uname, h.Gname, h.Uid, h.Gid = "", "", 0, 0
		if err := tw.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		_, err = tw.Write(b)
		return err
	})
	return errors.Join(err, tw.Close(), z.Close(), f.Close())
}

func unpack(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(p, fs.FileMode(h.Mode).Perm()); err != nil {
				return err
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(p, b, fs.FileMode(h.Mode).Perm())
		}
		if err == nil {
			err = os.Chtimes(p, time.Time{}, h.ModTime)
		}
		if err != nil {
			return err
		}
	}
}
