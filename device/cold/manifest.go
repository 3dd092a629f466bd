package cold

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/wire"
)

const (
	manifestMagic  = "signet export 1\n"
	manifestFormat = 1
)

// A Manifest says what an export holds.
type Manifest struct {
	Org    signet.OrgID
	Region signet.RegionID
	Ring   signet.RingID
	Device signet.DeviceID // exported, and signed
	ID     [16]byte        // of this export, random, the same in all runs: disks that are used in turn have one name

	Made    int64  // when the run ended, ms since 1970
	Checked int64  // when all objects were last read and hashed, ms since 1970; 0: never
	Every   uint32 // how old it is to become, in minutes; 0: not said
	Place   string // where the disk is kept; "": not said

	Directory, Journal []byte // full checkpoints, as signed

	Objects, Bytes uint64 // that are there
	Missing        []signet.ObjectID
	Segments       []Segment

	raw, sig []byte // of a parsed one
}

// MaxPlace is how long a place may be, in bytes.
const MaxPlace = 255

// A Segment is a run of records of a log in one file.
type Segment struct {
	Kind  signet.LogKind
	From  uint64
	Count uint32
	Sum   [32]byte // SHA-256 of the file
}

func (m *Manifest) body() []byte {
	var w wire.Writer
	w.U8(key.Suite)
	w.U8(manifestFormat)
	for _, id := range [][32]byte{m.Org, m.Region, m.Ring, m.Device} {
		w.Raw(id[:])
	}
	w.Raw(m.ID[:])
	w.I64(m.Made)
	w.I64(m.Checked)
	w.U32(m.Every)
	w.Vec8([]byte(m.Place))
	w.Vec16(m.Directory)
	w.Vec16(m.Journal)
	w.U64(m.Objects)
	w.U64(m.Bytes)
	w.U32(uint32(len(m.Missing)))
	for _, id := range m.Missing {
		w.Raw(id[:])
	}
	w.U32(uint32(len(m.Segments)))
	for _, s := range m.Segments {
		w.U8(uint8(s.Kind))
		w.U64(s.From)
		w.U32(s.Count)
		w.Raw(s.Sum[:])
	}
	return w.B
}

// Sign signs the manifest and returns it as a file.
func (m *Manifest) Sign(by key.Signer) ([]byte, error) {
	body := m.body()
	if len(body) >= maxManifest {
		return nil, fmt.Errorf("manifest of %d bytes", len(body))
	}
	sig, err := by.Sign(key.LabelExport, body)
	if err != nil {
		return nil, err
	}
	w := wire.Writer{B: []byte(manifestMagic)}
	w.Vec24(body)
	w.Vec16(sig)
	return w.B, nil
}

// Verify checks the signature, by the device that the manifest names.
func (m *Manifest) Verify(by *key.Public) error { return by.Verify(key.LabelExport, m.raw, m.sig) }

// ParseManifest reads what Sign wrote. The signature is not checked. Errors are
// ErrNewer or ErrDamaged.
func ParseManifest(file []byte) (*Manifest, error) {
	if !bytes.HasPrefix(file, []byte(manifestMagic)) {
		var n int
		if _, err := fmt.Sscanf(string(file[:min(len(file), 32)]), "signet export %d\n", &n); err == nil && n > 1 {
			return nil, fmt.Errorf("export format %d: %w", n, ErrNewer)
		}
		return nil, fmt.Errorf("manifest: %w", ErrDamaged)
	}
	r := wire.NewReader(file[len(manifestMagic):])
	m := &Manifest{raw: r.Vec24(maxManifest), sig: r.Vec16(key.BothSize)}
	err := r.Done()
	if err == nil {
		err = m.parse(m.raw)
	}
	if err != nil && !errors.Is(err, ErrNewer) {
		err = fmt.Errorf("manifest: %w: %w", err, ErrDamaged)
	}
	return m, err
}

