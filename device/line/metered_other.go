//go:build !linux

package line

// OnMetered is false: this system is not asked yet.
func OnMetered() bool { return false }
