package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolsDir is where others' programs are built: ignored by git, and kept between
// runs.
const toolsDir = ".tools"

// A source is a program of somebody else, in the version that is measured.
type source struct {
	name, module, version string
	command               string   // its package, below the module
	flags                 []string // of go build
}

var (
	syncthingSource = source{name: "syncthing", module: "github.com/syncthing/syncthing", version: "v1.30.0", command: "/cmd/syncthing",
		// Without its web pages, which are not in the module.
		flags: []string{"-tags=noupgrade,noassets", "-ldflags=-X github.com/syncthing/syncthing/lib/build.Version=v1.30.0"}}
)

// backups are the programs that are told when to look.
var backups = map[string]struct {
	source
	as   func(bin string) backup
	asks string // for its version
}{
	"restic": {source{name: "restic", module: "github.com/restic/restic", version: "v0.18.1", command: "/cmd/restic"}, resticBackup, "version"},
	"kopia":  {source{name: "kopia", module: "github.com/kopia/kopia", version: "v0.22.3"}, kopiaBackup, "--version"},
	"rclone": {source{name: "rclone", module: "github.com/rclone/rclone", version: "v1.76.0"}, rcloneBackup, "version"},
}

// found are the peers of a run and what they say they are.
type found struct {
	peers    []peer
	versions map[string]string
}

// find finds the programs, installing or building what is missing.
func find(ctx context.Context, names []string, bin string) (f found, err error) {
	f.versions = map[string]string{}
	for _, name := range names {
		switch {
		case name == "signet":
			if bin, err = filepath.Abs(bin); err != nil {
				return f, err
			}
			for _, p := range []string{"signet", "signet-server"} {
				if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
					return f, fmt.Errorf("%w (make build)", err)
				}
			}
			f.peers = append(f.peers, signetPeer{bin})
		case name == "rsync":
			if err := installed(ctx, "rsync"); err != nil {
				return f, err
			}
			f.peers = append(f.peers, rsync{})
			f.versions[name] = firstLine(ctx, "rsync", "--version")
		case strings.HasPrefix(name, "syncthing"):
			path, err := syncthingSource.built(ctx)
			if err != nil {
				return f, err
			}
			p := syncthing{path, "0.01", name == "syncthing-e2ee"}
			if d, ok := strings.CutPrefix(name, "syncthing-"); ok && !p.blind {
				p.delay = strings.TrimSuffix(d, "s")
			}
			f.peers = append(f.peers, p)
			f.versions[p.name()] = firstLine(ctx, path, "--version") + ", watcher delay " + p.delay + " s"
		case backups[name].as != nil:
			path, err := backups[name].built(ctx)
			if err != nil {
				return f, err
			}
			f.peers = append(f.peers, backups[name].as(path))
			f.versions[name] = firstLine(ctx, path, backups[name].asks)
		default:
			return f, fmt.Errorf("no peer %q", name)
		}
	}
	return f, nil
}

func firstLine(ctx context.Context, name string, args ...string) string {
	out, _ := exec.CommandContext(ctx, name, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.Join(strings.Fields(line), " ")
}

// installed makes sure that a Debian package's program is there.
func installed(ctx context.Context, name string) error {
	if _, err := exec.LookPath(name); err == nil {
		return nil
	}
	fmt.Fprintln(os.Stderr, "installing:", name)
	cmd := exec.CommandContext(ctx, "apt-get", "install", "-y", "--no-install-recommends", name)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w: %s", name, err, tail(out))
	}
	return nil
}

// built is the path of the program, built once; or where that cannot be had of the
// system's package. It is built from a module of its own, so that its dependencies
// are none of ours.
func (s source) built(ctx context.Context) (string, error) {
	dir, err := filepath.Abs(filepath.Join(toolsDir, s.name+"-"+s.version))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, s.name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	mod := fmt.Sprintf("module tools\n\ngo 1.26\n\nrequire %s %s\n", s.module, s.version)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "building:", s.name, s.version)
	args := append([]string{"build", "-mod=mod", "-trimpath"}, s.flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", path, s.module+s.command)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "%s %s does not build here, taking the system's package: %s\n", s.name, s.version, tail(out))
	if err := installed(ctx, s.name); err != nil {
		return "", err
	}
	return exec.LookPath(s.name)
}
