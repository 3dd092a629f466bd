package engine_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"signet"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/region"
	"signet/core/ring"
	"signet/core/tree"
	"signet/device/account"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/keystore"
	"signet/service"
	"signet/transport"
)

// A liar shows a device more than the service signed.
type liar struct {
	*transport.Client
	page   func(*signet.Page)
	append func(signet.Record) error
}

func (l *liar) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	p, err := l.Client.Read(ctx, log, from, parts)
	if err == nil && l.page != nil {
		l.page(&p)
	}
	return p, err
}

func (l *liar) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	if l.append != nil {
		if err := l.append(r); err != nil {
			return signet.Receipt{}, err
		}
	}
	return l.Client.Append(ctx, log, r, sent)
}

// shows makes the liar add a record to each page of a log that ends where it
// would come.
func (l *liar) shows(log signet.LogID, at uint64, r signet.Record) {
	l.page = func(p *signet.Page) {
		if p.Log == log && p.From+uint64(len(p.Records)) == at {
			p.Records = append(p.Records[:len(p.Records):len(p.Records)], r)
		}
	}
}

// A victim is a device of an organisation's owner, with an index of its own.
type victim struct {
	*engine.Device
	t      testing.TB
	liar   *liar
	joined *account.Joined
	index  string
	store  *engine.Store
}

func found(t testing.TB) *account.Joined {
	t.Helper()
	dir := t.TempDir()
	logKey, err := key.Generate()
	must(t, err)
	s, err := service.Open(service.Config{Data: dir, Key: logKey, Version: "test"})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, s.SetAddress("http://"+l.Addr().String(), nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, l, nil, transport.NewHandler(s, transport.Limits{Drain: time.Second, PublicRate: 1e6}, slog.New(slog.DiscardHandler)))
	}()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	i, err := (&service.Inviter{Data: dir, LogKey: logKey.Public(), Clock: time.Now}).Invite("alice")
	must(t, err)
	invite, err := ring.ParseInvite(i.URL)
	must(t, err)
	j, err := account.Redeem(t.Context(), account.Options{Home: home.Dir(filepath.Join(t.TempDir(), "home")), Use: keystore.Never, Now: time.Now, Name: "a", Version: "test"}, invite)
	must(t, err)
	t.Cleanup(func() { j.Close() })
	return j
}

func newVictim(t testing.TB, j *account.Joined) *victim {
	v := &victim{t: t, liar: &liar{Client: j.Client}, joined: j, index: filepath.Join(t.TempDir(), "index")}
	v.open()
	t.Cleanup(func() { v.store.Close() })
	return v
}

func (v *victim) open() {
	v.t.Helper()
	var err error
	v.store, err = engine.OpenStore(v.index)
	must(v.t, err)
	v.Device, err = engine.Open(engine.Config{Self: v.joined.Account.Self(v.joined.Keys), Service: v.liar, Store: v.store, Now: time.Now, LogKeys: v.joined.Account.LogKeys})
	must(v.t, err)
}

// reopen is a restart: what counts is what was stored.
func (v *victim) reopen() {
	v.t.Helper()
	must(v.t, v.store.Close())
	v.open()
}

func (v *victim) leaves() (n uint64) {
	v.Directory(func(s *ring.State, _ *region.Keys) { n = s.Size() })
	return n
}

func (v *victim) entries(id signet.RegionID) (n uint64) {
	v.WithRegion(id, func(r *region.Region) error { n = r.State.Size(); return nil })
	return n
}

