package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
	"signet/device/line"
)

// up commits local changes. What needs no content goes first, then files as
// their content is sealed and stored, then attributes and deletes. It stops
// after a slice of time: the next plan says what is left. did is how many
// operations were committed.
func (v *volume) up(ctx context.Context, ops []tree.Op) (did int, err error) {
	var first, last []tree.Item
	var files, large []upFile
	deletes := 0
	for _, op := range ops {
		switch {
		case op.Type == tree.File && (op.Kind == tree.Create || op.Kind == tree.Edit):
			if ref := v.refOf(op); ref != nil {
				files = append(files, upFile{op: op, ref: ref})
				continue
			}
			path, ok := v.index.path(op.Node)
			if !ok {
				return 0, errAgain
			}
			file := upFile{op: op, path: path}
			if s, ok := v.sealedEarly(op); ok {
				file.sealed = &s
			} else if v.heavyUp(op.Node, op.Size) {
				large = append(large, file)
				continue
			}
			files = append(files, file)
			continue
		case op.Kind == tree.Delete:
			deletes++
		case op.Kind == tree.Move:
			v.count(func(c *Counters) { c.Moves++ })
		}
		it, err := tree.NewItem(op)
		if err != nil {
			return 0, err
		}
		if op.Kind == tree.Attr || op.Kind == tree.Delete {
			last = append(last, it)
		} else {
			first = append(first, it)
		}
	}
	for _, s := range v.sealBeside(large) {
		files = append(files, upFile{op: s.op, sealed: &s})
	}
	if len(files) > 0 {
		// A full batch of folders and moves need not wait for content.
		n := len(first) - len(first)%journal.MaxOperations
		if err := v.commitAll(ctx, first[:n]); err != nil {
			return 0, err
		}
		began := v.d.Now()
		did = n
		for _, part := range v.inOrder(files) {
			if len(part.files) == 0 || part.class != line.Saved && did > n && v.hurried(began) {
				continue
			}
			sent, err := v.upFiles(ctx, part.class, first[n:], part.files)
			if err != nil {
				return did, err
			}
			did, first, n = did+sent, nil, 0
		}
	}
	if err := v.commitAll(ctx, append(first, last...)); err != nil {
		return did, err
	}
	v.deleted(deletes)
	return did + len(first) + len(last), nil
}

