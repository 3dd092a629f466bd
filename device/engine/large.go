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
	"signet/core/plan"
	"signet/core/seal"
	"signet/core/tree"
)

// fetchLarge fetches a file of many pieces. What an earlier run fetched lies
// in a staged file of a name that the content decides; its pieces are checked,
// and those that are whole are kept. So are pieces that the file on the disk
// already has.
func (v *volume) fetchLarge(ctx context.Context, f *fetched) (err error) {
	remote := f.action.Remote
	m, err := v.manifest(ctx, remote.Data)
	if err != nil {
		return v.bad(f, err)
	}
	v.d.mu.Lock()
	secret := v.region.Secret()
	v.d.mu.Unlock()
	s, err := v.disk.Stage(stagedName(remote))
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			s.Suspend()
		}
	}()
	p := &assembly{v: v, secret: secret, m: m, f: f, staged: s}
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
// counts is the hash of the whole, which runs behind the pieces as they come.
type assembly struct {
	v       *volume
	secret  *seal.Secret
	m       *seal.Manifest
	f       *fetched
	staged  Staged
	at      []int64 // where each piece begins
	mu      sync.Mutex
	there   []chan struct{} // closed when a piece is in the staged file
	guessed bool            // some were taken by their sum
	strict  bool            // none may be
}

// errOther says that an assembled file is not the one that was signed.
var errOther = fmt.Errorf("content does not hash to what its writer signed: %w", signet.ErrNotVerified)

// assemble brings all pieces together and compares the hash of the whole: no
// byte reaches its place that its writer did not sign.
func (p *assembly) assemble(ctx context.Context) error {
	p.at, p.there = p.at[:0], p.there[:0]
	off := int64(0)
	for i := range p.m.Pieces {
		p.at, p.there = append(p.at, off), append(p.there, make(chan struct{}))
		off += int64(p.m.Pieces[i].Size)
	}
	var sha [32]byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		todo, err := p.have(gctx)
		if err != nil {
			return err
		}
		return p.get(gctx, todo)
	})
	g.Go(func() (err error) {
		sha, err = p.hash(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.staged.Truncate(p.f.action.Remote.Size); err != nil {
		return err
	}
	if sha != p.f.action.Remote.SHA256 {
		return p.v.bad(p.f, errOther)
	}
	return nil
}

// arrived says that a piece is in the staged file.
func (p *assembly) arrived(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.there[i]:
	default:
		close(p.there[i])
	}
}

// hash reads the pieces in order, each when it is there.
func (p *assembly) hash(ctx context.Context) (sha [32]byte, err error) {
	h := sha256.New()
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf := *pooled
	for i := range p.m.Pieces {
		select {
		case <-p.there[i]:
		case <-ctx.Done():
			return sha, ctx.Err()
		}
		for off, end := p.at[i], p.at[i]+int64(p.m.Pieces[i].Size); off < end; {
			b := buf[:min(int64(len(buf)), end-off)]
			if n, err := p.staged.ReadAt(b, off); n < len(b) {
				return sha, fmt.Errorf("staged file: %w", err)
			}
			h.Write(b)
			off += int64(len(b))
		}
	}
	h.Sum(sha[:0])
	return sha, nil
}

// have finds the pieces that need not be fetched: those in the staged file,
// and those that the old version on the disk has, which are copied. It returns
// the indexes of the others.
func (p *assembly) have(ctx context.Context) (todo []int, err error) {
	old, shifts := p.old()
	if old != nil {
		defer old.Close()
	}
	var buf []byte
	for i := range p.m.Pieces {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := &p.m.Pieces[i]
		buf = slices.Grow(buf[:0], int(piece.Size))[:piece.Size]
		if n, _ := p.staged.ReadAt(buf, p.at[i]); n == len(buf) && p.is(piece, buf) {
			p.arrived(i)
			continue
		}
		found := false
		for k := 0; k < len(shifts) && !found; k++ {
			at := p.at[i] + shifts[k]
			if n := 0; at >= 0 {
				n, _ = old.ReadAt(buf, at)
				found = n == len(buf) && p.is(piece, buf)
			}
			if found && k > 0 { // what follows has most likely moved as far
				shifts[0], shifts[k] = shifts[k], shifts[0]
			}
		}
		if !found {
			todo = append(todo, i)
			continue
		}
		if _, err := p.staged.WriteAt(buf, p.at[i]); err != nil {
			return nil, err
		}
		p.arrived(i)
	}
	return todo, nil
}

// is reports whether b is a piece, or where ids are not asked for whether it
// looks like it.
func (p *assembly) is(piece *seal.Piece, b []byte) bool {
	if p.strict || len(p.m.Pieces) == 1 { // the sum of an only piece says nothing
		return p.secret.PlaintextID(b) == piece.ID
	}
	ok := p.secret.Sum(b) == piece.Sum
	p.guessed = p.guessed || ok
	return ok
}

// old is the version on the disk, and how far its pieces may have moved: not
// at all, or as far as its end, for an insertion moves what is behind it. The
// new manifest says what to look for, so the old one is not needed.
func (p *assembly) old() (Reading, []int64) {
	it, ok := p.v.index.items[p.f.action.Node]
	if !ok || p.f.action.Verb != plan.Replace || it.stat.Size < 256<<10 {
		return nil, nil
	}
	r, err := p.v.disk.Read(p.f.path)
	if err != nil {
		return nil, nil
	}
	if shift := it.stat.Size - p.f.action.Remote.Size; shift != 0 {
		return r, []int64{0, shift}
	}
	return r, []int64{0}
}

// get fetches pieces, several requests at once.
func (p *assembly) get(ctx context.Context, todo []int) error {
	by := map[signet.ObjectID][]int{}
	var ids []signet.ObjectID
	for _, i := range todo {
		id := p.m.Pieces[i].Object
		if by[id] == nil {
			ids = append(ids, id)
		}
		by[id] = append(by[id], i)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	per := max(1, groupSize/max(1, int(p.m.Pieces[0].Size)))
	var mu sync.Mutex
	var rows []sealedRow
	for group := range slices.Chunk(ids, per) {
		g.Go(func() error {
			var plain []byte
			return p.v.d.Service.Get(ctx, p.v.region.ID(), group, func(id signet.ObjectID, object []byte) (err error) {
				n := int64(len(object))
				p.v.count(func(c *Counters) { c.BytesDown += n; c.ObjectsDown++ })
				for _, i := range by[id] {
					piece := &p.m.Pieces[i]
					if plain, err = seal.OpenPiece(plain[:0], piece.Ref, object); err != nil {
						return p.v.bad(p.f, err)
					}
					if _, err := p.staged.WriteAt(plain, p.at[i]); err != nil {
						return err
					}
					p.arrived(i)
					mu.Lock()
					rows = append(rows, sealedRow{p.secret.PlaintextID(plain), piece.Ref}) // not what the manifest says it is
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
