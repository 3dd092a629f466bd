package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/tree"
)

// Objects that nothing kept uses end in two steps (spec/journal.md): a manager's
// device condemns them, and after the grace one collects what is unused still.
// Whoever finds a condemned object that is used spares it.

// nameless is how long an object may be named by an entry before a revision uses
// it: entries without operations pin the first objects of a long file.
const nameless = 7 * 24 * time.Hour

// An Ended is what EndObjects did, or would do: numbers of objects.
type Ended struct {
	Region    signet.RegionID `json:"region"`
	Kept      int             `json:"kept"`      // that kept revisions and snapshots use
	Condemned int             `json:"condemned"` // now
	Spared    int             `json:"spared"`
	Collected int             `json:"collected"`
	Waiting   int             `json:"waiting"`       // condemned, and not due
	Due       int64           `json:"due,omitempty"` // when the first of them is, ms since 1970
	Position  uint64          `json:"position"`      // entries that were looked at

	By map[signet.DeviceID]int `json:"-"` // who had condemned what is spared
}

// ErrNotWhole says that this device has not replayed all of a region, or is not
// sure of the time: it must not say what is used.
var ErrNotWhole = errors.New("this device does not know all of the region yet")

// EndObjects condemns, spares and collects what is to be in a region by now; with
// dry it only says so. Where this device's ring is no manager it spares alone.
// It reads the whole journal, and fetches manifests of long files.
// ErrNotWhole; ErrNotAllowed: the ring may not write there.
func (d *Device) EndObjects(ctx context.Context, id signet.RegionID, keep tree.Keep, dry bool) (e Ended, err error) {
	if err := d.SyncDirectory(ctx); err != nil {
		return e, err
	}
	if err := d.SyncRegion(ctx, id); err != nil {
		return e, err
	}
	r := d.region(id)
	if err := r.writing.take(ctx); err != nil {
		return e, err
	}
	defer r.writing.give()
	for range 5 {
		var todo []doom
		if e, todo, err = d.endings(ctx, r, keep); err != nil || dry {
			return e, err
		}
		err = d.end(ctx, r, e.Position, todo)
		if err == nil {
			d.tellSpared(r, e.By)
		}
		if !errors.Is(err, errAgain) {
			return e, err
		}
	}
	return e, fmt.Errorf("%s: others write all the time: %w", id, signet.ErrUnavailable)
}

// endDaily ends objects of all regions about once a day. Devices of one ring do
// it at different times, and one that comes soon after another leaves it alone. The
// first time is after first.
func (d *Device) endDaily(ctx context.Context, first time.Duration) {
	for wait := first; ; wait = 12*time.Hour + upTo(24*time.Hour) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		d.mu.Lock()
		var list []signet.RegionID
		manages := map[signet.RegionID]bool{}
		for id, r := range d.regions {
			if d.mayEnd(r, journal.Spare) == nil && !d.endedLately(r) {
				list, manages[id] = append(list, id), d.mayEnd(r, journal.Condemn) == nil
			}
		}
		d.mu.Unlock()
		for _, id := range list {
			if manages[id] {
				_ = d.MakeRoom(ctx, id) // as below
			}
			_, _ = d.EndObjects(ctx, id, tree.DefaultKeep, false) // what cannot be ended now can be tomorrow
		}
	}
}

// endedLately reports whether another device condemned something within the last
// hours, and nothing is due. With the lock held.
func (d *Device) endedLately(r *openRegion) bool {
	lately := false
	for _, s := range r.State.Sentences() {
		lately = lately || d.now()-s.Time < (10*time.Hour).Milliseconds()
		if s.Due <= d.now() {
			return false
		}
	}
	return lately
}

// tellSpared raises an alarm about devices that had condemned what is used:
// mistaken, or worse.
func (d *Device) tellSpared(r *openRegion, by map[signet.DeviceID]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range by {
		if id != d.Self.Device {
			d.keep(Alarm{Kind: "condemned", Since: d.Now(), Region: r.ID().String(),
				Message: fmt.Sprintf("%s had condemned %d objects of %s that are used; they were spared", id, n, r.ID())}, nil)
		}
	}
}

