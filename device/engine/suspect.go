package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/ring"
)

// Withheld is the error for leaves that the service does not show although
// what it signed says that they are there: how a removal would be hidden.
type Withheld struct {
	Log  signet.LogID
	Size uint64 // how far the service shows the log
}

func (w *Withheld) Error() string {
	return fmt.Sprintf("the service withholds what it signed of %s from position %d on", w.Log, w.Size)
}

// Unwrap makes a Withheld a signet.ErrNotVerified.
func (w *Withheld) Unwrap() error { return signet.ErrNotVerified }

// errOtherReceipt says that a receipt is for another item than was offered.
var errOtherReceipt = fmt.Errorf("acknowledges another item than the one offered: %w", signet.ErrNotVerified)

// checkReceipt verifies that a receipt acknowledges what was offered: its leaf
// is of that record and stands in the log that the checkpoint is of.
func (d *Device) checkReceipt(log signet.LogID, offered signet.Record, r signet.Receipt) error {
	c, err := d.checkpoint(r.Checkpoint, log, d.logKey())
	if err == nil {
		err = chain.CheckInclusion(r.Proof, c.Size, c.Root, r.Position, chain.LeafHash(r.Leaf))
	}
	if err == nil {
		err = names(log, r.Leaf, offered)
	}
	if err == nil {
		return nil
	}
	id := signet.RegionID{}
	if log.Kind == signet.RegionLog {
		id = log.ID
	}
	return d.raise(fmt.Errorf("receipt for %s: %w", log, err), id)
}

// names checks that a leaf is that of a record.
func names(log signet.LogID, leaf []byte, r signet.Record) error {
	if log.Kind == signet.DirectoryLog {
		st, err := ring.Parse(r.Head)
		if err != nil {
			return err
		}
		l, err := ring.ParseLeaf(leaf)
		if err != nil || l.Hash != st.Hash() {
			return errors.Join(err, errOtherReceipt)
		}
		return nil
	}
	hash, err := journal.HashOf(r.Head)
	if err != nil {
		return err
	}
	l, err := journal.ParseLeaf(leaf)
	if err != nil || l.Hash != hash {
		return errors.Join(err, errOtherReceipt)
	}
	return nil
}

// clockSkew is by how much the clocks of device and service may differ before
// it is said.
const clockSkew = 10 * time.Minute

// clock raises an alarm where a time of the service's is too far from this
// device's: its clock or ours is wrong, which history and retention would
// show. Nothing stops for that. With the lock held.
func (d *Device) clock(r *openRegion, ms int64) {
	for _, old := range d.alarms {
		if old.Kind == "clock" && old.Region == r.ID().String() {
			return
		}
	}
	d.keep(Alarm{Kind: "clock", Since: d.Now(), Region: r.ID().String(), Message: fmt.Sprintf("the service dates an entry of %s %s, this device's clock says %s",
		r.ID(), time.UnixMilli(ms).UTC().Format(time.RFC3339), d.Now().UTC().Format(time.RFC3339))}, nil)
}

// dated checks the time that the service gave to an entry of ours that was
// just ordered.
func (d *Device) dated(r *openRegion, leaf []byte) {
	l, err := journal.ParseLeaf(leaf)
	if far := l.Time - d.now(); err == nil && max(far, -far) > clockSkew.Milliseconds() {
		d.mu.Lock()
		d.clock(r, l.Time)
		d.mu.Unlock()
	}
}

// grow reads the directory, which must have more than size leaves: an entry
// names a head that is larger and that the service signed.
func (d *Device) grow(ctx context.Context, size uint64) error {
	if err := d.SyncDirectory(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	grown := d.dir.Tree.Size() > size
	d.mu.Unlock()
	if grown {
		return nil
	}
	return d.raise(&Withheld{Log: d.dirHead.Log, Size: size}, signet.RegionID{})
}

// keep records an alarm. With the lock held.
func (d *Device) keep(a Alarm, evidence []byte) Alarm {
	if d.Config.Alarm != nil {
		a.Evidence = d.Config.Alarm(a.Kind, a.Message, evidence)
	}
	d.alarms = append(d.alarms, a)
	d.signal()
	for _, v := range d.volumes {
		v.wake() // their states say so
	}
	d.saveAlarms()
	return a
}

// saveAlarms stores the alarms. With the lock held.
func (d *Device) saveAlarms() {
	if b, err := json.Marshal(d.alarms); err == nil {
		d.Store.SetNote("alarms", b)
	}
}

// hunger is since when a region takes no entry of this device's.
type hunger struct {
	since time.Time
	size  uint64 // of the journal then
}

// Others' entries and time, or time alone, after which a service that takes
// none of ours starves us.
const (
	starvedEntries = 100
	starvedAfter   = time.Minute
	starvedAlone   = 10 * time.Minute
)

// hungry notes that an entry waits to be acknowledged. With the lock held.
func (d *Device) hungry(r *openRegion) {
	if r.hunger == nil {
		r.hunger = &hunger{since: d.Now(), size: r.State.Size()}
	}
}

// fed ends it.
func (d *Device) fed(r *openRegion) {
	d.mu.Lock()
	r.hunger = nil
	d.mu.Unlock()
}

// starved says why this device counts as starved in a region; empty if it
// does not.
func (d *Device) starved(r *openRegion) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := r.hunger
	if h == nil || !r.MayWrite() { // a reader is owed nothing
		return ""
	}
	now, others := d.Now(), r.State.Size()-min(h.size, r.State.Size())
	answering := h.since
	if d.onlineSince.After(answering) {
		answering = d.onlineSince
	}
	long := now.Sub(h.since)
	if others >= starvedEntries && long >= starvedAfter || d.online && now.Sub(answering) >= starvedAlone {
		return fmt.Sprintf("the service has taken no entry of this device since %s, and %d of others in that time; its checkpoint of size %d says so",
			h.since.UTC().Format(time.RFC3339), others, r.State.Size())
	}
	return ""
}
