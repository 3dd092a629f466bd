package sim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/tree"
	"signet/device/engine"
)

// limit lets old operations go, as the command does.
func (d *device) limit(dry bool) engine.Limited {
	p := d.start()
	defer p.end()
	l, err := p.engine.SetHorizon(d.t.Context(), d.org.region, tree.DefaultKeep, tree.Forever, dry)
	if err != nil {
		d.t.Errorf("%s: horizon: %v", d.name, err)
	}
	return l
}

// bare is how many entries the service has no operations of.
func (d *device) bare() (n int) {
	s, err := d.session(d.n)
	if err != nil {
		d.t.Error(err)
		return 0
	}
	for from := uint64(0); ; {
		p, err := s.Read(d.t.Context(), signet.Journal(d.org.region), from, signet.Whole)
		if err != nil {
			d.t.Error(err)
			return n
		}
		if len(p.Records) == 0 {
			return n
		}
		for _, rec := range p.Records {
			if journal.Dropped(rec) {
				n++
			}
		}
		from += uint64(len(p.Records))
	}
}

// limited brings a region to where the service has dropped operations: f was edited
// each day, and a file made that is gone. b has what was there on the first day.
func limited(t *testing.T, r *run, a, b *device) (u *user, l engine.Limited) {
	t.Helper()
	u = &user{device: a, rnd: a.rnd}
	for _, name := range []string{"stays", "goes", "changes", "moves", "f"} {
		u.create(name, "first of "+name)
	}
	a.pass()
	b.pass()
	a.keep(tree.Keep{Hours: 24, Days: 7, Weeks: 2})
	for i := range 20 {
		u.overwrite("f", fmt.Sprintf("%d of f", i))
		if i == 5 {
			u.create("between", "made and deleted")
		}
		a.pass()
		r.rest(day)
	}
	u.remove("between")
	u.remove("goes")
	u.remove("changes")
	u.rename("moves", "moved")
	a.pass()
	if l := a.limit(false); l.At != 0 {
		t.Errorf("all is kept: %+v", l)
	}
	r.rest(60 * day)
	u.create("late", "late")
	a.pass()
	dry := a.limit(true)
	l = a.limit(false)
	if dry.At == 0 || dry.At != l.At || dry.Entries != l.Entries || l.Entries < 19 || l.Point > l.Oldest {
		t.Errorf("planned %+v, did %+v", dry, l)
	}
	if c := a.limit(false); !c.Coming || c.At != l.At {
		t.Errorf("at once again: %+v", c)
	}
	r.rest(29 * day)
	if n := a.bare(); n != 0 {
		t.Errorf("%d entries are bare within the grace", n)
	}
	r.rest(3 * day)
	time.Sleep(2 * time.Hour) // rounds of gc
	if n := a.bare(); n != l.Entries {
		t.Errorf("%d entries are bare, of %+v", n, l)
	}
	return u, l
}

// A device that was away for a year is behind the horizon: what was deleted meanwhile
// and is unchanged goes to its trash, what it changed lives again, what was moved is
// moved; and nothing is lost. A newcomer has the same, and a history from there.
func TestAwayForAYearBehindTheHorizon(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u, l := limited(t, r, a, b)
		a.pass()
		r.rest(200 * day)
		u.overwrite("f", "after a year")
		a.pass()
		v := &user{device: b, rnd: b.rnd}
		v.overwrite("changes", "changed while away")
		v.create("new", "made while away")
		b.pass()
		agree(t, a, b, `"changed while away"`)
		agree(t, a, b, `"made while away"`)
		if s := b.disk.listing(); strings.Contains(s, `"first of goes"`) || !strings.Contains(s, "moved") || !strings.Contains(s, `"after a year"`) {
			t.Errorf("b has\n%s", s)
		}
		for _, d := range []*device{a, b} {
			p := d.start()
			if got, want := p.engine.Began(r.org.region), l.At; (d == b) != (got == want) || d == a && got != 0 {
				t.Errorf("%s began at %d, the horizon is at %d", d.name, got, want)
			}
			if again, err := p.engine.Recheck(r.t.Context(), true, nil); err != nil || len(again.Faults) > 0 {
				t.Errorf("%s: checked again: %+v, %v", d.name, again, err)
			}
			if n := len(p.engine.Alarms()); n > 0 {
				t.Errorf("%s: %+v", d.name, p.engine.Alarms())
			}
			p.end()
		}
		// Its history begins there, and what that has can be had.
		if have, gone := b.fetches(); have < 6 || gone != 0 {
			t.Errorf("b: %d versions to be had, %d gone", have, gone)
		}
		// It goes on like any other: writes, and starts again.
		v.overwrite("stays", "by b")
		b.pass()
		agree(t, a, b, `"by b"`)
		b.joinAnew()
		agree(t, a, b, `"by b"`)
		p := b.start()
		if p.engine.Began(r.org.region) != l.At {
			t.Errorf("anew it began at %d", p.engine.Began(r.org.region))
		}
		p.end()
		// Both say the same of what is used: what one condemns the other does not spare.
		if e := b.end(); e.Spared != 0 {
			t.Errorf("b: %+v", e)
		}
		if e := a.end(); e.Spared != 0 || e.Condemned != 0 {
			t.Errorf("a, after b: %+v", e)
		}
		r.rest(31 * day)
		b.end()
		a.end()
		b.joinAnew()
		agree(t, a, b, `"by b"`)
	})
}

