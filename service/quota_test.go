package service

import (
	"errors"
	"sync"
	"testing"

	"signet"
	"signet/transport"
)

// wantCharged compares what the service has in memory with its database, and that
// with its rows.
func (b *bench) wantCharged() {
	b.t.Helper()
	wrong, err := b.db.Overcounts()
	if err != nil || len(wrong) > 0 {
		b.t.Errorf("charged wrongly: %+v, %v", wrong, err)
	}
	logs, err := b.db.Logs()
	must(b.t, err)
	owned := map[signet.RingID]int64{}
	for _, l := range logs {
		h := b.logs[l.ID]
		if h.Used != l.Used {
			b.t.Errorf("%s: %d in memory, %d stored", l.ID, h.Used, l.Used)
		}
		if h.journal != nil {
			owned[h.journal.Owner()] += l.Used
		}
	}
	for r, n := range owned {
		if b.owned[r] != n {
			b.t.Errorf("%s: %d in memory, %d stored", r, b.owned[r], n)
		}
	}
}

func (w *writer) usage() signet.Usage {
	w.b.t.Helper()
	u, err := w.session.Usage(w.b.t.Context(), w.region)
	must(w.b.t, err)
	return u
}

// commit appends an entry that names objects.
func (w *writer) commit(ids ...signet.ObjectID) error {
	w.b.t.Helper()
	own := w.own
	err := w.append(w.log(), w.entry(ids...))
	if err != nil {
		w.own = own
	}
	return err
}

// wantQuota checks that something was refused for want of room, and said so.
func wantQuota(t *testing.T, err error) {
	t.Helper()
	var e *transport.Error
	if !errors.As(err, &e) || e.Kind != transport.KindQuota || e.Hint == "" || !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("%v, want a refusal for want of room", err)
	}
}

func TestUsageIsThatOfRecordsAndNamedObjectsWhateverHappens(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	b.wantCharged()
	empty := w.usage()
	if empty.Used == 0 || empty.Used != empty.Region || empty.Limit != 0 {
		t.Errorf("usage of a new region: %+v", empty)
	}
	ids, _ := w.store(3, 100_000)
	b.wantCharged()
	if u := w.usage(); u != empty {
		t.Errorf("what no entry names counts: %+v, before %+v", u, empty)
	}
	must(t, w.commit(ids...))
	b.wantCharged()
	named := w.usage()
	if more := named.Used - empty.Used; more < 300_000 || more > 350_000 {
		t.Errorf("an entry with three objects of 100,000 bytes takes %d", more)
	}
	must(t, w.commit(ids...)) // named before
	b.wantCharged()
	again := w.usage()
	if more := again.Used - named.Used; more >= 50_000 {
		t.Errorf("objects that were named before count again: %d", more)
	}
	w.drop(ids[0], ids[1])
	b.wantCharged()
	less := w.usage()
	if less.Used >= again.Used {
		t.Errorf("after a collect %d, before %d", less.Used, again.Used)
	}
	b.reopen()
	w.connect()
	b.wantCharged()
	if u := w.usage(); u != less {
		t.Errorf("after a restart %+v, before %+v", u, less)
	}
	must(t, b.Service.reload())
	b.wantCharged()
}

func TestWithoutRoomOnlyWhatBringsNothingIsTaken(t *testing.T) {
	b := newBench(t)
	w := b.found().newRegion(1)
	must(t, w.commit())
	big, _ := w.store(1, 50_000)
	b.Service.config.Quota = w.usage().Used + 30_000
	wantQuota(t, w.commit(big...))
	b.wantCharged()
	small, _ := w.store(1, 10_000) // what does not fit is in nobody's way
	must(t, w.commit(small...))
	must(t, w.commit()) // a deletion
	wantQuota(t, w.session.Put(t.Context(), w.region, [][]byte{make([]byte, 40_000)}))
	b.wantCharged()

	// There is room again: what was uploaded is there still.
	b.Service.config.Quota += 100_000
	must(t, w.commit(big...))
	b.wantCharged()

	// Objects that are gone make room. An entry of these tests takes 10,000 itself.
	b.Service.config.Quota = w.usage().Used + 30_000
	next, _ := w.store(1, 4_000)
	must(t, w.commit(next...))
	wantQuota(t, w.session.Put(t.Context(), w.region, [][]byte{make([]byte, 40_000)}))
	w.drop(big...)
	more, _ := w.store(1, 40_000)
	must(t, w.commit(more...))
	b.wantCharged()
}

func TestRegionsOfAnOwnerShareItsLimit(t *testing.T) {
	b := newBench(t)
	anna := b.found()
	one, two := anna.newRegion(1), anna.newRegion(2)
	ids, _ := one.store(1, 20_000)
	must(t, one.commit(ids...))
	u := two.usage()
	if u.Used < u.Region+20_000 {
		t.Errorf("usage of the other region: %+v", u)
	}
	b.Service.config.Quota = u.Used + 10_000
	wantQuota(t, two.session.Put(t.Context(), two.region, [][]byte{make([]byte, 15_000)}))

	// An owner may have a limit of its own, which a running service takes up.
	dir := b.dir
	must(t, SetQuota(dir, anna.ring, 1<<20))
	b.rereadQuotas()
	if u := two.usage(); u.Limit != 1<<20 {
		t.Errorf("limit %d", u.Limit)
	}
	ids, _ = two.store(1, 15_000)
	must(t, two.commit(ids...))
	owners, err := Owners(dir, b.Service.config.Quota)
	must(t, err)
	if len(owners) != 1 || owners[0].Ring != anna.ring.String() || !owners[0].Own || owners[0].Limit != 1<<20 ||
		owners[0].Used != two.usage().Used || len(owners[0].Regions) != 2 {
		t.Errorf("owners %+v", owners)
	}
	must(t, SetQuota(dir, anna.ring, 0))
	b.rereadQuotas()
	if u := two.usage(); u.Limit != 0 {
		t.Errorf("limit %d, want none", u.Limit)
	}
	must(t, SetQuota(dir, anna.ring, -1))
	b.rereadQuotas()
	if u := two.usage(); u.Limit != b.Service.config.Quota {
		t.Errorf("limit %d, want that of all", u.Limit)
	}
}

// What comes at once is decided in one transaction, and counted one after the other.
func TestEntriesThatComeAtOnceDoNotGoOverTheLimitTogether(t *testing.T) {
	b := newBench(t)
	anna := b.found()
	var writers []*writer
	var records []signet.Record
	for i := range 8 {
		w := anna.newRegion(byte(1 + i))
		ids, _ := w.store(1, 100_000)
		writers, records = append(writers, w), append(records, w.entry(ids...))
	}
	limit := writers[0].usage().Used + 350_000
	b.Service.config.Quota = limit
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { errs[i] = w.append(w.log(), records[i]) })
	}
	wg.Wait()
	taken := 0
	for _, err := range errs {
		if err == nil {
			taken++
		} else {
			wantQuota(t, err)
		}
	}
	if u := writers[0].usage(); taken != 3 || u.Used > limit {
		t.Errorf("%d entries were taken, %d bytes of %d", taken, u.Used, limit)
	}
	b.wantCharged()
}
