package owner_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/enrol"
	"signet/device/keystore"
	"signet/device/owner"
	"signet/service"
	"signet/transport"
)

// A world is a service over TLS and devices of one member.
type world struct {
	t       *testing.T
	inviter *service.Inviter
	first   *device
	n       int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	logKey, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
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
	if err := s.SetAddress("https://"+l.Addr().String(), pin[:]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}},
			transport.NewHandler(s, transport.Limits{Drain: time.Second, PublicRate: 1e6}, slog.New(slog.DiscardHandler)))
	}()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	return &world{t: t, inviter: &service.Inviter{Data: dir, LogKey: logKey.Public(), Connector: connector, Device: record, Clock: time.Now}}
}

// A device is a home with one volume.
type device struct {
	*owner.Owner
	t    *testing.T
	home home.Dir
	dir  string

	approves bool // deletions that the guard holds
}

func (w *world) device(name string) *device {
	w.t.Helper()
	o := account.Options{Home: home.Dir(filepath.Join(w.t.TempDir(), "home")), Use: keystore.Never, Now: time.Now, Name: name, Version: "test"}
	var j *account.Joined
	if w.first == nil {
		i, err := w.inviter.Invite("alice")
		if err != nil {
			w.t.Fatal(err)
		}
		invite, err := ring.ParseInvite(i.URL)
		if err != nil {
			w.t.Fatal(err)
		}
		if j, err = account.Redeem(w.t.Context(), o, invite); err != nil {
			w.t.Fatal(err)
		}
		j.Close()
	} else {
		f := w.first
		g, err := account.Give(w.t.Context(), f.Account, f.Keys, f.Engine, f.Client, time.Now().Add(time.Minute))
		if err != nil {
			w.t.Fatal(err)
		}
		codes := make(chan enrol.Code, 1)
		added := make(chan error, 1)
		go func() {
			_, err := g.Add(w.t.Context(), func(_ context.Context, q enrol.Request) (bool, error) { return q.Code == <-codes, nil })
			added <- err
		}()
		j, err = account.LinkByURL(w.t.Context(), o, g.Invitation, func(_ context.Context, _ string, c enrol.Code) (bool, error) {
			codes <- c
			return true, nil
		})
		if err == nil {
			err = <-added
		}
		if err != nil {
			w.t.Fatal(err)
		}
		j.Close()
	}
	d := &device{t: w.t, home: o.Home, dir: filepath.Join(w.t.TempDir(), name)}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	d.open()
	w.t.Cleanup(func() { d.Close() })
	if w.first == nil {
		w.first = d
	}
	return d
}

func (d *device) open() {
	d.t.Helper()
	var err error
	if d.Owner, err = owner.Open(d.home, "test"); err != nil {
		d.t.Fatal(err)
	}
	if err := d.Engine.LoadVolumes(); err != nil {
		d.t.Fatal(err)
	}
}

// add keeps the device's folder in step with the region of a name.
func (d *device) add(name string) {
	d.t.Helper()
	ctx := d.t.Context()
	if err := d.Engine.Discover(ctx); err != nil {
		d.t.Fatal(err)
	}
	for _, r := range d.Engine.Regions() {
		if r.Name == name {
			if err := d.CreateVolume(ctx, d.dir, r.ID, false); err != nil {
				d.t.Fatal(err)
			}
			return
		}
	}
	id, _, err := d.Engine.MakeRegion(ctx, name)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.CreateVolume(ctx, d.dir, id, false); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) sync() engine.Counters {
	d.t.Helper()
	var sum engine.Counters
	for _, v := range d.Engine.Volumes() {
		ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
		c, err := d.Engine.SyncVolume(ctx, v.ID)
		cancel()
		if err != nil {
			d.t.Fatalf("sync of %s: %v", v.Dir, err)
		}
		sum = c
	}
	return sum
}