// The horizon of a device that has itself begun at one.
func TestAHorizonFollowsAHorizon(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u, first := limited(t, r, a, b)
		b.pass() // what it has from before is deleted, and not joined
		b.joinAnew()
		agree(t, a, b, "moved")
		for i := range 30 {
			u.overwrite("stays", fmt.Sprintf("%d of stays", i))
			u.overwrite("late", fmt.Sprintf("%d of late", i))
			a.pass()
			r.rest(day)
		}
		b.pass()
		second := b.limit(false)
		if second.Now != first.At || second.At < second.Now {
			t.Errorf("first %+v, second %+v", first, second)
		}
		r.rest(60 * day)
		u.overwrite("f", "once more")
		agree(t, a, b, `"once more"`)
		third := b.limit(false)
		if third.Now != second.At || third.At <= second.At || third.Entries < 25 {
			t.Errorf("second %+v, third %+v", second, third)
		}
		r.rest(32 * day)
		time.Sleep(2 * time.Hour) // rounds of gc
		agree(t, a, b, "")
		if n := a.bare(); n != first.Entries+second.Entries+third.Entries {
			t.Errorf("%d entries are bare", n)
		}
		for range 2 {
			b.joinAnew()
			agree(t, a, b, `"once more"`)
			p := b.start()
			if got := p.engine.Began(r.org.region); got != third.At {
				t.Errorf("b began at %d: %+v", got, third)
			}
			p.end()
		}
	})
}

// greedy is a service that shows entries without their operations.
type greedy struct {
	engine.Service
	drops func(position uint64) bool
}

func (g greedy) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	p, err := g.Service.Read(ctx, log, from, parts)
	for i, rec := range p.Records {
		if short, ok := journal.Drop(rec.Head, rec.Blob); ok && log.Kind == signet.RegionLog && g.drops(p.From+uint64(i)) {
			p.Records[i].Blob = short
		}
	}
	return p, err
}

// newcomer is which alarms a newcomer has of a service that drops, and where it
// began.
func (d *device) newcomer(drops func(position uint64) bool) (kinds []string, began uint64) {
	d.t.Helper()
	s, err := d.session(d.n)
	if err != nil {
		d.t.Fatal(err)
	}
	home := filepath.Join(d.dir, fmt.Sprintf("%s-new-%d", d.name, d.gens))
	d.gens++
	if err := os.MkdirAll(home, 0o700); err != nil {
		d.t.Fatal(err)
	}
	e, store := d.org.open(d.t, d.n, home, greedy{s, drops}, nil, nil, func(int, string, string, []byte) {}, nil)
	defer store.Close()
	_ = e.Discover(d.t.Context()) // it is in the alarm
	for _, a := range e.Alarms() {
		kinds = append(kinds, a.Kind)
	}
	return kinds, e.Began(d.org.region)
}

