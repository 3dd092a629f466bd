package cold

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
)

// A world is an organisation with one region, a device that exports it, a second
// one, and a kit on paper. Its objects lie in a map, as a service's would.
type world struct {
	*ringtest.World
	t       *testing.T
	j       *ringtest.Journal
	one     *replica
	two     region.Self
	paper   region.Self
	objects map[signet.ObjectID][]byte
	asked   int                          // for how many objects
	stop    int                          // fail after so many; 0: never
	lie     map[signet.ObjectID][]byte   // what it answers instead
	want    map[string][]byte            // files, as they should be
	revs    map[string]signet.RevisionID // of their contents
	dir     string
}

type replica struct {
	*region.Region
	me   region.Self
	keys *region.Keys
}

func self(name string, class ring.Class) (region.Self, *ring.Device) {
	opener, err := seal.FromSeed(sha256.Sum256([]byte("cold " + name)))
	if err != nil {
		panic(err)
	}
	rec := &ring.Device{Class: class, Where: ring.InFile, Sign: ringtest.Key(name).Public(), Seal: opener.Public()}
	return region.Self{Device: rec.ID(), Signer: ringtest.Key(name), Opener: opener, Label: name}, rec
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: ringtest.New(t), t: t, objects: map[signet.ObjectID][]byte{}, want: map[string][]byte{},
		revs: map[string]signet.RevisionID{}, lie: map[signet.ObjectID][]byte{}, dir: filepath.Join(t.TempDir(), "export")}
	me, rec := self("one", ring.Lasting)
	f := &region.Founder{Device: rec, Signer: me.Signer}
	root, org, err := f.Root(w.Service.Public(), [32]byte{7})
	w.Must(err)
	w.Must(w.Put(root.Head, root.Blob))
	genesis, r, err := f.Genesis(org, nil, nil)
	w.Must(err)
	w.Must(w.Put(genesis.Head, genesis.Blob))
	me.Org, me.Ring = org, r
	keys, err := region.OpenKeys(w.State, &me)
	w.Must(err)
	w.one = &replica{me: me, keys: keys}
	w.two, w.paper = w.add("two", ring.Lasting), w.add("paper", ring.Recovery)
	made, id, err := region.Make(w.State, w.World.Checkpoint(), &w.one.me, keys, "Documents", 0)
	w.Must(err)
	w.j = &ringtest.Journal{World: w.World, ID: id, State: journal.NewState(id, w.Directory())}
	w.one.Region = region.New(id, w.Directory(), &w.one.me, func() *region.Keys { return w.one.keys })
	w.offer(made)
	return w
}

// add links a device to the ring.
func (w *world) add(name string, class ring.Class) region.Self {
	w.t.Helper()
	me, rec := self(name, class)
	me.Org, me.Ring = w.one.me.Org, w.one.me.Ring
	reverse, err := ring.SignNewcomer(me.Signer, me.Org, me.Ring, rec)
	w.Must(err)
	added, err := w.one.me.Add(w.State, w.one.keys, rec, reverse)
	w.Must(err)
	w.Must(w.Put(added.Head, added.Blob))
	return me
}

func (w *world) offer(rec signet.Record) {
	w.t.Helper()
	_, err := w.j.Offer(rec)
	w.Must(err)
	last := w.j.Log[len(w.j.Log)-1]
	_, _, err = w.one.Take(last)
	w.Must(err)
	w.Must(w.one.Follower.Accept(w.full(), &w.one.State.Tree))
	_, err = w.one.Replay(last)
	w.Must(err)
}

func (w *world) full() *chain.Checkpoint {
	root, err := w.j.State.Tree.RootAt(w.j.State.Size())
	w.Must(err)
	c, err := chain.Sign(w.Service, signet.Journal(w.j.ID), w.j.State.Size(), root, w.Now, true)
	w.Must(err)
	return c
}

