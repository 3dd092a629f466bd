package account_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/enrol"
	"signet/device/keystore"
	"signet/service"
	"signet/transport"
)

// world is a service that answers over TLS with a certificate of its own.
type world struct {
	t       *testing.T
	inviter *service.Inviter
	spoiler *spoiler
	stop    func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	logKey, err := key.Generate()
	if err != nil {
		t.Fatal(err)
	}
	connector, _ := key.Generate()
	record := &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: connector.Public()}
	s, err := service.Open(service.Config{Data: dir, Key: logKey, Connector: record, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	cert, pin, err := transport.SelfSigned(dir, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetAddress("https://"+l.Addr().String(), pin[:]); err != nil {
		t.Fatal(err)
	}
	lies := &spoiler{Backend: s}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}},
			transport.NewHandler(lies, transport.Limits{Drain: time.Second, PublicRate: 1e6}, slog.New(slog.DiscardHandler)))
	}()
	w := &world{t: t, spoiler: lies, inviter: &service.Inviter{Data: dir, LogKey: logKey.Public(), Connector: connector, Device: record, Clock: time.Now}}
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	t.Cleanup(func() { w.stop(); s.Close() })
	return w
}

func (w *world) invite() *ring.Invite {
	w.t.Helper()
	i, err := w.inviter.Invite("alice")
	if err != nil {
		w.t.Fatal(err)
	}
	invite, err := ring.ParseInvite(i.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	return invite
}

func options(t *testing.T, name string) account.Options {
	return account.Options{Home: home.Dir(filepath.Join(t.TempDir(), "home")), Use: keystore.Never, Now: time.Now, Name: name, Version: "test"}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) owner(o account.Options) *account.Joined {
	w.t.Helper()
	j := must[*account.Joined](w.t)(account.Redeem(w.t.Context(), o, w.invite()))
	w.t.Cleanup(func() { j.Close() })
	if err := j.SayName(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return j
}

func opens(j *account.Joined) (yes bool) {
	j.Directory.Directory(func(_ *ring.State, k *region.Keys) { yes = k != nil })
	return yes
}

func TestFirstInvitationMakesTheOrganisationAndItsHomeOpensAgain(t *testing.T) {
	w := newWorld(t)
	o := options(t, "first")
	j := w.owner(o)
	if !j.Account.Owner || !opens(j) {
		t.Errorf("owner %v, keys open %v", j.Account.Owner, opens(j))
	}
	a, err := account.Find(o.Home)
	if err != nil || a.Pending() || a.Org != j.Account.Org || a.Ring != j.Account.Ring || a.Name != "first" {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := keystore.Load(o.Home.KeyFile(a.Org), a.Org); err != nil {
		t.Error(err)
	}
	if _, err := account.Redeem(t.Context(), o, &ring.Invite{Org: a.Org}); !errors.Is(err, account.ErrEnrolled) {
		t.Errorf("enrolled twice: %v", err)
	}
}

func TestMemberIsAdmittedByTheConnectorThatTheOwnerAllowed(t *testing.T) {
	w := newWorld(t)
	j := w.owner(options(t, "owner"))
	if _, err := w.inviter.Invite("bob"); !errors.Is(err, signet.ErrNotAllowed) {
		t.Fatalf("a connector that nobody allowed invites: %v", err)
	}
	c := must[*ring.Device](t)(j.Connector(t.Context()))
	if err := j.AllowConnector(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	invite := w.invite()
	bob := must[*account.Joined](t)(account.Redeem(t.Context(), options(t, "bob"), invite))
	defer bob.Close()
	if bob.Account.Owner || bob.Account.Org != j.Account.Org || bob.Account.Ring == j.Account.Ring || !opens(bob) {
		t.Errorf("%+v", bob.Account)
	}
	o := options(t, "thief")
	if _, err := account.Redeem(t.Context(), o, invite); !errors.Is(err, account.ErrUsed) {
		t.Errorf("redeemed twice: %v", err)
	}
	if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
		t.Errorf("a refused home keeps %v", orgs)
	}
}

// members makes an organisation whose connector may invite.
func (w *world) members() {
	w.t.Helper()
	j := w.owner(options(w.t, "owner"))
	if err := j.AllowConnector(w.t.Context(), must[*ring.Device](w.t)(j.Connector(w.t.Context()))); err != nil {
		w.t.Fatal(err)
	}
}

// invitedAt makes an invitation at another time than now.
func (w *world) invitedAt(at time.Time) *ring.Invite {
	w.t.Helper()
	w.inviter.Clock = func() time.Time { return at }
	i := w.invite()
	w.inviter.Clock = time.Now
	return i
}

func TestInvitationThatRanOutIsSaidToBeEvenAfterTheNextOne(t *testing.T) {
	w := newWorld(t)
	w.members()
	late := w.invitedAt(time.Now().Add(-service.InvitationTime - 24*time.Hour))
	w.invite() // forgets what is long gone
	o := options(t, "late")
	if _, err := account.Redeem(t.Context(), o, late); !errors.Is(err, account.ErrExpired) || !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a day late: %v", err)
	}
	// A clock that was behind finds out from the service.
	behind := true
	o.Now = func() time.Time {
		if behind {
			behind = false
			return time.Now().Add(-48 * time.Hour)
		}
		return time.Now()
	}
	if _, err := account.Redeem(t.Context(), o, late); !errors.Is(err, account.ErrExpired) {
		t.Errorf("a day late by the service's clock: %v", err)
	}
	if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
		t.Errorf("a refused home keeps %v", orgs)
	}
}

func TestInvitationThatTheServiceDoesNotHaveIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.members()
	i := w.invite()
	i.Secret[0] ^= 1 // as if the service's data were older than the link
	if _, err := account.Redeem(t.Context(), options(t, "bob"), i); !errors.Is(err, account.ErrUnknown) || !errors.Is(err, signet.ErrNotAllowed) {
		t.Error(err)
	}
	long := w.invitedAt(time.Now().Add(-service.InvitationTime - 100*24*time.Hour))
	w.invite()
	if _, err := account.Redeem(t.Context(), options(t, "ben"), long); !errors.Is(err, account.ErrUnknown) {
		t.Errorf("forgotten: %v", err)
	}
}

