//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// detach makes a command a process of its own, that a closed terminal does
// not end.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
