// Package signet holds the nouns of Signet and the seams between a device and
// the service: Log, which orders, Chunks, which stores, and Recovery, which mends
// what a service lost.
//
// It imports the standard library only, does no I/O and holds no key. What the
// words mean is in GLOSSARY.md; what the bytes are is in spec/.
package signet

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// A Hash is a SHA-256 digest (FIPS 180-4).
type Hash [32]byte

// Identifiers. Each is printed with a prefix of its own, so that one cannot be
// taken for another in a message, a script or a log.
type (
	// OrgID names an organisation: the hash of its root statement. It is the
	// root fingerprint that every device pins.
	OrgID [32]byte
	// RingID names a ring: the hash of its genesis statement.
	RingID [32]byte
	// DeviceID names a device: the hash of its two public keys and its class.
	DeviceID [32]byte
	// RegionID names a region: the hash of its genesis entry.
	RegionID [32]byte
	// ObjectID names a stored object: the SHA-256 of exactly its stored bytes.
	ObjectID [32]byte
	// RevisionID names one version of one field of a node: the salted hash of
	// the operation that made it. Known to its writer before it is ordered.
	RevisionID [32]byte
	// NodeID names a file, folder or link through all its moves: 128 random
	// bits chosen by the device that created it.
	NodeID [16]byte
)

// Generation is the number of a ring's or region's key. The first is 1; a
// removal starts the next. Zero means none.
type Generation uint32

// A LogKind tells what a log records.
type LogKind uint8

// The two kinds of log.
const (
	DirectoryLog LogKind = 1 // the organisation's statements; the id is its OrgID
	RegionLog    LogKind = 2 // a region's journal; the id is its RegionID
)

// A LogID names a log.
type LogID struct {
	Kind LogKind
	ID   [32]byte
}

// Directory is the log of an organisation's statements.
func Directory(o OrgID) LogID { return LogID{DirectoryLog, o} }

// Journal is the log of a region.
func Journal(r RegionID) LogID { return LogID{RegionLog, r} }

// A Record is one item of a log as the service stores it: raw bytes, because
// the service is not trusted to parse for a device.
type Record struct {
	Leaf []byte // what the log's Merkle tree is over (spec/chain.md)
	Head []byte // the signed part: a statement, or an entry header with its signature and the checkpoints it names; empty where withheld
	Blob []byte // what Head binds by hash: operations, object ids, envelopes; empty where withheld or not asked for
}

// A Page is a run of records of one log, and a checkpoint that covers it.
type Page struct {
	Log        LogID
	From       uint64   // position of the first record; the log's first is 0
	Records    []Record // may be empty
	Checkpoint []byte   // signed note (spec/chain.md)
}

// A Receipt is what the service answers to an append: the position that the
// item got, its leaf, a checkpoint that covers it, and the inclusion proof of
// the leaf in it. Nothing less acknowledges an item.
type Receipt struct {
	Position   uint64
	Leaf       []byte
	Checkpoint []byte
	Proof      []Hash
}

// Parts says which parts of records a Read returns.
type Parts uint8

// Parts of a record; they can be or-ed. Leaves always come.
const (
	LeafOnly Parts = 0
	WithHead Parts = 1
	WithBlob Parts = 2
	Whole    Parts = WithHead | WithBlob
)

// Log is the ordering half of the service as a device sees it.
type Log interface {
	// Append offers a record (Leaf empty: the service makes it) to a log. A
	// record whose bytes the log already has is answered with its receipt.
	// sent is the device's time in milliseconds since 1970.
	Append(ctx context.Context, log LogID, r Record, sent int64) (Receipt, error)
	// Read returns records from position from on, at least one if there is
	// one, at most as many as the service likes, and its newest checkpoint.
	Read(ctx context.Context, log LogID, from uint64, parts Parts) (Page, error)
	// Wait calls each with a page for every log of heads that has grown past
	// the size given, now and as it happens, until ctx ends or each fails.
	// A log that the service starts to offer to this device later (a new
	// region) comes with From 0. When what there was at the beginning is
	// through, an empty page of the directory says so, once. What others show
	// meanwhile goes to shown, if that is not nil; calls do not overlap.
	Wait(ctx context.Context, heads map[LogID]uint64, each func(Page) error, shown func(Glimpse)) error
}

// A Glimpse is what a device showed of a file that it is still sending. The service
// may have lost, repeated or invented it (spec/content.md).
type Glimpse struct {
	Region RegionID
	From   DeviceID
	Sealed []byte
}

// A Reoffer is a run of records that a restored service lost, with what shows
// that it had them: Page.Checkpoint is one that it signed and that covers them,
// Proof the consistency proof from the tree that ends with Page's last record to
// that checkpoint. A page without records shows what the device has seen.
type Reoffer struct {
	Page
	Proof []Hash
	Done  bool // the device holds nothing more for this log; of the directory: for any log
}

