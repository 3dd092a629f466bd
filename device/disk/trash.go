package disk

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"

	"signet/core/tree"
)

// A TrashItem is a file or link that was deleted or displaced. It is a value:
// what is needed to find it again lies in the trash itself, as
// .signet/trash/<ID>/<Path>.
type TrashItem struct {
	ID   string    // the caller's id, with a number if the path was taken under it
	Path string    // where it was in the volume
	Stat tree.Stat // as it lay in the trash when this value was made
	When time.Time // when something was last put under ID
}

func (i TrashItem) folder() string { return trashPath + "/" + i.ID }
func (i TrashItem) file() string   { return i.folder() + "/" + i.Path }

func (i TrashItem) check(op string) error {
	if !goodID(i.ID) {
		return fail(op, i.ID, ErrBadPath)
	}
	return checkPath(op, i.Path)
}

// reserve finds a place for path under id and puts something there with put,
// which must fail if the place is taken. The folders above are made first.
func (v *Volume) reserve(path, id string, put func(to string) error) (TrashItem, error) {
	if !goodID(id) || len(id) > 90 {
		return TrashItem{}, fail("trash", id, ErrBadPath)
	}
	const most = 1000
	item := TrashItem{ID: id, Path: path}
	for n := 2; ; n++ {
		err := put(item.file())
		if errors.Is(err, fs.ErrNotExist) {
			folder, _ := split(item.file())
			if err = v.fs.mkdirs(folder); err == nil {
				err = put(item.file())
			}
		}
		if err == nil {
			item.When = time.Now()
			folder, _ := split(item.file())
			v.touched(folder)
			return item, v.fs.touch(item.folder(), item.When)
		}
		// Taken, or a file lies where a folder must be: the next number.
		if !errors.Is(err, fs.ErrExist) && kindOf(err) != ErrNotFolder || n > most {
			return TrashItem{}, err
		}
		item.ID = id + "." + strconv.Itoa(n)
	}
}

// toTrash renames from into the trash, as path under id.
func (v *Volume) toTrash(from, path, id string) (TrashItem, error) {
	return v.reserve(path, id, func(to string) error { return v.fs.renameNew(from, to) })
}

// Trash moves the file or link expect from path into the trash under id
// (letters, digits, "-", "_", "."; at most 90: an operation, a batch). What it
// moved is then looked at: if it is not what was expected it is put back and
// the error is ErrChanged. If the name was taken meanwhile it stays in the
// trash and is returned with ErrChanged. Durable after SyncFolders.
//
// Folders are not trashed: they are removed when empty (RemoveDir), so that
// nothing goes with them that nobody looked at.
func (v *Volume) Trash(path string, expect tree.Stat, id string) (TrashItem, error) {
	if err := checkPath("trash", path); err != nil {
		return TrashItem{}, err
	}
	if expect.Type != tree.File && expect.Type != tree.Link {
		return TrashItem{}, fail("trash", path, ErrNotFile)
	}
	if err := v.expect("trash", path, expect); err != nil {
		return TrashItem{}, err
	}
	v.at("trash")
	item, err := v.toTrash(path, path, id)
	if err != nil {
		if _, e := v.fs.lstat(path); errors.Is(e, fs.ErrNotExist) && item.ID == "" {
			err = errors.Join(ErrChanged, err)
		}
		return item, wrap("trash", path, err)
	}
	folder, _ := split(path)
	v.touched(folder)
	v.at("trashed")
	item.Stat, err = v.fs.lstat(item.file())
	if err == nil && unmoved(item.Stat, expect) {
		return item, nil
	}
	if e := v.fs.renameNew(item.file(), path); e != nil {
		return item, &Error{Op: "trash", Path: path, Kind: ErrChanged, Err: errors.Join(err, e)}
	}
	return TrashItem{}, &Error{Op: "trash", Path: path, Kind: ErrChanged, Err: err}
}

// TrashChanged reports whether item was written, or anything else done to it,
// since the value was made: by a program that had it open when it was
// displaced. It is then an edit that nobody has yet.
func (v *Volume) TrashChanged(item TrashItem) (bool, error) {
	if err := item.check("look at trash"); err != nil {
		return false, err
	}
	now, err := v.fs.lstat(item.file())
	return err == nil && !untouched(now, item.Stat), wrap("look at trash", item.Path, err)
}