func TestInvitationBySomebodyWhoMayNotInviteIsNotSaidToBeUsed(t *testing.T) {
	w := newWorld(t)
	w.members()
	w.inviter.Connector, _ = key.Generate()
	w.inviter.Device = &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: w.inviter.Connector.Public()}
	_, err := account.Redeem(t.Context(), options(t, "bob"), w.invite())
	if !errors.Is(err, signet.ErrNotAllowed) || errors.Is(err, account.ErrUsed) {
		t.Error(err)
	}
}

func TestOfTwoThatMakeTheOrganisationOneWinsAndTheOtherIsTold(t *testing.T) {
	w := newWorld(t)
	invite := w.invite()
	homes := []account.Options{options(t, "a"), options(t, "b")}
	errs := make(chan error)
	for _, o := range homes {
		go func() {
			j, err := account.Redeem(t.Context(), o, invite)
			if err == nil {
				j.Close()
			}
			errs <- err
		}()
	}
	won := 0
	for range homes {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, signet.ErrNotAllowed) && !errors.Is(err, signet.ErrConflict) {
			t.Errorf("the loser is told %v", err)
		}
	}
	left := 0
	for _, o := range homes {
		orgs, _ := o.Home.Organisations()
		left += len(orgs)
	}
	if won != 1 || left != 1 {
		t.Errorf("%d won, %d homes have an organisation", won, left)
	}
}

func TestInterruptedEnrolmentGoesOnWithTheSameInvitation(t *testing.T) {
	w := newWorld(t)
	invite, o := w.invite(), options(t, "first")
	// The service goes away between the home's making and the answer.
	proxy := cut(t, w, invite, 1)
	if _, err := account.Redeem(t.Context(), o, proxy); !errors.Is(err, signet.ErrUnavailable) {
		t.Fatalf("cut off: %v", err)
	}
	if _, err := account.Find(o.Home); !errors.Is(err, account.ErrPending) {
		t.Fatalf("after the cut: %v", err)
	}
	orgs := must[[]signet.OrgID](t)(o.Home.Organisations())
	reconnect(proxy)
	j, err := account.Redeem(t.Context(), o, proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if len(orgs) != 1 || j.Account.Org != orgs[0] {
		t.Errorf("began %v, went on with %s", orgs, j.Account.Org)
	}
}

// cut makes an invitation whose way to the service breaks after a number of
// connections; reconnect mends it.
var cuts = map[*ring.Invite]func(int){}

func cut(t *testing.T, w *world, i *ring.Invite, connections int) *ring.Invite {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	left := make(chan int, 1)
	left <- connections
	target := strings.TrimPrefix(i.URL, "https://")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := <-left
			left <- n - 1
			if n <= 0 {
				c.Close()
				continue
			}
			go pipe(c, target)
		}
	}()
	p := *i
	p.URL = "https://" + l.Addr().String()
	cuts[&p] = func(n int) { <-left; left <- n }
	return &p
}

