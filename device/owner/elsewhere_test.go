package owner_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
)

// two is a device with a volume of a region R, which has films, and an empty one of S.
func two(t *testing.T) (a *device, r, s signet.RegionID, other string) {
	t.Helper()
	a = newWorld(t).device("a")
	a.write("d/film", film(9<<20))
	a.write("d/short", film(50<<10))
	a.write("doc", "one")
	a.add("R")
	other = filepath.Join(t.TempDir(), "other")
	must(t, os.Mkdir(other, 0o755))
	s, _, err := a.Engine.MakeRegion(t.Context(), "S")
	must(t, err)
	must(t, a.CreateVolume(t.Context(), other, s, false))
	a.sync()
	for _, x := range a.Engine.Regions() {
		if x.Name == "R" {
			r = x.ID
		}
	}
	return a, r, s, other
}

// hasLive reports whether a path is in a region.
func (d *device) hasLive(id signet.RegionID, path string) (yes bool) {
	must(d.t, d.Engine.WithRegion(id, func(r *region.Region) error {
		for p := range r.Tree.Walk() {
			yes = yes || p == path
		}
		return nil
	}))
	return yes
}

// when is the leaf time of the last event of a kind at a path, in ms.
func (d *device) when(id signet.RegionID, kind, path string) (ms int64) {
	must(d.t, d.Engine.Events(id, func(e tree.Event, _ *tree.Op) error {
		if e.Kind == kind && e.Path == path {
			ms = e.Time
		}
		return nil
	}))
	return ms
}

// A film is moved from one region to another, whose copy takes its time to be sent. As
// long as the service has it there not, it is not deleted here; what else is deleted is.
func TestCase035WhatIsMovedToAnotherRegionIsThereBeforeItIsDeletedHere(t *testing.T) {
	for _, x := range []struct{ what, from string }{{"a file", "d/film"}, {"a folder", "d"}} {
		t.Run(x.what, func(t *testing.T) {
			a, r, s, other := two(t)
			slow := a.stint(0)
			a.run()
			a.settled()
			must(t, os.Rename(a.path(x.from), filepath.Join(other, "moved")))
			a.rm("doc")
			a.eventually("sends the film", func() bool { return slow.left.Load() < 0 })
			a.eventually("has doc no more", func() bool { return !a.hasLive(r, "doc") })
			if !a.hasLive(r, "d/film") { // which would have gone with it
				t.Error("the film is deleted here, and not there yet")
			}
			a.eventually("says so", func() bool {
				var reason string
				for _, v := range a.Engine.Volumes() {
					reason += a.Engine.VolumeStatus(v.ID).Reason
				}
				return strings.Contains(reason, "until what was moved to another folder is safe there")
			})
			close(slow.gate)
			a.eventually("deleted", func() bool { return !a.hasLive(r, "d/film") })
			to := "moved"
			if x.from == "d" {
				to = "moved/film"
			}
			if there, gone := a.when(s, "create", to), a.when(r, "delete", "d/film"); there == 0 || gone < there {
				t.Errorf("there at %d, deleted at %d", there, gone)
			}
		})
	}
}

// The same without a daemon: sync looks at all folders, and comes back to the first.
func TestWhatIsMovedToAnotherRegionWithoutADaemon(t *testing.T) {
	a, r, s, other := two(t)
	must(t, os.Rename(a.path("d"), filepath.Join(other, "d")))
	a.sync() // as sync DIR of each: the first waits
	if !a.hasLive(r, "d/film") || !a.hasLive(s, "d/film") {
		t.Error("deleted before it was looked for elsewhere, or not sent there")
	}
	must(t, os.Rename(filepath.Join(other, "d"), a.path("e")))
	a.sync()
	must(t, os.Rename(a.path("e"), filepath.Join(other, "f")))
	raw, _, err := a.call("sync", map[string]any{})
	must(t, err)
	var out struct {
		Volumes []struct {
			State  engine.State `json:"state"`
			Reason string       `json:"reason"`
		} `json:"volumes"`
	}
	must(t, json.Unmarshal(raw, &out))
	for _, v := range out.Volumes {
		if v.State != engine.InStep {
			t.Errorf("%s: %s", v.State, v.Reason)
		}
	}
	if a.hasLive(r, "e/film") || a.hasLive(r, "d/film") || !a.hasLive(s, "f/film") {
		t.Error("sync of all did not end it")
	}
	if there, gone := a.when(s, "move", "f/film")+a.when(s, "create", "f/film"), a.when(r, "delete", "e/film"); there == 0 || gone < there {
		t.Errorf("there at %d, deleted at %d", there, gone)
	}
}

// A third folder, which is the one that it was moved to, is looked at as well.
func TestWhatIsMovedToTheLastOfSeveralRegions(t *testing.T) {
	a, r, _, _ := two(t)
	for _, name := range []string{"T", "U", "V"} { // in any order of their volumes, one of them is not the first
		dir := filepath.Join(t.TempDir(), name)
		must(t, os.Mkdir(dir, 0o755))
		id, _, err := a.Engine.MakeRegion(t.Context(), name)
		must(t, err)
		must(t, a.CreateVolume(t.Context(), dir, id, false))
		a.sync()
		a.write("d/"+name, film(300<<10))
		a.sync()
		must(t, os.Rename(a.path("d/"+name), filepath.Join(dir, name)))
		a.sync()
		if !a.hasLive(r, "d/"+name) || !a.hasLive(id, name) {
			t.Errorf("%s: deleted before it was looked for there, or not sent", name)
		}
		a.sync()
		if a.hasLive(r, "d/"+name) {
			t.Errorf("%s: not deleted when it was safe", name)
		}
	}
}

// What was moved away and came back leaves nothing to wait for.
func TestWhatComesBackFromAnotherRegionIsInStep(t *testing.T) {
	a, r, _, other := two(t)
	slow := a.stint(0)
	a.run()
	a.settled()
	must(t, os.Rename(a.path("d/film"), filepath.Join(other, "film")))
	of := ""
	for _, v := range a.Engine.Volumes() {
		if v.Region == r {
			of = v.ID
		}
	}
	a.eventually("waits", func() bool { return a.Engine.VolumeStatus(of).Reason != "" })
	must(t, os.Rename(filepath.Join(other, "film"), a.path("d/film")))
	close(slow.gate)
	a.eventually("in step again", func() bool {
		s := a.Engine.VolumeStatus(of)
		return s.State == engine.InStep && s.Reason == "" && a.hasLive(r, "d/film")
	})
}
