package main

import (
	"context"
	"os"
	"path/filepath"
)

// restic is a backup program: what it is given is encrypted into a repository on
// the same disk, and restored from there. It asks nothing of a network or a
// service, and makes its repository durable by itself; what it restores it does
// not, so a sync -f of the target is on the clock.
type restic struct{ bin string }

func (restic) name() string { return "restic" }

// fits says what a backup can be measured in: it is told what changed.
func (restic) fits(workload string) bool {
	return workload == "W2" || workload == "W3" || workload == "W8"
}

type resticPair struct {
	group
	bin, dir string
}

func (r restic) open(ctx context.Context, dir string) (pair, error) {
	p := &resticPair{bin: r.bin, dir: dir}
	for _, d := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return p, p.restic(ctx, "init")
}

// keep implements keeper: there is nothing beside the repository.
func (r restic) keep(ctx context.Context, dir string) (pair, error) { return r.open(ctx, dir) }

func (p *resticPair) restic(ctx context.Context, args ...string) error {
	env := []string{"RESTIC_REPOSITORY=" + filepath.Join(p.dir, "repository"), "RESTIC_PASSWORD=bench",
		"RESTIC_CACHE_DIR=" + filepath.Join(p.dir, "cache"), "RESTIC_COMPRESSION=auto"}
	_, err := p.run(ctx, env, "", p.bin, append([]string{"--quiet"}, args...)...)
	return err
}

func (p *resticPair) folders() (string, string) {
	return filepath.Join(p.dir, "a"), filepath.Join(p.dir, "b")
}

// store implements storing.
func (p *resticPair) store(ctx context.Context) error {
	a, _ := p.folders()
	return p.restic(ctx, "backup", a)
}

func (p *resticPair) push(ctx context.Context) error {
	if err := p.store(ctx); err != nil {
		return err
	}
	a, b := p.folders()
	if err := p.restic(ctx, "restore", "latest:"+a, "--target", b); err != nil {
		return err
	}
	return flush(ctx, b)
}

func (p *resticPair) settle(context.Context) error { return nil }
func (p *resticPair) stop(context.Context) error   { return nil }
func (p *resticPair) start(ctx context.Context) error {
	return p.store(ctx)
}
