package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/region"
	"signet/device/ignore"
)

// errCaughtUp ends a Wait that only wanted what is there.
var errCaughtUp = errors.New("caught up")

// heads is how far every log was read.
func (d *Device) heads() map[signet.LogID]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := map[signet.LogID]uint64{d.dirHead.Log: d.dir.Tree.Size()}
	for _, r := range d.regions {
		h[r.log] = r.State.Size()
	}
	return h
}

// Discover reads everything that the service has for this device: the
// directory, the journals it knows, and those it does not know yet.
func (d *Device) Discover(ctx context.Context) error {
	return d.discover(ctx, func(id signet.RegionID) error { return d.SyncRegion(ctx, id) })
}

func (d *Device) discover(ctx context.Context, read func(signet.RegionID) error) error {
	if err := d.recover(ctx); err != nil {
		return err
	}
	if err := d.SyncDirectory(ctx); err != nil {
		return err
	}
	var behind []signet.RegionID
	err := d.Service.Wait(ctx, d.heads(), func(p signet.Page) error {
		if p.Log.Kind == signet.DirectoryLog {
			if len(p.Records) == 0 {
				return errCaughtUp
			}
			return nil
		}
		behind = append(behind, signet.RegionID(p.Log.ID))
		return nil
	}, nil)
	if !errors.Is(err, errCaughtUp) {
		return err
	}
	d.mu.Lock()
	for id := range d.regions {
		behind = append(behind, id)
	}
	d.mu.Unlock()
	done := map[signet.RegionID]bool{}
	var alarms []error
	for _, id := range behind {
		if done[id] {
			continue
		}
		done[id] = true
		// A region whose key this device does not have yet is no reason to leave
		// the others out: whoever writes there next seals it to our ring.
		switch err := read(id); {
		case err == nil, waitsFor(err) != nil:
		case errors.Is(err, signet.ErrNotVerified): // an alarm stops its region; the others go on
			alarms = append(alarms, err)
		default:
			return err
		}
	}
	if len(alarms) == 1 {
		return alarms[0]
	}
	return errors.Join(alarms...)
}

// follow keeps the logs up to date over the service's stream, until ctx ends.
func (d *Device) follow(ctx context.Context) {
	wait := time.Second
	for ctx.Err() == nil {
		err := d.discover(ctx, func(id signet.RegionID) error {
			// An alarm stops its region; the others go on.
			if err := d.SyncRegion(ctx, id); err != nil && !errors.Is(err, signet.ErrNotVerified) {
				return err
			}
			return nil
		})
		if err == nil {
			d.setOnline(true, nil)
			wait = time.Second
			err = d.Service.Wait(ctx, d.heads(), func(p signet.Page) error { return d.page(ctx, p) }, d.shown)
		}
		if ctx.Err() != nil {
			return
		}
		d.setOnline(false, err)
		// Devices come back after a restart one by one, not all at once.
		pause := wait/2 + upTo(wait)
		if wait = min(2*wait, time.Minute); isRecovering(err) {
			wait = min(wait, recoverEvery) // the others are coming
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-d.nudge:
			wait = time.Second
		}
	}
}

// Nudge says that the service may be reached now where it could not a moment ago,
// or that the machine slept: the service is tried at once, and volumes look what
// time it is.
func (d *Device) Nudge() {
	select {
	case d.nudge <- struct{}{}:
	default:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.volumes {
		v.wake()
	}
}

// page takes what the stream brings; what it does not bring whole is read.
func (d *Device) page(ctx context.Context, p signet.Page) error {
	if p.Log.Kind == signet.DirectoryLog {
		if len(p.Records) == 0 {
			return d.SyncDirectory(ctx) // caught up, or the service went back
		}
		d.mu.Lock()
		more, err := d.takeDirectory(p)
		d.mu.Unlock()
		if more && err == nil || errors.Is(err, chain.ErrTip) {
			return d.SyncDirectory(ctx)
		}
		return d.raise(err, signet.RegionID{})
	}
	id := signet.RegionID(p.Log.ID)
	d.mu.Lock()
	r := d.regions[id]
	whole := r != nil && r.failed == nil && !r.lag && r.State.Size() > 0 && len(p.Records) > 0 // an empty page: the service went back
	for _, rec := range p.Records {
		whole = whole && len(rec.Head) > 0 && len(rec.Blob) > 0
	}
	if !whole {
		d.mu.Unlock()
		if r != nil && r.failed != nil {
			return nil
		}
		return d.SyncRegion(ctx, id)
	}
	d.mu.Unlock()
	// An alarm stops its region; the others go on.
	if err := d.takeOrRead(ctx, r, p); err != nil && !errors.Is(err, signet.ErrNotVerified) {
		return err
	}
	return nil
}

func (d *Device) setOnline(on bool, err error) {
	d.mu.Lock()
	changed := d.online != on || (err == nil) != (d.lastErr == nil) // also the first reason why not
	if on && !d.online {
		d.onlineSince = d.Now()
	}
	d.online, d.lastErr = on, err
	if changed {
		d.signal()
		for _, v := range d.volumes {
			v.wake()
		}
	}
	d.mu.Unlock()
}

// Online reports whether the stream of the service is open, and if not, why.
func (d *Device) Online() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.online, d.lastErr
}

