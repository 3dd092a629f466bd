// Package filelock locks files between processes. A lock ends with its process,
// however that ends.
//
// It promises that an exclusive lock excludes all others, of this process too.
// It does not wait, and says nothing about file systems of other machines that
// keep no locks.
package filelock

import (
	"errors"
	"os"
)

// ErrHeld says that another lock excludes this one.
var ErrHeld = errors.New("locked by another")

// Exclusive locks f, which is open for writing, until it is closed; ErrHeld where
// it is locked in any way.
func Exclusive(f *os.File) error { return lock(f, true) }

// Shared locks f until it is closed, beside other shared locks; ErrHeld where it is
// locked exclusively.
func Shared(f *os.File) error { return lock(f, false) }
