package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"signet"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/line"
)

// A long file that is being sent is shown to the other devices, and one that they
// are shown is fetched before an entry names it (spec/content.md, "Glimpse"). What
// was fetched so is a sketch. It has no say: the entry that comes decides whether
// any of it is used.

// Limits of sketches.
const (
	mostSketches = 2               // of a volume, at once
	offerEvery   = time.Second     // how often a new one is looked at
	mostOffered  = 4096            // pieces that are kept of one that the loop has not looked at
	deafFor      = 2 * time.Second // how long nothing is shown where nobody looked
	sketchQuiet  = 2 * time.Minute // after so long without news, a sketch goes
	sketchers    = 2               // requests of one at once: the others of its class are for what is named
	sketchRest   = time.Hour       // so long it waits for a service that went away
)

// showing is a long file on its way to the service, as others are shown it.
type showing struct {
	v      *volume
	header seal.Glimpse

	mu     sync.Mutex
	stored []seal.Placed // and not shown yet
	busy   bool
	deaf   time.Time // until when nothing is shown
}

func (v *volume) newShowing(op tree.Op, size int64) *showing {
	s := &showing{v: v, header: seal.Glimpse{Node: op.Node, Parent: op.Parent, Size: size}}
	rand.Read(s.header.Reading[:])
	return s
}

// show shows pieces that the service has. One request is under way at a time: what
// comes meanwhile goes with the next.
func (s *showing) show(ctx context.Context, pieces []seal.Placed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored = append(s.stored, pieces...); s.busy {
		return
	}
	s.busy = true
	for len(s.stored) > 0 && ctx.Err() == nil {
		g := s.header
		g.Pieces = s.stored[:min(len(s.stored), seal.MaxGlimpse)]
		s.stored = s.stored[len(g.Pieces):]
		if s.v.d.Now().Before(s.deaf) {
			continue
		}
		s.mu.Unlock()
		seen := s.v.show(ctx, &g)
		s.mu.Lock()
		if !seen {
			s.deaf = s.v.d.Now().Add(deafFor)
		}
	}
	s.busy = false
}

// show reports whether somebody saw a glimpse. That it could not be shown is no
// error: the entry comes all the same.
func (v *volume) show(ctx context.Context, g *seal.Glimpse) bool {
	v.d.mu.Lock()
	sealed, err := v.region.SealGlimpse(g)
	v.d.mu.Unlock()
	if err != nil {
		return false
	}
	seen, err := v.d.Service.Show(ctx, v.region.ID(), sealed)
	return seen && err == nil
}

// shown takes a glimpse from the stream. What does not open is nothing.
func (d *Device) shown(s signet.Glimpse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.regions[s.Region]
	if r == nil || r.failed != nil || r.lag || r.State.Size() == 0 {
		return
	}
	g, err := r.OpenGlimpse(s.From, s.Sealed)
	if err != nil {
		return
	}
	for _, v := range d.volumes {
		if v.region == r && v.sketches.offer(g, d.Now()) {
			v.wake()
		}
	}
}

// sketches are the sketches of a volume.
type sketches struct {
	mu      sync.Mutex
	offered []*seal.Glimpse // that the loop has not looked at
	last    time.Time       // when something new was offered
	under   map[signet.NodeID]*sketch
}

// offer takes a glimpse in. look: the loop is to see whether it wants the file.
func (s *sketches) offer(g *seal.Glimpse, now time.Time) (look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.under[g.Node]; k != nil {
		if k.reading == g.Reading && k.size == g.Size {
			k.more(g.Pieces)
			return false
		}
		s.drop(k) // the file changed while it was read, and is read once more
	}
	for _, o := range s.offered {
		if o.Node != g.Node {
			continue
		}
		if o.Reading != g.Reading || o.Size != g.Size {
			*o = *g
		} else if len(o.Pieces) < mostOffered {
			o.Pieces = append(o.Pieces, g.Pieces...)
		}
		return false
	}
	if len(s.offered)+len(s.under) >= mostSketches || now.Sub(s.last) < offerEvery {
		return false // there are more to come of what goes on
	}
	s.offered, s.last = append(s.offered, g), now
	return true
}

func (s *sketches) look() []*seal.Glimpse {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.offered
	s.offered = nil
	return list
}