// Run keeps all volumes in step until ctx ends. It returns when every
// goroutine that it started has, but for those that wait for a disk that is silent:
// whoever runs it is to end then.
func (d *Device) Run(ctx context.Context) error {
	if err := d.loadVolumes(); err != nil {
		return err
	}
	running := map[*volume]bool{}
	ending, first := make(chan struct{}), time.Hour+upTo(3*time.Hour)
	go func() { defer close(ending); d.endDaily(acting(ctx, "daily"), first) }()
	follow := make(chan struct{})
	go func() { defer close(follow); d.follow(acting(ctx, "follow")) }()
	for {
		d.mu.Lock()
		changed := d.changed
		for _, v := range d.volumes {
			if !running[v] {
				running[v] = true
				d.start(ctx, v)
			}
		}
		for v := range running {
			if d.volumes[v.id] != v {
				delete(running, v) // whoever removed it waits for its end
			}
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			<-follow
			<-ending
			for v := range running {
				v.waitEnd()
			}
			return nil
		case <-changed:
		}
		d.tend(ctx)
	}
}

// start begins a volume's loop. With the lock held.
func (d *Device) start(ctx context.Context, v *volume) {
	ctx, v.stop = context.WithCancel(ctx)
	v.ended = make(chan struct{})
	go func() {
		defer close(v.ended)
		v.run(acting(ctx, "volume"))
	}()
}

