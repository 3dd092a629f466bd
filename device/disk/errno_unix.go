//go:build unix

package disk

import "syscall"

// kindOfErrno names what the caller can do something about. ENOTEMPTY comes
// before the general test for "exists", which it would pass too.
func kindOfErrno(e syscall.Errno) error {
	switch e {
	case syscall.ENOSPC, syscall.EDQUOT:
		return ErrNoSpace
	case syscall.EROFS:
		return ErrReadOnly
	case syscall.EFBIG:
		return ErrTooLarge
	case syscall.EBUSY, syscall.ETXTBSY:
		return ErrBusy
	case syscall.EXDEV:
		return ErrMount
	case syscall.ENOTDIR, syscall.ELOOP:
		return ErrNotFolder
	case syscall.ENAMETOOLONG, syscall.EILSEQ:
		return ErrBadName
	case syscall.ENOTEMPTY:
		return ErrNotEmpty
	}
	return nil
}
