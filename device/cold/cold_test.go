package cold

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

func TestExportOpensForDevicesAndKitsOfItsTime(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	w.write("empty", nil)
	w.write("long", some(1<<20, 3))
	w.export()
	for _, me := range []region.Self{w.one.me, w.two, w.paper} {
		x := w.holds(me, w.want)
		if n, size, err := x.Check(t.Context(), true, nil); err != nil || n != int64(x.Objects) || size != int64(x.Bytes) || len(x.Damage) != 0 {
			t.Errorf("%d of %d objects, %d of %d bytes, %v, %v", n, x.Objects, size, x.Bytes, x.Damage, err)
		}
		if x.Name != "Documents" {
			t.Errorf("region %q", x.Name)
		}
	}
	late := w.add("late", ring.Recovery)
	if _, err := w.open(late); !errors.Is(err, region.ErrNoKey) {
		t.Errorf("a kit that was made later: %v", err)
	}
	w.export()
	w.holds(late, w.want)
	stranger, _ := self("stranger", ring.Lasting)
	stranger.Org, stranger.Ring = w.one.me.Org, w.one.me.Ring
	if _, err := w.open(stranger); !errors.Is(err, region.ErrNoKey) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := Open(w.dir, &w.two, signet.Hash{1}, 0); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("other log keys: %v", err)
	}
}

func TestSecondRunAddsOnlyWhatIsNewAndTouchesNothing(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	w.write("b", []byte("beta"))
	first := w.export()
	before := w.files()
	times := map[string]int64{}
	for name := range before {
		info, err := os.Stat(filepath.Join(w.dir, name))
		w.Must(err)
		times[name] = info.ModTime().UnixNano()
	}
	w.write("c", []byte("gamma"))
	o, lack, err := func() (*Outcome, []signet.ObjectID, error) { return w.job().Plan() }()
	if err != nil || len(lack) != 1 || o.NewObjects != 1 || o.NewRecords != 1 {
		t.Errorf("planned %d objects, %+v, %v", len(lack), o, err)
	}
	if !maps.Equal(w.files(), before) {
		t.Error("a plan wrote something")
	}
	o = w.export()
	if o.NewObjects != 1 || w.asked != 1 || o.NewRecords != 1 || o.ID != first.ID {
		t.Errorf("copied %d objects, asked for %d, %d records", o.NewObjects, w.asked, o.NewRecords)
	}
	if o.Objects != first.Objects+1 || o.Bytes != first.Bytes+uint64(o.NewBytes) {
		t.Errorf("%d objects, %d bytes", o.Objects, o.Bytes)
	}
	after := w.files()
	for name, sum := range before {
		info, err := os.Stat(filepath.Join(w.dir, name))
		w.Must(err)
		manifest := strings.HasPrefix(name, "signet-export")
		if (after[name] == sum) == manifest || (info.ModTime().UnixNano() == times[name]) == manifest {
			t.Errorf("%s: changed %v", name, after[name] != sum)
		}
	}
	w.holds(w.paper, w.want)
}