// Recovery is how devices give back what a restored service lost.
type Recovery interface {
	// Recovering lists the logs that take nothing but re-offers yet.
	Recovering(ctx context.Context) ([]LogID, error)
	// Reoffer gives records of a log back, and shows what the device has seen of
	// it. It answers with the log's size, and whether the log takes entries.
	Reoffer(ctx context.Context, r Reoffer) (size uint64, whole bool, err error)
}

// Chunks is the storing half of the service as a device sees it.
type Chunks interface {
	// Have returns those of ids that the service lacks in region.
	Have(ctx context.Context, region RegionID, ids []ObjectID) (missing []ObjectID, err error)
	// Put stores objects, which it only borrows. Their durability is the business of the entry that
	// names them: until one does, the service may forget them.
	Put(ctx context.Context, region RegionID, objects [][]byte) error
	// Get calls each once for every id, in any order, with bytes that need
	// not be what the id promises: the caller checks. object is valid only
	// during the call, and calls do not overlap. An id that the service lacks is ErrNotFound.
	Get(ctx context.Context, region RegionID, ids []ObjectID, each func(id ObjectID, object []byte) error) error
	// Show passes a sealed glimpse to the devices that wait at this moment and may
	// read the region, and keeps nothing. seen tells whether there was one.
	Show(ctx context.Context, region RegionID, sealed []byte) (seen bool, err error)
}

// A Usage says how many bytes the service keeps: records, and objects that they
// name. What was uploaded and is not named yet does not count.
type Usage struct {
	Region int64 // of a region
	Used   int64 // of all regions of its owner
	Limit  int64 // that these may have at most; 0: no limit
}

// Sentinels: only for what a caller does differently.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")            // somebody else was first: read and decide again
	ErrNotAllowed  = errors.New("not allowed")         // not enrolled, revoked, role, policy, quota
	ErrNotVerified = errors.New("not verified")        // security alarm: never retried, never downgraded, always shown
	ErrUnavailable = errors.New("service unreachable") // try again later
	ErrStale       = errors.New("stale generation")    // rekey first
)

var textEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func format(prefix string, b []byte) string { return prefix + textEncoding.EncodeToString(b) }

func parse(prefix, s string, dst []byte) error {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return fmt.Errorf("identifier %q does not begin with %q", s, prefix)
	}
	b, err := textEncoding.DecodeString(rest)
	// The last character of a base32 string may carry unused bits: only one
	// spelling of an identifier is accepted.
	if err != nil || len(b) != len(dst) || textEncoding.EncodeToString(b) != rest {
		return fmt.Errorf("identifier %q is malformed", s)
	}
	copy(dst, b)
	return nil
}

func (h Hash) String() string       { return format("", h[:]) }
func (i OrgID) String() string      { return format("org_", i[:]) }
func (i RingID) String() string     { return format("ring_", i[:]) }
func (i DeviceID) String() string   { return format("dev_", i[:]) }
func (i RegionID) String() string   { return format("reg_", i[:]) }
func (i ObjectID) String() string   { return format("obj_", i[:]) }
func (i RevisionID) String() string { return format("rev_", i[:]) }
func (i NodeID) String() string     { return format("node_", i[:]) }

// String is "directory/org_…" or "journal/reg_…".
func (l LogID) String() string {
	if l.Kind == DirectoryLog {
		return "directory/" + OrgID(l.ID).String()
	}
	return "journal/" + RegionID(l.ID).String()
}

// ParseLogID reads what LogID.String wrote.
func ParseLogID(s string) (LogID, error) {
	if rest, ok := strings.CutPrefix(s, "directory/"); ok {
		o, err := ParseOrgID(rest)
		return Directory(o), err
	}
	if rest, ok := strings.CutPrefix(s, "journal/"); ok {
		r, err := ParseRegionID(rest)
		return Journal(r), err
	}
	return LogID{}, fmt.Errorf("log %q is neither a directory nor a journal", s)
}

// ParseOrgID reads what OrgID.String wrote; so do its siblings below.
func ParseOrgID(s string) (i OrgID, err error)           { err = parse("org_", s, i[:]); return }
func ParseRingID(s string) (i RingID, err error)         { err = parse("ring_", s, i[:]); return }
func ParseDeviceID(s string) (i DeviceID, err error)     { err = parse("dev_", s, i[:]); return }
func ParseRegionID(s string) (i RegionID, err error)     { err = parse("reg_", s, i[:]); return }
func ParseObjectID(s string) (i ObjectID, err error)     { err = parse("obj_", s, i[:]); return }
func ParseRevisionID(s string) (i RevisionID, err error) { err = parse("rev_", s, i[:]); return }
func ParseNodeID(s string) (i NodeID, err error)         { err = parse("node_", s, i[:]); return }

// IsZero reports whether i is unset. RootNode, the region's own folder, is the
// zero node.
func (i NodeID) IsZero() bool { return i == NodeID{} }

// IsZero reports whether i is unset.
func (i RevisionID) IsZero() bool { return i == RevisionID{} }

// Compare orders nodes by their bytes.
func (i NodeID) Compare(j NodeID) int { return bytes.Compare(i[:], j[:]) }

// RootNode is the folder at the top of every region. It has no operations and
// cannot be moved or deleted.
var RootNode NodeID
