package engine

import (
	"context"
	"crypto/sha256"
	"io"
	"sync"
	"time"

	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
	"signet/device/line"
)

// A small file whose content is new is opened and read once, not twice: while its
// bytes are in memory they are hashed, and if the file stayed as it was they are
// sealed from there and stored beside the reading of the next. See
// doc/design/0038-small-files-are-sealed-as-they-are-hashed.md.

// onceMost is how many files are sealed as they are hashed before the loop plans
// and commits them: some 130 bytes are kept of each until then.
const onceMost = 1 << 16

// onceLeast is how long files are sealed as they are hashed before what there is of
// them is committed, at least: others wait for it.
const onceLeast = time.Second

// A once seals small files of one look as they are hashed. Its readers share it.
type once struct {
	u      *uploader
	began  time.Time
	sent   int64 // before it began
	secret *seal.Secret
	index  *index
	// foreign begins the hashes of files that the region has and this volume has not
	// agreed on: bytes that may need no upload.
	foreign map[uint64]struct{}

	mu   sync.Mutex
	refs map[[32]byte]*seal.Ref // what was sealed, by its hash; nil while it is
	lost bool                   // nothing more can be stored: the files are hashed alone

	until time.Time // when the loop is to go on
	soon  time.Time // when it is to where there is news for it
	seen  uint64    // entries of the region that it knew when this began
}

// small reports whether a file is one piece, which is read whole into memory.
func small(size int64) bool { return int64(seal.PieceSize(size)) == size }

// once prepares to seal files as they are hashed, until a time; nil where they are
// better hashed alone: nothing is sent from here now, most of them may be known to the
// region, or somebody saved one of them, which the others must not keep waiting.
func (v *volume) once(ctx context.Context, todo []*item, until time.Time) (*once, time.Time) {
	if v.still || v.joining || len(todo) == 0 {
		return nil, until
	}
	size, saved := int64(0), 0
	for _, it := range todo {
		size += it.stat.Size
		if _, ok := v.savedNow(it.id); ok {
			saved++
		}
	}
	class := line.Small
	switch {
	case saved == 0 || saved > savedMost:
	case saved < len(todo):
		if soon := v.d.Now().Add(hurry); soon.Before(until) {
			until = soon
		}
		return nil, until
	default:
		class = line.Saved
	}
	if !v.fits(size + size/8 + perFile*int64(len(todo))) {
		return nil, until
	}
	// Plans cost by what is not agreed on: where that is much, they are rare.
	o := &once{began: v.d.Now(), sent: v.sent(), index: v.index, refs: map[[32]byte]*seal.Ref{}, soon: until}
	o.until = o.began.Add(max(onceLeast, 9*v.looking))
	v.d.mu.Lock()
	r := v.region
	ready := r.failed == nil && r.MayWrite() && (v.d.online || v.d.lastErr == nil)
	if ready {
		o.secret, o.seen = r.Secret(), r.Replayed()
		if n := r.Tree.Len(); n > len(v.index.base) {
			// To look through a large region for a few files costs more than to read
			// them twice.
			ready = n <= 64*len(todo)
			o.foreign = map[uint64]struct{}{}
			for f := range r.Tree.Refs() {
				if ready && !v.index.base.has(f.ID()) && f.Type() == tree.File {
					o.foreign[begins(f.Hash())] = struct{}{}
				}
			}
		}
	}
	v.d.mu.Unlock()
	if !ready || len(todo) >= manyFiles && v.d.Store.know(v.region.ID()) != nil {
		return nil, until
	}
	o.u = v.newUploader(line.With(ctx, class), make(lane, connections), true)
	return o, until
}

// enough reports whether the loop is to take up what was sealed before more is.
func (o *once) enough(v *volume) bool {
	now := v.d.Now()
	if now.After(o.until) || now.After(o.soon) && v.news(o.seen) {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.refs) >= onceMost
}

