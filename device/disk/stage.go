package disk

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"signet/core/tree"
	"signet/internal/durable"
)

// A Staged is a file in the making: in .signet/staging, so on the volume's own
// file system, readable by nobody else. Its life is Stage, writes, Finish,
// SyncStaged, then Place or Replace; Discard ends it at any time before. It
// holds a descriptor until then, so hundreds at once are fine, not thousands.
type Staged struct {
	v        *Volume
	f        *os.File
	path     string
	written  atomic.Int64 // by WriteAt, in bytes
	finished bool
	synced   bool
	placed   bool
}

// Stage begins a file. With a name (letters, digits, "-", "_", ".", at most
// 100) it is one that a later Stage of the same name opens again with what was
// written, for a transfer that goes on after a restart; "" is a random name.
func (v *Volume) Stage(name string) (*Staged, error) {
	again := name != ""
	if !again {
		name = "t-" + rand.Text()
	} else if !goodID(name) {
		return nil, fail("stage", name, ErrBadPath)
	}
	path := stagingPath + "/" + name
	f, err := v.fs.create(path)
	if again && errors.Is(err, fs.ErrExist) {
		f, err = v.fs.openWrite(path)
	}
	if errors.Is(err, fs.ErrNotExist) { // somebody tidied .signet away: its folders come back, the marker does not
		if err = v.fs.mkdirs(stagingPath); err == nil {
			f, err = v.fs.create(path)
		}
	}
	if err != nil {
		return nil, wrap("stage", path, err)
	}
	return &Staged{v: v, f: f, path: path}, nil
}

// StagedSize is how far a file that was staged by a name was written; 0 if
// there is none.
func (v *Volume) StagedSize(name string) int64 {
	if !goodID(name) {
		return 0
	}
	st, err := v.fs.lstat(stagingPath + "/" + name)
	if err != nil || st.Type != tree.File {
		return 0
	}
	return st.Size
}

// goodID is what may be a single name below .signet.
func goodID(s string) bool {
	if s == "" || len(s) > 100 || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// Write appends at the file's position. A full disk is ErrNoSpace; the file
// that it was meant for is untouched.
func (s *Staged) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	return n, wrap("write", s.path, err)
}

// WriteAt writes at an offset; what lies between is a hole of zeros, and a hole
// that zeros are written to stays one. Calls may be concurrent.
func (s *Staged) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.writeAt(p, off)
	if w := s.written.Add(int64(n)); w/beginEvery != (w-int64(n))/beginEvery {
		durable.Begin(s.f)
	}
	return n, wrap("write", s.path, err)
}

// writeAt writes what lies between holes in one go each. Of a hole at the end of
// the file it writes the last byte, so that the file has its length.
func (s *Staged) writeAt(p []byte, off int64) (n int, err error) {
	from, hole := 0, false // p[from:to] is to be written
	for to := 0; to < len(p); {
		k := min(len(p)-to, len(zeros))
		if hole = s.hole(p[to:to+k], off+int64(to)); hole {
			if n, err := s.f.WriteAt(p[from:to], off+int64(from)); err != nil {
				return from + n, err
			}
			from = to + k
		}
		to += k
	}
	if last := off + int64(len(p)) - 1; hole && s.end(last) {
		from = len(p) - 1
	}
	n, err = s.f.WriteAt(p[from:], off+int64(from))
	return from + n, err
}

// hole reports whether p is zeros, and the file has zeros there, or nothing yet.
func (s *Staged) hole(p []byte, off int64) bool {
	if !bytes.Equal(p, zeros[:len(p)]) {
		return false
	}
	there := make([]byte, len(p))
	n, err := s.f.ReadAt(there, off)
	return (err == nil || err == io.EOF) && bytes.Equal(there[:n], p[:n])
}

// end reports whether the file has no byte at off.
func (s *Staged) end(off int64) bool {
	var b [1]byte
	_, err := s.f.ReadAt(b[:], off)
	return err != nil
}

// zeros is the size of hole that is looked for.
var zeros [64 << 10]byte

// beginEvery is after how many bytes the disk is set to work, so that little is
// left for SyncStaged to wait for.
const beginEvery = 32 << 20

// ReadAt reads back what was written.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

// Truncate sets the size; growing makes a hole, which takes no space.
func (s *Staged) Truncate(size int64) error { return wrap("truncate", s.path, s.f.Truncate(size)) }

// Finish sets the permission bits (no set-user-id, set-group-id or sticky bit,
// whoever asks) and the modification time, after the last write. Nothing is
// durable yet.
func (s *Staged) Finish(mode uint32, mtime int64) error {
	if err := s.v.fs.setFile(s.f, s.path, mode&0o777, mtime); err != nil {
		return wrap("finish", s.path, err)
	}
	s.finished = true
	return nil
}

// Discard removes a file that was not placed; else it does nothing.
func (s *Staged) Discard() error {
	if s.placed {
		return nil
	}
	s.placed = true
	return wrap("discard", s.path, errors.Join(s.f.Close(), s.v.fs.unlink(s.path)))
}

// Suspend closes a file that was staged by name and leaves what was written
// for the next Stage of that name.
func (s *Staged) Suspend() error {
	s.placed = true
	return wrap("suspend", s.path, s.f.Close())
}

// SyncStaged makes finished files durable: one by one if they are few, else
// with one sync of the file system (see syncEach). After an error none of them
// may be placed: a kernel reports a lost write once only.
func (v *Volume) SyncStaged(ctx context.Context, staged []*Staged) error {
	for _, s := range staged {
		if !s.finished {
			return wrap("sync", s.path, errors.New("not finished"))
		}
	}
	all := false
	if len(staged) > syncEach {
		err := v.fs.syncAll()
		if err != nil && !errors.Is(err, durable.ErrUnsupported) {
			return wrap("sync", stagingPath, err)
		}
		all = err == nil
	}
	for _, s := range staged {
		if !all {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := durable.SyncFile(s.f); err != nil {
				return wrap("sync", s.path, err)
			}
		}
		s.synced = true
	}
	return nil
}

// ready is what Place and Replace ask first: a name must never lead to bytes
// that a power cut can still take away.
func (s *Staged) ready(op, path string) error {
	if err := checkPath(op, path); err != nil {
		return err
	}
	if s.placed || !s.finished || !s.synced {
		return wrap(op, path, errors.New("staged file is not finished and synced"))
	}
	return nil
}

// done closes a placed file and says what it is under its name. The stat is
// of the descriptor, so of this file whatever happened to the name since.
func (s *Staged) done(op, path string) (tree.Stat, error) {
	s.placed = true
	st, err := s.v.fs.statFile(s.f)
	return st, wrap(op, path, errors.Join(err, s.f.Close()))
}

// CleanStaging removes what a crash left in staging, but for the names that
// keep says (nil: none). Nothing of the user's is ever there: a file that is
// replaced goes to the trash in the same step that replaces it. To be called
// once after Open, before the first Stage.
func (v *Volume) CleanStaging(keep func(name string) bool) error {
	l := v.fs.list(stagingPath, new(scratch))
	var errs []error
	if l.Err != nil && !errors.Is(l.Err, fs.ErrNotExist) {
		errs = append(errs, l.Err)
	}
	for _, e := range l.Entries {
		if e.Stat.Type != tree.Dir && (keep == nil || !keep(e.Name)) {
			errs = append(errs, wrap("clean", stagingPath+"/"+e.Name, v.fs.unlink(stagingPath+"/"+e.Name)))
		}
	}
	return errors.Join(errs...)
}