func reconnect(i *ring.Invite) { cuts[i](1 << 20) }

func pipe(c net.Conn, target string) {
	defer c.Close()
	s, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { s.(*net.TCPConn).ReadFrom(c); s.Close() }()
	c.(*net.TCPConn).ReadFrom(s)
}

func TestServiceWithOtherLogKeysThanTheInvitationIsRefused(t *testing.T) {
	w := newWorld(t)
	i := w.invite()
	i.LogKeys[0]++
	o := options(t, "x")
	if _, err := account.Redeem(t.Context(), o, i); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("other log keys: %v", err)
	}
	if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
		t.Error("something stays in the home")
	}
}

// pair links a second device; by says how it comes.
func pair(t *testing.T, owner *account.Joined, o account.Options, byWords bool, giverSays, newcomerSays bool) (*account.Joined, error, error) {
	t.Helper()
	g := must[*account.Giving](t)(account.Give(t.Context(), owner.Account, owner.Keys, owner.Directory, owner.Client, time.Now().Add(time.Minute)))
	codes := make(chan enrol.Code, 2)
	given := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, err := g.Add(ctx, func(_ context.Context, q enrol.Request) (bool, error) {
			codes <- q.Code
			return giverSays, nil
		})
		given <- err
	}()
	confirm := func(_ context.Context, _ string, c enrol.Code) (bool, error) { codes <- c; return newcomerSays, nil }
	var j *account.Joined
	var err error
	if byWords {
		s := must[enrol.Secret](t)(enrol.ParseSecret(enrol.Words(g.Invitation.Secret[:])))
		j, err = account.LinkByWords(t.Context(), o, owner.Account.Service, s, confirm)
	} else {
		i := must[enrol.DeviceInvitation](t)(enrol.ParseDeviceInvitation(g.Invitation.URL()))
		j, err = account.LinkByURL(t.Context(), o, i, confirm)
	}
	if err == nil {
		t.Cleanup(func() { j.Close() })
	}
	if a, b := <-codes, <-codes; a != b {
		t.Errorf("codes %s and %s", a, b)
	}
	return j, err, <-given
}

func TestSecondDeviceIsLinkedByURLAndByWords(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	for _, byWords := range []bool{false, true} {
		o := options(t, map[bool]string{false: "by url", true: "by words"}[byWords])
		j, err, given := pair(t, owner, o, byWords, true, true)
		if err != nil || given != nil {
			t.Fatal(err, given)
		}
		if j.Account.Ring != owner.Account.Ring || !opens(j) {
			t.Error("the newcomer is in another ring or has no key")
		}
		if err := j.SayName(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := account.Find(o.Home); err != nil {
			t.Error(err)
		}
	}
	all := must[[]account.Listed](t)(account.List(t.Context(), owner.Account, owner.Directory, owner.Client))
	var names []string
	for _, l := range all {
		names = append(names, l.Profile.Name+" "+l.State)
	}
	if !slices.Equal(names, []string{"owner active", "by url active", "by words active"}) {
		t.Errorf("%q", names)
	}
	if !all[0].This || !all[0].Prime || all[1].Prime || all[1].AddedBy != owner.Account.Device {
		t.Errorf("%+v", all)
	}
}

func TestRefusalOnEitherSideAddsNothing(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	for _, giver := range []bool{true, false} {
		o := options(t, "x")
		_, err, given := pair(t, owner, o, false, giver, !giver)
		if !errors.Is(err, signet.ErrNotAllowed) || !errors.Is(given, signet.ErrNotAllowed) {
			t.Errorf("giver says %v: %v, %v", giver, err, given)
		}
		if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
			t.Error("something stays in the newcomer's home")
		}
	}
	if all := must[[]account.Listed](t)(account.List(t.Context(), owner.Account, owner.Directory, owner.Client)); len(all) != 1 {
		t.Errorf("%d devices", len(all))
	}
}