// halt takes a volume from the device, and returns when its loop ended: from
// then on nobody touches its folder and its index.
func (d *Device) halt(id string) {
	d.mu.Lock()
	v := d.volumes[id]
	delete(d.volumes, id)
	d.signal()
	var ended chan struct{}
	if v != nil && v.ended != nil {
		v.stop()
		ended = v.ended
	}
	d.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// tend does what any device of the ring does for all: rekey a stale ring, and
// seal regions' keys again. That it fails matters to who writes next, who is
// told.
func (d *Device) tend(ctx context.Context) {
	if on, _ := d.Online(); on {
		_ = d.FreshenRing(ctx)
		d.mendAll(ctx)
	}
}

// run is a volume's loop under a daemon.
func (v *volume) run(ctx context.Context) {
	v.beside = newBesides(ctx, v.wake)
	defer v.close()
	w := &watcher{}
	defer w.stop()
	full := v.d.Now().Add(rescan())
	looked := 0 // the last question that a full look was begun for
	for ctx.Err() == nil && !v.gone() {
		turn, cancel := context.WithCancel(ctx)
		paused, until, asked := v.begin(cancel)
		if paused {
			cancel()
			v.stopBeside()
			v.setState(Paused, "", "")
			v.answer(asked)
			v.surveyPaused(ctx)
			v.sleep(ctx, until)
			continue
		}
		if v.disk == nil {
			_ = v.open() // what is wrong, the turn says; what is right is watched from the first turn on
		}
		if v.disk != nil && (w.of != v.disk || w.rules != v.rules || v.hints == nil && !v.d.Now().Before(w.retry)) {
			// The watch is set before the folder is listed, so that nothing falls
			// between the two.
			v.hints = w.start(ctx, v.disk, v.rules, v.d.Now())
			v.scan = true
		}
		if !v.d.Now().Before(full) {
			v.scan, full = true, v.d.Now().Add(rescan())
		}
		if asked > looked {
			v.scan, looked = true, asked
			v.forgive()
		}
		more, again, err := v.step(turn)
		stopped := turn.Err() != nil
		cancel()
		if stopped {
			continue // the end, or a pause
		}
		again = v.judge(err, more, again)
		v.answerSurveys()
		if v.disk != nil && (w.of != v.disk || w.rules != v.rules) {
			continue // just opened, or with other rules: watch it
		}
		if more && err == nil || errors.Is(err, errAgain) && v.patient() {
			v.drain()
			continue
		}
		v.answer(looked)
		if err == nil {
			v.retries = 0
			_ = v.d.keepTree(v.region) // costs the next start time
			v.snapshot(ctx)            // after it: an entry that was not taken in yet keeps no tree
			v.saveCounters()
		}
		again = earliest(again, full)
		if v.disk != nil && v.hints == nil {
			again = earliest(again, w.retry)
		}
		v.sleep(ctx, again)
	}
}

// begin begins a turn that a pause may cancel. until is when the pause there is
// ends; asked is the latest question.
func (v *volume) begin(cancel context.CancelFunc) (paused bool, until time.Time, asked int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.interrupt = cancel
	if paused, until = v.paused.on(v.d.Now()); !paused {
		until = time.Time{}
	}
	return paused || v.d.held.Load() != nil, until, v.asked
}

// patient reports whether to plan again at once where the world changed under
// a turn. Where it does so all the time, or only seems to, it is looked at
// afresh, after a while.
func (v *volume) patient() bool {
	if v.retries++; v.retries%5 != 0 {
		return true
	}
	v.scan = true
	return false
}

// answer tells those who asked for a full look that it was had.
func (v *volume) answer(asked int) {
	v.mu.Lock()
	news := asked > v.answered
	v.answered = max(v.answered, asked)
	v.mu.Unlock()
	if news {
		v.d.mu.Lock()
		v.d.signal()
		v.d.mu.Unlock()
	}
}

// A watcher is the watch on the disk that is open now.
type watcher struct {
	of     Volume
	rules  *ignore.Rules // what is not watched
	retry  time.Time     // when to try again where there is none
	cancel context.CancelFunc
}

// unwatched is after how long a disk is looked at again that cannot be
// watched, and the watch tried again.
const unwatched = time.Minute

func (w *watcher) start(ctx context.Context, disk Volume, rules *ignore.Rules, now time.Time) <-chan Event {
	w.stop()
	ctx, w.cancel = context.WithCancel(ctx)
	w.of, w.rules, w.retry = disk, rules, now.Add(unwatched)
	events, err := disk.Watch(ctx, skipper(rules))
	if err != nil {
		return nil
	}
	return events
}

func (w *watcher) stop() {
	if w.cancel != nil {
		w.cancel()
	}
	w.of, w.cancel = nil, nil
}

// rescan is how long a volume goes without a full scan, about an hour: what a
// watch missed is found then.
func rescan() time.Duration { return 50*time.Minute + upTo(20*time.Minute) }

// upTo is any time below d. It is drawn from where keys come from, because that
// is one source: a simulation is in charge of it.
func upTo(d time.Duration) time.Duration {
	var b [8]byte
	rand.Read(b[:])
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(d))
}

const hintAlarm = "run 'signet notices'; nothing is applied from this region until a person decides"

