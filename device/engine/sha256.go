package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"signet"
	"signet/core/seal"
)

// SHA256 is the SHA-256 of the content of size bytes whose file hash is hash,
// for people who compare it with what other programs print. A long file's hash
// is not its SHA-256 (seal.LongFile): that is computed from the copy that this
// device has of the node, once, and remembered. ok is false where there is no
// such copy: an older version, or a region that is not on this device's disk.
func (d *Device) SHA256(ctx context.Context, id signet.RegionID, node signet.NodeID, size int64, hash [32]byte) (sum [32]byte, ok bool, err error) {
	if size < seal.LongFile {
		return hash, true, nil
	}
	key := "sha256/" + hex.EncodeToString(hash[:])
	b, err := d.Store.Note(key)
	if err == nil && len(b) == len(sum) {
		return [32]byte(b), true, nil
	}
	f := d.copyOf(id, node)
	if f == nil {
		return sum, false, nil // status says what is wrong with a folder
	}
	defer f.Close()
	if f.Stat().Size != size {
		return sum, false, nil
	}
	whole, file := sha256.New(), seal.NewFileHasher(size)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(whole, file)}, stopAt{ctx, f}, *buf); err != nil {
		return sum, false, ctx.Err()
	}
	if file.Sum() != hash {
		return sum, false, nil // not these bytes any more, or not yet
	}
	whole.Sum(sum[:0])
	return sum, true, d.Store.SetNote(key, sum[:])
}

// copyOf opens the file that a node is on this device's disk; nil where there
// is none that can be read.
func (d *Device) copyOf(id signet.RegionID, node signet.NodeID) Reading {
	d.mu.Lock()
	var v *volume
	var path string
	for _, x := range d.volumes {
		if x.region.ID() == id {
			v, path = x, x.region.Tree.Path(node)
		}
	}
	d.mu.Unlock()
	if v == nil {
		return nil
	}
	read, done, err := v.reader()
	if err != nil {
		return nil
	}
	defer done()
	f, err := read(path)
	if err != nil {
		return nil
	}
	return f
}
