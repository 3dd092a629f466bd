// Package blob keeps sealed objects: bytes named by their SHA-256, appended to
// pack files.
//
// It promises that what Sync covered survives a crash, that a torn record is
// never reported as an object, and that bytes once synced are never rewritten;
// what is live of a pack can be copied to another, and the pack removed. It keeps no index of its own (service/meta does, whose rows are
// written only after Sync), does not check on reading what an object hashes to,
// and cannot open anything: it has no key.
package blob

import (
	"crypto/sha256"
	"errors"

	"signet"
)

// MaxObject is the largest object in bytes: a piece of 4 MiB with its padding
// and header fits twice.
const MaxObject = 8 << 20

// ErrTorn is the cause of an error about a record that is not whole.
var ErrTorn = errors.New("record is not whole")

// An Object is stored bytes and their name.
type Object struct {
	ID    signet.ObjectID
	Bytes []byte
}

// Name computes what b is called. It is the only source of identifiers on the
// service's side: a name sent by a device is never believed.
func Name(b []byte) Object { return Object{ID: sha256.Sum256(b), Bytes: b} }

// A Place says where the bytes of an object lie.
type Place struct {
	Pack   uint32
	Offset uint32 // of the object's first byte in the pack
	Length uint32 // bytes
}

// Record is how many bytes the object's record takes in its pack.
func (p Place) Record() int64 { return RecordSize + int64(p.Length) }

// A Found is one object of a region and its place.
type Found struct {
	Region signet.RegionID
	ID     signet.ObjectID
	Place  Place
}

// A Mark says up to which byte a pack is durable.
type Mark struct {
	Pack uint32
	End  int64
}

// A Store keeps objects. Its methods may be called at the same time.
type Store interface {
	// Put appends objects of a region and says where they are, in order. After
	// an error none of them counts as stored, though their bytes may lie in a
	// pack; putting them again is safe. Nothing is durable before Sync.
	Put(region signet.RegionID, objects []Object) ([]Place, error)
	// Get appends the bytes at p to dst and returns it. An error wraps
	// ErrNotFound where the pack is gone or shorter.
	Get(p Place, dst []byte) ([]byte, error)
	// Sync makes every Put that returned before it was called durable, and
	// returns the packs that it touched. After an error whatever was put since
	// the last Sync is as if it had never been put: put it again.
	Sync() ([]Mark, error)
	// Close syncs and releases the store.
	Close() error
}
