package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/tree"
)

// openRegion is a region in use.
type openRegion struct {
	*region.Region
	log     signet.LogID
	doubt   bool                 // the service may lack objects, see reseal
	pending []signet.Record      // verified, not covered by a checkpoint yet, so not replayed or stored
	poke    chan struct{}        // has an element when the region or the directory grew
	failed  error                // an alarm that stopped this region
	behind  bool                 // the service lost some of the journal and gets it back
	reading baton                // one goroutine at a time reads from the service
	writing baton                // and one writes; taken before reading
	lag     bool                 // headers are verified, operations not replayed yet: see first
	fetched uint64               // meanwhile: records before this position are stored
	wait    error                // why operations that were verified are not replayed: see waits.go, horizon.go
	begun   uint64               // the size at which it began at a horizon in vain, see begin
	unbegun error                // and why
	mended  time.Time            // when mending its keys failed last
	unkept  int                  // operations since its tree was kept
	listing *tree.Tree           // meanwhile: the tree of a snapshot, for listings
	listed  uint64               // how many entries made that tree
	hunger  *hunger              // not nil: an entry of ours waits
	seen    uint64               // entries before this position were acknowledged to the volume
	own     []ownEntry           // this device's entries from there on, replayed
	revived []signet.NodeID      // what lives again by an entry from there on
	doomed  []signet.ObjectID    // what was condemned by an entry from there on
	signed  map[signet.Hash]bool // entries that this device signed, see noteSigned: true with operations
	taken   []signet.Hash        // of these, taken in and still noted
	caught  int64                // when this program first knew all of the journal, ms; 0: not yet
	twin    *TwinError           // the first of the pending records that another machine wrote as this device
}

// An ownEntry is what became of an entry that this device wrote.
type ownEntry struct {
	hash     signet.Hash
	ops      []tree.Item
	outcomes []tree.Outcome
}

// ID is the region's id, which needs no lock: the region behind it may be made
// anew.
func (r *openRegion) ID() signet.RegionID { return signet.RegionID(r.log.ID) }

func (r *openRegion) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

func (d *Device) newRegion(id signet.RegionID) *openRegion {
	// Where no volume is kept, nobody waits for what becomes of our entries.
	return &openRegion{Region: d.blankRegion(id), log: signet.Journal(id), poke: make(chan struct{}, 1), reading: newBaton("to read", d.Step), writing: newBaton("to write", d.Step), seen: math.MaxUint64, signed: map[signet.Hash]bool{}}
}

func (d *Device) blankRegion(id signet.RegionID) *region.Region {
	return region.New(id, d.dir, &d.Self, func() *region.Keys { return d.keys })
}

// restoreRegions replays the journals that the store holds.
func (d *Device) restoreRegions() error {
	rows, err := d.Store.db.Query("SELECT log FROM heads")
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	var logs []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			rows.Close()
			return fmt.Errorf("index: %w", err)
		}
		logs = append(logs, s)
	}
	rows.Close()
	slices.Sort(logs)
	for _, s := range logs {
		log, err := signet.ParseLogID(s)
		if err != nil || log.Kind != signet.RegionLog {
			continue
		}
		r := d.newRegion(signet.RegionID(log.ID))
		d.regions[r.ID()] = r
		var seen int64
		if err := d.Store.db.QueryRow("SELECT seen FROM volumes WHERE region = ?", log.ID[:]).Scan(&seen); err == nil {
			r.seen = uint64(seen)
		}
		note, err := d.Store.Note(doubtNote(r.ID()))
		if err != nil {
			return err
		}
		r.doubt = note != nil
		if r.signed, err = d.loadSigned(r.log); err != nil {
			return err
		}
		if err := d.replayStored(r); err != nil {
			return err
		}
	}
	return nil
}

// replayStored makes r from the store alone.
func (d *Device) replayStored(r *openRegion) error {
	r.Region = d.blankRegion(signet.RegionID(r.log.ID))
	r.pending, r.twin, r.own, r.revived, r.doomed, r.wait = nil, nil, nil, nil, nil, nil
	err := d.Store.heads(r.log, func(_ uint64, rec signet.Record) error {
		_, _, err := r.Take(rec)
		return err
	})
	if err == nil {
		err = d.resume(r)
	}
	if err == nil {
		d.resumeBase(r)
	}
	if err == nil {
		err = d.advance(r, nil)
	}
	if err != nil {
		return err
	}
	return d.restoreHead(&r.Follower, &r.State.Tree)
}

