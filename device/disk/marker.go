package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"signet/core/tree"
	"signet/internal/durable"
)

// A Marker is the file .signet/marker: it ties a volume and its region to one
// folder of one file system. Its signature is the caller's business, made and
// verified over Body; this package has no keys.
type Marker struct {
	Format    int    `json:"format"` // 1
	Volume    string `json:"volume"` // which volume of which device; the caller's
	Region    string `json:"region"` // reg_…
	Root      RootID `json:"root"`
	Signature []byte `json:"signature,omitempty"`
}

// A RootID tells one folder from every other: from an empty mount point, from
// one made anew under the same path, from a copy. Device numbers are not in
// it; they change when a machine starts.
type RootID struct {
	UUID       string `json:"uuid,omitempty"` // of the file system, where it tells
	FileSystem string `json:"file_system"`    // id of statfs
	Inode      uint64 `json:"inode"`
	Birth      int64  `json:"birth,omitempty"` // nanoseconds since 1970
}

func (a RootID) is(b RootID) bool {
	if a.Inode != b.Inode || a.Birth != b.Birth && a.Birth != 0 && b.Birth != 0 {
		return false
	}
	if a.UUID != "" && b.UUID != "" {
		return a.UUID == b.UUID
	}
	return a.FileSystem == b.FileSystem
}

// Body is what the signature is over: the marker's encoding without it.
func (m Marker) Body() []byte {
	m.Signature = nil
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// A Signer makes the signature of a marker's body.
type Signer func(body []byte) (signature []byte, err error)

// Create makes dir, which must exist, a volume: .signet and in it the marker,
// last. ErrIsVolume if it has a marker, of whatever device; ErrInUse if another
// program holds it. A crash leaves a folder that Create accepts again.
func Create(dir, volume, region string, sign Signer) (*Volume, *Marker, error) {
	return create(dir, volume, region, sign, false)
}

// Relink is Create for a folder that may have a marker already, which it
// replaces: after a person said that this folder takes the place of the one
// that the old marker names. The caller must then forget its base, so that no
// absence reads as a deletion.
func Relink(dir, volume, region string, sign Signer) (*Volume, *Marker, error) {
	return create(dir, volume, region, sign, true)
}

func create(dir, volume, region string, sign Signer, replace bool) (_ *Volume, _ *Marker, err error) {
	v, err := openVolume(dir)
	if err != nil {
		return nil, nil, err
	}
	defer closeOnError(v, &err)
	if err := v.fs.mkdir(private, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, wrap("create", dir, err)
	}
	if err := v.fs.lock(); err != nil {
		return nil, nil, wrapKind("create", dir, err)
	}
	if _, err := v.fs.lstat(markerPath); err == nil && !replace {
		return nil, nil, fail("create", dir, ErrIsVolume)
	}
	if err := v.prepare(); err != nil {
		return nil, nil, err
	}
	v.traits = probeNames(staging{v.fs})
	m := &Marker{Format: 1, Volume: volume, Region: region, Root: v.rootID()}
	if m.Signature, err = sign(m.Body()); err != nil {
		return nil, nil, fmt.Errorf("create %s: sign marker: %w", dir, err)
	}
	if err := v.writeMarker(m); err != nil {
		return nil, nil, wrap("create", dir, err)
	}
	return v, m, nil
}

// Open opens a volume and reads its marker, whose signature the caller
// verifies. ErrRootMissing if dir is not there; ErrNoMarker if it has none;
// ErrRootReplaced if the marker is of another folder (a copy, a restored
// backup, another disk); ErrInUse if another program holds it. Nothing may be
// concluded from what such a folder contains or lacks.
func Open(dir string) (_ *Volume, _ *Marker, err error) {
	v, err := openVolume(dir)
	if err != nil {
		return nil, nil, err
	}
	defer closeOnError(v, &err)
	m, err := v.readMarker()
	if err != nil {
		return nil, nil, err
	}
	if !m.Root.is(v.rootID()) {
		return nil, m, fail("open", dir, ErrRootReplaced)
	}
	if err := v.fs.lock(); err != nil {
		return nil, m, wrapKind("open", dir, err)
	}
	if err := v.prepare(); err != nil && !errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrNoSpace) {
		return nil, m, err
	}
	v.traits = probeNames(staging{v.fs})
	return v, m, nil
}

func openVolume(dir string) (*Volume, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f, err := openFS(dir)
	if err != nil {
		kind := kindOf(err)
		if kind == fs.ErrNotExist || kind == ErrNotFolder {
			kind = ErrRootMissing
		}
		return nil, &Error{Op: "open", Path: dir, Kind: kind, Err: err}
	}
	return &Volume{fs: f, dir: dir, dirty: map[string]bool{}}, nil
}

