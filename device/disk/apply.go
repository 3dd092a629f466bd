package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"signet/core/tree"
)

// Place gives a staged file a name that must be free (ErrExists), in a folder
// that must exist, and returns what it is there. It is durable after
// SyncFolders.
func (v *Volume) Place(s *Staged, path string) (tree.Stat, error) {
	if err := s.ready("place", path); err != nil {
		return tree.Stat{}, err
	}
	folder, _ := split(path)
	v.fs.adoptGroup(s.f, folder)
	v.at("place")
	if err := v.fs.renameNew(s.path, path); err != nil {
		return tree.Stat{}, wrap("place", path, err)
	}
	v.touched(folder)
	return s.done("place", path)
}

// Replace puts a staged file where path has the file or link expect, which it
// moves to the trash under keep, and returns what is at path now and what was
// displaced. If path is not what was expected, before or at the instant of the
// exchange, it stays (or is put back) and the error is ErrChanged; s can then
// be placed elsewhere or discarded.
//
// A program that has the displaced file open can still write to it: look again
// with TrashChanged when the settle time is over, before TrashDrop.
//
// In the rare case that a second change hits the instant of putting back, both
// survive: the newest at path, the other in the trash (returned with
// ErrChanged, and found by TrashList).
func (v *Volume) Replace(s *Staged, path string, expect tree.Stat, keep string) (tree.Stat, TrashItem, error) {
	if err := s.ready("replace", path); err != nil {
		return tree.Stat{}, TrashItem{}, err
	}
	folder, _ := split(path)
	v.fs.adoptGroup(s.f, folder)
	mine, err := v.fs.statFile(s.f)
	if err != nil {
		return tree.Stat{}, TrashItem{}, wrap("replace", path, err)
	}
	item, err := v.displace(s.path, mine, path, expect, keep)
	if err != nil {
		return tree.Stat{}, item, err
	}
	st, err := s.done("replace", path)
	return st, item, err
}

// ReplaceLink is Replace by a link to target.
func (v *Volume) ReplaceLink(target, path string, expect tree.Stat, keep string) (tree.Stat, TrashItem, error) {
	if err := checkPath("replace", path); err != nil {
		return tree.Stat{}, TrashItem{}, err
	}
	staged := stagingPath + "/l-" + rand.Text()
	if err := v.fs.symlink(target, staged); err != nil {
		return tree.Stat{}, TrashItem{}, wrap("replace", path, err)
	}
	mine, err := v.fs.lstat(staged)
	if err != nil {
		return tree.Stat{}, TrashItem{}, wrap("replace", path, err)
	}
	item, err := v.displace(staged, mine, path, expect, keep)
	if err != nil {
		v.fs.unlink(staged)
		return tree.Stat{}, item, err
	}
	st, err := v.fs.lstat(path)
	return st, item, wrap("replace", path, err)
}

// displace swaps the new thing (mine, at staged) for what is at path. The
// order matters: the new one first goes to the place in the trash where the
// old one shall end, so that after the swap the old one is in the trash
// already. A crash before the swap leaves a copy of the new one there, a crash
// after it the old one; none leaves anything of the user's in staging, which
// is emptied at the next start.
func (v *Volume) displace(staged string, mine tree.Stat, path string, expect tree.Stat, keep string) (TrashItem, error) {
	if expect.Type != tree.File && expect.Type != tree.Link {
		return TrashItem{}, fail("replace", path, ErrNotFile)
	}
	if err := v.expect("replace", path, expect); err != nil {
		return TrashItem{}, err
	}
	if !v.fs.canSwap() {
		return v.displaceUnswapped(staged, path, expect, keep)
	}
	item, err := v.toTrash(staged, path, keep)
	if err != nil {
		return TrashItem{}, wrap("replace", path, err)
	}
	trashed := item.file()
	v.at("swap")
	if err := v.fs.renameSwap(trashed, path); err != nil {
		v.fs.renameNew(trashed, staged)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrChanged, err)
		}
		return TrashItem{}, wrap("replace", path, err)
	}
	v.noteSwap(path, item)
	v.at("swapped")
	was, err := v.fs.lstat(trashed)
	if err == nil && unmoved(was, expect) {
		item.Stat = was
		return item, nil
	}
	return v.swapBack(staged, mine, path, item)
}

