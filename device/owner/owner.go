// Package owner is the one owner of a home: it opens everything that the home
// has of an organisation (account, keys, index, volumes), and holds the
// methods that commands call, in their own process or in the daemon.
//
// It promises that the home's lock is held by whoever opened it, so that one
// process at a time touches keys, index and volumes.
package owner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/plan"
	"signet/core/region"
	"signet/device/account"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/disk"
	"signet/device/engine"
	"signet/device/keystore"
	"signet/device/line"
	"signet/internal/durable"
	"signet/transport"
)

// An Owner is an opened home.
type Owner struct {
	Home    home.Dir
	Account *account.Account
	Keys    *keystore.Keys
	Client  *transport.Client
	Self    region.Self
	Engine  *engine.Device
	Line    *line.Line

	store   *engine.Store
	kept    *engine.Kept
	now     func() time.Time
	closing chan struct{}
	closed  sync.Once
	steered sync.WaitGroup // what adjusts the line

	mu     sync.Mutex
	open   map[string]*disk.Volume // folders that the engine has open
	limits line.Limits
}

// Open opens the only organisation of a home, whose lock the caller holds.
func Open(d home.Dir, version string) (*Owner, error) { return OpenAt(d, version, time.Now) }

// OpenAt is Open by another clock.
func OpenAt(d home.Dir, version string, now func() time.Time) (_ *Owner, err error) {
	a, err := account.Find(d)
	if err != nil {
		return nil, err
	}
	o := &Owner{open: map[string]*disk.Volume{}, Home: d, Account: a, Line: line.New(now), now: now, closing: make(chan struct{})}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if o.Keys, err = keystore.Load(d.KeyFile(a.Org), a.Org); err != nil {
		return nil, err
	}
	if o.limits, err = line.Load(d.LimitsFile()); err != nil {
		return nil, &problem{"limits", err.Error(), "mend the file, or delete it and say signet limit again", control.Failed}
	}
	if o.Client, err = a.Client(o.Keys, version, meter{o.Line}); err != nil {
		return nil, err
	}
	o.sweepCats()
	o.Self = a.Self(o.Keys)
	if o.store, err = engine.OpenStore(d.IndexFile(a.Org)); err != nil {
		return nil, indexProblem(err, d.IndexFile(a.Org))
	}
	o.kept = engine.OpenKept(d.KeptDir(a.Org), keptMost, now)
	o.Engine, err = engine.Open(engine.Config{Self: o.Self, Service: o.Client, Line: o.Line, Store: o.store, Kept: o.kept, Now: now, Alarm: o.evidence,
		LogKeys: a.LogKeys, OpenVolume: o.openVolume, Classify: classify})
	if err == nil && o.Engine.DirectoryHead() == nil {
		// An enrolment leaves a directory in the index: this is another index.
		err = o.store.SetNote(noteAnew, []byte{1})
	}
	if err != nil {
		return o, err
	}
	o.adjust()
	o.steered.Go(o.steer)
	return o, nil
}

// keptMost is how many bytes of sealed objects are kept for a service that loses
// them: what is changed between two backups, as a rule.
const keptMost = 1 << 30

// noteAnew is in an index that was made anew, after the first one was deleted,
// until a folder is added.
const noteAnew = "anew"

// Remember has the index of a newly enrolled device keep the directory: from
// now on the service cannot go back behind it.
func (o *Owner) Remember(ctx context.Context) error {
	if err := o.Engine.SyncDirectory(ctx); err != nil {
		return err
	}
	return o.store.SetNote(noteAnew, nil)
}

// anew reports whether the index was made anew and has no folders since.
func (o *Owner) anew() bool {
	b, err := o.store.Note(noteAnew)
	return err == nil && b != nil && len(o.Engine.Volumes()) == 0
}

// nothing is what is wrong where no folder is kept in step.
func (o *Owner) nothing() error {
	if o.anew() {
		return failed("index_anew", "signet add --relink DIR, for each folder: nothing is deleted or sent again", "no folder is kept in step any more: this device's index was made anew")
	}
	return failed("no_volume", "signet add DIR", "nothing is kept in step yet")
}

const sqliteFull = 13 // SQLITE_FULL

