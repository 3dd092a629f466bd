package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What is built of others, and where: .tools is ignored by git and kept
// between runs.
const (
	toolsDir         = ".tools"
	syncthingModule  = "github.com/syncthing/syncthing"
	syncthingVersion = "v1.30.0"
)

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
			path, err := builtSyncthing(ctx)
			if err != nil {
				return f, err
			}
			p := syncthing{path, "0.01", name == "syncthing-e2ee"}
			if d, ok := strings.CutPrefix(name, "syncthing-"); ok && !p.blind {
				p.delay = strings.TrimSuffix(d, "s")
			}
			f.peers = append(f.peers, p)
			f.versions[p.name()] = firstLine(ctx, path, "--version") + ", watcher delay " + p.delay + " s"
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

// builtSyncthing is the pinned version, built once, without its web pages; or
// where that cannot be had the system's package. It is built from a module of
// its own, so that its dependencies are none of ours.
func builtSyncthing(ctx context.Context) (string, error) {
	dir, err := filepath.Abs(filepath.Join(toolsDir, "syncthing-"+syncthingVersion))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "syncthing")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	mod := fmt.Sprintf("module tools\n\ngo 1.26\n\nrequire %s %s\n", syncthingModule, syncthingVersion)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "building: syncthing", syncthingVersion)
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-tags=noupgrade,noassets",
		"-ldflags=-X "+syncthingModule+"/lib/build.Version="+syncthingVersion, "-o", path, syncthingModule+"/cmd/syncthing")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "syncthing %s does not build here, taking the system's package: %s\n", syncthingVersion, tail(out))
	if err := installed(ctx, "syncthing"); err != nil {
		return "", err
	}
	return exec.LookPath("syncthing")
}
