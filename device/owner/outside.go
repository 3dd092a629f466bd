package owner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"signet"
	"signet/core/tree"
	"signet/device/past"
	"signet/internal/durable"
)

// An outside is a folder that no volume keeps, into which versions are
// written. What is below it is reached through the open folder, and only
// through folders: a link that was there, or that a version before was, leads
// nowhere. Nothing is overwritten.
type outside struct {
	*os.Root
	fetch fetcher
	later bool              // what is written is made durable by settle, not file by file
	names map[string]string // folders of versions: where each is, once it is known to be a folder
}

// A fetcher writes the content of a version to w: see engine.Device.Fetch.
type fetcher func(ctx context.Context, content []byte, sha [32]byte, w io.Writer) error

func (w *Work) openOutside(id signet.RegionID, dir string) (*outside, error) {
	return openOutside(dir, func(ctx context.Context, content []byte, sha [32]byte, to io.Writer) error {
		return w.Engine.Fetch(ctx, id, content, sha, to)
	})
}

func openOutside(dir string, fetch fetcher) (*outside, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &outside{Root: root, fetch: fetch, names: map[string]string{".": "."}}, nil
}

// restoreTo writes versions into a folder.
func (w *Work) restoreTo(ctx context.Context, s spot, vs []past.Version, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	o, err := w.openOutside(s.region, to)
	if err != nil {
		return err
	}
	defer o.Close()
	base := strings.TrimSuffix(path.Dir("/"+s.path), "/") + "/"
	for _, v := range vs {
		rel, below := strings.CutPrefix("/"+v.Path, base)
		if !below { // it had another place then
			rel = path.Base(v.Path)
		}
		if !filepath.IsLocal(filepath.FromSlash(rel)) {
			return failed("name", "", "%s cannot be a path here", v.Path)
		}
		if v.Type == tree.Dir {
			_, err = o.folder(rel, v.Node)
		} else {
			err = o.place(ctx, v, rel)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// folder finds or makes a folder. Where something else has its name, or
// Signet's own folder would, it gets another.
func (o *outside) folder(rel string, node signet.NodeID) (string, error) {
	if at, ok := o.names[rel]; ok {
		return at, nil
	}
	above, err := o.folder(path.Dir(rel), signet.NodeID{})
	if err != nil {
		return "", err
	}
	at := path.Join(above, path.Base(rel))
	for _, try := range []string{at, past.Aside(at, time.Now().UnixMilli(), node)} {
		if strings.EqualFold(try, tree.Hidden) {
			continue
		}
		if err := o.Mkdir(try, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if info, err := o.Lstat(try); err != nil {
			return "", err
		} else if info.IsDir() {
			o.names[rel] = try
			return try, nil
		}
	}
	return "", o.taken(at)
}

func (o *outside) taken(at string) error {
	return failed("exists", "name another place", "%s exists", filepath.Join(o.Name(), at))
}

// place gives a version a name, or, where something of another type has it,
// another.
func (o *outside) place(ctx context.Context, v past.Version, rel string) error {
	above, err := o.folder(path.Dir(rel), signet.NodeID{})
	if err != nil {
		return err
	}
	at := path.Join(above, path.Base(rel))
	if info, err := o.Lstat(at); err == nil && typeOf(info) != v.Type || strings.EqualFold(at, tree.Hidden) {
		at = past.Aside(at, time.Now().UnixMilli(), v.Node)
	}
	return o.write(ctx, v, at)
}

func typeOf(info fs.FileInfo) tree.Type {
	switch {
	case info.IsDir():
		return tree.Dir
	case info.Mode()&fs.ModeSymlink != 0:
		return tree.Link
	case info.Mode().IsRegular():
		return tree.File
	}
	return tree.Other
}

// write writes a version to a name, which must be free, whole or not at all.
func (o *outside) write(ctx context.Context, v past.Version, at string) error {
	if _, err := o.Lstat(at); err == nil {
		return o.taken(at)
	}
	if v.Type == tree.Link {
		return o.Symlink(v.Target, at)
	}
	var b [8]byte
	rand.Read(b[:])
	temp := path.Join(path.Dir(at), ".signet-"+hex.EncodeToString(b[:]))
	f, err := o.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer o.Remove(temp)
	err = o.fetch(ctx, v.Content, v.Hash, f)
	if err == nil {
		err = f.Chmod(os.FileMode(v.Mode & 0o777))
	}
	switch {
	case err != nil:
	case o.later && v.Size < beginFrom:
	case o.later:
		durable.Begin(f)
	default:
		err = durable.SyncFile(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	mtime := time.Unix(0, v.MTime)
	if err := o.Chtimes(temp, mtime, mtime); err != nil {
		return err
	}
	// A link, not a rename: what appeared under the name meanwhile stays. Disks
	// without links (FAT) have no way to say that in one step.
	err = o.Link(temp, at)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := o.Lstat(at); errors.Is(there, fs.ErrNotExist) {
			err = o.Rename(temp, at)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return o.taken(at)
	}
	return err
}

// beginFrom is the length in bytes of a file from which on it is worth having the
// disk begin to write before settle.
const beginFrom = 1 << 20

// settle makes everything durable that was written, where the system can do so
// for a whole disk; if not, it says so.
func (o *outside) settle() error {
	f, err := o.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(durable.SyncFS(f), f.Close())
}
