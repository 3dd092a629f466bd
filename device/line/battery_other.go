//go:build !linux

package line

// OnBattery is false: this system is not asked yet.
func OnBattery() bool { return false }
