package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signet/core/seal"
	"signet/core/tree"
)

// racyWindow is how soon after a change a hash may miss another change that
// leaves no trace in the stat (a store to a page that is dirty already).
const racyWindow = 60 * time.Second

// unsettled is the kind of problem that a file has which is being written.
const unsettled = "unsettled"

// A reading of a file's content, as a worker hands it back.
type hashed struct {
	it    *item
	began time.Time
	sha   [32]byte
	stat  tree.Stat
	busy  bool
	err   error

	sealed *sealedFile // where it was sealed on the way
}

// hash reads the files whose content is not known, what was saved lately and
// then the smallest first, with two readers, and those that are heavy beside the
// loop. What is new is sealed on the way. It returns when something still unsettled
// is to be tried again (zero: nothing is).
func (v *volume) hash(ctx context.Context, until time.Time) (again time.Time, err error) {
	now := v.d.Now()
	var todo, large []*item
	for _, it := range v.index.unread {
		switch {
		case it.busy().After(now):
			again = earliest(again, it.busy())
		case v.still && v.heavyUp(it.id, it.stat.Size):
		case v.heavyUp(it.id, it.stat.Size):
			large = append(large, it)
		default:
			todo = append(todo, it)
		}
	}
	slices.SortFunc(todo, func(a, b *item) int {
		if a.saved != b.saved {
			return cmp.Compare(b.saved, a.saved)
		}
		if a.stat.Size != b.stat.Size {
			return int(min(max(a.stat.Size-b.stat.Size, -1), 1))
		}
		return a.id.Compare(b.id)
	})
	if len(large) > 0 {
		v.askRoom(ctx)
	}
	// The index is not changed before the readers are through: they read it.
	done := v.readBeside(large)
	o, until := v.once(ctx, todo, until)
	light := v.readAll(ctx, todo, until, o)
	v.takeOnce(o)
	few := len(light) < len(todo)
	if o != nil && !few {
		v.d.Store.forget(v.region.ID())
	}
	for _, r := range append(done, light...) {
		if ctx.Err() != nil {
			return again, ctx.Err()
		}
		if r.sealed != nil {
			v.sealed[r.sha] = *r.sealed
		}
		v.hashed(r, now)
		if !r.it.busy().IsZero() {
			again = earliest(again, r.it.busy())
		}
		v.index.refresh(r.it)
	}
	if few {
		again = now
	}
	return again, nil
}

func (v *volume) readAll(ctx context.Context, todo []*item, until time.Time, o *once) (done []hashed) {
	results := make(chan hashed)
	work := make(chan *item)
	began := v.d.Now()
	var wg sync.WaitGroup
	for range min(2, v.d.Hands, len(todo)) {
		wg.Go(func() {
			for it := range work {
				if p, ok := v.index.path(it.id); ok {
					results <- v.readOnce(ctx, p, it, o)
				} else {
					results <- hashed{it: it, began: v.d.Now(), err: errNotListed}
				}
			}
		})
	}
	go func() {
		defer close(work)
		for _, it := range todo {
			if ctx.Err() != nil || v.hurried(began) || o == nil && v.d.Now().After(until) || o != nil && o.enough(v) {
				return
			}
			work <- it
		}
	}()
	go func() { wg.Wait(); close(results) }()
	for r := range results {
		done = append(done, r)
	}
	return done
}

