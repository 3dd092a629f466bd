package attack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/engine"
)

// rekeyWith is a rekey by a device that commits to a seed, and seals to each
// recipient what inside says: nil stands for noise.
func (w *world) rekeyWith(t *testing.T, d *device, id signet.RegionID, commit *seal.Seed, inside func(ring.Recipient) *seal.Seed) signet.Record {
	t.Helper()
	s := w.raw(d)
	defer s.Close()
	r := w.replay(s, id)
	var secret *seal.Secret
	if err := d.Engine.WithRegion(id, func(r *region.Region) error { secret = r.Secret(); return nil }); err != nil {
		t.Fatal(err)
	}
	x := r.draft(d, journal.Rekey)
	prev := d.regionSeed(t, id, x.Generation)
	x.Generation++
	k := journal.NewKey{Number: x.Generation, Public: commit.Public()}
	var err error
	if k.BackLink, err = seal.SealBack(seal.BackContext{Org: d.Account.Org, OwnerKind: seal.OfRegion, Owner: id, Generation: x.Generation}, commit, prev); err != nil {
		t.Fatal(err)
	}
	for _, to := range r.state.Recipients(r.dirHead.Size) {
		k.Envelopes = append(k.Envelopes, d.envelope(t, r, x.Generation, to, inside(to), secret))
	}
	x.Body = k.Append(nil)
	rec, _, err := x.Sign(d.Self.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// envelope seals a seed, or noise for none, to a recipient of a generation of
// a region.
func (d *device) envelope(t *testing.T, r *replica, g signet.Generation, to ring.Recipient, seed *seal.Seed, secret *seal.Secret) ring.Envelope {
	t.Helper()
	c := seal.Context{Org: d.Account.Org, OwnerKind: seal.OfRegion, Owner: r.state.Region(), Generation: g,
		RecipientKind: seal.RecipientKind(to.Kind), Recipient: to.ID, RecipientGeneration: to.Generation, Giver: d.Self.Device}
	var public key.Encryption
	if to.Kind == ring.ToDevice {
		public = r.dir.Device(signet.DeviceID(to.ID)).Seal
	} else {
		public = r.dir.Generations(signet.RingID(to.ID))[to.Generation-1].Public
	}
	noise := seed == nil
	if noise {
		seed = newSeed(t)
	}
	sealed, err := seal.SealEnvelope(c, public, seed, secret)
	if err != nil {
		t.Fatal(err)
	}
	if noise {
		sealed = randomBytes(len(sealed))
	}
	return ring.Envelope{Recipient: to, Sealed: sealed}
}

// always is the same seed for every recipient.
func always(s *seal.Seed) func(ring.Recipient) *seal.Seed {
	return func(ring.Recipient) *seal.Seed { return s }
}

// engineSync is sync without what the command does before: the ring stays as
// stale as it is.
func (d *device) engineSync() (engine.Counters, error) {
	if err := d.Engine.Discover(d.t.Context()); err != nil {
		return engine.Counters{}, err
	}
	return d.Engine.SyncVolume(d.t.Context(), d.Engine.Volumes()[0].ID)
}

// waitsForKey checks that an error says which device sealed a bad envelope, and
// that this is kept as a notice.
func waitsForKey(t *testing.T, d, giver *device, err error) {
	t.Helper()
	var kind interface{ ErrorKind() string }
	if !errors.As(err, &kind) || kind.ErrorKind() != "bad_envelope" || !errors.Is(err, signet.ErrNotVerified) {
		t.Fatalf("%s: want kind bad_envelope, have: %v", d.name, err)
	}
	if who := giver.Self.Device.String(); !strings.Contains(err.Error(), who) {
		t.Errorf("%s: who gave the key is not named: %v", d.name, err)
	} else if al := d.Engine.Alarms(); len(al) != 1 || al[0].Kind != "bad_envelope" || al[0].Device != who {
		t.Errorf("%s: notices: %+v", d.name, al)
	}
}

// complaints are the devices that complained of envelopes of the current
// generation, as the service's journal has it.
func (w *world) complaints(id signet.RegionID) (by []signet.DeviceID) {
	w.t.Helper()
	for _, rec := range w.records(signet.Journal(id)) {
		if h, err := journal.IDOf(rec.Head); err == nil && h.Type == journal.Complaint {
			by = append(by, h.Device)
		}
	}
	return by
}

func TestMemberThatGivesAnotherKeyThanItCommitsToIsNamed(t *testing.T) {
	w, a, b, id := pair(t)
	other, _, err := a.Engine.MakeRegion(t.Context(), "Other")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "other")
	if err := os.MkdirAll(filepath.Join(dir, "elsewhere"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Who has no key cannot know what is inside.
	if err := w.offer(t, a, id, w.rekeyWith(t, a, id, newSeed(t), always(newSeed(t)))); err != nil {
		t.Fatal(err)
	}
	b.write("mine.txt", "mine")
	before := b.listing()
	_, err = b.try()
	waitsForKey(t, b, a, err)
	if !errors.Is(err, seal.ErrKeyCommitment) {
		t.Errorf("no word of the commitment: %v", err)
	}
	if s := b.Engine.Status()[0]; s.State != engine.Stopped || !strings.Contains(s.Hint, "nothing is lost") {
		t.Errorf("%s, %s", s.State, s.Hint)
	}
	s := w.raw(a)
	defer s.Close()
	r := w.replay(s, id)
	if g := r.state.Current(); g.Number != 2 || !r.state.Complained(&g.Envelopes[0]) {
		t.Errorf("nobody complained of generation %d", g.Number)
	}
	if by := w.complaints(id); len(by) != 1 || by[0] != b.Self.Device {
		t.Errorf("complaints by %v", by)
	}

	// It waits, and says so once; other regions go on.
	_, err = b.try()
	waitsForKey(t, b, a, err)
	if n := w.replay(s, id).state.Size(); n != r.state.Size() {
		t.Errorf("%d more entries", n-r.state.Size())
	}
	if after := b.listing(); after != before {
		t.Errorf("the folder changed:\n%s\n--- and before\n%s", after, before)
	}
	if err := a.CreateVolume(t.Context(), dir, other, false); err != nil {
		t.Fatal(err)
	}
	for _, v := range a.Engine.Volumes() {
		if v.Region != other {
			continue
		}
		if _, err := a.Engine.SyncVolume(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Engine.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = b.Engine.WithListing(other, func(t *tree.Tree) error {
		for p := range t.Walk() {
			if p == "elsewhere" {
				return nil
			}
		}
		return signet.ErrNotFound
	})
	if err != nil {
		t.Errorf("the other region is not followed: %v", err)
	}
}

// TestEnvelopeThatDoesNotOpenIsSealedAgain: of three devices to which a region
// is given one by one, one gives another a key that is none. That one says so,
// and the third, which holds the key, gives it by doing what it does anyway.
func TestEnvelopeThatDoesNotOpenIsSealedAgain(t *testing.T) {
	for name, seed := range map[string]func(t *testing.T) *seal.Seed{
		"another key": newSeed,
		"noise":       func(*testing.T) *seal.Seed { return nil },
	} {
		t.Run(name, func(t *testing.T) { sealedAgain(t, seed(t)) })
	}
}

func sealedAgain(t *testing.T, bad *seal.Seed) {
	w, liar, wronged, id := pair(t)
	third, gone := w.device("c"), w.device("d")
	third.add("Documents")
	third.sync()
	// One that signs itself off leaves the ring stale: recipients are devices.
	if err := account.Revoke(t.Context(), gone.Self, gone.Engine, gone.Self.Device, gone.now); err != nil && !errors.Is(err, signet.ErrNotAllowed) {
		t.Fatal(err)
	}
	good := newSeed(t)
	rec := w.rekeyWith(t, liar, id, good, func(to ring.Recipient) *seal.Seed {
		if to.Kind != ring.ToDevice {
			t.Fatalf("a recipient of kind %d", to.Kind)
		}
		if signet.DeviceID(to.ID) == wronged.Self.Device {
			return bad
		}
		return good
	})
	if err := w.offer(t, liar, id, rec); err != nil {
		t.Fatal(err)
	}
	sync := func(d *device) engine.Counters {
		t.Helper()
		c, err := d.engineSync()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		return c
	}
	third.write("third.txt", "under the new key")
	sync(third)
	sync(liar)
	wronged.write("mine.txt", "while it waits")
	before := wronged.listing()
	_, err := wronged.engineSync()
	waitsForKey(t, wronged, liar, err)
	if after := wronged.listing(); after != before {
		t.Errorf("the folder changed:\n%s\n--- and before\n%s", after, before)
	}
	if by := w.complaints(id); len(by) != 1 || by[0] != wronged.Self.Device {
		t.Errorf("complaints by %v", by)
	}

	sync(liar) // which has given what it has
	if _, err := wronged.engineSync(); err == nil {
		t.Error("the key came from nowhere")
	}
	sync(third)
	s := w.raw(third)
	defer s.Close()
	g := w.replay(s, id).state.Current()
	last := g.Envelopes[len(g.Envelopes)-1]
	if g.Number != 2 || g.First != 3 || len(g.Envelopes) != 4 || last.Giver != third.Self.Device || signet.DeviceID(last.ID) != wronged.Self.Device {
		t.Fatalf("generation %d, %d envelopes, the last by %s", g.Number, len(g.Envelopes), last.Giver)
	}
	sync(wronged)
	if wronged.read("third.txt") != "under the new key" {
		t.Error("the wronged device does not have what was written meanwhile")
	}
	for _, d := range []*device{liar, third} {
		sync(d)
		same(t, wronged, d)
	}
	size := w.replay(s, id).state.Size()
	for _, d := range []*device{liar, wronged, third} {
		if c := sync(d); c != (engine.Counters{}) {
			t.Errorf("%s: a further synch did %+v", d.name, c)
		}
	}
	if n := w.replay(s, id).state.Size(); n != size {
		t.Errorf("%d entries more of nothing", n-size)
	}
	if al := wronged.Engine.Alarms(); len(al) != 1 || al[0].Device != liar.Self.Device.String() {
		t.Errorf("who gave it is no longer named: %+v", al)
	}
	newcomer := w.device("e") // adding it freshens the ring, which then lacks the key
	sync(third)
	newcomer.add("Documents")
	newcomer.sync()
	same(t, wronged, newcomer)
}
