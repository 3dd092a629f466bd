// Package cold is the export of a region: a copy on a disk that is put away, and
// that opens without any service.
//
// It promises that a run which is cut off leaves the export of the run before
// whole; that an object is there under its name only with the bytes that hash to
// it, as far as whoever wrote it could see; and that what Open returns was
// verified as if the service had given it: statements, entries, checkpoints, and
// the exporting device's signature over all of it. It cannot tell a true export
// from an older true one of the same region. It holds no key, and opens nothing
// but with the keys that it is given.
//
// Source: spec/export.md.
package cold

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"signet"
	"signet/internal/durable"
)

// Names in an export.
const (
	fileManifest = "signet-export"
	fileSpare    = "signet-export.copy"
	fileBegun    = "signet-export.begun" // until the first manifest is written
	dirLogs      = "logs"
	dirSpare     = "logs.copy"
	dirObjects   = "objects"
)

// Limits in bytes.
const (
	maxManifest = 1 << 24
	maxSegment  = 1 << 28
	maxObject   = 16 << 20 // more is no object
)

// What is wrong with a folder that is taken for an export.
var (
	// ErrNone says that there is no export in a folder.
	ErrNone = errors.New("no export")
	// ErrUnfinished says that no run of an export has got to its end yet.
	ErrUnfinished = errors.New("an export that no run has finished")
	// ErrOther says that an export is of another region or organisation.
	ErrOther = errors.New("the export of something else")
	// ErrNewer says that a newer program wrote an export.
	ErrNewer = errors.New("written by a newer version")
	// ErrTaken says that a folder has other things in it.
	ErrTaken = errors.New("not empty, and no export")
	// ErrDamaged says that something in an export is not what was exported. It is
	// a signet.ErrNotVerified.
	ErrDamaged = fmt.Errorf("not what was exported: %w", signet.ErrNotVerified)
)

// A Damage is a file of an export that is not what it was, or not there.
type Damage struct {
	File   string // below the export's folder
	Gone   bool   // not there; else there with other bytes
	Spared bool   // and its copy was used instead
	Object signet.ObjectID
	Paths  []string // the region's files that need it; empty: older versions, or none, do
}

// Kind is the stable name of what happened to the file.
func (d Damage) Kind() string {
	if d.Gone {
		return "export_missing"
	}
	return "export_damaged"
}

// Error says which file it is.
func (d Damage) Error() string {
	what := "is not what was exported"
	if d.Gone {
		what = "is missing"
	}
	if d.Spared {
		what += "; its copy is good and was used"
	}
	return d.File + " " + what
}

func segmentName(s Segment) string {
	kind := "journal"
	if s.Kind == signet.DirectoryLog {
		kind = "directory"
	}
	return fmt.Sprintf("%s-%016x", kind, s.From)
}

// objectName is where an object lies: a thousand folders keep each one short.
func objectName(id signet.ObjectID) string {
	text := id.String()
	return path.Join(dirObjects, text[len("obj_"):len("obj_")+2], text)
}

// read reads a file of an export whole. What is no file is not there: a disk that
// somebody else had may have pipes and links.
func read(root *os.Root, name string, most int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// readObject reads an object; ErrDamaged where it is not what its name says,
// fs.ErrNotExist where it is not there.
func readObject(root *os.Root, id signet.ObjectID) ([]byte, error) {
	b, err := read(root, objectName(id), maxObject)
	if err == nil && sha256.Sum256(b) != id {
		err = fmt.Errorf("%s: %w", objectName(id), ErrDamaged)
	}
	return b, err
}

// write puts a file into an export whole or not at all, durably. The mode is the
// disk's own business: file systems without owners refuse to set one.
func write(dir, name string, data []byte) error {
	to := filepath.Join(dir, filepath.FromSlash(name))
	tmp := filepath.Join(filepath.Dir(to), ".signet-"+rand.Text()[:12])
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = durable.SyncFile(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.Rename(tmp, to)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// begun is what the first run writes before all else, so that the next one knows
// the folder for its own.
func begun(org signet.OrgID, region signet.RegionID) []byte {
	return fmt.Appendf(nil, "signet export begun 1\n%s\n%s\n", org, region)
}

// Usable says whether a region can be exported to a folder: it is empty, or has
// an export of that region, or is not there while the folder around it is. It
// changes nothing. Other errors are ErrOther, ErrTaken, ErrNewer, ErrDamaged or of the disk.
func Usable(dir string, org signet.OrgID, region signet.RegionID) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(dir))
		return err
	}
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if have, err := read(root, fileBegun, maxManifest); err == nil && !bytes.Equal(have, begun(org, region)) {
		return fmt.Errorf("%s: %w", dir, ErrOther)
	} else if err == nil {
		return nil
	}
	list, _, err := manifests(root)
	switch {
	case err == nil && (list[0].Org != org || list[0].Region != region):
		return fmt.Errorf("%s: %w", dir, ErrOther)
	case !errors.Is(err, ErrNone):
		return err
	}
	for _, e := range entries {
		// What a disk's own root has, and what a run leaves that was cut off before
		// it had written anything.
		if n := e.Name(); n != "lost+found" && n != "lock" && !strings.HasPrefix(n, ".signet-") {
			return fmt.Errorf("%s: %w", dir, ErrTaken)
		}
	}
	return nil
}
