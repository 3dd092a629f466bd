package edge

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
)

// M, Q and R. Keys, links, history.

func TestCase136RekeyWhileADeviceIsOffline(t *testing.T) {
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		ds := w.some(3, "f", "g")
		a, b, c := ds[0], ds[1], ds[2]
		b.write("f", "edited offline, before the rekey")
		b.write("new", "made offline")
		must(t, a.revoke(c))
		w.devices = ds[:2]
		a.write("g", "written under the new key")
		a.sync()
		a.sync()
		w.want("f=edited offline, before the rekey", "g=written under the new key", "new=made offline")
	})
}

// revoke has the device's member put another device out.
func (d *device) revoke(other *device) error {
	must(d.t, d.Engine.SyncDirectory(d.t.Context()))
	return d.Engine.AppendStatement(d.t.Context(), func(dir *ring.State, k *region.Keys) (signet.Record, error) {
		return d.Self.Revoke(dir, k, other.Self.Device, time.Now().UnixMilli())
	})
}

func TestCase137RevokedWithEditsThatWereNotSent(t *testing.T) {
	on(t, []disk{plain}, func(t *testing.T, w *world) {
		a, b := w.pair("f", "g")
		b.write("f", "not sent")
		b.rm("g")
		must(t, a.revoke(b))
		if _, err := b.try(); !errors.Is(err, signet.ErrNotAllowed) {
			t.Errorf("a revoked device's pass: %v", err)
		}
		if b.read("f") != "not sent" || b.has("g") {
			t.Errorf("its folder has %q", b.files())
		}
		w.devices = w.devices[:1]
		w.forget("not sent") // it is where it was written, and nowhere else
		w.want("f=first f", "g=first g")
		if b.read("f") != "not sent" {
			t.Error("its edit is gone")
		}
	})
}

func TestCase161LinksOfAllKinds(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f")
		links := map[string]string{"inside": "d/f", "folder": "d", "dangling": "nowhere/at all", "absolute": "/etc/hostname",
			"out": "../beside/precious", "out folder": "../beside", "loop": "loop", "up": "..", "d/self": "../d"}
		for name, to := range links {
			a.link(to, name)
		}
		a.sync()
		b.sync()
		for name, to := range links {
			if got, err := os.Readlink(b.path(name)); err != nil || got != to {
				t.Errorf("%s leads to %q, %v; want %q", name, got, err, to)
			}
		}
		a.rm("out")
		a.link("../beside/sub", "out")
		a.mv("folder", "moved folder")
		a.rm("up")
		w.settle()
	})
}

// The folder that a device writes into is, for the other, a link that leads
// out.
func TestCase162FolderThatIsALinkForOthers(t *testing.T) {
	on(t, all, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "e/g")
		a.rm("d")
		a.link("../beside", "d")
		b.write("d/precious", "must not go out")
		b.write("d/sub/precious", "nor this")
		a.sync()
		b.sync()
		w.settle()
		a.rm("e")
		a.link("../beside/sub", "e")
		a.sync()
		a.write("d2/x", "one more")
		b.write("e/precious", "nor this one")
		b.sync()
		a.sync()
	})
}

func TestCase163FolderThatBecomesALinkWhileItIsWrittenInto(t *testing.T) {
	on(t, real, func(t *testing.T, w *world) {
		a, b := w.pair("d/f", "kept")
		swapped := false
		b.meddle(func(s step) error {
			if !swapped && (s.verb == "place" || s.verb == "replace") && filepath.Dir(s.path) == "d" {
				swapped = true
				b.mv("d", "d-aside")
				b.link("../beside", "d")
			}
			return nil
		}, nil)
		a.write("d/f", "new for f")
		a.write("d/precious", "must not go out")
		a.sync()
		b.try()
		if !swapped {
			t.Error("nothing was written")
		}
		b.plainly()
		w.settle()
	})
}

func TestCase165BitsThatMustNotTravel(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("tool", "script")
		a.chmod("tool", 0o755|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)
		a.chmod("script", 0o700)
		a.sync()
		b.sync()
		i, err := os.Lstat(b.path("tool"))
		must(t, err)
		if i.Mode() != 0o755 {
			t.Errorf("tool has %v", i.Mode())
		}
		a.chmod("tool", 0o755)
	})
}

func TestCase168RestoreWhileAnotherEdits(t *testing.T) {
	on(t, exact, func(t *testing.T, w *world) {
		a, b := w.pair("f", "d/g", "d/h")
		then := time.Now()
		for time.Now().UnixMilli() <= then.UnixMilli() {
		}
		a.write("f", "second version")
		a.sync()
		a.rm("d")
		a.sync()
		b.sync()
		b.write("f", "third, by the other, at the same time")
		a.restore("f", then)
		a.restore("d", time.Time{})
		a.sync()
		b.sync()
		w.settle()
		got := a.contents()
		for _, want := range []string{"first f", "third, by the other, at the same time"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not live: %q", want, a.files())
			}
		}
		if !a.has("d/g") || !b.has("d/h") {
			t.Errorf("the folder did not come back: %q", a.files())
		}
	})
}