func TestRunThatIsCutOffLeavesTheOneBeforeAndTheNextGoesOn(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.write(string(rune('a'+i)), some(400<<10, byte(i)))
	}
	for stop := 1; ; stop++ { // also before there is any manifest
		w.asked, w.stop = 0, stop
		_, err := w.job().Run(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		if _, err := w.open(w.one.me); !errors.Is(err, ErrUnfinished) {
			t.Fatalf("after %d objects: %v", stop, err)
		}
		// What it had, the next run has not to ask for; one torn by a power cut it has.
		all, _ := filepath.Glob(filepath.Join(w.dir, dirObjects, "*", "obj_*"))
		w.Must(os.Truncate(all[0], 100))
	}
	w.stop = 0
	w.holds(w.two, w.want)
	old := maps.Clone(w.want)
	w.write("e", some(900<<10, 9))
	w.write("a", []byte("another alpha"))
	for stop := 1; ; stop++ {
		w.asked, w.stop = 0, stop
		_, err := w.job().Run(t.Context())
		if err == nil {
			break
		}
		x := w.holds(w.two, old)
		if _, _, err := x.Check(t.Context(), true, nil); err != nil || len(x.Damage) > 0 {
			t.Fatalf("after %d objects: %v, %v", stop, x.Damage, err)
		}
	}
	w.holds(w.two, w.want)
	if left, _ := filepath.Glob(filepath.Join(w.dir, "*", "*", ".signet-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// damage finds out what Open and a deep Check say of an export.
func (w *world) damage() (list []Damage, err error) {
	x, err := w.open(w.two)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	_, _, err = x.Check(w.t.Context(), true, nil)
	return x.Damage, err
}

func TestEachDamagedOrMissingFileIsNamedAndMended(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	w.write("long", some(600<<10, 3))
	w.export()
	w.write("b", []byte("beta"))
	w.export()
	names := slices.Sorted(maps.Keys(w.files()))
	if len(names) < 12 {
		t.Fatalf("only %v", names)
	}
	for _, name := range names {
		file := filepath.Join(w.dir, name)
		good, err := os.ReadFile(file)
		w.Must(err)
		for _, at := range []int{0, len(good) / 3, len(good) / 2, len(good) - 1, -1} {
			if at < 0 {
				w.Must(os.Remove(file))
			} else {
				bad := bytes.Clone(good)
				bad[at] ^= 0x10
				w.Must(os.WriteFile(file, bad, 0o600))
			}
			list, err := w.damage()
			i := slices.IndexFunc(list, func(d Damage) bool { return d.File == name })
			switch {
			case err != nil:
				t.Errorf("%s at %d: %v", name, at, err)
			case i < 0 || len(list) != 1:
				t.Errorf("%s at %d: told as %v", name, at, list)
			case list[i].Gone != (at < 0):
				t.Errorf("%s at %d: gone %v", name, at, list[i].Gone)
			case strings.HasPrefix(name, dirObjects) && (len(list[i].Paths) != 1 || list[i].Spared):
				t.Errorf("%s at %d is needed by %v, spared %v", name, at, list[i].Paths, list[i].Spared)
			case !strings.HasPrefix(name, dirObjects) && !list[i].Spared:
				t.Errorf("%s at %d has no copy", name, at)
			}
			if at >= 0 && at != len(good)/3 { // a run that looks at all mends it
				w.Must(os.WriteFile(file, good, 0o600))
				continue
			}
			j := w.job()
			j.Check = true
			if _, err := j.Run(t.Context()); err != nil {
				t.Errorf("%s at %d is not mended: %v", name, at, err)
			}
			if list, err := w.damage(); err != nil || len(list) > 0 {
				t.Fatalf("%s at %d is not mended: %v, %v", name, at, list, err)
			}
			if good, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.holds(w.two, w.want)
}

func TestDamageToBothCopiesIsAnAlarmThatNamesThem(t *testing.T) {
	for _, pair := range [][2]string{{fileManifest, fileSpare}, {dirLogs + "/journal-0000000000000000", dirSpare + "/journal-0000000000000000"},
		{dirLogs + "/directory-0000000000000000", dirSpare + "/directory-0000000000000000"}} {
		w := newWorld(t)
		w.write("a", []byte("alpha"))
		w.export()
		for _, name := range pair {
			file := filepath.Join(w.dir, name)
			b, err := os.ReadFile(file)
			w.Must(err)
			b[len(b)/2] ^= 1
			w.Must(os.WriteFile(file, b, 0o600))
		}
		_, err := w.open(w.two)
		if !errors.Is(err, signet.ErrNotVerified) || !strings.Contains(err.Error(), pair[0]) && pair[0] != fileManifest {
			t.Errorf("%v: %v", pair, err)
		}
		_, err = w.job().Run(t.Context())
		if (err == nil) != (pair[0] != fileManifest) { // the records are here, the old manifest is not
			t.Errorf("%v: another run: %v", pair, err)
		}
	}
}

// sign puts a manifest in the place of an export's, as somebody else would.
func (w *world) sign(m *Manifest, by string) {
	file, err := m.Sign(ringtest.Key(by))
	w.Must(err)
	for _, name := range []string{fileManifest, fileSpare} {
		w.Must(os.WriteFile(filepath.Join(w.dir, name), file, 0o600))
	}
}

func TestForgedAndCutExportsAreRefused(t *testing.T) {
	for name, forge := range map[string]func(w *world, m *Manifest) string{
		"by a stranger under a device's name":  func(w *world, m *Manifest) string { return "stranger" },
		"by the service under a device's name": func(w *world, m *Manifest) string { return "service" },
		"by a stranger under its own name": func(w *world, m *Manifest) string {
			s, _ := self("stranger", ring.Lasting)
			m.Device = s.Device
			return "stranger"
		},
		"by a device of another ring": func(w *world, m *Manifest) string { m.Ring[0]++; return "one" },
		"its last entry cut off": func(w *world, m *Manifest) string {
			s := &m.Segments[len(m.Segments)-1]
			var file = []byte(segmentMagic)
			for _, r := range w.j.Log[:s.Count-1] {
				file = appendRecord(file, r)
			}
			s.Count--
			for _, d := range []string{dirLogs, dirSpare} {
				w.Must(write(w.dir, d+"/"+segmentName(*s), file))
			}
			s.Sum = sumOf(file)
			return "one"
		},
		"an older checkpoint over newer segments": func(w *world, m *Manifest) string {
			m.Journal = w.j.CheckpointAt(2).Bytes()
			return "one"
		},
		"a checkpoint by other keys": func(w *world, m *Manifest) string {
			root, err := w.j.State.Tree.RootAt(w.j.State.Size())
			w.Must(err)
			c, err := chain.Sign(ringtest.Key("stranger"), signet.Journal(w.j.ID), w.j.State.Size(), root, w.Now, true)
			w.Must(err)
			m.Journal = c.Bytes()
			return "one"
		},
		"of another region": func(w *world, m *Manifest) string { m.Region[0]++; return "one" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("a", []byte("alpha"))
			w.write("b", []byte("beta"))
			w.export()
			m, err := Peek(w.dir)
			w.Must(err)
			w.sign(m, "one") // what it says again is taken
			w.holds(w.two, w.want)
			w.sign(m, forge(w, m))
			if _, err := w.open(w.two); !errors.Is(err, signet.ErrNotVerified) {
				t.Errorf("opened: %v", err)
			}
			if _, err := w.job().Run(t.Context()); err == nil && name != "an older checkpoint over newer segments" {
				t.Error("a run went on with it")
			}
		})
	}
}

func TestOtherFoldersAreRefusedAndLeftAlone(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.write("a", []byte("alpha"))
	other.write("b", []byte("beta"))
	w.export()
	before := w.files()
	other.dir = w.dir
	other.j.ID[0]++
	if _, err := other.job().Run(t.Context()); !errors.Is(err, ErrOther) {
		t.Errorf("another region's: %v", err)
	}
	if !maps.Equal(before, w.files()) {
		t.Error("another region's export was changed")
	}
	w.dir = filepath.Join(t.TempDir(), "taken")
	w.Must(os.Mkdir(w.dir, 0o700))
	w.Must(os.WriteFile(filepath.Join(w.dir, "letter"), []byte("mine"), 0o600))
	if _, err := w.job().Run(t.Context()); !errors.Is(err, ErrTaken) || len(w.files()) != 1 {
		t.Errorf("a folder with other things: %v, %v", err, w.files())
	}
	if _, err := w.open(w.two); !errors.Is(err, ErrNone) {
		t.Errorf("opened: %v", err)
	}
	w.dir = filepath.Join(t.TempDir(), "not mounted", "export")
	if _, err := w.job().Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder in nothing: %v", err)
	}
	w.dir = filepath.Join(t.TempDir(), "disk")
	w.Must(os.MkdirAll(filepath.Join(w.dir, "lost+found"), 0o700))
	w.export()
	w.holds(w.two, w.want)
}

// Systems that cannot sync one disk sync each file, of this run and of one before
// that was cut off.
func TestFilesAreSyncedOneByOneToo(t *testing.T) {
	w := newWorld(t)
	w.write("a", some(900<<10, 1))
	w.export()
	all, _ := filepath.Glob(filepath.Join(w.dir, dirObjects, "*"))
	j := w.job()
	j.made = map[string]bool{}
	for _, dir := range all {
		j.made[dirObjects+"/"+filepath.Base(dir)] = true
	}
	w.Must(j.settleEach())
	j.made[dirObjects+"/not there"] = true
	if err := j.settleEach(); err == nil {
		t.Error("a folder that is not there was synced")
	}
}

func TestNewerFormatIsRefusedAndNotCalledDamaged(t *testing.T) {
	w := newWorld(t)
	w.export()
	for _, name := range []string{fileManifest, fileSpare} {
		w.Must(os.WriteFile(filepath.Join(w.dir, name), []byte("signet export 2\nwhat ever"), 0o600))
	}
	if _, err := w.open(w.two); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	if _, err := w.job().Run(t.Context()); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}

func TestWhatTheServiceLacksOrFalsifiesIsSaidAndAllElseIsThere(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a", "b", "c", "d"} {
		w.write(n, []byte("content of "+n))
	}
	objectOf := func(name string) signet.ObjectID {
		n, _ := w.one.Tree.Lookup(name)
		for id := range (&Export{}).needs(n.Data) {
			return id
		}
		t.Fatal(name)
		return signet.ObjectID{}
	}
	w.lie[objectOf("b")], w.lie[objectOf("c")] = nil, []byte("something else")
	o, err := w.job().Run(t.Context())
	if !errors.Is(err, ErrObject) || o == nil || len(o.Missing) != 2 || o.Objects != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	x, err := w.open(w.two)
	w.Must(err)
	defer x.Close()
	for p, n := range x.Tree.Walk() {
		var b bytes.Buffer
		err := x.Fetch(t.Context(), n.Data, n.Hash, &b)
		var fault *ObjectFault
		if lost := p == "b" || p == "c"; errors.As(err, &fault) != lost || lost && (!fault.Gone || fault.Object != objectOf(p)) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, _, err := x.Check(t.Context(), false, nil); err != nil || len(x.Damage) != 2 || len(x.Damage[0].Paths) != 1 || len(x.Damage[1].Paths) != 1 {
		t.Errorf("%v, %v", x.Damage, err)
	}
	clear(w.lie)
	if o := w.export(); len(o.Missing) != 0 || o.NewObjects != 2 || o.Objects != 4 {
		t.Errorf("the next run: %+v", o)
	}
	w.holds(w.two, w.want)
}

func TestExportOpensAsOfAnEarlierTime(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	old, then := maps.Clone(w.want), w.Now
	w.write("a", []byte("omega"))
	w.write("b", []byte("beta"))
	w.export()
	x, err := Open(w.dir, &w.two, chain.KeysHash(w.Service.Public()), then)
	w.Must(err)
	defer x.Close()
	n, ok := x.Tree.Lookup("a")
	var b bytes.Buffer
	if err := x.Fetch(t.Context(), n.Data, n.Hash, &b); !ok || err != nil || !bytes.Equal(b.Bytes(), old["a"]) || x.Tree.Len() != 1 {
		t.Errorf("%q, %v, %d files", b.Bytes(), err, x.Tree.Len())
	}
}

func TestRevokedDeviceCannotSignWhatKnowsOfIt(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	rec, err := w.one.me.Revoke(w.State, w.one.keys, w.two.Device, w.Now+1)
	w.Must(err)
	w.Must(w.Put(rec.Head, rec.Blob))
	j := w.job()
	j.Device, j.By = w.two.Device, w.two.Signer
	if _, err := j.Run(t.Context()); err != nil {
		t.Fatal(err) // it can write what it likes to its own disk
	}
	if _, err := w.open(w.one.me); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("opened: %v", err)
	}
}

func TestHostileDiskIsNoWayOut(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	w.export()
	objects, _ := filepath.Glob(filepath.Join(w.dir, dirObjects, "*", "obj_*"))
	outside := filepath.Join(t.TempDir(), "outside")
	w.Must(os.Rename(objects[0], outside)) // so that the very bytes are behind the link
	for what, put := range map[string]func(name string) error{
		"a link":   func(name string) error { return os.Symlink(outside, name) },
		"a pipe":   func(name string) error { return mkfifo(name) },
		"a folder": func(name string) error { return os.Mkdir(name, 0o700) },
		"a file that is too long": func(name string) error {
			f, err := os.Create(name)
			w.Must(err)
			return errors.Join(f.Truncate(1<<40), f.Close())
		},
	} {
		for _, name := range []string{objects[0], filepath.Join(w.dir, fileSpare), filepath.Join(w.dir, dirSpare, "journal-0000000000000000")} {
			good, _ := os.ReadFile(name)
			w.Must(os.RemoveAll(name))
			w.Must(put(name))
			list, err := w.damage()
			if err != nil || len(list) != 1 && name == objects[0] || len(list) == 0 {
				t.Errorf("%s in the place of %s: %v, %v", what, name, list, err)
			}
			w.Must(os.RemoveAll(name))
			if name != objects[0] {
				w.Must(os.WriteFile(name, good, 0o600))
			}
		}
	}
	// A folder of objects that is a link is none.
	w.Must(os.Rename(filepath.Join(w.dir, dirObjects), filepath.Join(w.dir, "../objects")))
	w.Must(os.Symlink("../objects", filepath.Join(w.dir, dirObjects)))
	if list, err := w.damage(); err != nil || len(list) != 1 {
		t.Errorf("through a folder that is a link: %v, %v", list, err)
	}
}

// What a device left that was removed since is taken for what it is, and not for
// what it says.
func TestRunAfterARemovedDevicesBelievesNothingOfIt(t *testing.T) {
	w := newWorld(t)
	w.write("a", []byte("alpha"))
	w.write("b", []byte("beta"))
	j := w.job()
	j.Device, j.By = w.two.Device, w.two.Signer
	first, err := j.Run(t.Context())
	w.Must(err)
	objects, _ := filepath.Glob(filepath.Join(w.dir, dirObjects, "*", "obj_*"))
	w.Must(os.WriteFile(objects[0], []byte("something else"), 0o600))
	w.asked = 0
	if _, err := w.job().Run(t.Context()); err != nil || w.asked != 0 {
		t.Fatalf("while it is a device, its word counts: asked for %d, %v", w.asked, err)
	}
	j = w.job()
	j.Device, j.By = w.two.Device, w.two.Signer
	_, err = j.Run(t.Context())
	w.Must(err)
	rec, err := w.one.me.Revoke(w.State, w.one.keys, w.two.Device, w.Now+1)
	w.Must(err)
	w.Must(w.Put(rec.Head, rec.Blob))
	o := w.export()
	if w.asked != 1 || o.NewObjects != 1 || o.Objects != first.Objects || o.Bytes != first.Bytes {
		t.Errorf("asked for %d, %+v", w.asked, o)
	}
	w.holds(w.paper, w.want)

	// Records that this device does not know.
	j = w.job()
	m, err := Peek(w.dir)
	w.Must(err)
	s := &m.Segments[0]
	file := appendRecord([]byte(segmentMagic), signet.Record{Leaf: []byte("x")})
	for _, r := range w.World.Log[1:s.Count] {
		file = appendRecord(file, r)
	}
	for _, d := range []string{dirLogs, dirSpare} {
		w.Must(write(w.dir, d+"/"+segmentName(*s), file))
	}
	s.Sum, m.Device = sumOf(file), w.two.Device
	w.sign(m, "two")
	if _, err := j.Run(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("went on with other records: %v", err)
	}
}
