package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/enrol"
	"signet/device/keystore"
)

// NewKit makes a recovery kit, which the ring does not know yet. The caller has
// it on paper or in a file before AddRecovery, so that no ring has a recovery
// device whose kit nobody holds.
func NewKit(a *Account, now time.Time) enrol.RecoveryKit {
	return enrol.RecoveryKit{Service: a.Service, Org: a.Org, Ring: a.Ring, LogKeys: a.LogKeys, Certificate: a.Certificate,
		Made: now.UTC().Truncate(time.Second), Secret: enrol.NewRecoverySecret()}
}

// AddRecovery adds a kit's device to the ring.
func AddRecovery(ctx context.Context, self region.Self, dir Directory, kit enrol.RecoveryKit) (signet.DeviceID, error) {
	if kit.Org != self.Org || kit.Ring != self.Ring {
		return signet.DeviceID{}, fmt.Errorf("recovery: the kit is for another ring: %w", enrol.ErrKit)
	}
	keys, paper, err := recoveryDevice(kit)
	if err != nil {
		return signet.DeviceID{}, err
	}
	reverse, err := ring.SignNewcomer(keys.Signer(), self.Org, self.Ring, paper)
	if err != nil {
		return signet.DeviceID{}, err
	}
	return paper.ID(), addDevice(ctx, &self, dir, paper, reverse)
}

// recoveryDevice makes the keys of a kit and their public record.
func recoveryDevice(kit enrol.RecoveryKit) (*keystore.Keys, *ring.Device, error) {
	signing, encryption := kit.Seeds()
	k, err := keystore.FromSeeds(signing, encryption)
	if err != nil {
		return nil, nil, err
	}
	return k, &ring.Device{Class: ring.Recovery, Where: ring.OnPaper, Sign: k.Signer().Public(), Seal: k.Encryption()}, nil
}

// RecoverySelf is a kit's device, which opens what was exported, with no service.
func RecoverySelf(kit enrol.RecoveryKit) (region.Self, error) {
	keys, paper, err := recoveryDevice(kit)
	if err != nil {
		return region.Self{}, err
	}
	return (&Account{Org: kit.Org, Ring: kit.Ring, Device: paper.ID()}).Self(keys), nil
}

// asRecovery opens the ring with a kit's keys, in memory only.
func asRecovery(ctx context.Context, o Options, kit enrol.RecoveryKit) (*Joined, error) {
	keys, paper, err := recoveryDevice(kit)
	if err != nil {
		return nil, err
	}
	a := &Account{Service: kit.Service, Certificate: kit.Certificate, LogKeys: kit.LogKeys, Org: kit.Org, Ring: kit.Ring, Device: paper.ID()}
	return join(ctx, o, a, keys)
}

// TestRecovery checks, against the service, that a kit would let a new device
// in: its device is in the ring and its keys open the ring's.
func TestRecovery(ctx context.Context, o Options, kit enrol.RecoveryKit) error {
	j, err := asRecovery(ctx, o, kit)
	if err != nil {
		return err
	}
	defer j.Close()
	opened := false
	j.Directory.Directory(func(_ *ring.State, k *region.Keys) { opened = k != nil })
	if !opened {
		return fmt.Errorf("recovery: the kit's keys do not open the ring: %w", region.ErrNoKey)
	}
	return nil
}

// Recover enrols this device with a recovery kit: the kit's device adds it.
func Recover(ctx context.Context, o Options, kit enrol.RecoveryKit) (*Joined, error) {
	if _, err := Load(o.Home, kit.Org); err == nil {
		return nil, ErrEnrolled
	} else if !errors.Is(err, ErrNotEnrolled) {
		return nil, err
	}
	paper, err := asRecovery(ctx, o, kit)
	if err != nil {
		return nil, err
	}
	defer paper.Close()
	keys, err := keystore.Generate()
	if err != nil {
		return nil, err
	}
	self, err := record(keys, o.Use)
	if err != nil {
		return nil, err
	}
	a := *paper.Account
	a.Device, a.Name = self.ID(), o.Name
	reverse, err := ring.SignNewcomer(keys.Signer(), a.Org, a.Ring, self)
	if err == nil {
		err = create(o, &a, keys)
	}
	if err != nil {
		keys.Discard()
		return nil, errors.Join(err, Forget(o.Home, a.Org))
	}
	by := paper.Account.Self(paper.Keys)
	if err := addDevice(ctx, &by, paper.Directory, self, reverse); err != nil {
		// Nothing else makes the ring have this device: the keys are of no use.
		return nil, errors.Join(err, Forget(o.Home, a.Org))
	}
	return join(ctx, o, &a, keys)
}