// hashed takes in what came of reading a file.
func (v *volume) hashed(r hashed, now time.Time) {
	it := r.it
	switch {
	case r.err == nil && !r.busy && identical(it.stat, r.stat):
		// What was read is what the disk shows under that name now, whatever
		// the last look saw of it.
		it.sha, it.stat, it.hashedAt = r.sha, r.stat, r.began.UnixNano()
		it.calm()
	case r.err == nil && !r.busy, v.d.Classify(r.err) == NotThere:
		// Something else has the name now: look, and also at what else is there,
		// where it may have another.
		it.blame(nil, now.Add(time.Second))
		if p, ok := v.index.path(it.parent); ok {
			v.want(p, "")
		}
	case r.busy || v.d.Classify(r.err) == Changed:
		it.blame(&Problem{Kind: unsettled, Message: "is being written"}, now.Add(it.longer(settleWait, settleMost)))
	default:
		it.blame(&Problem{Kind: "unreadable", Message: r.err.Error()}, now.Add(it.longer(settleMost, time.Hour)))
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// hashFile reads a file once. busy: a program has it open for writing and
// changed it a moment ago.
func (v *volume) hashFile(ctx context.Context, disk Volume, path string, now time.Time) (sha [32]byte, st tree.Stat, busy bool, err error) {
	f, err := disk.Read(path)
	if err != nil {
		return sha, st, false, err
	}
	defer f.Close()
	st = f.Stat()
	if beingWritten(f, now) {
		return sha, st, true, nil
	}
	sha, err = v.hashReading(ctx, f)
	return sha, st, false, err
}

// hashReading hashes an open file, which must stay as it was.
func (v *volume) hashReading(ctx context.Context, f Reading) (sha [32]byte, err error) {
	if size := f.Stat().Size; size >= seal.LongFile {
		sha, err = hashLarge(ctx, v.d.Hands, f, size)
	} else {
		h := seal.NewFileHasher(size)
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		_, err = io.CopyBuffer(struct{ io.Writer }{h}, stopAt{ctx, f}, *buf)
		sha = h.Sum()
	}
	if changed := f.Unchanged(); changed != nil { // which is why it could not be read
		err = changed
	}
	return sha, err
}

// hashLarge hashes the parts of a long file side by side.
func hashLarge(ctx context.Context, hands int, f io.ReaderAt, size int64) (sha [32]byte, err error) {
	parts := seal.NewParts(size)
	err = eachPart(ctx, hands, parts.Count(), func(i int) error {
		sum, err := hashPart(f, parts.At(i), parts.Len(i))
		parts.Set(i, sum)
		return err
	})
	return parts.Sum(), err
}

// hashPart is the SHA-256 of n bytes at off.
func hashPart(f io.ReaderAt, off, n int64) (sum [32]byte, err error) {
	h := sha256.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for n > 0 {
		b := (*buf)[:min(n, int64(len(*buf)))]
		if k, err := f.ReadAt(b, off); k < len(b) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return sum, err
		}
		h.Write(b)
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	h.Sum(sum[:0])
	return sum, nil
}

// eachPart calls do with 0 to n-1, on so many goroutines.
func eachPart(ctx context.Context, hands, n int, do func(i int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(hands, n) {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := do(i); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// stopAt is a reader that ends with its context.
type stopAt struct {
	ctx context.Context
	r   io.Reader
}

func (s stopAt) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// rehash forgets hashes that were made too soon after a change, once the
// window is over: such a file is read once more. After a copy of many files
// all of them are, so it looks at them from time to time only.
func (v *volume) rehash() {
	now := v.d.Now()
	if now.Before(v.racy) {
		return
	}
	v.racy = time.Time{}
	for _, it := range v.index.racy {
		due := time.Unix(0, it.changed()).Add(racyWindow)
		if due.After(now) {
			v.racy = earliest(v.racy, due)
			continue
		}
		it.sha = [32]byte{}
		v.index.refresh(it)
	}
	if soon := now.Add(slice); !v.racy.IsZero() && v.racy.Before(soon) {
		v.racy = soon
	}
}

// retry lets go of what was in the way of a thing whose time to wait is over:
// the next plan tries it again.
func (v *volume) retry() (again time.Time) {
	now := v.d.Now()
	for id, it := range v.index.faulty {
		switch {
		case v.index.unread[id] != nil || it.busy().IsZero(): // hash, or the next look, does that
		case it.busy().After(now):
			again = earliest(again, it.busy())
		default:
			it.blame(nil, time.Time{})
			v.index.refresh(it)
		}
	}
	return again
}
