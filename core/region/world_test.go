package region

import (
	"crypto/sha256"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/core/seal"
	"signet/core/tree"
)

// A world is an organisation whose keys open: a directory, one region of the
// first member's ring, and devices that have their own replicas of it.
type world struct {
	*ringtest.World
	j    *ringtest.Journal
	ring signet.RingID
}

// A member is a device with its replica of the region.
type member struct {
	*Region
	w    *world
	me   Self
	keys *Keys
	rec  *ring.Device
}

func newWorld(t *testing.T) (*world, *member) {
	t.Helper()
	w := &world{World: ringtest.New(t)}
	a := w.device("a")
	f := &Founder{Device: a.rec, Signer: a.me.Signer}
	root, org, err := f.Root(w.Service.Public(), [32]byte{7})
	w.Must(err)
	w.Must(w.Put(root.Head, root.Blob))
	genesis, r, err := f.Genesis(org, nil, nil)
	w.Must(err)
	w.Must(w.Put(genesis.Head, genesis.Blob))
	w.ring = r
	a.belong(r)
	rec, id := a.make("Documents")
	w.j = &ringtest.Journal{World: w.World, ID: id, State: journal.NewState(id, w.Directory())}
	w.offer(rec)
	a.open()
	return w, a
}

// device is a device that belongs nowhere yet.
func (w *world) device(name string) *member {
	w.T.Helper()
	opener, err := seal.FromSeed(sha256.Sum256([]byte("region " + name)))
	w.Must(err)
	rec := &ring.Device{Class: ring.Lasting, Where: ring.InFile, Sign: ringtest.Key(name).Public(), Seal: opener.Public()}
	return &member{w: w, rec: rec, me: Self{Device: rec.ID(), Signer: ringtest.Key(name), Opener: opener, Label: name}}
}

func (m *member) belong(r signet.RingID) {
	m.me.Org, m.me.Ring = m.w.State.Org(), r
	m.freshen()
}

// freshen opens the ring's keys as the directory has them now.
func (m *member) freshen() {
	m.w.T.Helper()
	k, err := OpenKeys(m.w.State, &m.me)
	m.w.Must(err)
	m.keys = k
}

func (m *member) make(name string) (signet.Record, signet.RegionID) {
	m.w.T.Helper()
	rec, id, err := Make(m.w.State, m.w.Checkpoint(), &m.me, m.keys, name, 0)
	m.w.Must(err)
	return rec, id
}

// open begins a replica and brings it up to date.
func (m *member) open() {
	m.w.T.Helper()
	m.Region = New(m.w.j.ID, m.w.Directory(), &m.me, func() *Keys { return m.keys })
	m.sync()
}

// add links a device to the ring of m and opens the region on it.
func (m *member) add(name string) *member {
	m.w.T.Helper()
	n := m.join(name)
	n.open()
	return n
}

// join links a device to the ring of m.
func (m *member) join(name string) *member {
	m.w.T.Helper()
	n := m.w.device(name)
	reverse, err := ring.SignNewcomer(n.me.Signer, m.w.State.Org(), m.me.Ring, n.rec)
	m.w.Must(err)
	rec, err := m.me.Add(m.w.State, m.keys, n.rec, reverse)
	m.w.Must(err)
	m.w.Must(m.w.Put(rec.Head, rec.Blob))
	n.belong(m.me.Ring)
	return n
}

// revoke removes a device from the ring of m; others freshen their keys.
func (m *member) revoke(gone *member, others ...*member) {
	m.w.T.Helper()
	rec, err := m.me.Revoke(m.w.State, m.keys, gone.me.Device, m.w.Now+1)
	m.w.Must(err)
	m.w.Must(m.w.Put(rec.Head, rec.Blob))
	for _, o := range others {
		o.freshen()
	}
}

func (w *world) offer(rec signet.Record) {
	w.T.Helper()
	_, err := w.j.Offer(rec)
	w.Must(err)
}

// full is a full checkpoint of the journal.
func (w *world) full() *chain.Checkpoint {
	w.T.Helper()
	root, err := w.j.State.Tree.RootAt(w.j.State.Size())
	w.Must(err)
	c, err := chain.Sign(w.Service, signet.Journal(w.j.ID), w.j.State.Size(), root, w.Now, true)
	w.Must(err)
	return c
}

// sync reads and replays what the journal has.
func (m *member) sync() []Step {
	m.w.T.Helper()
	steps, err := m.try()
	m.w.Must(err)
	return steps
}

func (m *member) try() (steps []Step, err error) {
	for _, rec := range m.w.j.Log[m.State.Size():] {
		if _, _, err := m.Take(rec); err != nil {
			return steps, err
		}
	}
	m.w.Must(m.Follower.Accept(m.w.full(), &m.State.Tree))
	for m.Replayed() < m.State.Size() {
		s, err := m.Replay(m.w.j.Log[m.Replayed()])
		if err != nil {
			return steps, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// commit writes operations, and replays them.
func (m *member) commit(ops ...tree.Op) {
	m.w.T.Helper()
	rec, _, err := m.Commit(m.w.Checkpoint(), m.w.items(ops...), nil)
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
}

func (m *member) rekey() {
	m.w.T.Helper()
	rec, err := m.Rekey(m.w.Checkpoint())
	m.w.Must(err)
	m.w.offer(rec)
	m.sync()
}

func (w *world) items(ops ...tree.Op) (items []tree.Item) {
	w.T.Helper()
	for _, op := range ops {
		it, err := tree.NewItem(op)
		w.Must(err)
		items = append(items, it)
	}
	return items
}

// file is the creation of a link called name: content without objects.
func file(name string) tree.Op {
	h := key.Sum(key.LabelNode, []byte(name))
	return tree.Op{Kind: tree.Create, Node: signet.NodeID(h[:16]), Type: tree.Link, Name: name, Target: "to " + name}
}

// names lists the tree.
func (m *member) names() (list []string) {
	for p := range m.Tree.Walk() {
		list = append(list, p)
	}
	return list
}