// indexProblem gives the failure to open the index a kind and a hint.
func indexProblem(err error, file string) error {
	var damaged *engine.Damaged
	var sqlite interface{ Code() int }
	switch {
	case errors.As(err, &sqlite) && sqlite.Code() == sqliteFull:
		return &problem{"no_space", err.Error(), "free some space on the disk of the home, then try again", control.Failed}
	case errors.Is(err, engine.ErrNewer):
		return &problem{"newer_format", err.Error(), "update Signet on this device", control.Failed}
	case errors.As(err, &damaged):
		return &problem{"index_damaged", err.Error(), "rm " + file + "*, then signet add --relink for each folder: the index is made anew, nothing is deleted or sent again", control.Failed}
	}
	return err
}

// Close closes what Open opened.
func (o *Owner) Close() error {
	o.closed.Do(func() { close(o.closing) })
	o.steered.Wait()
	if o.Client != nil {
		o.Client.Close()
	}
	o.kept.Close()
	if o.store != nil {
		return o.store.Close()
	}
	return nil
}

// evidence keeps what was not verified, as a file that a stranger can check.
func (o *Owner) evidence(kind, message string, evidence []byte) string {
	if len(evidence) == 0 {
		evidence = []byte(message + "\n")
	}
	dir := o.Home.EvidenceDir(o.Account.Org)
	file := filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000000Z")+"-"+kind)
	if os.MkdirAll(dir, 0o700) != nil || durable.WriteFile(file, evidence, 0o600) != nil {
		return "" // the alarm is raised all the same
	}
	return file
}

func (o *Owner) signMarker(body []byte) ([]byte, error) {
	return o.Self.Signer.Sign(key.LabelMarkerVolume, body)
}

// checkMarker verifies that this device made a volume's marker: one that
// another device made, or anybody, is no reason to delete or send anything.
func (o *Owner) checkMarker(m *disk.Marker) error {
	if err := o.Self.Signer.Public().Verify(key.LabelMarkerVolume, m.Body(), m.Signature); err != nil {
		return fmt.Errorf("the folder's volume marker was not made by this device: %w", engine.ErrOtherVolume)
	}
	return nil
}

// CreateVolume makes a folder a volume of a region and adds it to the engine.
// relink lets it take the place of the volume that it was before, or that has
// the same path: then nothing counts as agreed before.
func (o *Owner) CreateVolume(ctx context.Context, dir string, id signet.RegionID, relink bool) error {
	return o.createVolume(ctx, dir, id, relink, nil)
}

// createVolume is CreateVolume with what is selected.
func (o *Owner) createVolume(ctx context.Context, dir string, id signet.RegionID, relink bool, marks plan.Marks) error {
	var b [8]byte
	rand.Read(b[:])
	volumeID := "vol_" + hex.EncodeToString(b[:])
	mark := func() error {
		make := disk.Create
		if relink {
			make = disk.Relink
		}
		v, _, err := make(dir, volumeID, id.String(), o.signMarker)
		if err != nil {
			return err
		}
		return v.Close()
	}
	var olds []engine.VolumeInfo
	for _, v := range o.Engine.Volumes() {
		if relink && (v.Dir == dir || v.Region == id) {
			olds = append(olds, v)
		}
	}
	// What it takes the place of is forgotten once the folder has its marker: a
	// folder that cannot have one leaves all as it was. A crash in between, or
	// the old volume's loop, finds a marker of another volume, and stops.
	err := mark()
	if i := slices.IndexFunc(olds, func(v engine.VolumeInfo) bool { return v.Dir == dir }); errors.Is(err, disk.ErrInUse) && i >= 0 {
		// It is the old volume's loop that holds the folder.
		if err := o.Engine.RemoveVolume(olds[i].ID); err != nil {
			return err
		}
		if err = mark(); err != nil {
			return errors.Join(err, o.Engine.AddVolume(olds[i].ID, dir, olds[i].Region))
		}
		olds = slices.Delete(olds, i, i+1)
	}
	if err != nil {
		return err
	}
	for _, v := range olds {
		if err := o.Engine.RemoveVolume(v.ID); err != nil {
			return err
		}
	}
	// Before its loop begins, which would fetch all.
	if err := o.Engine.SetSelection(volumeID, marks); err != nil {
		return err
	}
	return errors.Join(o.Engine.AddVolume(volumeID, dir, id), o.store.SetNote(noteAnew, nil))
}
