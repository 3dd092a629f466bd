package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signet"
	"signet/core/region"
)

// A region waits where its entries are verified and its operations cannot be
// opened, because this device has no envelope of their key, or none that opens.
// Its records are kept and its journal is followed, so that this device can
// complain, and sees the envelope that another seals for it; then it goes on.

// A KeyWait is the error of a volume whose region's key was sealed to this
// device in an envelope that does not open to what its giver committed to.
type KeyWait struct {
	*region.BadEnvelope
}

// Error says who gave the key, and what becomes of it.
func (w *KeyWait) Error() string {
	said := "a complaint is to be posted"
	if w.Complained {
		said = "a complaint is posted"
	}
	return fmt.Sprintf("%v; %s, waiting for another device to seal it again", w.BadEnvelope, said)
}

// Unwrap leads to what is wrong with the envelope.
func (w *KeyWait) Unwrap() error { return w.BadEnvelope }

// ErrorKind and ErrorHint are for the command line.
func (w *KeyWait) ErrorKind() string { return "bad_envelope" }
func (w *KeyWait) ErrorHint() string {
	return fmt.Sprintf("nothing is lost: any other device that has the key gives it to this one when it is on line; "+
		"find out why device %s sealed something else, and revoke it if nobody knows", w.Giver)
}

// waitsFor is what of an error a region waits for, or nil: a key.
func waitsFor(err error) error {
	var bad *region.BadEnvelope
	switch {
	case errors.As(err, &bad):
		return &KeyWait{bad}
	case errors.Is(err, region.ErrNoKey):
		return err
	}
	return nil
}

// replayOrWait is replay; where the key is not there, or the operations are behind
// a horizon, and from there on, it replays nothing.
func (d *Device) replayOrWait(r *openRegion, rec signet.Record) error {
	if r.wait != nil {
		return nil
	}
	err := d.replay(r, rec)
	if r.wait = waitsFor(err); r.wait == nil {
		r.wait = d.dropped(r, err)
	}
	if r.wait != nil {
		return nil
	}
	return err
}

// advance replays what was verified and not replayed yet, as far as there are
// keys. fresh are the last records, which are not stored yet.
func (d *Device) advance(r *openRegion, fresh []signet.Record) error {
	defer d.noteWait(r)
	r.wait = nil
	first := r.State.Size() - uint64(len(fresh))
	if r.Replayed() < first {
		err := d.Store.records(r.log, r.Replayed(), func(pos uint64, rec signet.Record) error {
			if pos >= first {
				return nil
			}
			return d.replayOrWait(r, rec)
		})
		if err != nil {
			return err
		}
	}
	for _, rec := range fresh {
		if err := d.replayOrWait(r, rec); err != nil {
			return err
		}
	}
	// A bad envelope is found out when it comes, not when somebody writes.
	var bad *KeyWait
	if err := waitsFor(r.OpenKey()); r.wait == nil && errors.As(err, &bad) {
		r.wait = err
	}
	return nil
}

// noteWait keeps a notice of who sealed a bad envelope. It stops nothing.
func (d *Device) noteWait(r *openRegion) {
	var bad *KeyWait
	if !errors.As(r.wait, &bad) {
		return
	}
	a := Alarm{Kind: bad.ErrorKind(), Message: bad.BadEnvelope.Error(), Since: d.Now(), Region: r.ID().String(), Device: bad.Giver.String()}
	for _, old := range d.alarms {
		if old.Kind == a.Kind && old.Region == a.Region && old.Device == a.Device && old.Message == a.Message {
			return
		}
	}
	d.keep(a, nil)
}

// waits is what the volume's region waits for. Keys of this device's ring may
// have come since, and open it.
func (v *volume) waits() error {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	r := v.region
	if v.failure() != nil {
		return nil // that is told first
	}
	if r.wait != nil && !r.lag && len(r.pending) == 0 {
		if err := v.d.advance(r, nil); err != nil {
			return v.d.undoRegion(r, err)
		}
	}
	return r.wait
}

// step is a turn, unless the region waits for a key.
func (v *volume) step(ctx context.Context) (more bool, again time.Time, err error) {
	if v.waits() != nil {
		if err := v.d.mend(ctx, v.region); err != nil && !errors.Is(err, signet.ErrUnavailable) {
			return false, time.Time{}, err
		}
		if err := v.waits(); err != nil {
			return false, time.Time{}, err
		}
	}
	return v.turn(ctx)
}

// mendAgain is after how long a device tries again to mend a region's keys
// where the service refused it.
const mendAgain = 30 * time.Second

// mend posts what a region's keys need from this device: see region.Mend. Of
// several devices that seal the same again one is first, and the others see
// that nothing is to be done.
func (d *Device) mend(ctx context.Context, r *openRegion) error {
	if err := r.writing.take(ctx); err != nil {
		return err
	}
	defer r.writing.give()
	return d.mendLocked(ctx, r)
}

func (d *Device) mendLocked(ctx context.Context, r *openRegion) error {
	for range 10 {
		d.mu.Lock()
		var rec signet.Record
		var todo bool
		var err error
		if r.failed == nil && !r.lag && r.State.Size() > 0 && r.Follower.Last != nil && d.dirHead.Last != nil && d.Now().Sub(r.mended) >= mendAgain {
			rec, todo, err = r.Mend(d.dirHead.Last)
		}
		d.mu.Unlock()
		if err != nil || !todo {
			return err
		}
		err = d.append(ctx, r, rec)
		if errors.Is(err, signet.ErrConflict) || errors.Is(err, signet.ErrStale) {
			if err = d.SyncDirectory(ctx); err == nil {
				err = d.SyncRegion(ctx, r.ID())
			}
		}
		if err != nil {
			d.mu.Lock()
			r.mended = d.Now()
			d.mu.Unlock()
			return err
		}
	}
	return nil
}

// mendAll mends the keys of every region that nobody is writing to: who writes
// mends when done.
func (d *Device) mendAll(ctx context.Context) {
	d.mu.Lock()
	var list []*openRegion
	for _, r := range d.regions {
		list = append(list, r)
	}
	d.mu.Unlock()
	slices.SortFunc(list, func(a, b *openRegion) int { return bytes.Compare(a.log.ID[:], b.log.ID[:]) })
	for _, r := range list {
		if r.writing.try(ctx) {
			_ = d.mendLocked(ctx, r) // told to who needs it
			r.writing.give()
		}
	}
}
