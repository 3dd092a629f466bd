package cold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
)

// An Export is one that was opened: its logs are verified, its objects not.
type Export struct {
	Manifest
	Tree               *tree.Tree // as of the time asked for
	Name               string     // of the region
	Directory, Journal *chain.Checkpoint
	Damage             []Damage // of files that were there twice, or are of no use

	root   *os.Root
	self   *region.Self
	dir    journal.Directory
	region *region.Region
}

// Open opens the export in a folder as a device, and verifies its logs. logKeys
// is the hash of the service's log keys that the device pinned. The tree is that
// of the last entry not after until, in ms since 1970; 0: of the last. Errors are
// ErrNone, ErrUnfinished, ErrOther, ErrNewer, what wraps signet.ErrNotVerified, and
// region.ErrNoKey for a device that has no key of the region.
func Open(dir string, self *region.Self, logKeys signet.Hash, until int64) (*Export, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	list, damage, err := manifests(root)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var first error
	for i, m := range list {
		x := &Export{Manifest: *m, root: root, self: self, Damage: slices.Clone(damage)}
		err := x.verify(logKeys, until)
		if err == nil {
			if i > 0 {
				x.Damage = append(x.Damage, Damage{File: fileManifest})
			}
			for j := range x.Damage {
				x.Damage[j].Spared = true
			}
			if i == 0 && len(list) > 1 {
				x.spare(list[1])
			}
			return x, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, signet.ErrNotVerified) {
			break // its copy would say the same
		}
	}
	root.Close()
	return nil, fmt.Errorf("%s: %w", dir, first)
}

// spare looks at the copy of the manifest that was used: it is equal, or of the
// run before.
func (x *Export) spare(m *Manifest) {
	d := x.dir.Device(m.Device)
	if d == nil || m.Verify(d.Sign) != nil || m.Org != x.Org || m.Region != x.Region {
		x.Damage = append(x.Damage, Damage{File: fileSpare, Spared: true})
	}
}

// Close closes the folder.
func (x *Export) Close() error { return x.root.Close() }

func (x *Export) verify(logKeys signet.Hash, until int64) error {
	if x.Org != x.self.Org {
		return fmt.Errorf("%w: of organisation %s", ErrOther, x.Org)
	}
	if err := x.replayDirectory(logKeys); err != nil {
		return err
	}
	var err error
	if x.Directory, x.Journal, err = x.heads(x.dir.LogKey()); err != nil {
		return err
	}
	f := chain.Follower{Log: x.Directory.Log}
	if err := f.Accept(x.Directory, x.dir.Tree); err != nil {
		return err
	}
	if x.region, err = x.takeJournal(); err != nil {
		return err
	}
	if err := x.region.Follower.Accept(x.Journal, &x.region.State.Tree); err != nil {
		return err
	}
	if err := x.signature(); err != nil {
		return err
	}
	err = x.replay(until)
	x.Tree, x.Name = x.region.Tree, x.region.Name()
	return err
}

// Trees are those over the leaves of the directory and the journal.
func (x *Export) Trees() (dir, journal *chain.Tree) { return x.dir.Tree, &x.region.State.Tree }

// each calls f with the records of a log, in order.
func (x *Export) each(kind signet.LogKind, f func(position uint64, r signet.Record) error) error {
	for _, s := range x.Segments {
		if s.Kind != kind {
			continue
		}
		file, damage, err := readSegment(x.root, s)
		if err != nil {
			return err
		}
		for _, d := range damage {
			if !slices.ContainsFunc(x.Damage, func(o Damage) bool { return o.File == d.File }) {
				x.Damage = append(x.Damage, d)
			}
		}
		at := s.From
		err = eachRecord(file, s.Count, func(r signet.Record) error {
			at++
			return f(at-1, r)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", segmentName(s), err)
		}
	}
	return nil
}

// wrong makes what breaks a rule what was not verified: whoever signed the export
// should not have taken it.
func wrong(err error) error {
	if err == nil || errors.Is(err, signet.ErrNotVerified) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrDamaged)
}

func (x *Export) replayDirectory(logKeys signet.Hash) error {
	x.dir = journal.Directory{State: ring.NewState(x.Org), Tree: &chain.Tree{}}
	err := x.each(signet.DirectoryLog, func(position uint64, r signet.Record) error {
		leaf, err := ring.ParseLeaf(r.Leaf)
		if err == nil {
			err = x.dir.Apply(leaf, r.Head, r.Blob)
		}
		if err != nil {
			return wrong(err)
		}
		if position == 0 && chain.KeysHash(x.dir.LogKey()) != logKeys {
			return fmt.Errorf("the root states other log keys than this device pinned: %w", signet.ErrNotVerified)
		}
		x.dir.Tree.Append(r.Leaf)
		return nil
	})
	if err == nil && x.dir.LogKey() == nil {
		err = fmt.Errorf("a directory without a root: %w", ErrDamaged)
	}
	return err
}