func (v *Volume) noteSwap(path string, item TrashItem) {
	folder, _ := split(path)
	trashFolder, _ := split(item.file())
	v.touched(folder, trashFolder)
}

// swapBack undoes a swap that displaced something unexpected. What comes back
// from path must be ours; if it is not, path was changed once more, and the
// newest is put where it was.
func (v *Volume) swapBack(staged string, mine tree.Stat, path string, item TrashItem) (TrashItem, error) {
	trashed := item.file()
	err := v.fs.renameSwap(trashed, path)
	if errors.Is(err, fs.ErrNotExist) { // path was removed meanwhile: only the displaced is left
		err = v.fs.renameNew(trashed, path)
		if err == nil {
			return TrashItem{}, fail("replace", path, ErrChanged)
		}
	}
	if err == nil {
		back, e := v.fs.lstat(trashed)
		if e == nil && identical(back, mine) {
			if e = v.fs.renameNew(trashed, staged); e == nil {
				return TrashItem{}, fail("replace", path, ErrChanged)
			}
		}
		err = errors.Join(e, v.fs.renameSwap(trashed, path))
	}
	item.Stat, _ = v.fs.lstat(trashed)
	return item, &Error{Op: "replace", Path: path, Kind: ErrChanged, Err: err}
}

// displaceUnswapped is displace where two names cannot be swapped: the old
// file gets a second name in the trash, then the new one takes its name. A
// file that is renamed over path in the instant between the last look and the
// rename is lost; no more can be done there.
func (v *Volume) displaceUnswapped(staged, path string, expect tree.Stat, keep string) (TrashItem, error) {
	item, err := v.reserve(path, keep, func(to string) error { return v.fs.link(path, to) })
	if err != nil && kindOf(err) != ErrNoSpace && kindOf(err) != ErrReadOnly && !errors.Is(err, fs.ErrNotExist) {
		item, err = TrashItem{}, nil // a file system without hard links: the old one is not kept
	}
	if err != nil {
		return TrashItem{}, wrap("replace", path, err)
	}
	v.at("swap")
	now, err := v.fs.lstat(path)
	if err == nil && !unmoved(now, expect) {
		err = ErrChanged
	}
	if err == nil {
		err = v.fs.renamePlain(staged, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		if item.ID != "" {
			v.fs.unlink(item.file())
		}
		return TrashItem{}, wrap("replace", path, err)
	}
	folder, _ := split(path)
	v.touched(folder)
	if item.ID != "" {
		v.noteSwap(path, item)
		item.Stat, err = v.fs.lstat(item.file())
	}
	return item, wrap("replace", path, err)
}

// expect is the look before an operation: ErrChanged unless path is what the
// caller believes.
func (v *Volume) expect(op, path string, want tree.Stat) error {
	now, err := v.fs.lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: op, Path: path, Kind: ErrChanged, Err: err}
	}
	if err != nil {
		return wrap(op, path, err)
	}
	if !untouched(now, want) {
		return fail(op, path, ErrChanged)
	}
	return nil
}

// Mkdir makes a folder whose name must be free (ErrExists), with exactly the
// permission bits of mode.
func (v *Volume) Mkdir(path string, mode uint32) (tree.Stat, error) {
	if err := checkPath("make folder", path); err != nil {
		return tree.Stat{}, err
	}
	if err := v.fs.mkdir(path, 0o700); err != nil {
		return tree.Stat{}, wrap("make folder", path, err)
	}
	folder, _ := split(path)
	v.touched(folder)
	s, err := v.fs.setMode(path, mode&0o777)
	return s, wrap("make folder", path, err)
}

// Symlink makes a link whose name must be free (ErrExists). Where it leads is
// not looked at, now or ever.
func (v *Volume) Symlink(target, path string) (tree.Stat, error) {
	if err := checkPath("link", path); err != nil {
		return tree.Stat{}, err
	}
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return tree.Stat{}, fail("link", path, ErrBadName)
	}
	if err := v.fs.symlink(target, path); err != nil {
		return tree.Stat{}, wrap("link", path, err)
	}
	folder, _ := split(path)
	v.touched(folder)
	s, err := v.fs.lstat(path)
	return s, wrap("link", path, err)
}