// replay brings the tree of r one entry further.
func (d *Device) replay(r *openRegion, rec signet.Record) error {
	s, err := r.Replay(rec)
	if s.Batch != nil {
		r.unkept += len(s.Batch.Items)
	}
	if err != nil || s.Entry == nil || s.Position < r.seen {
		return err
	}
	if s.Entry.Type == journal.Condemn && s.Entry.Void == nil {
		r.doomed = append(r.doomed, s.Entry.Ending...)
	}
	if s.Batch == nil {
		return nil
	}
	for _, o := range s.Outcomes {
		r.revived = append(r.revived, o.Revived...)
	}
	if s.Entry.Device != d.Self.Device {
		return nil
	}
	h, err := journal.HashOf(rec.Head)
	if err == nil && r.signed[h] {
		r.own = append(r.own, ownEntry{h, s.Batch.Items, s.Outcomes})
	}
	return err
}

// region is the region of an id, made if it was not known.
func (d *Device) region(id signet.RegionID) *openRegion {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.regions[id]
	if r == nil {
		r = d.newRegion(id)
		d.regions[id] = r
	}
	return r
}

// SyncRegion reads a region's journal up to the service's newest.
func (d *Device) SyncRegion(ctx context.Context, id signet.RegionID) error {
	r := d.region(id)
	if err := r.reading.take(ctx); err != nil {
		return err
	}
	defer r.reading.give()
	if err := d.first(ctx, r); err != nil {
		return err
	}
	if err := d.catchUp(ctx, r); err != nil {
		return err
	}
	var waits error
	for tried := false; ; {
		d.mu.Lock()
		from, last := r.State.Size(), r.Follower.Last
		d.mu.Unlock()
		p, err := d.Service.Read(ctx, r.log, from, signet.Whole)
		if errors.Is(err, signet.ErrNotFound) && last != nil && !tried { // made after the backup that was restored
			tried = true
			d.noteRegression(r.log, last.Size, 0)
			if waits = d.giveBack(ctx); waits == nil || isRecovering(waits) {
				continue
			}
		}
		if errors.Is(err, signet.ErrNotFound) && isRecovering(waits) {
			return waits
		}
		if err != nil {
			return err
		}
		d.mu.Lock()
		err = d.notBehind(last, from, p)
		if err != nil && len(r.pending) > 0 {
			err = d.undoRegion(r, err)
		}
		if err == nil && passing(r.failed) {
			r.failed = nil // to be seen below
		}
		d.mu.Unlock()
		var back *chain.Rollback
		if errors.As(err, &back) && !tried {
			tried = true
			if waits = d.regressed(ctx, back); waits != nil && !isRecovering(waits) {
				return waits
			}
			continue
		}
		if back != nil && waits != nil {
			return waits
		}
		if err != nil {
			return d.raise(err, id)
		}
		more, err := d.takeJournal(ctx, r, p)
		err = d.raise(err, id)
		if err == nil && !more {
			d.mu.Lock()
			d.healed(r.log)
			r.caught = d.since(r.caught)
			d.mu.Unlock()
		}
		if err == nil && !more {
			err = d.begin(ctx, r)
		}
		if err != nil || !more {
			return err
		}
	}
}

// takeJournal is takeRegion that fetches the directory where an entry names a
// head of it that is not here yet. The page is kept meanwhile: its checkpoint
// may be the full one that later tips rest on.
func (d *Device) takeJournal(ctx context.Context, r *openRegion, p signet.Page) (more bool, err error) {
	for {
		d.mu.Lock()
		size := d.dir.Tree.Size()
		more, err = d.takeRegion(r, p)
		d.mu.Unlock()
		if !errors.Is(err, journal.ErrNeedDirectory) {
			return more, err
		}
		if err := d.grow(ctx, size); err != nil {
			return false, err
		}
	}
}

// takeOrRead takes a page that a receipt or the stream brought, and reads where
// it does not bring all: entries, or the full checkpoint that its tip rests on.
// That one may have been in an answer that got lost; a read is answered with one.
func (d *Device) takeOrRead(ctx context.Context, r *openRegion, p signet.Page) error {
	more, err := d.takeJournal(ctx, r, p)
	if err == nil && !more { // what it says may be what a region behind a horizon waits for
		var behind *BehindHorizon
		d.mu.Lock()
		more = errors.As(r.wait, &behind)
		d.mu.Unlock()
	}
	if err == nil && more || errors.Is(err, chain.ErrTip) {
		return d.SyncRegion(ctx, r.ID())
	}
	return d.raise(err, r.ID())
}

