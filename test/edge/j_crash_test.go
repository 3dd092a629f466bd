package edge

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/keystore"
	"signet/test/edge/oddfs"
)

// J. Crashes, restarts, power cuts.

// errDead is what a disk answers to a program that is dead: nothing that it
// still does counts.
var errDead = errors.New("the program is dead")

// dies makes the device's program die at the n-th step that changes its disk:
// before the step, or after it and before the program knows. It says whether it
// came so far.
func (d *device) dies(n int, after bool) (died *bool) {
	died = new(bool)
	before := func(s step) error {
		if *died || s.n == n && !after {
			*died = true
			return errDead
		}
		return nil
	}
	d.meddle(before, func(s step) error {
		if s.n == n && after {
			*died = true
		}
		if *died {
			return errDead
		}
		return nil
	})
	return died
}

// upheaval is what an apply that dies is in the middle of: everything that can
// come from the other side.
func (a *device) upheaval(in string) {
	a.write(in+"/edited", "a new version in "+in)
	a.save(in+"/saved", "saved anew in "+in)
	a.rm(in + "/deleted")
	a.mv(in+"/folder", in+"/renamed")
	a.write(in+"/renamed/child", "edited in a renamed folder of "+in)
	a.mv(in+"/x", in+"/t")
	a.mv(in+"/y", in+"/x")
	a.mv(in+"/t", in+"/y")
	a.write(in+"/new/deep/file", "new in "+in)
	a.write(in+"/new/second", "second in "+in)
	a.rm(in + "/file")
	a.write(in+"/file/now a folder", "in a folder of "+in)
	a.rm(in + "/gone")
	a.chmod(in+"/mode", 0o755)
	a.rm(in + "/to link")
	a.link("edited", in+"/to link")
}

var before = []string{"edited", "saved", "deleted", "folder/child", "folder/other", "x", "y", "file", "gone/f", "gone/g", "mode", "to link", "left"}

// dying runs upheavals until an apply goes through without having died: at a
// first step, and so many further each time. A program that dies before a step knows of all that
// it did; one that dies after it does not know of that one.
func dying(t *testing.T, w *world, a, b *device, from, stride int, after func(n int) bool, recover func()) {
	t.Helper()
	for n := from; ; n += stride {
		in := fmt.Sprintf("r%02d", n)
		for _, f := range before {
			a.write(in+"/"+f, "first "+f+" in "+in)
		}
		w.settle()
		a.upheaval(in)
		a.sync()
		died := b.dies(n, after(n))
		b.try()
		recover()
		b.plainly()
		w.settle()
		if x, y := a.linesOf(in), b.linesOf(in); !slices.Equal(x, y) {
			t.Errorf("the folders differ:\n%s", apart(x, y))
		}
		if t.Failed() {
			t.Fatalf("died at step %d", n)
		}
		if !*died {
			t.Logf("%d steps at most", n-1)
			return
		}
	}
}

func TestCase107CrashAtEachStepOfAnApply(t *testing.T) {
	long(t)
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("top")
		w.approves = true // the deletions of all rounds are many
		dying(t, w, a, b, 1, 2, func(n int) bool { return n%4 == 3 }, func() {})
	})
}

// What is on the disk after a power cut is old or new, and never empty or cut;
// what was acknowledged does not count as deleted because it is not there.
func TestCase106PowerCutAtEachStepOfAnApply(t *testing.T) {
	long(t)
	t.Parallel()
	for _, names := range []bool{false, true} {
		t.Run(map[bool]string{false: "names and bytes", true: "bytes alone"}[names], func(t *testing.T) {
			t.Parallel()
			odd, d := oddity(t, oddfs.Options{})
			w := newWorld(t, plain, d)
			w.approves = true
			a := w.device("a")
			a.add()
			b := w.device("b")
			odd.Sync()
			b.add()
			w.settle()
			dying(t, w, a, b, map[bool]int{false: 1, true: 3}[names], 4, func(int) bool { return true }, func() {
				b.Close()
				odd.Cut(names)
				b.whole(a)
			})
			w.check()
		})
	}
}

// whole says that each file in the device's folder has a content that somebody
// wrote.
func (d *device) whole(others ...*device) {
	d.t.Helper()
	for _, o := range others {
		o.note()
	}
	filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == ".signet" {
			return fs.SkipDir
		}
		if e.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			if !d.w.knows(b) {
				d.t.Errorf("after the cut %s has %q, which nobody wrote", p, b)
			}
		}
		return nil
	})
}

