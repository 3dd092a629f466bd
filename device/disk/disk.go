// Package disk is a local folder as a volume: scan, watch, stage, apply.
//
// It promises: nothing outside the folder is read or changed, whatever links
// and mounts come and go in it meanwhile (every path is resolved from the open
// folder, no link followed, no mount crossed); a file is never seen half
// written, before or after a crash; nothing that the caller did not expect is
// overwritten or removed (names are taken only if free, what is displaced is
// looked at again and kept); a listing that may lack a name says so; and the
// only trace in the folder is .signet.
//
// It does not promise: to know what a change means (that is plan's), to keep
// extended attributes, access lists or owners of a file it replaces, or to
// notice a write through a shared memory map, which shows in no stat.
//
// On Linux all of this is done on directory descriptors (openat2, renameat2,
// statx, inotify). Elsewhere a portable implementation over os.Root does the
// same steps with these limits: no swap of two names, so that replacing has a
// moment between last look and rename; links inside the folder are checked
// before a path is used, not by the kernel while it is used (os.Root still
// keeps everything inside); no lock between programs; Watch polls.
//
// Paths are relative, "/"-separated and any bytes but NUL. A Volume may be
// used by several goroutines; two that touch the same name get what the disk
// makes of it. See spec pages: none, nothing here is on the wire; the design
// is doc/design.
package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"signet/core/tree"
	"signet/internal/durable"
)

// A Volume is an open folder.
type Volume struct {
	fs     *fsys
	dir    string
	marker tree.Stat // of the marker file, as it was read
	traits traits    // of the disk, about names

	mu    sync.Mutex
	dirty map[string]bool // folders whose names changed since the last SyncFolders

	watches watchCount
	hook    func(step string) // tests change the disk between two steps
}

func (v *Volume) at(step string) {
	if v.hook != nil {
		v.hook(step)
	}
}

// Close releases the folder; calls that come later, or are under way, fail.
// Watch ends with its context. Staged files that are still open stay on the disk
// until CleanStaging.
func (v *Volume) Close() error { return v.fs.close() }

// Dir is the folder's path as it was given to Create or Open.
func (v *Volume) Dir() string { return v.dir }

// Check reports whether the path still leads to the folder that was opened and
// the folder still has its marker: nil, ErrRootMissing, or ErrRootReplaced
// (ErrNoMarker where only the marker is gone). It costs two stats, and comes
// before every batch of deletions: an unmounted disk looks like an empty folder.
func (v *Volume) Check() error {
	other, err := openFS(v.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || kindOf(err) == ErrNotFolder {
			return &Error{Op: "check", Path: v.dir, Kind: ErrRootMissing, Err: err}
		}
		return wrap("check", v.dir, err)
	}
	self := other.self
	other.close()
	if !identical(self, v.fs.self) {
		return fail("check", v.dir, ErrRootReplaced)
	}
	m, err := v.fs.lstat(markerPath)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !identical(m, v.marker):
		return fail("check", v.dir, ErrNoMarker)
	case err != nil:
		return wrap("check", markerPath, err)
	}
	return nil
}

// Free is how many bytes this user can still write, and the size of the file
// system.
func (v *Volume) Free() (bytes, total uint64, err error) {
	bytes, total, err = v.fs.free()
	return bytes, total, wrap("free", "", err)
}

// OpenFile opens a regular file for reading, and says what it is. Anything
// else is ErrNotFile, at once: a FIFO does not block it.
func (v *Volume) OpenFile(path string) (*os.File, tree.Stat, error) {
	if err := checkPath("open", path); err != nil {
		return nil, tree.Stat{}, err
	}
	f, s, err := v.fs.openRead(path)
	return f, s, wrap("open", path, err)
}

// Intact is the torn-read guard, called after f was read: nil if f is still
// what it was when OpenFile returned before, and path still names it.
// Otherwise ErrChanged, and what was read must not be used.
func (v *Volume) Intact(path string, f *os.File, before tree.Stat) error {
	now, err := v.fs.statFile(f)
	if err != nil {
		return wrap("read", path, err)
	}
	named, err := v.fs.lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!untouched(now, before) || !untouched(named, before)) {
		return fail("read", path, ErrChanged)
	}
	return wrap("read", path, err)
}

// touched notes that the names in folder changed.
func (v *Volume) touched(folders ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range folders {
		v.dirty[f] = true
	}
}

// syncEach is how many files or folders are synced one by one; more are done
// by one sync of the file system. Measured on ext4: one fsync costs 170 µs,
// one syncfs 0.4 ms and 15 µs for each file, so that it wins from a handful
// on, by ten times at a hundred. It also writes what other programs have not
// yet written, which is why a few files do not use it.
const syncEach = 4

// SyncFolders makes the names durable that Place, Replace, Mkdir, Symlink,
// Move, Exchange, Trash and their like changed since the last call: each
// folder once. Only after it may anything rely on them. On an error they stay
// noted, and the call can be repeated.
func (v *Volume) SyncFolders(ctx context.Context) error {
	v.mu.Lock()
	todo := v.dirty
	v.dirty = map[string]bool{}
	v.mu.Unlock()
	err := v.syncFolders(ctx, todo)
	if err != nil {
		for f := range todo {
			v.touched(f)
		}
	}
	return err
}

func (v *Volume) syncFolders(ctx context.Context, todo map[string]bool) error {
	if len(todo) > syncEach {
		if err := v.fs.syncAll(); !errors.Is(err, durable.ErrUnsupported) {
			return wrap("sync", "", err)
		}
	}
	for folder := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := v.fs.openFolder(folder)
		if err != nil {
			// Moved or removed since: what was done in it is on its way to the
			// disk under another name, or gone. Only the whole can be synced.
			if e := v.fs.syncAll(); errors.Is(e, durable.ErrUnsupported) && errors.Is(err, fs.ErrNotExist) {
				continue
			} else if e != nil {
				return wrap("sync", folder, errors.Join(err, e))
			}
			return nil
		}
		err = errors.Join(syncFolder(d), d.Close())
		if err != nil {
			return wrap("sync", folder, err)
		}
	}
	return nil
}