// listing is everything below the device's folder that syncs. While a daemon is
// at work a name can go between the look at its folder and at itself: then all is
// looked at again.
func (d *device) listing() string {
	d.t.Helper()
	for try := 0; ; try++ {
		lines, err := d.lines()
		if err == nil {
			return strings.Join(lines, "\n")
		}
		if try == 100 {
			d.t.Fatal(err)
		}
	}
}

func (d *device) lines() (lines []string, err error) {
	err = filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(d.dir, p)
		if rel == ".signet" {
			return filepath.SkipDir
		}
		if rel == "." {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			lines = append(lines, fmt.Sprintf("%s/ %o", rel, info.Mode().Perm()))
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			lines = append(lines, fmt.Sprintf("%s -> %s", rel, to))
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%s %o %d %x", rel, info.Mode().Perm(), info.ModTime().UnixNano(), sha256.Sum256(b)))
		}
		return nil
	})
	slices.Sort(lines)
	return lines, err
}

func (d *device) write(name, content string) {
	d.t.Helper()
	p := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func same(t *testing.T, a, b *device) {
	t.Helper()
	if x, y := a.listing(), b.listing(); x != y {
		t.Fatalf("folders differ:\n%s\n--- and\n%s", x, y)
	}
}

func quiet(t *testing.T, ds ...*device) {
	t.Helper()
	for _, d := range ds {
		if c := d.sync(); c != (engine.Counters{}) {
			t.Errorf("a second synch did %+v", c)
		}
	}
}

func TestCreateEditDeleteMoveBetweenTwoDevices(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("docs/letter.txt", "dear")
	a.write("docs/empty", "")
	a.write("big.bin", string(randomBytes(1, 3<<20)))
	a.write("na\xffme", "not UTF-8")
	os.Symlink("docs/letter.txt", filepath.Join(a.dir, "link"))
	os.Mkdir(filepath.Join(a.dir, "hollow"), 0o750)
	os.Chmod(filepath.Join(a.dir, "docs/empty"), 0o755)
	a.add("Documents")
	a.sync()
	b.add("Documents")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)

	b.write("docs/letter.txt", "dear all")
	os.Rename(filepath.Join(b.dir, "big.bin"), filepath.Join(b.dir, "docs/moved.bin"))
	os.Remove(filepath.Join(b.dir, "link"))
	if c := b.sync(); c.FilesUp != 1 || c.Moves != 1 || c.Deletes != 1 || c.BytesUp > 10000 {
		t.Errorf("edit, move and delete cost %+v", c)
	}
	a.sync()
	same(t, a, b)
	os.Rename(filepath.Join(a.dir, "docs"), filepath.Join(a.dir, "papers"))
	if c := a.sync(); c.Moves != 1 || c.FilesUp != 0 || c.Entries != 1 {
		t.Errorf("renaming a folder cost %+v", c)
	}
	if c := b.sync(); c.Moves != 1 || c.FilesDown != 0 {
		t.Errorf("following a renamed folder cost %+v", c)
	}
	same(t, a, b)
	quiet(t, a, b)
}

func randomBytes(seed int64, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return b
}

func TestConcurrentEditsLeaveOneConflictCopy(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("f.txt", "base")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()
	a.write("f.txt", "from a")
	b.write("f.txt", "from b")
	a.sync()
	b.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	if l := a.listing(); strings.Count(l, "f") < 2 || !strings.Contains(l, "conflict") {
		t.Errorf("no conflict copy:\n%s", l)
	}
	got, _ := os.ReadFile(filepath.Join(b.dir, "f.txt"))
	if string(got) != "from a" {
		t.Errorf("the first to commit lost the name: %q", got)
	}
	quiet(t, a, b)
}

