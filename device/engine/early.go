package engine

import (
	"context"
	"time"

	"signet"
	"signet/core/tree"
)

// A large file that is new is read once, not twice: it is sealed and stored
// while it is hashed. What the plan then says of it is another matter: the
// objects of a file that is not committed after all are as good as those of an
// upload that a crash ended.

// earlySize is from which size on, in bytes, reading twice is worth avoiding.
const earlySize = 8 << 20

// early seals what readAll reads.
type early struct {
	v *volume
	u *uploader
}

// newEarly prepares for sealing the files in todo while they are hashed; nil
// where they are better hashed first: small ones are not to wait for large
// ones, and what the region may have already, as a file of that length or an
// older version at that place, may need no upload or a small one.
func (v *volume) newEarly(ctx context.Context, todo []*item) *early {
	if len(todo) == 0 || todo[0].stat.Size < earlySize { // the smallest is first
		return nil
	}
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if r := v.region; r.failed != nil || !r.MayWrite() || !v.d.online && v.d.lastErr != nil {
		return nil
	}
	sizes := map[int64]bool{}
	for _, it := range todo {
		sizes[it.stat.Size] = true
		if _, based := v.index.base[it.id]; based {
			return nil
		}
		if f := v.region.Tree.Ref(it.parent); f.Live() {
			for k := range f.Kids() {
				if k.Name() == it.name {
					return nil
				}
			}
		}
	}
	for r := range v.region.Tree.Refs() {
		if r.Type() == tree.File && sizes[r.Size()] {
			return nil
		}
	}
	return &early{v: v, u: v.newUploader(ctx)}
}

// read is hashFile, and seals on the way. Where that fails the file is hashed
// alone, and sealed when its turn comes.
func (e *early) read(ctx context.Context, path string, it *item, now time.Time) hashed {
	v, r := e.v, hashed{it: it, began: now}
	f, err := v.disk.Read(path)
	if err == nil {
		st := f.Stat()
		r.busy = now.Sub(time.Unix(0, max(st.MTime, st.CTime))) < settleWait && f.Writing()
		f.Close()
	}
	if err == nil && !r.busy {
		s := v.sealFile(ctx, e.u, upFile{op: tree.Op{Node: it.id, Type: tree.File}, path: path})
		if s.err == nil {
			r.sha, r.stat, r.sealed = s.op.Hash, s.stat, &s
			return r
		}
	}
	r.sha, r.stat, r.busy, r.err = v.hashFile(ctx, path, now)
	return r
}

// end waits until all is stored, and keeps what is for the turn's upload. It
// is kept by its hash: that file, and any that equals it, has this content.
func (e *early) end(done []hashed) {
	defer e.u.stop()
	if e.u.flush() != nil {
		return
	}
	for _, r := range done {
		if r.sealed != nil {
			e.v.early[r.sha] = *r.sealed
		}
	}
}

// sealedEarly is what was sealed while it was hashed, as the content of op.
func (v *volume) sealedEarly(op tree.Op) (sealedFile, bool) {
	s, ok := v.early[op.Hash]
	if ok {
		op.Content, op.PlaintextID, op.Size = s.op.Content, s.op.PlaintextID, s.op.Size
		s.op, s.objects = op, append([]signet.ObjectID(nil), s.objects...)
	}
	return s, ok
}
