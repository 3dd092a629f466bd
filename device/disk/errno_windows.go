package disk

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// kindOfErrno names what the caller can do something about.
func kindOfErrno(e syscall.Errno) error {
	switch e {
	case windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL:
		return ErrNoSpace
	case windows.ERROR_WRITE_PROTECT:
		return ErrReadOnly
	case windows.ERROR_FILE_TOO_LARGE:
		return ErrTooLarge
	case windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION:
		return ErrBusy
	case windows.ERROR_NOT_SAME_DEVICE:
		return ErrMount
	case windows.ERROR_DIRECTORY:
		return ErrNotFolder
	case windows.ERROR_INVALID_NAME, windows.ERROR_FILENAME_EXCED_RANGE:
		return ErrBadName
	case windows.ERROR_DIR_NOT_EMPTY:
		return ErrNotEmpty
	}
	return nil
}
