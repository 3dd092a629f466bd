package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signet/core/key"
	"signet/internal/durable"
	"signet/service/blob"
	"signet/service/meta"
)

// What lies in a backup besides the packs and the files of its Backup.Files.
const (
	backupFile     = "backup.json"            // what the backup is; written last
	backupProgress = "backup-unfinished.json" // packs that are copied; while one is made
	backupFormat   = 1
)

// A backup is what backupFile says: this database and these packs, up to these
// ends, are one consistent copy. Whatever else lies there is of no account.
type backup struct {
	Format   int         `json:"format"`
	Version  string      `json:"version"` // of the program
	Time     time.Time   `json:"time"`    // of the copy of the database
	Database string      `json:"database"`
	SHA256   string      `json:"sha256"` // of the database
	Files    []string    `json:"files"`
	Packs    []blob.Mark `json:"packs"`
}

// Errors of Backup and Restore that have a remedy.
var (
	ErrNoBackup         = errors.New("no backup there")
	ErrBackupUnfinished = errors.New("the backup there is unfinished")
	ErrOtherBackup      = errors.New("the folder holds the backup of another service")
	ErrNotABackup       = errors.New("the folder is not empty, and no backup")
	ErrNotEmpty         = errors.New("the folder is not empty")
	ErrBackupDamaged    = errors.New("the backup is damaged")
)

// A BackupConfig says what is copied where.
type BackupConfig struct {
	Data, To string
	Files    []string // of Data, small, copied where they are; the first must be there and never changes
	Lock     string   // a file of To that does not count
	Version  string
	Now      time.Time
	Verify   *key.Public // of the log keys: every record and object of the copy is checked; nil: the index alone
	Report   func(Problem)
}

// A Backed says what Backup did.
type Backed struct {
	Time      time.Time `json:"time"`
	Records   int64     `json:"records"`
	Objects   int64     `json:"objects"`
	PackBytes int64     `json:"pack_bytes"` // in all
	Copied    int64     `json:"copied"`     // of them now; the rest was there
	Verified  bool      `json:"verified"`   // every record and object was checked
}

// Backup copies a service's data to a folder, while it serves or not. Who calls
// it holds the folder for itself.
//
// The database is copied first, as it is at one moment, then the packs as far as
// it knows them to be durable; such bytes never change. So it names no object
// that is not there. The backup before stays good until backupFile, written last,
// says otherwise. A run that was cut off goes on with the packs that it lacks.
func Backup(ctx context.Context, c BackupConfig) (Backed, error) {
	b := &backingUp{BackupConfig: c, have: map[uint32]int64{}, need: map[uint32]int64{}}
	if err := b.begin(); err != nil {
		return Backed{}, err
	}
	if err := b.files(); err != nil { // the keys of another service end it here
		return Backed{}, err
	}
	if err := b.note(); err != nil {
		return Backed{}, err
	}
	release, err := blob.Hold(ctx, c.Data) // the packs that the copy names stay until they are copied
	if err != nil {
		return Backed{}, err
	}
	defer release()
	if err := b.database(); err != nil {
		return Backed{}, err
	}
	if err := b.packs(ctx); err != nil {
		return Backed{}, err
	}
	release()
	if c.Verify != nil {
		if err := b.verify(ctx); err != nil {
			return Backed{}, err
		}
	}
	return b.out, b.end()
}

// CanBackup looks whether a folder may take a backup: one that is not there or
// empty, but for files that do not count, or that holds one already.
func CanBackup(to string, ours []string) error {
	for _, name := range []string{backupProgress, backupFile} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			return nil
		}
	}
	names, err := os.ReadDir(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range names {
		if !isOurs(n.Name(), append(ours, backupProgress)) {
			return ErrNotABackup
		}
	}
	return err
}

// isOurs reports whether a file is one of those named, or what a kill left of
// writing one (internal/durable).
func isOurs(name string, ours []string) bool {
	return slices.ContainsFunc(ours, func(o string) bool {
		return name == o || strings.HasPrefix(name, "."+o+".") && strings.HasSuffix(name, ".tmp")
	})
}

type backingUp struct {
	BackupConfig
	old      *backup // the finished one
	progress backup
	next     backup
	have     map[uint32]int64 // ends of packs that were copied before
	need     map[uint32]int64 // ends that the database names
	out      Backed
}

