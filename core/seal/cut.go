package seal

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sort"
)

// Piece sizes in bytes, and how many pieces a file should have at most.
const (
	minPiece   = 128 << 10
	onePiece   = 256 << 10 // a file below this is one piece
	manyPieces = 2048

	readAtOnce = 256 << 10
)

// ErrResized is returned when a file does not have the length that it was said
// to have: it changed while it was read.
var ErrResized = errors.New("file changed its length while it was read")

// PieceSize is the nominal length in bytes of the pieces of a file of size
// bytes: the file itself below 256 KiB, else the smallest power of two from
// 128 KiB to 4 MiB that makes at most 2,048 pieces.
func PieceSize(size int64) int {
	if size < onePiece {
		return int(size)
	}
	n := minPiece
	for n < MaxPiece && int64(n)*manyPieces < size {
		n *= 2
	}
	return n
}

// A Piece is what a manifest keeps of one piece.
type Piece struct {
	Ref
	Sum uint64   // rolling sum (Secret.Sum)
	ID  [32]byte // keyed id (Secret.PlaintextID)
}

// A Cut is one piece of a new version.
type Cut struct {
	Reuse int    // the old piece that has these bytes, by index; -1 where none has
	Data  []byte // valid until emit returns
}

// Cut reads the size bytes of a new version and calls emit with its pieces in
// order: pieces of the old version where they are found again, new ones
// between. It also returns the file hash. old is empty for a first
// version. What it reads at once is bounded: four of the longest pieces or the
// file, whichever is less.
//
// Sums and ids of new pieces are not computed here but by whoever seals them
// (Sum, PlaintextID and SealPiece, all safe for concurrent use), so that a caller
// can copy Data to workers and go on reading.
func (s *Secret) Cut(r io.Reader, size int64, old []Piece, emit func(Cut) error) (file [32]byte, err error) {
	if size < 0 {
		return file, fmt.Errorf("cut: size %d", size)
	}
	c := &cutter{secret: s, r: r, size: size, old: old, emit: emit, hash: NewFileHasher(size), nominal: PieceSize(size), next: -1}
	if size < onePiece {
		err = c.single()
	} else {
		c.prepare()
		err = c.run()
	}
	if err != nil {
		return file, err
	}
	// One byte more than promised means that what was emitted is no version
	// of this file.
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n != 0 {
		return file, ErrResized
	} else if err != io.EOF {
		return file, err
	}
	return c.hash.Sum(), nil
}

// A cutter's buffer holds the file from base on; lit ≤ cur ≤ len(buf).
type cutter struct {
	secret *Secret
	r      io.Reader
	size   int64
	emit   func(Cut) error
	hash   *FileHasher

	buf  []byte
	base int64 // where in the file buf begins
	lit  int   // first byte not emitted yet
	cur  int   // where the next old piece is looked for

	nominal int
	old     []Piece
	start   []int64        // where each old piece began
	odd     []int          // old pieces whose length is not window, which rolling cannot find
	window  int            // the length that rolling finds; 0: none
	bySum   map[uint64]int // old pieces of window's length
	roller  *roller
	count   int64 // pieces emitted
	failed  int   // rolled sums that were right where the id was wrong

	next  int   // the old piece after the one that was found last; -1: none
	shift int64 // how far the one that was found last has moved
	final int64 // how far the end has moved
	sum   uint64
	valid bool // sum is that of the window at cur
}

// maxFailed bounds what a member who forged sums in a manifest can cost others.
const maxFailed = 16

// single emits a short file as one piece.
func (c *cutter) single() error {
	if c.size == 0 {
		return nil
	}
	c.buf = make([]byte, 0, c.size)
	if err := c.ensure(int(c.size)); err != nil {
		return err
	}
	reuse := -1
	if len(c.old) == 1 && int64(c.old[0].Size) == c.size && c.old[0].ID == c.secret.PlaintextID(c.buf) {
		reuse = 0
	}
	return c.emit(Cut{Reuse: reuse, Data: c.buf})
}

