package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"signet"
	"signet/core/chain"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/enrol"
	"signet/device/keystore"
	"signet/transport"
)

// patience is how long a newcomer waits for a giver that should be there.
var patience = 20 * time.Second

// wordsTime is how long a newcomer that has words, which carry no date, goes on
// with them: as long as the giver's messages lie on the service.
var wordsTime = transport.RelayTime

// relay is the service as the linking channel sees it.
type relay struct{ c *transport.Client }

func (r relay) Put(ctx context.Context, s enrol.Slot, m []byte) error {
	return r.c.RelayPut(ctx, s, 0, m)
}

func (r relay) Get(ctx context.Context, s enrol.Slot) ([]byte, error) {
	return r.c.RelayGet(ctx, s, 0)
}

// A Confirm shows a code to this device's person, with the other device's name
// where it is known, and says whether it is the one on the other device.
type Confirm func(ctx context.Context, other string, code enrol.Code) (bool, error)

// LinkByURL enrols this device by the link of `device add`.
func LinkByURL(ctx context.Context, o Options, i enrol.DeviceInvitation, confirm Confirm) (*Joined, error) {
	if err := i.Check(o.Now()); err != nil {
		return nil, err
	}
	a := &Account{Service: i.Service, Certificate: i.Certificate}
	client, err := a.Client(nil, o.Version, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	n, intro, err := meet(ctx, client, i.Secret, i.Expires)
	if err != nil {
		return nil, err
	}
	if err := intro.Matches(i); err != nil {
		return nil, err
	}
	return link(ctx, o, n, a, intro, i.Expires, confirm)
}

// LinkByWords enrols this device by the words of `device add` and the
// service's address. Until the giver's introduction has verified, the service
// is unknown: it relays, and hears nothing.
func LinkByWords(ctx context.Context, o Options, service string, s enrol.Secret, confirm Confirm) (*Joined, error) {
	client, err := transport.NewClient(transport.Config{URL: service, Unknown: true, UserAgent: "signet/" + o.Version})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	expires := time.Now().Add(wordsTime)
	n, intro, err := meet(ctx, client, s, expires)
	if err != nil {
		return nil, err
	}
	if intro.Certificate != (signet.Hash{}) && client.Fingerprint() != nil && !bytes.Equal(client.Fingerprint(), intro.Certificate[:]) {
		return nil, fmt.Errorf("link: this is not the service that the other device knows: %w", enrol.ErrChannel)
	}
	return link(ctx, o, n, &Account{Service: service, Certificate: intro.Certificate}, intro, expires, confirm)
}

func meet(ctx context.Context, c *transport.Client, s enrol.Secret, expires time.Time) (*enrol.Newcomer, enrol.Introduction, error) {
	ctx, cancel := until(ctx, expires)
	defer cancel()
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	n, intro, err := enrol.Meet(waiting, relay{c}, s)
	if err != nil && ctx.Err() != nil {
		err = late(ctx, fmt.Errorf("link: wait: %w", ctx.Err()))
	}
	return n, intro, err
}

// errLate is why a context ended when an invitation did.
var errLate = errors.New("the invitation ended")

// until is ctx until an invitation expires.
func until(ctx context.Context, expires time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, expires, errLate)
}

// late gives what ended with the invitation its name. Another deadline, such
// as that of --timeout, keeps its own.
func late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) == errLate {
		return fmt.Errorf("link: nobody answered in time: %w", enrol.ErrExpired)
	}
	return err
}

// link goes on where the introduction has verified.
func link(ctx context.Context, o Options, n *enrol.Newcomer, a *Account, intro enrol.Introduction, expires time.Time, confirm Confirm) (*Joined, error) {
	if _, err := Load(o.Home, intro.Org); err == nil {
		return nil, ErrEnrolled
	} else if !errors.Is(err, ErrNotEnrolled) {
		return nil, err
	}
	a.Org, a.Ring, a.LogKeys, a.Name = intro.Org, intro.Ring, intro.LogKeys, o.Name
	// From here on the service must be the one that the giver knows.
	client, err := a.Client(nil, o.Version, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	n.Over(relay{client})
	keys, err := keystore.Generate()
	if err != nil {
		return nil, err
	}
	self, err := record(keys, o.Use)
	if err != nil {
		return nil, err
	}
	a.Device = self.ID()
	talking, cancel := until(ctx, expires)
	defer cancel()
	welcome, err := ask(talking, o, n, a, keys, self, confirm)
	if err = late(talking, err); err != nil {
		keys.Discard()
		// What was made for this attempt goes with it. Where the giver added
		// the device in the meantime, its person sees it in the list.
		return nil, errors.Join(err, Forget(o.Home, a.Org))
	}
	return arrive(ctx, o, a, keys, welcome)
}

// ask shows the giver who this device is, has the codes compared, and waits
// for the welcome.
func ask(ctx context.Context, o Options, n *enrol.Newcomer, a *Account, keys *keystore.Keys, self *ring.Device, confirm Confirm) ([]byte, error) {
	reverse, err := ring.SignNewcomer(keys.Signer(), a.Org, a.Ring, self)
	if err != nil {
		return nil, err
	}
	// The giver answers by itself: its person is asked later. An introduction
	// without an answer is all that is left of one that was ended.
	answering, stop := context.WithTimeout(ctx, patience)
	defer stop()
	code, err := n.Ask(answering, o.Name, Platform(), self.Append(nil), reverse)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("link: %w", enrol.ErrNobody)
	} else if err != nil {
		return nil, err
	}
	same, err := confirm(ctx, "", code)
	if err == nil {
		err = differs(same)
	}
	if err != nil {
		// The giver should not wait in vain; that it does is no harm.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return nil, errors.Join(err, n.Refuse(ctx))
	}
	// Durable before the ring may have it.
	if err := create(o, a, keys); err != nil {
		return nil, err
	}
	if err := n.Confirm(ctx); err != nil {
		return nil, err
	}
	return n.Welcomed(ctx)
}