func TestCase102CutAtEachCallOfAnUpload(t *testing.T) {
	long(t)
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("top")
		w.approves = true
		for n := int32(1); ; n++ {
			in := fmt.Sprintf("r%02d", n)
			for _, f := range before {
				a.write(in+"/"+f, "first "+f+" in "+in)
			}
			w.settle()
			a.upheaval(in)
			a.write(in+"/large", strings.Repeat(in, 1<<20))
			a.cut("", n)
			_, err := a.try()
			a.again()
			a.sync()
			b.sync()
			w.settle()
			if n := len(a.copies()); n > 0 {
				t.Errorf("in conflict with itself: %q", a.copies())
			}
			if t.Failed() {
				t.Fatalf("cut at call %d", n)
			}
			if err == nil {
				t.Logf("%d calls", n-1)
				break
			}
		}
	})
}

// The service has the entry, the device does not know: it dies, or the answer
// is lost.
func TestCase103AnswerLostAfterTheCommit(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(map[bool]string{false: "answer lost", true: "died"}[dies], func(t *testing.T) {
			on(t, exact, func(t *testing.T, w *world) {
				a, b := w.pair("f", "moved", "deleted")
				a.write("f", "edited")
				a.write("new", "new")
				a.mv("moved", "d/moved")
				a.rm("deleted")
				lost := 0
				a.Engine.Service = lossy{line{Service: a.service}, &lost}
				a.try()
				if lost == 0 {
					t.Error("no answer was lost")
				}
				if dies {
					a.again()
				} else {
					a.plug()
				}
				before := a.entries()
				b.sync()
				w.want("d/moved=first moved", "f=edited", "new=new")
				if now := a.entries(); now > before+1 {
					t.Errorf("%d more entries for what was committed", now-before)
				}
			})
		})
	}
}

func TestCase104StagedFilesOfACrash(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		content := strings.Repeat("x", 3<<20)
		a.write("f", content)
		a.write("g", content+"y")
		a.sync()
		died := false
		b.meddle(func(s step) error {
			if died = died || s.verb == "place" || s.verb == "replace"; died {
				return errDead
			}
			return nil
		}, nil)
		b.try()
		if !died {
			t.Error("nothing was placed")
		}
		b.plainly()
		w.want("f="+content, "g="+content+"y")
		list, err := os.ReadDir(b.path(".signet/staging"))
		must(t, err)
		if len(list) > 0 {
			t.Errorf("staging has %v", list)
		}
	})
}

func TestCase105CrashAfterTheRename(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		a.write("f", "of a")
		a.write("new", "of a, new")
		a.mv("g", "moved")
		a.sync()
		died := false
		b.meddle(func(s step) error {
			if s.verb == "sync" {
				died = true
			}
			if died {
				return errDead
			}
			return nil
		}, nil)
		b.try()
		if !died {
			t.Error("nothing was renamed")
		}
		b.plainly()
		if c := b.sync(); c.FilesUp != 0 || c.Conflicts != 0 || c.Entries > 0 {
			t.Errorf("did %+v", c)
		}
		w.want("f=of a", "moved=first g", "new=of a, new")
	})
}

func TestCase108IndexDeleted(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "d/g", "h")
		a.lose()
		if c := a.sync(); c.Deletes+c.FilesUp+c.FilesDown+c.Conflicts+c.Moves != 0 {
			t.Errorf("did %+v", c)
		}
		a.mv("d", "e")
		a.moved(1)
		b.sync()
		w.want("e/f=first d/f", "e/g=first d/g", "h=first h")
	})
}

func TestCase109IndexOfAnOlderBackup(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g", "d/h")
		a.Close()
		saved := map[string][]byte{}
		for _, p := range a.indexes() {
			data, err := os.ReadFile(p)
			must(t, err)
			saved[p] = data
		}
		a.open()
		for i, d := range []*device{a, b, a} {
			d.write(fmt.Sprint("new ", i), fmt.Sprint("newer than the backup ", i))
			d.write("f", "edit "+strings.Repeat("!", i))
			d.sync()
			w.settle()
		}
		b.mv("d", "e")
		w.settle()
		a.Close()
		for _, p := range a.indexes() {
			must(t, os.Remove(p))
		}
		for p, data := range saved {
			must(t, os.WriteFile(p, data, 0o600))
		}
		a.open()
		c, err := a.try()
		if err != nil {
			t.Logf("the device says %v", err)
		}
		if c.Deletes != 0 || c.FilesUp != 0 {
			t.Errorf("did %+v", c)
		}
		w.want("e/h=first d/h", "f=edit !!", "g=first g", "new 0=newer than the backup 0", "new 1=newer than the backup 1", "new 2=newer than the backup 2")
	})
}

