package engine

import (
	"encoding/hex"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
)

// What this device signed is noted before it is sent: entries with operations
// until the volume took in what became of them, all else until it is stored. Only
// such an entry tells what this device's folder held. One that bears our name and
// is not noted was written by another life of this device: the home was restored
// from a backup, or copied (twin.go). Then the folder may be as old as the home, and
// what it lacks was not deleted: such an entry counts like anybody else's.

// signedLag is how many notes may be left over before they are deleted; they
// do no harm, being before the position up to which all is taken in.
const signedLag = 64

func signedPrefix(log signet.LogID) string {
	if log.Kind == signet.RegionLog {
		return "signed:" + signet.RegionID(log.ID).String() + ":"
	}
	return "signed:" + log.String() + ":"
}

func signedNote(log signet.LogID, h signet.Hash) string {
	return signedPrefix(log) + hex.EncodeToString(h[:])
}

// loadSigned reads the notes of a log: true for entries with operations.
func (d *Device) loadSigned(log signet.LogID) (map[signet.Hash]bool, error) {
	signed := map[signet.Hash]bool{}
	notes, err := d.Store.Notes(signedPrefix(log))
	for key, note := range notes {
		var h signet.Hash
		if b, err := hex.DecodeString(key[len(signedPrefix(log)):]); err == nil && len(b) == len(h) {
			signed[signet.Hash(b)] = len(note) == 1 && note[0] == 1
		}
	}
	return signed, err
}

// noteSigned notes an entry that is about to be sent.
func (d *Device) noteSigned(r *openRegion, rec signet.Record) error {
	h, err := journal.HashOf(rec.Head)
	if err != nil {
		return err
	}
	head, err := journal.IDOf(rec.Head)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ops, note := head.Type == journal.Content && head.Count > 0, []byte{0}
	if ops {
		note[0] = 1
	}
	r.signed[h] = ops
	return d.Store.SetNote(signedNote(r.log, h), note)
}

// noteStatement notes a statement that is about to be sent.
func (d *Device) noteStatement(rec signet.Record) error {
	st, err := ring.Parse(rec.Head)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.signed[st.Hash()] = false
	return d.Store.SetNote(signedNote(d.dirHead.Log, st.Hash()), []byte{0})
}

// storedStatements forgets notes of statements that are stored. With the lock held.
func (d *Device) storedStatements(covered []signet.Record) {
	for _, rec := range covered {
		leaf, err := ring.ParseLeaf(rec.Leaf)
		if _, noted := d.signed[leaf.Hash]; err == nil && noted && d.Store.SetNote(signedNote(d.dirHead.Log, leaf.Hash), nil) == nil {
			delete(d.signed, leaf.Hash)
		}
	}
}

// takenIn forgets notes of entries whose outcome the volume took in. With the
// lock held.
func (d *Device) takenIn(r *openRegion) {
	for _, own := range r.own {
		r.taken = append(r.taken, own.hash)
	}
	d.forgetSigned(r)
}

// stored forgets notes of entries that are stored, from a position on, and of
// which no volume waits to take anything in. With the lock held.
func (d *Device) stored(r *openRegion, first uint64, fresh []signet.Record) {
	for i, rec := range fresh {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if err != nil {
			continue
		}
		if ops, noted := r.signed[leaf.Hash]; noted && (!ops || first+uint64(i) < r.seen) {
			r.taken = append(r.taken, leaf.Hash)
		}
	}
	d.forgetSigned(r)
}

// forgetSigned deletes notes when they are many. With the lock held.
func (d *Device) forgetSigned(r *openRegion) {
	if len(r.taken) < signedLag {
		return
	}
	err := d.Store.write(func(b *batch) {
		for _, h := range r.taken {
			b.exec("DELETE FROM notes WHERE key = ?", signedNote(r.log, h))
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