func differs(same bool) error {
	if same {
		return nil
	}
	return fmt.Errorf("link: %w", ErrCode)
}

// arrive reads the directory and checks it against the giver's: a service that
// shows the newcomer another history, or an older one, is found out.
func arrive(ctx context.Context, o Options, a *Account, keys *keystore.Keys, welcome []byte) (*Joined, error) {
	j, err := join(ctx, o, a, keys)
	if err != nil {
		return nil, err
	}
	f := j.Directory.(*fresh)
	c, err := chain.Open(welcome, f.head.Log, f.state.LogKey())
	if err == nil {
		err = f.head.Check(c, &f.tree)
		if errors.Is(err, chain.ErrAhead) {
			err = fmt.Errorf("the service shows less of the directory than the giving device saw: %w", signet.ErrNotVerified)
		}
	}
	if err != nil {
		j.Client.Close()
		return nil, fmt.Errorf("link: %w", err)
	}
	return j, nil
}

// Platform is what a device says it runs on.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// A Giving is a device invitation that waits for its newcomer.
type Giving struct {
	Invitation enrol.DeviceInvitation
	account    *Account
	self       region.Self
	dir        Directory
	client     *transport.Client
	giver      *enrol.Giver
}

// Give makes a device invitation that is good for a time, and waits at its
// place on the service.
func Give(ctx context.Context, a *Account, keys *keystore.Keys, dir Directory, client *transport.Client, until time.Time) (*Giving, error) {
	g := &Giving{account: a, self: a.Self(keys), dir: dir, client: client, Invitation: enrol.DeviceInvitation{
		Service: a.Service, Secret: enrol.NewSecret(), Org: a.Org, Ring: a.Ring, LogKeys: a.LogKeys, Certificate: a.Certificate, Expires: until.Truncate(time.Second),
	}}
	i := g.Invitation
	var err error
	g.giver, err = enrol.Offer(ctx, relay{client}, i.Secret, enrol.Introduction{Org: i.Org, Ring: i.Ring, LogKeys: i.LogKeys, Certificate: i.Certificate})
	return g, err
}

// Add waits for the newcomer, has the codes compared on both sides, adds it to
// the ring and welcomes it.
func (g *Giving) Add(ctx context.Context, confirm func(ctx context.Context, q enrol.Request) (bool, error)) (signet.DeviceID, error) {
	ctx, cancel := until(ctx, g.Invitation.Expires)
	defer cancel()
	q, err := g.giver.Await(ctx)
	if err != nil {
		return signet.DeviceID{}, late(ctx, err)
	}
	newcomer, err := ring.ParseDevice(q.Record)
	if err != nil {
		return signet.DeviceID{}, errors.Join(fmt.Errorf("link: %v: %w", err, enrol.ErrChannel), g.refuse(ctx))
	}
	if newcomer.Class != ring.Lasting && newcomer.Class != ring.Browser {
		return signet.DeviceID{}, errors.Join(fmt.Errorf("link: a %s device asks to be linked: %w", newcomer.Class, enrol.ErrChannel), g.refuse(ctx))
	}
	if err := ring.VerifyNewcomer(g.account.Org, g.account.Ring, newcomer, q.Reverse); err != nil {
		return signet.DeviceID{}, errors.Join(fmt.Errorf("link: %w", err), g.refuse(ctx))
	}
	same, err := confirm(ctx, q)
	if err == nil {
		err = differs(same)
	}
	if err != nil {
		return signet.DeviceID{}, errors.Join(late(ctx, err), g.refuse(ctx))
	}
	if err := g.giver.Confirmed(ctx); err != nil {
		return signet.DeviceID{}, late(ctx, err)
	}
	if err := addDevice(ctx, &g.self, g.dir, newcomer, q.Reverse); err != nil {
		return signet.DeviceID{}, errors.Join(err, g.refuse(ctx))
	}
	return newcomer.ID(), g.giver.Welcome(ctx, g.dir.DirectoryHead().Bytes())
}

func (g *Giving) refuse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return g.giver.Refuse(ctx)
}

// addDevice seals the ring's key to a device and says so in the directory. A
// ring that a revocation left stale is rekeyed first: the newcomer must not get
// a key that a revoked device holds.
func addDevice(ctx context.Context, self *region.Self, dir Directory, newcomer *ring.Device, reverse []byte) error {
	if err := freshen(ctx, self, dir); err != nil {
		return err
	}
	return dir.AppendStatement(ctx, func(s *ring.State, k *region.Keys) (signet.Record, error) {
		if k == nil {
			return signet.Record{}, region.ErrNoKey
		}
		return self.Add(s, k, newcomer, reverse)
	})
}

// freshen rekeys the ring if it is stale.
func freshen(ctx context.Context, self *region.Self, dir Directory) error {
	if err := dir.SyncDirectory(ctx); err != nil {
		return err
	}
	stale := false
	dir.Directory(func(s *ring.State, k *region.Keys) { stale = k != nil && self.RingStale(s) })
	if !stale {
		return nil
	}
	err := dir.AppendStatement(ctx, func(s *ring.State, k *region.Keys) (signet.Record, error) {
		if k == nil {
			return signet.Record{}, region.ErrNoKey
		}
		if !self.RingStale(s) {
			return signet.Record{}, errFresh // another device was quicker
		}
		return self.RekeyRing(s, k, time.Now().UnixMilli())
	})
	if errors.Is(err, errFresh) {
		return nil
	}
	return err
}

var errFresh = errors.New("fresh already")
