package disk

import "signet/core/tree"

// identical reports whether a and b are of the same file, folder or link,
// whatever happened to its content. Birth tells a file from a later one that
// was given the same inode number.
func identical(a, b tree.Stat) bool {
	return a.Type == b.Type && a.Dev == b.Dev && a.Inode == b.Inode &&
		(a.Birth == b.Birth || a.Birth == 0 || b.Birth == 0)
}

// unmoved reports whether a and b are of the same thing with the same content,
// as far as times and size tell; a rename between the two is allowed, which
// changes ctime. Of folders only identity counts.
func unmoved(a, b tree.Stat) bool {
	if !identical(a, b) || a.Type == tree.Dir {
		return identical(a, b)
	}
	return a.Size == b.Size && a.MTime == b.MTime && a.Mode == b.Mode && a.Target == b.Target
}

// untouched is unmoved and equal in ctime, which nobody can set back: an edit
// that restored mtime and kept the size shows here only.
func untouched(a, b tree.Stat) bool {
	return unmoved(a, b) && (a.CTime == b.CTime || a.Type == tree.Dir)
}
