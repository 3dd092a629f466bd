package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/chain"
)

// A service that was restored from a backup lost what came after. Whoever has it
// stops applying, keeps all it has, and gives it back: statements, entries with
// their blobs, objects. What comes out must be the very roots that the service
// signed; then nothing has happened. A service that does not take it, or has
// another history, is no restored one, and the alarm stands.

// A Regression is the error of a device that waits until a restored service is
// whole again.
type Regression struct{ why string }

func (r *Regression) Error() string { return "the service was restored from a backup: " + r.why }

// Unwrap makes a Regression a signet.ErrUnavailable: it passes.
func (r *Regression) Unwrap() error { return signet.ErrUnavailable }

// ErrorKind and ErrorHint are for the command line.
func (r *Regression) ErrorKind() string { return kindRecovering }
func (r *Regression) ErrorHint() string { return hintRecovering }

const (
	kindRecovering = "recovering"
	hintRecovering = "nothing is lost; it ends by itself when the other devices have been online, or when whoever runs the service ends the wait"
)

func kindOf(err error) string {
	var k interface{ ErrorKind() string }
	if errors.As(err, &k) {
		return k.ErrorKind()
	}
	return ""
}

// isRecovering reports whether an error says that the service is not whole yet.
func isRecovering(err error) bool { return err != nil && kindOf(err) == kindRecovering }

// errRefused says that the service does not take back what it once had.
type errRefused struct{ error }

func (e errRefused) Unwrap() error { return e.error }

// recover gives a restored service back what it lacks, where it says that it
// lacks something. That others have not done so yet is no error.
func (d *Device) recover(ctx context.Context) error {
	logs, err := d.Service.Recovering(ctx)
	if kindOf(err) == "bad_request" { // a service from before there was such a request
		return nil
	}
	if err != nil || !d.hasAny(logs) {
		return err
	}
	if err = d.giveBack(ctx); isRecovering(err) || errors.As(err, &errRefused{}) {
		return nil // who reads the log next sees what is wrong with it
	}
	return err
}

// hasAny reports whether this device follows one of some logs.
func (d *Device) hasAny(logs []signet.LogID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range logs {
		if r := d.regions[signet.RegionID(l.ID)]; l == d.dirHead.Log && d.dirHead.Last != nil || r != nil && r.Follower.Last != nil && !r.lag {
			return true
		}
	}
	return false
}

// giveBack re-offers all that this device has: the directory first, because
// entries name it, and last it says that there is nothing more.
func (d *Device) giveBack(ctx context.Context) error {
	if err := d.giving.take(ctx); err != nil {
		return err
	}
	defer d.giving.give()
	d.mu.Lock()
	var list []*openRegion
	for _, r := range d.regions {
		if r.Follower.Last != nil && !r.lag {
			list = append(list, r)
		}
	}
	d.mu.Unlock()
	directory := func(done bool) error {
		return d.giveLog(ctx, d.dirHead.Log, done)
	}
	if err := directory(false); err != nil && !isRecovering(err) {
		return err
	}
	var refused, wait error
	for _, r := range list {
		if err := d.doubt(r.ID()); err != nil {
			return err
		}
		rerr := d.giveLog(ctx, r.log, true)
		switch {
		case rerr == nil:
		case errors.As(rerr, &errRefused{}):
			refused = errors.Join(refused, rerr) // the others are given all the same
		case isRecovering(rerr):
			wait = rerr
		default:
			return rerr
		}
	}
	if err := directory(true); isRecovering(err) {
		wait = err
	} else if err != nil {
		return err
	}
	return cmp.Or(refused, wait)
}

// pageBytes is about how many bytes of records one re-offer holds.
const pageBytes = 128 << 10

// followed is what this device knows of a log that it follows. With the lock
// held.
func (d *Device) followed(log signet.LogID) (*chain.Follower, *chain.Tree) {
	if r := d.regions[signet.RegionID(log.ID)]; log.Kind == signet.RegionLog && r != nil {
		return &r.Follower, &r.State.Tree
	}
	return &d.dirHead, d.dir.Tree
}

// regionOf is the region of a journal; zero for the directory.
func regionOf(log signet.LogID) (id signet.RegionID) {
	if log.Kind == signet.RegionLog {
		id = log.ID
	}
	return id
}