func (v *volume) commitAll(ctx context.Context, items []tree.Item) error {
	for len(items) > 0 {
		n := fits(items)
		if err := v.commit(ctx, items[:n], nil); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// fits is how many of items one entry takes.
func fits(items []tree.Item) int {
	size := 0
	for i, it := range items {
		if size += it.Size(); i >= journal.MaxOperations || size > journal.MaxEntry/2 {
			return i
		}
	}
	return len(items)
}

func (v *volume) commit(ctx context.Context, items []tree.Item, objects []signet.ObjectID) error {
	for len(objects) > journal.MaxObjects {
		// More objects than one entry may bring: an entry without operations
		// pins the first of them.
		if err := v.d.commit(ctx, v.region, v.floor, nil, objects[:journal.MaxObjects]); err != nil {
			return v.lacking(err)
		}
		objects = objects[journal.MaxObjects:]
	}
	if err := v.d.commit(ctx, v.region, v.floor, items, objects); err != nil {
		return v.lacking(err)
	}
	v.count(func(c *Counters) { c.Entries++ })
	return nil
}

// lacking is for a commit that was refused because the service lacks objects,
// or not made because some are condemned: what the index says of them is
// forgotten, so that the next turn seals again.
func (v *volume) lacking(err error) error {
	var missing interface{ MissingObjects() []signet.ObjectID }
	if errors.As(err, &missing) && len(missing.MissingObjects()) > 0 {
		v.forgetEarly()
		if ferr := v.d.Store.forgetSealed(v.region.ID(), missing.MissingObjects()); ferr != nil {
			return errors.Join(err, ferr)
		}
		return errAgain
	}
	return err
}

// errAgain says that the world changed under a turn: plan again.
var errAgain = errors.New("plan again")

// An upFile is a file to be sealed. Its path was found before the workers
// begin, which do not touch the index.
type upFile struct {
	op     tree.Op
	path   string
	sealed *sealedFile // while it was hashed; nil: not yet
	ref    *seal.Ref   // likewise, of one piece
	anew   bool        // the service lacks some of the version before: nothing of it is used again
}

// A sealedFile is a file whose content is sealed, stored or about to be.
type sealedFile struct {
	op      tree.Op
	stat    tree.Stat
	objects []signet.ObjectID
	err     error
}

// An upPart is files of one class.
type upPart struct {
	class line.Class
	files []upFile
}

// inOrder parts files: what is sealed already and what was saved a moment ago
// goes before the others.
func (v *volume) inOrder(files []upFile) []upPart {
	var first, rest []upFile
	chosen := map[int]bool{}
	for _, i := range v.newest(len(files), line.Up, func(i int) (time.Time, bool) {
		if files[i].sealed != nil {
			return time.Time{}, false
		}
		return v.savedNow(files[i].op.Node)
	}, func(i int) int64 { return files[i].op.Size }) {
		chosen[i] = true
	}
	for i, f := range files {
		if chosen[i] || f.sealed != nil && v.d.Line != nil {
			first = append(first, f)
		} else {
			rest = append(rest, f)
		}
	}
	return []upPart{{line.Saved, first}, {line.Small, rest}}
}

// oneIn is which part of the bytes of small files those of the largest are, so
// that small files that keep coming do not starve them.
const oneIn = 20

// upFiles seals and stores files, the smallest first, and commits them in
// batches, of which none waits long for a file; lead goes into the first. did is
// how many operations were committed.
func (v *volume) upFiles(ctx context.Context, class line.Class, lead []tree.Item, files []upFile) (did int, err error) {
	ctx = line.With(ctx, class)
	stably(files, func(a, b *upFile) int { return cmp.Compare(a.op.Size, b.op.Size) })
	began, sent := v.d.Now(), v.sent()
	until := began.Add(v.slice())
	u := v.newUploader(ctx, make(lane, connections), true)
	defer u.stop()
	v.d.mu.Lock()
	secret := v.region.Secret()
	v.d.mu.Unlock()

	var mu sync.Mutex
	next, end := 0, len(files)
	var all, large int64 // bytes taken, and those of them from the end
	take := func() (f upFile, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= end || next > 0 && (v.d.Now().After(until) || class != line.Saved && v.hurried(began)) || ctx.Err() != nil {
			return f, false
		}
		if large*oneIn < all {
			end--
			f = files[end]
			large += f.op.Size
		} else {
			next++
			f = files[next-1]
		}
		all += f.op.Size
		return f, true
	}
	sealing := 0
	for i := range files {
		if files[i].sealed == nil && files[i].ref == nil {
			sealing++
		}
	}
	if id := v.region.ID(); sealing >= manyFiles {
		if err := v.d.Store.know(id); err != nil {
			return 0, err
		}
		defer func() {
			if next >= end {
				v.d.Store.forget(id)
			}
		}()
	}
	results := make(chan sealedFile, min(len(files), 1024)) // nobody waits while a batch is committed
	var wg sync.WaitGroup
	for range min(v.sealers(), len(files)) {
		wg.Go(func() {
			for {
				f, ok := take()
				if !ok {
					return
				}
				switch {
				case f.sealed != nil:
					results <- *f.sealed
				case f.ref != nil:
					results <- asSealed(secret, f.op, f.ref)
				default:
					results <- v.sealFile(ctx, v.disk, u, f)
				}
			}
		})
	}
	go func() { wg.Wait(); close(results) }()

	items, objects := lead, []signet.ObjectID(nil)
	size, count := 0, 0
	flush := func() error {
		if len(items) == 0 && len(objects) == 0 {
			return nil
		}
		if err := u.flush(); err != nil {
			return err
		}
		if err := v.commit(ctx, items, objects); err != nil {
			return err
		}
		n := int64(count)
		v.count(func(c *Counters) { c.FilesUp += n })
		did += len(items)
		items, objects, size, count = nil, nil, 0, 0
		return nil
	}
	add := func(r sealedFile) error {
		if r.err != nil {
			return v.sealFault(ctx, r)
		}
		it, err := tree.NewItem(r.op)
		if err != nil {
			return err
		}
		if len(items) >= journal.MaxOperations || len(objects)+len(r.objects) > journal.MaxObjects || size+it.Size() > journal.MaxEntry/2 {
			if err := flush(); err != nil {
				return err
			}
		}
		items, size, count = append(items, it), size+it.Size(), count+1
		objects = append(objects, r.objects...)
		return nil
	}
	due := time.NewTicker(2 * time.Second)
	defer due.Stop()
	for open := true; open; {
		var r sealedFile
		var sealed, late bool
		select {
		case <-due.C: // first, where there is a file as well: chance decides nothing here
			late = true
		default:
			select {
			case <-due.C:
				late = true
			case r, open = <-results:
				sealed = open
			}
		}
		switch {
		case err != nil:
		case late:
			err = flush()
		case sealed:
			err = add(r)
		}
		if err != nil {
			mu.Lock()
			next = end // the others end with what they have in hand
			mu.Unlock()
		}
	}
	if err == nil {
		err = flush()
	}
	v.measure(v.d.Now().Sub(began), v.sent()-sent)
	return did, err
}

// manyFiles is from how many on it pays to have in memory what was sealed.
const manyFiles = 512

// sealers is how many files are sealed at once. On a slow line few are enough,
// and what is in hand when a document is saved goes before it.
func (v *volume) sealers() int {
	if v.d.speed(line.Up) < 8<<20 {
		return 2
	}
	return 4
}

func (v *volume) sent() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counters.BytesUp
}

// measure keeps the upload rate, for estimates; little says nothing.
func (v *volume) measure(took time.Duration, bytes int64) {
	if bytes < 4<<20 || took <= 0 {
		return
	}
	rate := float64(bytes) / took.Seconds()
	if r := v.d.Line.Rate(line.Up); r > 0 { // of all that is sent beside each other
		rate = r
	}
	if b, err := json.Marshal(rate); err == nil {
		v.d.Store.SetNote("rate_up", b)
	}
}

// sealFault judges why a file could not be sealed. Most reasons concern that
// file alone: it waits, the others go on.
func (v *volume) sealFault(ctx context.Context, r sealedFile) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	it := v.index.items[r.op.Node]
	var remote interface{ Temporary() bool }
	switch {
	case errors.Is(r.err, errAgain), errors.Is(r.err, seal.ErrResized), v.d.Classify(r.err) == Changed, v.d.Classify(r.err) == NotThere:
		if it != nil {
			it.sha = [32]byte{}
			v.lookAt(it)
			v.index.refresh(it)
		}
		return nil
	case errors.Is(r.err, signet.ErrUnavailable), errors.Is(r.err, signet.ErrNotAllowed), errors.As(r.err, &remote):
		return r.err
	case it != nil:
		it.blame(&Problem{Kind: "unreadable", Message: r.err.Error()}, v.d.Now().Add(settleMost))
		it.sha = [32]byte{}
		v.index.refresh(it)
		return nil
	}
	return r.err
}

