package attack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/device/engine"
	"signet/service"
	"signet/transport"
)

func TestDeviceRefusesObjectWithOneBitFlipped(t *testing.T) {
	w, a, b, _ := pair(t)
	a.write("new.txt", "new")
	a.write("large.bin", string(randomBytes(1<<20)))
	a.sync()
	w.liar.lie(lies{object: func(_ signet.ObjectID, o []byte) []byte {
		o[len(o)/2] ^= 1
		return o
	}})
	refused(t, b, "object", "not what its name promises")
	w.liar.lie(lies{})
	b.reopen()
	b.sync()
	same(t, a, b)
}

func TestDeviceRefusesObjectFlippedInThePack(t *testing.T) {
	w, a, b, _ := pair(t)
	a.write("new.txt", "new")
	a.sync()
	var packs []string
	for _, r := range glob(t, w.config.Data) {
		if bytes.HasPrefix(readFile(t, r), []byte("signet pack")) {
			packs = append(packs, r)
		}
	}
	if len(packs) == 0 {
		t.Fatal("the service has no pack")
	}
	w.stop()
	p := packs[len(packs)-1]
	content := readFile(t, p)
	whole := bytes.Clone(content)
	end := len(bytes.TrimRight(content, "\x00"))
	content[end-10] ^= 1
	if err := os.WriteFile(p, content, 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(w.config.Data)
	refused(t, b, "object", "not what its name promises")
	w.stop()
	if err := os.WriteFile(p, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(w.config.Data)
	b.reopen()
	b.sync()
	same(t, a, b)
}

func glob(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// changed is a page of a region's journal with its records changed; the
// checkpoint stays the honest one.
func changed(id signet.RegionID, f func(r []signet.Record) []signet.Record) lies {
	return lies{page: func(_ signet.DeviceID, p *signet.Page) {
		if p.Log == signet.Journal(id) && len(p.Records) > 2 {
			p.Records = f(p.Records)
		}
	}}
}

func TestDeviceRefusesJournalThatIsNotTheSignedOne(t *testing.T) {
	w, a, b, id := pair(t)
	other := a.records2(t, w)
	for _, f := range []string{"one", "two", "three"} {
		a.write(f, f)
		a.sync()
	}
	before := w.records(signet.Journal(id))
	attacks := map[string]struct {
		lie  func(r []signet.Record) []signet.Record
		kind string
		says string
	}{
		"entry removed": {func(r []signet.Record) []signet.Record { return append(r[:1], r[2:]...) }, "fork", "another history"}, // the entry after the gap tells what its writer had seen
		"entries reordered": {func(r []signet.Record) []signet.Record {
			copy(r[0].Leaf[32:], r[1].Leaf[32:])
			r[0], r[1] = r[1], r[0]
			return r
		}, "fork", "another history"},
		"entry replayed":            {func(r []signet.Record) []signet.Record { r[1] = clone(before[1]); return r }, "not_verified", "time goes back"},
		"entry replayed at its end": {func(r []signet.Record) []signet.Record { r[2] = clone(r[1]); return r }, "history", "do not hash"},
		"entry from another region": {func(r []signet.Record) []signet.Record {
			copy(other.Leaf[32:], r[1].Leaf[32:])
			r[1] = clone(other)
			return r
		}, "fork", "another history"},
		"operations of another entry":   {func(r []signet.Record) []signet.Record { r[1].Blob = r[2].Blob; return r }, "not_verified", "parts are not those that the header names"},
		"header of another entry":       {func(r []signet.Record) []signet.Record { r[1].Head = r[2].Head; return r }, "not_verified", "not the one that the leaf names"},
		"signature flipped":             {func(r []signet.Record) []signet.Record { r[0].Head[len(r[0].Head)-1] ^= 1; return r }, "not_verified", "not the one that the leaf names"},
		"leaf malformed":                {func(r []signet.Record) []signet.Record { r[0].Leaf = r[0].Leaf[1:]; return r }, "not_verified", "leaf"},
		"time of a leaf goes back":      {func(r []signet.Record) []signet.Record { clear(r[1].Leaf[32:]); return r }, "not_verified", "time goes back"},
		"time of a leaf a second later": {func(r []signet.Record) []signet.Record { r[2].Leaf[38]++; return r }, "history", "do not hash"},
	}
	for name, x := range attacks {
		t.Run(name, func(t *testing.T) {
			w.liar.lie(changed(id, x.lie))
			refused(t, b, x.kind, x.says, id.String())
			w.liar.lie(lies{})
			b.again(t)
		})
	}
	b.sync()
	same(t, a, b)
}

// again opens a device as the next command does, its alarms seen.
func (d *device) again(t *testing.T) {
	t.Helper()
	if err := d.Engine.Seen(); err != nil {
		t.Fatal(err)
	}
	d.reopen()
}

func (d *device) reopen() {
	d.t.Helper()
	d.close()
	d.open()
}

// records2 is an entry of another region of the same device.
func (d *device) records2(t *testing.T, w *world) signet.Record {
	t.Helper()
	id, _, err := d.Engine.MakeRegion(t.Context(), "Other")
	if err != nil {
		t.Fatal(err)
	}
	return w.records(signet.Journal(id))[0]
}

func TestDeviceRefusesCheckpointByOtherLogKeys(t *testing.T) {
	w, a, b, id := pair(t)
	a.write("new.txt", "new")
	a.sync()
	for _, log := range []signet.LogID{w.directory(), signet.Journal(id)} {
		f := w.forgery(log)
		f.key = generate(t)
		w.liar.forge(f)
		refused(t, b, "not_verified", "other log keys", log.String())
		w.liar.forget()
		b.again(t)
	}
	b.sync()
	same(t, a, b)
}

func (l *liar) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.forged)
}

func TestDeviceRefusesServiceThatWentBack(t *testing.T) {
	w, a, b, _ := pair(t)
	old := w.copyData()
	a.write("after.txt", "after")
	a.sync()
	b.sync()
	w.stop()
	w.run(old)
	// The old checkpoint is older than the last one seen: a late answer looks
	// the same to a stranger, so this is no evidence yet. It is an alarm.
	err := refused(t, b, "rollback", "went back", "journal/", "from size 4 to size 3")
	if x := evidenceFile(t, err); !strings.Contains(string(x), "went back") {
		t.Errorf("what was kept of it: %q", x)
	}
	// A second command says the same.
	if again := refused(t, b, "rollback"); !bytes.Equal(evidenceFile(t, again), evidenceFile(t, err)) {
		t.Error("the second command names other evidence")
	}
	// What the service signs from there on is evidence.
	s := w.raw(a)
	defer s.Close()
	w.orderPoint(a, s)
	b.reopen()
	evidenceOf(t, w, refused(t, b, "fork", "two histories", "journal/"))
	if b.read("after.txt") != "after" {
		t.Error("the newer file is gone")
	}
}

// It says that it takes back what it lost, or that it is about to, and goes on
// showing less: the first is an alarm, the second is waited for and named.
func TestServiceThatClaimsToTakeBackStaysAnAlarm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w, a, b, _ := pair(t)
	old := w.copyData()
	a.write("after.txt", "after")
	a.sync()
	b.sync()
	w.stop()
	w.run(old)
	w.liar.lie(lies{reoffer: func(r signet.Reoffer) (uint64, bool, error) {
		return 0, false, transport.Errorf(transport.KindRecovering, "soon")
	}})
	before := b.listing()
	var kind interface{ ErrorKind() string }
	if _, err := b.try(); !errors.As(err, &kind) || kind.ErrorKind() != "recovering" || !errors.Is(err, signet.ErrUnavailable) {
		t.Errorf("while it is to come: %v", err)
	}
	if s := b.Engine.Status()[0].State; s == engine.InStep {
		t.Errorf("while it is to come: %s", s)
	}
	w.liar.lie(lies{reoffer: func(r signet.Reoffer) (uint64, bool, error) { return r.From + uint64(len(r.Records)), true, nil }})
	refused(t, b, "rollback", "went back", "journal/")
	w.liar.lie(lies{})
	refused(t, b, "rollback", "went back", "journal/")
	if b.listing() != before {
		t.Error("something was applied")
	}
	// When it has all again, the alarm ends, and a record stays.
	b.reopen()
	w.stop()
	if _, err := service.MarkRestored(old, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.run(old)
	a.sync()
	b.sync()
	for _, al := range b.Engine.Alarms() {
		if al.State != engine.AlarmEnded || al.Ended == nil {
			t.Errorf("after it was mended: %+v", al)
		}
	}
	if len(b.Engine.Alarms()) == 0 {
		t.Error("no record of it")
	}
	same(t, a, b)
}

func TestDeviceRefusesDirectoryThatWentBack(t *testing.T) {
	w, a, b, _ := pair(t)
	old := w.copyData()
	w.device("c")
	a.sync()
	b.sync()
	w.stop()
	w.run(old)
	refused(t, b, "rollback", "directory/")
	refused(t, a, "rollback", "directory/")
}

func evidenceFile(t *testing.T, err error) []byte {
	t.Helper()
	var e interface{ ErrorEvidence() string }
	if !errors.As(err, &e) || e.ErrorEvidence() == "" {
		t.Fatalf("no evidence: %v", err)
	}
	return readFile(t, e.ErrorEvidence())
}

// evidenceOf reads the file that an alarm names, and verifies it as a stranger
// does who has the log's public key and nothing else.
func evidenceOf(t *testing.T, w *world, err error) *chain.Evidence {
	t.Helper()
	x, err := chain.ParseEvidence(evidenceFile(t, err))
	if err != nil {
		t.Error(err)
		return nil
	}
	if err := x.Verify(w.logKey.Public()); err != nil {
		t.Error(err)
	}
	if err := x.Verify(generate(t).Public()); err == nil {
		t.Error("evidence against any service whatever")
	}
	return x
}

func TestTwoHistoriesOfAJournalAreEvidence(t *testing.T) {
	w, a, b, _ := pair(t)
	second := w.second()
	w.liar.show(b.Self.Device, second)
	a.write("left.txt", "left")
	a.sync()
	b.write("right.txt", "right")
	b.sync()
	// They meet: b is shown what a sees.
	w.liar.show(b.Self.Device, w.service)
	err := refused(t, b, "fork", "two histories", "journal/")
	evidenceOf(t, w, err)
	if b.read("right.txt") != "right" {
		t.Error("the device's own file is gone")
	}
}

func TestEntryOfTheOtherHistoryIsEvidence(t *testing.T) {
	w, a, b, id := pair(t)
	second := w.second()
	w.liar.show(b.Self.Device, second)
	a.write("left.txt", "left")
	a.sync()
	b.write("right.txt", "right")
	b.sync()
	b.write("right2.txt", "right")
	b.sync()
	// The service carries b's newest entry over to a's history: it names what b
	// had seen.
	f := w.forgery(signet.Journal(id))
	mine := b.journal(t, second, id)
	f.add(mine[len(mine)-1])
	w.liar.forge(f)
	evidenceOf(t, w, refused(t, a, "fork", "two histories"))
}

func TestTwoDirectoriesAreEvidence(t *testing.T) {
	w, a, b, _ := pair(t)
	second := w.second()
	w.liar.show(b.Self.Device, second)
	w.device("c") // by a, in one directory
	if err := b.Engine.FreshenRing(t.Context()); err != nil {
		t.Fatal(err)
	}
	rekeyRing(t, b) // and a statement of b's in the other
	w.liar.show(b.Self.Device, w.service)
	evidenceOf(t, w, refused(t, b, "fork", "two histories", "directory/"))
	_ = a
}
