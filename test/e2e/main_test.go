// Package e2e drives the two programs as people and scripts do: built once,
// without the race detector, started as processes, killed where a test says
// so. Each test is a promise of the product; what it measured it logs.
//
// Nothing here looks into a program: only folders, exit codes, the JSON that
// the command line promises, and the bytes on the wire.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"signet/test/unraced"
)

// programs are the binaries under test.
var programs struct{ device, service string }

func TestMain(m *testing.M) {
	unraced.Main("signet/test/e2e")
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "signet-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// A device that runs as another user must find its program.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-o", dir, "signet/cmd/signet", "signet/cmd/signet-server")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	flag.Parse()
	if !testing.Short() {
		flag.Set("test.parallel", "4") // half of the time these tests wait
	}
	programs.device, programs.service = filepath.Join(dir, "signet"), filepath.Join(dir, "signet-server")
	return m.Run()
}

// pick is the size of a test: the full one, or with -short the small one.
func pick[T any](full, short T) T {
	if testing.Short() {
		return short
	}
	return full
}
