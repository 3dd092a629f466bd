//go:build !portable

package disk

import "strconv"

// procPath names what fd is open on, for calls that take a path only.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
