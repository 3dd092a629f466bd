package journal

import (
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/wire"
)

// A Type says what an entry does. Below 16 are content entries, which any
// number of devices write at once; from 16 on authority entries, each of which
// names the one before it.
type Type uint8

// Types of entries. The numbers of ungrant, policy and owner are reserved
// (spec/journal.md).
const (
	Content  Type = 1 // operations; with none it is a point, or pins objects
	Snapshot Type = 2 // names sealed pages of the tree at a digest point

	Genesis  Type = 16
	Grant    Type = 17 // gives a ring a role
	Rekey    Type = 19
	Marker   Type = 22
	Condemn  Type = 23 // names objects that nothing kept uses
	Spare    Type = 24 // takes objects out of what is condemned
	Collect  Type = 25 // ends condemned objects
	Limiting Type = 26 // a horizon: old operations may be dropped

	Complaint Type = 27 // an envelope of the current generation does not open
	Envelope  Type = 28 // adds envelopes of the current generation
)

// Authority reports whether entries of type t form the authority sub-chain.
func (t Type) Authority() bool { return t >= 16 }

// String is the type's name in messages.
func (t Type) String() string {
	switch t {
	case Content:
		return "content"
	case Snapshot:
		return "snapshot"
	case Genesis:
		return "genesis"
	case Grant:
		return "grant"
	case Rekey:
		return "rekey"
	case Marker:
		return "marker"
	case Condemn:
		return "condemn"
	case Spare:
		return "spare"
	case Collect:
		return "collect"
	case Limiting:
		return "horizon"
	case Complaint:
		return "complaint"
	case Envelope:
		return "envelope"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Limits.
const (
	format        = 1
	MaxHeader     = 1 << 10 // bytes
	MaxOperations = 1000
	MaxObjects    = 4096
	MaxEntry      = 4 << 20 // bytes of an entry with all that is bound to it
	// DigestEvery is the distance of digest points: the positions that are
	// multiples of it, besides those of points.
	DigestEvery = 1024
)

// A Header is the signed part of an entry.
type Header struct {
	Type   Type
	Org    signet.OrgID
	Region signet.RegionID // zero in Genesis
	Ring   signet.RingID   // the writer's
	Device signet.DeviceID // the writer

	Own       signet.Hash // content: the writer's previous valid content entry in this region; zero: none
	Authority signet.Hash // content: an authority entry at or before the latest; authority: the latest; zero in Genesis

	Observed  signet.Hash // the region's checkpoint that the writer had seen; zero in Genesis
	Directory signet.Hash // the directory's

	Generation signet.Generation // under which Operations are sealed
	Count      uint16            // operations
	Root       signet.Hash       // Merkle root over the operations' revision ids
	Operations signet.Hash       // of the sealed blob; zero where Count is 0
	Objects    signet.Hash       // of the list of new object ids; zero where there are none
	Body       signet.Hash       // of an authority entry's body; zero where it has none

	DigestAt uint64      // digest point: content: the last at or before the observed head that the writer has replayed; snapshot: its own
	Digest   signet.Hash // the state digest there; zero where DigestAt is 0
}

func (h *Header) append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U8(key.Suite)
	w.U8(format)
	w.U8(uint8(h.Type))
	for _, f := range [][]byte{h.Org[:], h.Region[:], h.Ring[:], h.Device[:], h.Own[:], h.Authority[:], h.Observed[:], h.Directory[:]} {
		w.Raw(f)
	}
	w.U32(uint32(h.Generation))
	w.U16(h.Count)
	for _, f := range [][]byte{h.Root[:], h.Operations[:], h.Objects[:], h.Body[:]} {
		w.Raw(f)
	}
	w.U64(h.DigestAt)
	w.Raw(h.Digest[:])
	return w.B
}

func parseHeader(b []byte) (h Header, err error) {
	r := wire.NewReader(b)
	if s, f := r.U8(), r.U8(); r.Err() == nil && (s != key.Suite || f != format) {
		r.Fail("suite %d, entry format %d", s, f)
	}
	h.Type = Type(r.U8())
	switch h.Type {
	case Content, Snapshot, Genesis, Rekey, Marker, Condemn, Spare, Collect, Limiting, Complaint, Envelope:
	case Grant:
		if !granting {
			r.Fail("entry type %s is reserved", h.Type)
		}
	default:
		r.Fail("unknown entry type %d", h.Type)
	}
	for _, f := range [][]byte{h.Org[:], h.Region[:], h.Ring[:], h.Device[:], h.Own[:], h.Authority[:], h.Observed[:], h.Directory[:]} {
		r.Raw(f)
	}
	h.Generation = signet.Generation(r.U32())
	h.Count = r.U16()
	for _, f := range [][]byte{h.Root[:], h.Operations[:], h.Objects[:], h.Body[:]} {
		r.Raw(f)
	}
	h.DigestAt = r.U64()
	r.Raw(h.Digest[:])
	zero := signet.Hash{}
	switch {
	case h.Count > MaxOperations:
		r.Fail("%d operations", h.Count)
	case (h.Count == 0) != (h.Operations == zero), (h.Count == 0) != (h.Root == zero):
		r.Fail("%d operations, but their hashes say otherwise", h.Count)
	case (h.Type == Genesis) != (h.Region == signet.RegionID{}), (h.Type == Genesis) != (h.Observed == zero):
		r.Fail("region or observed head do not fit the type")
	case h.Directory == zero:
		r.Fail("no directory head")
	case h.Type.Authority() && h.Own != zero:
		r.Fail("an authority entry in a device's content chain")
	case h.Type.Authority() && (h.Objects != zero || h.Type != Genesis && h.Count != 0):
		r.Fail("an authority entry with content")
	case h.DigestAt == 0 && h.Digest != zero:
		r.Fail("a digest of nothing")
	case (h.Type == Genesis) != (h.Authority == zero):
		r.Fail("no authority entry named")
	case (h.Type.Authority() && h.Type != Marker) != (h.Body != zero):
		r.Fail("body does not fit the type")
	case h.Generation == 0:
		r.Fail("generation 0")
	}
	return h, r.Done()
}

func (h *Header) label() key.Label {
	if h.Type.Authority() {
		return key.LabelAuthority
	}
	return key.LabelEntry
}

// A Draft is an entry under construction: what its writer knows. Sign
// completes it.
type Draft struct {
	Header                      // Operations, Objects and Body are filled in by Sign
	Seen, Dir *chain.Checkpoint // Seen is nil in Genesis
	Sealed    []byte            // operations
	IDs       []signet.ObjectID
	Body      []byte // of an authority entry
}

// Sign makes the record that a service accepts, and the entry's hash.
func (d *Draft) Sign(by key.Signer) (signet.Record, signet.Hash, error) {
	h := d.Header
	h.Operations = ring.BlobHash(d.Sealed)
	objects := appendObjects(nil, d.IDs)
	h.Objects = ring.BlobHash(objects)
	h.Body = ring.BlobHash(d.Body)
	h.Directory = d.Dir.Hash()
	var seen []byte
	if d.Seen != nil {
		h.Observed = d.Seen.Hash()
		seen = d.Seen.Bytes()
	}
	b := h.append(nil)
	sig, err := by.Sign(h.label(), b)
	if err != nil {
		return signet.Record{}, signet.Hash{}, err
	}
	var head, blob wire.Writer
	head.Vec16(b)
	head.Vec16(sig)
	head.Vec16(seen)
	head.Vec16(d.Dir.Bytes())
	blob.Vec24(d.Sealed)
	blob.Vec24(objects)
	blob.Vec24(d.Body)
	if n := len(head.B) + len(blob.B); n > MaxEntry {
		return signet.Record{}, signet.Hash{}, fmt.Errorf("entry of %d bytes, at most %d allowed", n, MaxEntry)
	}
	return signet.Record{Head: head.B, Blob: blob.B}, hashHead(head.B), nil
}

// hashHead is an entry's hash. It covers all that the verdict on the entry
// depends on, signature and checkpoints included: were it of the header alone,
// the service could show one device a spoiled signature under the leaf that
// another has the right one for, and the first would pass over the entry in
// silence.
func hashHead(head []byte) signet.Hash { return key.Sum(key.LabelEntryHash, head) }

// HashOf is the hash of the entry whose head is given, unverified: to find
// again what was sent. A head whose parts cannot be told apart is an error.
func HashOf(head []byte) (signet.Hash, error) {
	if _, err := split(head); err != nil {
		return signet.Hash{}, err
	}
	return hashHead(head), nil
}

// RegionOf is the id of the region that a record of its genesis makes.
func RegionOf(head []byte) (signet.RegionID, error) {
	h, err := HashOf(head)
	return signet.RegionID(h), err
}

func appendObjects(b []byte, ids []signet.ObjectID) []byte {
	for _, i := range ids {
		b = append(b, i[:]...)
	}
	return b
}

// item is an entry as it came: parsed, nothing verified.
type item struct {
	Header
	hash      signet.Hash
	header    []byte
	sig       []byte
	seen, dir []byte

	hasBlob bool
	dropped bool // the blob is there, but for the operations
	sealed  []byte
	objects []signet.ObjectID
	body    []byte
	fault   error // the parts are those that the writer bound, and break the limits
}

// split takes a head apart.
func split(head []byte) (*item, error) {
	r := wire.NewReader(head)
	i := &item{header: r.Vec16(MaxHeader), sig: r.Vec16(key.BothSize), seen: r.Vec16(maxCheckpoint), dir: r.Vec16(maxCheckpoint)}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("entry: %w", malformed(err))
	}
	return i, nil
}

