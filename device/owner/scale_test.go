package owner_test

import (
	"context"
	"sync"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
)

// A ledger counts what is asked of a disk and of the service, by words.
type ledger struct {
	mu      sync.Mutex
	n       map[string]int
	placing bool // a file was placed, and the disk not synced since
	placed  int  // turns that placed files
}

func (l *ledger) note(what string, n int) {
	l.mu.Lock()
	l.n[what] += n
	l.mu.Unlock()
}

// turn notes that a file was placed, or else that the disk is synced: a turn that
// places files does so at its end.
func (l *ledger) turn(placing bool) {
	l.mu.Lock()
	if l.placing && !placing {
		l.placed++
	}
	l.placing = placing
	l.mu.Unlock()
}

// since empties the ledger and returns what it had.
func (l *ledger) since() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.n
	l.n = map[string]int{}
	return n
}

// A booked volume has its work written down, and may have a watch that breaks at
// once.
type booked struct {
	engine.Volume
	in     *ledger
	broken bool
}

func (b booked) Watch(ctx context.Context, skip func(string) bool) (<-chan engine.Event, error) {
	if !b.broken {
		return b.Volume.Watch(ctx, skip)
	}
	out := make(chan engine.Event)
	close(out)
	return out, nil
}

func (b booked) Scan(ctx context.Context, from string, skip func(string) bool, emit func(engine.Listing) error) error {
	b.in.note("scans", 1)
	return b.Volume.Scan(ctx, from, skip, func(l engine.Listing) error {
		b.in.note("folders listed", 1)
		return emit(l)
	})
}

func (b booked) Stat(path string) (tree.Stat, error) {
	b.in.note("stats", 1)
	return b.Volume.Stat(path)
}

func (b booked) Read(path string) (engine.Reading, error) {
	b.in.note("files read", 1)
	return b.Volume.Read(path)
}

func (b booked) Place(s engine.Staged, path string) (tree.Stat, error) {
	b.in.note("files placed", 1)
	b.in.turn(true)
	return b.Volume.Place(s, path)
}

func (b booked) Mkdir(path string, mode uint32) (tree.Stat, error) {
	b.in.note("folders made", 1)
	return b.Volume.Mkdir(path, mode)
}

func (b booked) Move(from, to string, expect tree.Stat) (tree.Stat, error) {
	b.in.note("moves", 1)
	return b.Volume.Move(from, to, expect)
}

func (b booked) Trash(path string, expect tree.Stat, id string) (engine.Displaced, error) {
	b.in.note("files trashed", 1)
	return b.Volume.Trash(path, expect, id)
}

func (b booked) Settle(ctx context.Context, files []engine.Staged) error {
	b.in.note("waits for the disk", 1)
	return b.Volume.Settle(ctx, files)
}

func (b booked) Sync(ctx context.Context) error {
	b.in.note("syncs", 1) // one at the end of each turn that does something, one before what was found equal is agreed on
	b.in.turn(false)
	return b.Volume.Sync(ctx)
}

// A bookedService has its requests written down.
type bookedService struct {
	engine.Service
	in *ledger
}

func (b bookedService) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	b.in.note("entries", 1)
	b.in.note("requests", 1)
	return b.Service.Append(ctx, log, r, sent)
}

func (b bookedService) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	b.in.note("requests", 1)
	return b.Service.Read(ctx, log, from, parts)
}

func (b bookedService) Have(ctx context.Context, region signet.RegionID, ids []signet.ObjectID) ([]signet.ObjectID, error) {
	b.in.note("requests", 1)
	return b.Service.Have(ctx, region, ids)
}

func (b bookedService) Put(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	b.in.note("requests", 1)
	b.in.note("objects sent", len(objects))
	return b.Service.Put(ctx, region, objects)
}

func (b bookedService) Get(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	b.in.note("requests", 1)
	b.in.note("objects fetched", len(ids))
	return b.Service.Get(ctx, region, ids, each)
}

// book has the work of a device's volumes, from the next opening on, and its
// requests written down.
func (d *device) book(broken bool) *ledger {
	l := &ledger{n: map[string]int{}}
	open := d.Engine.OpenVolume
	d.Engine.OpenVolume = func(dir string) (engine.Volume, error) {
		v, err := open(dir)
		return booked{v, l, broken}, err
	}
	d.Engine.Service = bookedService{d.Engine.Service, l}
	return l
}
