package script

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"signet/transport"
)

// canMount reports whether this user may mount a file system.
var canMount = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "signet-mount-")
	if err != nil || os.Getuid() != 0 {
		return false
	}
	defer os.Remove(dir)
	if syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
})

// smallCmd makes a folder on a disk of its own that is soon full: small DIR
// KIB; small -u DIR takes it away.
func smallCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "small DIR KIB | small -u DIR")
	if args[0] == "-u" {
		ts.Check(syscall.Unmount(ts.MkAbs(args[1]), syscall.MNT_DETACH))
		return
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]+"k"))
	s := storyOf(ts)
	s.close = append(s.close, func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// asCmd makes the device's programs those of another user, where the script's
// user may do so, and gives everything here to that user: root may read all.
func asCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 1, "as UID|self")
	if os.Getuid() != 0 {
		return
	}
	if args[0] == "self" {
		ts.Setenv("SCRIPT_UID", "")
		return
	}
	ts.Setenv("SCRIPT_UID", args[0])
	out, err := exec.Command("chown", "-R", args[0], ts.MkAbs(".")).CombinedOutput()
	if err != nil {
		ts.Fatalf("%s", out)
	}
	if _, err := strconv.Atoi(args[0]); err != nil {
		ts.Fatalf("%v", err)
	}
}

// portalCmd answers at the service's address in its place: html says 200 and a
// page to everything, tls has a certificate of its own.
func portalCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 1, "portal html|tls|off")
	s := storyOf(ts)
	if args[0] == "off" {
		s.close[len(s.close)-1]()
		s.close = s.close[:len(s.close)-1]
		return
	}
	l, err := net.Listen("tcp", s.address)
	ts.Check(err)
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<html><body>Please pay for the network.</body></html>"))
	})
	hs := &http.Server{Handler: page}
	if args[0] == "tls" {
		dir := filepath.Join(s.work, "portal")
		ts.Check(os.MkdirAll(dir, 0o700))
		cert, _, err := transport.SelfSigned(dir, []string{"127.0.0.1"})
		ts.Check(err)
		hs.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		go hs.ServeTLS(l, "", "")
	} else {
		go hs.Serve(l)
	}
	s.close = append(s.close, func() { hs.Close() })
}
