package sim

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"signet/core/tree"
	"signet/device/engine"
)

const day = 24 * time.Hour

// end ends objects as a daemon does once a day.
func (d *device) end() engine.Ended {
	p := d.start()
	defer p.end()
	return p.endObjects()
}

func (p *program) endObjects() engine.Ended {
	out, err := p.engine.EndObjects(p.t.Context(), p.org.region, tree.DefaultKeep, false)
	if err != nil {
		p.t.Errorf("%s: end objects: %v", p.name, err)
	}
	return out
}

// fetches is how many contents of the region's history a device can have, and how
// many are gone.
func (d *device) fetches() (have, gone int) {
	s, err := d.session(d.n)
	if err != nil {
		d.t.Error(err)
		return 0, 0
	}
	e, store := d.org.open(d.t, d.n, d.home, s, nil, nil, nil, nil)
	defer store.Close()
	for _, op := range d.versions(e) {
		err := e.Fetch(d.t.Context(), d.org.region, op.Content, op.Hash, &strings.Builder{})
		switch {
		case err == nil:
			have++
		case errors.Is(err, engine.ErrCollected):
			gone++
		default:
			d.t.Error(err)
		}
	}
	return have, gone
}

// versions are the operations that gave files their contents, oldest first.
func (d *device) versions(e *engine.Device) (ops []tree.Op) {
	err := e.Events(d.org.region, func(_ tree.Event, op *tree.Op) error {
		if op != nil && op.Type == tree.File && (op.Kind == tree.Create || op.Kind == tree.Edit) {
			ops = append(ops, *op)
		}
		return nil
	})
	if err != nil {
		d.t.Error(err)
	}
	return ops
}

// years lets two grace periods pass over what a run left, with devices that end
// objects. Whatever is kept can be had still, and everybody shows the same. In some
// runs (short) little history is kept and a horizon is set; then a device begins there.
func (r *run) years(short bool) {
	if r.t.Failed() {
		return
	}
	r.act(func() {
		if short {
			r.left()[0].keep(tree.Keep{Hours: 24, Days: 1, Weeks: 1})
		}
		for range 3 {
			r.rest(40 * day)
			time.Sleep(3 * time.Hour) // some rounds of the service's gc
			for _, d := range r.left() {
				p := d.start()
				p.pass()
				p.endObjects()
				p.end()
				if short {
					d.limit(false)
				}
				if r.t.Failed() {
					return
				}
			}
		}
		if last := r.left()[len(r.left())-1]; short && !last.chooses && len(r.left()) > 1 {
			bare := last.bare()
			last.joinAnew()
			last.pass()
			p := last.start()
			r.note(fmt.Sprintf("%s: began anew at %d, %d entries are bare", last.name, p.engine.Began(r.org.region), bare))
			p.end()
		}
		d := r.left()[0]
		s, err := r.session(d.n)
		if err != nil {
			r.t.Error(err)
			return
		}
		e, store := r.org.open(r.t, d.n, d.home, s, nil, nil, nil, nil)
		defer store.Close()
		now := time.Now().UnixMilli()
		kept := map[string]bool{}
		err = e.Contents(r.org.region, tree.DefaultKeep, func(s tree.Span, until int64, _ tree.Why) error {
			kept[string(s.Content)] = kept[string(s.Content)] || until > now
			return nil
		})
		if err != nil {
			r.t.Error(err)
		}
		if r.cased() {
			r.showTree("U2 after years", e)
		}
		for _, op := range d.versions(e) {
			if err := e.Fetch(r.t.Context(), r.org.region, op.Content, op.Hash, &strings.Builder{}); err != nil && kept[string(op.Content)] {
				r.t.Errorf("a version of %d bytes is kept, and cannot be had: %v", op.Size, err)
			}
		}
	})
	if err := r.run(200_000); err != nil {
		r.t.Error(err)
	}
	r.alike("U2 after years")
}

