package edge

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
)

// What goes wrong between an engine, its service and its disk.

// A line is the road to the service: cut does not let anything through, before
// is called before each call and may fail it, after when it succeeded.
type line struct {
	engine.Service
	before func(call string) error
	after  func(call string)
}

func (l line) pass(call string, do func() error) error {
	if l.before != nil {
		if err := l.before(call); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && l.after != nil {
		l.after(call)
	}
	return err
}

func (l line) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (receipt signet.Receipt, err error) {
	call := "append"
	if log.Kind == signet.DirectoryLog {
		call = "state"
	}
	err = l.pass(call, func() error { receipt, err = l.Service.Append(ctx, log, r, sent); return err })
	return receipt, err
}

func (l line) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (p signet.Page, err error) {
	err = l.pass("read", func() error { p, err = l.Service.Read(ctx, log, from, parts); return err })
	return p, err
}

func (l line) Have(ctx context.Context, r signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	err = l.pass("have", func() error { missing, err = l.Service.Have(ctx, r, ids); return err })
	return missing, err
}

func (l line) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	return l.pass("put", func() error { return l.Service.Put(ctx, r, objects) })
}

func (l line) Get(ctx context.Context, r signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	return l.pass("get", func() error { return l.Service.Get(ctx, r, ids, each) })
}

// errCut is that of a service that cannot be reached.
var errCut = fmt.Errorf("the cable is out: %w", signet.ErrUnavailable)

// once does something right after the device's next call of a kind.
func (d *device) once(call string, do func()) (done *bool) {
	done = new(bool)
	d.Engine.Service = line{Service: d.service, after: func(c string) {
		if c == call && !*done {
			*done = true
			do()
		}
	}}
	return done
}

// cut takes the device's cable out, from the n-th call of a kind on ("" is any
// call); plug puts it back.
func (d *device) cut(call string, n int32) {
	var calls atomic.Int32
	var out atomic.Bool
	d.Engine.Service = line{Service: d.service, before: func(c string) error {
		if (call == "" || c == call) && calls.Add(1) >= n {
			out.Store(true)
		}
		if out.Load() {
			return errCut
		}
		return nil
	}}
}

func (d *device) plug() { d.Engine.Service = d.service }

// A step is a call that changes a disk, as a meddler sees it.
type step struct {
	verb, path string
	n          int // of all that there were
}

// A meddler does something before and after each step, and may make it fail.
type meddler struct {
	engine.Volume
	n             *atomic.Int32
	before, after func(s step) error
}

// meddle puts a meddler before the device's disk, from now on.
func (d *device) meddle(before, after func(s step) error) {
	d.t.Helper()
	n := new(atomic.Int32)
	d.hook(func(v engine.Volume) engine.Volume { return meddler{v, n, before, after} })
}

// plainly takes all that was put before the device's disk away, and starts it
// anew.
func (d *device) plainly() {
	d.t.Helper()
	d.hooks = nil
	d.again()
}

func (m meddler) do(verb, path string, do func() error) error {
	s := step{verb, path, int(m.n.Add(1))}
	if m.before != nil {
		if err := m.before(s); err != nil {
			return err
		}
	}
	if err := do(); err != nil || m.after == nil {
		return err
	}
	return m.after(s)
}

func (m meddler) Stage(name string) (s engine.Staged, err error) {
	err = m.do("stage", name, func() error { s, err = m.Volume.Stage(name); return err })
	return s, err
}

func (m meddler) Settle(ctx context.Context, files []engine.Staged) error {
	return m.do("settle", "", func() error { return m.Volume.Settle(ctx, files) })
}

func (m meddler) Place(f engine.Staged, path string) (st tree.Stat, err error) {
	err = m.do("place", path, func() error { st, err = m.Volume.Place(f, path); return err })
	return st, err
}