// takeRegion takes a page of a journal: every entry is verified, then the
// checkpoint that covers them, then the tree is brought up to it, then all is
// stored. more says that the checkpoint covers entries the page did not bring.
// With the lock held.
func (d *Device) takeRegion(r *openRegion, p signet.Page) (more bool, err error) {
	if r.failed != nil {
		return false, r.failed
	}
	if r.lag {
		return true, nil
	}
	size := r.State.Size()
	if p.From > size {
		return true, nil
	}
	c, err := d.checkpoint(p.Checkpoint, r.log, d.dir.LogKey())
	if err != nil {
		return false, d.undoRegion(r, err)
	}
	for i, rec := range p.Records {
		if p.From+uint64(i) < size {
			continue
		}
		if p.From+uint64(i) >= c.Size {
			break // shown, and not signed: it would be here alone
		}
		e, _, err := r.Take(rec)
		if err != nil {
			if errors.Is(err, journal.ErrNeedDirectory) {
				return false, err
			}
			return false, d.undoRegion(r, err)
		}
		r.pending = append(r.pending, rec)
		if r.twin == nil {
			r.twin = d.twinOf(r, e, rec.Leaf)
		}
	}
	if c.Size > r.State.Size() || c.Size < r.State.Size() && len(r.pending) > 0 {
		return true, nil // covers more than there is, or not all that is pending: ask again
	}
	if err := d.acceptHead(&r.Follower, c, &r.State.Tree); err != nil {
		return false, d.undoRegion(r, err)
	}
	return false, d.settle(r)
}

// notBehind is for the answer to a question for what follows from, which was
// asked after last was accepted. It cannot be smaller than that, nor than what
// the service signed to have before from, and it brings at least one leaf if its
// checkpoint covers one. Without the latter two a service could keep us asking.
func (d *Device) notBehind(last *chain.Checkpoint, from uint64, p signet.Page) error {
	if d.dir.LogKey() == nil {
		return nil // the first leaf of the directory will tell
	}
	c, err := d.checkpoint(p.Checkpoint, p.Log, d.dir.LogKey())
	switch {
	case err != nil:
		return err
	case last != nil && c.Size < last.Size:
		e, _ := chain.NewFork(last, c, nil)
		return &chain.Rollback{Last: last, Shown: c, Evidence: e}
	case len(p.Records) == 0 && c.Size > p.From:
		return &Withheld{Log: p.Log, Size: p.From}
	case c.Size < from:
		return &Withheld{Log: p.Log, Size: c.Size}
	}
	return nil
}

// settle replays and stores what a checkpoint covers now. What another machine wrote
// as this device is a valid entry, which everybody takes: it is stored, so that a
// person can let the region go on, and the alarm is before it, since it is new once.
func (d *Device) settle(r *openRegion) error {
	fresh, twin := r.pending, r.twin
	r.pending, r.twin = nil, nil
	first := r.State.Size() - uint64(len(fresh))
	if twin != nil {
		d.raiseLocked(twin, r.ID())
	}
	if err := d.advance(r, fresh); err != nil {
		return d.undoRegion(r, err)
	}
	if err := d.storeHeads(r.log, &r.Follower, first, fresh); err != nil {
		return err
	}
	d.stored(r, first, fresh)
	if len(fresh) > 0 {
		if t := r.State.Time(); t-d.now() > clockSkew.Milliseconds() {
			d.clock(r, t)
		}
		d.signal()
		r.wake()
	}
	if twin != nil {
		return twin
	}
	return nil
}

