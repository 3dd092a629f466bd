package engine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/engine"
)

// states has the device sign a statement.
func (v *victim) states() error {
	k, err := key.Generate()
	must(v.t, err)
	return v.AppendStatement(v.t.Context(), func(s *ring.State, _ *region.Keys) (signet.Record, error) {
		self := v.joined.Account.Self(v.joined.Keys)
		return self.AllowConnector(s, &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: k.Public()})
	})
}

// reads is what a program reads before it does anything.
func (v *victim) reads(id signet.RegionID) error {
	return errors.Join(v.SyncDirectory(v.t.Context()), v.SyncRegion(v.t.Context(), id))
}

// alone says that the device knows of no twin.
func (v *victim) alone(when string) {
	v.t.Helper()
	if got := v.Alarms(); len(got) > 0 {
		v.t.Errorf("%s: alarms %+v", when, got)
	}
}

// found says that the device knows of its twin by one alarm, about a region or the
// directory.
func (v *victim) found(err error, about string) {
	v.t.Helper()
	var alarm *engine.AlarmError
	if !errors.As(err, &alarm) || alarm.Alarm.Kind != "key_elsewhere" || !errors.Is(err, signet.ErrNotVerified) {
		v.t.Errorf("beside a twin: %v", err)
	}
	a := v.Alarms()
	if len(a) != 1 || a[0].Kind != "key_elsewhere" || a[0].Region != about || !strings.Contains(a[0].Hint, "signet logout") {
		v.t.Errorf("alarms %+v", a)
	}
}

func newRegion(t *testing.T, v *victim) signet.RegionID {
	t.Helper()
	id, _, err := v.MakeRegion(t.Context(), "docs")
	must(t, err)
	must(t, v.mkdir(id, "first"))
	return id
}

func TestWhatAnotherMachineSignsWithThisDevicesKeysIsAnAlarm(t *testing.T) {
	for what, meets := range map[string]func(v *victim, id signet.RegionID) error{
		"as it reads":  func(v *victim, id signet.RegionID) error { return v.SyncRegion(t.Context(), id) },
		"as it writes": func(v *victim, id signet.RegionID) error { return v.mkdir(id, "of the first") },
	} {
		t.Run(what, func(t *testing.T) {
			j := found(t)
			v, twin := newVictim(t, j), newVictim(t, j)
			id := newRegion(t, v)
			must(t, twin.reads(id))
			twin.alone("what was there as the program began")
			must(t, twin.mkdir(id, "of the twin"))
			v.found(meets(v, id), id.String())
			// It is stored, and what it stopped stays so: nothing is read or written.
			n := twin.entries(id)
			must(t, twin.reads(id))
			for range 2 {
				v.found(v.mkdir(id, "of the first"), id.String())
				v.found(v.SyncRegion(t.Context(), id), id.String())
				v.reopen()
			}
			if must(t, twin.reads(id)); twin.entries(id) != n {
				t.Error("it wrote, and had stopped")
			}
			must(t, v.states()) // another device can be added or revoked
			must(t, v.Seen())
			must(t, v.reads(id))
			must(t, v.mkdir(id, "of the first"))
			v.alone("after it was seen")
		})
	}
}

func TestAStatementOfAnotherMachineWithThisDevicesKeysIsAnAlarm(t *testing.T) {
	j := found(t)
	v, twin := newVictim(t, j), newVictim(t, j)
	id := newRegion(t, v)
	must(t, twin.states())
	v.found(v.SyncDirectory(t.Context()), "")
	v.found(v.mkdir(id, "of the first"), "")
	v.reopen()
	v.found(v.mkdir(id, "of the first"), "")
	must(t, v.SyncDirectory(t.Context())) // it is said once
	must(t, v.states())                   // and a person can answer
	must(t, v.Seen())
	must(t, v.reads(id))
	v.alone("after it was seen")
}