func TestFolderIsJoinedByContent(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("same", "same")
	a.write("differs", "one")
	a.add("R")
	a.sync()
	b.write("same", "same")
	b.write("differs", "two")
	b.write("mine", "mine")
	b.add("R")
	if c := b.sync(); c.Deletes != 0 || c.FilesUp != 2 {
		t.Errorf("joining did %+v", c)
	}
	a.sync()
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

func TestNewcomerListsFromASnapshotBeforeItReplays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a := w.device("a")
	const folders = 40
	files := 10_000 - folders
	for i := range files {
		content := "" // what is in them is not the point
		if i%10 == 0 {
			content = fmt.Sprint("content ", i)
		}
		a.write(fmt.Sprintf("d%d/f%d", i%folders, i), content)
	}
	a.add("Many")
	a.sync()
	b := w.device("b")
	must(t, b.Engine.Peek(t.Context()))
	if n := b.Engine.Unlisted(b.Engine.Regions()[0].ID); n != 0 {
		t.Errorf("%d entries are newer than a snapshot of all", n)
	}
	b = w.device("c")
	a.write("after", "the snapshot") // listed once the journal is replayed
	a.sync()
	if err := b.Engine.Peek(t.Context()); err != nil {
		t.Fatal(err)
	}
	regions := b.Engine.Regions()
	if len(regions) != 1 || regions[0].Name != "Many" {
		t.Fatalf("regions %+v", regions)
	}
	id := regions[0].ID
	if err := b.Engine.WithRegion(id, func(*region.Region) error { return nil }); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("the journal was replayed for a listing: %v", err)
	}
	n := 0
	must(t, b.Engine.WithListing(id, func(l *tree.Tree) error { n = l.Len(); return nil }))
	if n != files+folders {
		t.Errorf("the listing has %d nodes, want %d", n, files+folders)
	}
	if n := b.Engine.Unlisted(id); n != 1 {
		t.Errorf("%d entries are newer than what is listed, want 1", n)
	}
	b.add("Many")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
	// The next start reads nothing again.
	b.Close()
	b.open()
	quiet(t, b)
}

