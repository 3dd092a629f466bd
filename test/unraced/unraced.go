//go:build linux

// Package unraced runs a package's tests without the race detector where go test
// -race started them. It is for tests that start programs or wait for disks, and
// look into no goroutine themselves: the detector would only make them slow, and
// beside the tests that it is for they fill the time in which they wait.
//
// It promises that the same tests run, with the same arguments and the same end.
package unraced

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Main is what a TestMain does first: where the tests are built for the race
// detector, it builds those of a package without it, and ends this program as they
// end. Else it returns.
func Main(pkg string) {
	if !Raced {
		return
	}
	code, err := Run(pkg, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Run builds the tests of a package without the race detector where this program is
// built for it, and runs them, or else this program, once more: with its arguments,
// some more of an environment, in namespaces of their own (clone(2)). It returns how
// they ended; an error says that they did not run.
func Run(pkg string, namespaces uintptr, env ...string) (code int, err error) {
	program := "/proc/self/exe"
	if Raced {
		dir, err := os.MkdirTemp("", "signet-unraced-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, filepath.Base(os.Args[0]))
		if out, err := exec.Command("go", "test", "-c", "-o", program, pkg).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
		}
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: namespaces}
	if err := cmd.Run(); cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}