func (m meddler) Replace(f engine.Staged, path string, e tree.Stat, trash string) (st tree.Stat, old engine.Displaced, err error) {
	err = m.do("replace", path, func() error { st, old, err = m.Volume.Replace(f, path, e, trash); return err })
	return st, old, err
}

func (m meddler) Symlink(target, path string) (st tree.Stat, err error) {
	err = m.do("symlink", path, func() error { st, err = m.Volume.Symlink(target, path); return err })
	return st, err
}

func (m meddler) ReplaceLink(target, path string, e tree.Stat, trash string) (st tree.Stat, old engine.Displaced, err error) {
	err = m.do("replace", path, func() error { st, old, err = m.Volume.ReplaceLink(target, path, e, trash); return err })
	return st, old, err
}

func (m meddler) Mkdir(path string, mode uint32) (st tree.Stat, err error) {
	err = m.do("mkdir", path, func() error { st, err = m.Volume.Mkdir(path, mode); return err })
	return st, err
}

func (m meddler) Move(from, to string, e tree.Stat) (st tree.Stat, err error) {
	err = m.do("move", from, func() error { st, err = m.Volume.Move(from, to, e); return err })
	return st, err
}

func (m meddler) SetMeta(path string, e tree.Stat, mode uint32, mtime int64) (st tree.Stat, err error) {
	err = m.do("meta", path, func() error { st, err = m.Volume.SetMeta(path, e, mode, mtime); return err })
	return st, err
}

func (m meddler) Trash(path string, e tree.Stat, id string) (was engine.Displaced, err error) {
	err = m.do("trash", path, func() (err error) { was, err = m.Volume.Trash(path, e, id); return err })
	return was, err
}

func (m meddler) RemoveDir(path string) error {
	return m.do("rmdir", path, func() error { return m.Volume.RemoveDir(path) })
}

func (m meddler) Sync(ctx context.Context) error {
	return m.do("sync", "", func() error { return m.Volume.Sync(ctx) })
}

// A lossy line loses the first answer to an entry.
type lossy struct {
	line
	lost *int
}

func (l lossy) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	receipt, err := l.line.Append(ctx, log, r, sent)
	if err == nil && log.Kind == signet.RegionLog {
		*l.lost++
	}
	if *l.lost > 0 {
		return signet.Receipt{}, errCut
	}
	return receipt, err
}

func (l lossy) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	if *l.lost > 0 {
		return signet.Page{}, errCut
	}
	return l.line.Read(ctx, log, from, parts)
}

// Losses are objects that a service lost, and lacks until somebody sends them again.
type losses struct {
	mu   sync.Mutex
	gone map[signet.ObjectID]bool
}

// forgetful is a service with losses.
type forgetful struct {
	engine.Service
	*losses
}

func (l *losses) lacks(ids ...signet.ObjectID) (list []signet.ObjectID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.gone[id] {
			list = append(list, id)
		}
	}
	return list
}

func (l forgetful) Have(ctx context.Context, r signet.RegionID, ids []signet.ObjectID) ([]signet.ObjectID, error) {
	missing, err := l.Service.Have(ctx, r, ids)
	return append(missing, l.lacks(ids...)...), err
}

func (l forgetful) Get(ctx context.Context, r signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	if list := l.lacks(ids...); len(list) > 0 {
		return fmt.Errorf("%s: %w", list[0], signet.ErrNotFound)
	}
	return l.Service.Get(ctx, r, ids, each)
}

func (l forgetful) Put(ctx context.Context, r signet.RegionID, objects [][]byte) error {
	err := l.Service.Put(ctx, r, objects)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range objects {
		delete(l.gone, sha256.Sum256(o))
	}
	return err
}

// A recorder notes what is put.
type recorder struct {
	engine.Service
	ids *[]signet.ObjectID
}

func (r recorder) Put(ctx context.Context, id signet.RegionID, objects [][]byte) error {
	for _, o := range objects {
		*r.ids = append(*r.ids, sha256.Sum256(o))
	}
	return r.Service.Put(ctx, id, objects)
}