// judge turns the result of a turn into the volume's state, and says when to
// try again.
func (v *volume) judge(err error, more bool, again time.Time) time.Time {
	soon := v.d.Now().Add(5 * time.Second)
	v.d.mu.Lock()
	failed := v.failure()
	var wait *KeyWait
	var reader *readOnlyError
	var over *QuotaError
	online, why := v.d.online, v.d.lastErr
	v.d.mu.Unlock()
	switch {
	case failed != nil:
		v.setState(AlarmedAt, failed.Error(), hintOf(failed))
		return earliest(again, v.d.Now().Add(time.Minute))
	case err == nil && more:
		v.setState(Syncing, "", "")
		return again
	case err == nil:
		st := v.Status()
		switch {
		case !online && errors.Is(why, signet.ErrNotAllowed):
			v.setState(ReadOnly, why.Error(), "the files stay; if the device was revoked, signet logout and signet login with a new link join again")
		case !online && isRecovering(why):
			v.setState(Recover, why.Error(), hintRecovering)
		case !online && why != nil && !errors.Is(why, signet.ErrNotVerified):
			v.setState(Offline, why.Error(), "")
		case v.verifying():
			v.setState(Verifying, "", "")
		case v.blockedBy() != nil: // an alarm about a file; all others are in step
			v.setState(AlarmedAt, v.blockedBy().Error(), "the file stays as it was; all others are kept in step")
		case st.HeldDeletes > 0:
			v.setState(Held, fmt.Sprintf("%d deletions wait for an answer", st.HeldDeletes), "signet approve-deletes lets them go; signet restore "+v.dir+" brings the files back")
		case v.beside.pending():
			v.setState(Syncing, "", "")
		case v.dying.n > 0, v.returning.n > 0: // they wait for what may come yet
			v.setState(Syncing, "", "")
		case v.waitsForOthers() != "":
			v.setState(Syncing, v.waitsForOthers(), "")
		case v.stuck > 0: // the plan is not empty, and nothing of it can be done
			v.setState(Syncing, "", "")
		case len(v.index.unread) > 0 && !again.IsZero() && again.Before(v.d.Now().Add(settleWait)):
			v.setState(Syncing, "", "")
		default:
			v.seeded()
			v.setState(InStep, "", "")
		}
		return again
	case errors.Is(err, errAgain):
		return v.d.Now().Add(2 * time.Second)
	case errors.As(err, &wait):
		v.setState(Stopped, wait.Error(), wait.ErrorHint())
		return earliest(again, v.d.Now().Add(time.Minute)) // the region pokes before
	case errors.Is(err, signet.ErrNotVerified):
		err = v.d.raise(err, v.region.ID())
		v.setState(AlarmedAt, err.Error(), "")
		return soon
	case isRecovering(err):
		v.setState(Recover, err.Error(), hintRecovering)
	case errors.Is(err, signet.ErrUnavailable):
		v.setState(Offline, err.Error(), "")
	case errors.As(err, &reader):
		v.setState(ReadOnly, reader.Error(), reader.ErrorHint())
		soon = v.d.Now().Add(time.Minute) // the region pokes before
	case errors.As(err, &over):
		v.setState(OverQuota, over.Error(), over.ErrorHint())
		soon = v.d.Now().Add(roomAgain) // the region pokes before
	case errors.Is(err, signet.ErrNotAllowed):
		v.setState(ReadOnly, err.Error(), "")
		soon = v.d.Now().Add(time.Minute)
	case errors.Is(err, ErrNoRoom), v.d.Classify(err) == NoRoom:
		v.setState(Syncing, err.Error(), "free some space; uploads go on")
	case v.d.Classify(err) == RootMissing:
		v.setState(Stopped, err.Error(), "nothing was deleted; bring it back, or where it was moved to: signet add --relink --region "+v.Status().Region+" NEWPLACE")
	case v.d.Classify(err) == RootOther, errors.Is(err, ErrOtherVolume):
		v.setState(Stopped, err.Error(), "nothing was deleted; if this folder is to be the volume from now on: signet add --relink "+v.dir)
	default:
		v.setState(Stopped, err.Error(), "")
	}
	return earliest(again, soon)
}

// debounce is for how long hints are gathered before the next look: an editor
// that saves by renaming makes several.
const debounce = 5 * time.Millisecond

// sleep waits for a hint, news of the region, a poke or a time.
func (v *volume) sleep(ctx context.Context, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(max(until.Sub(v.d.Now()), 0))
		defer t.Stop()
		timer = t.C
	}
	// What is there already is taken in this order, not in one that chance
	// decides: so a run can be had again.
	for _, c := range []<-chan struct{}{ctx.Done(), v.region.poke, v.poke} {
		select {
		case <-c:
			return
		default:
		}
	}
	var e Event
	var ok bool
	select {
	case e, ok = <-v.hints:
	default:
		select {
		case <-ctx.Done():
			return
		case <-timer:
			return
		case <-v.region.poke:
			return
		case <-v.poke:
			return
		case e, ok = <-v.hints:
		}
	}
	if v.hint(e, ok) {
		v.linger(ctx)
	}
}

// hint takes in what the watch says; ok is false when it ended.
func (v *volume) hint(e Event, ok bool) bool {
	if !ok {
		v.hints = nil
		return false
	}
	v.event(e)
	return true
}

