package main

import (
	"context"
	"os"
	"path/filepath"
)

// A backup is a program that is told when to look at a folder: what it is given is
// encrypted into a repository on the same disk, and brought back from there. It asks
// nothing of a network or a service. What it brings back it does not make durable, so
// a sync -f of the target is on the clock.
type backup struct {
	label, bin string
	// flushes says that it does not make its repository durable either.
	flushes bool
	// env is what it is told of a working folder; it may need nothing more of it.
	env func(dir string) []string
	// begin makes a repository below a working folder, save brings folder a into it, and load folder b out
	// of it: words after the program's name.
	begin func(dir string) []string
	save  func(a string) []string
	load  func(a, b string) []string
}

// resticBackup is restic: AES-256-CTR, content-defined pieces, zstd.
func resticBackup(bin string) backup {
	return backup{label: "restic", bin: bin,
		env: func(dir string) []string {
			return []string{"RESTIC_REPOSITORY=" + filepath.Join(dir, "repository"), "RESTIC_PASSWORD=bench",
				"RESTIC_CACHE_DIR=" + filepath.Join(dir, "cache"), "RESTIC_COMPRESSION=auto"}
		},
		begin: func(string) []string { return []string{"--quiet", "init"} },
		save:  func(a string) []string { return []string{"--quiet", "backup", a} },
		load:  func(a, b string) []string { return []string{"--quiet", "restore", "latest:" + a, "--target", b} },
	}
}

// kopiaBackup is kopia: AES-256-GCM, content-defined pieces, no compression.
func kopiaBackup(bin string) backup {
	return backup{label: "kopia", bin: bin,
		env: func(dir string) []string {
			return []string{"KOPIA_PASSWORD=bench", "KOPIA_CONFIG_PATH=" + filepath.Join(dir, "kopia.config"), "KOPIA_USE_KEYRING=false",
				"KOPIA_CACHE_DIRECTORY=" + filepath.Join(dir, "cache"), "KOPIA_LOG_DIR=" + filepath.Join(dir, "logs"),
				"KOPIA_CHECK_FOR_UPDATES=false"}
		},
		begin: func(dir string) []string {
			return []string{"repository", "create", "filesystem", "--no-progress", "--path", filepath.Join(dir, "repository")}
		},
		save: func(a string) []string { return []string{"snapshot", "create", "--no-progress", a} },
		load: func(a, b string) []string { return []string{"restore", "--no-progress", "--parallel", "4", a, b} },
	}
}

// rcloneBackup is rclone's crypt over a folder: XSalsa20-Poly1305, each file whole,
// nothing made durable.
func rcloneBackup(bin string) backup {
	return backup{label: "rclone", bin: bin, flushes: true,
		env: func(dir string) []string {
			return []string{"RCLONE_CONFIG=" + filepath.Join(dir, "rclone.conf"), "RCLONE_CACHE_DIR=" + filepath.Join(dir, "cache")}
		},
		begin: func(dir string) []string {
			return []string{"config", "create", "sealed", "crypt", "remote=" + filepath.Join(dir, "repository"), "password=bench", "--obscure", "--non-interactive"}
		},
		save: func(a string) []string { return []string{"sync", "--transfers", "8", "--checkers", "16", a, "sealed:"} },
		load: func(_, b string) []string {
			return []string{"sync", "--transfers", "8", "--checkers", "16", "sealed:", b}
		},
	}
}

func (b backup) name() string { return b.label }

// fits says what a backup can be measured in: it is told that something changed, so
// how soon it sees that is no measure of it.
func (backup) fits(workload string) bool { return workload != "W5" && workload != "W6" }

type backupPair struct {
	group
	backup
	dir string
}

func (b backup) open(ctx context.Context, dir string) (pair, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &backupPair{backup: b, dir: dir}
	for _, d := range []string{"a", "b", "repository"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return p, p.does(ctx, b.begin(dir))
}

// keep implements keeper: there is nothing beside the repository.
func (b backup) keep(ctx context.Context, dir string) (pair, error) { return b.open(ctx, dir) }

func (p *backupPair) does(ctx context.Context, args []string) error {
	_, err := p.run(ctx, p.env(p.dir), "", p.bin, args...)
	return err
}

func (p *backupPair) folders() (string, string) {
	return filepath.Join(p.dir, "a"), filepath.Join(p.dir, "b")
}

// store implements storing.
func (p *backupPair) store(ctx context.Context) error {
	a, _ := p.folders()
	if err := p.does(ctx, p.save(a)); err != nil || !p.flushes {
		return err
	}
	return flush(ctx, p.dir)
}

func (p *backupPair) push(ctx context.Context) error {
	if err := p.store(ctx); err != nil {
		return err
	}
	a, b := p.folders()
	if err := p.does(ctx, p.load(a, b)); err != nil {
		return err
	}
	return flush(ctx, b)
}

func (p *backupPair) settle(context.Context) error { return nil }
func (p *backupPair) stop(context.Context) error   { return nil }
func (p *backupPair) start(ctx context.Context) error {
	return p.store(ctx)
}
