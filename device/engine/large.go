package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"signet"
	"signet/core/seal"
	"signet/core/tree"
)

// fetchLarge fetches a file of many pieces. What an earlier run fetched lies
// in a staged file of a name that the content decides; its pieces are checked,
// and those that are whole are kept. So are pieces that the file on the disk
// already has.
//
// What is wrong with the file's objects is the file's own trouble (f.err), and said at
// once: the file may never land, as nobody wants it any more, or others' trouble ends
// what was asked for with it. What is returned is everybody's.
//
// k, if not nil, is what was fetched of the file before an entry named it; it is
// used up, or goes back.
func (v *volume) fetchLarge(ctx context.Context, disk Volume, f *fetched, slots lane, k *sketch) error {
	if k != nil {
		if err := k.wait(ctx); err != nil {
			return err
		}
	}
	err := v.assembleLarge(ctx, disk, f, slots, k)
	if errors.Is(err, signet.ErrNotVerified) || errors.Is(err, signet.ErrNotFound) {
		f.err, err = v.d.raise(err, v.region.ID()), nil
	}
	switch {
	case k == nil:
	case f.staged != nil:
		f.sketched = true
	case err != nil && ctx.Err() == nil: // the service went away: the entry is tried again
		v.sketches.rest(k)
	default:
		k.drop()
	}
	return err
}

