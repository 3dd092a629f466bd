package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"

	"signet"
	"signet/core/region"
)

// The tree of a region is kept in the store beside its journal, page by page,
// so that a start replays what came since and not everything. It is as good as
// the journal it was replayed from, which is kept as well: where pages are
// missing or damaged, or the volume has not taken in all that they hold,
// everything is replayed.

func treeNote(id signet.RegionID) string { return "tree/" + id.String() }

// keepTree keeps the tree of a region if enough happened since it was kept: of a
// large one operations on a twentieth of its nodes, because they may touch every
// page. A crash leaves what was kept before. It holds the lock while it writes what
// changed: about a second for each million nodes, the first time.
func (d *Device) keepTree(r *openRegion) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.unkept < max(d.KeepAfter, r.Tree.Len()/20) || r.failed != nil || r.lag || r.wait != nil || r.Replayed() > r.seen {
		return nil
	}
	p, hashes, ok := r.Progress()
	if !ok {
		return nil
	}
	id := r.ID()
	kept, err := d.Store.pageHashes(id)
	if err != nil {
		return err
	}
	err = d.Store.write(func(b *batch) {
		for i, h := range hashes {
			if kept[i] != h {
				b.exec("INSERT OR REPLACE INTO pages VALUES(?,?,?,?)", id[:], i, h[:], r.Page(i))
			}
		}
		b.exec("DELETE FROM pages WHERE region = ? AND page >= ?", id[:], len(hashes))
		b.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", treeNote(id), p.Append(nil))
	})
	if err == nil {
		r.unkept = 0
	}
	return err
}

// resume takes up the tree that was kept, if there is one that may be used. What
// is wrong with it costs time alone.
func (d *Device) resume(r *openRegion) error {
	note, err := d.Store.Note(treeNote(r.ID()))
	if err != nil || note == nil {
		return err
	}
	p, err := region.ParseProgress(note)
	if err != nil || p.Position > r.seen || p.Position > r.State.Size() {
		return nil
	}
	pages, failed := d.Store.pages(r.ID())
	if err := errors.Join(r.Resume(p, pages), *failed); err != nil {
		r.unkept = d.KeepAfter + r.Tree.Len() // so that it is kept anew
	}
	return nil
}

// pageHashes are those of the pages of a region's tree that are kept.
func (s *Store) pageHashes(id signet.RegionID) (map[int]signet.Hash, error) {
	rows, err := s.db.Query("SELECT page, hash FROM pages WHERE region = ?", id[:])
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	m := map[int]signet.Hash{}
	for rows.Next() {
		var i int
		var h []byte
		if err := rows.Scan(&i, &h); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		if len(h) == len(signet.Hash{}) {
			m[i] = signet.Hash(h)
		}
	}
	return m, rows.Err()
}

// pages are the pages of a region's tree that are kept, in order; failed says
// afterwards whether all could be read.
func (s *Store) pages(id signet.RegionID) (seq iter.Seq[[]byte], failed *error) {
	failed = new(error)
	return func(yield func([]byte) bool) {
		rows, err := s.db.Query("SELECT bytes FROM pages WHERE region = ? ORDER BY page", id[:])
		if err != nil {
			*failed = fmt.Errorf("index: %w", err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				*failed = fmt.Errorf("index: %w", err)
				return
			}
			if !yield(b) {
				return
			}
		}
		*failed = rows.Err()
	}, failed
}

// early reads indexes while the regions are made: both take a second for each
// million nodes or two.
type early struct {
	mu      sync.Mutex
	volumes map[string]chan loadedIndex
}

type loadedIndex struct {
	*index
	err error
}

// begin begins to read the indexes of all volumes.
func (e *early) begin(s *Store) error {
	rows, err := s.db.Query("SELECT id FROM volumes")
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.volumes = map[string]chan loadedIndex{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		ch := make(chan loadedIndex, 1)
		e.volumes[id] = ch
		go func() {
			x, err := s.loadIndex(id, s.about(id))
			ch <- loadedIndex{x, err}
		}()
	}
	return rows.Err()
}

// take is the index of a volume, once.
func (e *early) take(s *Store, id string) (*index, error) {
	if ch := e.drop(id); ch != nil {
		x := <-ch
		return x.index, x.err
	}
	return s.loadIndex(id, 0)
}

// drop gives up what was read, or is being read, of a volume.
func (e *early) drop(id string) chan loadedIndex {
	e.mu.Lock()
	defer e.mu.Unlock()
	ch := e.volumes[id]
	delete(e.volumes, id)
	return ch
}

// about is how many nodes a volume had when it was looked at last.
func (s *Store) about(volume string) int {
	var st VolumeStatus
	if b, err := s.Note(statusNote(volume)); err == nil && b != nil {
		json.Unmarshal(b, &st)
	}
	return int(min(max(st.Files, 0), 10_000_000))
}