// begin begins a sketch of what was offered; cancel ends what is under way of it.
func (s *sketches) begin(g *seal.Glimpse, staged Staged, cancel context.CancelFunc) *sketch {
	k := &sketch{node: g.Node, reading: g.Reading, size: g.Size, parts: seal.NewParts(g.Size), staged: staged, cancel: cancel,
		done: make(chan struct{}), gone: make(chan struct{}), heard: map[uint32]bool{}, got: map[uint32]sketched{}}
	k.news.L = &k.mu
	k.timer = time.AfterFunc(sketchQuiet, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.under[k.node] == k {
			s.drop(k)
		}
	})
	k.more(g.Pieces)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under == nil {
		s.under = map[signet.NodeID]*sketch{}
	}
	if was := s.under[k.node]; was != nil { // it rests, and the file was read once more
		s.drop(was)
	}
	s.under[k.node] = k
	return k
}

// take is the sketch of a file that an entry names now, if there is one: what was
// heard of it is fetched still, and then it is the caller's.
func (s *sketches) take(n tree.Node) *sketch {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.under[n.ID]
	if k == nil || k.size != n.Size {
		return nil
	}
	delete(s.under, n.ID)
	k.timer.Stop()
	k.close()
	return k
}

// rest keeps a sketch that was taken, and could not be used because the service
// went away.
func (s *sketches) rest(k *sketch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under == nil || s.under[k.node] != nil { // stopped, or there is another
		k.drop()
		return
	}
	s.under[k.node] = k
	k.timer.Reset(sketchRest)
}

// drop ends a sketch. With the lock held.
func (s *sketches) drop(k *sketch) {
	delete(s.under, k.node)
	k.timer.Stop()
	k.drop()
}

// stop drops all, and returns when they ended.
func (s *sketches) stop() {
	s.mu.Lock()
	var all []*sketch
	for _, k := range s.under {
		all = append(all, k)
		s.drop(k)
	}
	s.under, s.offered = nil, nil
	s.mu.Unlock()
	for _, k := range all {
		<-k.gone
	}
}

// coming is how many bytes they still need.
func (s *sketches) coming() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.under {
		n += uint64(max(k.size-k.have(), 0))
	}
	return n
}

// A sketch is a file that is fetched while it is sent.
type sketch struct {
	node    signet.NodeID
	reading [8]byte
	size    int64
	parts   *seal.Parts // where its pieces are
	staged  Staged
	timer   *time.Timer   // ends it when nothing more is heard
	done    chan struct{} // closed when nothing of it is under way any more
	gone    chan struct{} // closed when its staged file is gone
	cancel  context.CancelFunc

	mu      sync.Mutex
	news    sync.Cond
	heard   map[uint32]bool
	queue   []seal.Placed
	got     map[uint32]sketched
	bytes   int64
	closed  bool // nothing more is taken
	dropped bool
}

// sketched is a piece that is in the staged file.
type sketched struct {
	seal.Ref
	sum [32]byte // SHA-256 of its bytes
}

func (k *sketch) more(pieces []seal.Placed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.timer.Reset(sketchQuiet)
	for _, p := range pieces {
		if !k.heard[p.Index] {
			k.heard[p.Index] = true
			k.queue = append(k.queue, p)
		}
	}
	k.news.Broadcast()
}

func (k *sketch) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.news.Broadcast()
}

func (k *sketch) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed, k.dropped, k.queue = true, true, nil
	k.cancel()
	k.news.Broadcast()
	select {
	case <-k.done: // nobody else does it
		k.discard()
	default:
	}
}

// discard removes what was staged. With the lock held, when all is done.
func (k *sketch) discard() {
	select {
	case <-k.gone:
	default:
		k.staged.Discard()
		close(k.gone)
	}
}

// end says that nothing of it is under way any more.
func (k *sketch) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.done)
	if k.dropped {
		k.discard()
	}
}

func (k *sketch) have() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bytes
}

// next are pieces to fetch, of about so many bytes; none when there are no more to
// come.
func (k *sketch) next(bytes int) []seal.Placed {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.queue) == 0 && !k.closed {
		k.news.Wait()
	}
	n, size := 0, 0
	for n < len(k.queue) && (n == 0 || size+int(k.queue[n].Size) <= bytes) {
		size += int(k.queue[n].Size)
		n++
	}
	list := k.queue[:n:n]
	k.queue = k.queue[n:]
	return list
}

// wait returns when what was heard of a taken sketch has come.
func (k *sketch) wait(ctx context.Context) error {
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		k.drop()
		<-k.done
		return ctx.Err()
	}
}

// at is the piece at an offset, if the sketch has it.
func (k *sketch) at(off int64) (p sketched, ok bool) {
	i := k.parts.Of(off)
	if k.parts.At(i) != off {
		return p, false
	}
	p, ok = k.got[uint32(i)] // done: nobody changes it
	return p, ok
}

