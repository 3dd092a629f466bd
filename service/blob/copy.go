package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"signet"
	"signet/internal/durable"
)

// tail is how much of what is there already is compared before it is kept.
const tail = 1 << 20

// Copy brings the pack m.Pack of the store in from to the store in to, up to
// m.End, durably, and tells how many bytes it wrote. Bytes up to an end that was
// synced never change, so it may run beside a store that appends. The first have
// bytes were copied durably before: they stay, unless they are others; what lies
// beyond is written anew.
func Copy(ctx context.Context, from, to string, m Mark, have int64) (written int64, err error) {
	src, err := os.Open(path(from, m.Pack))
	if errors.Is(err, os.ErrNotExist) {
		err = signet.ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("pack %08x: %w", m.Pack, err)
	}
	defer src.Close()
	p := path(to, m.Pack)
	if err := makeFolders(to, filepath.Dir(p)); err != nil {
		return 0, err
	}
	dst, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer dst.Close()
	have = min(have, m.End)
	if !sameTail(src, dst, have) {
		have = 0
	}
	if err := dst.Truncate(have); err != nil {
		return 0, err
	}
	if _, err := dst.Seek(have, io.SeekStart); err != nil {
		return 0, err
	}
	written, err = io.Copy(dst, &interrupted{ctx, io.NewSectionReader(src, have, m.End-have)})
	if err == nil && written != m.End-have {
		err = fmt.Errorf("ends at byte %d, %d wanted: %w", have+written, m.End, signet.ErrNotFound)
	}
	if err == nil {
		err = durable.SyncFile(dst)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(p))
	}
	if err != nil {
		return written, fmt.Errorf("pack %08x: copy: %w", m.Pack, err)
	}
	return written, nil
}

// Sweep removes the packs of the copy in dir that are not to be kept.
func Sweep(dir string, keep func(pack uint32) bool) error {
	packs, err := (&Disk{dir: dir}).list()
	if err != nil {
		return err
	}
	for _, p := range packs {
		if keep(p) {
			continue
		}
		if err := durable.Remove(path(dir, p)); err != nil {
			return err
		}
	}
	return nil
}

// makeFolders makes the folder of a pack in the store in dir, durably.
func makeFolders(dir, folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(folder)); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// sameTail reports whether two files agree right before an end.
func sameTail(a, b *os.File, end int64) bool {
	n := min(end, tail)
	x, y := make([]byte, n), make([]byte, n)
	if _, err := a.ReadAt(x, end-n); err != nil {
		return false
	}
	_, err := b.ReadAt(y, end-n)
	return err == nil && bytes.Equal(x, y)
}

// interrupted reads until a context ends.
type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i *interrupted) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
