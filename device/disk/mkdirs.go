package disk

import (
	"errors"
	"io/fs"
)

// mkdirs makes the folders of a path below .signet, those that are missing.
func (f *fsys) mkdirs(path string) error {
	err := f.mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		up, _ := split(path)
		if up == "" {
			return err
		}
		if err = f.mkdirs(up); err == nil {
			err = f.mkdir(path, 0o700)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
