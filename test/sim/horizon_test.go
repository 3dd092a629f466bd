package sim

import (
	"fmt"
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
func limited(t *testing.T, a, b *device) (u *user, l engine.Limited) {
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
		time.Sleep(day)
	}
	u.remove("between")
	u.remove("goes")
	u.remove("changes")
	u.rename("moves", "moved")
	a.pass()
	if l := a.limit(false); l.At != 0 {
		t.Errorf("all is kept: %+v", l)
	}
	time.Sleep(60 * day)
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
	time.Sleep(29 * day)
	if n := a.bare(); n != 0 {
		t.Errorf("%d entries are bare within the grace", n)
	}
	time.Sleep(3*day + 2*time.Hour)
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
		u, l := limited(t, a, b)
		a.pass()
		time.Sleep(200 * day)
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
			if n := len(p.engine.Alarms()); n > 0 {
				t.Errorf("%s: %+v", d.name, p.engine.Alarms())
			}
			p.end()
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
		time.Sleep(31 * day)
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
		u, first := limited(t, a, b)
		b.pass() // what it has from before is deleted, and not joined
		b.joinAnew()
		agree(t, a, b, "moved")
		for i := range 30 {
			u.overwrite("stays", fmt.Sprintf("%d of stays", i))
			u.overwrite("late", fmt.Sprintf("%d of late", i))
			a.pass()
			time.Sleep(day)
		}
		b.pass()
		second := b.limit(false)
		if second.Now != first.At || second.At < second.Now {
			t.Errorf("first %+v, second %+v", first, second)
		}
		time.Sleep(60 * day)
		u.overwrite("f", "once more")
		agree(t, a, b, `"once more"`)
		third := b.limit(false)
		if third.Now != second.At || third.At <= second.At || third.Entries < 25 {
			t.Errorf("second %+v, third %+v", second, third)
		}
		time.Sleep(32 * day)
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