// giveLog re-offers one log from where the service has it. done says that this
// device then has nothing more for it.
func (d *Device) giveLog(ctx context.Context, log signet.LogID, done bool) error {
	id := regionOf(log)
	d.mu.Lock()
	f, _ := d.followed(log)
	last := f.Last
	d.mu.Unlock()
	if last == nil {
		return nil
	}
	ask := func(o signet.Reoffer) (uint64, bool, error) {
		o.Log, o.Checkpoint = log, last.Bytes()
		size, whole, err := d.Service.Reoffer(ctx, o)
		return size, whole, refusal(err)
	}
	size, whole, err := ask(signet.Reoffer{Page: signet.Page{From: last.Size}})
	if errors.Is(err, signet.ErrNotFound) && id != (signet.RegionID{}) {
		size, whole, err = 0, false, nil // the region was made after the backup
	}
	if err != nil {
		return err
	}
	if size < last.Size {
		d.noteRegression(log, last.Size, size)
	}
	given := false // objects
	for {
		if id != (signet.RegionID{}) && size > 0 && !given {
			if err := d.giveObjects(ctx, id); err != nil {
				return err
			}
			given = true
		}
		if size >= last.Size {
			break
		}
		o, err := d.reofferFrom(log, size, last, id != (signet.RegionID{}) && size == 0)
		if err != nil {
			return err
		}
		if len(o.Records) == 0 { // the statement of a ring that this device is not shown
			return &Regression{"another device has what it lacks"}
		}
		o.Done = done && size > 0
		before := size
		if size, whole, err = ask(o); err != nil {
			return err
		}
		if size <= before {
			return errRefused{fmt.Errorf("the service takes back nothing of %s from position %d on", log, size)}
		}
	}
	if done {
		if size, whole, err = ask(signet.Reoffer{Page: signet.Page{From: last.Size}, Done: true}); err != nil {
			return err
		}
	}
	if !whole {
		return &Regression{"it waits for what other devices have"}
	}
	return nil
}

// refusal tells a service that will not from one that cannot now.
func refusal(err error) error {
	switch kindOf(err) {
	case "conflict", "invalid", "bad_request", "missing_objects", "too_large":
		return errRefused{err}
	}
	return err
}

