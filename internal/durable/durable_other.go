//go:build !linux

package durable

import (
	"errors"
	"os"
	"runtime"
)

func syncData(f *os.File) error { return f.Sync() }
func begin(*os.File)            {}
func syncFS(*os.File) error     { return ErrUnsupported }

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
