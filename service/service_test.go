package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/service/blob"
	"signet/service/meta"
	"signet/transport"
)

// A bench is a service and devices that can sign.
type bench struct {
	t     testing.TB
	dir   string
	key   *key.Private
	clock *clock
	*Service
	owner *device
	gone  map[signet.ObjectID]bool // dropped by entries that do not say so
}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newBench(t testing.TB) *bench {
	k, err := key.FromSeed([32]byte{42})
	must(t, err)
	b := &bench{t: t, dir: t.TempDir(), key: k, clock: &clock{t: time.UnixMilli(1_790_000_000_000)}}
	b.open()
	t.Cleanup(func() { b.Service.Close() })
	return b
}

func (b *bench) config() Config {
	return Config{Data: b.dir, Key: b.key, Clock: b.clock.now, Version: "test"}
}

func (b *bench) open() {
	b.t.Helper()
	s, err := Open(b.config())
	must(b.t, err)
	b.Service = s
}

func (b *bench) reopen() {
	b.t.Helper()
	must(b.t, b.Service.Close())
	b.open()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) millis() int64 { return b.clock.now().UnixMilli() }

// A device of the tests keeps its own replay of the directory, as it would.
type device struct {
	b       *bench
	key     *key.Private
	record  *ring.Device
	ring    signet.RingID
	session transport.Session
}

func newDevice(b *bench) *device {
	k, err := key.Generate()
	must(b.t, err)
	return &device{b: b, key: k, record: &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: k.Public(), Seal: key.Encryption{1}}}
}

func (d *device) id() signet.DeviceID { return d.record.ID() }

func (d *device) connect() transport.Session {
	d.b.t.Helper()
	binding := []byte("channel")
	sig, err := d.key.Sign(key.LabelConnection, binding)
	must(d.b.t, err)
	s, err := d.b.Connect(context.Background(), d.id(), binding, sig)
	must(d.b.t, err)
	d.session = s
	return s
}

func envelopes(to ...ring.Recipient) []byte { return ring.AppendEnvelopes(nil, sealed(to...)) }

func sealed(to ...ring.Recipient) (list []ring.Envelope) {
	for _, r := range to {
		list = append(list, ring.Envelope{Recipient: r, Sealed: []byte("sealed")})
	}
	return list
}

func toDevice(d signet.DeviceID) ring.Recipient {
	return ring.Recipient{Kind: ring.ToDevice, ID: d}
}

func (d *device) root(secret [32]byte, logKey *key.Public) signet.Record {
	st := &ring.Statement{Type: ring.Root, Signer: d.id(), Device: d.record, LogKey: logKey, Bootstrap: ring.BootstrapHash(secret)}
	must(d.b.t, st.Sign(d.key, nil))
	return signet.Record{Head: st.Bytes()}
}

func (d *device) genesis(org signet.OrgID, c ring.Claim, claim key.Signer) signet.Record {
	blob := envelopes(toDevice(d.id()))
	st := &ring.Statement{Type: ring.Genesis, Org: org, Signer: d.id(), Device: d.record, Claim: c,
		Gen: &ring.NewGeneration{Number: 1, Envelopes: ring.BlobHash(blob)}}
	must(d.b.t, st.Sign(d.key, claim))
	d.ring = signet.RingID(st.Hash())
	return signet.Record{Head: st.Bytes(), Blob: blob}
}

var secret = [32]byte{7}

// found makes the organisation, its owner's ring and first session.
func (b *bench) found() *device {
	b.t.Helper()
	hash := ring.BootstrapHash(secret)
	must(b.t, b.db.Update(func(tx *meta.Tx) error { return tx.Set(settingBootstrap, hash[:]) }))
	d := newDevice(b)
	_, err := b.Enrol(context.Background(), d.root(secret, b.key.Public()), b.millis())
	must(b.t, err)
	_, err = b.Enrol(context.Background(), d.genesis(b.org(), ring.Claim{Kind: ring.ClaimRoot}, nil), b.millis())
	must(b.t, err)
	d.connect()
	b.owner = d
	return d
}

func (b *bench) org() signet.OrgID {
	i, err := b.Info(context.Background())
	must(b.t, err)
	return i.Org
}