// write writes a file of the region, at its top.
func (w *world) write(name string, content []byte) {
	w.t.Helper()
	var pieces []seal.Piece
	var ids []signet.ObjectID
	put := func(object []byte) {
		id := signet.ObjectID(sha256.Sum256(object))
		w.objects[id] = bytes.Clone(object)
		ids = append(ids, id)
	}
	sum, err := w.one.Secret().Cut(bytes.NewReader(content), int64(len(content)), nil, func(c seal.Cut) error {
		object, ref, err := seal.SealPiece(nil, c.Data)
		if err == nil {
			pieces = append(pieces, seal.Piece{Ref: ref, Sum: w.one.Secret().Sum(c.Data), ID: w.one.Secret().PlaintextID(c.Data)})
			put(object)
		}
		return err
	})
	w.Must(err)
	c, _, err := w.one.Secret().Describe(sum, pieces, nil, func(_ seal.Ref, object []byte) error { put(object); return nil })
	w.Must(err)
	var b wire.Writer
	c.Append(&b)
	op := tree.Op{Kind: tree.Create, Type: tree.File, Name: name, Size: c.Size, Hash: sum, PlaintextID: c.PlaintextID, Content: b.B, MTime: w.Now * 1e6, Mode: 0o644}
	h := key.Sum(key.LabelNode, []byte(name))
	op.Node = signet.NodeID(h[:16])
	if rev, ok := w.revs[name]; ok {
		op.Kind, op.BaseContent, op.Name, op.Mode = tree.Edit, rev, "", 0
	}
	it, err := tree.NewItem(op)
	w.Must(err)
	rec, _, err := w.one.Commit(w.World.Checkpoint(), []tree.Item{it}, ids)
	w.Must(err)
	w.offer(rec)
	n, ok := w.one.Tree.Lookup(name)
	if !ok {
		w.t.Fatalf("%s is not in the tree", name)
	}
	w.revs[name], w.want[name] = n.Content.Revision, content
}

// The world is a Source.

func (w *world) Records(log signet.LogID, from, to uint64, each func(signet.Record) error) error {
	list := w.World.Log
	if log.Kind == signet.RegionLog {
		list = w.j.Log
	}
	for _, r := range list[from:to] {
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Objects(to uint64, each func(uint64, signet.ObjectID) error) error {
	for pos := range to {
		e, err := journal.Reopen(w.one.State, pos, w.j.Log[pos])
		if err != nil {
			return err
		}
		for _, id := range e.Objects {
			if err := each(pos, id); err != nil {
				return err
			}
		}
	}
	return nil
}

var errCut = errors.New("cut off")

func (w *world) Get(_ context.Context, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	for _, id := range ids {
		if w.asked++; w.stop > 0 && w.asked > w.stop {
			return errCut
		}
		b, ok := w.objects[id]
		if lie, is := w.lie[id]; is {
			b, ok = lie, lie != nil
		}
		if !ok {
			return fmt.Errorf("%s: %w", id, signet.ErrNotFound)
		}
		if err := each(id, b); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Signer(in signet.RingID, id signet.DeviceID) (*key.Public, bool) {
	if r, ok := w.State.RingOf(id); ok && r == in {
		return w.State.Device(id).Sign, w.State.Active(id, w.Now)
	}
	return nil, false
}

func (w *world) Check(c *chain.Checkpoint) error {
	t := &w.j.State.Tree
	if c.Log.Kind == signet.DirectoryLog {
		t = &w.Tree
	}
	root, err := t.RootAt(c.Size)
	if err == nil && root != c.Root {
		err = fmt.Errorf("another history: %w", signet.ErrNotVerified)
	}
	return err
}

func (w *world) job() *Job {
	return &Job{Dir: w.dir, Org: w.one.me.Org, Region: w.j.ID, Ring: w.one.me.Ring, Device: w.one.me.Device, By: w.one.me.Signer, LogKeys: w.Service.Public(),
		Directory: w.World.Checkpoint(), Journal: w.full(), Source: w, Now: func() time.Time { return time.UnixMilli(w.Now) }}
}

// export runs an export that must succeed.
func (w *world) export() *Outcome {
	w.t.Helper()
	w.asked = 0
	o, err := w.job().Run(w.t.Context())
	w.Must(err)
	return o
}

func (w *world) open(me region.Self) (*Export, error) {
	return Open(w.dir, &me, chain.KeysHash(w.Service.Public()), 0)
}

// holds says that the export opens, as a device, to what files were.
func (w *world) holds(me region.Self, want map[string][]byte) *Export {
	w.t.Helper()
	x, err := w.open(me)
	w.Must(err)
	w.t.Cleanup(func() { x.Close() })
	got := 0
	for p, n := range x.Tree.Walk() {
		var b bytes.Buffer
		if err := x.Fetch(w.t.Context(), n.Data, n.Hash, &b); err != nil || !bytes.Equal(b.Bytes(), want[p]) {
			w.t.Errorf("%s: %d bytes, %v; want %d", p, b.Len(), err, len(want[p]))
		}
		got++
	}
	if got != len(want) {
		w.t.Errorf("%d files, want %d", got, len(want))
	}
	return x
}

// files lists the export's files, with a hash of each.
func (w *world) files() map[string][32]byte {
	all := map[string][32]byte{}
	w.Must(filepath.WalkDir(w.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(w.dir, p)
		all[filepath.ToSlash(rel)] = sha256.Sum256(b)
		return err
	}))
	return all
}

func some(n int, of byte) []byte { return slices.Repeat([]byte{of, of + 1, of + 2, of * 3}, n/4) }
