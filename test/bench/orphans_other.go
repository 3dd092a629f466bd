//go:build !linux

package main

import "syscall"

// orphans is the default where the system has nothing better.
func orphans() *syscall.SysProcAttr { return nil }
