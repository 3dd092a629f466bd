package blob

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"signet"
	"signet/internal/durable"
	"signet/internal/filelock"
)

// ErrInUse says that packs stay, because somebody reads them as they were.
var ErrInUse = errors.New("packs are being read by a backup or a check")

// lockName is a file beside the packs' folders. Who reads packs by an index of
// an earlier moment locks it, and shares the lock; who removes packs has it alone.
const lockName = "readers"

// holdTime is for how long Hold waits for packs to be removed.
const holdTime = time.Minute

// Hold keeps every pack of the store in dir until release is called, also those
// that are dead. Call it before the index is read.
func Hold(ctx context.Context, dir string) (release func(), err error) {
	f, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(holdTime); ; {
		if err = filelock.Shared(f); !errors.Is(err, filelock.ErrHeld) || time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("hold packs: %w", err)
	}
	return func() { f.Close() }, nil
}

func openLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, "packs"), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "packs", lockName), os.O_RDWR|os.O_CREATE, 0o600)
}

// Packs lists the packs that are on disk, in rising order.
func (d *Disk) Packs() ([]uint32, error) { return d.list() }

// Left reports whether a pack was there when the store was opened, and takes no
// objects. One that is left and that the index does not know is nobody's. Of those
// that were made since nothing can be said: objects may be on their way into them.
func (d *Disk) Left(pack uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.room {
		if r.pack == pack {
			return false
		}
	}
	for l := range d.lanes {
		if l.f != nil && l.pack == pack {
			return false
		}
	}
	return pack < d.first
}

// Seal ends appending to a pack, after those who do. What was put in it before is
// durable after the next Sync.
func (d *Disk) Seal(pack uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range d.room {
		if r.pack == pack {
			d.room = append(d.room[:i], d.room[i+1:]...)
			return
		}
	}
	for {
		busy := false
		for l := range d.lanes {
			if l.f == nil || l.pack != pack {
				continue
			}
			if busy = !d.isIdle(l); busy {
				break
			}
			if l.end > l.synced && !l.bad {
				d.retire(l)
			} else {
				l.f.Close()
				*l = lane{}
			}
		}
		if !busy || d.broken != nil {
			return
		}
		d.free.Wait()
	}
}

func (d *Disk) isIdle(l *lane) bool {
	for _, x := range d.idle {
		if x == l {
			return true
		}
	}
	return false
}

// NextPack takes a number for a pack that Compact makes.
func (d *Disk) NextPack() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	return d.next - 1
}

// Adopt lets objects be appended to a pack that Compact made and the index knows.
func (d *Disk) Adopt(m Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.End < packLimit {
		d.room = append(d.room, room{m.Pack, m.End})
	}
}

