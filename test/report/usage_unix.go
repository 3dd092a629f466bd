//go:build unix

package main

import (
	"runtime"
	"syscall"
	"time"
)

// worked is for how long the processes that this one started and that ended
// kept all processors busy: what they would have taken on a machine that does
// nothing else, if they used it well.
func worked() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) / time.Duration(runtime.NumCPU())
}
