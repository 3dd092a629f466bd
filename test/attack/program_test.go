package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
)

// program is the command signet, built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "attack")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "signet")
		if out, err := exec.Command("go", "build", "-o", program, "signet/cmd/signet").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A fault is the error of a command with --json.
type fault struct {
	Kind, Message, Evidence string
	code                    int
	out                     string
}

// run runs the command on the device's home, which is closed meanwhile.
func (d *device) run(t *testing.T, args ...string) fault {
	t.Helper()
	d.close()
	defer d.open()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--home", string(d.home), "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "SIGNET_KEYRING=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	f := fault{code: cmd.ProcessState.ExitCode(), out: stdout.String()}
	for line := range strings.Lines(stderr.String()) {
		var e struct{ Error fault }
		if json.Unmarshal([]byte(line), &e) == nil && e.Error.Kind != "" {
			f.Kind, f.Message, f.Evidence = e.Error.Kind, e.Error.Message, e.Error.Evidence
		}
	}
	if f.code != 0 && f.Kind == "" {
		t.Fatalf("%s: exit %d without an error: %s", strings.Join(args, " "), f.code, stderr.String())
	}
	return f
}

// alarmed checks that a command ended with exit 3, the kind, and a file of
// evidence.
func (f fault) alarmed(t *testing.T, kind string) {
	t.Helper()
	if f.code != 3 || f.Kind != kind {
		t.Errorf("exit %d, kind %s, want 3, %s: %s", f.code, f.Kind, kind, f.Message)
	}
	if b, err := os.ReadFile(f.Evidence); err != nil || len(b) == 0 {
		t.Errorf("evidence %q: %v", f.Evidence, err)
	}
}

func TestCommandsExitWithThreeOnAlarms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Run("object", func(t *testing.T) {
		w, a, b, _ := pair(t)
		a.write("new.txt", "new")
		a.sync()
		before := b.listing()
		w.liar.lie(lies{object: func(_ signet.ObjectID, o []byte) []byte { o[len(o)/2] ^= 1; return o }})
		b.run(t, "sync").alarmed(t, "object")
		b.run(t, "sync").alarmed(t, "object") // and again
		if b.listing() != before {
			t.Error("something was applied")
		}
		w.liar.lie(lies{})
		if f := b.run(t, "sync"); f.code != 0 {
			t.Errorf("the lie ended, and: exit %d, %s", f.code, f.Message)
		}
		same(t, a, b)
	})
	t.Run("rollback", func(t *testing.T) {
		w, a, b, id := pair(t)
		old := w.copyData()
		a.write("after.txt", "after")
		a.sync()
		b.sync()
		w.stop()
		w.run(old)
		before := b.listing()
		for _, args := range [][]string{{"sync"}, {"wait"}, {"region", "list"}, {"tree", "Documents"}, {"history", filepath.Join(b.dir, "after.txt")},
			{"restore", filepath.Join(b.dir, "after.txt")}, {"add", b.t.TempDir(), "--region", "New"}} {
			f := b.run(t, args...)
			f.alarmed(t, "rollback")
			if !strings.Contains(f.Message, id.String()) {
				t.Errorf("%v: the message does not name the journal: %s", args, f.Message)
			}
		}
		if b.listing() != before {
			t.Error("something was applied")
		}
	})
	t.Run("fork", func(t *testing.T) {
		w, a, b, _ := pair(t)
		second := w.second()
		w.liar.show(b.Self.Device, second)
		a.write("left.txt", "left")
		a.sync()
		b.write("right.txt", "right")
		b.sync()
		w.liar.show(b.Self.Device, w.service)
		before := b.listing()
		f := b.run(t, "sync")
		f.alarmed(t, "fork")
		e, err := chain.ParseEvidence(readFile(t, f.Evidence))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Verify(w.logKey.Public()); err != nil {
			t.Error(err)
		}
		if b.listing() != before {
			t.Error("something was applied")
		}
	})
	t.Run("directory", func(t *testing.T) {
		w, a, b, _ := pair(t)
		f := w.forgery(w.directory())
		f.add(newGhost(t).add(t, w, a, a.Self.Device, w.logKey))
		w.liar.forge(f)
		for _, args := range [][]string{{"sync"}, {"device", "list"}, {"device", "revoke", "a", "--yes"}, {"device", "add", "--yes"}} {
			b.run(t, args...).alarmed(t, "not_verified")
		}
	})
	t.Run("clock", func(t *testing.T) {
		w, _, b, id := pair(t)
		f := w.forgery(signet.Journal(id))
		f.time += (20 * time.Minute).Milliseconds()
		w.liar.forge(f)
		b.write("x", "x")
		if f := b.run(t, "sync"); f.code != 0 {
			t.Errorf("a clock that is off stops a synch: %s", f.Message)
		}
		if f := b.run(t, "status"); !strings.Contains(f.out, `"kind":"clock"`) {
			t.Errorf("status does not say it: %s", f.out)
		}
	})
}