// add links a new device to d's ring.
func (d *device) add() *device {
	b := d.b
	b.t.Helper()
	n := newDevice(b)
	n.ring = d.ring
	rev, err := ring.SignNewcomer(n.key, b.org(), d.ring, n.record)
	must(b.t, err)
	st := d.statement(ring.Add)
	st.Device, st.Reverse, st.Generation = n.record, rev, b.generation(d.ring)
	blob := envelopes(toDevice(n.id()))
	st.Envelopes = ring.BlobHash(blob)
	must(b.t, st.Sign(d.key, nil))
	must(b.t, d.append(signet.Directory(b.org()), signet.Record{Head: st.Bytes(), Blob: blob}))
	n.connect()
	return n
}

func (b *bench) generation(r signet.RingID) signet.Generation {
	b.mu.RLock()
	defer b.mu.RUnlock()
	g := b.ring.Generations(r)
	return g[len(g)-1].Number
}

func (d *device) statement(t ring.Type) *ring.Statement {
	d.b.mu.RLock()
	defer d.b.mu.RUnlock()
	seq, prev, _ := d.b.ring.Head(d.ring)
	return &ring.Statement{Type: t, Org: d.b.ring.Org(), Ring: d.ring, Seq: seq, Prev: prev, Signer: d.id()}
}

// revoke takes another device out of d's ring, and makes a new generation.
func (d *device) revoke(gone *device, rest ...*device) {
	d.b.t.Helper()
	var to []ring.Recipient
	for _, r := range append(rest, d) {
		to = append(to, toDevice(r.id()))
	}
	blob := envelopes(to...)
	st := d.statement(ring.Revoke)
	st.Gone = gone.id()
	st.Gen = &ring.NewGeneration{Number: d.b.generation(d.ring) + 1, BackLink: []byte("back"), Envelopes: ring.BlobHash(blob)}
	must(d.b.t, st.Sign(d.key, nil))
	must(d.b.t, d.append(signet.Directory(d.b.org()), signet.Record{Head: st.Bytes(), Blob: blob}))
}

func (d *device) append(log signet.LogID, r signet.Record) error {
	_, err := d.session.Append(context.Background(), log, r, d.b.millis())
	return err
}

func (d *device) head(log signet.LogID) *chain.Checkpoint {
	d.b.t.Helper()
	p, err := d.session.Read(context.Background(), log, 1<<40, signet.LeafOnly)
	must(d.b.t, err)
	c, err := chain.Open(p.Checkpoint, log, d.b.key.Public())
	must(d.b.t, err)
	return c
}

// A writer makes entries of a region for one device.
type writer struct {
	*device
	region    signet.RegionID
	authority signet.Hash
	own       signet.Hash
	seen, dir *chain.Checkpoint
	gen       signet.Generation
}

func (d *device) genesisOf(claim byte) (signet.Record, *writer) {
	b := d.b
	f := journal.Founding{Claim: signet.Hash{claim}, Envelopes: sealed(ring.Recipient{Kind: ring.ToRing, ID: d.ring, Generation: b.generation(d.ring)})}
	dr := &journal.Draft{Header: journal.Header{Type: journal.Genesis, Org: b.org(), Ring: d.ring, Device: d.id(), Generation: 1},
		Dir: d.head(signet.Directory(b.org())), Body: f.Append(nil)}
	r, hash, err := dr.Sign(d.key)
	must(b.t, err)
	return r, &writer{device: d, region: signet.RegionID(hash), authority: hash, gen: 1}
}

func (d *device) newRegion(claim byte) *writer {
	d.b.t.Helper()
	r, w := d.genesisOf(claim)
	must(d.b.t, d.append(w.log(), r))
	return w
}

// on makes another device's writer for the same region.
func (w *writer) on(d *device) *writer {
	return &writer{device: d, region: w.region, authority: w.authority, gen: w.gen}
}

func (w *writer) log() signet.LogID { return signet.Journal(w.region) }

// entry signs the next content entry. Heads are read once: they may be old.
func (w *writer) entry(ids ...signet.ObjectID) signet.Record {
	w.b.t.Helper()
	if w.seen == nil {
		w.seen, w.dir = w.head(w.log()), w.head(signet.Directory(w.b.org()))
	}
	ops := make([]byte, 200)
	rand.Read(ops)
	d := &journal.Draft{Header: journal.Header{Type: journal.Content, Org: w.b.org(), Region: w.region, Ring: w.ring, Device: w.id(),
		Own: w.own, Authority: w.authority, Generation: w.gen, Count: 1, Root: signet.Hash{1}}, Seen: w.seen, Dir: w.dir, Sealed: ops, IDs: ids}
	r, hash, err := d.Sign(w.key)
	must(w.b.t, err)
	w.own = hash
	return r
}

