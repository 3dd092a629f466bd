package engine

import (
	"context"
	"slices"
	"time"

	"signet/core/tree"
)

// A heavy file that is new is read once, not twice: it is sealed and stored
// while it is hashed. So is one that has another length than before: what it has
// of its version before is not stored again. What the plan then says of it is another matter: the
// objects of a file that is not committed after all are as good as those of an
// upload that a crash ended.

// early reports whether a file is better sealed while it is hashed: not what
// the region may have already, as a file of that length or at that place under
// another node, and so may need no upload or a small one.
func (v *volume) early(it *item) bool {
	if !v.fits(it.stat.Size) {
		return false
	}
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if r := v.region; r.failed != nil || !r.MayWrite() || !v.d.online && v.d.lastErr != nil {
		return false
	}
	if v.index.base.has(it.id) {
		n, ok := v.region.Tree.Node(it.id)
		if !ok || n.Type != tree.File || n.Size == it.stat.Size {
			return false // the same length: perhaps it was but touched
		}
	} else if f := v.region.Tree.Ref(it.parent); f.Live() {
		for k := range f.Kids() {
			if k.Name() == it.name {
				return false
			}
		}
	}
	if v.sizes == nil {
		v.sizes = map[int64]bool{}
		for r := range v.region.Tree.Refs() {
			v.known(r.Type(), r.Size())
		}
	}
	return !v.sizes[it.stat.Size]
}

// known remembers that the region has a heavy file of a size, or had one.
func (v *volume) known(t tree.Type, size int64) {
	if t == tree.File && size >= leastHeavy {
		v.sizes[size] = true
	}
}

// readHeavy is hashFile, and where early is set it seals and stores on the way.
// Where that fails the file is hashed alone, and sealed when its turn comes.
func (v *volume) readHeavy(ctx context.Context, disk Volume, path string, op tree.Op, early bool, lanes lane) hashed {
	r := hashed{began: v.d.Now()}
	if early {
		f, err := disk.Read(path)
		if err == nil {
			r.busy = beingWritten(f, r.began)
			f.Close()
		}
		if err == nil && !r.busy {
			u := v.newUploader(ctx, lanes, false)
			defer u.stop()
			began, sent := v.d.Now(), v.sent()
			s := v.sealFile(ctx, disk, u, upFile{op: op, path: path})
			v.measure(v.d.Now().Sub(began), v.sent()-sent)
			if err := u.flush(); s.err == nil && err == nil {
				r.sha, r.stat, r.sealed = s.op.Hash, s.stat, &s
				return r
			}
		}
	}
	r.sha, r.stat, r.busy, r.err = v.hashFile(ctx, disk, path, r.began)
	return r
}

// beingWritten reports whether a program has a file open for writing and
// changed it a moment ago.
func beingWritten(f Reading, now time.Time) bool {
	st := f.Stat()
	return now.Sub(time.Unix(0, max(st.MTime, st.CTime))) < settleWait && f.Writing()
}

// sealedEarly is what was sealed while it was hashed, as the content of op. It
// is kept by its hash: that file, and any that equals it, has this content.
func (v *volume) sealedEarly(op tree.Op) (sealedFile, bool) {
	s, ok := v.sealed[op.Hash]
	if ok {
		s.op, s.objects = withContent(op, s.op), slices.Clone(s.objects)
	}
	return s, ok
}

// forgetEarly forgets what was sealed while it was hashed: some of its objects are not
// to be relied on.
func (v *volume) forgetEarly() {
	clear(v.sealed)
	v.small = nil
}
