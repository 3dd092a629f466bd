package blob

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"signet"
	"signet/internal/durable"
)

// packLimit is the length in bytes past which no record begins in a pack.
const packLimit = 256 << 20

// A Disk is a Store in a folder: packs/xx/xxxxxxxx.pack.
//
// It writes to a few packs at once, one writer each, so that a record is torn
// only at the end of a pack. An idle store uses one of them, so that a commit
// syncs one file.
type Disk struct {
	dir string

	mu      sync.Mutex
	idle    []*lane        // the one used last is on top
	free    *sync.Cond     // a lane came back to idle
	lanes   map[*lane]bool // all
	retired []*lane        // full or sealed, not yet synced
	room    []room         // packs that are not full, for lanes that want one
	next    uint32         // number of the next pack
	first   uint32         // number of the first pack since Open
	broken  error          // closed

	syncing sync.Mutex
	readers readers
}

// A lane appends to one pack at a time. Whoever took it from idle owns f, pack
// and tail; end and synced are guarded by Disk.mu.
type lane struct {
	f      *os.File // nil: makes a pack at its next write
	pack   uint32
	end    int64 // whole records end here
	synced int64 // durable up to here
	bad    bool  // a sync failed: never written again
}

// A room is a pack that is not full, durable up to end, which no lane has.
type room struct {
	pack uint32
	end  int64
}

// Put implements Store.
func (d *Disk) Put(region signet.RegionID, objects []Object) ([]Place, error) {
	l, err := d.take()
	if err != nil {
		return nil, err
	}
	places := make([]Place, 0, len(objects))
	for len(objects) > 0 {
		if l.f == nil {
			if err := d.begin(l); err != nil {
				d.give(l, err)
				return nil, err
			}
		}
		n, end, err := l.append(region, objects, &places)
		if err != nil {
			// The bytes written so far lie past end: the next writer of a
			// lane in order would overwrite them, but a failed write says
			// little about the file, so a new pack is begun instead.
			d.give(l, err)
			return nil, fmt.Errorf("pack %08x: write: %w", l.pack, err)
		}
		objects = objects[n:]
		d.mu.Lock()
		l.end = end
		bad := l.bad
		if end >= packLimit && !bad {
			d.retire(l)
		}
		d.mu.Unlock()
		if bad {
			return nil, d.give(l, nil)
		}
	}
	if err := d.give(l, nil); err != nil {
		return nil, err
	}
	return places, nil
}

// take waits for a lane that nobody writes to.
func (d *Disk) take() (*lane, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.idle) == 0 && d.broken == nil {
		d.free.Wait()
	}
	if d.broken != nil {
		return nil, d.broken
	}
	l := d.idle[len(d.idle)-1]
	d.idle = d.idle[:len(d.idle)-1]
	if l.bad { // its pack was given up after a failed sync
		l.f.Close()
		*l = lane{}
	}
	return l, nil
}

// give returns a lane. After a failed write its pack is given up at its last
// whole record; if a sync failed while the lane was out, what it wrote is lost
// and the error says so.
func (d *Disk) give(l *lane, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case l.bad:
		l.f.Truncate(l.synced)
		if err == nil {
			err = fmt.Errorf("pack %08x: sync failed: %w", l.pack, signet.ErrUnavailable)
		}
	case err != nil && l.f != nil:
		l.f.Truncate(l.end) // best effort: a torn end is cut at the next start too
		d.retire(l)
	}
	d.idle = append(d.idle, l)
	d.free.Broadcast() // Seal waits too
	return err
}

// retire moves a lane's pack to those that the next Sync makes durable and
// closes. Disk.mu is held.
func (d *Disk) retire(l *lane) {
	old := *l
	d.retired = append(d.retired, &old)
	*l = lane{}
}

// begin takes a pack with room, or makes the next one. Its name is made durable
// before anything in it can be, because Sync covers the file alone.
func (d *Disk) begin(l *lane) error {
	if d.goOn(l) {
		return nil
	}
	pack := d.NextPack()
	p := path(d.dir, pack)
	folder := filepath.Dir(p)
	if err := os.Mkdir(folder, 0o700); err == nil {
		if err := durable.SyncDir(filepath.Dir(folder)); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return err
	}
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(packMagic); err == nil {
		err = durable.SyncDir(folder)
	}
	if err != nil {
		f.Close()
		os.Remove(p)
		return err
	}
	d.mu.Lock()
	l.f, l.pack, l.end, l.synced = f, pack, headerSize, 0
	d.mu.Unlock()
	return nil
}

// goOn gives a lane a pack that is not full, if there is one.
func (d *Disk) goOn(l *lane) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.room) > 0 {
		r := d.room[len(d.room)-1]
		d.room = d.room[:len(d.room)-1]
		f, err := os.OpenFile(path(d.dir, r.pack), os.O_RDWR, 0)
		if err != nil {
			continue // a new pack serves as well
		}
		l.f, l.pack, l.end, l.synced = f, r.pack, r.end, r.end
		return true
	}
	return false
}

// Small records are gathered to one write of at most gather bytes; an object
// of direct bytes or more is written from where it is.
const (
	gather = 256 << 10
	direct = 64 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, gather+direct+recordSize); return &b }}