// Versions that no kept point holds are condemned, and collected after the grace;
// what is kept stays, and a device that was away all the time brings back the
// same bytes as an object of its own.
func TestObjectsEndAndWhatIsUsedStays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u, away := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		u.create("stays", "as it is")
		u.create("changes", "first")
		a.pass()
		b.pass()
		time.Sleep(time.Hour)
		u.overwrite("changes", "second")
		a.pass()
		time.Sleep(time.Hour)
		u.overwrite("changes", "third")
		a.pass()
		if e := a.end(); e.Condemned+e.Collected+e.Spared != 0 {
			t.Errorf("at once: %+v", e)
		}
		time.Sleep(40 * day)
		a.pass()
		e := a.end()
		if e.Condemned != 2 || e.Kept < 2 || e.Collected != 0 {
			t.Errorf("after 40 days: %+v", e)
		}
		if have, gone := a.fetches(); have != 4 || gone != 0 {
			t.Errorf("condemned: %d versions to be had, %d gone", have, gone)
		}
		if e := a.end(); e.Condemned+e.Collected+e.Spared != 0 || e.Waiting != 2 {
			t.Errorf("the same day: %+v", e)
		}
		time.Sleep(31 * day)
		if e := a.end(); e.Collected != 2 || e.Waiting != 0 {
			t.Errorf("after the grace: %+v", e)
		}
		if have, gone := a.fetches(); have != 2 || gone != 2 {
			t.Errorf("collected: %d versions to be had, %d gone", have, gone)
		}
		// b has heard of nothing, and knows what "first" was sealed as.
		away.create("again", "first")
		away.create("more", "of b's own")
		b.pass()
		a.pass()
		if l := a.disk.listing(); l != b.disk.listing() || !strings.Contains(l, `"first"`) {
			t.Errorf("a has\n%s\nb has\n%s", l, b.disk.listing())
		}
		if have, _ := a.fetches(); have != 4 {
			t.Errorf("%d versions to be had", have)
		}
	})
}

// twoVersions has a user save a file, and an hour later over it.
func twoVersions(a *device) *user {
	u := &user{device: a, rnd: a.rnd}
	u.create("f", "first")
	a.pass()
	time.Sleep(time.Hour)
	u.overwrite("f", "second")
	a.pass()
	return u
}

// What is used again after it was condemned is spared, whoever had condemned it,
// and a version that is brought back before its end stays.
func TestWhatIsBroughtBackIsSpared(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		twoVersions(a)
		time.Sleep(40 * day)
		if e := a.end(); e.Condemned != 1 {
			t.Errorf("after 40 days: %+v", e)
		}
		b.pass()
		e, store := b.begin(&life{onCrash: func() {}}, 0)
		old := b.versions(e)[0]
		err := e.Put(b.t.Context(), r.org.region, func(now *tree.Tree) ([]tree.Op, error) {
			n, _ := now.Node(old.Node)
			return []tree.Op{{Kind: tree.Edit, Restored: true, Node: n.ID, Type: tree.File, BaseContent: n.Content.Revision, Content: old.Content,
				Size: old.Size, Hash: old.Hash, PlaintextID: old.PlaintextID, MTime: n.MTime}}, nil
		})
		store.Close()
		if err != nil {
			t.Error(err)
		}
		agree(t, a, b, `"first"`)
		time.Sleep(31 * day)
		if e := a.end(); e.Collected != 0 || e.Spared != 0 {
			t.Errorf("after the grace: %+v", e)
		}
		if have, gone := b.fetches(); have == 0 || gone != 0 {
			t.Errorf("%d versions to be had, %d gone", have, gone)
		}
	})
}

// A device was revoked, and nobody wrote since: the region's key was stale, and no
// object ended until somebody saved something.
func TestObjectsEndThoughNobodyWroteSinceADeviceWasRevoked(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	scene(t, func(r *run, a, b *device) {
		u := twoVersions(a)
		b.pass()
		e, store := a.begin(&life{onCrash: func() {}}, 0)
		if err := a.retire(r.t.Context(), e, most-1); err != nil {
			t.Error(err)
		}
		store.Close()
		time.Sleep(40 * day)
		a.pass()
		if e := a.end(); e.Condemned != 1 {
			t.Errorf("after 40 days: %+v", e)
		}
		time.Sleep(31 * day)
		if e := a.end(); e.Collected != 1 || e.Waiting != 0 {
			t.Errorf("after the grace: %+v", e)
		}
		u.create("g", "third")
		agree(t, a, b, "")
	})
}