// takeJournal verifies all entries; it opens none.
func (x *Export) takeJournal() (*region.Region, error) {
	keys, err := region.OpenKeys(x.dir.State, x.self)
	if err != nil {
		return nil, err
	}
	r := region.New(x.Region, x.dir, x.self, func() *region.Keys { return keys })
	err = x.each(signet.RegionLog, func(_ uint64, rec signet.Record) error {
		_, _, err := r.Take(rec)
		return wrong(err)
	})
	return r, err
}

// signature checks who signed the manifest: a device that was active where the
// export ends, in a ring that could read the region.
func (x *Export) signature() error {
	d := x.dir.Device(x.Device)
	if in, ok := x.dir.RingOf(x.Device); d == nil || !ok || in != x.Ring || x.region.State.Role(in) < journal.Reader ||
		!x.dir.ActiveAt(in, x.Device, x.Directory.Size) {
		return fmt.Errorf("the export is signed by %s, which may not read the region: %w", x.Device, signet.ErrNotVerified)
	}
	if err := x.Manifest.Verify(d.Sign); err != nil {
		return fmt.Errorf("%s: %w", fileManifest, err)
	}
	return nil
}

// errStop ends a replay.
var errStop = errors.New("stop")

// ErrBefore says that an export begins with the tree at a horizon, and tells
// nothing of an earlier time.
var ErrBefore = errors.New("the export holds nothing of before the horizon")

// replay opens the operations of verified entries, up to a time. Where the device
// that exported had itself begun at a horizon, so does this.
func (x *Export) replay(until int64) error {
	err := x.replayRest(until)
	if errors.Is(err, journal.ErrDropped) {
		if h := x.region.State.Horizon(x.Made); h.Drops(x.region.Replayed()) {
			if err = x.begin(h, until); err == nil {
				err = x.replayRest(until)
			}
		}
	}
	return err
}