func TestInvitationsThatRanOutOrThatNobodyAnswersAreSaid(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	i := enrol.DeviceInvitation{Service: owner.Account.Service, Secret: enrol.NewSecret(), Org: owner.Account.Org, Ring: owner.Account.Ring,
		LogKeys: owner.Account.LogKeys, Certificate: owner.Account.Certificate, Expires: time.Now().Add(-time.Second)}
	no := func(context.Context, string, enrol.Code) (bool, error) { return false, nil }
	if _, err := account.LinkByURL(t.Context(), options(t, "x"), i, no); !errors.Is(err, enrol.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	i.Expires = time.Now().Add(100 * time.Millisecond)
	if _, err := account.LinkByURL(t.Context(), options(t, "x"), i, no); !errors.Is(err, enrol.ErrExpired) {
		t.Errorf("expired while nobody was there: %v", err)
	}
	defer account.Hurry(100*time.Millisecond, time.Minute)()
	i.Expires = time.Now().Add(time.Minute)
	if _, err := account.LinkByURL(t.Context(), options(t, "x"), i, no); !errors.Is(err, enrol.ErrNobody) {
		t.Errorf("nobody there: %v", err)
	}
	g := must[*account.Giving](t)(account.Give(t.Context(), owner.Account, owner.Keys, owner.Directory, owner.Client, time.Now().Add(time.Second)))
	if _, err := g.Add(t.Context(), nil); !errors.Is(err, enrol.ErrExpired) {
		t.Errorf("nobody came: %v", err)
	}
}

func TestNewcomerWhoseGiverWasKilledIsToldSo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	const soon = 500 * time.Millisecond
	for name, c := range map[string]struct {
		heard          bool // it was killed after it had answered
		answer         time.Duration
		link, words    time.Duration
		timeout        time.Duration
		byLink, byWord error
	}{
		"before it answers": {answer: soon, link: time.Minute, words: time.Minute, timeout: time.Minute,
			byLink: enrol.ErrNobody, byWord: enrol.ErrNobody},
		"at the code": {heard: true, answer: time.Minute, link: 2 * time.Second, words: soon, timeout: time.Minute,
			byLink: enrol.ErrExpired, byWord: enrol.ErrExpired},
		"and the newcomer's person gives it less time": {heard: true, answer: time.Minute, link: time.Minute, words: time.Minute, timeout: soon,
			byLink: context.DeadlineExceeded, byWord: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			defer account.Hurry(c.answer, c.words)()
			for _, byWords := range []bool{false, true} {
				until := time.Now().Add(time.Minute)
				if !byWords {
					until = time.Now().Add(c.link)
				}
				g := must[*account.Giving](t)(account.Give(t.Context(), owner.Account, owner.Keys, owner.Directory, owner.Client, until))
				heard := make(chan error, 1)
				if c.heard {
					go func() { heard <- g.Hear(t.Context()) }()
				} else {
					heard <- nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				o, want := options(t, "x"), c.byLink
				yes := func(context.Context, string, enrol.Code) (bool, error) { return true, <-heard }
				var err error
				if byWords {
					want = c.byWord
					_, err = account.LinkByWords(ctx, o, owner.Account.Service, g.Invitation.Secret, yes)
				} else {
					_, err = account.LinkByURL(ctx, o, g.Invitation, yes)
				}
				cancel()
				if !errors.Is(err, want) || errors.Is(err, enrol.ErrExpired) != (want == enrol.ErrExpired) {
					t.Errorf("by words %v: %v", byWords, err)
				}
				if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
					t.Error("something stays in the home")
				}
			}
		})
	}
}