// begin looks at what is in the folder.
func (b *backingUp) begin() (err error) {
	for _, name := range []string{backupProgress, backupFile} { // the finished one's ends hold in doubt
		m, err := readBackup(filepath.Join(b.To, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range m.Packs {
			b.have[p.Pack] = max(b.have[p.Pack], p.End)
		}
		if b.old = m; name == backupProgress {
			b.old = &backup{}
		}
	}
	if b.old == nil {
		if err := CanBackup(b.To, append(b.Files, b.Lock)); err != nil {
			return err
		}
		b.old = &backup{}
	}
	b.progress.Format = backupFormat
	for p, end := range b.have {
		b.progress.Packs = append(b.progress.Packs, blob.Mark{Pack: p, End: end})
	}
	return nil
}

// note writes down which packs are copied.
func (b *backingUp) note() error {
	return writeBackup(filepath.Join(b.To, backupProgress), &b.progress)
}

func readBackup(path string) (*backup, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &backup{}
	if err := json.Unmarshal(raw, m); err != nil || m.Format < 1 {
		return nil, fmt.Errorf("%s: %w: %v", path, ErrBackupDamaged, err)
	}
	if m.Format > backupFormat {
		return nil, fmt.Errorf("%s: %w: format %d, this program knows %d", path, meta.ErrNewer, m.Format, backupFormat)
	}
	return m, nil
}

func writeBackup(path string, m *backup) error {
	raw, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(raw, '\n'), 0o600)
}

// files copies keys. The first tells services apart.
func (b *backingUp) files() error {
	for i, name := range b.Files {
		raw, err := os.ReadFile(filepath.Join(b.Data, name))
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			continue
		}
		if err != nil {
			return err
		}
		there, err := os.ReadFile(filepath.Join(b.To, name))
		if err == nil && i == 0 && !bytes.Equal(there, raw) {
			return ErrOtherBackup
		}
		if err != nil || !bytes.Equal(there, raw) {
			if err := durable.WriteFile(filepath.Join(b.To, name), raw, 0o600); err != nil {
				return err
			}
		}
		b.next.Files = append(b.next.Files, name)
	}
	return nil
}

// database copies the database, and finds how far it needs each pack.
func (b *backingUp) database() error {
	b.next.Format, b.next.Version, b.next.Time = backupFormat, b.Version, b.Now.UTC()
	b.next.Database = "signet-" + b.next.Time.Format("20060102T150405.000000000Z") + ".db"
	b.sweep()
	db, err := meta.Open(filepath.Join(b.Data, databaseName))
	if err != nil {
		return err
	}
	to := filepath.Join(b.To, b.next.Database)
	if err := errors.Join(db.CopyTo(to), db.Close()); err != nil {
		return err
	}
	if b.next.SHA256, err = hashFile(to); err != nil {
		return err
	}
	copied, err := meta.OpenCopy(to)
	if err != nil {
		return err
	}
	defer copied.Close()
	problems, err := copied.Integrity()
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("database: %s: %w", problems[0], meta.ErrDamaged)
	}
	packs, err := copied.Packs()
	if err != nil {
		return err
	}
	logs, err := copied.Logs()
	if err != nil {
		return err
	}
	lost, err := lostObjects(copied)
	if err != nil {
		return err
	}
	for _, l := range logs {
		b.out.Records += int64(l.Size)
		err := copied.Objects(l.Num, func(o meta.Object) error {
			if lost[place{l.Num, o.ID}] { // as was its pack, perhaps
				return nil
			}
			b.out.Objects++
			b.need[o.Place.Pack] = max(b.need[o.Place.Pack], int64(o.Place.Offset)+int64(o.Place.Length))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, p := range packs {
		if b.need[p.Pack] > 0 { // others may be gone already, and nobody misses them
			b.need[p.Pack] = max(b.need[p.Pack], p.End)
		}
	}
	b.out.Time = b.next.Time
	return nil
}

// packs copies what is not there yet, and notes each pack when it is durable.
func (b *backingUp) packs(ctx context.Context) error {
	for p, end := range b.need {
		m := blob.Mark{Pack: p, End: end}
		n, err := blob.Copy(ctx, b.Data, b.To, m, b.have[p])
		b.out.Copied += n
		b.out.PackBytes += end
		if err != nil {
			return err
		}
		b.next.Packs, b.progress.Packs = append(b.next.Packs, m), append(b.progress.Packs, m)
		if n == 0 {
			continue
		}
		if err := b.note(); err != nil {
			return err
		}
	}
	return nil
}

// verify checks every record and object of the copy.
func (b *backingUp) verify(ctx context.Context) error {
	db, err := meta.OpenCopy(filepath.Join(b.To, b.next.Database))
	if err != nil {
		return err
	}
	defer db.Close()
	n, err := checkCopy(ctx, db, b.To, b.Verify, b.Report)
	if err != nil {
		return err
	}
	if n.Problems > 0 {
		return fmt.Errorf("%d problems: %w", n.Problems, ErrBackupDamaged)
	}
	b.out.Verified = true
	return nil
}

// end makes the copy the backup, and takes away what was of the one before: its
// database, and packs in which nothing lies any more.
func (b *backingUp) end() error {
	if err := writeBackup(filepath.Join(b.To, backupFile), &b.next); err != nil {
		return err
	}
	b.old = &b.next
	b.sweep()
	named := map[uint32]bool{}
	for _, m := range b.next.Packs {
		named[m.Pack] = true
	}
	if err := blob.Sweep(b.To, func(pack uint32) bool { return named[pack] }); err != nil {
		return err
	}
	err := durable.Remove(filepath.Join(b.To, backupProgress))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// sweep takes away databases of no account, and what kills left. What stays, the
// next run takes.
func (b *backingUp) sweep() {
	sweepTemporary(b.To, append(b.Files, backupFile, backupProgress))
	names, _ := filepath.Glob(filepath.Join(b.To, "signet-*.db*"))
	for _, n := range names {
		if b.old.Database == "" || !strings.HasPrefix(filepath.Base(n), b.old.Database) {
			os.Remove(n)
		}
	}
}

// sweepTemporary takes away what kills left of writing files.
func sweepTemporary(dir string, files []string) {
	for _, f := range files {
		names, _ := filepath.Glob(filepath.Join(dir, "."+f+".*.tmp"))
		for _, n := range names {
			os.Remove(n)
		}
	}
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
