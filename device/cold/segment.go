package cold

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"signet"
	"signet/core/wire"
)

const segmentMagic = "signet log 1\n"

// segmentMost is about how long a segment becomes, in bytes.
const segmentMost = 16 << 20

// Limits of a record in bytes (spec/transport.md).
const (
	maxLeaf = 255
	maxHead = 1 << 20
	maxBlob = 8 << 20
)

func appendRecord(b []byte, r signet.Record) []byte {
	w := wire.Writer{B: b}
	w.Vec8(r.Leaf)
	w.Vec24(r.Head)
	w.Vec32(r.Blob)
	return w.B
}

// eachRecord calls f with the records of a segment's file, which must be so many.
func eachRecord(file []byte, count uint32, f func(signet.Record) error) error {
	r := wire.NewReader(file)
	r.Const(segmentMagic)
	for ; count > 0 && r.Err() == nil; count-- {
		rec := signet.Record{Leaf: r.Vec8(maxLeaf), Head: r.Vec24(maxHead), Blob: r.Vec32(maxBlob)}
		if r.Err() != nil {
			break
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("segment: %w: %w", err, ErrDamaged)
	}
	return nil
}

// readSegment reads a segment from either folder, both of which are looked at.
// ErrDamaged where neither has it.
func readSegment(root *os.Root, s Segment) (file []byte, damage []Damage, err error) {
	for _, dir := range []string{dirLogs, dirSpare} {
		name := path.Join(dir, segmentName(s))
		b, err := read(root, name, maxSegment)
		switch {
		case err == nil && sha256.Sum256(b) == s.Sum:
			file = b
		case err == nil || errors.Is(err, fs.ErrNotExist):
			damage = append(damage, Damage{File: name, Gone: err != nil})
		default: // a sector that cannot be read is damage too
			damage = append(damage, Damage{File: name})
		}
	}
	if file == nil {
		return nil, damage, fmt.Errorf("%s and %s: %w", damage[0].File, damage[1].File, ErrDamaged)
	}
	for i := range damage {
		damage[i].Spared = true
	}
	return file, damage, nil
}
