package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signet/core/key"
	"signet/service"
	"signet/service/meta"
)

// fileCertificate is where transport.SelfSigned keeps what devices have pinned.
const fileCertificate = "tls-self.pem"

// backedUp are the small files of the data that a backup holds.
var backedUp = []string{fileLogKey, fileConnector, fileCertificate}

func (a *app) backupCommand() *cobra.Command {
	c := &cobra.Command{Use: "backup --data DIR --to DIR [--verify]", Short: "Copy all data, also while the service runs", Args: exactly(0),
		Long: "Copy all data to a folder, also while the service runs. What the folder holds of the backup before is not copied again.\n" +
			"The copy holds the service's keys, so guard it like the data themselves."}
	dir := a.data(c)
	to := c.Flags().String("to", "", "folder of the backup")
	verify := c.Flags().Bool("verify", false, "check every record and object of the copy")
	c.RunE = a.withData(dir, func(c *cobra.Command, dir string, _ []string) error {
		if *to == "" {
			return usage("--to is missing: the folder of the backup")
		}
		if within(*to, dir) || within(dir, *to) {
			return usage("--to %s and --data %s: one lies in the other", *to, dir)
		}
		if err := service.CanBackup(*to, append(backedUp, fileLock)); err != nil {
			return backupFailure(err, *to)
		}
		if err := makeData(*to); err != nil {
			return hinted(err, "name a folder that this user may write")
		}
		release, err := holdAny(*to)
		if err != nil {
			return err
		}
		defer release()
		logKey, err := signingKey(filepath.Join(dir, fileLogKey), false)
		if err != nil {
			return err
		}
		var check *key.Public
		if *verify {
			check = logKey.Public()
		}
		b, err := service.Backup(c.Context(), service.BackupConfig{Data: dir, To: *to, Files: backedUp,
			Lock: fileLock, Version: version(), Now: a.now(), Verify: check, Report: a.problem})
		if err != nil {
			return backupFailure(err, *to)
		}
		if a.json {
			return a.print(b)
		}
		_, err = fmt.Fprintf(a.stdout, "backup of %s: %d records, %d objects, %d bytes of packs, %d of them copied now\n",
			b.Time.Format(time.RFC3339), b.Records, b.Objects, b.PackBytes, b.Copied)
		return err
	})
	return c
}

func (a *app) restoreCommand() *cobra.Command {
	c := &cobra.Command{Use: "restore --from DIR --data DIR [--open]", Short: "Bring a backup back to an empty folder", Args: exactly(0),
		Long: "Bring a backup back to an empty folder. The service then waits for what devices have that is newer: they give it back by themselves\n" +
			"when they connect. Until then they can read and not write. Without --from, --open ends the wait, also of a service that runs, and\n" +
			"--in-place says that data are a copy from earlier that other means brought back."}
	data := a.data(c)
	from := c.Flags().String("from", "", "folder of the backup")
	open := c.Flags().Bool("open", false, "wait for nobody: devices that come later with something newer see a fork")
	inPlace := c.Flags().Bool("in-place", false, "the data are there already, from earlier")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := fill(c, a.getenv); err != nil {
			return err
		}
		switch {
		case *data == "":
			return usage("--data is missing: the folder of everything that the service keeps")
		case *inPlace && *from != "":
			return usage("--in-place and --from exclude each other")
		case *from == "" && !*open && !*inPlace:
			return usage("--from is missing: the folder of the backup")
		case *from != "":
			return a.restore(c, *from, *data, *open)
		}
		if err := needData(*data); err != nil {
			return err
		}
		if *inPlace {
			if err := a.restoreInPlace(*data); err != nil {
				return err
			}
		}
		if *open {
			return a.openRestored(*data)
		}
		return nil
	}
	return c
}

func (a *app) restore(c *cobra.Command, from, data string, open bool) error {
	if info, err := os.Stat(from); err != nil {
		return hinted(err, "name the folder that signet-server backup --to wrote")
	} else if !info.IsDir() {
		return hinted(fmt.Errorf("%s: not a folder", from), "name the folder that signet-server backup --to wrote")
	}
	if _, err := os.Stat(filepath.Join(data, fileLock)); err == nil { // else there is nothing that could be in use
		release, err := holdAny(data)
		if err != nil {
			return err
		}
		release()
	}
	if err := service.CanRestore(data, fileLock); err != nil {
		return &failure{err: fmt.Errorf("%s: %w", data, err), hint: "name a new folder; what is in this one stays as it is", kind: "not_empty"}
	}
	if err := service.HasBackup(from); err != nil {
		return backupFailure(err, from)
	}
	if err := makeData(data); err != nil {
		return hinted(err, "name a folder that this user may write")
	}
	release, err := holdAny(data)
	if err != nil {
		return err
	}
	defer release()
	r, err := service.Restore(c.Context(), from, data, open, a.now())
	if err != nil {
		return backupFailure(err, from)
	}
	if a.json {
		return a.print(r)
	}
	fmt.Fprintf(a.stdout, "restored the backup of %s: %d logs, %d bytes of packs\n", r.Time.Format(time.RFC3339), r.Logs, r.Bytes)
	if !open {
		fmt.Fprintln(a.stderr, "note: once it is served, devices give back by themselves what is newer than the backup; until then they read and do not write")
	}
	return nil
}

func (a *app) restoreInPlace(data string) error {
	release, err := hold(data)
	if err != nil {
		return err
	}
	defer release()
	logs, err := service.MarkRestored(data, a.now())
	if err != nil || a.json {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%d logs wait for what devices have that is newer\n", logs)
	return err
}

func (a *app) openRestored(data string) error {
	err := service.OpenRestored(data)
	if errors.Is(err, service.ErrNotRestored) {
		return &failure{err: fmt.Errorf("%s: %w", data, err), hint: "nothing waits, so there is nothing to open", kind: "not_restored"}
	}
	if err == nil && !a.json {
		_, err = fmt.Fprintln(a.stdout, "nobody is waited for any more")
	}
	return err
}

// backupFailure gives the failures of a backup in dir a kind and a hint.
func backupFailure(err error, dir string) error {
	f := &failure{err: fmt.Errorf("%s: %w", dir, err)}
	switch {
	case errors.Is(err, meta.ErrNewer):
		return f // the class says what to do
	case errors.Is(err, service.ErrNoBackup):
		f.kind, f.hint = "no_backup", "name the folder that signet-server backup --to wrote"
	case errors.Is(err, service.ErrBackupUnfinished):
		f.kind, f.hint = "unfinished", "no run of signet-server backup has got to its end there; take another backup"
	case errors.Is(err, service.ErrOtherBackup):
		f.kind, f.hint = "other_backup", "give each service a folder of its own"
	case errors.Is(err, service.ErrNotABackup):
		f.kind, f.hint = "not_empty", "name a new folder, or that of an earlier backup"
	case errors.Is(err, service.ErrBackupDamaged):
		f.kind, f.hint = "damaged", "take another backup; signet-server check says whether the data are whole"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		f.hint = "name a folder that this user may write"
	case errors.Is(err, syscall.ENOSPC):
		f.kind, f.hint = "no_space", "free some space, then run it again: it goes on"
	default:
		return f.err
	}
	return f
}

// within reports whether a folder is another or lies in it.
func within(dir, in string) bool {
	a, err := filepath.Abs(dir)
	b, berr := filepath.Abs(in)
	rel, rerr := filepath.Rel(b, a)
	return err == nil && berr == nil && rerr == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