func (v *volume) assembleLarge(ctx context.Context, disk Volume, f *fetched, slots lane, k *sketch) (err error) {
	remote := f.action.Remote
	m, err := v.manifest(ctx, remote.Data)
	if err != nil {
		return v.bad(remote, err)
	}
	v.d.mu.Lock()
	secret := v.region.Secret()
	v.d.mu.Unlock()
	var s Staged
	if k != nil {
		s = k.staged
	} else if s, err = disk.Stage(stagedName(remote)); err != nil {
		return err
	}
	kept := k != nil // then it is the sketch's
	defer func() {
		if !kept {
			s.Suspend()
		}
	}()
	p := &assembly{v: v, disk: disk, slots: slots, secret: secret, m: m, f: f, staged: s, sketch: k}
	err = p.assemble(ctx)
	if errors.Is(err, errOther) && p.guessed {
		// Two pieces with one sum: now every piece is looked at by its id.
		p.strict = true
		err = p.assemble(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.Finish(remote.Mode, remote.MTime); err != nil {
		return err
	}
	kept, f.staged = true, s
	return nil
}

// assembly is a large file in the making. Pieces that are here already are
// found by their rolling sums, a fraction of the price of their ids: what
// counts is the file hash, whose parts are hashed as they are filled.
type assembly struct {
	v       *volume
	disk    Volume
	slots   lane
	secret  *seal.Secret
	m       *seal.Manifest
	f       *fetched
	staged  Staged
	sketch  *sketch // what is in staged already, if it was fetched before an entry named it
	at      []int64 // where each piece begins
	parts   *seal.Parts
	mu      sync.Mutex
	missing []int64 // bytes that each part still lacks
	guessed bool    // some pieces were taken by their sum
	strict  bool    // none may be
}

// errOther says that an assembled file is not the one that was signed.
var errOther = fmt.Errorf("content does not hash to what its writer signed: %w", signet.ErrNotVerified)

// assemble brings all pieces together and compares the file hash: no byte
// reaches its place that its writer did not sign.
func (p *assembly) assemble(ctx context.Context) error {
	size := p.f.action.Remote.Size
	p.at, p.missing, p.parts = p.at[:0], p.missing[:0], seal.NewParts(size)
	off := int64(0)
	for i := range p.m.Pieces {
		p.at = append(p.at, off)
		off += int64(p.m.Pieces[i].Size)
	}
	if off != size { // the operation says one length, the manifest in it another
		return p.v.bad(p.f.action.Remote, errOther)
	}
	for i := range p.parts.Count() {
		p.missing = append(p.missing, p.parts.Len(i))
	}
	todo, err := p.have(ctx)
	if err == nil {
		err = p.get(ctx, todo, p.ofSketch(todo))
	}
	if err == nil {
		err = p.staged.Truncate(size)
	}
	if err != nil {
		return err
	}
	if p.parts.Sum() != p.f.action.Remote.Hash {
		return p.v.bad(p.f.action.Remote, errOther)
	}
	return nil
}

// arrived says that piece i is in the staged file, and hashes what it fills: b,
// its bytes, where it is just a part (then sum is its SHA-256), and otherwise
// each part whose last bytes it brings, from the file.
func (p *assembly) arrived(i int, b []byte) (sum [32]byte, whole bool, err error) {
	from, to := p.at[i], p.at[i]+int64(len(b))
	first := p.parts.Of(from)
	if from == p.parts.At(first) && to-from == p.parts.Len(first) {
		sum = sha256.Sum256(b)
		p.parts.Set(first, sum)
		return sum, true, nil
	}
	for k := first; k < p.parts.Count() && p.parts.At(k) < to; k++ {
		begin, end := p.parts.At(k), p.parts.At(k)+p.parts.Len(k)
		p.mu.Lock()
		p.missing[k] -= min(end, to) - max(begin, from)
		full := p.missing[k] == 0
		p.mu.Unlock()
		if full {
			part, err := hashPart(p.staged, begin, end-begin)
			if err != nil {
				return sum, false, fmt.Errorf("staged file: %w", err)
			}
			p.parts.Set(k, part)
		}
	}
	return sum, false, nil
}

// together is how many pieces next to each other one goroutine looks for.
const together = 32

// have finds the pieces that need not be fetched: those in the staged file,
// and those that the old version on the disk has, which are copied. It returns
// the indexes of the others, in order.
func (p *assembly) have(ctx context.Context) (todo []int, err error) {
	old, shifts := p.old()
	if old != nil {
		defer old.Close()
	}
	n := len(p.m.Pieces)
	lacking := make([][]int, (n+together-1)/together)
	err = eachPart(ctx, p.v.d.Hands, len(lacking), func(k int) (err error) {
		lacking[k], err = p.haveOf(k*together, min((k+1)*together, n), old, slices.Clone(shifts))
		return err
	})
	return slices.Concat(lacking...), err
}

// haveOf is have for the pieces from first to before end.
func (p *assembly) haveOf(first, end int, old Reading, shifts []int64) (todo []int, err error) {
	buf := getPiece(int(p.m.Pieces[first].Size))
	defer func() { putPiece(buf) }()
	for i := first; i < end; i++ {
		if p.sketched(i) {
			continue
		}
		piece := &p.m.Pieces[i]
		buf = slices.Grow(buf[:0], int(piece.Size))[:piece.Size]
		n, _ := p.staged.ReadAt(buf, p.at[i])
		found := n == len(buf) && p.is(piece, buf)
		for k := 0; k < len(shifts) && !found; k++ {
			at := p.at[i] + shifts[k]
			if at < 0 {
				continue
			}
			if n, _ = old.ReadAt(buf, at); n < len(buf) || !p.is(piece, buf) {
				continue
			}
			found = true
			if k > 0 { // what follows has most likely moved as far
				shifts[0], shifts[k] = shifts[k], shifts[0]
			}
			if _, err := p.staged.WriteAt(buf, p.at[i]); err != nil {
				return nil, err
			}
		}
		if !found {
			todo = append(todo, i)
		} else if _, _, err := p.arrived(i, buf); err != nil {
			return nil, err
		}
	}
	return todo, nil
}

// is reports whether b is a piece, or where ids are not asked for whether it
// looks like it.
func (p *assembly) is(piece *seal.Piece, b []byte) bool {
	if p.strict || len(p.m.Pieces) == 1 { // the sum of an only piece says nothing
		return p.secret.PlaintextID(b) == piece.ID
	}
	if p.secret.Sum(b) != piece.Sum {
		return false
	}
	p.mu.Lock()
	p.guessed = true
	p.mu.Unlock()
	return true
}

// old is the version on the disk, and how far its pieces may have moved: not
// at all, or as far as its end, for an insertion moves what is behind it. The
// new manifest says what to look for, so the old one is not needed.
func (p *assembly) old() (Reading, []int64) {
	if p.f.old == "" {
		return nil, nil
	}
	r, err := p.disk.Read(p.f.old)
	if err != nil {
		return nil, nil
	}
	if shift := r.Stat().Size - p.f.action.Remote.Size; shift != 0 {
		return r, []int64{0, shift}
	}
	return r, []int64{0}
}

// get fetches pieces, several requests at once, and notes what each was sealed as;
// rows are those of pieces that are here.
func (p *assembly) get(ctx context.Context, todo []int, rows []sealedRow) error {
	by := map[signet.ObjectID][]int{}
	var ids []signet.ObjectID
	for _, i := range todo {
		id := p.m.Pieces[i].Object
		if by[id] == nil {
			ids = append(ids, id)
		}
		by[id] = append(by[id], i)
	}
	open := p.v.opener()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(p.slots))
	per := max(1, groupSize/max(1, int(p.m.Pieces[0].Size)))
	var mu sync.Mutex
	for group := range slices.Chunk(ids, per) {
		g.Go(func() error {
			select {
			case p.slots <- struct{}{}:
				defer func() { <-p.slots }()
			case <-ctx.Done():
				return ctx.Err()
			}
			plain := getPiece(int(p.m.Pieces[0].Size))
			defer func() { putPiece(plain) }()
			return p.v.d.Service.Get(ctx, p.v.region.ID(), group, func(id signet.ObjectID, object []byte) (err error) {
				n := int64(len(object))
				p.v.count(func(c *Counters) { c.BytesDown += n; c.ObjectsDown++ })
				for _, i := range by[id] {
					piece := &p.m.Pieces[i]
					if plain, err = open(plain[:0], piece.Ref, object); err != nil {
						p.v.d.Store.forgetSealed(p.v.region.ID(), []signet.ObjectID{id}) // nothing new rests on it
						return p.v.d.raise(p.v.bad(p.f.action.Remote, err), p.v.region.ID())
					}
					if _, err := p.staged.WriteAt(plain, p.at[i]); err != nil {
						return err
					}
					sum, whole, err := p.arrived(i, plain)
					if err != nil {
						return err
					}
					if !whole {
						sum = sha256.Sum256(plain)
					}
					mu.Lock()
					rows = append(rows, sealedRow{p.secret.PlaintextIDOf(sum), piece.Ref}) // not what the manifest says it is
					mu.Unlock()
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.v.d.Store.noteSealed(p.v.region.ID(), rows)
}

// stagedName is the name under which the content of a large file is staged: a
// later run goes on with it. Two files of one content are staged apart.
func stagedName(r tree.Node) string {
	return "c-" + hex.EncodeToString(r.PlaintextID[:16]) + "-" + hex.EncodeToString(r.ID[:])
}