// A doom is an entry to be written.
type doom struct {
	typ journal.Type
	journal.Ending
}

// endings is what is to be written of the journal as it is.
func (d *Device) endings(ctx context.Context, r *openRegion, keep tree.Keep) (e Ended, todo []doom, err error) {
	now := d.now()
	d.mu.Lock()
	e = Ended{Region: r.ID(), Position: r.State.Size()}
	err = d.mayEnd(r, journal.Spare)
	manages := d.mayEnd(r, journal.Condemn) == nil
	d.mu.Unlock()
	if err != nil {
		return e, nil, err
	}
	live, err := d.KeptUntil(ctx, r.ID(), keep, now)
	if err != nil {
		return e, nil, err
	}
	for o, until := range live {
		if until <= now {
			delete(live, o)
		}
	}
	named, err := d.named(r, e.Position, now, live)
	if err != nil {
		return e, nil, err
	}
	e.Kept = len(live)
	used := func(o signet.ObjectID) bool { _, ok := live[o]; return ok }

	d.mu.Lock()
	defer d.mu.Unlock()
	var spare []signet.ObjectID
	e.By = map[signet.DeviceID]int{}
	for _, s := range r.State.Sentences() {
		var due []signet.ObjectID
		for _, o := range r.State.CondemnedBy(s.Hash) {
			delete(named, o)
			switch {
			case used(o):
				spare = append(spare, o)
				e.By[s.By]++
			case s.Due <= now && manages:
				due = append(due, o)
			default:
				e.Waiting++
				if e.Due == 0 || s.Due < e.Due {
					e.Due = s.Due
				}
			}
		}
		if len(due) > 0 {
			e.Collected += len(due)
			todo = append(todo, doom{journal.Collect, journal.Ending{Condemn: s.Hash, Objects: due}})
		}
	}
	if len(spare) > 0 {
		e.Spared = len(spare)
		slices.SortFunc(spare, compareObjects)
		for part := range slices.Chunk(spare, journal.MaxEnding) {
			todo = slices.Insert(todo, 0, doom{journal.Spare, journal.Ending{Objects: part}})
		}
	}
	var doomed []signet.ObjectID
	for o, there := range named {
		if there && !used(o) && manages {
			doomed = append(doomed, o)
		}
	}
	e.Condemned = len(doomed)
	slices.SortFunc(doomed, compareObjects)
	for part := range slices.Chunk(doomed, journal.MaxEnding) {
		todo = append(todo, doom{journal.Condemn, journal.Ending{Days: journal.DefaultGrace, Objects: part}})
	}
	return e, todo, nil
}

func compareObjects(a, b signet.ObjectID) int { return bytes.Compare(a[:], b[:]) }

// mayEnd is why this device must not write an entry of a type, which says what a
// region uses; nil if it may. With the lock held.
func (d *Device) mayEnd(r *openRegion, t journal.Type) error {
	role := r.State.Role(d.Self.Ring)
	switch {
	case r.failed != nil:
		return r.failed
	case role < journal.Writer || role < journal.Manager && t != journal.Spare:
		return fmt.Errorf("%s: this device's ring may not end objects here: %w", r.ID(), signet.ErrNotAllowed)
	case r.lag || r.behind || r.wait != nil || len(r.pending) > 0 || r.Replayed() != r.State.Size():
		return fmt.Errorf("%s: %w", r.ID(), ErrNotWhole)
	}
	for _, a := range d.alarms {
		if a.Kind == "clock" && a.Region == r.ID().String() && a.State != AlarmEnded {
			return fmt.Errorf("%s: the times of service and device differ: %w", r.ID(), ErrNotWhole)
		}
	}
	return nil
}