// A running device loses its line in the middle of a transfer, again and again.
func TestCase114LineThatComesAndGoes(t *testing.T) {
	long(t)
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		content := strings.Repeat("0123456789abcdef", 1<<18)
		a.write("large", content)
		a.write("f", "edited")
		for n := int32(1); n < 12; n += 2 {
			a.cut("", n)
			a.try()
		}
		a.plug()
		a.sync()
		for n := int32(1); n < 8; n += 2 {
			b.cut("", n)
			b.try()
		}
		b.plug()
		w.want("f=edited", "large="+content)
	})
}

// twin is the device's home and folder on a second machine.
func (d *device) twin() *device {
	d.t.Helper()
	d.Close()
	twin := *d
	twin.home = home.Dir(filepath.Join(scratch(d.t), "home"))
	must(d.t, os.CopyFS(string(twin.home), os.DirFS(string(d.home))))
	must(d.t, filepath.WalkDir(string(twin.home), func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return errors.Join(err, os.Chmod(p, 0o600))
	}))
	twin.name, twin.dir, twin.noted = "twin", d.dir+"-twin", map[string]string{}
	must(d.t, os.CopyFS(twin.dir, os.DirFS(d.dir)))
	d.open()
	twin.open()
	d.t.Cleanup(func() { twin.Close() })
	twin.relink()
	d.w.devices = append(d.w.devices, &twin)
	d.w.attended["key_elsewhere"] = true
	return &twin
}

// attend is a pass of a device that may find out that it has a twin: then a person
// sees the alarm, and has it go on. It says whether it found out.
func (d *device) attend() (found bool) {
	d.t.Helper()
	for {
		_, err := d.try()
		var alarm *engine.AlarmError
		if err == nil {
			return found
		}
		if !errors.As(err, &alarm) || alarm.Alarm.Kind != "key_elsewhere" {
			d.t.Fatalf("sync of %s: %v", d.name, err)
		}
		found = true
		if s := d.status(); s.State != engine.AlarmedAt || !strings.Contains(s.Hint, "signet logout") {
			d.t.Errorf("%s has a twin and says %s: %s; hint %s", d.name, s.State, s.Reason, s.Hint)
		}
		must(d.t, d.Engine.Seen())
	}
}

// anew makes the device forget its keys and join as another one, which some device
// takes in; its folder stays, and is the volume's again.
func (d *device) anew(name string, by *device) {
	d.t.Helper()
	org := d.Account.Org
	d.Close()
	must(d.t, account.Forget(d.home, org))
	d.name = name
	d.w.linkBy(by, account.Options{Home: d.home, Use: keystore.Never, Now: time.Now, Name: name, Version: "test"})
	d.open()
	must(d.t, d.Engine.Discover(d.t.Context()))
	d.relink()
}