func (x *Export) replayRest(until int64) error {
	err := x.each(signet.RegionLog, func(position uint64, rec signet.Record) error {
		if position < x.region.Replayed() {
			return nil
		}
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if err != nil {
			return wrong(err)
		}
		if until != 0 && leaf.Time > until {
			return errStop
		}
		_, err = x.region.Replay(rec)
		return err
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}

// begin begins with the snapshot at a horizon. Who signed the export vouches for it.
func (x *Export) begin(h *journal.Horizon, until int64) error {
	var shot signet.Record
	err := x.each(signet.RegionLog, func(position uint64, rec signet.Record) error {
		leaf, err := journal.ParseLeaf(rec.Leaf)
		if position+1 == h.At && err == nil && until != 0 && leaf.Time > until {
			err = ErrBefore
		}
		if position == h.Snapshot {
			shot = rec
		}
		return err
	})
	if err != nil {
		return err
	}
	t, err := x.region.OpenHorizon(h, shot, func(ref seal.Ref) ([]byte, error) {
		b, err := x.object(ref.Object)
		if err != nil {
			return nil, err
		}
		return seal.OpenPiece(nil, ref, b)
	})
	if err != nil {
		return err
	}
	proof := x.region.Prove(h, t)
	err = x.each(signet.RegionLog, func(position uint64, rec signet.Record) error {
		if position >= h.At {
			return nil
		}
		return wrong(proof.Take(position, rec))
	})
	if err == nil {
		err = proof.Done()
	}
	if err == nil {
		err = x.region.Begin(h, t)
	}
	return err
}

// Fetch writes the content of a file to w. An *ObjectFault where an
// object is not to be had.
func (x *Export) Fetch(ctx context.Context, content []byte, sha [32]byte, w io.Writer) error {
	c, err := seal.ParseContent(content)
	if err != nil {
		return err
	}
	m, err := c.Open(x.object)
	if err != nil {
		return err
	}
	// The next object is read while one is opened.
	type got struct {
		object []byte
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead := make(chan got, 1)
	go func() {
		defer close(ahead)
		for i := range m.Pieces {
			object, err := x.object(m.Pieces[i].Object)
			select {
			case ahead <- got{object, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	h := seal.NewFileHasher(c.Size)
	var plain []byte
	for i := range m.Pieces {
		g, ok := <-ahead
		if !ok {
			return ctx.Err()
		}
		if g.err != nil {
			return g.err
		}
		// The object was held against its id.
		if plain, err = seal.OpenUnnamed(plain[:0], m.Pieces[i].Ref, g.object); err != nil {
			return err
		}
		h.Write(plain)
		if _, err := w.Write(plain); err != nil {
			return err
		}
	}
	if h.Sum() != sha {
		return fmt.Errorf("content does not hash to what its writer signed: %w", signet.ErrNotVerified)
	}
	return nil
}

// An ObjectFault is an object that is not there, or is not what it was.
type ObjectFault struct {
	Damage
	err error
}

// Unwrap makes what is damaged a signet.ErrNotVerified, and what is gone an
// fs.ErrNotExist.
func (f *ObjectFault) Unwrap() error { return f.err }

func (x *Export) object(id signet.ObjectID) ([]byte, error) {
	b, err := readObject(x.root, id)
	if err == nil {
		return b, nil
	}
	gone := errors.Is(err, fs.ErrNotExist)
	if !gone && !errors.Is(err, ErrDamaged) { // a sector that cannot be read
		err = fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return nil, &ObjectFault{Damage{File: objectName(id), Gone: gone, Object: id}, err}
}

// Check looks at every object that the manifest speaks of: that it is there, and
// if deep, that its bytes are those that its name says. It adds to Damage what is
// not so, with the files that need it, and returns how many objects and bytes it
// read or found.
func (x *Export) Check(ctx context.Context, deep bool, progress func(done, total, bytes int64)) (objects, size int64, err error) {
	want := map[signet.ObjectID]bool{}
	err = x.each(signet.RegionLog, func(position uint64, rec signet.Record) error {
		if !x.region.Valid(position) {
			return nil
		}
		e, err := journal.Reopen(x.region.State, position, rec)
		if err != nil {
			return err
		}
		for _, id := range e.Objects {
			want[id] = true
		}
		gone, err := x.region.State.Collected(position, rec)
		for _, id := range gone {
			delete(want, id)
		}
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	known := map[signet.ObjectID]bool{}
	for _, id := range x.Missing {
		known[id] = true
	}
	bad := map[signet.ObjectID]*Damage{}
	for _, id := range slices.SortedFunc(maps.Keys(want), compareIDs) {
		if err := ctx.Err(); err != nil {
			return objects, size, err
		}
		n, err := x.look(id, deep)
		var fault *ObjectFault
		switch {
		case err == nil:
			objects, size = objects+1, size+n
		case known[id] && errors.Is(err, fs.ErrNotExist): // it never was there
			bad[id] = &Damage{File: objectName(id), Gone: true, Object: id}
		case errors.As(err, &fault):
			bad[id] = &fault.Damage
		default:
			return objects, size, err
		}
		if progress != nil {
			progress(objects, int64(len(want)), size)
		}
	}
	if len(bad) == 0 {
		return objects, size, nil
	}
	x.blame(bad)
	for _, id := range slices.SortedFunc(maps.Keys(bad), compareIDs) {
		x.Damage = append(x.Damage, *bad[id])
	}
	return objects, size, nil
}

// look looks at one object and returns its size.
func (x *Export) look(id signet.ObjectID, deep bool) (int64, error) {
	if deep {
		b, err := x.object(id)
		return int64(len(b)), err
	}
	info, err := x.root.Lstat(objectName(id))
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxObject) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, &ObjectFault{Damage{File: objectName(id), Gone: errors.Is(err, fs.ErrNotExist), Object: id}, err}
	}
	return info.Size(), nil
}

// blame says which files of the tree need damaged objects.
func (x *Export) blame(bad map[signet.ObjectID]*Damage) {
	for p, n := range x.Tree.Walk() {
		if n.Type != tree.File {
			continue
		}
		for id := range x.needs(n.Data) {
			if d := bad[id]; d != nil && !slices.Contains(d.Paths, p) {
				d.Paths = append(d.Paths, p)
			}
		}
	}
}

// needs lists the objects of a version, as far as they can be told.
func (x *Export) needs(content []byte) map[signet.ObjectID]bool {
	ids := map[signet.ObjectID]bool{}
	c, err := seal.ParseContent(content)
	if err != nil {
		return ids
	}
	for _, id := range c.Objects() {
		ids[id] = true
	}
	if c.Piece != nil || c.Size == 0 {
		return ids
	}
	if m, err := c.Open(x.object); err == nil {
		for _, id := range m.Objects() {
			ids[id] = true
		}
	}
	return ids
}