// A service that drops what it must not is found out by who needs it.
func TestAServiceThatDropsMoreIsFoundOut(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		want := func(what, alarm string, drops func(uint64) bool) {
			t.Helper()
			kinds, _ := b.newcomer(drops)
			if alarm == "" && len(kinds) != 0 || alarm != "" && (len(kinds) != 1 || kinds[0] != alarm) {
				t.Errorf("%s: alarms %q, want %q", what, kinds, alarm)
			}
		}
		none, all := func(uint64) bool { return false }, func(uint64) bool { return true }
		u := &user{device: a, rnd: a.rnd}
		a.keep(tree.Keep{Hours: 24, Days: 1, Weeks: 1})
		u.create("f", "first of f")
		u.create("stays", "first of stays")
		for i := range 3 {
			a.pass()
			u.overwrite("f", fmt.Sprintf("%d of f", i))
		}
		a.pass()
		want("nothing dropped", "", none)
		want("without a horizon", "withheld", func(p uint64) bool { return p == 3 })
		a.limit(false) // for the point
		r.rest(40 * day)
		u.overwrite("f", "late")
		a.pass()
		r.rest(day)
		l := a.limit(false)
		if l.At == 0 {
			t.Errorf("no horizon: %+v", l)
			return
		}
		want("within the grace", "withheld", func(p uint64) bool { return p == 3 })
		r.rest(32 * day)
		time.Sleep(2 * time.Hour) // rounds of gc
		want("as it may", "", none)
		if _, began := b.newcomer(none); began != l.At {
			t.Errorf("began at %d: %+v", began, l)
		}
		want("what is kept", "withheld", func(p uint64) bool { return p < l.At })
		want("what comes after", "withheld", all)
	})
}

// Deletions by others look like an accident to a device that was away, behind the
// horizon or not: they wait until a person says so.
func TestTheGuardCountsWhatWentBehindTheHorizon(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		for i := range 130 {
			u.create(fmt.Sprintf("file %d", i), fmt.Sprint("content ", i))
		}
		a.pass()
		b.pass()
		a.keep(tree.Keep{Hours: 24, Days: 1, Weeks: 1})
		u.create("other", "stays")
		a.pass()
		for i := range 130 {
			u.remove(fmt.Sprintf("file %d", i))
		}
		r.rest(day)
		a.pass() // which asks first, too
		a.pass()
		a.limit(false)
		r.rest(40 * day)
		a.limit(false)
		r.rest(32 * day)
		time.Sleep(2 * time.Hour) // rounds of gc
		v := &user{device: b, rnd: b.rnd}
		v.overwrite("file 3", "changed by b")
		p := b.start()
		if _, err := p.engine.SyncVolume(b.t.Context(), "v"); err != nil {
			t.Error(err)
		}
		st := p.engine.VolumeStatus("v")
		if st.HeldDeletes != 129 || p.engine.Began(r.org.region) == 0 {
			t.Errorf("%d deletions are held; began at %d", st.HeldDeletes, p.engine.Began(r.org.region))
		}
		if _, err := p.engine.ApproveDeletes("v"); err != nil {
			t.Error(err)
		}
		p.end()
		b.pass()
		agree(t, a, b, `"changed by b"`)
		if l := b.disk.listing(); strings.Contains(l, `"content 4"`) || !strings.Contains(l, `"stays"`) {
			t.Errorf("b has\n%s", l)
		}
	})
}

// Killed at any step while it begins at a horizon, a device begins again, and loses
// nothing of its own.
func TestKilledWhileItBeginsAtAHorizon(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		limited(t, r, a, b)
		v := &user{device: b, rnd: b.rnd}
		v.overwrite("changes", "changed while away")
		v.create("new", "made while away")
		time.Sleep(time.Hour) // the disk has it
		lives := 1
		for ; lives < 200; lives++ {
			l := &life{crashAt: lives, before: lives%2 == 0}
			b.live(1, false, l)
			if !l.dead.Load() {
				break
			}
		}
		if lives < 8 || lives == 200 {
			t.Errorf("%d lives", lives)
		}
		b.pass()
		agree(t, a, b, `"changed while away"`)
		agree(t, a, b, `"made while away"`)
		p := b.start()
		if p.engine.Began(r.org.region) == 0 {
			t.Error("it did not begin at the horizon")
		}
		p.end()
	})
}
