package owner

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"signet/device/cli/control"
	"signet/device/disk"
	"signet/device/engine"
)

// A Trashed is a line of trash list: a file or link that was deleted or
// displaced in a volume's folder, because of what another device did.
type Trashed struct {
	ID      string       `json:"id"`
	Path    string       `json:"path"` // where it was, absolute
	PathB64 []byte       `json:"path_b64,omitempty"`
	Volume  string       `json:"volume"`
	Type    string       `json:"type"`
	Size    int64        `json:"size"`
	Deleted control.Time `json:"deleted"`
}

// trashList streams what is in the trash of a volume or of all, newest first.
func (w *Work) trashList(_ context.Context, p dirParams, ui control.UI) (any, error) {
	vs, err := w.chosen(p.Dir)
	if err != nil {
		return nil, err
	}
	for _, v := range vs {
		err := w.withTrash(v, func(_ *disk.Volume, items []disk.TrashItem) error {
			for _, i := range items {
				l := Trashed{ID: i.ID, Type: i.Stat.Type.String(), Size: i.Stat.Size, Deleted: control.Time{Time: i.When}}
				l.Path, l.PathB64 = control.Name(filepath.Join(v.Dir, i.Path))
				l.Volume, _ = control.Name(v.Dir)
				if err := ui.Item(l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

// withTrash opens a volume's folder and lists its trash, newest first.
func (w *Work) withTrash(v engine.VolumeInfo, do func(*disk.Volume, []disk.TrashItem) error) error {
	return w.withDisk(v, func(d *disk.Volume) error {
		var items []disk.TrashItem
		if err := d.TrashList(func(i disk.TrashItem) error { items = append(items, i); return nil }); err != nil {
			return err
		}
		slices.SortStableFunc(items, func(a, b disk.TrashItem) int { return b.When.Compare(a.When) })
		return do(d, items)
	})
}

// withDisk opens a volume's folder, whose marker must be this device's, unless
// it is open.
func (w *Work) withDisk(v engine.VolumeInfo, do func(*disk.Volume) error) error {
	if d := w.opened(v.Dir); d != nil {
		return do(d)
	}
	d, m, err := disk.Open(v.Dir)
	if err != nil {
		return explain(err, v.Dir)
	}
	defer d.Close()
	if err := w.checkMarker(m); err != nil {
		return explain(err, v.Dir)
	}
	return do(d)
}

// TrashParams are those of the command trash restore.
type TrashParams struct {
	Path string `json:"path"` // where it was, absolute
	ID   string `json:"id"`   // which, where there are several; else the newest
	To   string `json:"to"`   // another name in the same volume, absolute
}

// trashRestore moves something from the trash back into the folder. That is a
// change like any other: it goes to the other devices.
func (w *Work) trashRestore(ctx context.Context, p TrashParams, _ control.UI) (any, error) {
	s, err := w.at(p.Path)
	if err != nil {
		return nil, err
	}
	to := s
	if p.To != "" {
		if to, err = w.at(p.To); err != nil {
			return nil, err
		}
	}
	if s.volume == "" || to.volume != s.volume || to.path == "" {
		return nil, failed("no_volume", "signet trash list shows what there is", "%s and where it goes are not in one folder that is kept in step", p.Path)
	}
	err = w.withTrash(engine.VolumeInfo{ID: s.volume, Dir: s.dir}, func(d *disk.Volume, items []disk.TrashItem) error {
		n := slices.IndexFunc(items, func(i disk.TrashItem) bool { return i.Path == s.path && (p.ID == "" || p.ID == i.ID) })
		if n < 0 {
			return failed("not_found", "signet trash list shows what there is; signet restore brings back what the service has", "%s is not in the trash", p.Path)
		}
		if err := makeAbove(d, to.path); err != nil {
			return err
		}
		_, err := d.TrashRestore(items[n], to.path)
		if errors.Is(err, disk.ErrExists) {
			return failed("exists", "name another place: --to PATH", "%s is there", filepath.Join(to.dir, to.path))
		}
		return errors.Join(err, d.SyncFolders(ctx))
	})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"daemon": w.Running}
	text, exact := control.Name(filepath.Join(to.dir, to.path))
	if out["path"] = text; exact != nil {
		out["path_b64"] = exact
	}
	return out, nil
}

// makeAbove makes the folders above a path that are not there.
func makeAbove(d *disk.Volume, p string) error {
	above := path.Dir(p)
	if above == "." {
		return nil
	}
	if _, err := d.Stat(above); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeAbove(d, above); err != nil {
		return err
	}
	_, err := d.Mkdir(above, 0o755)
	return err
}