// sealFile cuts and seals a file's content against the version that the region
// has, and hands what is new to the uploader. An operation without a hash gets
// that of what was read.
func (v *volume) sealFile(ctx context.Context, disk Volume, u *uploader, file upFile) sealedFile {
	op := file.op
	out := sealedFile{op: op}
	f, err := disk.Read(file.path)
	if err != nil {
		out.err = err
		return out
	}
	defer f.Close()
	out.stat = f.Stat()
	v.d.mu.Lock()
	secret := v.region.Secret()
	var before tree.Node // the version that the region has, if it has one
	if n, ok := v.region.Tree.Node(op.Node); ok && n.Type == tree.File {
		before = n
	}
	v.d.mu.Unlock()
	old, err := v.manifest(ctx, before.Data)
	switch {
	case errors.Is(err, signet.ErrNotVerified), errors.Is(err, signet.ErrNotFound):
		// The version before this one cannot be had: this one is sealed whole. That the
		// other does not verify is said here: once this one is there, nobody may fetch it.
		_ = v.d.raise(v.bad(before, err), v.region.ID())
		old = nil
	case err != nil:
		out.err = err
		return out
	}
	if file.anew {
		old = nil
	}
	var oldPieces []seal.Piece
	if old != nil {
		oldPieces = old.Pieces
		if len(old.Pages) == 0 && len(oldPieces) == 1 {
			oldPieces[0].ID = secret.PlaintextIDOf(before.Hash) // not what its writer says it is
		}
	}
	sealing := &sealing{u: u, secret: secret}
	var sha [32]byte
	if size := out.stat.Size; len(oldPieces) == 0 && size >= seal.LongFile {
		sha, err = sealing.whole(ctx, f, size, v.newShowing(op, size))
	} else {
		sha, err = sealing.changes(stopAt{ctx, f}, size, oldPieces)
	}
	if changed := f.Unchanged(); changed != nil { // which is why it could not be read
		err = changed
	}
	if err != nil {
		out.err = err
		return out
	}
	if op.Hash != [32]byte{} && sha != op.Hash {
		out.err = errAgain // changed since it was hashed
		return out
	}
	out.op.Hash = sha
	reused := map[signet.ObjectID]bool{}
	for i := range oldPieces {
		reused[oldPieces[i].Object] = true
	}
	for i := range sealing.pieces {
		if id := sealing.pieces[i].Object; !reused[id] {
			out.objects = append(out.objects, id)
		}
	}
	c, _, err := secret.Describe(sha, sealing.pieces, old, func(ref seal.Ref, object []byte) error {
		out.objects = append(out.objects, ref.Object)
		return u.put(bytes.Clone(object), nil)
	})
	if err != nil {
		out.err = err
		return out
	}
	var w wire.Writer
	c.Append(&w)
	out.op.Content, out.op.PlaintextID, out.op.Size = w.B, c.PlaintextID, c.Size
	out.objects = unique(out.objects)
	return out
}

