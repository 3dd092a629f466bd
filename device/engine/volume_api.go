package engine

import (
	"context"
	"io"
	"time"

	"signet/core/tree"
)

// Volume is an open folder, as the engine needs it: looked at through Looker,
// changed through Changer. Paths are relative, "/"-separated, any bytes; "" is
// the folder itself. Errors are judged with Classify, which the wiring sets.
type Volume interface {
	Looker
	Changer
	// Identity is what the folder's signed marker says: which volume, which
	// region.
	Identity() (volume, region string)
	// Choice is the number that SetChoice left in the folder, durably and outside of
	// what is scanned; 0 where none is there.
	Choice() (uint64, error)
	SetChoice(n uint64) error
	// Caps is what names the disk takes for one or cannot hold; always the same.
	Caps() tree.Caps
	Close() error
}

// A Looker reads a folder.
type Looker interface {
	// Check fails where the folder is missing or is another one than was
	// opened: then nothing may be concluded from what is not there.
	Check() error
	// Scan lists a folder and all below it, a folder before what is in it, but
	// not the folders that skip names; it may be nil, and is called concurrently.
	Scan(ctx context.Context, from string, skip func(path string) bool, emit func(Listing) error) error
	// Stat looks at one name; "" is the folder itself.
	Stat(path string) (tree.Stat, error)
	// Read opens a settled file. Its Close reports whether the file stayed as
	// it was from before to after the reading.
	Read(path string) (Reading, error)
	// Watch says where to look, but not in folders that skip names. The channel
	// closes when ctx ends, or when the watch breaks.
	Watch(ctx context.Context, skip func(path string) bool) (<-chan Event, error)
}

// A Changer changes a folder. Nothing is overwritten or removed that is not
// what was expected; what is displaced goes to the trash under an id.
type Changer interface {
	Stage(name string) (Staged, error)
	// StagedSize is how far a file of that name was written by an earlier run.
	StagedSize(name string) int64
	// Settle makes staged files durable; Place and Replace want that.
	Settle(ctx context.Context, files []Staged) error
	Place(s Staged, path string) (tree.Stat, error)
	// Replace, ReplaceLink and Trash also return what they displaced, which a
	// program that has it open can still write to.
	Replace(s Staged, path string, expect tree.Stat, trash string) (tree.Stat, Displaced, error)
	Symlink(target, path string) (tree.Stat, error)
	ReplaceLink(target, path string, expect tree.Stat, trash string) (tree.Stat, Displaced, error)
	Mkdir(path string, mode uint32) (tree.Stat, error)
	Move(from, to string, expect tree.Stat) (tree.Stat, error)
	SetMeta(path string, expect tree.Stat, mode uint32, mtime int64) (tree.Stat, error)
	Trash(path string, expect tree.Stat, id string) (Displaced, error)
	// Displaced finds what lies in the trash under an id, which had a path and a
	// stat before it was displaced. NotThere where it is gone.
	Displaced(id, path string, was tree.Stat) (Displaced, error)
	RemoveDir(path string) error
	// Sync makes the names durable that were changed since the last call.
	Sync(ctx context.Context) error
	Free() (bytes, total uint64, err error)
}

// A Listing is one folder. Where Err is set it may lack names.
type Listing struct {
	Path    string
	Stat    tree.Stat // of the folder, taken before it was read; zero where that failed
	Entries []Entry
	Err     error
}

// An Entry is one name of a folder.
type Entry struct {
	Name string
	Stat tree.Stat // tree.Other where another mount covers the name
	Err  error     // there, but could not be looked at

	ignored bool // by the rules; for the engine to say
}

// A Reading is a file being read.
type Reading interface {
	io.Reader
	io.ReaderAt
	Stat() tree.Stat
	// Writing reports whether a program has the file open for writing.
	Writing() bool
	// Unchanged fails if the file changed since it was opened.
	Unchanged() error
	Close() error
}

// A Staged is a file in the making, inside the volume's hidden folder.
type Staged interface {
	io.Writer
	io.WriterAt
	io.ReaderAt
	Truncate(size int64) error
	// Finish sets mode and time, after the last write.
	Finish(mode uint32, mtime int64) error
	Discard() error
	// Suspend keeps what was written for the next Stage of that name.
	Suspend() error
}

// A Displaced is a file in the trash whose name another one has now.
type Displaced interface {
	// Changed reports whether it was written to since.
	Changed() (bool, error)
	// Writing reports whether a program has it open for writing.
	Writing() bool
	// Rescue gives it a name in the volume, which must be free.
	Rescue(path string) error
	// Drop removes it for good, unless it was written to since.
	Drop() error
}

// An EventKind says what may have happened to a name.
type EventKind uint8

// The kinds of events.
const (
	Touched  EventKind = 1 // look at it
	Arrived  EventKind = 2 // renamed to here: a folder is to be scanned
	Overflow EventKind = 3 // look at everything
	RootGone EventKind = 4
	Written  EventKind = 5 // look at it, but it may still be being written
	Removed  EventKind = 6 // it was unlinked, not renamed
	Inside   EventKind = 7 // in this folder, which is not watched, something is not as it was: list it
)

// An Event is a hint to look.
type Event struct {
	Path string
	Kind EventKind
}

// A Fault says what kind of trouble a disk made, for the few kinds that the
// engine treats differently.
type Fault uint8

// The kinds of trouble.
const (
	Trouble     Fault = iota // anything else: this name waits, the others go on
	Changed                  // not what was expected: look again
	NotThere                 // the name is gone: look again
	NoRoom                   // disk full, quota
	RootMissing              // the volume's folder is not there
	RootOther                // it is another folder
	Denied                   // permission
	Taken                    // the name is not free: look again
)

// Classify tells the kind of an error of a Volume.
type Classify func(error) Fault

// A Problem is a name that does not sync, and why.
type Problem struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Counters count what a volume did.
type Counters struct {
	FilesUp     int64 `json:"files_up"`
	FilesDown   int64 `json:"files_down"`
	BytesUp     int64 `json:"bytes_up"`
	BytesDown   int64 `json:"bytes_down"`
	ObjectsUp   int64 `json:"objects_up"`
	ObjectsDown int64 `json:"objects_down"`
	Entries     int64 `json:"entries"`
	Moves       int64 `json:"moves"`
	Deletes     int64 `json:"deletes"`
	Conflicts   int64 `json:"conflicts"`
	Released    int64 `json:"released"` // files taken from the disk because they are not selected
}

// settleWait is how long a file that a program still has open for writing must
// stay unchanged, at first; it doubles up to settleMost.
const (
	settleWait = 2 * time.Second
	settleMost = 60 * time.Second
)
