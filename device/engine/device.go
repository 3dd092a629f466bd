// Package engine is the loop that keeps local folders in step with regions:
// observe, plan, commit, follow, apply.
//
// It promises that nothing settled is lost: what it replaces or removes on the
// disk was looked at in the same moment and is kept in the volume's trash, what
// it puts on the service is durable there before the index says so, and absence
// is read as deletion only below folders that were listed completely in a
// volume whose root marker is in place. It stores observations, never pending
// work: what a crash interrupts, the first turn after it plans again. It does
// not decide conflicts: the replay of the journal does, alike on every device.
//
// One goroutine per volume turns the loop; hashing, sealing and transfers are
// workers that hand values back to it. The directory and the open regions are
// shared, under the Device's lock.
//
// Design: doc/design; background of every guard: ARCHITECTURE.md.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/wire"
	"signet/device/line"
)

// A Service is the service as the engine sees it.
type Service interface {
	signet.Log
	signet.Chunks
	signet.Recovery
	Usage(ctx context.Context, region signet.RegionID) (signet.Usage, error)
	PutRecord(ctx context.Context, record []byte) error
	Records(ctx context.Context, owner [32]byte) ([][]byte, error)
}

// Config is what a Device needs. Now and every other function may be called
// from several goroutines.
type Config struct {
	Self    region.Self
	Service Service
	Store   *Store
	Line    *line.Line // what Service's bytes go through; nil: nothing measures or orders them
	Kept    *Kept      // nil: a service that was restored gets no objects back from here
	Now     func() time.Time
	// Alarm is called once for each new alarm, with evidence where there is
	// some, and returns where it kept it.
	Alarm func(kind, message string, evidence []byte) (file string)
	// LogKeys is the hash of the service's log keys that this device pinned.
	LogKeys signet.Hash
	Owner   bool
	// OpenVolume opens the folder of a volume; how, the engine does not know.
	OpenVolume func(dir string) (Volume, error)
	Classify   Classify
	// Hands is on how many goroutines one file is worked at: it bounds memory,
	// and disks like no more. 0: one for each processor, at most eight.
	Hands int
	// KeepAfter is after how many operations a region's tree is kept again, at
	// least: see keepTree. 0: 2,000, which are replayed in some 20 ms.
	KeepAfter int
	// Step, if set, is called before a goroutine asks for what another may have:
	// so a simulation decides who is first.
	Step func(what string)
}

// A Device is this device at work: its directory, its regions, its volumes.
type Device struct {
	Config
	lanes  map[line.Class]lane // of large files
	giving baton               // one goroutine at a time re-offers
	early  early

	held atomic.Pointer[string] // why all volumes are paused; nil: they are not

	keepFree atomic.Pointer[uint64] // of a disk, by downloads; nil: not said
	nudge    chan struct{}          // has an element when the service is to be tried at once

	mu          sync.Mutex // guards all below, and the regions themselves
	dir         journal.Directory
	dirHead     chain.Follower
	dirPending  []signet.Record // shown after dir, and not covered by a checkpoint yet
	keys        *region.Keys
	regions     map[signet.RegionID]*openRegion
	volumes     map[string]*volume
	alarms      []Alarm
	failed      error                // an alarm that stopped the directory, and so everything
	signed      map[signet.Hash]bool // statements that this device signed and has not stored, see noteStatement
	caught      int64                // when this program first knew all of the directory, ms; 0: not yet
	behind      bool                 // the service lost some of the directory and gets it back
	online      bool                 // the stream of the service is open
	onlineSince time.Time
	lastErr     error // why not

	openedMu sync.Mutex
	opened   map[signet.LogID]*chain.Checkpoint // the last of each log, see checkpoint

	changed chan struct{} // closed and replaced whenever something a waiter may care about changed
}

// An Alarm is something that was not verified. It stays until a person
// acknowledges it; one that says that the service went back, only until the
// service has again what it lost.
type Alarm struct {
	Kind     string    `json:"kind"`
	Message  string    `json:"message"`
	Evidence string    `json:"evidence,omitempty"` // a file
	Since    time.Time `json:"since"`
	Region   string    `json:"region,omitempty"`
	Device   string    `json:"device,omitempty"` // whom it is about, where it is one
	Hint     string    `json:"hint,omitempty"`   // what to do, where there is more to say than its kind does

	State  string     `json:"state,omitempty"`  // empty: it stands; AlarmRecovering, AlarmEnded
	Ended  *time.Time `json:"ended,omitempty"`  // when it ended by itself
	Proved bool       `json:"proved,omitempty"` // the evidence convinces a stranger
}