// linger gathers hints for a moment.
func (v *volume) linger(ctx context.Context) {
	t := time.NewTimer(debounce)
	defer t.Stop()
	for {
		select {
		case e, ok := <-v.hints:
			if !v.hint(e, ok) {
				return
			}
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (v *volume) close() {
	v.closeDisk()
	v.saveCounters()
}

func (v *volume) gone() bool {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	return v.d.volumes[v.id] != v
}

// Sync brings a volume in step and returns, without a daemon. The counters are
// those of this pass.
func (v *volume) sync(ctx context.Context) (Counters, error) {
	v.mu.Lock()
	v.counters = Counters{}
	v.mu.Unlock()
	v.scan, v.beside, v.moving = true, newBesides(ctx, v.wake), moving{}
	defer v.close()
	for {
		if err := v.d.SyncRegion(ctx, v.region.ID()); err != nil {
			v.judge(err, false, time.Time{})
			return v.counters, err
		}
		more, again, err := v.step(ctx)
		if err == nil && more || errors.Is(err, errAgain) && v.patient() {
			continue
		}
		if errors.Is(err, errAgain) {
			v.sleep(ctx, v.d.Now().Add(time.Second))
			if ctx.Err() == nil {
				continue
			}
			err = ctx.Err()
		}
		if err != nil {
			err = v.d.raise(err, v.region.ID())
			v.judge(err, false, time.Time{})
			return v.counters, err
		}
		// Something is on its way, or still being written: wait for it, as long as the caller does.
		if v.beside.pending() || len(v.index.unread) > 0 && !again.IsZero() && again.Before(v.d.Now().Add(2*settleWait)) {
			v.sleep(ctx, again)
			if ctx.Err() != nil {
				return v.counters, ctx.Err()
			}
			continue
		}
		// Nobody looks again at what was replaced under a program's hands.
		if due := v.openStill(); !due.IsZero() {
			v.sleep(ctx, due)
			if ctx.Err() != nil {
				return v.counters, ctx.Err()
			}
			continue
		}
		v.d.setOnline(true, nil)
		v.judge(nil, false, again)
		if err := v.blockedBy(); err != nil {
			return v.counters, err // an alarm about a file; all others are in step
		}
		_ = v.d.keepTree(v.region) // in this order: see Run
		if err := v.snapshotNow(ctx); err != nil && !errors.Is(err, signet.ErrUnavailable) {
			return v.counters, err
		}
		return v.counters, nil
	}
}

// snapshot writes a snapshot if enough happened since the last. That it fails
// costs newcomers time, nobody anything else.
func (v *volume) snapshot(ctx context.Context) {
	_ = v.snapshotNow(ctx)
}

func (v *volume) snapshotNow(ctx context.Context) error {
	v.d.mu.Lock()
	may := v.region.failed == nil && v.region.MayWrite() && v.region.Replayed() > 0
	wants := may && v.region.WantsPoint()
	v.d.mu.Unlock()
	if err := v.d.mend(ctx, v.region); errors.Is(err, signet.ErrNotVerified) {
		return err // else it concerns others, and is tried again
	}
	if !wants {
		return nil
	}
	// A point makes this place of the journal one where everybody knows the
	// digest; then the tree as it is there is sealed.
	if err := v.d.commit(ctx, v.region, 0, nil, nil); err != nil {
		return err
	}
	var objects [][]byte
	var snap *region.Snapshot
	v.d.mu.Lock()
	ready := v.region.Ready()
	var err error
	if ready {
		snap, err = v.region.SealSnapshot(func(object []byte, _ signet.ObjectID) error {
			objects = append(objects, append([]byte(nil), object...))
			return nil
		})
	}
	v.d.mu.Unlock()
	if err != nil || !ready {
		return err // others wrote at the same moment: the next time
	}
	v.d.Kept.keep(v.region.ID(), objects)
	if err := v.d.Service.Put(ctx, v.region.ID(), objects); err != nil {
		return err
	}
	if err := v.region.writing.take(ctx); err != nil {
		return err
	}
	defer v.region.writing.give()
	v.d.mu.Lock()
	rec, err := v.region.CommitSnapshot(v.d.dirHead.Last, snap)
	v.d.mu.Unlock()
	if err != nil {
		return err
	}
	return v.d.append(ctx, v.region, rec)
}
