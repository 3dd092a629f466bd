package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"

	"signet/core/tree"
)

// statOf has no inode here, which a name alone does not tell: identity is
// birth, size and time, then content.
func statOf(fi os.FileInfo) tree.Stat {
	s := baseStat(fi)
	if st, ok := fi.Sys().(*syscall.Win32FileAttributeData); ok {
		s.Birth = st.CreationTime.Nanoseconds()
	}
	return s
}

func (f *fsys) free() (bytes, total uint64, err error) {
	dir, err := windows.UTF16PtrFromString(f.dir)
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(dir, &bytes, &total, nil)
	return bytes, total, err
}

// fileSystem tells this file system from every other by its serial number.
func (f *fsys) fileSystem() (uuid, id string) {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(f.dir) + `\`)
	if err != nil {
		return "", ""
	}
	var serial uint32
	if windows.GetVolumeInformation(root, nil, 0, &serial, nil, nil, nil, 0) == nil {
		id = fmt.Sprintf("%08x", serial)
	}
	return "", id
}
