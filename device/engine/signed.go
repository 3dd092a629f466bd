package engine

import (
	"encoding/hex"

	"signet"
	"signet/core/journal"
)

// What this device signed for a region is noted before it is sent, until the
// volume took in what became of it. Only such an entry tells what this device's
// folder held. One that bears our name and is not noted was written by another
// life of this device: the home was restored from a backup, or copied. Then the
// folder may be as old as the home, and what it lacks was not deleted: such an
// entry counts like anybody else's.

// signedLag is how many notes may be left over before they are deleted; they
// do no harm, being before the position up to which all is taken in.
const signedLag = 64

func signedPrefix(id signet.RegionID) string { return "signed:" + id.String() + ":" }

func signedNote(id signet.RegionID, h signet.Hash) string {
	return signedPrefix(id) + hex.EncodeToString(h[:])
}

// loadSigned reads the notes of a region.
func (d *Device) loadSigned(r *openRegion) error {
	notes, err := d.Store.Notes(signedPrefix(r.ID()))
	for key := range notes {
		var h signet.Hash
		if b, err := hex.DecodeString(key[len(signedPrefix(r.ID())):]); err == nil && len(b) == len(h) {
			r.signed[signet.Hash(b)] = true
		}
	}
	return err
}

// noteSigned notes an entry that is about to be sent. With the lock held.
func (d *Device) noteSigned(r *openRegion, rec signet.Record) error {
	h, err := journal.HashOf(rec.Head)
	if err != nil {
		return err
	}
	r.signed[h] = true
	return d.Store.SetNote(signedNote(r.ID(), h), []byte{1})
}

// takenIn forgets notes of entries whose outcome the volume took in. With the
// lock held.
func (d *Device) takenIn(r *openRegion) {
	for _, own := range r.own {
		r.taken = append(r.taken, own.hash)
	}
	if len(r.taken) < signedLag {
		return
	}
	err := d.Store.write(func(b *batch) {
		for _, h := range r.taken {
			b.exec("DELETE FROM notes WHERE key = ?", signedNote(r.ID(), h))
		}
	})
	if err != nil {
		return // the next time
	}
	for _, h := range r.taken {
		delete(r.signed, h)
	}
	r.taken = nil
}
