package engine

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"signet"
)

// Kept is what a device keeps of the objects that it sealed, as they were sent:
// a service that was restored gets back from it what it lost. A sealed object
// cannot be made again from the file, because its key and nonce are random.
//
// It is a few files that are appended to, the oldest of which goes when they are
// too many or too old. Nothing rests on it but that: it is never synced, and a
// write that fails ends it for this run. The file format:
//
//	"signet kept 1\n", then: region (32) ‖ object id (32) ‖ length u32 ‖ bytes
//
// A nil Kept keeps nothing.
type Kept struct {
	dir  string
	most int64 // bytes in all
	now  func() time.Time

	mu   sync.Mutex
	f    *os.File
	size int64 // of f
	next int
	off  bool // a write failed
}

const (
	keptMagic  = "signet kept 1\n"
	keptHeader = 32 + 32 + 4
	keptFiles  = 16
	keptFor    = 30 * 24 * time.Hour
	keptObject = 16 << 20 // more is no object

	// keptLargest is the longest object that is kept, in bytes: one of a file
	// below 256 MiB. A longer file is sealed anew, rather than that one film
	// takes the place of all documents.
	keptLargest = 256 << 10
)

// OpenKept opens what is kept in a folder, made when there is something to keep,
// of at most so many bytes.
func OpenKept(dir string, most int64, now func() time.Time) *Kept {
	k := &Kept{dir: dir, most: most, now: now, next: 1}
	for _, f := range k.files() {
		if info, err := os.Stat(f); err == nil && now().Sub(info.ModTime()) > keptFor {
			os.Remove(f)
		}
		var n int
		if _, err := fmt.Sscanf(filepath.Base(f), "%08x.kept", &n); err == nil {
			k.next = max(k.next, n+1)
		}
	}
	return k
}

// Close ends keeping.
func (k *Kept) Close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.off = true
	if k.f != nil {
		k.f.Close()
	}
}

// files lists the files, the oldest first.
func (k *Kept) files() []string {
	names, _ := filepath.Glob(filepath.Join(k.dir, "*.kept"))
	slices.Sort(names)
	return names
}

// keep keeps objects that are about to be sent.
func (k *Kept) keep(region signet.RegionID, objects [][]byte) {
	if k == nil || !slices.ContainsFunc(objects, func(o []byte) bool { return len(o) <= keptLargest }) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.off {
		return
	}
	if err := k.append(region, objects); err != nil {
		// The disk is full, or worse: then this is not what its space is for.
		k.off = true
		if k.f != nil {
			k.f.Close()
			os.Remove(k.f.Name())
		}
	}
}

func (k *Kept) append(region signet.RegionID, objects [][]byte) error {
	if k.f != nil && k.size >= k.most/keptFiles {
		k.f.Close()
		k.f = nil
	}
	if k.f == nil {
		if err := k.begin(); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(k.f, 256<<10)
	for _, o := range objects {
		if len(o) > keptLargest {
			continue
		}
		id := sha256.Sum256(o)
		w.Write(region[:])
		w.Write(id[:])
		w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(o))))
		w.Write(o)
		k.size += keptHeader + int64(len(o))
	}
	return w.Flush()
}

// begin goes on with the newest file, or begins the next one and takes the
// oldest away where there are too many.
func (k *Kept) begin() error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	files := k.files()
	if n := len(files); n > 0 && k.resume(files[n-1]) {
		return nil
	}
	for len(files) >= keptFiles {
		os.Remove(files[0])
		files = files[1:]
	}
	f, err := os.OpenFile(filepath.Join(k.dir, fmt.Sprintf("%08x.kept", k.next)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	k.next++
	k.f, k.size = f, int64(len(keptMagic))
	_, err = f.WriteString(keptMagic)
	return err
}

// resume opens a file of an earlier run that has room, and cuts off a record that
// is not whole.
func (k *Kept) resume(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	end := int64(len(keptMagic))
	magic := make([]byte, end)
	info, err := f.Stat()
	if err == nil {
		_, err = f.ReadAt(magic, 0)
	}
	if err != nil || string(magic) != keptMagic || info.Size() >= k.most/keptFiles {
		f.Close()
		return false
	}
	var h [keptHeader]byte
	for {
		if _, err := f.ReadAt(h[:], end); err != nil {
			break
		}
		next := end + keptHeader + int64(binary.BigEndian.Uint32(h[64:]))
		if next > info.Size() {
			break
		}
		end = next
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil || f.Truncate(end) != nil {
		f.Close()
		return false
	}
	k.f, k.size = f, end
	return true
}

// each calls f with every wanted object that is kept of a region, until it
// fails.
func (k *Kept) each(region signet.RegionID, wanted func(signet.ObjectID) bool, f func(id signet.ObjectID, object []byte) error) error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	files := k.files()
	k.mu.Unlock()
	for _, name := range files {
		if err := eachKept(name, region, wanted, f); err != nil {
			return err
		}
	}
	return nil
}

// ids calls f with the name of every object that is kept of a region.
func (k *Kept) ids(region signet.RegionID, f func(id signet.ObjectID) error) error {
	var failed error
	err := k.each(region, func(id signet.ObjectID) bool {
		if failed == nil {
			failed = f(id)
		}
		return false
	}, nil)
	return errors.Join(failed, err)
}

// eachKept reads one file up to a record that is not whole: a crash, or a writer
// that is not through, leaves one.
func eachKept(name string, region signet.RegionID, wanted func(signet.ObjectID) bool, each func(signet.ObjectID, []byte) error) error {
	f, err := os.Open(name)
	if err != nil {
		return nil // taken away meanwhile
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	magic := make([]byte, len(keptMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != keptMagic {
		return nil
	}
	var h [keptHeader]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil
		}
		id, n := signet.ObjectID(h[32:64]), int(binary.BigEndian.Uint32(h[64:]))
		if n > keptObject {
			return nil
		}
		if signet.RegionID(h[:32]) != region || !wanted(id) {
			if _, err := r.Discard(n); err != nil {
				return nil
			}
			continue
		}
		object := make([]byte, n)
		if _, err := io.ReadFull(r, object); err != nil {
			return nil
		}
		if sha256.Sum256(object) != id {
			continue // a power cut took it
		}
		if err := each(id, object); err != nil {
			return err
		}
	}
}