// Open replays what the store holds, and verifies it again.
func Open(c Config) (*Device, error) {
	if c.Hands == 0 {
		c.Hands = min(runtime.GOMAXPROCS(0), 8)
	}
	if c.KeepAfter == 0 {
		c.KeepAfter = 2000
	}
	d := &Device{Config: c, lanes: newLanes(), giving: newBaton("to give back", c.Step), nudge: make(chan struct{}, 1), regions: map[signet.RegionID]*openRegion{}, volumes: map[string]*volume{},
		changed: make(chan struct{}), opened: map[signet.LogID]*chain.Checkpoint{}}
	d.dir = journal.Directory{State: ring.NewState(c.Self.Org), Tree: &chain.Tree{}}
	d.dirHead.Log = signet.Directory(c.Self.Org)
	if err := d.early.begin(d.Store); err != nil {
		return nil, err
	}
	if err := d.Store.records(d.dirHead.Log, 0, func(pos uint64, r signet.Record) error { return d.takeStatement(r) }); err != nil {
		return nil, err
	}
	if err := d.restoreHead(&d.dirHead, d.dir.Tree); err != nil {
		return nil, err
	}
	var err error
	if d.signed, err = d.loadSigned(d.dirHead.Log); err != nil {
		return nil, err
	}
	if err := d.openKeys(); err != nil && !errors.Is(err, region.ErrNoKey) {
		return nil, err
	}
	if err := d.restoreAlarms(); err != nil { // before a region that waits notes why
		return nil, err
	}
	if d.Line != nil {
		d.Line.Assume(line.Up, d.Rate())
	}
	if err := d.restoreRegions(); err != nil {
		return nil, err
	}
	d.standing()
	return d, nil
}

func (d *Device) now() int64 { return d.Now().UnixMilli() }

// signal wakes whoever waits for a change. With the lock held.
func (d *Device) signal() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Rest gives back memory that is of use only while much goes on: for one who
// knows that nothing does.
func (d *Device) Rest() { d.Store.rest() }

// Changed is closed at the next change of anything that status shows.
func (d *Device) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *Device) openKeys() error {
	k, err := region.OpenKeys(d.dir.State, &d.Self)
	if err != nil {
		return err
	}
	d.keys = k
	return nil
}

// takeStatement replays the next record of the directory.
func (d *Device) takeStatement(r signet.Record) error {
	leaf, err := ring.ParseLeaf(r.Leaf)
	if err != nil {
		return fmt.Errorf("directory leaf %d: %w", d.dir.Size(), errors.Join(err, signet.ErrNotVerified))
	}
	first := d.dir.Size() == 0
	if err := d.dir.Apply(leaf, r.Head, r.Blob); err != nil {
		return notVerified(err)
	}
	if first && chain.KeysHash(d.dir.LogKey()) != d.LogKeys {
		return errOtherKeys
	}
	d.dir.Tree.Append(r.Leaf)
	return nil
}

var errOtherKeys = fmt.Errorf("the root states other log keys than the invitation: %w", signet.ErrNotVerified)

// notVerified makes an alarm of an error for a record that the service should
// not have taken: whatever the reason, it gave us an invalid one.
func notVerified(err error) error {
	if errors.Is(err, signet.ErrNotVerified) {
		return err
	}
	return fmt.Errorf("%v: %w", err, signet.ErrNotVerified)
}

// logKey is the key of the service's checkpoints.
func (d *Device) logKey() *key.Public {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir.LogKey()
}

// headBytes is what the store keeps of a follower.
func headBytes(f *chain.Follower) []byte {
	var w wire.Writer
	for _, c := range []*chain.Checkpoint{f.Last, f.Full} {
		if c == nil {
			w.Vec16(nil)
		} else {
			w.Vec16(c.Bytes())
		}
	}
	return w.B
}