// prepare decides whether the old pieces are any use, and indexes them.
func (c *cutter) prepare() {
	longest := c.nominal
	var was int64
	bytes := map[int]int64{}
	c.start = make([]int64, len(c.old))
	for i, p := range c.old {
		n := int(p.Size)
		if n <= 0 || n > MaxPiece {
			c.old = nil // no manifest that was opened here says so
			break
		}
		c.start[i] = was
		was += int64(n)
		longest = max(longest, n)
		if n >= minPiece && bits.OnesCount(uint(n)) == 1 {
			bytes[n] += int64(n)
		}
	}
	// A short file's only piece has no sum; and a file whose pieces average
	// under a quarter of the nominal length is cut afresh, so that edit after
	// edit does not grind it to dust.
	if len(c.old) < 2 || was/int64(len(c.old)) < int64(c.nominal/4) {
		c.old, longest = nil, c.nominal
	}
	c.final = c.size - was
	c.index(bytes)
	c.buf = make([]byte, 0, min(c.size, 2*int64(longest+c.nominal)))
}

// index finds the window: the power of two that most old bytes are cut by, of
// those that do not make too many pieces.
func (c *cutter) index(bytes map[int]int64) {
	if len(c.old) == 0 {
		return
	}
	for n := max(minPiece, c.nominal/4); n <= MaxPiece; n *= 2 {
		if bytes[n] > 0 && bytes[n] >= bytes[c.window] {
			c.window = n
		}
	}
	c.bySum = map[uint64]int{}
	for i, p := range c.old {
		if int(p.Size) != c.window {
			c.odd = append(c.odd, i)
		} else if _, ok := c.bySum[p.Sum]; !ok {
			c.bySum[p.Sum] = i
		}
	}
	if c.window > 0 {
		c.roller = c.secret.rolling().roller(c.window, c.bySum)
	}
	c.next = 0
}

func (c *cutter) run() error {
	for c.at() < c.size {
		i, err := c.here()
		if err == nil && i >= 0 {
			err = c.reuse(i)
		} else if err == nil {
			err = c.advance()
		}
		if err != nil {
			return err
		}
	}
	return c.literal(0)
}

// at is where in the file cur is.
func (c *cutter) at() int64 { return c.base + int64(c.cur) }

// here looks for an old piece that begins at cur: the one that followed the
// last one found, those that began here before what lies in front was changed
// or before what lies behind was, and any of the window's length. -1: none.
func (c *cutter) here() (int, error) {
	if len(c.old) == 0 {
		return -1, nil
	}
	tried := -1
	if c.lit == c.cur && c.next >= 0 && c.next < len(c.old) {
		tried = c.next
		if ok, err := c.is(c.next); ok || err != nil {
			return c.next, err
		}
	}
	for _, shift := range [2]int64{c.shift, c.final} {
		off := c.at() - shift
		i := sort.Search(len(c.start), func(i int) bool { return c.start[i] >= off })
		if i == len(c.start) || c.start[i] != off || i == tried {
			continue
		}
		tried = i
		if ok, err := c.is(i); ok || err != nil {
			return i, err
		}
	}
	ok, err := c.roll0()
	if !ok || err != nil {
		return -1, err
	}
	return c.rolled()
}

// is reports whether old piece i begins at cur.
func (c *cutter) is(i int) (bool, error) {
	p := &c.old[i]
	n := int(p.Size)
	if c.at()+int64(n) > c.size {
		return false, nil
	}
	// Bytes that repeat could bring short pieces back over and over, until
	// there are more than a manifest may have.
	if n != c.window && c.count > maxPieces(c.size)/2 {
		return false, nil
	}
	if err := c.ensure(n); err != nil {
		return false, err
	}
	b := c.buf[c.cur : c.cur+n]
	if n == c.window {
		if ok, err := c.roll0(); !ok || err != nil || c.sum != p.Sum {
			return false, err
		}
	} else if c.secret.rolling().sum(b) != p.Sum {
		return false, nil
	}
	return p.ID == c.secret.PlaintextID(b), nil
}

// roll0 makes sum valid, if a window fits between cur and the end.
func (c *cutter) roll0() (bool, error) {
	if c.window == 0 || c.failed >= maxFailed || c.at()+int64(c.window) > c.size {
		return false, nil
	}
	if !c.valid {
		if err := c.ensure(c.window); err != nil {
			return false, err
		}
		c.sum, c.valid = c.roller.sum(c.buf[c.cur:c.cur+c.window]), true
	}
	return true, nil
}

