package attack

import (
	"bytes"
	"errors"
	"testing"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/device/account"
	"signet/device/engine"
)

// A ghost is a device that nobody of a ring added.
type ghost struct {
	sign   *key.Private
	open   *seal.PrivateKey
	record *ring.Device
}

func newGhost(t *testing.T) *ghost {
	t.Helper()
	g := &ghost{sign: generate(t)}
	var err error
	if g.open, err = seal.New(); err != nil {
		t.Fatal(err)
	}
	g.record = &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: g.sign.Public(), Seal: g.open.Public()}
	return g
}

// add is a statement that adds the ghost to the ring of d, signed by one key
// and said to be by a device.
func (g *ghost) add(t *testing.T, w *world, d *device, by signet.DeviceID, signer key.Signer) signet.Record {
	t.Helper()
	reverse, err := ring.SignNewcomer(g.sign, d.Account.Org, d.Account.Ring, g.record)
	if err != nil {
		t.Fatal(err)
	}
	var rec signet.Record
	d.Engine.Directory(func(s *ring.State, k *region.Keys) {
		seq, prev, _ := s.Head(d.Account.Ring)
		blob := ring.AppendEnvelopes(nil, []ring.Envelope{{Recipient: ring.Recipient{Kind: ring.ToDevice, ID: g.record.ID()}, Sealed: make([]byte, seal.EnvelopeSize)}})
		st := &ring.Statement{Type: ring.Add, Org: d.Account.Org, Ring: d.Account.Ring, Seq: seq, Prev: prev, Signer: by, Device: g.record,
			Reverse: reverse, Generation: k.Newest(), Envelopes: ring.BlobHash(blob)}
		if err := st.Sign(signer, nil); err != nil {
			t.Fatal(err)
		}
		rec = signet.Record{Head: st.Bytes(), Blob: blob}
	})
	return rec
}

func TestDeviceRefusesGhostDevice(t *testing.T) {
	w, a, b, _ := pair(t)
	g := newGhost(t)
	for name, rec := range map[string]signet.Record{
		"by itself":                  g.add(t, w, a, g.record.ID(), g.sign),
		"in the name of a device":    g.add(t, w, a, a.Self.Device, g.sign),
		"by the service's log key":   g.add(t, w, a, a.Self.Device, w.logKey),
		"by the service's connector": g.add(t, w, a, w.config.Connector.ID(), w.connector),
		"one half of the signatures": g.add(t, w, a, a.Self.Device, half{a.Self.Signer}),
	} {
		t.Run(name, func(t *testing.T) {
			s := w.raw(a)
			defer s.Close()
			if _, err := s.Append(t.Context(), w.directory(), rec, a.now().UnixMilli()); err == nil {
				t.Error("the honest service took it")
			}
			f := w.forgery(w.directory())
			f.add(rec)
			w.liar.forge(f)
			refused(t, b, "not_verified", "directory")
			// Nor does it give the ghost a key: no envelope of b's may name it.
			b.Engine.Directory(func(s *ring.State, _ *region.Keys) {
				if s.Device(g.record.ID()) != nil {
					t.Error("the ghost is in the ring")
				}
			})
			w.liar.forget()
			b.again(t)
		})
	}
	b.sync()
	same(t, a, b)
}

// half is a signer whose signatures have one half spoiled: the other verifies.
type half struct{ key.Signer }

func (h half) Sign(l key.Label, b []byte) ([]byte, error) {
	sig, err := h.Signer.Sign(l, b)
	sig[len(sig)-1] ^= 1
	return sig, err
}

func TestDeviceRefusesSwappedKeyInTheDirectory(t *testing.T) {
	w, a, b, _ := pair(t)
	before := len(w.records(w.directory()))
	c := w.device("c")
	a.sync()
	g := newGhost(t)
	for name, swap := range map[string]func(head []byte) []byte{
		"encryption key": func(head []byte) []byte {
			own := c.Self.Opener.Public()
			return bytes.Replace(head, own[:], g.record.Seal[:], 1)
		},
		"signing key": func(head []byte) []byte {
			return bytes.Replace(head, c.Self.Signer.Public().Bytes(), g.sign.Public().Bytes(), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := w.forgery(w.directory())
			found := false
			for i := before; i < len(f.records); i++ {
				head := swap(f.records[i].Head)
				if bytes.Equal(head, f.records[i].Head) {
					continue
				}
				found = true
				f.records[i].Head = head
			}
			if !found {
				t.Fatal("the key is not in the directory")
			}
			// Once under the honest leaves, once under the service's own.
			w.liar.forge(f)
			refused(t, b, "not_verified", "directory")
			b.again(t)
			for i := before; i < len(f.records); i++ {
				f.records[i].Leaf = f.leaf(f.records[i])
			}
			refused(t, b, "not_verified", "directory")
			w.liar.forget()
			b.again(t)
		})
	}
	b.sync()
}

// TestHiddenRevocation: a service that shows a device an old directory. What
// can be promised without witnesses: who knows of the removal keeps to it; the
// others say that nobody vouches for how new their directory is, and notice
// when they see work of those who know.
func TestHiddenRevocation(t *testing.T) {
	w, a, b, id := pair(t)
	c := w.device("c")
	a.sync()
	b.sync()
	c.add("Documents")
	c.sync()
	frozen := w.forgery(w.directory())
	a.revoke(c)
	if !errors.Is(errOf(c.try()), signet.ErrNotAllowed) {
		t.Error("the honest service still serves a revoked device")
	}
	w.liar.lie(lies{page: func(to signet.DeviceID, p *signet.Page) {
		if to == b.Self.Device && p.Log == w.directory() {
			*p = frozen.page(min(p.From, frozen.size()))
		}
	}})
	// b knows nothing, and says so.
	b.write("meanwhile.txt", "meanwhile")
	var stale interface{ ErrorKind() string }
	if _, err := b.try(); err == nil {
		t.Error("the honest service let a stale key pass")
	} else if errors.As(err, &stale); errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("an alarm before anything could be noticed: %v", err)
	}
	for _, s := range b.Engine.Status() {
		if !s.Unwitnessed {
			t.Error("status does not say unwitnessed")
		}
	}
	// a knows: it rekeys before it writes, and what it writes tells b.
	a.write("secret.txt", "not for c")
	a.sync()
	generation := a.Engine.Regions()[0].Generation
	if generation != 2 {
		t.Errorf("written under generation %d", generation)
	}
	b.reopen()
	refused(t, b, "withheld", "directory/", "withholds")
	if a.Engine.Status()[0].Unwitnessed != true {
		t.Error("status does not say unwitnessed")
	}
	// The lie ended, b's own work goes on.
	w.liar.lie(lies{})
	b.again(t)
	b.sync()
	a.sync()
	same(t, a, b)
	_ = id
}

func errOf(_ engine.Counters, err error) error { return err }

func TestDeviceRefusesRecordThatNobodyOfTheRingSigned(t *testing.T) {
	w, a, b, _ := pair(t)
	w.liar.lie(lies{records: func(list [][]byte) [][]byte {
		for i := range list {
			list[i] = bytes.Clone(list[i])
			list[i][len(list[i])-1] ^= 1
		}
		return list
	}})
	if _, err := account.List(t.Context(), b.Account, b.Engine, b.Client); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("a forged name: %v", err)
	}
	_ = a
}