func TestRenameAndRevoke(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	j, err, given := pair(t, owner, options(t, "laptop"), false, true, true)
	if err != nil || given != nil {
		t.Fatal(err, given)
	}
	ctx := t.Context()
	if err := j.SayName(ctx); err != nil {
		t.Fatal(err)
	}
	self := owner.Account.Self(owner.Keys)
	if err := account.Rename(ctx, owner.Account, self, owner.Directory, owner.Client, "laptop", "old laptop"); err != nil {
		t.Fatal(err)
	}
	all := must[[]account.Listed](t)(account.List(ctx, owner.Account, owner.Directory, owner.Client))
	if _, err := account.Choose(all, "laptop"); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("the old name: %v", err)
	}
	l := must[account.Listed](t)(account.Choose(all, "old laptop"))
	if l.Profile.Platform != account.Platform() {
		t.Errorf("platform %q", l.Profile.Platform)
	}
	if err := account.Revoke(ctx, self, owner.Directory, l.ID, time.Now); err != nil {
		t.Fatal(err)
	}
	all = must[[]account.Listed](t)(account.List(ctx, owner.Account, owner.Directory, owner.Client))
	if all[1].State != "revoked" {
		t.Errorf("%+v", all[1])
	}
	if err := j.Directory.SyncDirectory(ctx); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a revoked device reads on: %v", err)
	}
}

func TestRecoveryKitLetsANewDeviceInWhenAllAreLost(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	kit := must[enrol.RecoveryKit](t)(enrol.ParseRecoveryKit(account.NewKit(owner.Account, time.Now()).Format()))
	if err := account.TestRecovery(t.Context(), options(t, "x"), kit); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a kit that was not added: %v", err)
	}
	if _, err := account.AddRecovery(t.Context(), owner.Account.Self(owner.Keys), owner.Directory, kit); err != nil {
		t.Fatal(err)
	}
	o := options(t, "new")
	if err := account.TestRecovery(t.Context(), o, kit); err != nil {
		t.Error(err)
	}
	wrong := kit
	wrong.Secret[0]++
	if err := account.TestRecovery(t.Context(), o, wrong); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("a wrong secret: %v", err)
	}
	j, err := account.Recover(t.Context(), o, kit)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if !opens(j) || j.Account.Ring != owner.Account.Ring {
		t.Error("the recovered device has no key of the ring")
	}
}

func TestAccountFileThatIsDamagedOrNewerIsRefused(t *testing.T) {
	w := newWorld(t)
	o := options(t, "x")
	j := w.owner(o)
	path := o.Home.AccountFile(j.Account.Org)
	whole := must[[]byte](t)(os.ReadFile(path))
	for text, want := range map[string]error{
		"": account.ErrDamaged, "{}": account.ErrDamaged, string(whole[:len(whole)/2]): account.ErrDamaged,
		strings.Replace(string(whole), `"format": 1`, `"format": 2`, 1): account.ErrNewer,
		strings.Replace(string(whole), "ring_", "reg_", 1):              account.ErrDamaged,
	} {
		os.WriteFile(path, []byte(text), 0o600)
		if _, err := account.Find(o.Home); !errors.Is(err, want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestForgetLeavesNothing(t *testing.T) {
	w := newWorld(t)
	o := options(t, "x")
	j := w.owner(o)
	if err := account.Forget(o.Home, j.Account.Org); err != nil {
		t.Fatal(err)
	}
	if _, err := account.Find(o.Home); !errors.Is(err, account.ErrNotEnrolled) {
		t.Error(err)
	}
	if err := account.Forget(o.Home, j.Account.Org); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestWordsMeetOnlyTheServiceThatTheGiverKnows(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	elsewhere := *owner.Account
	elsewhere.Certificate[0]++ // what the giver knows is not what the newcomer is shown
	g := must[*account.Giving](t)(account.Give(t.Context(), &elsewhere, owner.Keys, owner.Directory, owner.Client, time.Now().Add(time.Minute)))
	o := options(t, "x")
	_, err := account.LinkByWords(t.Context(), o, owner.Account.Service, g.Invitation.Secret, nil)
	if !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("another service than the giver's: %v", err)
	}
	// By the link the connection itself is refused: no alarm, unreachable.
	if _, err := account.LinkByURL(t.Context(), o, g.Invitation, nil); !errors.Is(err, signet.ErrUnavailable) {
		t.Errorf("another certificate than the link's: %v", err)
	}
	if orgs, _ := o.Home.Organisations(); len(orgs) > 0 {
		t.Error("something stays in the newcomer's home")
	}
}
