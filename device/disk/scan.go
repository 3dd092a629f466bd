package disk

import (
	"context"
	"runtime"
	"sync"

	"signet/core/tree"
)

// A Listing is one folder. It is complete if Err is nil; otherwise nothing may
// be concluded from a name that it lacks.
type Listing struct {
	Path    string    // "" is the volume's own folder
	Stat    tree.Stat // of the folder, taken before it was read
	Entries []Entry   // in no order; without .signet
	Err     error     // *Error: of fs.ErrPermission, fs.ErrNotExist, ErrChanging, ErrNotFolder, ErrMount, or the disk's own
}

// An Entry is one name of a folder. Names are bytes as the disk has them.
type Entry struct {
	Name       string
	Stat       tree.Stat // Other if OtherMount
	OtherMount bool      // another mount (or subvolume) covers the name: what is below is unknown, not gone
	Err        error     // the name is there, but could not be looked at
}

// ScanOptions say how to scan; the zero value is for a whole volume.
type ScanOptions struct {
	From    string                 // folder to begin with; "" is the volume's own
	Workers int                    // 0: two for each processor, at most four
	Skip    func(path string) bool // folders not to descend into; nil: none. Called concurrently
}

// Scan lists From and every folder below it and calls emit with each once, a
// folder before those in it, one call at a time. Links are not followed, other
// mounts not entered. A folder that could not be listed completely comes with
// Err; Scan itself fails only if emit fails, ctx ends or the volume's folder
// is not the one that was opened (ErrRootMissing, ErrRootReplaced), which is
// asked before and after: a volume that is unmounted meanwhile gives an error,
// not an empty tree.
func (v *Volume) Scan(ctx context.Context, opts ScanOptions, emit func(Listing) error) error {
	if err := checkFolder("scan", opts.From); err != nil {
		return err
	}
	if err := v.Check(); err != nil {
		return err
	}
	workers := opts.Workers
	if workers <= 0 {
		workers = min(4, 2*runtime.NumCPU())
	}
	s := &scan{v: v, opts: opts, emit: emit, ctx: ctx, queue: []string{opts.From}, seen: map[fileID]bool{}}
	s.wake.L = &s.mu
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	defer stop()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(s.work)
	}
	wg.Wait()
	// ctx may end at this very moment.
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return v.Check()
}

type fileID struct{ dev, inode uint64 }

// A scan is a stack of folders and the workers that share it. A stack, not a
// queue, keeps it as short as the tree is deep and wide, not as it is large.
type scan struct {
	v    *Volume
	opts ScanOptions
	emit func(Listing) error
	ctx  context.Context

	mu    sync.Mutex
	wake  sync.Cond
	queue []string
	busy  int // workers with a folder in hand
	err   error
	seen  map[fileID]bool // folders listed: one that is mounted twice comes once

	emitting sync.Mutex
}

func (s *scan) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.wake.Broadcast()
}

// next takes a folder; false when there is none and nobody can find another.
func (s *scan) next() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && s.busy > 0 && s.err == nil {
		s.wake.Wait()
	}
	if len(s.queue) == 0 || s.err != nil {
		return "", false
	}
	path := s.queue[len(s.queue)-1]
	s.queue = s.queue[:len(s.queue)-1]
	s.busy++
	return path, true
}

// done gives a folder back, and the folders found in it to the others.
func (s *scan) done(found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, found...)
	s.busy--
	if len(found) > 1 || s.busy == 0 {
		s.wake.Broadcast()
	} else if len(found) == 1 {
		s.wake.Signal()
	}
}

func (s *scan) first(st tree.Stat) bool {
	if st.Inode == 0 { // a system that does not tell
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fileID{st.Dev, st.Inode}
	if s.seen[id] {
		return false
	}
	s.seen[id] = true
	return true
}

func (s *scan) work() {
	sc := new(scratch)
	for {
		path, ok := s.next()
		if !ok {
			return
		}
		s.done(s.folder(path, sc))
	}
}

// folder lists and emits one folder and returns those in it.
func (s *scan) folder(path string, sc *scratch) (found []string) {
	l := s.v.fs.list(path, sc)
	if l.Err == nil && !s.first(l.Stat) {
		return nil
	}
	for i := range l.Entries {
		if l.Entries[i].Stat.Type == tree.Dir {
			below := join(path, l.Entries[i].Name)
			if s.opts.Skip == nil || !s.opts.Skip(below) {
				found = append(found, below)
			}
		}
	}
	s.emitting.Lock()
	defer s.emitting.Unlock()
	if err := s.ctx.Err(); err != nil {
		s.end(err) // before AfterFunc may come to it: a scan that left folders out is no whole one
		return nil
	}
	if err := s.emit(l); err != nil {
		s.end(err)
		return nil
	}
	return found
}

// List lists one folder; "" is the volume's own. What kept it from being
// complete is in Err.
func (v *Volume) List(path string) Listing {
	if err := checkFolder("list", path); err != nil {
		return Listing{Path: path, Err: err}
	}
	return v.fs.list(path, new(scratch))
}

// Stat is what the disk says of path, links not followed. fs.ErrNotExist is
// positive evidence of absence only if Check is nil afterwards.
func (v *Volume) Stat(path string) (tree.Stat, error) {
	if err := checkFolder("stat", path); err != nil {
		return tree.Stat{}, err
	}
	s, err := v.fs.lstat(path)
	return s, wrap("stat", path, err)
}
