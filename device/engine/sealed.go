package engine

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"signet"
	"signet/core/seal"
	"signet/core/wire"
)

type sealedRow struct {
	pid [32]byte
	ref seal.Ref
}

// known is what begins the plaintext ids in the table, of regions where many files
// are about to be sealed: most of them are new, and asking the table for each costs
// more than sealing does. It may have more than the table, never less. With
// Store.mu held for changes.
type known map[uint64]struct{}

func begins(pid [32]byte) uint64 { return binary.LittleEndian.Uint64(pid[:]) }

func (k known) add(list []sealedRow) {
	for _, r := range list {
		k[begins(r.pid)] = struct{}{}
	}
}

// know begins to keep in memory what of a region was sealed, some 16 bytes for
// each piece, until forget.
func (s *Store) know(region signet.RegionID) error {
	s.mu.Lock() // nothing is added while it is read
	defer s.mu.Unlock()
	if s.knownOf(region) != nil {
		return nil
	}
	k, err := s.readKnown(region, -1)
	if err != nil {
		return err
	}
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	if s.known == nil {
		s.known = map[signet.RegionID]known{}
	}
	s.known[region] = k
	return nil
}

// readKnown reads what is in the table, as many rows as most says (-1: all). With
// Store.mu held.
func (s *Store) readKnown(region signet.RegionID, most int) (known, error) {
	rows, err := s.db.Query("SELECT substr(pid, 1, 8) FROM sealed WHERE region = ? LIMIT ?", region[:], most)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	k := known{}
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		if len(b) == 8 {
			k[binary.LittleEndian.Uint64(b)] = struct{}{}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return k, nil
}

// few is what knowFew keeps of a region, and for how many.
type few struct {
	known
	users int
}

// manyRows is from how many rows on knowFew keeps nothing: to read them would cost
// more than asking for a file's pieces does, and the memory.
const manyRows = 8192

// knowFew is know for who seals one long file, where little was sealed before. It
// ends by itself: call done.
func (s *Store) knowFew(region signet.RegionID) (done func(), err error) {
	s.mu.Lock() // nothing is added while it is read
	defer s.mu.Unlock()
	s.knownMu.Lock()
	f := s.few[region]
	s.knownMu.Unlock()
	if f == nil {
		k, err := s.readKnown(region, manyRows)
		if err != nil {
			return nil, err
		}
		if len(k) >= manyRows {
			return func() {}, nil
		}
		f = &few{known: k}
	}
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	if s.few == nil {
		s.few = map[signet.RegionID]*few{}
	}
	s.few[region] = f
	f.users++
	return func() {
		s.knownMu.Lock()
		defer s.knownMu.Unlock()
		if f.users--; f.users == 0 {
			delete(s.few, region)
		}
	}, nil
}

// forget ends what know began.
func (s *Store) forget(region signet.RegionID) {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	delete(s.known, region)
}

func (s *Store) knownOf(region signet.RegionID) known {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	return s.known[region]
}

// surelyNew reports whether a plaintext is known not to be in the table.
func (s *Store) surelyNew(region signet.RegionID, pid [32]byte) bool {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	k := s.known[region]
	if f := s.few[region]; k == nil && f != nil {
		k = f.known
	}
	_, maybe := k[begins(pid)]
	return k != nil && !maybe
}

// sealedAs finds the object that this device sealed some plaintext as.
func (s *Store) sealedAs(region signet.RegionID, pid [32]byte) (ref seal.Ref, ok bool, err error) {
	if s.surelyNew(region, pid) {
		return ref, false, nil
	}
	var b []byte
	switch err := s.row("SELECT ref FROM sealed WHERE region = ? AND pid = ?", []any{region[:], pid[:]}, &b); {
	case errors.Is(err, sql.ErrNoRows):
		return ref, false, nil
	case err != nil:
		return ref, false, fmt.Errorf("index: %w", err)
	}
	r := wire.NewReader(b)
	r.Raw(ref.Object[:])
	r.Raw(ref.Key[:])
	ref.Size = r.U32()
	return ref, true, r.Done()
}

// noteSealed writes down what plaintexts were sealed as, in the order of the table.
func (s *Store) noteSealed(region signet.RegionID, list []sealedRow) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b sealedRow) int { return bytes.Compare(a.pid[:], b.pid[:]) })
	return s.write(func(b *batch) {
		s.knownMu.Lock()
		if k := s.known[region]; k != nil {
			k.add(list)
		}
		if f := s.few[region]; f != nil {
			f.add(list)
		}
		s.knownMu.Unlock()
		args := make([]any, 0, 3*len(list))
		for _, r := range list {
			var w wire.Writer
			w.Raw(r.ref.Object[:])
			w.Raw(r.ref.Key[:])
			w.U32(r.ref.Size)
			args = append(args, region[:], r.pid[:], w.B)
		}
		b.rows("INSERT OR REPLACE INTO sealed VALUES(?,?,?)", 3, args)
	})
}

// rowsAtOnce is how many rows one statement takes where there are many.
const rowsAtOnce = 64

// rows is exec for each row of args, which has so many columns; q ends with the
// values of one.
func (b *batch) rows(q string, columns int, args []any) {
	if len(args) >= rowsAtOnce*columns {
		values := q[strings.LastIndexByte(q, '('):]
		many := q + strings.Repeat(","+values, rowsAtOnce-1)
		for ; len(args) >= rowsAtOnce*columns; args = args[rowsAtOnce*columns:] {
			b.exec(many, args[:rowsAtOnce*columns]...)
		}
	}
	for row := range slices.Chunk(args, columns) {
		b.exec(q, row...)
	}
}

func (s *Store) forgetSealed(region signet.RegionID, ids []signet.ObjectID) error {
	if len(ids) == 0 {
		return nil
	}
	// One pass over what was sealed, whose order is another.
	gone := map[signet.ObjectID]bool{}
	for _, id := range ids {
		gone[id] = true
	}
	rows, err := s.db.Query("SELECT pid, substr(ref, 1, 32) FROM sealed WHERE region = ?", region[:])
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	var pids [][]byte
	for rows.Next() {
		var pid, object []byte
		if err := rows.Scan(&pid, &object); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if len(object) == 32 && gone[signet.ObjectID(object)] {
			pids = append(pids, pid)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return s.write(func(b *batch) {
		for _, pid := range pids {
			b.exec("DELETE FROM sealed WHERE region = ? AND pid = ?", region[:], pid)
		}
	})
}
