package account_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/device/account"
	"signet/transport"
)

// A spoiler is a service that may change the pages that it shows.
type spoiler struct {
	transport.Backend
	page atomic.Pointer[func(*signet.Page)]
}

func (s *spoiler) Connect(ctx context.Context, d signet.DeviceID, binding, signature []byte) (transport.Session, error) {
	x, err := s.Backend.Connect(ctx, d, binding, signature)
	return spoiled{x, s}, err
}

type spoiled struct {
	transport.Session
	by *spoiler
}

func (s spoiled) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	p, err := s.Session.Read(ctx, log, from, parts)
	if f := s.by.page.Load(); err == nil && f != nil {
		(*f)(&p)
	}
	return p, err
}

func TestNewcomerTakesNoStatementThatTheServiceDidNotSign(t *testing.T) {
	w := newWorld(t)
	owner := w.owner(options(t, "owner"))
	self := owner.Account.Self(owner.Keys)
	allow := func(s *ring.State, _ *region.Keys) (signet.Record, error) {
		k, err := key.Generate()
		if err != nil {
			return signet.Record{}, err
		}
		return self.AllowConnector(s, &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: k.Public()})
	}
	leaves := func() (n uint64) {
		owner.Directory.Directory(func(s *ring.State, _ *region.Keys) { n = s.Size() })
		return n
	}
	if err := owner.Directory.SyncDirectory(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := leaves()
	var shown signet.Record
	owner.Directory.Directory(func(s *ring.State, k *region.Keys) { shown = must[signet.Record](t)(allow(s, k)) })
	st := must[*ring.Statement](t)(ring.Parse(shown.Head))
	shown.Leaf = ring.LeafOf(st, time.Now().UnixMilli()).Append(nil)

	more := func(p *signet.Page) {
		p.Records = append(p.Records[:len(p.Records):len(p.Records)], shown)
	}
	w.spoiler.page.Store(&more)
	if err := owner.Directory.SyncDirectory(t.Context()); err != nil {
		t.Error(err)
	}
	if got := leaves(); got != n {
		t.Errorf("%d leaves count, %d are signed", got, n)
	}
	w.spoiler.page.Store(nil)
	if err := owner.Directory.AppendStatement(t.Context(), allow); err != nil {
		t.Errorf("another statement in its place: %v", err)
	}
	if got := leaves(); got != n+1 {
		t.Errorf("%d leaves, want %d", got, n+1)
	}

	// Nor does it follow a service that takes back what it signed.
	before := must[signet.Page](t)(owner.Client.Read(t.Context(), signet.Directory(owner.Account.Org), n+1, signet.Whole))
	for range 2 {
		if err := owner.Directory.AppendStatement(t.Context(), allow); err != nil {
			t.Fatal(err)
		}
	}
	cut := func(p *signet.Page) {
		if p.From == 0 {
			p.Records = p.Records[:n+2]
		} else {
			p.Records, p.Checkpoint = nil, before.Checkpoint
		}
	}
	kit := account.NewKit(owner.Account, time.Now())
	must[signet.DeviceID](t)(account.AddRecovery(t.Context(), self, owner.Directory, kit))
	w.spoiler.page.Store(&cut)
	err := account.TestRecovery(t.Context(), options(t, "newcomer"), kit)
	if !errors.Is(err, signet.ErrNotVerified) || !strings.Contains(err.Error(), "of them signed") {
		t.Errorf("a service that takes back what it signed: %v", err)
	}
}