func (v *victim) mkdir(id signet.RegionID, name string) error {
	return v.Put(v.t.Context(), id, func(*tree.Tree) ([]tree.Op, error) {
		op := tree.Op{Kind: tree.Create, Type: tree.Dir, Parent: signet.RootNode, Name: name, Mode: 0o755}
		rand.Read(op.Node[:])
		return []tree.Op{op}, nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// statement is a valid one of the victim's ring that the service does not have.
func (v *victim) statement() signet.Record {
	v.t.Helper()
	k, err := key.Generate()
	must(v.t, err)
	self := v.joined.Account.Self(v.joined.Keys)
	var rec signet.Record
	v.Directory(func(s *ring.State, _ *region.Keys) {
		rec, err = self.AllowConnector(s, &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: k.Public()})
	})
	must(v.t, err)
	st, err := ring.Parse(rec.Head)
	must(v.t, err)
	rec.Leaf = ring.LeafOf(st, time.Now().UnixMilli()).Append(nil)
	return rec
}

func TestStatementThatTheServiceShowsAndDoesNotSignIsNotTaken(t *testing.T) {
	j := found(t)
	v := newVictim(t, j)
	must(t, v.SyncDirectory(t.Context()))
	n, log := v.leaves(), signet.Directory(j.Account.Org)
	shown, other := v.statement(), v.statement()

	v.liar.shows(log, n, shown)
	for _, again := range []*victim{v, newVictim(t, j)} {
		again.liar.page = v.liar.page
		must(t, again.SyncDirectory(t.Context()))
		if got := again.leaves(); got != n {
			t.Errorf("%d leaves count, %d are signed", got, n)
		}
		again.reopen()
		if got := again.leaves(); got != n {
			t.Errorf("%d leaves are stored, %d are signed", got, n)
		}
		again.liar.page = nil
	}
	// The others see another statement in its place, and so does the victim.
	_, err := j.Client.Append(t.Context(), log, signet.Record{Head: other.Head, Blob: other.Blob}, time.Now().UnixMilli())
	must(t, err)
	must(t, v.SyncDirectory(t.Context()))
	if got := v.leaves(); got != n+1 || len(v.Alarms()) > 0 {
		t.Errorf("%d leaves, want %d; alarms %v", got, n+1, v.Alarms())
	}
}

func TestStatementUnderAnAnswerThatIsTakenBackIsNotTaken(t *testing.T) {
	j := found(t)
	v := newVictim(t, j)
	must(t, v.SyncDirectory(t.Context()))
	n, log := v.leaves(), signet.Directory(j.Account.Org)
	shown := v.statement()
	before, err := j.Client.Read(t.Context(), log, n, signet.Whole)
	must(t, err)
	for range 2 {
		must(t, newVictim(t, j).AppendStatement(t.Context(), func(s *ring.State, _ *region.Keys) (signet.Record, error) {
			self := j.Account.Self(j.Keys)
			k, err := key.Generate()
			must(t, err)
			return self.AllowConnector(s, &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: k.Public()})
		}))
	}
	// The first answer says that more follows; the second is from before it.
	v.liar.page = func(p *signet.Page) {
		if p.From == n {
			p.Records = []signet.Record{shown}
		} else {
			p.Records, p.Checkpoint = nil, before.Checkpoint
		}
	}
	if err := v.SyncDirectory(t.Context()); !errors.Is(err, signet.ErrNotVerified) {
		t.Errorf("a service that takes back what it signed: %v", err)
	}
	if got := v.leaves(); got != n {
		t.Errorf("%d leaves count, %d were accepted", got, n)
	}
	v.liar.page = nil
	v.reopen()
	must(t, v.SyncDirectory(t.Context()))
	if got := v.leaves(); got != n+2 {
		t.Errorf("%d leaves, want %d", got, n+2)
	}
}

func TestEntryThatTheServiceShowsAndDoesNotSignIsNotTaken(t *testing.T) {
	j := found(t)
	writer := newVictim(t, j)
	id, _, err := writer.MakeRegion(t.Context(), "docs")
	must(t, err)
	for n := range byte(10) {
		must(t, writer.mkdir(id, string('a'+rune(n))))
	}
	n := writer.entries(id)
	// An entry that its device signed and the service never ordered.
	var shown signet.Record
	refused := errors.New("kept back")
	writer.liar.append = func(r signet.Record) error { shown = r; return refused }
	if err := writer.mkdir(id, "shown"); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	writer.liar.append = nil
	hash, err := journal.HashOf(shown.Head)
	must(t, err)
	shown.Leaf = journal.Leaf{Hash: hash, Time: time.Now().UnixMilli()}.Append(nil)

	reader, newcomer := newVictim(t, j), newVictim(t, j)
	must(t, reader.SyncDirectory(t.Context()))
	must(t, reader.SyncRegion(t.Context(), id))
	for name, v := range map[string]*victim{"one that has the journal": reader, "one that reads it first": newcomer} {
		must(t, v.SyncDirectory(t.Context()))
		v.liar.shows(signet.Journal(id), n, shown)
		must(t, v.SyncRegion(t.Context(), id))
		if got := v.entries(id); got != n {
			t.Errorf("%s: %d entries count, %d are signed", name, got, n)
		}
		v.reopen()
		if got := v.entries(id); got != n {
			t.Errorf("%s: %d entries are stored, %d are signed", name, got, n)
		}
		v.liar.page = nil
	}
	must(t, writer.mkdir(id, "other"))
	for _, v := range []*victim{reader, newcomer} {
		must(t, v.SyncRegion(t.Context(), id))
		if got := v.entries(id); got != n+1 || len(v.Alarms()) > 0 {
			t.Errorf("%d entries, want %d; alarms %v", got, n+1, v.Alarms())
		}
	}
}

func TestHeadersThatNoCheckpointCoveredAreNotStored(t *testing.T) {
	j := found(t)
	writer := newVictim(t, j)
	id, _, err := writer.MakeRegion(t.Context(), "docs")
	must(t, err)
	for n := range byte(10) {
		must(t, writer.mkdir(id, string('a'+rune(n))))
	}
	n := writer.entries(id)
	v := newVictim(t, j)
	must(t, v.SyncDirectory(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	v.liar.page = func(p *signet.Page) {
		if p.Log == signet.Journal(id) && p.From == 0 {
			p.Records = p.Records[:4]
			cancel() // and then it does not answer
		}
	}
	if err := v.SyncRegion(ctx, id); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := v.entries(id); got != 0 {
		t.Errorf("%d headers count", got)
	}
	v.liar.page = nil
	must(t, v.SyncRegion(t.Context(), id))
	if got := v.entries(id); got != n {
		t.Errorf("%d entries, want %d", got, n)
	}
}