// reofferFrom is the run of stored records of a log that follows a position,
// with its proof. Of a journal that the service does not have, the first comes
// alone: objects can be sent only to a region that is there.
func (d *Device) reofferFrom(log signet.LogID, from uint64, last *chain.Checkpoint, one bool) (o signet.Reoffer, err error) {
	o.From = from
	size := 0
	err = d.Store.records(log, from, func(pos uint64, r signet.Record) error {
		if pos != from+uint64(len(o.Records)) || pos >= last.Size || len(r.Head) == 0 || len(o.Records) > 0 && (one || size >= pageBytes) {
			return errEnough
		}
		o.Records = append(o.Records, r)
		size += len(r.Head) + len(r.Blob)
		return nil
	})
	if err != nil && err != errEnough {
		return o, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, t := d.followed(log)
	o.Proof, err = t.Consistency(from+uint64(len(o.Records)), last.Size)
	return o, err
}

var errEnough = errors.New("enough")

// giveObjects sends those objects that this device keeps and the service lacks.
func (d *Device) giveObjects(ctx context.Context, id signet.RegionID) error {
	var ids []signet.ObjectID
	lacks := map[signet.ObjectID]bool{}
	ask := func() error {
		missing, err := d.Service.Have(ctx, id, ids)
		for _, m := range missing {
			lacks[m] = true
		}
		ids = ids[:0]
		return err
	}
	seen := map[signet.ObjectID]bool{}
	err := d.Kept.ids(id, func(o signet.ObjectID) error {
		if seen[o] {
			return nil
		}
		seen[o] = true
		if ids = append(ids, o); len(ids) < haveMost {
			return nil
		}
		return ask()
	})
	if err == nil && len(ids) > 0 {
		err = ask()
	}
	if err != nil {
		return err
	}
	return d.giveKept(ctx, id, lacks)
}

// giveKept sends those of some objects that this device keeps, and takes them from lacks.
func (d *Device) giveKept(ctx context.Context, id signet.RegionID, lacks map[signet.ObjectID]bool) error {
	if len(lacks) == 0 {
		return nil
	}
	var group [][]byte
	size := 0
	put := func() error {
		if len(group) == 0 {
			return nil
		}
		err := d.Service.Put(ctx, id, group)
		group, size = nil, 0
		return err
	}
	err := d.Kept.each(id, func(o signet.ObjectID) bool { return lacks[o] }, func(o signet.ObjectID, object []byte) error {
		delete(lacks, o)
		group = append(group, object)
		if size += len(object); size < groupSize {
			return nil
		}
		return put()
	})
	if err != nil {
		return err
	}
	return put()
}

// haveMost is how many objects are asked for in one request.
const haveMost = 4096

// regressed is for a service that shows less of a log than it did: where it was
// restored, it gets back what it lacks. What it signed in between must be what we
// have too. nil, or a *Regression: read again, and wait if it is not there yet.
func (d *Device) regressed(ctx context.Context, back *chain.Rollback) error {
	log := back.Last.Log
	id := regionOf(log)
	d.mu.Lock()
	f, t := d.followed(log)
	err := f.Check(back.Shown, t)
	d.mu.Unlock()
	if err != nil {
		return d.raise(err, id)
	}
	if back.Evidence != nil { // it signed less after more, which a restored one does not
		return d.raise(back, id)
	}
	d.noteRegression(log, back.Last.Size, back.Shown.Size)
	err = d.giveBack(ctx)
	if errors.As(err, &errRefused{}) {
		return d.raise(back, id)
	}
	return err
}

// States of an alarm that does not stand.
const (
	AlarmRecovering = "recovering" // the service is getting back what it lost
	AlarmEnded      = "ended"      // it has it
)

// noteRegression keeps a notice that the service went back. It is no alarm yet.
func (d *Device) noteRegression(log signet.LogID, from, to uint64) {
	d.noteBehind(log, from, to)
	// For who asks when no loop turns that could say so.
	d.mu.Lock()
	var stand []*volume
	for _, v := range d.volumes {
		if v.regression() != nil && v.failure() == nil {
			stand = append(stand, v)
		}
	}
	d.mu.Unlock()
	for _, v := range stand {
		v.setState(Recover, wentBack(log, from, to), hintRecovering)
		v.saveCounters()
	}
}

func (d *Device) noteBehind(log signet.LogID, from, to uint64) {
	id := regionOf(log)
	d.mu.Lock()
	defer d.mu.Unlock()
	if id == (signet.RegionID{}) {
		d.behind = true
	} else if r := d.regions[id]; r != nil {
		r.behind = true
	}
	a := Alarm{Kind: "rollback", Message: wentBack(log, from, to), Since: d.Now(), State: AlarmRecovering}
	if id != (signet.RegionID{}) {
		a.Region = id.String()
	}
	for _, old := range d.alarms {
		if old.Kind == a.Kind && old.Region == a.Region && old.State != AlarmEnded {
			return // a re-offer under way ends it
		}
	}
	d.keep(a, nil)
}

func wentBack(log signet.LogID, from, to uint64) string {
	return fmt.Sprintf("the service went back in %s: from size %d to size %d", log, from, to)
}

// passing reports whether an alarm is one that ends by itself when the service
// has again what it lost.
func passing(err error) bool {
	var back *chain.Rollback
	return errors.As(err, &back) && back.Evidence == nil
}

// healed ends what a regression of a log began, once the service has shown again
// all that it had signed. With the lock held.
func (d *Device) healed(log signet.LogID) {
	name := ""
	if id := regionOf(log); id == (signet.RegionID{}) {
		d.behind = false
		if passing(d.failed) {
			d.failed = nil
		}
	} else {
		name = id.String()
		d.regions[id].behind = false
	}
	changed := false
	for i := range d.alarms {
		if a := &d.alarms[i]; a.Kind == "rollback" && a.Region == name && a.State != AlarmEnded && !a.Proved {
			now := d.Now()
			a.State, a.Ended, changed = AlarmEnded, &now, true
		}
	}
	if !changed {
		return
	}
	d.saveAlarms()
	d.signal()
	for _, r := range d.regions {
		r.wake()
	}
	for _, v := range d.volumes {
		v.wake()
	}
}

// regression is why a volume stands still while a service gets back what it
// lost. With the lock held.
func (v *volume) regression() error {
	if v.d.behind || v.region.behind {
		return &Regression{"it is getting back what it lost"}
	}
	return nil
}

// recoverEvery is how long a device waits between two looks at a service that
// is not whole.
const recoverEvery = 5 * time.Second