// named lists the objects that entries before a position brought, and that no
// collect ended since; those that are too young to be judged, and those of the
// snapshots that newcomers may read, it adds to live.
func (d *Device) named(r *openRegion, size uint64, now int64, live map[signet.ObjectID]int64) (map[signet.ObjectID]bool, error) {
	named := map[signet.ObjectID]bool{}
	gone, err := d.collected(r.ID())
	if err != nil {
		return nil, err
	}
	type shot struct {
		at  uint64
		ids []signet.ObjectID
	}
	var snapshots []shot
	d.mu.Lock()
	begins := map[uint64]bool{} // snapshots that horizons name
	for _, h := range []*journal.Horizon{d.horizon(r), r.State.Coming(now)} {
		if h != nil {
			begins[h.Snapshot] = true
		}
	}
	d.mu.Unlock()
	err = d.Store.records(r.log, 0, func(pos uint64, rec signet.Record) error {
		if pos >= size {
			return nil
		}
		h, err := journal.IDOf(rec.Head)
		if err != nil {
			return nil // not an entry, so without effect
		}
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if err != nil {
			return err
		}
		switch h.Type {
		case journal.Content, journal.Snapshot:
			ids, err := journal.ObjectsOf(rec.Head, rec.Blob)
			if err != nil {
				return nil
			}
			for _, o := range ids {
				named[o] = pos >= gone[o]
			}
			if now-leaf.Time < nameless.Milliseconds() || begins[pos] {
				for _, o := range ids {
					live[o] = tree.Forever
				}
			}
			if h.Type == journal.Snapshot {
				snapshots = append(snapshots, shot{h.DigestAt, ids})
			}
		}
		return nil
	})
	slices.SortStableFunc(snapshots, func(a, b shot) int { return cmp.Compare(a.at, b.at) })
	for _, s := range snapshots[max(0, len(snapshots)-2):] {
		for _, o := range s.ids {
			live[o] = tree.Forever
		}
	}
	return named, err
}

// collected is, of each object that was collected, the position of the last entry
// that did it: what names it later is another life of it.
func (d *Device) collected(id signet.RegionID) (map[signet.ObjectID]uint64, error) {
	gone := map[signet.ObjectID]uint64{}
	r := d.region(id)
	d.mu.Lock()
	list := r.State.Collects()
	d.mu.Unlock()
	for _, pos := range list {
		rec, err := d.Store.record(r.log, pos)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		ids, err := r.State.Collected(pos, rec)
		d.mu.Unlock()
		if err != nil {
			return nil, err
		}
		for _, o := range ids {
			gone[o] = pos
		}
	}
	return gone, nil
}

// ErrCollected says that a content is of no kept version, and its objects were
// collected: nobody has its bytes from the service any more.
var ErrCollected = fmt.Errorf("no kept version used these bytes, so the service dropped them: %w", signet.ErrNotFound)

// wasCollected reports whether an object was collected, so that no service has it.
func (d *Device) wasCollected(id signet.RegionID, o signet.ObjectID) bool {
	gone, err := d.collected(id)
	_, ok := gone[o]
	return err == nil && ok
}

// end writes what is to be written, as long as nobody else wrote content since
// the journal was looked at: errAgain if so. Where the region's key is stale it is
// replaced first: nobody may write content for years after a device was revoked.
func (d *Device) end(ctx context.Context, r *openRegion, size uint64, todo []doom) error {
	for ; len(todo) > 0; size++ {
		d.mu.Lock()
		err := d.mayEnd(r, todo[0].typ)
		if err == nil && r.State.Size() != size {
			err = errAgain
		}
		stale := r.Stale()
		var rec signet.Record
		switch {
		case err != nil:
		case stale:
			rec, err = r.Rekey(d.dirHead.Last)
		default:
			rec, err = r.End(todo[0].typ, d.dirHead.Last, todo[0].Ending)
		}
		d.mu.Unlock()
		if err == nil {
			err = d.append(ctx, r, rec)
		}
		switch {
		case errors.Is(err, signet.ErrConflict), errors.Is(err, signet.ErrStale):
			if err := d.SyncDirectory(ctx); err != nil {
				return err
			}
			if err := d.SyncRegion(ctx, r.ID()); err != nil {
				return err
			}
			return errAgain
		case err != nil:
			return err
		case !stale:
			todo = todo[1:]
		}
	}
	return nil
}