// undoRegion is for a page that did not verify: the region in memory is made
// again from what was stored, which a checkpoint covers.
func (d *Device) undoRegion(r *openRegion, cause error) error {
	var contra *journal.Contradicted
	if errors.As(cause, &contra) && r.Follower.Last != nil {
		own, t := r.Follower.Last, &r.State.Tree
		if contra.Shown.Log.Kind == signet.DirectoryLog {
			own, t = d.dirHead.Last, d.dir.Tree
		}
		if e, err := chain.NewFork(own, contra.Shown, t); err == nil {
			cause = &chain.Fork{Evidence: e}
		}
	}
	if err := d.replayStored(r); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// append notes a record of a journal, sends it and takes it, once it is
// acknowledged.
func (d *Device) append(ctx context.Context, r *openRegion, rec signet.Record) error {
	if err := d.noteSigned(r, rec); err != nil {
		return err
	}
	receipt, err := d.Service.Append(ctx, r.log, rec, d.now())
	if err != nil {
		return err
	}
	if err := d.checkReceipt(r.log, rec, receipt); err != nil {
		return err
	}
	d.mu.Lock()
	next := receipt.Position == r.State.Size()
	d.mu.Unlock()
	if !next {
		return d.SyncRegion(ctx, r.ID()) // others wrote before: read theirs first
	}
	rec.Leaf = receipt.Leaf
	d.dated(r, receipt.Leaf)
	return d.takeOrRead(ctx, r, signet.Page{Log: r.log, From: receipt.Position, Records: []signet.Record{rec}, Checkpoint: receipt.Checkpoint})
}

// Commit appends an entry with operations to a region, rekeying it first where
// its key is stale, and returns when the entry is acknowledged and replayed.
// An error may leave the entry committed all the same: then the next replay
// shows it. floor is that of the journal which the operations were planned
// with: where it grew since, objects that they rest on may be gone, and where
// some of them are condemned nothing may rest on them any more: errAgain.
func (d *Device) commit(ctx context.Context, r *openRegion, floor uint64, items []tree.Item, objects []signet.ObjectID) error {
	// One at a time: each entry names the one before it.
	if err := r.writing.take(ctx); err != nil {
		return err
	}
	defer r.writing.give()
	for try := 0; ; try++ {
		d.mu.Lock()
		if err := d.stopped(r); err != nil {
			d.mu.Unlock()
			return err
		}
		if err := r.mayNot(len(items)); err != nil {
			d.mu.Unlock()
			return err
		}
		if err := r.rests(floor, items, objects); err != nil {
			d.mu.Unlock()
			return err
		}
		d.hungry(r)
		var rec signet.Record
		var hash signet.Hash
		var err error
		stale := r.Stale()
		if stale {
			rec, err = r.Rekey(d.dirHead.Last)
		} else {
			rec, hash, err = r.Commit(d.dirHead.Last, items, objects)
		}
		d.mu.Unlock()
		if err == nil {
			err = d.append(ctx, r, rec)
		}
		switch {
		case err == nil && stale:
			continue
		case err == nil:
			d.fed(r)
			return nil
		case isRecovering(err): // nobody's entries are taken
			d.fed(r)
			return err
		case try >= 10 || !errors.Is(err, signet.ErrConflict) && !errors.Is(err, signet.ErrStale):
			return err
		}
		// Somebody else's authority entry came first, or a revocation: catch up,
		// then sign again. If this very entry got through after all, it is the
		// last of our chain, and must not be written twice. If another is, of
		// which we never heard what became of it, this one was refused.
		if err := d.SyncDirectory(ctx); err != nil {
			return err
		}
		if err := d.SyncRegion(ctx, r.ID()); err != nil {
			return err
		}
		d.mu.Lock()
		landed := !stale && r.State.Own(d.Self.Device) == hash
		d.mu.Unlock()
		if landed {
			d.fed(r)
			return nil
		}
	}
}

// stopped is the alarm that stopped the directory or a region: nothing is written
// where nothing is read. With the lock held.
func (d *Device) stopped(r *openRegion) error {
	switch {
	case d.failed != nil:
		return d.raiseLocked(d.failed, signet.RegionID{})
	case r.failed != nil:
		return d.raiseLocked(r.failed, r.ID())
	}
	return nil
}

// A RegionInfo is a region as this device knows it.
type RegionInfo struct {
	ID         signet.RegionID
	Name       string
	Generation signet.Generation
	Entries    uint64
	Nodes      int
	Own        bool // owned by this device's ring
	Volume     string
}

// Regions lists the regions that this device can open, by name.
func (d *Device) Regions() []RegionInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []RegionInfo
	for _, r := range d.regions {
		if r.Replayed() == 0 && r.listing == nil || errors.Is(r.wait, region.ErrNoKey) {
			continue
		}
		list = append(list, RegionInfo{ID: r.ID(), Name: r.name(), Generation: r.State.Current().Number, Entries: r.State.Size(),
			Nodes: r.Tree.Len(), Own: r.State.Owner() == d.Self.Ring})
	}
	slices.SortFunc(list, func(a, b RegionInfo) int {
		return strings.Compare(a.Name+"\x00"+a.ID.String(), b.Name+"\x00"+b.ID.String())
	})
	return list
}

// WithRegion calls f with a region, which must not be kept. ErrNotFound where
// there is no such region.
func (d *Device) WithRegion(id signet.RegionID, f func(r *region.Region) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.regions[id]
	if r == nil || r.Replayed() == 0 {
		return fmt.Errorf("region %s: %w", id, signet.ErrNotFound)
	}
	return f(r.Region)
}

