package disk

import (
	"runtime"
	"strings"
)

// private is the only folder that Signet makes in a volume.
const private = ".signet"

const (
	markerPath  = private + "/marker"
	stagingPath = private + "/staging"
	trashPath   = private + "/trash"
)

// checkPath refuses everything but "/"-separated names below the volume's
// folder. Names come from other devices: "..", an empty name or a NUL would
// leave the volume or mean another file, and .signet is not theirs. The latter
// is refused in any case, since a volume may lie on a disk that ignores it.
func checkPath(op, path string) error {
	if path == "" {
		return fail(op, path, ErrBadPath)
	}
	first := true
	for name := range strings.SplitSeq(path, "/") {
		if !goodName(name) || first && strings.EqualFold(name, private) {
			return fail(op, path, ErrBadPath)
		}
		first = false
	}
	return nil
}

// checkFolder is checkPath, but lets the volume's own folder, "", pass.
func checkFolder(op, path string) error {
	if path == "" {
		return nil
	}
	return checkPath(op, path)
}

func goodName(name string) bool {
	switch name {
	case "", ".", "..":
		return false
	}
	if runtime.GOOS == "windows" {
		// ":" opens an alternate stream, "\" a folder.
		return !strings.ContainsAny(name, "\x00\\:")
	}
	return strings.IndexByte(name, 0) < 0
}

// split cuts path into its folder ("" for the volume's) and its last name.
func split(path string) (folder, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}