func TestDamagedObjectIsAnAlarmAndHoldsUpNoOtherFile(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("bad", string(randomBytes(2, 1000)))
	a.add("R")
	a.sync()
	undo := w.damage()
	a.write("good", "good")
	a.sync()
	b.add("R")
	_, err := b.Engine.SyncVolume(t.Context(), b.Engine.Volumes()[0].ID)
	if !errors.Is(err, signet.ErrNotVerified) || !errors.Is(err, engine.ErrObject) {
		t.Fatalf("a damaged object: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "bad")); err == nil {
		t.Error("a damaged file reached the folder")
	}
	if got, _ := os.ReadFile(filepath.Join(b.dir, "good")); string(got) != "good" {
		t.Error("a damaged file held up another")
	}
	if al := b.Engine.Alarms(); len(al) != 1 || al[0].Kind != "object" {
		t.Errorf("alarms %+v", al)
	}
	// As results show it: a time like all others, and evidence always.
	raw, _, err := b.call("notices", map[string]bool{"seen": false})
	must(t, err)
	var list []map[string]any
	must(t, json.Unmarshal(raw, &list))
	since, _ := list[0]["since"].(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000000000Z", since); err != nil || list[0]["evidence"] == nil {
		t.Errorf("%s: %v", raw, err)
	}
	raw, _, err = b.call("status", struct{}{})
	must(t, err)
	if !strings.Contains(string(raw), `"since":"`+since+`"`) {
		t.Errorf("status says %s", raw)
	}
	undo()
	b.Close()
	b.open()
	b.sync()
	same(t, a, b)
}

// damage flips a bit of the object that was stored last, and returns what
// undoes it.
func (w *world) damage() (undo func()) {
	w.t.Helper()
	var packs []string
	filepath.WalkDir(w.inviter.Data, func(p string, e fs.DirEntry, _ error) error {
		if strings.Contains(p, "packs") && !e.IsDir() {
			packs = append(packs, p)
		}
		return nil
	})
	if len(packs) == 0 {
		w.t.Fatal("no packs")
	}
	flip := map[string]int64{} // the last byte of each pack is one of an object
	for _, p := range packs {
		info, err := os.Stat(p)
		if err != nil {
			w.t.Fatal(err)
		}
		if info.Size() > 1000 {
			flip[p] = info.Size() - 1
		}
	}
	turn := func() {
		for p, at := range flip {
			f, err := os.OpenFile(p, os.O_RDWR, 0)
			if err != nil {
				w.t.Fatal(err)
			}
			b := make([]byte, 1)
			_, err = f.ReadAt(b, at)
			b[0] ^= 1
			_, err2 := f.WriteAt(b, at)
			must(w.t, errors.Join(err, err2, f.Close()))
		}
	}
	turn()
	return turn
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeviceThatJoinsAfterABypassOpensTheRegion(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.write("before", "before")
	a.add("R")
	a.sync()
	// b leaves without giving the others a key: the ring is stale until one of
	// them makes one.
	err := b.Engine.AppendStatement(t.Context(), func(dir *ring.State, k *region.Keys) (signet.Record, error) {
		return b.Self.Revoke(dir, k, b.Self.Device, time.Now().UnixMilli())
	})
	if err != nil && !errors.Is(err, signet.ErrNotAllowed) { // it reads on, and is not let in any more
		t.Fatal(err)
	}
	must(t, a.Engine.SyncDirectory(t.Context()))
	if !a.Self.RingStale(directory(a)) {
		t.Fatal("the ring is fresh although a device left with its key")
	}
	a.write("after", "written past the stale ring")
	a.sync()
	c := w.device("c") // linking makes the ring fresh
	must(t, c.Engine.Discover(t.Context()))
	if len(c.Engine.Regions()) != 0 {
		t.Error("a region is open whose key went to other devices only")
	}
	must(t, a.Engine.SyncDirectory(t.Context()))
	a.sync() // and now the region's key goes to the ring again
	c.add("R")
	c.sync()
	same(t, a, c)
	if n := a.Engine.Regions()[0].Generation; n != 2 {
		t.Errorf("generation %d: want one past the ring, and the same given to it", n)
	}
	quiet(t, a, c)
}

func directory(d *device) (s *ring.State) {
	d.Engine.Directory(func(dir *ring.State, _ *region.Keys) { s = dir })
	return s
}

func TestTwoDevicesFreshenARingAtOnce(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.device("a"), w.device("b"), w.device("c")
	err := c.Engine.AppendStatement(t.Context(), func(dir *ring.State, k *region.Keys) (signet.Record, error) {
		return c.Self.Revoke(dir, k, c.Self.Device, time.Now().UnixMilli())
	})
	if err != nil && !errors.Is(err, signet.ErrNotAllowed) { // it is not let in any more
		t.Fatal(err)
	}
	for _, d := range []*device{a, b} {
		must(t, d.Engine.SyncDirectory(t.Context()))
		if !d.Self.RingStale(directory(d)) {
			t.Fatal("the ring is fresh although a device left with its key")
		}
	}
	must(t, a.Engine.FreshenRing(t.Context()))
	must(t, b.Engine.FreshenRing(t.Context())) // which has not heard of that
	if b.Self.RingStale(directory(b)) {
		t.Error("the ring is stale")
	}
}

func TestRelinkThatFailsLeavesTheVolumeAsItWas(t *testing.T) {
	d := alone(t, "f")
	v := d.Engine.Volumes()[0]
	other := t.TempDir()
	must(t, os.WriteFile(filepath.Join(other, ".signet"), nil, 0o600)) // no marker can be there
	if err := d.CreateVolume(t.Context(), other, v.Region, true); err == nil {
		t.Fatal("a folder without a marker is a volume")
	}
	if got := d.Engine.Volumes(); len(got) != 1 || got[0] != v {
		t.Fatalf("volumes are %+v, and were %+v", got, v)
	}
	quiet(t, d)
	must(t, os.Remove(filepath.Join(other, ".signet")))
	must(t, d.CreateVolume(t.Context(), other, v.Region, true))
	if got := d.Engine.Volumes(); len(got) != 1 || got[0].Dir != other {
		t.Fatalf("volumes are %+v", got)
	}
	d.sync()
	wantFiles(t, other, "f=content of f")
	// In its own place, under a daemon.
	d.run()
	d.settled()
	must(t, d.CreateVolume(t.Context(), other, v.Region, true))
	d.settled()
}