// MakeRegion makes a region of the device's own ring, or finds the one that
// another device of the ring made at the same time: made says which.
func (d *Device) MakeRegion(ctx context.Context, name string) (id signet.RegionID, made bool, err error) {
	for try := 0; ; try++ {
		if err := d.SyncDirectory(ctx); err != nil {
			return id, false, err
		}
		if err := d.FreshenRing(ctx); err != nil && !errors.Is(err, errFresh) {
			return id, false, err
		}
		d.mu.Lock()
		rec, id, err := region.Make(d.dir.State, d.dirHead.Last, &d.Self, d.keys, name, 0)
		d.mu.Unlock()
		if err != nil {
			return id, false, err
		}
		_, err = d.Service.Append(ctx, signet.Journal(id), rec, d.now())
		if err == nil {
			return id, true, d.SyncRegion(ctx, id)
		}
		if !errors.Is(err, signet.ErrConflict) || try > 3 {
			return id, false, err
		}
		// Another device of the ring was first with this name: it is offered to
		// us, so reading what is offered finds it.
		if err := d.Discover(ctx); err != nil {
			return id, false, err
		}
		for _, r := range d.Regions() {
			if r.Own && r.Name == name {
				return r.ID, false, nil
			}
		}
	}
}

// raise records an alarm for what was not verified, stops the region that it
// is about, and hands the error on.
func (d *Device) raise(err error, id signet.RegionID) error {
	if err == nil || !errors.Is(err, signet.ErrNotVerified) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.raiseLocked(err, id)
}

// raiseLocked is raise of what was not verified, with the lock held.
func (d *Device) raiseLocked(err error, id signet.RegionID) error {
	if w := waitsFor(err); w != nil { // a member's doing, not the log's: nothing stops for good
		return err
	}
	a := Alarm{Kind: AlarmKind(err), Message: err.Error(), Since: d.Now()}
	if a.Kind == kindTwin {
		a.Hint = hintTwin
	}
	if id != (signet.RegionID{}) {
		a.Region = id.String()
		// An object that is damaged blocks what needs it; a journal that does
		// not verify blocks the region.
		if r := d.regions[id]; r != nil && !errors.Is(err, ErrObject) {
			r.failed = err
		}
	} else {
		d.failed = err
	}
	// The same again is told with the alarm that there is: a second command
	// names the same kind and evidence as the first.
	for i := range d.alarms {
		old := &d.alarms[i]
		if old.Kind != a.Kind || old.Message != a.Message || old.State == AlarmEnded {
			continue
		}
		if old.State == AlarmRecovering { // it was hoped to pass
			old.State = ""
			d.saveAlarms()
			d.signal()
		}
		return &AlarmError{Alarm: *old, err: err}
	}
	var evidence []byte
	var fork *chain.Fork
	var back *chain.Rollback
	switch {
	case errors.As(err, &fork):
		evidence = fork.Evidence.Bytes()
	case errors.As(err, &back) && back.Evidence != nil:
		evidence = back.Evidence.Bytes()
	}
	a.Proved = evidence != nil
	return &AlarmError{Alarm: d.keep(a, evidence), err: err}
}

func (d *Device) restoreAlarms() error {
	b, err := d.Store.Note("alarms")
	if err != nil || b == nil {
		return err
	}
	return json.Unmarshal(b, &d.alarms)
}

// An AlarmError is an error that was recorded as an alarm.
type AlarmError struct {
	Alarm Alarm
	err   error
}

func (a *AlarmError) Error() string { return a.err.Error() }
func (a *AlarmError) Unwrap() error { return a.err }

// ErrorKind and ErrorEvidence are for the command line.
func (a *AlarmError) ErrorKind() string     { return a.Alarm.Kind }
func (a *AlarmError) ErrorEvidence() string { return a.Alarm.Evidence }

// Alarms lists the alarms.
func (d *Device) Alarms() []Alarm {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.alarms)
}

// AlarmKind is the stable name of what was not verified.
func AlarmKind(err error) string {
	var fork *chain.Fork
	var back *chain.Rollback
	var miss *chain.Mismatch
	var held *Withheld
	var contra *journal.Contradicted
	var twin *TwinError
	switch {
	case errors.As(err, &twin):
		return kindTwin
	case errors.As(err, &fork), errors.As(err, &contra):
		return "fork"
	case errors.As(err, &back):
		return "rollback"
	case errors.As(err, &miss):
		return "history"
	case errors.As(err, &held):
		return "withheld"
	case errors.Is(err, region.ErrDigest):
		return "digest"
	case errors.Is(err, journal.ErrDropped):
		return "withheld"
	case errors.Is(err, region.ErrUnproved):
		return "unproved"
	case errors.Is(err, ErrObject):
		return "object"
	}
	return "not_verified"
}

// ErrObject says that the service answered with other bytes than it was asked
// for.
var ErrObject = fmt.Errorf("stored object is not what its name promises: %w", signet.ErrNotVerified)