// Two that are one device: neither takes the other's entries for its own, and
// nothing is lost; and it is found out by the one that runs as the other writes.
func TestCase110HomeCopiedToASecondMachine(t *testing.T) {
	edits := func(b, twin *device, i int) {
		b.write("f", "of b "+strings.Repeat("!", i))
		twin.write("f", "of its twin "+strings.Repeat("!", i))
		twin.write(fmt.Sprint("new ", i), "of the twin")
		b.write(fmt.Sprint("new ", i), "of b")
		b.rm("g")
		twin.mv("d", fmt.Sprint("d", i))
		twin.write("d/h", fmt.Sprint("again ", i))
	}
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g", "d/h")
		twin := b.twin()
		// A person who only puts the alarms away has them again, and loses nothing.
		for i := range 4 {
			edits(b, twin, i)
			var first, second bool
			for range 3 {
				first, second = b.attend() || first, twin.attend() || second
			}
			if !first || !second && i > 0 { // what was there as it began tells the copy nothing
				t.Errorf("round %d: found out by the first: %v, by the copy: %v", i, first, second)
			}
			a.sync()
		}
		// The way out: the copy becomes a device of its own, even by the help of the
		// first, whose alarm stands meanwhile and through a restart.
		edits(b, twin, 4)
		twin.attend()
		before := a.entries()
		for range 2 {
			if c, err := b.try(); !errors.Is(err, signet.ErrNotVerified) || c.Entries > 0 || b.status().State != engine.AlarmedAt {
				t.Errorf("did %+v with a twin: %v; %s", c, err, b.status().State)
			}
			b.again()
		}
		if got := b.Engine.Alarms(); len(got) != 1 || got[0].Kind != "key_elsewhere" || got[0].Region != w.region.String() || got[0].Hint == "" {
			t.Errorf("alarms %+v", got)
		}
		twin.anew("twin that was", b)
		if twin.Self.Device == b.Self.Device {
			t.Fatal("it is the same device still")
		}
		must(t, b.Engine.Seen())
		w.settle()
		if a.entries() == before {
			t.Error("nothing was written since")
		}
		for i := range 2 {
			edits(b, twin, 5+i)
			w.sync()
			w.settle()
		}
		for _, d := range w.devices {
			if got := d.Engine.Alarms(); len(got) > 0 {
				t.Errorf("%s: alarms %+v", d.name, got)
			}
		}
	})
	// Nobody made a copy: the keys are given up, and the first joins anew.
	t.Run("stolen", func(t *testing.T) {
		on(t, []disk{plain}, func(t *testing.T, w *world) {
			a, b := w.pair("f", "g", "d/h")
			thief := b.twin()
			b.sync()
			edits(b, thief, 0)
			thief.sync()
			if _, err := b.try(); !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("a pass beside a thief: %v", err)
			}
			must(t, a.revoke(b))
			w.devices = w.devices[:2]
			for _, d := range []*device{b, thief} {
				d.write("late", "of "+d.name)
				before := a.entries()
				if _, err := d.try(); err == nil {
					t.Errorf("a pass of %s, whose key is given up", d.name)
				}
				if a.sync(); a.entries() != before {
					t.Errorf("%s wrote after its key was given up", d.name)
				}
			}
			w.forget("of twin") // it is where the thief wrote it, and nowhere else
			b.anew("b anew", a)
			w.settle()
			if !b.has("late") || !a.has("late") || a.read("late") != "of b" {
				t.Error("what b had not sent is gone")
			}
		})
	})
}

// A file of which the service lost something waits, with its name; all else goes on. Who
// sent it sends it again, once asked to look.
func TestCase124ObjectThatTheServiceLost(t *testing.T) {
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		lost := &losses{gone: map[signet.ObjectID]bool{}}
		var ids []signet.ObjectID
		a.Engine.Service = recorder{a.service, &ids}
		a.write("lost", "the service loses this")
		a.sync()
		for _, id := range ids {
			lost.gone[id] = true
		}
		a.Engine.Service, b.Engine.Service = forgetful{a.service, lost}, forgetful{b.service, lost}
		a.write("whole", "and not this")
		a.mv("f", "g")
		a.sync()
		b.try()
		if b.has("lost") || !b.has("whole") || !b.has("g") || b.has("f") {
			t.Error("does not go on without what the service lacks")
		}
		if p := b.status().Problems; len(p) != 1 || p[0].Path != "lost" {
			t.Errorf("problems %+v", p)
		}
		r, err := a.Engine.Recheck(t.Context(), true, nil)
		must(t, err)
		if len(r.Faults) != 1 || !r.Faults[0].Given || !slices.Equal(r.Faults[0].Paths, []string{"lost"}) {
			t.Errorf("found %+v", r.Faults)
		}
		b.late += 2 * time.Minute
		b.again()
		w.settle()
		w.want("g=first f", "lost=the service loses this", "whole=and not this")
	})
}

// What came before the cut is not fetched again.
func TestCase121DownloadThatIsCut(t *testing.T) {
	long(t)
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f")
		const size = 24 << 20
		content := make([]byte, size)
		rand.NewChaCha8([32]byte{1}).Read(content)
		a.write("film", string(content))
		a.sync()
		b.cut("get", 4)
		got, err := b.try()
		if err == nil || got.BytesDown == 0 || b.has("film") {
			t.Errorf("cut after %+v: %v", got, err)
		}
		b.again()
		if rest := b.sync(); rest.BytesDown+got.BytesDown > size+size/4 {
			t.Errorf("fetched %d bytes before the cut, and %d after it", got.BytesDown, rest.BytesDown)
		}
		if b.read("film") != string(content) {
			t.Error("it is another film")
		}
	})
}
