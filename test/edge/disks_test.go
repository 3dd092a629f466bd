// Package edge is the catalogue of edge cases of keeping folders in step: each
// a test that has its number in its name, on every kind of disk that it makes
// sense on, and after each the same five checks (check_test.go). What a case
// needs of a service, of keys and of two or three devices is real; what it needs
// of a disk is that of Linux, or one that is odd on purpose (oddfs).
//
// doc/edge-cases.md is made of the table in table_test.go and of the names here.
package edge

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"signet/test/edge/oddfs"
	"signet/test/unraced"
)

// A disk is where a device's folder lies.
type disk struct {
	name string
	tick time.Duration // times are multiples of it
	fold bool
	nfd  bool
	make func(t *testing.T) string // a new folder, for a device
}

func (d disk) folder(t *testing.T) string { t.Helper(); return d.make(t) }

// spell is a path as the disk shows it.
func (d disk) spell(path string) string {
	if d.nfd {
		return norm.NFD.String(path)
	}
	return path
}

var (
	plain = disk{name: "temp", make: func(t *testing.T) string { return t.TempDir() }}
	ext4  = shared("ext4")
	xfs   = shared("xfs")
	tmpfs = shared("tmpfs")

	folds   = odd("fuse-fold", oddfs.Options{Fold: true})
	nfd     = odd("fuse-nfd", oddfs.Options{Fold: true, Decompose: true})
	coarse  = odd("fuse-coarse", oddfs.Options{Tick: 2 * time.Second})
	refuses = odd("fuse-reserved", oddfs.Options{Fold: true, Reserved: true})
	cheap   = odd("fuse-cheap", oddfs.Options{Tick: 2 * time.Second, Reuse: true, Plain: true})

	real = []disk{plain, ext4, xfs, tmpfs}[:4:4]
	// Most cases run on these: the last is the worst that a disk can be but for
	// names, the one before it the worst for names.
	all   = []disk{plain, ext4, xfs, tmpfs, nfd, cheap}
	exact = []disk{plain, ext4, xfs, tmpfs, cheap}
)

// on runs a case on each of the disks, and what must hold after every case.
func on(t *testing.T, disks []disk, do func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		handful(t)
		disks = disks[:1]
	}
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, d)
			do(t, w)
			w.check()
		})
	}
}

// beside is on, with the first device on an ordinary disk and the others on
// each of the disks.
func beside(t *testing.T, disks []disk, do func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		handful(t)
		disks = disks[:1]
	}
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, plain, d)
			do(t, w)
			w.check()
		})
	}
}

// handful are the cases that -short runs, each on the first of its disks.
func handful(t *testing.T) {
	t.Helper()
	for _, n := range []string{"001", "014", "027", "044", "065", "104"} {
		if strings.HasPrefix(t.Name(), "TestCase"+n) {
			return
		}
	}
	t.Skip("takes some seconds, with all the others")
}

// long is for what -short leaves out.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
}

// TestMain runs the tests in a mount namespace of their own: what they mount is
// gone with them, however they end. It runs them without the race detector, as
// the end-to-end tests run their programs: device/owner and device/engine have
// it look at the same code, and here it would only be slow.
func TestMain(m *testing.M) {
	const inside = "SIGNET_EDGE_INSIDE"
	root := os.Getuid() == 0
	if os.Getenv(inside) != "" || !root && !unraced.Raced {
		os.Exit(run(m))
	}
	var own uintptr
	if root {
		own = syscall.CLONE_NEWNS
	}
	code, err := unraced.Run("signet/test/edge", own, inside+"=1")
	if err != nil {
		fmt.Fprintln(os.Stderr, "not without the race detector in a mount namespace of its own:", err)
		code = run(m)
	}
	os.Exit(code)
}

// mounts are the disks that all tests share, each with a folder for a device:
// made before the first test, since a program that is just being started holds
// the locks that others let go of.
var mounts = struct {
	top string
	err map[string]error
}{err: map[string]error{}}

func run(m *testing.M) int {
	top, err := os.MkdirTemp("", "signet-edge-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	mounts.top = top
	flag.Parse()
	if !testing.Short() {
		// What these tests do most is wait for disks.
		flag.Set("test.parallel", "6")
		mountAll()
	}
	code := m.Run()
	for name, err := range mounts.err {
		if err == nil {
			syscall.Unmount(filepath.Join(top, name), syscall.MNT_DETACH)
		}
	}
	syscall.Unmount(top, syscall.MNT_DETACH)
	os.RemoveAll(top)
	return code
}

func mountAll() {
	// What is no device's folder lies in memory: whether it is durable is not
	// what these tests ask, and they would wait for that most of their time.
	if os.Getuid() == 0 {
		command("mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", mounts.top)
	}
	mounts.err["tmpfs"] = mountAt("tmpfs", func(at string) error {
		return command("mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", at)
	})
	mounts.err["ext4"] = mountAt("ext4", image(1<<28, "mkfs.ext4", "-q", "-F"))
	mounts.err["xfs"] = mountAt("xfs", image(5<<26, "mkfs.xfs", "-q", "-f"))
}

func mountAt(name string, mount func(at string) error) error {
	if os.Getuid() != 0 {
		return errors.New("only root mounts")
	}
	at := filepath.Join(mounts.top, name)
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	return mount(at)
}

// image mounts a disk in a file.
func image(size int64, mkfs ...string) func(at string) error {
	return func(at string) error {
		file := at + ".img"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(file, size); err != nil {
			return err
		}
		if err := command(append(mkfs, file)...); err != nil {
			return err
		}
		return command("mount", "-o", "loop", file, at)
	}
}

// scratch is a folder of no disk in particular.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(mounts.top, "")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// shared is a disk that is mounted once, for all tests.
func shared(name string) disk {
	return disk{name: name, make: func(t *testing.T) string {
		if err := mounts.err[name]; err != nil {
			t.Skipf("no %s here: %v", name, err)
		}
		dir, err := os.MkdirTemp(filepath.Join(mounts.top, name), "")
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}}
}

func command(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// odd is an odd disk, one for each device.
func odd(name string, o oddfs.Options) disk {
	return disk{name: name, tick: o.Tick, fold: o.Fold, nfd: o.Decompose, make: func(t *testing.T) string {
		_, at := mountOdd(t, o)
		return at
	}}
}

func mountOdd(t *testing.T, o oddfs.Options) (*oddfs.Disk, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	at := t.TempDir()
	d, err := oddfs.Mount(at, o)
	must(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
	return d, at
}

func inode(i fs.FileInfo) string {
	st := i.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %d", st.Dev, st.Ino, st.Ctim.Nano())
}