// append writes as many objects as the pack takes, at least one, and returns
// their number and where the last one ends.
func (l *lane) append(region signet.RegionID, objects []Object, places *[]Place) (n int, end int64, err error) {
	bp := buffers.Get().(*[]byte)
	defer buffers.Put(bp)
	buf, at := (*bp)[:0], l.end // buf goes to at
	flush := func() error {
		_, err := l.f.WriteAt(buf, at)
		at += int64(len(buf))
		buf = buf[:0]
		return err
	}
	first := len(*places)
	for _, o := range objects {
		pos := at + int64(len(buf))
		if pos >= packLimit {
			break
		}
		var h [recordSize]byte
		putHeader(h[:], region, o.ID, len(o.Bytes))
		buf = append(buf, h[:]...)
		if len(o.Bytes) < direct {
			buf = append(buf, o.Bytes...)
		}
		if len(o.Bytes) >= direct || len(buf) >= gather {
			if err := flush(); err != nil {
				*places = (*places)[:first]
				return 0, 0, err
			}
		}
		if len(o.Bytes) >= direct {
			if _, err := l.f.WriteAt(o.Bytes, at); err != nil {
				*places = (*places)[:first]
				return 0, 0, err
			}
			at += int64(len(o.Bytes))
		}
		*places = append(*places, Place{Pack: l.pack, Offset: uint32(pos + recordSize), Length: uint32(len(o.Bytes))})
		n++
	}
	if len(buf) > 0 {
		if err := flush(); err != nil {
			*places = (*places)[:first]
			return 0, 0, err
		}
	}
	return n, at, nil
}

// Sync implements Store. Writers go on meanwhile.
func (d *Disk) Sync() ([]Mark, error) {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	type job struct {
		l    *lane
		f    *os.File
		mark Mark
		done bool // retired: closed after
	}
	var jobs []job
	d.mu.Lock()
	for _, l := range d.retired {
		jobs = append(jobs, job{l, l.f, Mark{l.pack, l.end}, true})
	}
	d.retired = nil
	for l := range d.lanes {
		if l.f != nil && l.end > l.synced && !l.bad {
			jobs = append(jobs, job{l, l.f, Mark{l.pack, l.end}, false})
		}
	}
	d.mu.Unlock()
	if len(jobs) > 1 {
		for _, j := range jobs { // the disk takes all at once; they are waited for one by one
			durable.Begin(j.f)
		}
	}
	var marks []Mark
	var failed error
	for _, j := range jobs {
		err := durable.SyncData(j.f)
		if err != nil && j.done {
			j.f.Truncate(max(j.l.synced, headerSize))
		}
		if j.done {
			j.f.Close()
		}
		if err != nil {
			failed = fmt.Errorf("pack %08x: sync: %w", j.mark.Pack, err)
			continue
		}
		d.mu.Lock()
		if j.l.pack == j.mark.Pack {
			j.l.synced = j.mark.End
		}
		d.mu.Unlock()
		marks = append(marks, j.mark)
	}
	if failed != nil {
		d.giveUp()
		return nil, failed
	}
	return marks, nil
}

// giveUp begins new packs everywhere: after a failed sync the system may have
// dropped what it could not write, and a second sync would claim success. What
// is not durable is cut off, lest a later start find it in the cache alone and
// take it for stored.
func (d *Disk) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.lanes {
		if l.f != nil && !l.bad {
			l.bad = true
			l.f.Truncate(max(l.synced, headerSize))
		}
	}
}

// Close implements Store.
func (d *Disk) Close() error {
	_, err := d.Sync()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = fmt.Errorf("store is closed: %w", signet.ErrUnavailable)
	}
	d.free.Broadcast()
	for l := range d.lanes {
		if l.f != nil {
			l.f.Close()
		}
	}
	d.lanes = nil
	d.readers.close()
	return err
}

// Get implements Store.
func (d *Disk) Get(p Place, dst []byte) ([]byte, error) {
	f, release, err := d.readers.open(p.Pack)
	if err != nil {
		return dst, err
	}
	defer release()
	n := len(dst)
	dst = slices.Grow(dst, int(p.Length))[:n+int(p.Length)]
	if _, err := f.ReadAt(dst[n:], int64(p.Offset)); err != nil {
		if err == io.EOF {
			err = signet.ErrNotFound
		}
		return dst[:n], fmt.Errorf("pack %08x byte %d: %w", p.Pack, p.Offset, err)
	}
	return dst, nil
}

// Known fails with ErrNewer where a pack is of a format that this program does
// not know: nothing can be said of its objects.
func (d *Disk) Known() error {
	packs, err := d.list()
	for _, p := range packs {
		f, e := os.Open(path(d.dir, p))
		if e != nil {
			continue
		}
		if e := readFormat(f); errors.Is(e, ErrNewer) {
			err = e
		}
		f.Close()
	}
	return err
}

// Scan calls each for every record of every pack, with bad set where its bytes
// do not hash to its name. It changes nothing; check --repair rebuilds the
// index from it.
func (d *Disk) Scan(each func(x Found, bad error) error) error {
	packs, err := d.list()
	if err != nil {
		return err
	}
	for _, p := range packs {
		f, err := os.Open(path(d.dir, p))
		if err != nil {
			return err
		}
		_, err = scan(f, p, headerSize, each)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
