package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server runs a command of signet-server.
func (w *world) server(args ...string) (string, int) {
	w.t.Helper()
	cmd := exec.Command(programs.service, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}

func (w *world) mustServer(args ...string) string {
	w.t.Helper()
	out, code := w.server(args...)
	if code != 0 {
		w.t.Fatalf("signet-server %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *world) backup() string { return filepath.Join(w.dir, "backup") }

// takeBackup backs the service up while it runs.
func (w *world) takeBackup() {
	w.t.Helper()
	w.mustServer("backup", "--data", w.data(), "--to", w.backup())
}

// lose kills the service and loses its data.
func (w *world) lose() {
	w.t.Helper()
	w.upstream.Store(nil)
	w.service.end(syscall.SIGKILL)
	if err := os.Rename(w.data(), w.data()+fmt.Sprint(".lost", time.Now().UnixNano())); err != nil {
		w.t.Fatal(err)
	}
}

// restore brings the backup back and serves it.
func (w *world) restore(flags ...string) {
	w.t.Helper()
	w.mustServer(append([]string{"restore", "--from", w.backup(), "--data", w.data()}, flags...)...)
	w.start()
}

// recovering is how many logs wait for re-offers, and how many objects are lost.
func (w *world) recovering() (logs, lost int) {
	w.t.Helper()
	var s struct{ Recovering, Lost int }
	out := w.mustServer("status", "--data", w.data(), "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		w.t.Fatalf("status says %q: %v", out, err)
	}
	return s.Recovering, s.Lost
}

// scribble makes n entries on a device: files that stay, files that are written
// over, moves, deletions.
func scribble(t *testing.T, d *device, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(n), uint64(len(d.name))))
	for i := range n {
		content := make([]byte, 1+random.IntN(40_000))
		for j := range content {
			content[j] = byte(random.Uint32())
		}
		name := filepath.Join(d.dir, fmt.Sprintf("%s-%d", d.name, i))
		switch i % 5 {
		case 3:
			name = filepath.Join(d.dir, "again-"+d.name) // each version is one that history has
		case 4:
			if err := os.Rename(filepath.Join(d.dir, fmt.Sprintf("%s-%d", d.name, i-2)), name); err != nil {
				t.Fatal(err)
			}
			name = filepath.Join(d.dir, fmt.Sprintf("%s-%d-more", d.name, i))
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
		d.sync()
	}
}

// rollbacks is what notices says of a service that went back.
func rollbacks(t *testing.T, d *device) (states []string) {
	t.Helper()
	var list []struct{ Kind, State string }
	if err := json.Unmarshal([]byte(d.run("--json", "notices").stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Kind == "rollback" {
			states = append(states, a.State)
		}
	}
	return states
}

// pairOf is two devices in step, and a backup of that.
func pairOf(t *testing.T) (w *world, one, two *device) {
	w = newWorld(t)
	one, two = w.device("one"), w.device("two")
	one.add()
	two.add()
	scribble(t, one, 3)
	two.sync()
	w.takeBackup()
	return w, one, two
}

// newcomer links another device, which must get every file as it is.
func newcomer(t *testing.T, w *world, name string, like *device) *device {
	t.Helper()
	d := w.device(name)
	d.add()
	d.sync()
	agree(t, like, d)
	return d
}

func TestDaemonsMakeARestoredServiceWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, two := pairOf(t)
	scribble(t, one, 14)
	two.sync()
	scribble(t, two, 11)
	one.sync()
	one.up()
	two.up()
	one.ready()
	two.ready()
	w.lose()
	w.restore()
	until(t, time.Minute, "the service is whole", func() bool { logs, lost := w.recovering(); return logs == 0 && lost == 0 })
	wait(t, one, two)
	for _, d := range []*device{one, two} {
		if r := d.try("", "status", "--check"); r.code != 0 {
			t.Errorf("%s: status --check: exit %d\n%s%s", d.name, r.code, r.stdout, r.stderr)
		}
		if v := d.status()[0]; v.State != "in_step" {
			t.Errorf("%s: %s, %s", d.name, v.State, v.Reason)
		}
	}
	said := append(rollbacks(t, one), rollbacks(t, two)...)
	for _, state := range said {
		if state != "ended" {
			t.Errorf("a notice is %q, not ended", state)
		}
	}
	if len(said) == 0 {
		t.Error("nobody keeps a record of it")
	}
	if err := os.WriteFile(filepath.Join(two.dir, "later"), []byte("later"), 0o644); err != nil {
		t.Fatal(err)
	}
	wait(t, two, one)
	agree(t, one, two)
	one.down()
	two.down()
	newcomer(t, w, "three", one)
	for sum, r := range historyOf(t, two) { // versions that no folder has any more
		restored(t, two, r, sum)
	}
	w.stop()
	w.check()
}

// The third device saw nothing of what was lost. It comes first, or last, and
// has something of its own.
func TestDeviceThatWasAwayJoinsARestoredServiceInEitherOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprint("first ", first), func(t *testing.T) {
			w, one, two := pairOf(t)
			away := newcomer(t, w, "away", one)
			scribble(t, away, 1) // so that the log knows of it
			one.sync()
			two.sync()
			w.takeBackup()
			if err := os.WriteFile(filepath.Join(away.dir, "while-away"), []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
			scribble(t, one, 20)
			two.sync()
			w.lose()
			w.restore()
			if first {
				away.fails(4, "recovering", "sync")
				if logs, _ := w.recovering(); logs == 0 {
					t.Error("who knows nothing of what was lost opened the log")
				}
				if b, err := os.ReadFile(filepath.Join(away.dir, "while-away")); string(b) != "mine" {
					t.Errorf("its own file: %q, %v", b, err)
				}
			}
			one.sync()
			two.sync()
			away.sync()
			one.sync()
			two.sync()
			agree(t, one, two)
			agree(t, one, away)
			if logs, lost := w.recovering(); logs != 0 || lost != 0 {
				t.Errorf("%d logs wait, %d objects are lost", logs, lost)
			}
			quiet(t, one, two, away)
			w.stop()
			w.check()
		})
	}
}

func TestKillsDuringAReofferOnlyDelayIt(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, two := pairOf(t)
	scribble(t, one, 25)
	two.sync()
	w.lose()
	w.restore()
	one.up()
	two.up()
	random := rand.New(rand.NewPCG(3, 9))
	for i := range 6 {
		<-time.After(time.Duration(20+random.Int64N(250)) * time.Millisecond)
		if i%3 == 2 {
			one.kill()
			one.up()
			continue
		}
		w.upstream.Store(nil)
		w.service.end(syscall.SIGKILL)
		w.start()
	}
	one.ready()
	two.ready()
	until(t, time.Minute, "the service is whole", func() bool { logs, lost := w.recovering(); return logs == 0 && lost == 0 })
	wait(t, one, two)
	one.down()
	two.down()
	agree(t, one, two)
	newcomer(t, w, "three", one)
	w.stop()
	w.check()
}

// Each run of backup is killed, a little later each time; at every moment there
// is a backup that can be restored, and the last run goes on to its end.
func TestBackupThatIsKilledLeavesTheOneBefore(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, _ := pairOf(t)
	before, err := os.ReadFile(filepath.Join(w.backup(), "backup.json"))
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for i := range 12 {
		scribble(t, one, 1)
		cmd := exec.Command(programs.service, "backup", "--data", w.data(), "--to", w.backup())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(4*i) * time.Millisecond)
		cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
		to := filepath.Join(w.dir, fmt.Sprint("restored-", i))
		w.mustServer("restore", "--from", w.backup(), "--data", to)
		w.mustServer("check", "--data", to)
	}
	if killed == 0 {
		t.Error("every run was through before it was killed")
	}
	to := filepath.Join(w.dir, "restored")
	for i := range 6 { // and each run of restore, but the last
		cmd := exec.Command(programs.service, "restore", "--from", w.backup(), "--data", to)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(5*i) * time.Millisecond)
		cmd.Process.Kill()
		if cmd.Wait() == nil {
			to = filepath.Join(w.dir, fmt.Sprint("restored-too-", i))
		}
	}
	w.mustServer("restore", "--from", w.backup(), "--data", to)
	w.mustServer("check", "--data", to)
	w.mustServer("backup", "--data", w.data(), "--to", w.backup(), "--verify")
	after, err := os.ReadFile(filepath.Join(w.backup(), "backup.json"))
	if err != nil || bytes.Equal(before, after) {
		t.Errorf("the last run changed nothing (%v)", err)
	}
}

