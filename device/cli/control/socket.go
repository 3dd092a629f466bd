package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"signet/device/cli/home"
)

// maxSocketPath is the longest path that every system takes for a socket.
const maxSocketPath = 103

// A place is where a home's socket may be: path is its name for people and for
// removing, via the name under which it is bound and dialled, release gives
// back what via needs.
type place struct {
	path, via string
	release   func()
}

// places lists where the socket of a home may be, the best first: in the home;
// where the system cannot reach so long a path, or the home's file system has
// no sockets, under a name made from the home's path in this user's own folder
// for such things.
func places(d home.Dir) []place {
	var all []place
	path := d.SocketFile()
	if len(path) <= maxSocketPath {
		all = append(all, place{path, path, func() {}})
	} else if p, ok := throughDescriptor(d, path); ok {
		all = append(all, p)
	}
	sum := sha256.Sum256([]byte(d))
	if dir, err := runtimeDir(); err == nil {
		p := filepath.Join(dir, hex.EncodeToString(sum[:8])+".sock")
		all = append(all, place{p, p, func() {}})
	}
	return all
}

// runtimeDir is a folder of this user's for sockets. In a folder that all may
// write in, somebody else may have made it first: then it is not used.
func runtimeDir() (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if filepath.IsAbs(dir) && len(dir) < maxSocketPath-30 {
		dir = filepath.Join(dir, "signet")
	} else {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("signet-%d", os.Getuid()))
	}
	if err := home.Dir(dir).Make(); err != nil {
		return "", err
	}
	return dir, nil
}

// listen binds the home's socket. The caller holds the home's lock, so a
// socket that is there belonged to a process that is gone.
func listen(d home.Dir) (net.Listener, error) {
	var last error
	for _, p := range places(d) {
		if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			last = err
			p.release()
			continue
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.via, Net: "unix"})
		if err != nil {
			last = err
			p.release()
			continue
		}
		// Its name for the listener ends with the descriptor: removing is
		// done under the name that stays.
		l.SetUnlinkOnClose(false)
		if err := os.Chmod(p.path, 0o600); err != nil {
			l.Close()
			p.release()
			return nil, fmt.Errorf("control socket: %w", err)
		}
		return &listener{l, p}, nil
	}
	return nil, fmt.Errorf("control socket: %w", last)
}

// listener hands out connections of this user's processes alone.
type listener struct {
	*net.UnixListener
	at place
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.UnixListener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := ownPeer(c); err == nil {
			return c, nil
		}
		// Another user's process got through the permissions of home and
		// socket (root apart, that is a mistake in them): no answer.
		c.Close()
	}
}

func (l *listener) Close() error {
	err := l.UnixListener.Close()
	if rmErr := os.Remove(l.at.path); err == nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = rmErr
	}
	l.at.release()
	return err
}

// dial connects to the home's daemon; fs.ErrNotExist or a refused connection
// where there is none.
func dial(ctx context.Context, d home.Dir) (net.Conn, error) {
	err := error(fs.ErrNotExist)
	for _, p := range places(d) {
		var c net.Conn
		c, err = new(net.Dialer).DialContext(ctx, "unix", p.via)
		p.release()
		if err != nil {
			continue
		}
		// The other end could be a trap only where somebody else could make
		// the socket; it is checked all the same.
		if err = ownPeer(c.(*net.UnixConn)); err == nil {
			return c, nil
		}
		c.Close()
	}
	return nil, fmt.Errorf("control socket: %w", err)
}
