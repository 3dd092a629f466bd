package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How long a change takes from one folder to the other, both daemons running.
func TestChangeArrivesInMilliseconds(t *testing.T) {
	if testing.Short() {
		t.Parallel()
	}
	n := pick(50, 15)
	_, one, two := pair(t, 50)
	one.up()
	two.up()
	one.ready()
	two.ready()
	wait(t, one, two)
	saves := []struct {
		how  string
		save func(name, content string)
	}{
		{"written and closed", one.write},
		{"saved by renaming", func(name, content string) {
			one.write("."+name+".swp", content)
			one.move("."+name+".swp", name)
		}},
	}
	for _, s := range saves {
		took := make([]time.Duration, n)
		for i := range took {
			// Every other change is of a file that is there already.
			name, content := fmt.Sprintf("%s-%d.txt", strings.Fields(s.how)[0], i/2), fmt.Sprintf("change %d, %s", i, s.how)
			there := filepath.Join(two.dir, name)
			start := time.Now()
			s.save(name, content)
			until(t, 20*time.Second, name+" arrives", func() bool {
				b, err := os.ReadFile(there)
				return err == nil && string(b) == content
			})
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		median, late := took[n/2], took[n*95/100]
		t.Logf("%s: median %v, 95th percentile %v, most %v of %d", s.how, median.Round(time.Millisecond), late.Round(time.Millisecond), took[n-1].Round(time.Millisecond), n)
		if median > 200*time.Millisecond || late > time.Second {
			t.Errorf("%s: want a median under 200 ms, a 95th percentile under 1 s", s.how)
		}
	}
	wait(t, one, two)
	agree(t, one, two)
	one.down()
	two.down()
	quiet(t, one, two)
}

// An idle daemon with many files uses next to nothing.
func TestIdleDaemonUsesNoProcessor(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	span := pick(60*time.Second, 3*time.Second)
	w := newWorld(t)
	one := w.device("one")
	one.many("photos", pick(10_000, 500))
	one.add()
	one.up()
	one.ready()
	one.run("wait")
	// A file that was hashed right after it changed is read once more a minute
	// later. That is no idling yet; other tests run meanwhile.
	idle := time.Now().Add(pick(70*time.Second, time.Second))
	t.Parallel()
	<-time.After(time.Until(idle))
	pid := one.daemon.Process.Pid
	before := processorTime(t, pid)
	<-time.After(span)
	used := processorTime(t, pid) - before
	t.Logf("%v of processor time in %v; resident %s", used, span, mib(peakMemory(pid)))
	if used >= 100*time.Millisecond {
		t.Errorf("an idle daemon used %v in %v, want under 0.1 s", used, span)
	}
	one.down()
}

// processorTime is what the kernel counts for a process, in steps of 10 ms.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The name, in brackets, may have blanks.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func TestSecondDaemonOnAHomeIsRefused(t *testing.T) {
	t.Parallel()
	_, one, _ := pair(t, 5)
	one.up()
	one.ready()
	f := one.fails(1, "", "daemon")
	if !strings.Contains(f.Message, "runs") || f.Hint == "" {
		t.Errorf("a second daemon says %+v", f)
	}
	one.run("wait") // the first goes on
	one.run("up")   // and up is content with it
	one.write("later.txt", "later")
	one.run("wait")
	one.down()
	quiet(t, one)
}

// Both sides change the same things at the same time, daemons running.
func TestConcurrentEditsKeepBoth(t *testing.T) {
	t.Parallel()
	_, one, two := pair(t, 20)
	ds := []*device{one, two}
	for _, d := range ds {
		d.up()
		d.ready()
	}
	wait(t, one, two)
	for round := range pick(10, 3) {
		for _, d := range ds {
			d.write(fmt.Sprintf("letters/000/file-%05d.txt", round), fmt.Sprintf("round %d by %s", round, d.name))
		}
		wait(t, one, two)
	}
	agree(t, one, two)
	contents := map[string]int{}
	copies := 0
	for name, e := range treeOf(t, one.dir) {
		if e.mode.IsRegular() {
			contents[one.read(name)]++
		}
		if strings.Contains(name, "(conflict ") {
			copies++
		}
	}
	// What somebody overwrote after seeing it is in the history; the rest is in
	// files, each once.
	history := historyOf(t, one)
	for round := range pick(10, 3) {
		for _, d := range ds {
			want := fmt.Sprintf("round %d by %s", round, d.name)
			if contents[want] > 1 || contents[want] == 0 && history[sum(want)] == (revision{}) {
				t.Errorf("%q: in %d files", want, contents[want])
			}
		}
	}
	t.Logf("%d rounds: %d conflict copies", pick(10, 3), copies)
	for _, d := range ds {
		d.down()
	}
	quiet(t, one, two)
}

// One deletes what the other edits: the edit stays.
func TestEditWinsOverDelete(t *testing.T) {
	t.Parallel()
	_, one, two := pair(t, 20)
	one.remove("letters/000/file-00003.txt")
	two.write("letters/000/file-00003.txt", "edited on two")
	// A whole folder goes while a file in it is edited, and one is added.
	one.many("plans", 5)
	one.sync()
	two.sync()
	one.remove("plans")
	two.write("plans/000/file-00001.txt", "edited on two")
	two.write("plans/000/new.txt", "new on two")
	one.sync()
	two.sync()
	one.sync()
	agree(t, one, two)
	if got := one.read("plans/000/file-00001.txt") + one.read("plans/000/new.txt"); got != "edited on twonew on two" {
		t.Errorf("one has %q", got)
	}
	if _, err := os.Lstat(filepath.Join(one.dir, "plans/000/file-00000.txt")); err == nil {
		t.Error("what nobody edited is still there")
	}
	quiet(t, one, two)

	// The other way round: the edit is there first.
	two.write("letters/000/file-00005.txt", "edited on two")
	two.sync()
	one.remove("letters/000/file-00005.txt")
	one.sync()
	two.sync()
	agree(t, one, two)
	if got := one.read("letters/000/file-00005.txt"); got != "edited on two" {
		t.Errorf("one has %q", got)
	}
	quiet(t, one, two)
}

// The service goes away: commands say so, the daemon waits and goes on.
func TestServiceDownAndBack(t *testing.T) {
	t.Parallel()
	w, one, two := pair(t, 20)
	w.upstream.Store(nil)
	one.write("while away.txt", "written while the service was away")
	one.fails(4, "unreachable", "sync")
	two.up()
	two.ready()
	two.write("two, while away.txt", "written on two")
	until(t, 20*time.Second, "status says offline", func() bool { return two.status()[0].State == "offline" })
	if r := two.try("", "status", "--check"); r.code != 4 {
		t.Errorf("status --check: exit %d, want 4", r.code)
	}
	// The program itself dies and comes back.
	w.service.end(9)
	w.start()
	one.sync()
	start := time.Now()
	until(t, 60*time.Second, "the daemon goes on by itself", func() bool {
		b, err := os.ReadFile(filepath.Join(two.dir, "while away.txt"))
		return err == nil && len(b) > 0
	})
	t.Logf("the daemon went on %.1f s after the service was back", time.Since(start).Seconds())
	two.run("wait")
	one.sync()
	agree(t, one, two)
	two.down()
	quiet(t, one, two)
	w.stop()
	w.check()
}