func closeOnError(v *Volume, err *error) {
	if *err != nil {
		v.Close()
	}
}

func wrapKind(op, path string, err error) error {
	if errors.Is(err, ErrInUse) {
		return fail(op, path, ErrInUse)
	}
	return wrap(op, path, err)
}

// prepare makes the folders that staging and trash need, and finds out what
// the file system can do.
func (v *Volume) prepare() error {
	for _, p := range []string{stagingPath, trashPath} {
		if err := v.fs.mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return wrap("make", p, err)
		}
	}
	v.fs.probe()
	return nil
}

func (v *Volume) rootID() RootID {
	uuid, id := v.fs.fileSystem()
	return RootID{UUID: uuid, FileSystem: id, Inode: v.fs.self.Inode, Birth: v.fs.self.Birth}
}

// writeMarker replaces the marker as any file is replaced: whole, synced,
// renamed, folder synced.
func (v *Volume) writeMarker(m *Marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	v.marker, err = v.writePrivate(markerPath, append(data, '\n'))
	return err
}

// writePrivate replaces a file of .signet durably.
func (v *Volume) writePrivate(path string, data []byte) (st tree.Stat, err error) {
	s, err := v.Stage("")
	if err != nil {
		return st, err
	}
	defer s.Discard()
	if _, err := s.Write(data); err != nil {
		return st, err
	}
	if err := durable.SyncFile(s.f); err != nil {
		return st, err
	}
	if err := v.fs.renamePlain(s.path, path); err != nil {
		return st, err
	}
	if st, err = s.done("write", path); err != nil {
		return st, err
	}
	d, err := v.fs.openFolder(private)
	if err != nil {
		return st, err
	}
	top, err := v.fs.openFolder("")
	if err != nil {
		return st, errors.Join(err, d.Close())
	}
	return st, errors.Join(syncFolder(d), d.Close(), syncFolder(top), top.Close())
}

const choicePath = private + "/choice"

// SetChoice leaves a number in .signet, durably: how often somebody chose what is
// in this folder. An index that has counted less is older than the folder.
func (v *Volume) SetChoice(n uint64) error {
	_, err := v.writePrivate(choicePath, fmt.Appendf(nil, "%d\n", n))
	return wrap("write", choicePath, err)
}

// Choice is the number that SetChoice left; 0 where none is there. One that cannot
// be read is the greatest: then every index is older.
func (v *Volume) Choice() (uint64, error) {
	f, _, err := v.fs.openRead(choicePath)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap("open", choicePath, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, wrap("read", choicePath, err)
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(string(data), "\n"), 10, 64)
	if err != nil {
		n = math.MaxUint64 / 2 // and there is room to count on
	}
	return n, nil
}

func (v *Volume) readMarker() (*Marker, error) {
	f, s, err := v.fs.openRead(markerPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Op: "open", Path: v.dir, Kind: ErrNoMarker, Err: err}
	}
	if err != nil {
		return nil, wrap("open", markerPath, err)
	}
	defer f.Close()
	const most = 64 << 10
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, wrap("read", markerPath, err)
	}
	var m Marker
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, &Error{Op: "read", Path: markerPath, Kind: ErrNoMarker, Err: err}
	}
	if m.Format != 1 {
		return nil, &Error{Op: "read", Path: markerPath, Err: fmt.Errorf("format %d is not known to this version", m.Format)}
	}
	v.marker = s
	return &m, nil
}

// Overlap reports (ErrOverlap, with the other folder's path) whether dir lies
// in a volume, is one of volumes, or contains one of them. A folder that is
// reached by another path is still found: folders are compared, not names.
func Overlap(dir string, volumes ...string) error {
	real, err := realPath(dir)
	if err != nil {
		return err
	}
	for up := filepath.Dir(real); ; up = filepath.Dir(up) {
		if _, err := os.Lstat(filepath.Join(up, private, "marker")); err == nil {
			return fail("add", up, ErrOverlap)
		}
		if up == filepath.Dir(up) {
			break
		}
	}
	for _, other := range volumes {
		path, err := realPath(other)
		if err != nil {
			continue // not there: nothing to overlap with now
		}
		if above(real, path) || above(path, real) {
			return fail("add", other, ErrOverlap)
		}
	}
	return nil
}

func realPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// above reports whether folder is path or one of the folders above it.
func above(folder, path string) bool {
	want, err := os.Stat(folder)
	if err != nil {
		return false
	}
	for {
		if st, err := os.Stat(path); err == nil && os.SameFile(want, st) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}