// rolled is the old piece of the window's length at cur, whose sum is valid.
func (c *cutter) rolled() (int, error) {
	i, ok := c.bySum[c.sum]
	if !ok {
		return -1, nil
	}
	if c.old[i].ID != c.secret.PlaintextID(c.buf[c.cur:c.cur+c.window]) {
		c.failed++
		return -1, nil
	}
	return i, nil
}

// reuse emits what lies before cur, and old piece i at cur.
func (c *cutter) reuse(i int) error {
	if err := c.literal(0); err != nil {
		return err
	}
	n := int(c.old[i].Size)
	c.next, c.shift = i+1, c.at()-c.start[i]
	c.lose()
	c.cur += n
	c.lit = c.cur
	c.count++
	return c.emit(Cut{Reuse: i, Data: c.buf[c.cur-n : c.cur]})
}

// advance moves cur by at least one byte: to where an old piece may begin, or
// at most to where a new piece is full.
func (c *cutter) advance() error {
	stop := min(c.base+int64(c.lit+c.nominal), c.size)
	if s := c.stop(); s < stop {
		stop = s
	}
	ok, err := c.roll0()
	if err != nil {
		return err
	}
	if last := c.size - int64(c.window); ok && c.at() < last {
		n := int(min(stop, last) - c.at())
		more := min(int64(c.window+n+2*wordSize), c.size-c.at()) // rolling likes to look ahead
		if err := c.ensure(int(more)); err != nil {
			return err
		}
		c.roll(n)
	} else {
		n := int(stop - c.at())
		if err := c.ensure(n); err != nil {
			return err
		}
		c.cur += n
		c.lose()
	}
	return c.literal(c.nominal)
}

// roll moves cur by n bytes, or less where the window there has the sum of an
// old piece.
func (c *cutter) roll(n int) {
	for n > 0 {
		sum, m := c.roller.roll(c.buf[c.cur:], n)
		c.sum = sum
		c.cur += m
		n -= m
		if _, ok := c.bySum[sum]; ok {
			return
		}
	}
}

// lose forgets the sum: cur is where no window was rolled to.
func (c *cutter) lose() {
	c.valid = false
	if c.roller != nil {
		c.roller.jump()
	}
}

// stop is the next place after cur where rolling is not enough, because an old
// piece of another length would begin there.
func (c *cutter) stop() int64 {
	best := c.size
	for _, shift := range [2]int64{c.shift, c.final} {
		off := c.at() - shift
		i := sort.Search(len(c.odd), func(i int) bool { return c.start[c.odd[i]] > off })
		if i < len(c.odd) {
			best = min(best, c.start[c.odd[i]]+shift)
		}
	}
	return best
}

// literal emits what lies between lit and cur as new pieces: all of it, or
// where least is not 0 only if it is that long.
func (c *cutter) literal(least int) error {
	for c.lit < c.cur && c.cur-c.lit >= least {
		n := min(c.nominal, c.cur-c.lit)
		c.lit += n
		c.count++
		if err := c.emit(Cut{Reuse: -1, Data: c.buf[c.lit-n : c.lit]}); err != nil {
			return err
		}
	}
	return nil
}

// ensure reads until n bytes lie behind cur.
func (c *cutter) ensure(n int) error {
	if len(c.buf)-c.cur >= n {
		return nil
	}
	if c.cur+n > cap(c.buf) {
		m := copy(c.buf[:cap(c.buf)], c.buf[c.lit:])
		c.buf = c.buf[:m]
		c.base += int64(c.lit)
		c.cur -= c.lit
		c.lit = 0
	}
	// Some more than asked for is read where there is room, but never beyond
	// the end; and little enough at once that hashing finds it in the cache.
	end := int(min(int64(cap(c.buf)), c.size-c.base))
	for len(c.buf)-c.cur < n {
		m, err := c.r.Read(c.buf[len(c.buf):min(end, len(c.buf)+readAtOnce)])
		c.hash.Write(c.buf[len(c.buf) : len(c.buf)+m])
		c.buf = c.buf[:len(c.buf)+m]
		if len(c.buf)-c.cur >= n {
			break
		}
		if err == io.EOF {
			return ErrResized
		}
		if err != nil {
			return err
		}
	}
	return nil
}