// sealing makes the pieces of one version.
type sealing struct {
	u      *uploader
	secret *seal.Secret
	pieces []seal.Piece
}

// whole seals a long file's first version: each piece is read, hashed and sealed on one of
// several goroutines, while it is in that core's cache. What the service has of it is
// shown meanwhile.
func (s *sealing) whole(ctx context.Context, f io.ReaderAt, size int64, to *showing) (hash [32]byte, err error) {
	done, err := s.u.v.d.Store.knowFew(s.u.v.region.ID())
	if err != nil {
		return hash, err
	}
	defer done()
	parts := seal.NewParts(size)
	s.pieces = make([]seal.Piece, parts.Count())
	err = eachPart(ctx, s.u.v.d.Hands, parts.Count(), func(i int) (err error) {
		data := getPiece(int(parts.Len(i)))
		defer putPiece(data)
		if n, err := f.ReadAt(data, parts.At(i)); n < len(data) {
			return fmt.Errorf("read: %w", err)
		}
		sum := sha256.Sum256(data)
		parts.Set(i, sum)
		s.pieces[i], err = s.u.piece(s.secret, data, sum, place{to, uint32(i)})
		return err
	})
	return parts.Sum(), err
}

// changes seals what a version has that the old one does not. New pieces are
// sealed beside the reading.
func (s *sealing) changes(r io.Reader, size int64, old []seal.Piece) (hash [32]byte, err error) {
	type slot struct {
		piece seal.Piece
		err   error
	}
	var slots []*slot
	var wg sync.WaitGroup
	limit := make(chan struct{}, min(3, s.u.v.d.Hands))
	hash, err = s.secret.Cut(r, size, old, func(c seal.Cut) error {
		w := &slot{}
		slots = append(slots, w)
		if c.Reuse >= 0 {
			w.piece = old[c.Reuse]
			return nil
		}
		data := getPiece(len(c.Data))
		copy(data, c.Data)
		limit <- struct{}{}
		wg.Go(func() {
			w.piece, w.err = s.u.piece(s.secret, data, sha256.Sum256(data), place{})
			putPiece(data)
			<-limit
		})
		return nil
	})
	wg.Wait()
	for _, w := range slots {
		err = cmp.Or(err, w.err)
		s.pieces = append(s.pieces, w.piece)
	}
	return hash, err
}

func unique(ids []signet.ObjectID) []signet.ObjectID {
	seen := make(map[signet.ObjectID]bool, len(ids))
	return slices.DeleteFunc(ids, func(i signet.ObjectID) bool {
		was := seen[i]
		seen[i] = true
		return was
	})
}

// manifest opens the manifest of an encoded content; nil for none.
func (v *volume) manifest(ctx context.Context, data []byte) (*seal.Manifest, error) {
	if len(data) == 0 {
		return nil, nil
	}
	c, err := seal.ParseContent(data)
	if err != nil {
		return nil, err
	}
	return c.Open(func(id signet.ObjectID) ([]byte, error) { return v.object(ctx, id) })
}