// restoreHead reads back a log's checkpoints. What they cover must be there:
// records are written in the transaction that moves the head.
func (d *Device) restoreHead(f *chain.Follower, t *chain.Tree) error {
	b, err := d.Store.follower(f.Log)
	if err != nil || b == nil {
		return err
	}
	r := wire.NewReader(b)
	last, full := r.Vec16(1<<16-1), r.Vec16(1<<16-1)
	if err := r.Done(); err != nil {
		return fmt.Errorf("index: head of %s: %w", f.Log, err)
	}
	for _, head := range []struct {
		raw []byte
		to  **chain.Checkpoint
	}{{last, &f.Last}, {full, &f.Full}} {
		if len(head.raw) == 0 {
			continue
		}
		if *head.to, err = chain.Open(head.raw, f.Log, d.dir.LogKey()); err != nil {
			return fmt.Errorf("index: head of %s: %w", f.Log, err)
		}
	}
	if f.Last != nil && f.Last.Size <= t.Size() {
		return f.Check(f.Last, t)
	}
	return nil
}

// SyncDirectory reads the directory up to the service's newest.
func (d *Device) SyncDirectory(ctx context.Context) error {
	var waits error
	for tried := false; ; {
		d.mu.Lock()
		from, last := d.dir.Tree.Size()+uint64(len(d.dirPending)), d.dirHead.Last
		d.mu.Unlock()
		p, err := d.Service.Read(ctx, d.dirHead.Log, from, signet.Whole)
		if err != nil {
			return err
		}
		d.mu.Lock()
		more, err := false, d.notBehind(last, from, p)
		if err == nil {
			more, err = d.takeDirectory(p)
		} else {
			d.dirPending = nil
		}
		if err == nil && !more {
			d.healed(d.dirHead.Log)
			d.caught = d.since(d.caught)
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
		if err != nil || !more {
			return d.raise(err, signet.RegionID{})
		}
	}
}

// takeDirectory takes a page of the directory; more says that the page's
// checkpoint covers leaves that it did not bring. Nothing counts and nothing is
// stored before a checkpoint covers it: what the service shows beyond what it
// signs it could show to this device alone. With the lock held.
func (d *Device) takeDirectory(p signet.Page) (more bool, err error) {
	size := d.dir.Tree.Size()
	next := size + uint64(len(d.dirPending))
	if p.From > next {
		return true, nil
	}
	if known := next - p.From; known < uint64(len(p.Records)) {
		d.dirPending = append(d.dirPending, p.Records[known:]...)
	}
	c, err := d.openPending(p.Checkpoint)
	if err != nil {
		d.dirPending = nil
		return false, err
	}
	var covered []signet.Record
	if c.Size > size {
		if c.Size-size > uint64(len(d.dirPending)) {
			return true, nil
		}
		covered = d.dirPending[:c.Size-size]
	}
	d.dirPending = nil // what is left is asked for again when it is signed
	for _, r := range covered {
		if err := d.takeStatement(r); err != nil {
			return false, d.undoDirectory(err)
		}
	}
	if err := d.acceptHead(&d.dirHead, c, d.dir.Tree); err != nil {
		return false, d.undoDirectory(err)
	}
	var twin *TwinError
	for i, r := range covered {
		if twin = d.twinStatement(size+uint64(i), r); twin != nil {
			d.raiseLocked(twin, signet.RegionID{}) // before it is stored, as in settle
			break
		}
	}
	if err := d.storeHeads(d.dirHead.Log, &d.dirHead, size, covered); err != nil {
		return false, err
	}
	if len(covered) == 0 {
		return false, nil
	}
	d.storedStatements(covered)
	if err := d.openKeys(); err != nil && !errors.Is(err, region.ErrNoKey) {
		return false, err
	}
	d.signal()
	for _, r := range d.regions {
		r.wake()
	}
	if twin != nil {
		return false, twin
	}
	return false, nil
}

// openPending opens a checkpoint of the directory. The key stands in the first
// leaf, which may be among those that are not taken yet.
func (d *Device) openPending(raw []byte) (*chain.Checkpoint, error) {
	by := d.dir.LogKey()
	if by == nil {
		if len(d.dirPending) == 0 {
			return nil, fmt.Errorf("directory: empty: %w", signet.ErrNotVerified)
		}
		root, err := ring.Parse(d.dirPending[0].Head)
		if err != nil {
			return nil, fmt.Errorf("directory leaf 0: %w", notVerified(err))
		}
		if by = root.LogKey; by == nil || chain.KeysHash(by) != d.LogKeys {
			return nil, errOtherKeys
		}
	}
	return d.checkpoint(raw, d.dirHead.Log, by)
}

// checkpoint opens one by the service's keys, which never change. The last of each
// log is remembered: an answer's is looked at twice, and where nothing is new it is
// the one of the answer before.
func (d *Device) checkpoint(raw []byte, log signet.LogID, by *key.Public) (*chain.Checkpoint, error) {
	d.openedMu.Lock()
	c := d.opened[log]
	d.openedMu.Unlock()
	if c != nil && bytes.Equal(c.Bytes(), raw) {
		return c, nil
	}
	c, err := chain.Open(raw, log, by)
	if err == nil {
		d.openedMu.Lock()
		d.opened[log] = c
		d.openedMu.Unlock()
	}
	return c, err
}

// acceptHead moves a follower. An older answer that a newer one overtook is no
// alarm by itself if it was signed before.
func (d *Device) acceptHead(f *chain.Follower, c *chain.Checkpoint, t *chain.Tree) error {
	if f.Last == nil || c.Size >= f.Last.Size || c.Time > f.Last.Time {
		return f.Accept(c, t)
	}
	if err := f.Check(c, t); err != nil {
		return err
	}
	// A full one that was overtaken is still what later tips rest on.
	if c.Full && (f.Full == nil || c.Time > f.Full.Time) {
		f.Full = c
	}
	return nil
}

// undoDirectory is for a page that did not verify: what was taken of it was
// not stored, and the state in memory is replayed from what was.
func (d *Device) undoDirectory(cause error) error {
	s, t := ring.NewState(d.Self.Org), &chain.Tree{}
	d.dir.State, d.dir.Tree = s, t
	if err := d.Store.records(d.dirHead.Log, 0, func(_ uint64, r signet.Record) error { return d.takeStatement(r) }); err != nil {
		return errors.Join(cause, err)
	}
	for _, r := range d.regions {
		r.SetDirectory(d.dir)
	}
	return cause
}

func (d *Device) storeHeads(log signet.LogID, f *chain.Follower, from uint64, fresh []signet.Record) error {
	return d.Store.storeHead(log, headBytes(f), from, fresh)
}

// AppendStatement signs a statement over the directory as it is, and appends
// it. If another device's came first it reads that and signs again.
func (d *Device) AppendStatement(ctx context.Context, build func(dir *ring.State, keys *region.Keys) (signet.Record, error)) error {
	for try := 0; ; try++ {
		if err := d.SyncDirectory(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		rec, err := build(d.dir.State, d.keys)
		d.mu.Unlock()
		if err != nil {
			return err
		}
		if err := d.noteStatement(rec); err != nil {
			return err
		}
		receipt, err := d.Service.Append(ctx, d.dirHead.Log, rec, d.now())
		if errors.Is(err, signet.ErrConflict) && try < 10 {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.checkReceipt(d.dirHead.Log, rec, receipt); err != nil {
			return err
		}
		return d.SyncDirectory(ctx)
	}
}

// Directory calls f with the directory and the ring's keys, which must not be
// kept.
func (d *Device) Directory(f func(dir *ring.State, keys *region.Keys)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d.dir.State, d.keys)
}

// DirectoryHead is the newest checkpoint of the directory; nil before the first.
func (d *Device) DirectoryHead() *chain.Checkpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirHead.Last
}

// FreshenRing rekeys the device's own ring if a revocation or sign-out left it
// stale.
func (d *Device) FreshenRing(ctx context.Context) error {
	d.mu.Lock()
	stale := d.keys != nil && d.Self.RingStale(d.dir.State)
	d.mu.Unlock()
	if !stale {
		return nil
	}
	err := d.AppendStatement(ctx, func(dir *ring.State, keys *region.Keys) (signet.Record, error) {
		if !d.Self.RingStale(dir) {
			return signet.Record{}, errFresh
		}
		return d.Self.RekeyRing(dir, keys, d.now())
	})
	if errors.Is(err, errFresh) { // another device was quicker
		return nil
	}
	return err
}

var errFresh = errors.New("fresh already")
