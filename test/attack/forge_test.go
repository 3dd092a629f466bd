package attack

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/wire"
	"signet/device/account"
	"signet/transport"
)

func clone(r signet.Record) signet.Record {
	return signet.Record{Leaf: slices.Clone(r.Leaf), Head: slices.Clone(r.Head), Blob: slices.Clone(r.Blob)}
}

// raw is a session with the honest service as a device, past everything that
// a device's own program would refuse.
func (w *world) raw(d *device) transport.Session {
	w.t.Helper()
	binding := []byte("a channel of the test's own")
	sig, err := d.Self.Signer.Sign(key.LabelConnection, binding)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.service.Connect(w.t.Context(), d.Self.Device, binding, sig)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// records is everything that the honest service has of a log.
func (w *world) records(log signet.LogID) (list []signet.Record) {
	w.t.Helper()
	s := w.raw(w.first)
	defer s.Close()
	for {
		p, err := s.Read(w.t.Context(), log, uint64(len(list)), signet.Whole)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(p.Records) == 0 {
			return list
		}
		for _, r := range p.Records {
			list = append(list, clone(r))
		}
	}
}

func (w *world) directory() signet.LogID { return signet.Directory(w.org) }

// A forged log is a history that the holder of the log's key makes up: it
// takes every record, and signs.
type forged struct {
	t   testing.TB
	log signet.LogID
	key key.Signer

	mu      sync.Mutex
	records []signet.Record
	time    int64    // of the last leaf and checkpoint
	state   *replica // of point
}

// forgery is a forged log that begins as the honest one.
func (w *world) forgery(log signet.LogID) *forged {
	w.t.Helper()
	return &forged{t: w.t, log: log, key: w.logKey, records: w.records(log), time: time.Now().UnixMilli()}
}

func (f *forged) size() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.records))
}

// leaf is the leaf that a service makes of a record, valid or not.
func (f *forged) leaf(r signet.Record) []byte {
	if f.log.Kind == signet.DirectoryLog {
		st, err := ring.Parse(r.Head)
		if err != nil {
			f.t.Error(err)
			return nil
		}
		return ring.LeafOf(st, f.time).Append(nil)
	}
	hash, err := journal.HashOf(r.Head)
	if err != nil {
		f.t.Error(err)
	}
	return journal.Leaf{Hash: hash, Time: f.time}.Append(nil)
}

// add appends a record without looking at it.
func (f *forged) add(r signet.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.append(r)
}

func (f *forged) append(r signet.Record) {
	f.time = max(f.time, time.Now().UnixMilli())
	r = clone(r)
	r.Leaf = f.leaf(r)
	f.records = append(f.records, r)
}

// take appends a record that a device offers, and gives a receipt for it.
func (f *forged) take(r signet.Record) signet.Receipt {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.IndexFunc(f.records, func(x signet.Record) bool { return slices.Equal(x.Head, r.Head) })
	if at < 0 {
		at = len(f.records)
		f.append(r)
	}
	t := f.tree(len(f.records))
	proof, err := t.Inclusion(uint64(at), t.Size())
	if err != nil {
		f.t.Error(err)
	}
	return signet.Receipt{Position: uint64(at), Leaf: f.records[at].Leaf, Checkpoint: f.sign(t).Bytes(), Proof: proof}
}

func (f *forged) tree(size int) *chain.Tree {
	t := &chain.Tree{}
	for _, r := range f.records[:size] {
		t.Append(r.Leaf)
	}
	return t
}

func (f *forged) sign(t *chain.Tree) *chain.Checkpoint {
	f.time = max(f.time, time.Now().UnixMilli())
	c, err := chain.Sign(f.key, f.log, t.Size(), t.Root(), f.time, true)
	if err != nil {
		f.t.Error(err)
	}
	return c
}

func (f *forged) page(from uint64) signet.Page {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := signet.Page{Log: f.log, From: from, Checkpoint: f.sign(f.tree(len(f.records))).Bytes()}
	if from < uint64(len(f.records)) {
		p.Records = slices.Clone(f.records[from:])
	}
	return p
}

// checkpoint is one that the service signs of the log as it is.
func (f *forged) checkpoint() *chain.Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sign(f.tree(len(f.records)))
}

// revoke removes a device as the command line does.
func (d *device) revoke(gone *device) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	if err := account.Revoke(ctx, d.Self, d.Engine, gone.Self.Device, d.now); err != nil {
		d.t.Fatal(err)
	}
}