// A service whose data went back without a word takes nothing back: an alarm,
// until who runs it says what happened.
func TestServiceThatWentBackWithoutAWordStaysAnAlarm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, two := pairOf(t)
	old := w.data() + ".old"
	w.mustServer("restore", "--from", w.backup(), "--data", old, "--open")
	// What restore wrote of itself is taken out: the data are as a copy would be.
	forgetRestoring(t, filepath.Join(old, "signet.db"))
	scribble(t, one, 20)
	two.sync()
	w.lose()
	if err := os.Rename(old, w.data()); err != nil {
		t.Fatal(err)
	}
	w.start()
	for range 2 {
		if f := one.fails(3, "rollback", "sync"); !strings.Contains(f.Message, "went back") {
			t.Errorf("says %q", f.Message)
		}
		two.fails(3, "rollback", "sync")
	}
	if r := one.try("", "status", "--check"); r.code != 3 {
		t.Errorf("status --check: exit %d", r.code)
	}
	w.stop()
	w.mustServer("restore", "--data", w.data(), "--in-place")
	w.start()
	one.sync()
	two.sync()
	if r := one.try("", "status", "--check"); r.code != 0 {
		t.Errorf("status --check after it was mended: exit %d\n%s", r.code, r.stdout)
	}
	newcomer(t, w, "three", one)
}

// Who opens a restored service before the devices came, and has it take other
// entries, forked it.
func TestRestoredServiceThatTookOtherEntriesIsAFork(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	w, one, two := pairOf(t)
	away := newcomer(t, w, "away", one)
	w.takeBackup()
	scribble(t, one, 20)
	two.sync()
	w.lose()
	w.restore("--open")
	scribble(t, away, 3)
	before := treeOf(t, one.dir)
	for _, d := range []*device{one, two} {
		if f := d.fails(3, "fork", "sync"); !strings.Contains(f.Message, "two histories") {
			t.Errorf("%s: %s", d.name, f.Message)
		}
	}
	if after := treeOf(t, one.dir); len(after) != len(before) {
		t.Error("something was applied")
	}
}

func forgetRestoring(t *testing.T, file string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DELETE FROM settings WHERE name LIKE 'recovery%'"); err != nil {
		t.Fatal(err)
	}
}
