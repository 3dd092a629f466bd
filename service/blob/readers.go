package blob

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"signet"
)

// maxReaders is how many packs are kept open for reading: 64 GiB of objects.
const maxReaders = 256

// readers keeps packs open for reading.
type readers struct {
	dir   string
	mu    sync.Mutex
	packs map[uint32]*reader
}

type reader struct {
	f    *os.File
	uses int  // of whom none called release
	gone bool // closed when uses falls to 0
}

// open returns a pack; release is called when its reader is done.
func (r *readers) open(pack uint32) (f *os.File, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.packs[pack]
	if x == nil {
		f, err := os.Open(path(r.dir, pack))
		if errors.Is(err, os.ErrNotExist) {
			err = signet.ErrNotFound
		}
		if err != nil {
			return nil, nil, fmt.Errorf("pack %08x: %w", pack, err)
		}
		if len(r.packs) >= maxReaders {
			r.drop()
		}
		if r.packs == nil {
			r.packs = map[uint32]*reader{}
		}
		x = &reader{f: f}
		r.packs[pack] = x
	}
	x.uses++
	return x.f, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if x.uses--; x.uses == 0 && x.gone {
			x.f.Close()
		}
	}, nil
}

// drop forgets one pack, any: the map's order is random enough. mu is held.
func (r *readers) drop() {
	for p, x := range r.packs {
		delete(r.packs, p)
		if x.gone = true; x.uses == 0 {
			x.f.Close()
		}
		return
	}
}

// forget closes a pack once nobody reads it. Who asks for it later opens it anew.
func (r *readers) forget(pack uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.packs[pack]; x != nil {
		delete(r.packs, pack)
		if x.gone = true; x.uses == 0 {
			x.f.Close()
		}
	}
}

func (r *readers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.packs) > 0 {
		r.drop()
	}
}