// A home that was brought back from a backup meets what it wrote since.
func TestAnOlderCopyOfAHomeIsNoTwin(t *testing.T) {
	v := newVictim(t, found(t))
	id := newRegion(t, v)
	must(t, v.store.Close())
	saved := filepath.Join(t.TempDir(), "saved")
	copyIndex(t, v.index, saved)
	v.open()
	must(t, v.mkdir(id, "since the backup"))
	must(t, v.states())
	must(t, v.store.Close())
	copyIndex(t, saved, v.index)
	v.open()
	must(t, v.reads(id))
	must(t, v.mkdir(id, "after it"))
	must(t, v.states())
	must(t, v.reads(id))
	v.alone("an older copy")
}

// The same, and the service was restored too: it gets back what that home wrote
// when this program has read all that there was.
func TestWhatARestoredServiceGetsBackIsNoTwins(t *testing.T) {
	v := newVictim(t, found(t))
	id := newRegion(t, v)
	must(t, v.reads(id))
	dir, region := v.leaves(), v.entries(id)
	must(t, v.store.Close())
	saved := filepath.Join(t.TempDir(), "saved")
	copyIndex(t, v.index, saved)
	before := map[signet.LogID]signet.Page{}
	for log, from := range map[signet.LogID]uint64{signet.Directory(v.joined.Account.Org): dir, signet.Journal(id): region} {
		p, err := v.liar.Client.Read(t.Context(), log, from, signet.Whole)
		must(t, err)
		before[log] = p
	}
	v.open()
	must(t, v.mkdir(id, "since the backup"))
	must(t, v.states())
	must(t, v.store.Close())
	copyIndex(t, saved, v.index)
	for last := time.Now().UnixMilli(); time.Now().UnixMilli() == last; { // restoring takes a moment
		runtime.Gosched()
	}
	v.open()
	v.liar.page = func(p *signet.Page) { *p = before[p.Log] }
	must(t, v.reads(id))
	if v.leaves() != dir || v.entries(id) != region {
		t.Fatal("it has what the service lost")
	}
	v.liar.page = nil
	must(t, v.reads(id))
	if v.leaves() == dir || v.entries(id) == region {
		t.Fatal("nothing came back")
	}
	v.alone("what came back")
}

// What this home sent is its own, whenever it is ordered and whichever of its
// programs sees that.
func TestWhatWasSentAndNotAnsweredIsNoTwins(t *testing.T) {
	for name, again := range map[string]func(*victim){"the answer is lost": func(*victim) {}, "the program is killed": (*victim).reopen} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t, found(t))
			id := newRegion(t, v)
			// Ordered at once.
			v.liar.append = func(r signet.Record) error {
				log := signet.Journal(id)
				if _, err := ring.Parse(r.Head); err == nil {
					log = signet.Directory(v.joined.Account.Org)
				}
				_, err := v.liar.Client.Append(t.Context(), log, r, time.Now().UnixMilli())
				return errors.Join(err, signet.ErrUnavailable)
			}
			if err := errors.Join(v.mkdir(id, "one"), v.states()); !errors.Is(err, signet.ErrUnavailable) {
				t.Fatal(err)
			}
			v.liar.append = nil
			again(v)
			must(t, v.reads(id))
			// Ordered when the next program has read all.
			var late []func(context.Context) error
			v.liar.append = func(r signet.Record) error {
				log := signet.Journal(id)
				if _, err := ring.Parse(r.Head); err == nil {
					log = signet.Directory(v.joined.Account.Org)
				}
				late = append(late, func(ctx context.Context) error {
					_, err := v.liar.Client.Append(ctx, log, r, time.Now().UnixMilli())
					return err
				})
				return signet.ErrUnavailable
			}
			if err := errors.Join(v.mkdir(id, "two"), v.states()); !errors.Is(err, signet.ErrUnavailable) || len(late) != 2 {
				t.Fatal(len(late), err)
			}
			v.liar.append = nil
			again(v)
			must(t, v.reads(id))
			for _, order := range late {
				must(t, order(t.Context()))
			}
			must(t, v.reads(id))
			must(t, v.mkdir(id, "three"))
			v.alone("what was sent")
		})
	}
}

// copyIndex copies an index that is closed.
func copyIndex(t *testing.T, from, to string) {
	t.Helper()
	for _, end := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(from + end)
		if errors.Is(err, os.ErrNotExist) {
			must(t, os.RemoveAll(to+end))
			continue
		}
		must(t, err)
		must(t, os.WriteFile(to+end, b, 0o600))
	}
}