// wantKind checks an error that a device gets.
func wantKind(t testing.TB, err error, k transport.Kind) *transport.Error {
	t.Helper()
	var e *transport.Error
	if !errors.As(err, &e) || e.Kind != k {
		t.Fatalf("got %v, want an error of kind %s", err, k)
	}
	return e
}

func wantIs(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func (b *bench) checkReceipt(log signet.LogID, r signet.Receipt) *chain.Checkpoint {
	b.t.Helper()
	c, err := chain.Open(r.Checkpoint, log, b.key.Public())
	must(b.t, err)
	must(b.t, chain.CheckInclusion(r.Proof, c.Size, c.Root, r.Position, chain.LeafHash(r.Leaf)))
	return c
}

func TestReceiptProvesWhatWasAppended(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	for i := range 5 {
		r, err := w.session.Append(t.Context(), w.log(), w.entry(), b.millis())
		must(t, err)
		c := b.checkReceipt(w.log(), r)
		if r.Position != uint64(i+1) || c.Size != uint64(i+2) {
			t.Errorf("entry %d: position %d, checkpoint %s", i, r.Position, c)
		}
	}
}

func TestRecordOfferedAgainGetsItsReceipt(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	e := w.entry()
	first, err := w.session.Append(t.Context(), w.log(), e, b.millis())
	must(t, err)
	must(t, w.append(w.log(), w.entry()))
	b.reopen()
	w.connect()
	again, err := w.session.Append(t.Context(), w.log(), e, 0) // even by a wrong clock: it is there
	must(t, err)
	if again.Position != first.Position || string(again.Leaf) != string(first.Leaf) {
		t.Errorf("got position %d, first was %d", again.Position, first.Position)
	}
	if c := b.checkReceipt(w.log(), again); c.Size != 3 {
		t.Errorf("log has %d records, want 3", c.Size)
	}
}

func TestOneGroupTakesARecordOnce(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	e := w.entry()
	next := w.entry() // pipelined
	var group []*offer
	for _, r := range []signet.Record{e, e, next, e} {
		group = append(group, &offer{log: w.log(), record: r, sent: b.millis(), answer: make(chan answer, 1)})
	}
	b.stop()
	b.done.Wait() // nobody else commits
	b.commit(group)
	for i, want := range []uint64{1, 1, 2, 1} {
		a := <-group[i].answer
		must(t, a.err)
		b.checkReceipt(w.log(), a.receipt)
		if a.receipt.Position != want {
			t.Errorf("offer %d at %d, want %d", i, a.receipt.Position, want)
		}
	}
}

func TestEntryWithMissingObjectsIsRefusedWithTheirList(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	objects := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	var ids []signet.ObjectID
	for _, o := range objects {
		ids = append(ids, nameOf(o))
	}
	must(t, w.session.Put(t.Context(), w.region, objects[:1]))
	own := w.own
	e := w.entry(ids...)
	err := wantKind(t, w.append(w.log(), e), transport.KindMissing)
	if len(err.Missing) != 2 || err.Missing[0] != ids[1] || err.Missing[1] != ids[2] {
		t.Errorf("missing %v", err.Missing)
	}
	must(t, w.session.Put(t.Context(), w.region, objects[1:]))
	must(t, w.append(w.log(), e))
	if own == w.own {
		t.Error("entry did not move its writer's chain")
	}
	b.reopen()
	w.connect()
	got := map[signet.ObjectID]string{}
	must(t, w.session.Get(t.Context(), w.region, ids, func(id signet.ObjectID, o []byte) error {
		got[id] = string(o)
		return nil
	}))
	for i, id := range ids {
		if got[id] != string(objects[i]) {
			t.Errorf("object %d is %q", i, got[id])
		}
	}
	if missing, err := w.session.Have(t.Context(), w.region, append(ids, signet.ObjectID{9})); err != nil || len(missing) != 1 {
		t.Errorf("have: missing %v, %v", missing, err)
	}
}

func TestClockThatIsFarOffIsRefusedWithBothTimes(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	e := w.entry()
	for _, off := range []time.Duration{11 * time.Minute, -11 * time.Minute} {
		_, err := w.session.Append(t.Context(), w.log(), e, b.clock.now().Add(off).UnixMilli())
		k := wantKind(t, err, transport.KindClock)
		for _, at := range []time.Time{b.clock.now().Add(off), b.clock.now()} {
			if s := at.UTC().Format(time.RFC3339); !strings.Contains(k.Message, s) {
				t.Errorf("message %q does not name %s", k.Message, s)
			}
		}
	}
	must(t, w.append(w.log(), e))
}

func TestTimeNeverGoesBack(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	var last int64
	for _, step := range []time.Duration{time.Second, -time.Hour, time.Minute} {
		b.clock.advance(step)
		r, err := w.session.Append(t.Context(), w.log(), w.entry(), b.millis())
		must(t, err)
		l, err := journal.ParseLeaf(r.Leaf)
		must(t, err)
		c := b.checkReceipt(w.log(), r)
		if l.Time < last || c.Time < l.Time {
			t.Errorf("leaf time %d after %d, checkpoint %d", l.Time, last, c.Time)
		}
		last = l.Time
	}
}

// A device's Follower must take everything that it is sent, in whatever way it
// asks and however long it waits.
func TestFollowerNeverLacksAFullCheckpoint(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	reader := w.add()
	var f chain.Follower
	f.Log = w.log()
	tree := &chain.Tree{}
	for i, pause := range []time.Duration{0, time.Second, 50 * time.Second, 20 * time.Second, 59 * time.Second, time.Hour} {
		b.clock.advance(pause)
		w.dir, w.seen = nil, nil
		must(t, w.append(w.log(), w.entry()))
		if i%2 == 0 {
			p, err := reader.session.Read(t.Context(), w.log(), tree.Size(), signet.LeafOnly)
			must(t, err)
			for _, r := range p.Records {
				tree.Append(r.Leaf)
			}
			c, err := chain.Open(p.Checkpoint, w.log(), b.key.Public())
			must(t, err)
			must(t, f.Accept(c, tree))
		}
	}
}

func TestRootIsMadeOnceByTheNewestSecret(t *testing.T) {
	b := newBench(t)
	d := newDevice(b)
	_, err := b.Enrol(t.Context(), d.root(secret, b.key.Public()), b.millis())
	wantKind(t, err, transport.KindNotAllowed) // no secret was made
	hash := ring.BootstrapHash(secret)
	must(t, b.db.Update(func(tx *meta.Tx) error { return tx.Set(settingBootstrap, hash[:]) }))
	_, err = b.Enrol(t.Context(), d.root([32]byte{8}, b.key.Public()), b.millis())
	wantKind(t, err, transport.KindNotAllowed)
	other, _ := key.Generate()
	_, err = b.Enrol(t.Context(), d.root(secret, other.Public()), b.millis())
	wantKind(t, err, transport.KindInvalid)
	_, err = b.Enrol(t.Context(), d.root(secret, b.key.Public()), b.millis())
	must(t, err)
	_, err = b.Enrol(t.Context(), newDevice(b).root(secret, b.key.Public()), b.millis())
	wantKind(t, err, transport.KindConflict)
}

func TestStrangersAppendNothingButTheirGenesis(t *testing.T) {
	b := newBench(t)
	d := b.found()
	st := d.statement(ring.SignOut)
	must(t, st.Sign(d.key, nil))
	_, err := b.Enrol(t.Context(), signet.Record{Head: st.Bytes()}, b.millis())
	wantIs(t, err, signet.ErrNotAllowed)
	stranger := newDevice(b)
	_, err = b.Enrol(t.Context(), stranger.genesis(b.org(), ring.Claim{Kind: ring.ClaimRoot}, nil), b.millis())
	wantIs(t, err, signet.ErrConflict) // the root's claim is taken
	sig, _ := stranger.key.Sign(key.LabelConnection, []byte("channel"))
	_, err = b.Connect(t.Context(), stranger.id(), []byte("channel"), sig)
	wantIs(t, err, transport.ErrNotEnrolled)
	_, err = b.Connect(t.Context(), d.id(), []byte("channel"), sig)
	wantIs(t, err, transport.ErrNotEnrolled)
}

func TestRevokedDeviceGetsNothingMore(t *testing.T) {
	b := newBench(t)
	d := b.found()
	other := d.add()
	w := d.newRegion(1)
	mine := w.on(other)
	must(t, other.append(w.log(), mine.entry()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	started := make(chan bool, 100)
	go func() {
		ended <- other.session.Wait(ctx, nil, func(signet.Page) error { started <- true; return nil }, nil)
	}()
	<-started
	d.revoke(other)
	wantIs(t, <-ended, transport.ErrNotEnrolled)
	wantIs(t, other.append(w.log(), mine.entry()), transport.ErrNotEnrolled)
	_, err := other.session.Read(t.Context(), w.log(), 0, signet.LeafOnly)
	wantIs(t, err, transport.ErrNotEnrolled)
	wantIs(t, other.session.Put(t.Context(), w.region, [][]byte{{1}}), transport.ErrNotEnrolled)
	_, err = other.session.Show(t.Context(), w.region, []byte{1})
	wantIs(t, err, transport.ErrNotEnrolled)
	// And what it could open is stale for those who stay.
	wantIs(t, d.append(w.log(), w.entry()), signet.ErrStale)
}

func TestOfTwoGenesesWithOneClaimOneWins(t *testing.T) {
	b := newBench(t)
	d := b.found()
	first, w := d.genesisOf(1)
	b.clock.advance(time.Second)
	must(t, d.newRegion(9).append(w.log(), first))
	other := d.add()
	second, loser := other.genesisOf(1)
	wantIs(t, other.append(loser.log(), second), signet.ErrConflict)
}

func TestWaitBringsRecordsAndNewRegions(t *testing.T) {
	b := newBench(t)
	d := b.found()
	other := d.add()
	dirSize := d.head(signet.Directory(b.org())).Size
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pages := make(chan signet.Page, 100)
	go other.session.Wait(ctx, map[signet.LogID]uint64{signet.Directory(b.org()): dirSize}, func(p signet.Page) error { pages <- p; return nil }, nil)
	p := <-pages
	if p.Log.Kind != signet.DirectoryLog || len(p.Records) != 0 {
		t.Fatalf("not told that what was there is through: %s, %d records", p.Log, len(p.Records))
	}
	w := d.newRegion(1)
	p = <-pages
	if p.Log != w.log() || p.From != 0 || len(p.Records) != 1 || len(p.Records[0].Head) == 0 || len(p.Records[0].Blob) == 0 {
		t.Fatalf("first page: %s from %d, %d records", p.Log, p.From, len(p.Records))
	}
	e := w.entry()
	must(t, w.append(w.log(), e))
	p = <-pages
	if p.From != 1 || len(p.Records) != 1 || string(p.Records[0].Head) != string(e.Head) || string(p.Records[0].Blob) != string(e.Blob) {
		t.Fatalf("second page: from %d, %d records", p.From, len(p.Records))
	}
	if c, err := chain.Open(p.Checkpoint, w.log(), b.key.Public()); err != nil || c.Size != 2 {
		t.Errorf("checkpoint %v, %v", c, err)
	}
}

// member enrols somebody by an invitation that the owner's device made.
func (b *bench) member() *device {
	b.t.Helper()
	once, _ := key.Generate()
	inv := &ring.Invitation{Org: b.org(), Claim: ring.ClaimOf(once.Public()), Role: ring.RoleMember, Expiry: b.millis() + 1000, Issuer: b.owner.id()}
	must(b.t, inv.Sign(b.owner.key))
	d := newDevice(b)
	_, err := b.Enrol(context.Background(), d.genesis(b.org(), ring.Claim{Kind: ring.ClaimInvitation, Admit: inv, Public: once.Public()}, once), b.millis())
	must(b.t, err)
	d.connect()
	return d
}

func TestInvitationThatRanOutIsNamed(t *testing.T) {
	b := newBench(t)
	b.found()
	once, _ := key.Generate()
	inv := &ring.Invitation{Org: b.org(), Claim: ring.ClaimOf(once.Public()), Role: ring.RoleMember, Expiry: b.millis() - 1, Issuer: b.owner.id()}
	must(t, inv.Sign(b.owner.key))
	genesis := newDevice(b).genesis(b.org(), ring.Claim{Kind: ring.ClaimInvitation, Admit: inv, Public: once.Public()}, once)
	_, err := b.Enrol(t.Context(), genesis, b.millis())
	wantIs(t, err, signet.ErrNotAllowed)
	wantIs(t, err, &transport.Error{Kind: transport.KindExpired})
}

func TestDirectoryWithholdsOtherRings(t *testing.T) {
	b := newBench(t)
	owner := b.found()
	alice, bob := b.member(), b.member()
	for _, c := range []struct {
		who  *device
		want string // what of root, owner, alice, bob comes whole
	}{{owner, "1111"}, {alice, "1110"}, {bob, "1101"}} {
		p, err := c.who.session.Read(t.Context(), signet.Directory(b.org()), 0, signet.Whole)
		must(t, err)
		got := ""
		for _, r := range p.Records {
			got += fmt.Sprint(min(1, len(r.Head)))
			if len(r.Leaf) == 0 {
				t.Error("a leaf is withheld")
			}
		}
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestOthersSeeNothingOfARegion(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	m := b.member()
	object := []byte("secret")
	must(t, w.session.Put(t.Context(), w.region, [][]byte{object}))
	_, err := m.session.Read(t.Context(), w.log(), 0, signet.LeafOnly)
	wantIs(t, err, signet.ErrNotAllowed)
	_, err = m.session.Have(t.Context(), w.region, []signet.ObjectID{nameOf(object)})
	wantIs(t, err, signet.ErrNotAllowed)
	wantIs(t, m.session.Put(t.Context(), w.region, [][]byte{object}), signet.ErrNotAllowed)
	wantIs(t, m.append(w.log(), w.on(w.device).entry()), signet.ErrNotAllowed)
	_, err = m.session.Show(t.Context(), w.region, object)
	wantIs(t, err, signet.ErrNotAllowed)
	pages := make(chan signet.Page, 10)
	ctx, cancel := context.WithCancel(t.Context())
	go m.session.Wait(ctx, nil, func(p signet.Page) error { pages <- p; return nil }, func(signet.Glimpse) { t.Error("shown a glimpse") })
	if p := <-pages; p.Log != signet.Directory(b.org()) {
		t.Errorf("offered %s", p.Log)
	}
	seen, err := w.session.Show(t.Context(), w.region, object)
	must(t, err)
	if seen {
		t.Error("a member without a role was shown a glimpse")
	}
	cancel()
	// An object is of its region alone, whoever knows its name.
	mine := m.newRegion(2)
	err = m.append(mine.log(), mine.entry(nameOf(object)))
	wantKind(t, err, transport.KindMissing)
}

func TestSealedRecordsAreOfTheirRing(t *testing.T) {
	b := newBench(t)
	d := b.found()
	m := b.member()
	put := func(by, of *device, subject [32]byte, version uint64) error {
		r := &ring.Record{Org: b.org(), Ring: of.ring, Subject: subject, Version: version, Generation: 1, Sealed: []byte("name"), Signer: by.id()}
		raw, err := r.Sign(by.key)
		must(t, err)
		return by.session.PutRecord(t.Context(), raw)
	}
	must(t, put(d, d, d.id(), 1))
	must(t, put(d, d, d.ring, 1))
	wantIs(t, put(m, d, d.id(), 2), signet.ErrNotAllowed)
	wantIs(t, put(m, m, d.id(), 2), signet.ErrNotVerified)
	wantIs(t, put(d, d, d.id(), 0), signet.ErrConflict)
	for owner, want := range map[[32]byte]int{d.ring: 2, d.id(): 1} {
		if got, err := d.session.Records(t.Context(), owner); err != nil || len(got) != want {
			t.Errorf("%d records, %v, want %d", len(got), err, want)
		}
	}
	_, err := m.session.Records(t.Context(), d.ring)
	wantIs(t, err, signet.ErrNotAllowed)
}

func TestUploadsPastTheCapAreRefusedUntilCommitted(t *testing.T) {
	b := newBench(t)
	b.uploads.max = 1000
	w := b.found().newRegion(1)
	first := make([]byte, 900)
	must(t, w.session.Put(t.Context(), w.region, [][]byte{first}))
	must(t, w.session.Put(t.Context(), w.region, [][]byte{first})) // the same costs nothing
	second := append(first, 1)
	wantKind(t, w.session.Put(t.Context(), w.region, [][]byte{second}), transport.KindNotAllowed)
	must(t, w.append(w.log(), w.entry(nameOf(first))))
	must(t, w.session.Put(t.Context(), w.region, [][]byte{second}))
}

func TestRelayKeepsAMessageForWhoComesLater(t *testing.T) {
	b := newBench(t)
	place := [32]byte{1}
	got := make(chan []byte)
	go func() {
		m, _ := b.RelayGet(t.Context(), place, 0)
		got <- m
	}()
	must(t, b.RelayPut(t.Context(), place, 0, []byte("hello")))
	if m := <-got; string(m) != "hello" {
		t.Errorf("got %q", m)
	}
	must(t, b.RelayPut(t.Context(), place, 0, []byte("hello")))
	wantIs(t, b.RelayPut(t.Context(), place, 0, []byte("other")), signet.ErrConflict)
	b.clock.advance(transport.RelayTime + time.Second)
	must(t, b.RelayPut(t.Context(), place, 0, []byte("other")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.RelayGet(ctx, place, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestConnectorInvitesOnlyWhileTheRootAllowsIt(t *testing.T) {
	b := newBench(t)
	ck, _ := key.Generate()
	connector := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: ck.Public()}
	b.Service.config.Connector = connector
	v := &Inviter{Data: b.dir, LogKey: b.key.Public(), Connector: ck, Device: connector, Clock: b.clock.now}
	if _, err := v.Invite("owner"); !errors.Is(err, ErrNoAddress) {
		t.Fatalf("before the first start: %v", err)
	}
	must(t, b.SetAddress("https://service.example:8443", nil))
	one, err := v.Invite("owner")
	must(t, err)
	two, err := v.Invite("owner")
	must(t, err)
	if !one.Bootstrap || one.Replaced || !two.Replaced {
		t.Errorf("%+v, %+v", one, two)
	}
	i, err := ring.ParseInvite(two.URL)
	must(t, err)
	d := newDevice(b)
	_, err = b.Enrol(t.Context(), d.root(i.Secret, b.key.Public()), b.millis())
	must(t, err)
	_, err = b.Enrol(t.Context(), d.genesis(b.org(), ring.Claim{Kind: ring.ClaimRoot}, nil), b.millis())
	must(t, err)
	d.connect()
	_, err = v.Invite("bob")
	wantIs(t, err, ErrNoConnector)

	shown, err := d.session.Records(t.Context(), [32]byte{})
	must(t, err)
	record, err := ring.ParseDevice(shown[0])
	must(t, err)
	allow := func(ty ring.Type) *ring.Statement {
		b.mu.RLock()
		defer b.mu.RUnlock()
		seq, prev, _ := b.ring.Head(signet.RingID(b.ring.Org()))
		return &ring.Statement{Type: ty, Org: b.ring.Org(), Ring: signet.RingID(b.ring.Org()), Seq: seq, Prev: prev, Signer: d.id(), Device: record, Gone: record.ID()}
	}
	st := allow(ring.AllowConnector)
	must(t, st.Sign(d.key, nil))
	must(t, d.append(signet.Directory(b.org()), signet.Record{Head: st.Bytes()}))
	three, err := v.Invite("bob")
	must(t, err)
	i, err = ring.ParseInvite(three.URL)
	must(t, err)
	once, err := key.FromSeed(i.Secret)
	must(t, err)
	raw, err := b.RelayGet(t.Context(), ring.ClaimOf(once.Public()), transport.InvitationSlot)
	must(t, err)
	inv, err := ring.ParseInvitation(raw)
	must(t, err)
	bob := newDevice(b)
	_, err = b.Enrol(t.Context(), bob.genesis(b.org(), ring.Claim{Kind: ring.ClaimInvitation, Admit: inv, Public: once.Public()}, once), b.millis())
	must(t, err)
	bob.connect()

	st = allow(ring.DropConnector)
	must(t, st.Sign(d.key, nil))
	must(t, d.append(signet.Directory(b.org()), signet.Record{Head: st.Bytes()}))
	_, err = v.Invite("carol")
	wantIs(t, err, ErrNoConnector)
}

func nameOf(b []byte) signet.ObjectID { return blob.Name(b).ID }
