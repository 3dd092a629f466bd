package engine

import (
	"fmt"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
)

// A device's keys are in one home, and one program at a time works there. What it
// signs it notes before it sends it (signed.go). So once a program knows all of a
// log, whatever comes later and bears this device's signature is in the notes, or
// another machine wrote it: one that has a copy of this home, or a thief.
//
// What is there when a program begins tells nothing: this home may be an older copy
// of itself, brought back from a backup. Nor does what was ordered before that and
// comes later: a service that was restored gets it back from others. Leaf times tell
// the two apart. A service that lies about them can hide a copy, as it can hide what
// the copy writes.

// A TwinError is the error for what this device's keys signed on another machine.
type TwinError struct{ said string }

func (t *TwinError) Error() string { return t.said }

// Unwrap makes a TwinError a signet.ErrNotVerified: its signature is right, and is
// not this home's.
func (t *TwinError) Unwrap() error { return signet.ErrNotVerified }

// ErrorKind and ErrorHint are for the command line.
func (t *TwinError) ErrorKind() string { return kindTwin }
func (t *TwinError) ErrorHint() string { return hintTwin }

const (
	kindTwin = "key_elsewhere"
	hintTwin = "if this home was copied: on the machine with the copy signet logout, without --revoke, then signet login and signet add --relink; here signet notices --seen. " +
		"If nobody copied it, its keys are stolen: signet device revoke on another device of yours, at once"
)

func newTwin(what string, position uint64, log signet.LogID, ms int64) *TwinError {
	return &TwinError{fmt.Sprintf("another machine uses this device's keys: %s %d of %s, dated %s, bears its signature, and this home did not write it",
		what, position, log, time.UnixMilli(ms).UTC().Format(time.RFC3339))}
}

// since is when this program knew all of a log for the first time, asked when it
// does. A clock that was ahead and is put right takes that along.
func (d *Device) since(before int64) int64 {
	if now := d.now(); before == 0 || now < before {
		return now
	}
	return before
}

// twinOf is the error for an entry that was verified, if another machine wrote it
// with this device's keys. With the lock held.
func (d *Device) twinOf(r *openRegion, e *journal.Entry, raw []byte) *TwinError {
	if e == nil || e.Device != d.Self.Device || r.caught == 0 {
		return nil
	}
	leaf, err := journal.ParseLeaf(raw)
	if err != nil || leaf.Time < r.caught {
		return nil
	}
	if _, noted := r.signed[leaf.Hash]; noted {
		return nil
	}
	return newTwin("entry", e.Position, r.log, leaf.Time)
}

// twinStatement is twinOf for a statement of the directory. With the lock held.
func (d *Device) twinStatement(position uint64, rec signet.Record) *TwinError {
	if d.caught == 0 || len(rec.Head) == 0 {
		return nil // another ring's, of which this device is shown the leaf alone
	}
	leaf, err := ring.ParseLeaf(rec.Leaf)
	if _, noted := d.signed[leaf.Hash]; err != nil || leaf.Time < d.caught || noted {
		return nil
	}
	if st, err := ring.Parse(rec.Head); err != nil || st.Signer != d.Self.Device {
		return nil
	}
	return newTwin("statement", position, d.dirHead.Log, leaf.Time)
}

// standing stops again what an earlier program stopped because of a twin: the entry
// is stored, and would not be found strange again.
func (d *Device) standing() {
	for _, a := range d.alarms {
		if a.Kind != kindTwin {
			continue
		}
		err := &TwinError{a.Message}
		if a.Region == "" {
			d.failed = err
		}
		for id, r := range d.regions {
			if id.String() == a.Region {
				r.failed = err
			}
		}
	}
}

// hintOf says what to do about an alarm that stopped something.
func hintOf(failed error) string {
	if kindOf(failed) == kindTwin {
		return hintTwin
	}
	return hintAlarm
}