// parse reads a head.
func parse(head []byte) (*item, error) { return parseHashed(head, hashHead(head)) }

// parseHashed is parse of a head whose hash is known: it has some 13 KiB, and a start
// replays all of them.
func parseHashed(head []byte, hash signet.Hash) (*item, error) {
	i, err := split(head)
	if err != nil {
		return nil, err
	}
	i.hash = hash
	if i.Header, err = parseHeader(i.header); err != nil {
		return nil, fmt.Errorf("entry header: %w", malformed(err))
	}
	return i, nil
}

// ObjectsOf lists the new objects of an entry, from its whole record.
func ObjectsOf(head, blob []byte) ([]signet.ObjectID, error) {
	i, err := parse(head)
	if err == nil {
		err = i.attach(blob)
	}
	if err != nil {
		return nil, err
	}
	return i.objects, nil
}

const maxPart = 1<<24 - 1 // what a vector with three bytes of length can hold

// attach reads the blob of a parsed head. That of a content entry may lack the
// operations: whether it may here, is for who replays them. Its error means that the blob is not
// the one that the writer bound: that is the service's doing and says nothing
// of the entry. What the writer did wrong is in fault.
func (i *item) attach(blob []byte) error {
	r := wire.NewReader(blob)
	sealed, objects, body := r.Vec24(maxPart), r.Vec24(maxPart), r.Vec24(maxPart)
	if err := r.Done(); err != nil {
		return fmt.Errorf("entry: parts: %w", malformed(err))
	}
	i.dropped = len(sealed) == 0 && i.Operations != signet.Hash{} && !i.Type.Authority()
	if ring.BlobHash(sealed) != i.Operations && !i.dropped || ring.BlobHash(objects) != i.Objects || ring.BlobHash(body) != i.Body {
		return fmt.Errorf("entry: parts are not those that the header names: %w", errMalformed)
	}
	i.hasBlob = true
	switch size := len(i.header) + len(i.sig) + len(i.seen) + len(i.dir) + 8 + len(blob); {
	case size > MaxEntry:
		i.fault = fmt.Errorf("entry of %d bytes: %w", size, errMalformed)
	case len(objects) > MaxObjects*32 || len(objects)%32 != 0:
		i.fault = fmt.Errorf("object ids of %d bytes: %w", len(objects), errMalformed)
	default:
		i.sealed, i.body = sealed, body
		for ; len(objects) > 0; objects = objects[32:] {
			i.objects = append(i.objects, signet.ObjectID(objects[:32]))
		}
	}
	return nil
}

const maxCheckpoint = 8 << 10 // bytes

// A Leaf is what a region's Merkle tree is over: one entry.
type Leaf struct {
	Hash signet.Hash // of the entry's header
	Time int64       // the service's, in ms since 1970; never decreasing
}

// LeafSize is the length of an encoded Leaf in bytes.
const LeafSize = 32 + 8

// Append appends the encoding of l to b.
func (l Leaf) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.Raw(l.Hash[:])
	w.I64(l.Time)
	return w.B
}

// ParseLeaf reads what Append wrote.
func ParseLeaf(b []byte) (l Leaf, err error) {
	r := wire.NewReader(b)
	r.Raw(l.Hash[:])
	l.Time = r.I64()
	if l.Time < 0 {
		r.Fail("time before 1970")
	}
	return l, r.Done()
}

// IDOf reads the region and type of a record without verifying anything: for
// routing.
func IDOf(head []byte) (Header, error) {
	r := wire.NewReader(head)
	b := r.Vec16(MaxHeader)
	if r.Err() != nil {
		return Header{}, fmt.Errorf("entry: %w", r.Err())
	}
	return parseHeader(b)
}