// Move renames the file, folder or link expect to a name that must be free
// (ErrExists). Only its identity is expected: an edit moves with it. If
// something else had the name it is moved back (ErrChanged). A change of case
// on a disk that ignores case is a move like any other, but on systems that do
// nothing for it (Linux): there it is ErrExists, and takes two moves.
func (v *Volume) Move(from, to string, expect tree.Stat) (tree.Stat, error) {
	if err := errors.Join(checkPath("move", from), checkPath("move", to)); err != nil {
		return tree.Stat{}, err
	}
	now, err := v.fs.lstat(from)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !identical(now, expect) {
		return tree.Stat{}, fail("move", from, ErrChanged)
	}
	if err != nil {
		return tree.Stat{}, wrap("move", from, err)
	}
	v.at("move")
	if err := v.moveNew(from, to); err != nil {
		return tree.Stat{}, wrap("move", to, err)
	}
	a, _ := split(from)
	b, _ := split(to)
	v.touched(a, b)
	v.at("moved")
	now, err = v.fs.lstat(to)
	if err != nil {
		return tree.Stat{}, wrap("move", to, err)
	}
	if !identical(now, expect) {
		return tree.Stat{}, &Error{Op: "move", Path: from, Kind: ErrChanged, Err: v.fs.renameNew(to, from)}
	}
	return now, nil
}

// moveNew is renameNew that lets a name change its spelling where both are one
// name: to "exists" then, as from itself.
func (v *Volume) moveNew(from, to string) error {
	err := v.fs.renameNew(from, to)
	folder, name := split(to)
	if up, _ := split(from); !errors.Is(err, fs.ErrExist) || up != folder || from == to {
		return err
	}
	a, e1 := v.fs.lstat(from)
	b, e2 := v.fs.lstat(to)
	if e1 == nil && e2 == nil && identical(a, b) && a.Inode != 0 && (a.Links == 1 || a.Type == tree.Dir) {
		if e := v.fs.renamePlain(from, to); e != nil {
			return e
		}
		for _, e := range v.fs.list(folder, new(scratch)).Entries {
			if e.Name == name {
				return nil
			}
		}
	}
	return err
}

// Exchange swaps two names, for cycles of moves. Either both are what was
// expected, or nothing happened and the error is ErrChanged. Where a disk
// cannot do it the error is errors.ErrUnsupported: move one aside instead.
func (v *Volume) Exchange(a, b string, expectA, expectB tree.Stat) error {
	if err := errors.Join(checkPath("exchange", a), checkPath("exchange", b)); err != nil {
		return err
	}
	if !v.isAt(a, expectA) || !v.isAt(b, expectB) {
		return fail("exchange", a, ErrChanged)
	}
	v.at("exchange")
	if err := v.fs.renameSwap(a, b); err != nil {
		return wrap("exchange", a, err)
	}
	fa, _ := split(a)
	fb, _ := split(b)
	v.touched(fa, fb)
	if v.isAt(b, expectA) && v.isAt(a, expectB) {
		return nil
	}
	return &Error{Op: "exchange", Path: a, Kind: ErrChanged, Err: v.fs.renameSwap(a, b)}
}

func (v *Volume) isAt(path string, want tree.Stat) bool {
	now, err := v.fs.lstat(path)
	return err == nil && identical(now, want)
}

// SetMeta sets permission bits (of files and folders) and modification time of
// path, which must be expect (ErrChanged), and returns what it is then. A
// folder keeps set-group-id and sticky bits; a file loses them with
// set-user-id.
func (v *Volume) SetMeta(path string, expect tree.Stat, mode uint32, mtime int64) (tree.Stat, error) {
	if err := checkPath("set", path); err != nil {
		return tree.Stat{}, err
	}
	s, err := v.fs.setMeta(path, mode&0o777, mtime, func(now tree.Stat) error {
		if !untouched(now, expect) {
			return ErrChanged
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return s, wrap("set", path, err)
}

// RemoveDir removes a folder that is empty; ErrNotEmpty otherwise. What is in
// a folder is never removed with it.
func (v *Volume) RemoveDir(path string) error {
	if err := checkPath("remove folder", path); err != nil {
		return err
	}
	if err := v.fs.rmdir(path); err != nil {
		return wrap("remove folder", path, err)
	}
	folder, _ := split(path)
	v.touched(folder)
	return nil
}
