package cold

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/internal/durable"
)

// A Source is where an export's content comes from: a device that has verified
// it.
type Source interface {
	// Records calls each with the records of a log from one position to before
	// another.
	Records(log signet.LogID, from, to uint64, each func(signet.Record) error) error
	// Objects calls each with every object that a valid entry before a position of
	// the journal names, by position; an object may come twice.
	Objects(to uint64, each func(position uint64, id signet.ObjectID) error) error
	// Get is that of signet.Chunks, of the region.
	Get(ctx context.Context, ids []signet.ObjectID, each func(id signet.ObjectID, object []byte) error) error
	// Signer is the signing key of a device of a ring, nil if it is none, and whether
	// it is one still.
	Signer(in signet.RingID, id signet.DeviceID) (by *key.Public, active bool)
	// Check fails where a checkpoint contradicts what the device knows.
	Check(c *chain.Checkpoint) error
}

// A Job is one run of an export. The caller keeps others out of the folder
// meanwhile.
type Job struct {
	Dir     string
	Org     signet.OrgID
	Region  signet.RegionID
	Ring    signet.RingID
	Device  signet.DeviceID
	By      key.Signer // of Device
	LogKeys *key.Public

	// What is exported: full checkpoints that the service gave after the caller had
	// the folder to itself.
	Directory, Journal *chain.Checkpoint

	Place *string        // nil: as before
	Every *time.Duration // nil: as before
	Check bool           // read and hash every object that is there

	Source   Source
	Now      func() time.Time
	Progress func(done, total int64, bytes int64)

	root *os.Root
	last *Manifest // of the run before; nil: this is the first
	gone bool      // last is by a device that was removed since: nothing of it is believed
	mu   sync.Mutex
	out  Outcome
	made map[string]bool // folders of objects that got something
	lost map[signet.ObjectID]bool
	bad  []signet.ObjectID // the service gave other bytes
}

// An Outcome is what a run did, or would do.
type Outcome struct {
	Manifest
	NewObjects, NewBytes int64 // copied by this run
	NewRecords           uint64
	Mended               []string // files of the run before that were damaged, and are whole again

	since uint64
}

// Since is the position of the journal from which on a run has something new.
func (o *Outcome) Since() uint64 { return o.since }

// ErrObject says that the service gave other bytes than an object's name
// promises: an alarm. What it gave is not in the export.
var ErrObject = fmt.Errorf("stored object is not what its name promises: %w", signet.ErrNotVerified)

// Plan says what Run would copy, and copies nothing: NewObjects, NewRecords, and the ids.
func (j *Job) Plan() (*Outcome, []signet.ObjectID, error) {
	if err := Usable(j.Dir, j.Org, j.Region); err != nil {
		return nil, nil, err
	}
	if err := j.open(); errors.Is(err, fs.ErrNotExist) {
		j.last = nil
	} else if err != nil {
		return nil, nil, err
	} else {
		defer j.root.Close()
	}
	have := map[signet.ObjectID]bool{}
	if j.root != nil {
		var err error
		if have, err = j.have(); err != nil {
			return nil, nil, err
		}
	}
	want, _, err := j.want()
	if err != nil {
		return nil, nil, err
	}
	var lack []signet.ObjectID
	for id := range want {
		if !have[id] {
			lack = append(lack, id)
		}
	}
	j.out.NewObjects, j.out.NewRecords = int64(len(lack)), j.records()
	j.describe(uint64(len(want)))
	return &j.out, lack, nil
}

func (j *Job) records() uint64 {
	n := j.Directory.Size + j.Journal.Size
	if j.last != nil {
		n -= j.last.size(signet.DirectoryLog) + j.last.size(signet.RegionLog)
	}
	return n
}

