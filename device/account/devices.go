package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/wire"
	"signet/transport"
)

// A Profile is what a device's sealed record says of it. The service cannot
// read it.
type Profile struct {
	Name     string // at most 255 bytes
	Platform string // at most 255 bytes
}

const profileFormat = 1

// MaxName is the longest name of a device, in bytes.
const MaxName = 255

// Encode writes a profile for region.Self.SealRecord.
func (p Profile) Encode() []byte {
	var w wire.Writer
	w.U8(profileFormat)
	w.Vec8([]byte(p.Name))
	w.Vec8([]byte(p.Platform))
	return w.B
}

// ParseProfile reads what Encode wrote. Names are other devices' words: escape
// them before showing.
func ParseProfile(b []byte) (p Profile, err error) {
	r := wire.NewReader(b)
	if f := r.U8(); r.Err() == nil && f != profileFormat {
		return Profile{}, fmt.Errorf("profile of format %d: %w", f, ErrNewer)
	}
	p.Name, p.Platform = string(r.Vec8(MaxName)), string(r.Vec8(MaxName))
	return p, r.Done()
}

// Records is the part of the service that keeps sealed records.
type Records interface {
	PutRecord(ctx context.Context, record []byte) error
	Records(ctx context.Context, owner [32]byte) ([][]byte, error)
}

// A Listed is a device of this device's ring as `device list` shows it.
type Listed struct {
	ID      signet.DeviceID
	Profile Profile
	This    bool
	Prime   bool
	Class   ring.Class
	Where   ring.Where
	State   string // active, revoked, recovery
	Added   int64  // ms since 1970
	AddedBy signet.DeviceID
	version uint64 // of the profile
}

// ErrAmbiguous says that a name is not one device's.
var ErrAmbiguous error = &problem{"ambiguous", "several devices have that name", "use the device's id, as device list shows it", nil}

// List lists the devices that the account's ring ever had, oldest first.
func List(ctx context.Context, a *Account, dir Directory, records Records) ([]Listed, error) {
	if err := dir.SyncDirectory(ctx); err != nil {
		return nil, err
	}
	sealed, err := records.Records(ctx, a.Ring)
	if err != nil {
		return nil, err
	}
	var out []Listed
	dir.Directory(func(s *ring.State, k *region.Keys) {
		profiles, versions := map[signet.DeviceID]Profile{}, map[signet.DeviceID]uint64{}
		for _, raw := range sealed {
			if k == nil {
				break
			}
			r, text, openErr := region.OpenRecord(s, k, raw)
			if errors.Is(openErr, signet.ErrNotVerified) {
				// A name that nobody of the ring signed is the service's
				// doing; one that cannot be opened is only nameless.
				err = openErr
				return
			} else if openErr != nil {
				continue
			}
			id := signet.DeviceID(r.Subject)
			if p, parseErr := ParseProfile(text); parseErr == nil && r.Version >= versions[id] {
				profiles[id], versions[id] = p, r.Version
			}
		}
		for _, m := range s.Members(a.Ring) {
			l := Listed{ID: m.ID, Profile: profiles[m.ID], This: m.ID == a.Device, Prime: m.ID == s.Prime(a.Ring), Class: m.Record.Class,
				Where: m.Record.Where, State: "active", Added: s.TimeOf(m.Added), AddedBy: m.AddedBy, version: versions[m.ID]}
			switch {
			case m.Gone:
				l.State = "revoked"
			case m.Record.Class == ring.Recovery:
				l.State = "recovery"
			}
			if l.Profile.Name == "" {
				l.Profile.Name = m.ID.String()[:12]
			}
			out = append(out, l)
		}
	})
	return out, err
}

// Choose finds a device by name or id: one that is not revoked, if there is
// one. signet.ErrNotFound if there is none, ErrAmbiguous if there are several.
func Choose(all []Listed, name string) (Listed, error) {
	var found []Listed
	for _, l := range all {
		if l.ID.String() == name {
			return l, nil
		}
		if l.Profile.Name == name && l.State != "revoked" {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return Listed{}, fmt.Errorf("device %q: %w", name, signet.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return Listed{}, fmt.Errorf("device %q: %w", name, ErrAmbiguous)
}

// SetName seals a device's profile for its ring. version must be above that of
// the record before.
func SetName(ctx context.Context, self region.Self, dir Directory, records Records, id signet.DeviceID, version uint64, p Profile) error {
	if p.Name == "" || len(p.Name) > MaxName || len(p.Platform) > MaxName {
		return fmt.Errorf("a device's name has 1 to %d bytes", MaxName)
	}
	var raw []byte
	err := error(region.ErrNoKey)
	dir.Directory(func(_ *ring.State, k *region.Keys) {
		if k != nil {
			raw, err = self.SealRecord(k, id, version, p.Encode())
		}
	})
	if err != nil {
		return err
	}
	return records.PutRecord(ctx, raw)
}

// Rename gives a device of the ring another name.
func Rename(ctx context.Context, a *Account, self region.Self, dir Directory, records Records, from, to string) error {
	all, err := List(ctx, a, dir, records)
	if err != nil {
		return err
	}
	l, err := Choose(all, from)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.ID != l.ID && other.State != "revoked" && other.Profile.Name == to {
			return fmt.Errorf("another device is called %q: %w", to, signet.ErrConflict)
		}
	}
	p := l.Profile
	p.Name = to
	return SetName(ctx, self, dir, records, l.ID, l.version+1, p)
}

// Revoke removes a device from the ring, with a new key for the others.
func Revoke(ctx context.Context, self region.Self, dir Directory, gone signet.DeviceID, now func() time.Time) error {
	return dir.AppendStatement(ctx, func(s *ring.State, k *region.Keys) (signet.Record, error) {
		if k == nil {
			return signet.Record{}, region.ErrNoKey
		}
		return self.Revoke(s, k, gone, now().UnixMilli())
	})
}

// SayName stores the name of a device that just joined. That it cannot is told
// and is no failure: the device is enrolled.
func (j *Joined) SayName(ctx context.Context) error {
	return SetName(ctx, j.Account.Self(j.Keys), j.Directory, j.Client, j.Account.Device, 1, Profile{j.Account.Name, Platform()})
}

// Close ends the client's connections.
func (j *Joined) Close() error {
	j.Client.Close()
	return nil
}

var (
	_ Records   = (*transport.Client)(nil)
	_ io.Closer = (*Joined)(nil)
)
