package blob

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"signet"
	"signet/internal/durable"
)

// Open opens the packs in dir (made if missing). marks say how far the index
// has seen each pack: what lies beyond is reported to found if whole, after it
// was made durable, and cut off from the first torn record on. Nothing beyond a
// mark was ever acknowledged, so nothing acknowledged is cut. A mark with an end
// below 0 is that of a pack which a compaction was making: it is left alone.
func Open(dir string, marks []Mark, found func(Found) error) (*Disk, error) {
	if err := os.MkdirAll(filepath.Join(dir, "packs"), 0o700); err != nil {
		return nil, err
	}
	d := &Disk{dir: dir, lanes: map[*lane]bool{}, next: 1}
	d.free = sync.NewCond(&d.mu)
	d.readers.dir = dir
	ends := map[uint32]int64{}
	for _, m := range marks {
		ends[m.Pack] = m.End
		d.next = max(d.next, m.Pack+1) // a number is never given twice
	}
	packs, err := d.list()
	if err != nil {
		return nil, err
	}
	width := min(max(runtime.GOMAXPROCS(0), 2), 4)
	for i := len(packs) - 1; i >= 0; i-- {
		if ends[packs[i]] < 0 {
			continue // a compaction was cut off: nothing in it counts
		}
		l, err := d.recover(packs[i], ends[packs[i]], found)
		if err != nil {
			d.Close()
			return nil, err
		}
		if l.end < packLimit && len(d.idle) < width {
			d.idle = append([]*lane{l}, d.idle...)
			d.lanes[l] = true
			continue
		}
		if l.end < packLimit {
			d.room = append(d.room, room{packs[i], l.end})
		}
		l.f.Close()
	}
	if n := len(packs); n > 0 {
		d.next = max(d.next, packs[n-1]+1)
	}
	d.first = d.next
	for len(d.idle) < width {
		l := &lane{}
		d.idle = append([]*lane{l}, d.idle...)
		d.lanes[l] = true
	}
	return d, nil
}

// OpenReader opens the packs in dir for Get and Scan alone, beside a store that
// writes them. Put fails.
func OpenReader(dir string) *Disk {
	d := &Disk{dir: dir, broken: fmt.Errorf("store is open for reading: %w", signet.ErrUnavailable)}
	d.free = sync.NewCond(&d.mu)
	d.readers.dir = dir
	return d
}

// path is where a pack lies: 256 packs, 64 GiB, in a folder.
func path(dir string, pack uint32) string {
	return filepath.Join(dir, "packs", fmt.Sprintf("%02x", pack>>8), fmt.Sprintf("%08x.pack", pack))
}

// list returns the numbers of all packs in rising order.
func (d *Disk) list() ([]uint32, error) {
	names, err := filepath.Glob(filepath.Join(d.dir, "packs", "*", "*.pack"))
	if err != nil {
		return nil, err
	}
	packs := make([]uint32, 0, len(names))
	for _, n := range names { // Glob sorts, and the names have eight digits below 2^32
		var p uint32
		if _, err := fmt.Sscanf(filepath.Base(n), "%08x.pack", &p); err != nil || path(d.dir, p) != n {
			continue
		}
		packs = append(packs, p)
	}
	for i := 1; i < len(packs); i++ { // folders of two and of three digits sort wrongly
		for j := i; j > 0 && packs[j] < packs[j-1]; j-- {
			packs[j], packs[j-1] = packs[j-1], packs[j]
		}
	}
	return packs, nil
}

// recover opens a pack for appending, reports what is whole past mark, and cuts
// off the rest.
func (d *Disk) recover(pack uint32, mark int64, found func(Found) error) (*lane, error) {
	f, err := os.OpenFile(path(d.dir, pack), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l, err := recoverFile(f, pack, mark, found)
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func recoverFile(f *os.File, pack uint32, mark int64, found func(Found) error) (*lane, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < headerSize && mark == 0 {
		// A crash between making the pack and writing its first bytes.
		if _, err := f.WriteAt([]byte(packMagic), 0); err != nil {
			return nil, err
		}
	} else if err := readFormat(f); err != nil {
		return nil, err
	}
	mark = max(mark, headerSize)
	l := &lane{f: f, pack: pack, end: mark, synced: mark}
	if info.Size() <= mark {
		// Shorter than the index says: check reports what is missing; nothing
		// is appended where an index row may point.
		l.end = max(l.end, mark)
		l.bad = info.Size() < mark && info.Size() >= headerSize
		if l.bad {
			l.end = packLimit
		}
		return l, nil
	}
	torn := errors.New("torn")
	var whole []Found
	end, err := scan(f, pack, mark, func(x Found, bad error) error {
		if bad != nil {
			return torn
		}
		whole = append(whole, x)
		return nil
	})
	if err != nil && err != torn {
		return nil, err
	}
	if err := f.Truncate(end); err != nil {
		return nil, err
	}
	if err := durable.SyncFile(f); err != nil {
		return nil, err
	}
	for _, x := range whole {
		if err := found(x); err != nil {
			return nil, err
		}
	}
	l.end, l.synced = end, end
	return l, nil
}