// sketchBeside begins to fetch what others show, where it is wanted.
func (v *volume) sketchBeside() {
	for _, g := range v.sketches.look() {
		if !v.wanted(g) {
			continue
		}
		staged, err := v.disk.Stage("")
		if err != nil {
			continue
		}
		ctx, cancel := context.WithCancel(v.beside.ctx)
		k := v.sketches.begin(g, staged, cancel)
		stop := context.AfterFunc(ctx, k.drop)
		v.beside.work.Go(func() {
			defer cancel()
			defer stop()
			v.fetchSketch(ctx, k)
			k.end()
		})
	}
}

// wanted reports whether a file that is shown would be fetched, were an entry to
// name it where it is.
func (v *volume) wanted(g *seal.Glimpse) bool {
	if _, ok := v.index.path(g.Parent); !ok || v.index.items[g.Node] != nil {
		return false
	}
	free, total, err := v.disk.Free()
	if err != nil || v.coming()+uint64(g.Size)+v.d.floorOf(total) > free {
		return false
	}
	v.mu.Lock()
	marks := v.marks
	v.mu.Unlock()
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if _, known := v.region.Tree.Node(g.Node); known || v.region.failed != nil {
		return false
	}
	folder := v.region.Tree.Ref(g.Parent)
	return folder.Live() && marks.Takes(folder)
}

// fetchSketch fetches what is shown, until nothing more comes. What cannot be had,
// or is not what was shown, is left for the entry.
func (v *volume) fetchSketch(ctx context.Context, k *sketch) {
	ctx, lanes := v.as(ctx, line.Largest)
	var work sync.WaitGroup
	for range min(sketchers, cap(lanes)) {
		work.Go(func() {
			for {
				list := k.next(groupSize)
				if len(list) == 0 {
					return
				}
				select {
				case lanes <- struct{}{}:
				case <-ctx.Done():
					return
				}
				v.fetchShown(ctx, k, list)
				<-lanes
			}
		})
	}
	work.Wait()
}

func (v *volume) fetchShown(ctx context.Context, k *sketch, list []seal.Placed) {
	open := v.opener()
	ids := make([]signet.ObjectID, len(list))
	by := map[signet.ObjectID]seal.Placed{}
	for i, p := range list {
		ids[i], by[p.Object] = p.Object, p
	}
	plain := getPiece(int(list[0].Size))
	defer func() { putPiece(plain) }()
	_ = v.d.Service.Get(ctx, v.region.ID(), ids, func(id signet.ObjectID, object []byte) (err error) {
		n := int64(len(object))
		v.count(func(c *Counters) { c.BytesDown += n; c.ObjectsDown++ })
		p, ok := by[id]
		if !ok {
			return nil
		}
		if plain, err = open(plain[:0], p.Ref, object); err != nil {
			return err
		}
		if _, err := k.staged.WriteAt(plain, k.parts.At(int(p.Index))); err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		k.mu.Lock()
		k.got[p.Index] = sketched{p.Ref, sum}
		k.bytes += int64(p.Size)
		k.mu.Unlock()
		return nil
	})
}

// opener opens pieces of the region: where all was sealed in this device's ring,
// without comparing an object with its id (doc/design/0014).
func (v *volume) opener() func(dst []byte, ref seal.Ref, object []byte) ([]byte, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if v.region.State.Sole(v.d.Self.Ring) {
		return seal.OpenUnnamed
	}
	return seal.OpenPiece
}

// ofSketch are the rows of pieces that came by a sketch, which this device opened
// itself.
func (p *assembly) ofSketch(lacking []int) (rows []sealedRow) {
	if p.sketch == nil {
		return nil
	}
	for i := range p.m.Pieces {
		if _, lacks := slices.BinarySearch(lacking, i); lacks {
			continue
		}
		if s, ok := p.sketch.at(p.at[i]); ok && s.Ref == p.m.Pieces[i].Ref {
			rows = append(rows, sealedRow{p.secret.PlaintextIDOf(s.sum), s.Ref})
		}
	}
	return rows
}

// sketched takes in piece i where a sketch has it: the object that the manifest
// names, whose bytes have the id that it says.
func (p *assembly) sketched(i int) bool {
	if p.sketch == nil || p.strict {
		return false
	}
	piece := &p.m.Pieces[i]
	s, ok := p.sketch.at(p.at[i])
	if !ok || s.Ref != piece.Ref || p.secret.PlaintextIDOf(s.sum) != piece.ID {
		return false
	}
	k := p.parts.Of(p.at[i])
	if p.parts.At(k) != p.at[i] || p.parts.Len(k) != int64(piece.Size) {
		return false
	}
	p.parts.Set(k, s.sum)
	return true
}
