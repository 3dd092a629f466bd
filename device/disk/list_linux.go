//go:build !portable

package disk

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"signet/core/tree"
)

// A scratch is what one worker needs for one listing after the other.
type scratch struct {
	dirents [64 << 10]byte
	names   []byte // names of one folder, one after the other
	ends    []int  // where each ends
	entries []Entry
	folders bool // what the disk says is no folder is left out, and costs nothing
}

// tick is longer than the coarsest kernel clock's (10 ms).
const tick = 20 * time.Millisecond

// list reads one folder. The folder's own signature is taken before and after:
// a name that is renamed while a folder is read may be seen twice or not at
// all, and a listing that lacks a file must never look like a deletion. Where
// times come in ticks (before Linux 6.13) two changes within one cannot be told
// apart, so a folder that just changed is read again when the tick is over.
func (f *fsys) list(path string, sc *scratch) Listing {
	l := Listing{Path: path}
	dir, err := f.openFolder(path)
	if err != nil {
		l.Err = wrap("list", path, err)
		return l
	}
	defer dir.Close()
	const tries = 3
	for try := 1; ; try++ {
		if l.Stat, err = f.statFile(dir); err != nil {
			l.Err = wrap("list", path, err)
			return l
		}
		vanished, err := f.readFolder(dir, path == "", sc)
		l.Entries = append([]Entry(nil), sc.entries...)
		if err != nil {
			l.Err = wrap("list", path, err)
			return l
		}
		after, err := f.statFile(dir)
		if err != nil {
			l.Err = wrap("list", path, err)
			return l
		}
		same := !vanished && after.MTime == l.Stat.MTime && after.CTime == l.Stat.CTime
		recent := !f.fineTimes && time.Since(time.Unix(0, after.CTime)).Abs() < tick
		if same && !recent {
			return l
		}
		if try == tries {
			l.Err = fail("list", path, ErrChanging)
			return l
		}
		if recent {
			time.Sleep(tick)
		}
		if _, err := dir.Seek(0, 0); err != nil {
			l.Err = wrap("list", path, err)
			return l
		}
	}
}

// readFolder fills sc.entries. vanished: a name was gone before it was looked
// at.
func (f *fsys) readFolder(dir *os.File, top bool, sc *scratch) (vanished bool, err error) {
	fd := int(dir.Fd())
	sc.names, sc.ends, sc.entries = sc.names[:0], sc.ends[:0], sc.entries[:0]
	for {
		n, err := eintr(func() (int, error) { return unix.Getdents(fd, sc.dirents[:]) })
		if err != nil {
			return vanished, err
		}
		if n <= 0 {
			break
		}
		for b := sc.dirents[:n]; len(b) > 0; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			kind, raw := b[18], b[19:size] // inode 8, offset 8, size 2, type 1, then the name
			b = b[size:]
			if sc.folders && kind != unix.DT_DIR && kind != unix.DT_UNKNOWN {
				continue
			}
			end := 0
			for raw[end] != 0 {
				end++
			}
			if end == 0 || raw[0] == '.' && (end == 1 || end == 2 && raw[1] == '.') {
				continue
			}
			if top && ownName(raw[:end]) {
				continue
			}
			e, gone := f.entry(fd, raw[:end+1])
			if gone {
				vanished = true
				continue
			}
			sc.entries = append(sc.entries, e)
			sc.names = append(sc.names, raw[:end]...)
			sc.ends = append(sc.ends, len(sc.names))
		}
	}
	// One string for all names of the folder.
	all, start := string(sc.names), 0
	for i, end := range sc.ends {
		sc.entries[i].Name = all[start:end]
		start = end
	}
	return vanished, nil
}

// ownName is whether a name of the top folder is Signet's own.
func ownName(name []byte) bool {
	return len(name) == len(private) && name[0] == '.' && goodOwn(name)
}

func goodOwn(name []byte) bool {
	for i := range name {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != private[i] {
			return false
		}
	}
	return true
}

// entry looks at one name, which ends in NUL.
func (f *fsys) entry(dirfd int, name []byte) (e Entry, gone bool) {
	var st unix.Statx_t
	if err := statx(dirfd, &name[0], statFlags, &st); err != nil {
		if err == unix.ENOENT {
			return e, true
		}
		e.Stat.Type = tree.Other
		e.Err = wrap("stat", string(name[:len(name)-1]), err)
		return e, false
	}
	e.Stat, e.OtherMount = f.signature(&st)
	if e.Stat.Type == tree.Link {
		target, err := readlink(dirfd, string(name[:len(name)-1]))
		if err == unix.ENOENT || err == unix.EINVAL { // gone, or no link any more
			return e, true
		}
		e.Stat.Target = target
		if err != nil {
			e.Err = wrap("read link", string(name[:len(name)-1]), err)
		}
	}
	return e, false
}