// rests reports why operations must not rest on what they rest on: errAgain. With
// the lock held.
func (r *openRegion) rests(floor uint64, items []tree.Item, objects []signet.ObjectID) error {
	if len(items)+len(objects) == 0 {
		return nil
	}
	if r.State.Floor() != floor {
		return errAgain
	}
	if len(r.State.Sentences()) == 0 {
		return nil
	}
	var doomed []signet.ObjectID
	note := func(ids []signet.ObjectID) {
		for _, o := range ids {
			if r.State.Condemned(o) != (signet.Hash{}) {
				doomed = append(doomed, o)
			}
		}
	}
	note(objects)
	for i := range items {
		if c := contentOf(&items[i].Op); c != nil {
			note(c.Objects())
		}
	}
	if len(doomed) > 0 {
		return &condemnedError{doomed}
	}
	return nil
}

// forgetDoomed forgets what this device sealed that was condemned lately: what
// has that content from here on is sealed anew.
func (v *volume) forgetDoomed() error {
	v.d.mu.Lock()
	ids := v.region.doomed
	v.region.doomed = nil
	v.d.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	v.forgetEarly()
	return v.d.Store.forgetSealed(v.region.ID(), ids)
}

// contentOf is the content that an operation gives a file; nil if none.
func contentOf(op *tree.Op) *seal.Content {
	if len(op.Content) == 0 {
		return nil
	}
	c, err := seal.ParseContent(op.Content)
	if err != nil {
		return nil
	}
	return c
}

// A condemnedError is the error for what rests on condemned objects: they are
// sealed anew, or spared.
type condemnedError struct{ ids []signet.ObjectID }

func (e *condemnedError) Error() string {
	return fmt.Sprintf("%d objects are condemned, the first %s", len(e.ids), e.ids[0])
}

// MissingObjects lists them.
func (e *condemnedError) MissingObjects() []signet.ObjectID { return e.ids }

// spare takes what contents use out of what is condemned, so that operations may
// name it again.
func (d *Device) spare(ctx context.Context, r *openRegion, ops []tree.Op) error {
	for range 5 {
		d.mu.Lock()
		none := len(r.State.Sentences()) == 0
		d.mu.Unlock()
		if none {
			return nil
		}
		used := map[signet.ObjectID]bool{}
		for i := range ops {
			c := contentOf(&ops[i])
			if c == nil {
				continue
			}
			ids := c.Objects()
			if c.Root != nil || len(c.Pages) > 0 {
				m, err := c.Open(func(o signet.ObjectID) ([]byte, error) { return d.object(ctx, r.ID(), o) })
				if err != nil {
					return fmt.Errorf("manifest of a file of %d bytes: %w", c.Size, err)
				}
				ids = append(ids, m.Objects()...)
			}
			for _, o := range ids {
				used[o] = true
			}
		}
		if err := r.writing.take(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		var ids []signet.ObjectID
		for o := range used {
			if r.State.Condemned(o) != (signet.Hash{}) {
				ids = append(ids, o)
			}
		}
		slices.SortFunc(ids, compareObjects)
		size := r.State.Size()
		d.mu.Unlock()
		var err error
		for part := range slices.Chunk(ids, journal.MaxEnding) {
			if err == nil {
				err = d.end(ctx, r, size, []doom{{journal.Spare, journal.Ending{Objects: part}}})
				size++
			}
		}
		r.writing.give()
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return fmt.Errorf("%s: others write all the time: %w", r.ID(), signet.ErrUnavailable)
}