// Remove removes sealed packs in which nothing lies any more, durably, and returns
// those that are gone, those that were gone before among them. ErrInUse where
// somebody holds the packs. Who reads one goes on, where the system allows it;
// elsewhere the pack stays this time, which is no error.
func (d *Disk) Remove(packs []uint32) (gone []uint32, err error) {
	f, err := openLock(d.dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := filelock.Exclusive(f); errors.Is(err, filelock.ErrHeld) {
		return nil, ErrInUse
	} else if err != nil {
		return nil, err
	}
	folders := map[string]bool{}
	for _, p := range packs {
		d.readers.forget(p)
		if err := os.Remove(path(d.dir, p)); err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // Windows: somebody has it open
		}
		gone = append(gone, p)
		folders[filepath.Dir(path(d.dir, p))] = true
	}
	for folder := range folders {
		// Before the index forgets a pack: one that came back after a loss of
		// power would be taken for one that the index has not seen yet.
		if err := durable.SyncDir(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return gone, nil
}

// A Compacted says what Compact did.
type Compacted struct {
	Mark    Mark            // of the new pack; without an end where nothing was live, and none was made
	Objects int64           // copied
	Damaged map[uint32]bool // packs that are not whole up to their marks, or hold a live object that is not: nothing was copied of them
}

// Compact copies what is live of sealed packs to a new one of the number into, and
// makes it durable; the index does not know of it yet. live says of each record
// whether its object is. A record's bytes are checked against its name while they
// are copied. After an error there is no new pack.
func (d *Disk) Compact(ctx context.Context, into uint32, from []Mark, live func(Found) (bool, error)) (out Compacted, err error) {
	w := &packWriter{path: path(d.dir, into), end: headerSize}
	defer func() {
		if err != nil {
			w.discard()
		}
	}()
	out.Damaged = map[uint32]bool{}
	for _, m := range from {
		start, objects := w.end, out.Objects
		damaged, err := d.copyLive(ctx, w, m, func(f Found) (bool, error) {
			ok, err := live(f)
			if ok {
				out.Objects++
			}
			return ok, err
		})
		if err != nil {
			return out, fmt.Errorf("pack %08x: compact: %w", m.Pack, err)
		}
		if damaged {
			out.Damaged[m.Pack] = true
			out.Objects = objects
			w.back(start)
		}
	}
	if w.f == nil || w.end == headerSize {
		w.discard()
		return out, nil
	}
	out.Mark = Mark{into, w.end}
	return out, w.finish()
}

// copyLive copies the live records of a pack, in order.
func (d *Disk) copyLive(ctx context.Context, w *packWriter, m Mark, live func(Found) (bool, error)) (damaged bool, err error) {
	f, err := os.Open(path(d.dir, m.Pack))
	if errors.Is(err, os.ErrNotExist) {
		return m.End > headerSize, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	win := &window{f: f}
	end, err := walk(win, m.Pack, func(x Found) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		ok, err := live(x)
		if err != nil || !ok {
			return err
		}
		record, err := win.at(int64(x.Place.Offset)-recordSize, int(x.Place.Record()))
		if err != nil || sha256.Sum256(record[recordSize:]) != x.ID {
			return ErrTorn
		}
		return w.write(record)
	})
	if errors.Is(err, ErrTorn) {
		return true, nil
	}
	return end < m.End, err
}

// Records calls each for every record of a pack, in order, without looking at the
// objects' bytes.
func (d *Disk) Records(pack uint32, each func(Found) error) error {
	f, err := os.Open(path(d.dir, pack))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = walk(&window{f: f}, pack, each)
	return err
}

// walk calls each for every record's header and returns where the last one ends.
func walk(win *window, pack uint32, each func(Found) error) (end int64, err error) {
	info, err := win.f.Stat()
	if err != nil {
		return 0, err
	}
	for end = headerSize; end+recordSize <= info.Size(); {
		h, err := win.at(end, recordSize)
		if err != nil {
			return end, err
		}
		n := int64(binary.BigEndian.Uint32(h[68:]))
		if string(h[:4]) != recordMagic || n > MaxObject || end+recordSize+n > info.Size() {
			return end, nil
		}
		x := Found{Region: signet.RegionID(h[4:36]), ID: signet.ObjectID(h[36:68]),
			Place: Place{Pack: pack, Offset: uint32(end + recordSize), Length: uint32(n)}}
		if err := each(x); err != nil {
			return end, err
		}
		end += recordSize + n
	}
	return end, nil
}

// windowSize is what is read at once, so that small records cost few reads and the
// dead bytes of large ones are not read.
const windowSize = 32 << 10

// A window reads a file here and there, mostly forward.
type window struct {
	f     *os.File
	start int64
	buf   []byte
}

// at returns n bytes at an offset, good until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		want := max(n, windowSize)
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		got, err := w.f.ReadAt(w.buf[:want], off)
		w.start, w.buf = off, w.buf[:got]
		if got < n {
			return nil, err
		}
	}
	i := int(off - w.start)
	return w.buf[i : i+n], nil
}

// packWriter writes a new pack. Its file is made with the first record.
type packWriter struct {
	path string
	f    *os.File
	buf  []byte // goes to end - len(buf)
	end  int64
	late int64 // written since the system was asked to write out
}

// What is written at once; and after how many bytes the system begins to write out,
// so that the sync at the end does not hold up those of commits for long.
const (
	packBuffer = 1 << 20
	packBegin  = 16 << 20
)

func (w *packWriter) write(record []byte) error {
	if w.f == nil {
		if err := w.make(); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, record...)
	w.end += int64(len(record))
	if len(w.buf) < packBuffer {
		return nil
	}
	return w.flush()
}

// make makes the file, and its name durable, as Disk.begin does.
func (w *packWriter) make() error {
	folder := filepath.Dir(w.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(folder)); err != nil {
		return err
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w.f = f
	if _, err := f.WriteString(packMagic); err != nil {
		return err
	}
	return durable.SyncDir(folder)
}

func (w *packWriter) flush() error {
	_, err := w.f.WriteAt(w.buf, w.end-int64(len(w.buf)))
	if w.late += int64(len(w.buf)); w.late >= packBegin {
		durable.Begin(w.f)
		w.late = 0
	}
	w.buf = w.buf[:0]
	return err
}

// back forgets what was written from an offset on.
func (w *packWriter) back(to int64) {
	if start := w.end - int64(len(w.buf)); to >= start {
		w.buf = w.buf[:to-start]
	} else {
		w.buf = w.buf[:0]
	}
	w.end = to
}

func (w *packWriter) finish() error {
	err := w.flush()
	if err == nil {
		err = w.f.Truncate(w.end)
	}
	if err == nil {
		err = durable.SyncFile(w.f)
	}
	if err != nil {
		return err
	}
	return w.f.Close()
}

func (w *packWriter) discard() {
	if w.f != nil {
		w.f.Close()
		os.Remove(w.path)
		w.f = nil
	}
}