// object fetches one stored object.
func (v *volume) object(ctx context.Context, id signet.ObjectID) (b []byte, err error) {
	err = v.d.Service.Get(ctx, v.region.ID(), []signet.ObjectID{id}, func(_ signet.ObjectID, object []byte) error {
		b = bytes.Clone(object)
		return nil
	})
	if err == nil {
		n := int64(len(b))
		v.count(func(c *Counters) { c.BytesDown += n; c.ObjectsDown++ })
	}
	return b, err
}

var pieceBuffers sync.Pool

// getPiece is room for a piece of n bytes, and for sealing it where it lies.
func getPiece(n int) []byte {
	room := n + seal.Room(n)
	if b, ok := pieceBuffers.Get().(*[]byte); ok && cap(*b) >= room {
		return (*b)[:n]
	}
	return make([]byte, n, room)
}

func putPiece(b []byte) { pieceBuffers.Put(&b) }

// objectBuffers are for large objects: new memory for each costs more than
// sealing does.
var objectBuffers sync.Pool

// reusable is from which size on, in bytes, a buffer is worth keeping.
const reusable = 64 << 10

// getObject is room for the object of a piece of n bytes, and not much more: a
// group of many small objects must not hold as many large buffers.
func getObject(n int) []byte {
	if n = seal.ObjectSize(n); n < reusable {
		return nil
	}
	if b, ok := objectBuffers.Get().(*[]byte); ok && cap(*b) >= n && cap(*b) <= 2*n {
		return (*b)[:0]
	}
	return make([]byte, 0, n)
}

// putObjects takes objects back that nobody reads any more.
func putObjects(group [][]byte) {
	for _, o := range group {
		if cap(o) >= reusable {
			objectBuffers.Put(&o)
		}
	}
}

// An uploader stores objects in groups over several connections. Its memory is
// bounded, and so is what is on its way: who hands it more waits.
type uploader struct {
	v      *volume
	ctx    context.Context
	cancel context.CancelFunc
	slots  lane // one for each request at once
	brief  bool // what is on its way is bounded by what the line takes in a moment

	mu   sync.Mutex
	idle sync.Cond // sending fell
	away int64     // bytes on their way
	// sending counts groups from before their rows are written, so that who
	// finds such a row and asks for the object asks after it was sent. It does so
	// by rounds: a flush begins one, and waits for those before.
	sending map[int]int
	round   int
	failed  error
	group   [][]byte
	rows    []sealedRow
	shown   []toShow
	asked   []signet.ObjectID // sealed in an earlier run: whether they arrived is not known
	size    int
}

// groupSize is how many bytes go into one request at most.
const groupSize = 4 << 20

// connections is how many requests are worth making at once.
const connections = 4

// newUploader makes an uploader of so many slots. What a brief one has in hand is
// little enough that nobody waits long for it.
func (v *volume) newUploader(ctx context.Context, slots lane, brief bool) *uploader {
	ctx, cancel := context.WithCancel(ctx)
	u := &uploader{v: v, ctx: ctx, cancel: cancel, slots: slots, brief: brief, sending: map[int]int{}}
	u.idle.L = &u.mu
	return u
}

func (u *uploader) stop() {
	u.cancel()
	u.wait(math.MaxInt)
}

// wait returns when nothing is being sent that was handed over before a round,
// with what went wrong.
func (u *uploader) wait(round int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.before(round) {
		u.idle.Wait()
	}
	return u.failed
}

func (u *uploader) before(round int) bool {
	for r := range u.sending {
		if r < round {
			return true
		}
	}
	return false
}

// sent notes that a group of a round is stored, or why it is not.
func (u *uploader) sent(round int, bytes int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sending[round]--; u.sending[round] == 0 {
		delete(u.sending, round)
	}
	u.away -= bytes
	u.idle.Broadcast()
	if err != nil && u.failed == nil {
		u.failed = err
		u.cancel()
	}
}

// place is where in a file that is shown a piece is. Zero: in none.
type place struct {
	to    *showing
	index uint32
}

// toShow is a piece to be shown when it is stored.
type toShow struct {
	to *showing
	seal.Placed
}