// news reports whether something waits for the loop: a change here, what others wrote
// since the region had so many entries, a heavy file that has come, a question.
func (v *volume) news(seen uint64) bool {
	v.d.mu.Lock()
	wrote := v.region.Replayed() != seen
	v.d.mu.Unlock()
	v.mu.Lock()
	asked := len(v.surveys) > 0
	v.mu.Unlock()
	return wrote || asked || len(v.hints) > 0 || v.beside.landed()
}

// seal seals the content of a file, whose hash is sha, and hands it to be stored. It
// does not where the bytes are known, or are being sealed already. It overwrites what
// lies behind data, up to its capacity.
func (o *once) seal(it *item, data []byte, sha [32]byte) {
	if len(data) == 0 {
		return
	}
	if b := o.index.base[it.id]; b != nil && b.typ == tree.File && b.hash == sha {
		return // it was but touched
	}
	if _, ok := o.foreign[begins(sha)]; ok {
		return
	}
	o.mu.Lock()
	_, taken := o.refs[sha]
	if !taken && !o.lost {
		o.refs[sha] = nil
	}
	lost := o.lost
	o.mu.Unlock()
	if taken || lost {
		return
	}
	p, err := o.u.piece(o.secret, data, sha, place{})
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.lost = true // who sends next will say why
		return
	}
	o.refs[sha] = &p.Ref
}

// takeOnce ends a once: what it sealed is kept if all of it is stored. If not it is as
// good as the upload that a crash ended: the files are read again.
func (v *volume) takeOnce(o *once) {
	if o == nil {
		return
	}
	err := o.u.flush()
	o.u.stop()
	v.measure(v.d.Now().Sub(o.began), v.sent()-o.sent)
	if err != nil || o.lost {
		return
	}
	if len(v.small) == 0 {
		v.small = o.refs
		return
	}
	for sha, ref := range o.refs {
		v.small[sha] = ref
	}
}

// readOnce reads a file that is not heavy, and seals it on the way where o is set.
func (v *volume) readOnce(ctx context.Context, path string, it *item, o *once) hashed {
	r := hashed{it: it, began: v.d.Now()}
	f, err := v.disk.Read(path)
	if err != nil {
		r.err = err
		return r
	}
	r.stat = f.Stat()
	switch {
	case beingWritten(f, r.began):
		r.busy = true
		f.Close()
		return r
	case !small(r.stat.Size):
		r.sha, r.err = v.hashReading(ctx, f)
		f.Close()
		return r
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	data := (*buf)[:r.stat.Size]
	err = readWhole(f, *buf, len(data))
	r.sha = sha256.Sum256(data)
	if changed := f.Unchanged(); changed != nil { // which is why it could not be read
		err = changed
	}
	f.Close()
	if r.err = err; err == nil && o != nil && ctx.Err() == nil {
		o.seal(it, data, r.sha)
	}
	return r
}

// readWhole reads the n bytes that a file has to the front of buf, which has room for
// one more: a file that is longer or shorter is not the one that it was.
func readWhole(f io.Reader, buf []byte, n int) error {
	for got := 0; ; {
		k, err := f.Read(buf[got : n+1])
		switch got += k; {
		case got > n:
			return seal.ErrResized
		case got == n: // what had room for more and brings no more has no more
			if err == io.EOF {
				err = nil
			}
			return err
		case err == io.EOF || err == nil && k == 0:
			return seal.ErrResized
		case err != nil:
			return err
		}
	}
}

// refOf is what the content of an operation was sealed as while it was hashed; nil if
// it was not.
func (v *volume) refOf(op tree.Op) *seal.Ref {
	ref := v.small[op.Hash]
	if ref == nil || int64(ref.Size) != op.Size {
		return nil
	}
	return ref
}

// asSealed is a file of one piece that is sealed and stored.
func asSealed(secret *seal.Secret, op tree.Op, ref *seal.Ref) sealedFile {
	c := seal.Content{Size: op.Size, Hash: op.Hash, PlaintextID: secret.PlaintextIDOf(op.Hash), Piece: ref}
	var w wire.Writer
	c.Append(&w)
	op.Content, op.PlaintextID = w.B, c.PlaintextID
	return sealedFile{op: op, objects: c.Objects()}
}
