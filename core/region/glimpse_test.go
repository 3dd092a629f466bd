package region

import (
	"errors"
	"reflect"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/seal"
)

func aGlimpse() *seal.Glimpse {
	return &seal.Glimpse{Node: signet.NodeID{1}, Parent: signet.RootNode, Reading: [8]byte{2}, Size: seal.LongFile,
		Pieces: []seal.Placed{{Index: 3, Ref: seal.Ref{Object: signet.ObjectID{4}, Key: [32]byte{5}, Size: uint32(seal.PieceSize(seal.LongFile))}}}}
}

func TestGlimpseIsForTheDevicesOfTheRegion(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	sealed, err := a.SealGlimpse(aGlimpse())
	w.Must(err)
	got, err := b.OpenGlimpse(a.me.Device, sealed)
	w.Must(err)
	if want := aGlimpse(); !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v came as %+v", want, got)
	}
	if _, err := b.OpenGlimpse(b.me.Device, sealed); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("as if b had shown it: %v", err)
	}
	for i := range sealed {
		bad := append([]byte(nil), sealed...)
		bad[i] ^= 1
		if _, err := b.OpenGlimpse(a.me.Device, bad); err == nil {
			t.Fatalf("with byte %d changed it opens", i)
		}
	}
	if _, err := b.OpenGlimpse(a.me.Device, sealed[:3]); err == nil {
		t.Error("three bytes of it open")
	}
	if _, err := b.OpenGlimpse(signet.DeviceID{9}, sealed); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("of a device that nobody knows: %v", err)
	}
	if largest := aGlimpse(); true {
		for i := range uint32(seal.MaxGlimpse) {
			largest.Pieces = append(largest.Pieces[:i], seal.Placed{Index: i})
		}
		sealed, err := a.SealGlimpse(largest)
		w.Must(err)
		if len(sealed) > seal.GlimpseBytes {
			t.Errorf("the largest has %d bytes, more than %d", len(sealed), seal.GlimpseBytes)
		}
	}
}

// Who was revoked can open nothing that is sealed afterwards, and is not believed.
func TestGlimpseAfterARevocation(t *testing.T) {
	w, a := newWorld(t)
	b := a.add("b")
	c := a.add("c")
	before, err := c.SealGlimpse(aGlimpse())
	w.Must(err)
	a.revoke(c, a, b)
	a.sync()
	b.sync()
	if _, err := a.SealGlimpse(aGlimpse()); !errors.Is(err, signet.ErrStale) {
		t.Errorf("under a key that the revoked device has: %v", err)
	}
	if _, err := b.OpenGlimpse(c.me.Device, before); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("of a revoked device: %v", err)
	}
}

func TestGlimpseOfAReader(t *testing.T) {
	w, a := newWorld(t)
	m := w.newMember("m", a)
	m.Region = a.Region // a reader holds the key, and may seal what it likes
	if a.State.Role(m.me.Ring) >= journal.Writer {
		t.Fatal("a writer")
	}
	sealed, err := a.SealGlimpse(aGlimpse())
	w.Must(err)
	if _, err := a.OpenGlimpse(m.me.Device, sealed); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("of a member who may not write: %v", err)
	}
}