func (m *Manifest) parse(body []byte) error {
	r := wire.NewReader(body)
	if suite, format := r.U8(), r.U8(); r.Err() == nil && (suite != key.Suite || format != manifestFormat) {
		return fmt.Errorf("suite %d, export format %d: %w", suite, format, ErrNewer)
	}
	for _, id := range [][]byte{m.Org[:], m.Region[:], m.Ring[:], m.Device[:], m.ID[:]} {
		r.Raw(id)
	}
	m.Made, m.Checked, m.Every = r.I64(), r.I64(), r.U32()
	m.Place = string(r.Vec8(MaxPlace))
	m.Directory, m.Journal = bytes.Clone(r.Vec16(1<<16-1)), bytes.Clone(r.Vec16(1<<16-1))
	m.Objects, m.Bytes = r.U64(), r.U64()
	if m.Made < 0 || m.Checked < 0 || !utf8.ValidString(m.Place) {
		r.Fail("a time before 1970, or a place that is not UTF-8")
	}
	for n := r.U32(); n > 0 && r.Err() == nil; n-- {
		var id signet.ObjectID
		r.Raw(id[:])
		if k := len(m.Missing); k > 0 && bytes.Compare(m.Missing[k-1][:], id[:]) >= 0 {
			r.Fail("missing objects out of order")
		}
		m.Missing = append(m.Missing, id)
	}
	m.readSegments(r)
	return r.Done()
}

func (m *Manifest) readSegments(r *wire.Reader) {
	kind, next := signet.DirectoryLog, uint64(0)
	for n := r.U32(); n > 0 && r.Err() == nil; n-- {
		s := Segment{Kind: signet.LogKind(r.U8()), From: r.U64(), Count: r.U32()}
		r.Raw(s.Sum[:])
		if s.Kind == signet.RegionLog && kind == signet.DirectoryLog {
			kind, next = s.Kind, 0
		}
		if s.Kind != kind || s.From != next || s.Count == 0 {
			r.Fail("segments out of order")
		}
		next += uint64(s.Count)
		m.Segments = append(m.Segments, s)
	}
}

// size is how many records of a log the segments hold.
func (m *Manifest) size(kind signet.LogKind) (n uint64) {
	for _, s := range m.Segments {
		if s.Kind == kind {
			n += uint64(s.Count)
		}
	}
	return n
}

// heads opens the checkpoints, which must be full and cover just what is there.
func (m *Manifest) heads(by *key.Public) (dir, journal *chain.Checkpoint, err error) {
	if dir, err = chain.Open(m.Directory, signet.Directory(m.Org), by); err != nil {
		return nil, nil, err
	}
	if journal, err = chain.Open(m.Journal, signet.Journal(m.Region), by); err != nil {
		return nil, nil, err
	}
	if !dir.Full || !journal.Full || dir.Size != m.size(signet.DirectoryLog) || journal.Size != m.size(signet.RegionLog) {
		return nil, nil, fmt.Errorf("manifest: its checkpoints are of other logs than it lists: %w", ErrDamaged)
	}
	return dir, journal, nil
}

// Entries is how many entries of the region's journal a manifest's checkpoint
// covers, as it says itself: for showing, not for trusting.
func Entries(m *Manifest) (entries uint64, err error) {
	var name string
	if _, err := fmt.Fscan(bytes.NewReader(m.Journal), &name, &entries); err != nil {
		return 0, fmt.Errorf("manifest: checkpoint: %w", ErrDamaged)
	}
	return entries, nil
}

// Peek reads the manifest of an export without verifying anything but its form:
// to know which export it is.
func Peek(dir string) (*Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	list, _, err := manifests(root)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// manifests reads the manifest and its copy, as far as they are readable: those
// to be tried, the first first. damage are those that are not.
func manifests(root *os.Root) (list []*Manifest, damage []Damage, err error) {
	var newer error
	for _, name := range []string{fileManifest, fileSpare} {
		b, err := read(root, name, maxManifest+1<<16)
		if errors.Is(err, fs.ErrNotExist) {
			damage = append(damage, Damage{File: name, Gone: true})
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil, err
		}
		if err != nil { // a bad sector
			damage = append(damage, Damage{File: name})
			continue
		}
		m, err := ParseManifest(b)
		if errors.Is(err, ErrNewer) {
			newer = err
		}
		if err != nil {
			damage = append(damage, Damage{File: name})
			continue
		}
		list = append(list, m)
	}
	switch {
	case newer != nil:
		return nil, nil, newer
	case len(list) > 0:
		return list, damage, nil
	case len(damage) == 2 && damage[0].Gone && damage[1].Gone:
		if _, err := root.Lstat(fileBegun); err == nil {
			return nil, nil, ErrUnfinished
		}
		return nil, nil, ErrNone
	}
	return nil, nil, fmt.Errorf("%s and its copy: %w", fileManifest, ErrDamaged)
}