// piece seals a piece, whose SHA-256 is sum, or finds that this device sealed
// its bytes before.
func (u *uploader) piece(secret *seal.Secret, data []byte, sum [32]byte, at place) (p seal.Piece, err error) {
	p.Sum, p.ID = secret.Sum(data), secret.PlaintextIDOf(sum)
	ref, ok, err := u.v.d.Store.sealedAs(u.v.region.ID(), p.ID)
	if err != nil {
		return p, err
	}
	if ok && int(ref.Size) == len(data) {
		p.Ref = ref
		u.mu.Lock()
		u.asked = append(u.asked, ref.Object)
		u.mu.Unlock()
		return p, nil
	}
	object, ref, err := seal.SealInPlace(getObject(len(data)), data)
	if err != nil {
		return p, err
	}
	p.Ref = ref
	u.mu.Lock()
	u.rows = append(u.rows, sealedRow{p.ID, ref})
	u.mu.Unlock()
	if at.to == nil {
		return p, u.put(object, nil)
	}
	return p, u.put(object, &toShow{at.to, seal.Placed{Index: at.index, Ref: ref}})
}

// put hands over an object, which the uploader keeps.
func (u *uploader) put(object []byte, show *toShow) error {
	u.mu.Lock()
	u.group = append(u.group, object)
	if show != nil {
		u.shown = append(u.shown, *show)
	}
	u.size += len(object)
	if u.size < u.v.d.groupOf(line.Up) {
		u.mu.Unlock()
		return nil
	}
	b := u.take()
	u.mu.Unlock()
	return u.send(b)
}

// A bundle is what one request stores.
type bundle struct {
	group [][]byte
	rows  []sealedRow
	shown []toShow
	round int
}

// take takes what was gathered for a request. It counts as being sent from here
// on. With the lock held.
func (u *uploader) take() bundle {
	b := bundle{u.group, u.rows, u.shown, u.round}
	u.group, u.rows, u.shown, u.size = nil, nil, nil, 0
	u.sending[u.round]++
	return b
}

// send stores a group. That its pieces are sealed as these objects is written
// down first: after a crash the next run asks whether they arrived.
func (u *uploader) send(b bundle) error {
	group, round, size := b.group, b.round, int64(0)
	for _, o := range group {
		size += int64(len(o))
	}
	u.mu.Lock()
	for u.brief && u.away > 0 && u.away+size > u.v.d.within(line.Up, 0.75, 512<<10, 64<<20) {
		u.idle.Wait()
	}
	u.away += size
	u.mu.Unlock()
	if err := u.v.d.Store.noteSealed(u.v.region.ID(), b.rows); err != nil {
		u.sent(round, size, err)
		return err
	}
	err := u.ctx.Err() // where a slot is free as well, which of the two a select sees is chance
	if err == nil {
		select {
		case u.slots <- struct{}{}:
		case <-u.ctx.Done():
			err = u.ctx.Err()
		}
	}
	if err != nil {
		u.sent(round, size, err)
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.failed // what went wrong first
	}
	go func() {
		err := u.ctx.Err()
		if err == nil {
			u.v.d.Kept.keep(u.v.region.ID(), group)
			err = u.v.d.Service.Put(u.ctx, u.v.region.ID(), group)
		}
		<-u.slots
		if err == nil {
			u.v.count(func(c *Counters) { c.BytesUp += size; c.ObjectsUp += int64(len(group)) })
			putObjects(group)
			u.show(b.shown)
		}
		u.sent(round, size, err)
	}()
	return nil
}

// show shows what was stored, file by file.
func (u *uploader) show(list []toShow) {
	for len(list) > 0 {
		to, pieces := list[0].to, []seal.Placed(nil)
		list = slices.DeleteFunc(list, func(s toShow) bool {
			if s.to == to {
				pieces = append(pieces, s.Placed)
			}
			return s.to == to
		})
		to.show(u.ctx, pieces)
	}
}

// flush returns when everything handed over before is stored. Others may go on
// handing over.
func (u *uploader) flush() error {
	u.mu.Lock()
	asked := u.asked
	u.asked = nil
	var b bundle
	some := len(u.group) > 0 || len(u.rows) > 0
	if some {
		b = u.take()
	}
	u.round++
	round := u.round
	u.mu.Unlock()
	if some {
		if err := u.send(b); err != nil {
			return err
		}
	}
	if err := u.wait(round); err != nil {
		return err
	}
	if len(asked) == 0 {
		return nil
	}
	missing, err := u.v.d.Service.Have(u.ctx, u.v.region.ID(), unique(asked))
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := u.v.d.Store.forgetSealed(u.v.region.ID(), missing); err != nil {
			return err
		}
		return errAgain
	}
	return nil
}
