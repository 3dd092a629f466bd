package sim

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
	"signet/service"
)

// keep has a device say how long the region keeps its history.
func (d *device) keep(k tree.Keep) {
	e, store := d.begin(&life{onCrash: func() {}}, 0)
	defer store.Close()
	err := e.Put(d.t.Context(), d.org.region, func(*tree.Tree) ([]tree.Op, error) { return []tree.Op{{Kind: tree.Rule, Keep: k}}, nil })
	if err != nil {
		d.t.Errorf("%s: policy: %v", d.name, err)
	}
}

// weekly has a user change a file so that each version stands at the end of a week.
func weekly(u *user, from, to, size int) {
	for i := from; i < to; i++ {
		u.overwrite("f", fmt.Sprintf("%d %s", i, strings.Repeat(string(rune('a'+i)), size)))
		u.device.pass()
		time.Sleep(7 * day)
	}
}

// A policy that one device wrote is that of all: weeks that it ends are condemned and
// collected, and those that it keeps, current and pinned ones stay.
func TestAPolicyHoldsOnAllDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		u.create("f", "first")
		a.pass()
		weekly(u, 0, 10, 10)
		time.Sleep(40 * day)
		a.pass()
		before := a.end()
		if before.Kept < 10 {
			t.Errorf("by default all weeks stay: %+v", before)
		}
		a.keep(tree.Keep{Hours: 24, Days: 0, Weeks: 8}) // the newest week but those of the sleep
		b.pass()
		e := b.end()
		if e.Condemned < 6 || e.Kept >= before.Kept {
			t.Errorf("with 8 weeks, on the other device: %+v, before %+v", e, before)
		}
		// A policy that keeps more is in time until the grace is over.
		b.keep(tree.Keep{Hours: 24, Days: 30})
		if s := b.end(); s.Spared != e.Condemned || s.Kept != before.Kept {
			t.Errorf("with all weeks again: %+v", s)
		}
		b.keep(tree.Keep{Hours: 24, Days: 0, Weeks: 8})
		again := a.end()
		time.Sleep(31 * day)
		if s := b.end(); s.Collected != again.Condemned+again.Waiting || again.Condemned == 0 {
			t.Errorf("after the grace: %+v, condemned before: %+v", s, again)
		}
		agree(t, a, b, "9 jjj")
	})
}

// Weeks stay as long as there is room: the oldest go when it gets short, and nothing
// before.
func TestTheOldestWeeksMakeRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		u.create("f", "first")
		a.pass()
		weekly(u, 0, 12, 100_000)
		time.Sleep(40 * day)
		a.pass()
		room := func(limit func(used int64) int64) (policy tree.Policy, used int64) {
			dir := filepath.Join(r.dir, fmt.Sprintf("service-%d", r.serviceN))
			owners, err := service.Owners(dir, 0)
			if err != nil || len(owners) != 1 {
				t.Error(owners, err)
				return policy, 0
			}
			ring, err := signet.ParseRingID(owners[0].Ring)
			if err != nil {
				t.Error(err)
			}
			if err := service.SetQuota(dir, ring, limit(owners[0].Used)); err != nil {
				t.Error(err)
			}
			r.restart()
			e, store := a.begin(&life{onCrash: func() {}}, 0)
			defer store.Close()
			if err := e.MakeRoom(a.t.Context(), r.org.region); err != nil {
				t.Error(err)
			}
			if err := e.SyncRegion(a.t.Context(), r.org.region); err != nil {
				t.Error(err)
			}
			policy.Keep = tree.DefaultKeep
			_, err = e.Retell(r.org.region, nil, func(told engine.Told) error {
				if told.Batch != nil {
					policy.Take(told.Of, told.Batch)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			return policy, owners[0].Used
		}
		if p, used := room(func(used int64) int64 { return 2 * used }); p.Set || used == 0 {
			t.Errorf("half is used, and weeks are given up: %+v", p)
		}
		kept := a.end().Kept
		p, _ := room(func(used int64) int64 { return used + used/20 })
		if !p.Set || p.Since == 0 || p.Days != 30 || p.Weeks != 0 {
			t.Errorf("there is hardly room, and the policy is %+v", p)
		}
		e := b.end()
		if e.Condemned == 0 || e.Condemned > 8 || e.Kept+e.Condemned != kept {
			t.Errorf("condemned %+v, of %d", e, kept)
		}
		if q, _ := room(func(used int64) int64 { return used }); q != p {
			t.Errorf("more is given up before that is collected: %+v", q)
		}
		time.Sleep(31 * day)
		if s := b.end(); s.Collected != e.Condemned+e.Waiting {
			t.Errorf("after the grace: %+v", s)
		}
		agree(t, a, b, "")
	})
}
