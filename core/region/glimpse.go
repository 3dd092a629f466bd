package region

import (
	"fmt"

	"signet"
	"signet/core/journal"
	"signet/core/seal"
	"signet/core/wire"
)

// glimpseContext is what a glimpse is bound to, so that it is nothing in another
// region, and from nobody else.
func glimpseContext(org signet.OrgID, id signet.RegionID, from signet.DeviceID, g signet.Generation) []byte {
	var w wire.Writer
	w.Raw(org[:])
	w.Raw(id[:])
	w.Raw(from[:])
	w.U32(uint32(g))
	return w.B
}

// SealGlimpse seals a glimpse for the devices of the region (spec/content.md,
// "Glimpse"). ErrStale where a device that was revoked could open it.
func (r *Region) SealGlimpse(g *seal.Glimpse) ([]byte, error) {
	if r.Stale() {
		return nil, fmt.Errorf("%s: %w", r.ID(), signet.ErrStale)
	}
	n := r.State.Current().Number
	seed, err := r.seed(n)
	if err != nil {
		return nil, err
	}
	var plain wire.Writer
	g.Append(&plain)
	blob, err := seal.SealGlimpse(seed, glimpseContext(r.self.Org, r.ID(), r.self.Device, n), plain.B)
	if err != nil {
		return nil, err
	}
	var w wire.Writer
	w.U32(uint32(n))
	w.Raw(blob)
	return w.B, nil
}

// OpenGlimpse opens what the service says a device showed. That the device showed
// it is not proven: somebody who holds the region's key did. An error is no alarm.
func (r *Region) OpenGlimpse(from signet.DeviceID, b []byte) (*seal.Glimpse, error) {
	ring, ok := r.dir.RingOf(from)
	if !ok || !r.dir.ActiveAt(ring, from, r.dir.Size()) || r.State.Role(ring) < journal.Writer {
		return nil, fmt.Errorf("a glimpse of %s: %w", from, signet.ErrNotAllowed)
	}
	in := wire.NewReader(b)
	n := signet.Generation(in.U32())
	blob := in.Take(in.Len())
	if err := in.Done(); err != nil {
		return nil, err
	}
	if n != r.State.Current().Number { // older: who sealed it had not heard of a revocation
		return nil, fmt.Errorf("a glimpse under generation %d: %w", n, signet.ErrStale)
	}
	seed, err := r.seed(n)
	if err != nil {
		return nil, err
	}
	plain, err := seal.OpenGlimpse(seed, glimpseContext(r.self.Org, r.ID(), from, n), blob)
	if err != nil {
		return nil, err
	}
	return seal.ParseGlimpse(plain)
}
