// Package home is the folder that holds everything of one device, and the rule
// that it has one owner at a time.
//
// It promises that while a Lock is held no other process that asks for it gets
// it, that a lock dies with its process, and that a path in the home is the
// same for every command. What is in the files is other packages' business.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"signet"
)

// A Dir is a device's home: an absolute path.
type Dir string

// Find chooses the home: the flag, else SIGNET_HOME, else the platform's
// folder for state. It makes nothing.
func Find(flag string, getenv func(string) string) (Dir, error) {
	for _, dir := range []string{flag, getenv("SIGNET_HOME")} {
		if dir != "" {
			abs, err := filepath.Abs(dir)
			return Dir(abs), err
		}
	}
	dir, err := platform(runtime.GOOS, getenv)
	return Dir(dir), err
}

// platform is where a system keeps the state of a person's programs.
func platform(system string, getenv func(string) string) (string, error) {
	switch system {
	case "windows":
		if d := getenv("LocalAppData"); d != "" {
			return filepath.Join(d, "Signet"), nil
		}
		return "", errNowhere
	case "darwin", "ios":
		if d := getenv("HOME"); d != "" {
			return filepath.Join(d, "Library", "Application Support", "Signet"), nil
		}
		return "", errNowhere
	}
	// The XDG specification says to ignore a path that is not absolute.
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "signet"), nil
	}
	if d := getenv("HOME"); d != "" {
		return filepath.Join(d, ".local", "state", "signet"), nil
	}
	return "", errNowhere
}

var errNowhere = errors.New("no home folder in the environment: say --home DIR or set SIGNET_HOME")

// Make makes the home if there is none, for its owner alone, and takes an
// empty folder for one. What Check refuses is an error.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("home %s: %w", d, errNoFolder)
	} else if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if entries, err := os.ReadDir(string(d)); err == nil && len(entries) == 0 {
		// Where this fails the folder is somebody else's, which Check says.
		_ = os.Chmod(string(d), 0o700)
	}
	return d.Check()
}

// Check fails unless the home is a folder of this user that others may not
// write in: they could put a lock or a socket of their own there. Its files
// are each closed to others, so that they may look in does no harm.
// fs.ErrNotExist where there is no home.
func (d Dir) Check() error {
	info, err := os.Stat(string(d))
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("home %s: %w", d, errNoFolder)
	}
	return private(string(d), info)
}

// noFolder says that something else is where the home should be.
type noFolder struct{}

var errNoFolder error = noFolder{}

func (noFolder) Error() string     { return "not a folder" }
func (noFolder) ErrorKind() string { return "home" }
func (noFolder) ErrorHint() string { return "name a folder, or one that is not there yet: --home DIR" }

// Exists reports whether there is a home.
func (d Dir) Exists() bool {
	_, err := os.Stat(string(d))
	return !errors.Is(err, fs.ErrNotExist)
}

// Files of a home. Those of an organisation are below Organisation.
func (d Dir) LockFile() string   { return filepath.Join(string(d), "lock") }
func (d Dir) SocketFile() string { return filepath.Join(string(d), "control.sock") }
func (d Dir) ConfigFile() string { return filepath.Join(string(d), "config.json") }
func (d Dir) LimitsFile() string { return filepath.Join(string(d), "limits.json") }
func (d Dir) LogFile() string    { return filepath.Join(string(d), "signet.log") }

// Organisation is the folder of one organisation that the device belongs to.
func (d Dir) Organisation(o signet.OrgID) string {
	return filepath.Join(string(d), "organisations", o.String())
}

// MakeOrganisation makes the folder of an organisation.
func (d Dir) MakeOrganisation(o signet.OrgID) error {
	if err := d.Make(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.Organisation(o), 0o700); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

// KeyFile is where the device's keys for an organisation rest.
func (d Dir) KeyFile(o signet.OrgID) string { return filepath.Join(d.Organisation(o), "keys") }

// AccountFile says which service, ring and device belong to an organisation.
func (d Dir) AccountFile(o signet.OrgID) string {
	return filepath.Join(d.Organisation(o), "account.json")
}

// IndexFile is the engine's local index of an organisation.
func (d Dir) IndexFile(o signet.OrgID) string {
	return filepath.Join(d.Organisation(o), "index.db")
}

// EvidenceDir is where evidence of what was not verified is kept.
func (d Dir) EvidenceDir(o signet.OrgID) string {
	return filepath.Join(d.Organisation(o), "evidence")
}

// KeptDir is where sealed objects are kept for a service that lost them.
func (d Dir) KeptDir(o signet.OrgID) string {
	return filepath.Join(d.Organisation(o), "kept")
}

// Organisations lists the organisations that have a folder here.
func (d Dir) Organisations() ([]signet.OrgID, error) {
	entries, err := os.ReadDir(filepath.Join(string(d), "organisations"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	var all []signet.OrgID
	for _, e := range entries {
		if o, err := signet.ParseOrgID(e.Name()); err == nil && e.IsDir() {
			all = append(all, o)
		}
	}
	return all, nil
}