// allowConnector lets the service's connector admit members, once.
func (w *world) allowConnector() {
	w.t.Helper()
	f := w.first
	err := f.Engine.AppendStatement(w.t.Context(), func(s *ring.State, _ *region.Keys) (signet.Record, error) {
		return f.Self.AllowConnector(s, w.config.Connector)
	})
	if err != nil && !errors.Is(err, signet.ErrConflict) {
		w.t.Fatal(err)
	}
}

// journal is a region's journal as a service shows it to the device.
func (d *device) journal(t *testing.T, s transport.Backend, id signet.RegionID) []signet.Record {
	t.Helper()
	binding := []byte("a channel of the test's own")
	sig, err := d.Self.Signer.Sign(key.LabelConnection, binding)
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Connect(t.Context(), d.Self.Device, binding, sig)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	p, err := x.Read(t.Context(), signet.Journal(id), 0, signet.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return p.Records
}

// rekeyRing starts a generation of the device's own ring.
func rekeyRing(t *testing.T, d *device) {
	t.Helper()
	err := d.Engine.AppendStatement(t.Context(), func(s *ring.State, k *region.Keys) (signet.Record, error) {
		return d.Self.RekeyRing(s, k, d.now().UnixMilli())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// replica is the journal of a region replayed from what a session shows: what
// somebody who writes entries by hand knows.
type replica struct {
	dir     journal.Directory
	dirHead *chain.Checkpoint
	state   *journal.State
	head    *chain.Checkpoint
}

// replay reads directory and journal over a session.
func (w *world) replay(s transport.Session, id signet.RegionID) *replica {
	w.t.Helper()
	r := &replica{dir: journal.Directory{State: ring.NewState(w.org), Tree: &chain.Tree{}}}
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	p, err := s.Read(w.t.Context(), w.directory(), 0, signet.Whole)
	must(err)
	for _, rec := range p.Records {
		leaf, err := ring.ParseLeaf(rec.Leaf)
		must(err)
		must(r.dir.State.Apply(leaf, rec.Head, rec.Blob))
		r.dir.Tree.Append(rec.Leaf)
	}
	r.dirHead, err = chain.Open(p.Checkpoint, p.Log, w.logKey.Public())
	must(err)
	r.state = journal.NewState(id, r.dir)
	if id == (signet.RegionID{}) {
		return r
	}
	p, err = s.Read(w.t.Context(), signet.Journal(id), 0, signet.Whole)
	must(err)
	for _, rec := range p.Records {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		must(err)
		_, _, err = r.state.Apply(leaf, rec.Head, rec.Blob)
		must(err)
	}
	r.head, err = chain.Open(p.Checkpoint, p.Log, w.logKey.Public())
	must(err)
	return r
}

// draft is an entry that follows all that is there.
func (r *replica) draft(d *device, t journal.Type) *journal.Draft {
	x := &journal.Draft{Header: journal.Header{Type: t, Org: d.Account.Org, Region: r.state.Region(), Ring: d.Account.Ring, Device: d.Self.Device,
		Authority: r.state.Latest(), Generation: r.state.Current().Number}, Seen: r.head, Dir: r.dirHead}
	if !t.Authority() {
		x.Own = r.state.Own(d.Self.Device)
	}
	return x
}

// orderPoint orders an empty entry of a device over a session.
func (w *world) orderPoint(d *device, s transport.Session) {
	w.t.Helper()
	var id signet.RegionID
	for _, v := range d.Engine.Volumes() {
		id = v.Region
	}
	rec, _, err := w.replay(s, id).draft(d, journal.Content).Sign(d.Self.Signer)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := s.Append(w.t.Context(), signet.Journal(id), rec, time.Now().UnixMilli()); err != nil {
		w.t.Fatal(err)
	}
	d.reopen() // as after offer
}

// splitHead takes the head of an entry apart: header, signature, the two
// checkpoints.
func splitHead(t *testing.T, head []byte) (header, sig, seen, dir []byte) {
	t.Helper()
	r := wire.NewReader(head)
	header, sig, seen, dir = r.Vec16(1<<16-1), r.Vec16(1<<16-1), r.Vec16(1<<16-1), r.Vec16(1<<16-1)
	if err := r.Done(); err != nil {
		t.Fatal(err)
	}
	return header, sig, seen, dir
}

func joinHead(header, sig, seen, dir []byte) []byte {
	var w wire.Writer
	for _, b := range [][]byte{header, sig, seen, dir} {
		w.Vec16(b)
	}
	return w.B
}
