package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// rsync is the floor: no encryption, no history, straight from a to b. It does
// not make its files durable, so a sync -f of the target is on the clock.
type rsync struct{}

func (rsync) name() string { return "rsync" }

type rsyncPair struct {
	group
	dir, url string
}

func (rsync) open(ctx context.Context, dir string) (pair, error) {
	for _, d := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[b]\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), filepath.Join(dir, "b"))
	file := filepath.Join(dir, "rsyncd.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := &rsyncPair{dir: dir, url: fmt.Sprintf("rsync://127.0.0.1:%d/b/", port)}
	server, err := launch(dir, "server", nil, "rsync", "--daemon", "--no-detach", "--address=127.0.0.1",
		fmt.Sprintf("--port=%d", port), "--config="+file, "--log-file="+filepath.Join(dir, "rsyncd.log"))
	if err != nil {
		return nil, err
	}
	p.add(server)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = until(ctx, 20*time.Millisecond, func() (bool, error) { return p.start(ctx) == nil, nil })
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *rsyncPair) folders() (string, string) {
	return filepath.Join(p.dir, "a"), filepath.Join(p.dir, "b")
}

func (p *rsyncPair) push(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	return flush(ctx, filepath.Join(p.dir, "b"))
}

func (p *rsyncPair) settle(context.Context) error { return nil }
func (p *rsyncPair) stop(context.Context) error   { return nil }

func (p *rsyncPair) start(ctx context.Context) error {
	_, err := p.run(ctx, nil, "", "rsync", "-a", "--delete", filepath.Join(p.dir, "a")+"/", p.url)
	return err
}