// Run brings the export up to the checkpoints. What it writes, and in which
// order, says spec/export.md: until the manifest is there, the export of the run
// before is what counts. That the service lacked objects is no error, see
// Outcome.Missing; that it gave others is, ErrObject, once all else is done.
func (j *Job) Run(ctx context.Context) (*Outcome, error) {
	if err := Usable(j.Dir, j.Org, j.Region); err != nil {
		return nil, err
	}
	if err := os.Mkdir(j.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := j.open(); err != nil {
		return nil, err
	}
	defer j.root.Close()
	if j.last == nil {
		if err := write(j.Dir, fileBegun, begun(j.Org, j.Region)); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{dirLogs, dirSpare, dirObjects} {
		if err := os.Mkdir(filepath.Join(j.Dir, d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	if err := j.logs(); err != nil {
		return nil, err
	}
	if err := j.objects(ctx); err != nil {
		return nil, err
	}
	if err := j.settle(); err != nil {
		return nil, err
	}
	if err := j.finish(); err != nil {
		return nil, err
	}
	if len(j.bad) > 0 {
		return &j.out, fmt.Errorf("%d objects, the first is %s: %w", len(j.bad), j.bad[0], ErrObject)
	}
	return &j.out, nil
}

// open opens the folder and the manifest of the run before, which must be by a
// device of the organisation, about logs that this device knows.
func (j *Job) open() (err error) {
	if j.root, err = os.OpenRoot(j.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			j.root.Close()
		}
	}()
	list, damage, err := manifests(j.root)
	if errors.Is(err, ErrNone) || errors.Is(err, ErrUnfinished) {
		return nil
	}
	if err != nil {
		return err
	}
	var why error
	for _, m := range list {
		if why = j.trust(m); why == nil {
			j.last = m
			break
		}
		damage = append(damage, Damage{File: fileManifest})
	}
	for _, d := range damage {
		j.out.Mended = append(j.out.Mended, d.File) // the manifest is written anew
	}
	return why
}

func (j *Job) trust(m *Manifest) error {
	by, active := j.Source.Signer(m.Ring, m.Device)
	j.gone = !active
	if by == nil || m.Org != j.Org || m.Region != j.Region {
		return fmt.Errorf("%s is by no device of its ring: %w", fileManifest, ErrDamaged)
	}
	if err := m.Verify(by); err != nil {
		return fmt.Errorf("%s: %w: %w", fileManifest, err, ErrDamaged)
	}
	dir, journal, err := m.heads(j.LogKeys)
	if err == nil {
		err = errors.Join(j.Source.Check(dir), j.Source.Check(journal))
	}
	if err != nil {
		return err
	}
	// What the service showed to the device that exported it has still.
	for _, c := range [][2]*chain.Checkpoint{{dir, j.Directory}, {journal, j.Journal}} {
		if c[0].Size > c[1].Size {
			e, _ := chain.NewFork(c[0], c[1], nil)
			return &chain.Rollback{Last: c[0], Shown: c[1], Evidence: e}
		}
	}
	return nil
}

// logs writes what is new of both logs, and mends what is damaged of the rest.
func (j *Job) logs() error {
	if j.last != nil {
		for _, s := range j.last.Segments {
			if err := j.mend(s); err != nil {
				return err
			}
		}
	}
	for _, c := range []*chain.Checkpoint{j.Directory, j.Journal} {
		from := uint64(0)
		if j.last != nil {
			from = j.last.size(c.Log.Kind)
			for _, s := range j.last.Segments {
				if s.Kind == c.Log.Kind {
					j.out.Segments = append(j.out.Segments, s)
				}
			}
		}
		if err := j.extend(c.Log, from, c.Size); err != nil {
			return err
		}
	}
	j.out.NewRecords = j.records()
	return nil
}

// mend writes a segment again where one of its files is damaged.
func (j *Job) mend(s Segment) error {
	file, damage, err := readSegment(j.root, s)
	if j.gone || errors.Is(err, ErrDamaged) {
		own, rerr := j.segment(s)
		switch {
		case rerr != nil:
			return errors.Join(err, rerr)
		case sha256.Sum256(own) == s.Sum:
			file = own
		case err == nil:
			return fmt.Errorf("%s, by a device that was removed since, has other records than this device knows: %w", segmentName(s), ErrDamaged)
		default:
			return err
		}
	} else if err != nil {
		return err
	}
	for _, d := range damage {
		if err := write(j.Dir, d.File, file); err != nil {
			return err
		}
		j.out.Mended = append(j.out.Mended, d.File)
	}
	return nil
}

// segment makes a segment's file of what this device knows.
func (j *Job) segment(s Segment) ([]byte, error) {
	log := signet.Journal(j.Region)
	if s.Kind == signet.DirectoryLog {
		log = signet.Directory(j.Org)
	}
	file := []byte(segmentMagic)
	err := j.Source.Records(log, s.From, s.From+uint64(s.Count), func(r signet.Record) error {
		file = appendRecord(file, r)
		return nil
	})
	return file, err
}

// extend writes records to new segments.
func (j *Job) extend(log signet.LogID, from, to uint64) error {
	file := []byte(segmentMagic)
	s := Segment{Kind: log.Kind, From: from}
	flush := func() error {
		if s.Count == 0 {
			return nil
		}
		s.Sum = sha256.Sum256(file)
		for _, d := range []string{dirLogs, dirSpare} {
			if err := write(j.Dir, path.Join(d, segmentName(s)), file); err != nil {
				return err
			}
		}
		j.out.Segments = append(j.out.Segments, s)
		s = Segment{Kind: log.Kind, From: s.From + uint64(s.Count)}
		file = append(file[:0], segmentMagic...)
		return nil
	}
	err := j.Source.Records(log, from, to, func(r signet.Record) error {
		file = appendRecord(file, r)
		if s.Count++; len(file) < segmentMost {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil && s.From != to {
		err = fmt.Errorf("%s: %d records, %d wanted", log, s.From, to)
	}
	return err
}

// want lists the objects that the export is to have, and those among them that
// the manifest of the run before speaks of.
func (j *Job) want() (all, before map[signet.ObjectID]bool, err error) {
	all, before = map[signet.ObjectID]bool{}, map[signet.ObjectID]bool{}
	covered := uint64(0)
	if j.last != nil {
		covered = j.last.size(signet.RegionLog)
	}
	err = j.Source.Objects(j.Journal.Size, func(position uint64, id signet.ObjectID) error {
		all[id] = true
		if position < covered {
			before[id] = true
		}
		return nil
	})
	if j.last != nil {
		for _, id := range j.last.Missing {
			delete(before, id)
		}
	}
	if j.gone {
		clear(before)
	}
	return all, before, err
}

// have lists the objects that are there by name.
func (j *Job) have() (map[signet.ObjectID]bool, error) {
	found := map[signet.ObjectID]bool{}
	err := fs.WalkDir(j.root.FS(), dirObjects, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		if id, err := signet.ParseObjectID(path.Base(p)); err == nil && objectName(id) == p && e.Type().IsRegular() {
			found[id] = true
		}
		return nil
	})
	return found, err
}

// objects copies the objects that are not there.
func (j *Job) objects(ctx context.Context) error {
	j.made, j.lost = map[string]bool{}, map[signet.ObjectID]bool{}
	want, before, err := j.want()
	if err != nil {
		return err
	}
	have, err := j.have()
	if err != nil {
		return err
	}
	if err := j.sweep(); err != nil {
		return err
	}
	// In the order of their names, which is as good as any, and the same each time.
	var lack []signet.ObjectID
	for _, id := range slices.SortedFunc(maps.Keys(want), compareIDs) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case have[id] && (!before[id] || j.Check):
			// Left of a run that was cut off, or to be looked at.
			b, err := readObject(j.root, id)
			if err != nil {
				if before[id] {
					j.out.Mended = append(j.out.Mended, objectName(id))
				}
				lack = append(lack, id)
				continue
			}
			j.made[path.Dir(objectName(id))] = true
			if !before[id] {
				j.out.Bytes += uint64(len(b))
			}
		case !have[id]:
			if before[id] {
				j.out.Mended = append(j.out.Mended, objectName(id))
			}
			lack = append(lack, id)
		}
	}
	if err := j.fetch(ctx, lack, before); err != nil {
		return err
	}
	for id := range j.lost {
		j.out.Missing = append(j.out.Missing, id)
	}
	slices.SortFunc(j.out.Missing, compareIDs)
	j.describe(uint64(len(want) - len(j.lost)))
	return nil
}

func compareIDs(a, b signet.ObjectID) int { return bytes.Compare(a[:], b[:]) }

// sweep removes what a run left that was cut off.
func (j *Job) sweep() error {
	return fs.WalkDir(j.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := path.Base(p); e.Type().IsRegular() && len(n) == len(".signet-")+12 && n[:8] == ".signet-" {
			return j.root.Remove(p)
		}
		return nil
	})
}

const (
	hands     = 4   // requests at once
	askedOnce = 128 // objects of a request
)

// fetch gets objects from the service.
func (j *Job) fetch(ctx context.Context, ids []signet.ObjectID, before map[signet.ObjectID]bool) error {
	total := int64(len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(hands)
	for some := range slices.Chunk(ids, askedOnce) {
		g.Go(func() error {
			taken := map[signet.ObjectID]bool{}
			take := func(id signet.ObjectID, object []byte) error {
				taken[id] = true
				return j.take(id, object, before[id], total)
			}
			err := j.Source.Get(ctx, some, take)
			if !errors.Is(err, signet.ErrNotFound) {
				return err
			}
			// One that the service lacks holds up nobody else: ask for each.
			for _, id := range some {
				if taken[id] {
					continue
				}
				err := j.Source.Get(ctx, []signet.ObjectID{id}, take)
				if errors.Is(err, signet.ErrNotFound) {
					j.lose(id, false)
				} else if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (j *Job) lose(id signet.ObjectID, bad bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost[id] = true
	if bad {
		j.bad = append(j.bad, id)
	}
}

// take writes an object, if it is what its name says. It is made durable later,
// with the others: should that not happen, the next run reads it.
func (j *Job) take(id signet.ObjectID, object []byte, counted bool, total int64) error {
	if sha256.Sum256(object) != id {
		j.lose(id, true)
		return nil
	}
	name := objectName(id)
	dir := path.Dir(name)
	tmp := path.Join(dir, ".signet-"+rand.Text()[:12])
	f, err := j.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := j.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		f, err = j.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(object)
	if err == nil && len(object) >= 1<<20 {
		durable.Begin(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = j.root.Rename(tmp, name)
	}
	if err != nil {
		j.root.Remove(tmp)
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.made[dir] = true
	j.out.NewObjects++
	j.out.NewBytes += int64(len(object))
	if !counted {
		j.out.Bytes += uint64(len(object))
	}
	if j.Progress != nil {
		j.Progress(j.out.NewObjects, total, j.out.NewBytes)
	}
	return nil
}

// settle makes everything durable that was written.
func (j *Job) settle() error {
	f, err := os.Open(j.Dir)
	if err != nil {
		return err
	}
	err = errors.Join(durable.SyncFS(f), f.Close())
	if !errors.Is(err, durable.ErrUnsupported) {
		return err
	}
	return j.settleEach()
}

// settleEach does so file by file, in the folders that got something.
func (j *Job) settleEach() error {
	for dir := range j.made {
		full := filepath.Join(j.Dir, filepath.FromSlash(dir))
		entries, err := os.ReadDir(full)
		if err != nil {
			return err
		}
		for _, e := range entries {
			f, err := os.OpenFile(filepath.Join(full, e.Name()), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			if err := errors.Join(durable.SyncFile(f), f.Close()); err != nil {
				return err
			}
		}
		if err := durable.SyncDir(full); err != nil {
			return err
		}
	}
	for _, dir := range []string{dirObjects, "."} {
		if err := durable.SyncDir(filepath.Join(j.Dir, dir)); err != nil {
			return err
		}
	}
	return nil
}

// describe fills in the manifest, but for the logs.
func (j *Job) describe(objects uint64) {
	m := &j.out.Manifest
	m.Org, m.Region, m.Ring, m.Device = j.Org, j.Region, j.Ring, j.Device
	m.Made = j.Now().UnixMilli()
	m.Directory, m.Journal = j.Directory.Bytes(), j.Journal.Bytes()
	m.Objects = objects
	rand.Read(m.ID[:])
	if j.last != nil {
		m.ID = j.last.ID
		j.out.since = j.last.size(signet.RegionLog)
		if !j.gone { // else all were read, and counted
			m.Bytes += j.last.Bytes
		}
		m.Place, m.Every, m.Checked = j.last.Place, j.last.Every, j.last.Checked
	}
	if j.Check {
		m.Checked = m.Made
	}
	if j.Place != nil {
		m.Place = *j.Place
	}
	if j.Every != nil {
		m.Every = uint32(*j.Every / time.Minute)
	}
}

// finish writes the manifest: from here on this run counts.
func (j *Job) finish() error {
	file, err := j.out.Sign(j.By)
	if err != nil {
		return err
	}
	for _, name := range []string{fileManifest, fileSpare} {
		if err := write(j.Dir, name, file); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(j.Dir, fileBegun)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
