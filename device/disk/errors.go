package disk

import (
	"errors"
	"io/fs"
	"syscall"
)

// What an Error can be of. Causes that have a name in io/fs keep it:
// fs.ErrNotExist and fs.ErrPermission.
var (
	ErrRootMissing  = errors.New("the volume's folder is missing")
	ErrRootReplaced = errors.New("the volume's folder is another one") // unmounted, recreated, copied, restored
	ErrIsVolume     = errors.New("the folder is a volume already")
	ErrInUse        = errors.New("another program holds the volume")
	ErrOverlap      = errors.New("volumes overlap")

	ErrChanged   = errors.New("changed meanwhile")                 // not what the caller expected: scan it, plan again
	ErrExists    = errors.New("the name is taken")                 // nothing was overwritten
	ErrNotEmpty  = errors.New("the folder is not empty")           //
	ErrNotFolder = errors.New("not a folder")                      // a link or a file where a folder was expected
	ErrNotFile   = errors.New("not a regular file")                //
	ErrBadPath   = errors.New("not a path inside a volume")        // empty, "..", or inside .signet
	ErrBadName   = errors.New("this file system refuses the name") // too long, or a character it lacks
	ErrMount     = errors.New("inside another mount")              //
	ErrChanging  = errors.New("the folder keeps changing")         // a listing that cannot be trusted to be complete

	ErrNoSpace  = errors.New("no space left")    // or no quota, or no inodes
	ErrReadOnly = errors.New("read-only")        //
	ErrTooLarge = errors.New("file too large")   // for this file system
	ErrBusy     = errors.New("in use elsewhere") // locked, or a mount point
)

// ErrNoMarker is the ErrRootReplaced of a folder that has no marker: an empty
// mount point, or a folder that never was a volume.
var ErrNoMarker = &noMarker{}

type noMarker struct{}

func (*noMarker) Error() string { return "the folder has no volume marker" }
func (*noMarker) Unwrap() error { return ErrRootReplaced }

// An Error says which operation failed on which path. It is of two errors: the
// kind, one of this package's or of io/fs (nil if none fits), and the system's.
type Error struct {
	Op   string
	Path string // relative to the volume; "" is its folder
	Kind error
	Err  error
}

// Error is operation, path and cause.
func (e *Error) Error() string {
	path := e.Path
	if path == "" {
		path = "."
	}
	if e.Kind != nil {
		return e.Op + " " + path + ": " + e.Kind.Error()
	}
	return e.Op + " " + path + ": " + e.Err.Error()
}

// Unwrap lists kind and cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// wrap makes an *Error of err; nil stays nil and an *Error stays as it is.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	return &Error{Op: op, Path: path, Kind: kindOf(err), Err: err}
}

// fail is an *Error without a cause below it.
func fail(op, path string, kind error) error { return &Error{Op: op, Path: path, Kind: kind} }

// kindOf finds the kind of a cause, or nil.
func kindOf(err error) error {
	for _, k := range []error{ErrChanged, ErrExists, ErrNotEmpty, ErrNotFolder, ErrNotFile, ErrBadPath, ErrMount, ErrChanging} {
		if errors.Is(err, k) {
			return k
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if k := kindOfErrno(errno); k != nil {
			return k
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission):
		return fs.ErrPermission
	case errors.Is(err, fs.ErrExist):
		return ErrExists
	}
	return nil
}
