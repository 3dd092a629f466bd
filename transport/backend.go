package transport

import (
	"context"
	"time"

	"signet"
)

// Info is what the service says about itself to anybody. Nothing in it is
// authenticated but by the TLS channel: a device compares Org and LogKey with
// what its invitation pinned.
type Info struct {
	Org     signet.OrgID // zero until the organisation is made
	LogKey  []byte       // key.Public bytes of the log key
	Time    int64        // the service's clock, milliseconds since 1970
	Version string       // of the program, at most 255 bytes
	Fresh   bool         // there is no organisation yet: the next root statement makes it
}

// A Backend is what Handler drives: the service behind the transport. Its
// methods are called from many goroutines at once. An error that is, or wraps,
// an *Error goes to the device with its kind, message and hint; a sentinel of
// package signet goes with the kind that belongs to it; anything else is
// logged and answered as KindInternal without its text.
type Backend interface {
	// Info is answered to everybody, and read at each Connect.
	Info(ctx context.Context) (Info, error)
	// Connect checks a device's proof: signature is its signature of binding
	// under key.LabelConnection, and binding was computed here, not received.
	// An unknown or revoked device is ErrNotEnrolled. A device has one
	// Session per connection, about ten at a time.
	Connect(ctx context.Context, device signet.DeviceID, binding, signature []byte) (Session, error)
	// Enrol appends a directory record that authenticates itself (a root
	// statement, a genesis) for somebody who has no device here yet. The
	// record may be kept.
	Enrol(ctx context.Context, r signet.Record, sent int64) (signet.Receipt, error)
	// RelayPut leaves a message of at most MaxRelay bytes at a place where
	// two devices meet while linking. Slots are 0 to MaxSlot; a slot that is
	// taken by other bytes is ErrConflict. Messages live for minutes.
	// InvitationSlot takes none.
	RelayPut(ctx context.Context, place [32]byte, slot uint8, message []byte) error
	// RelayGet returns the message at a place and slot, waiting until there
	// is one; when ctx ends before, it returns the context's error. In
	// InvitationSlot lies the invitation whose claim is the place, or nothing
	// for ever: ErrNotFound, without waiting.
	RelayGet(ctx context.Context, place [32]byte, slot uint8) ([]byte, error)
}

// A Session is one authenticated connection of a device, seen from either end:
// Client implements it for the device, the service implements it for Handler.
//
// On the service's side: after the device was revoked every method, a Wait
// that is under way too, returns ErrNotEnrolled, and Handler closes the
// connection. The bytes of a Record or sealed record may be kept; the objects
// of a Put are valid only until it returns. Pages and objects that the service
// hands out are not changed or kept by Handler. Handler calls Close once, when
// no other method runs.
type Session interface {
	signet.Log
	signet.Chunks
	signet.Recovery
	// Usage tells how much the service keeps for whoever owns a region that this
	// device may read.
	Usage(ctx context.Context, region signet.RegionID) (signet.Usage, error)
	// PutRecord stores a sealed record: an opaque signed byte string of at
	// most MaxSealedRecord bytes, such as a device's name. The newest of its
	// kind and owner replaces the one before.
	PutRecord(ctx context.Context, record []byte) error
	// Records returns the sealed records of an owner (a ring or a device)
	// that this device may see; none is no error.
	Records(ctx context.Context, owner [32]byte) ([][]byte, error)
	// Close ends the session and frees what it holds.
	Close()
}

// RelayTime is how long a relayed message lies.
const RelayTime = 15 * time.Minute

// Sizes that both ends enforce, in bytes unless said otherwise.
const (
	MaxHead         = 1 << 20   // Record.Head
	MaxBlob         = 8 << 20   // Record.Blob
	MaxLeaf         = 255       // Record.Leaf
	MaxCheckpoint   = 1<<16 - 1 // a signed note
	MaxProof        = 64        // hashes of an inclusion proof
	MaxObject       = 8 << 20   // a stored object
	MaxRelay        = 64 << 10  // a relayed message
	MaxGlimpse      = 16 << 10  // a sealed glimpse
	MaxSlot         = 7         // the largest slot number of a relay place
	InvitationSlot  = MaxSlot   // the slot that nobody writes: the service's invitations
	MaxSealedRecord = 16 << 10  // a sealed record
	MaxRecords      = 4096      // sealed records of one owner, number
	MaxIDs          = 4096      // object ids in one Have or Get request, number
	MaxHeads        = 65536     // logs in one Wait request, number
	MaxPageRecords  = 65536     // records of one page, number

	maxEnrol   = 1 << 20                        // body of an enrolment
	maxRecord  = MaxLeaf + MaxHead + MaxBlob    // an encoded record, without its lengths
	maxPutBody = 16<<20 + 64<<10                // body of a Put request
	pageTarget = 4 << 20                        // a page is cut after the record that passes this
	maxPage    = pageTarget + maxRecord + 1<<20 // so a page is never above this
	maxError   = 1 << 20                        // body of an error
	maxReoffer = maxPage + 32*MaxProof + 2      // body of a re-offer
	maxRecords = 64 << 20                       // body of a Records answer
)
