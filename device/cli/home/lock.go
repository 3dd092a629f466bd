package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrHeld is what TryLock returns where another process owns the home.
var ErrHeld = errors.New("another command works in this home")

// lockPause is how often a waiting command asks again.
const lockPause = 25 * time.Millisecond

// A Lock makes this process the home's owner until Unlock or its end.
type Lock struct{ f *os.File }

// TryLock takes the home's lock if nobody holds it; ErrHeld if somebody does.
// The lock file stays for ever: removing it would let two processes lock two
// files of one name.
func (d Dir) TryLock() (*Lock, error) {
	f, err := os.OpenFile(d.LockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if errors.Is(err, ErrHeld) {
			return nil, fmt.Errorf("home %s: %w", d, ErrHeld)
		}
		return nil, fmt.Errorf("home %s: lock: %w", d, err)
	}
	return &Lock{f}, nil
}

// Lock waits for the home's lock until ctx ends; then the error wraps ErrHeld
// and ctx's.
func (d Dir) Lock(ctx context.Context) (*Lock, error) {
	t := time.NewTicker(lockPause)
	defer t.Stop()
	for {
		l, err := d.TryLock()
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-t.C:
		}
	}
}

// Unlock gives the home back.
func (l *Lock) Unlock() error { return l.f.Close() }