// TrashFind finds the item that path became under id. It is the one that was,
// and has changed if it was written to since it was that: also where this
// program did not live to see it in the trash.
func (v *Volume) TrashFind(id, path string, was tree.Stat) (TrashItem, error) {
	item := TrashItem{ID: id, Path: path}
	if err := item.check("look at trash"); err != nil {
		return TrashItem{}, err
	}
	for n := 2; ; n++ {
		now, err := v.fs.lstat(item.file())
		if err != nil {
			return TrashItem{}, wrap("look at trash", path, err)
		}
		if now.Dev == was.Dev && now.Inode == was.Inode {
			if item.Stat = now; !unmoved(now, was) {
				item.Stat = was
			}
			return item, nil
		}
		item.ID = id + "." + strconv.Itoa(n)
	}
}

// OpenTrash opens an item that is a file, for reading.
func (v *Volume) OpenTrash(item TrashItem) (*os.File, tree.Stat, error) {
	if err := item.check("open trash"); err != nil {
		return nil, tree.Stat{}, err
	}
	f, s, err := v.fs.openRead(item.file())
	return f, s, wrap("open trash", item.Path, err)
}

// TrashRestore moves an item to a name that must be free (ErrExists), in a
// folder that must exist.
func (v *Volume) TrashRestore(item TrashItem, to string) (tree.Stat, error) {
	if err := errors.Join(item.check("restore"), checkPath("restore", to)); err != nil {
		return tree.Stat{}, err
	}
	if err := v.fs.renameNew(item.file(), to); err != nil {
		return tree.Stat{}, wrap("restore", to, err)
	}
	folder, _ := split(to)
	v.touched(folder)
	v.prune(item)
	s, err := v.fs.lstat(to)
	return s, wrap("restore", to, err)
}

// TrashDrop removes an item for good, unless it changed (ErrChanged).
func (v *Volume) TrashDrop(item TrashItem) error {
	changed, err := v.TrashChanged(item)
	if err != nil {
		return err
	}
	if changed {
		return fail("drop", item.Path, ErrChanged)
	}
	if err := v.fs.unlink(item.file()); err != nil {
		return wrap("drop", item.Path, err)
	}
	v.prune(item)
	return nil
}

// prune removes the folders above an item that are empty now.
func (v *Volume) prune(item TrashItem) {
	for folder, _ := split(item.file()); folder != trashPath; folder, _ = split(folder) {
		if v.fs.rmdir(folder) != nil {
			return
		}
	}
}

// TrashList calls each with every item, until it fails.
func (v *Volume) TrashList(each func(TrashItem) error) error {
	batches := v.fs.list(trashPath, new(scratch))
	if batches.Err != nil && !errors.Is(batches.Err, fs.ErrNotExist) {
		return batches.Err
	}
	for _, b := range batches.Entries {
		if b.Stat.Type != tree.Dir || !goodID(b.Name) {
			continue
		}
		if err := v.walkTrash(b.Name, time.Unix(0, b.Stat.MTime), func(i TrashItem, s tree.Stat) error {
			if s.Type == tree.Dir {
				return nil
			}
			return each(i)
		}); err != nil {
			return err
		}
	}
	return nil
}

// walkTrash calls each with everything under one id, folders after what is in
// them.
func (v *Volume) walkTrash(id string, when time.Time, each func(TrashItem, tree.Stat) error) error {
	var walk func(path string) error
	walk = func(path string) error {
		base := trashPath + "/" + id
		l := v.fs.list(join(base, path), new(scratch))
		if errors.Is(l.Err, fs.ErrNotExist) {
			return nil
		}
		if l.Err != nil {
			return l.Err
		}
		for _, e := range l.Entries {
			below := join(path, e.Name)
			if e.Stat.Type == tree.Dir {
				if err := walk(below); err != nil {
					return err
				}
			}
			if err := each(TrashItem{ID: id, Path: below, Stat: e.Stat, When: when}, e.Stat); err != nil {
				return err
			}
		}
		return nil
	}
	return walk("")
}

// TrashExpire removes for good everything under ids to which nothing was added
// after olderThan, and says how many items that were. It never leaves the
// trash: folders are listed without following links, files unlinked, folders
// removed when empty.
func (v *Volume) TrashExpire(olderThan time.Time) (int, error) {
	l := v.fs.list(trashPath, new(scratch))
	if l.Err != nil {
		if errors.Is(l.Err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, l.Err
	}
	n := 0
	var errs []error
	for _, b := range l.Entries {
		if b.Stat.Type != tree.Dir || !goodID(b.Name) || !time.Unix(0, b.Stat.MTime).Before(olderThan) {
			continue
		}
		err := v.walkTrash(b.Name, time.Time{}, func(i TrashItem, s tree.Stat) error {
			if s.Type == tree.Dir {
				return v.fs.rmdir(i.file())
			}
			n++
			return v.fs.unlink(i.file())
		})
		if err == nil {
			err = v.fs.rmdir(trashPath + "/" + b.Name)
		}
		errs = append(errs, wrap("expire", b.Name, err))
	}
	return n, errors.Join(errs...)
}
