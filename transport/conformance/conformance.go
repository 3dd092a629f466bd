// Package conformance says in tests what signet.Log, signet.Chunks and sealed
// records promise, for every implementation of transport.Session: the service
// itself, the service behind HTTP, the one in memory, a simulated one.
package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/transport"
)

// A Subject is what a test is run on. It is fresh for each test.
type Subject struct {
	// Session and Second are sessions of two devices that may read and write Log
	// and Region; Device is the first.
	Session, Second transport.Session
	Device          signet.DeviceID
	Log             signet.LogID
	Region          signet.RegionID
	// Next makes a record that Session may append to Log now, after those
	// that Next made before, and the time to send with it.
	Next func(t *testing.T) (signet.Record, int64)
	// NewLog brings a log into being that Second is offered from then on.
	NewLog func(t *testing.T) signet.LogID
	// Sealed makes a sealed record that Session may store, and its owner.
	Sealed func(t *testing.T) (owner [32]byte, record []byte)
	// Receipt checks a receipt of r, beyond what is checked here; may be nil.
	Receipt func(t *testing.T, r signet.Record, c signet.Receipt)
}

// Run runs the suite; open makes a subject and leaves its end to t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"AppendIsReadBack", appendIsReadBack},
		{"AppendOfTheSameBytesGivesTheSamePosition", appendTwice},
		{"ReadComesInPagesWithoutGaps", readPages},
		{"ReadReturnsTheAskedPartsOnly", readParts},
		{"ReadAtTheEndGivesACheckpointOnly", readEnd},
		{"ReadOfAnUnknownLogIsRefused", readUnknown},
		{"WaitShowsWhatIsThereAndWakesOnAppend", waitWakes},
		{"WaitOffersNewLogs", waitOffers},
		{"WaitSaysWhenWhatWasThereIsThrough", waitSays},
		{"WaitEndsWithItsCallbackAndItsContext", waitEnds},
		{"WhatIsShownGoesToOthersWhoWait", showPasses},
		{"PutObjectsAreHadAndGot", putGet},
		{"BigObjectsComeBack", bigObjects},
		{"ManySmallObjectsComeBack", smallObjects},
		{"PutTwiceIsHarmless", putTwice},
		{"GetOfAMissingObjectIsNotFound", getMissing},
		{"GetEndsWithItsCallback", getEnds},
		{"TransfersRunSideBySide", sideBySide},
		{"SealedRecordsAreReadBack", sealedRecords},
		{"WhatWasNotRestoredRecoversNothing", notRestored},
		{"ARegionIsPartOfWhatItsOwnerUses", usage},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add appends one record.
func (s *Subject) add(t *testing.T) (signet.Record, signet.Receipt) {
	t.Helper()
	r, sent := s.Next(t)
	c, err := s.Session.Append(within(t), s.Log, r, sent)
	must(t, err)
	if len(c.Leaf) == 0 || len(c.Checkpoint) == 0 {
		t.Fatalf("receipt with a leaf of %d and a checkpoint of %d bytes", len(c.Leaf), len(c.Checkpoint))
	}
	if s.Receipt != nil {
		s.Receipt(t, r, c)
	}
	return r, c
}

// size reads a log to its end.
func (s *Subject) size(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	for {
		p, err := s.Second.Read(within(t), s.Log, n, signet.LeafOnly)
		must(t, err)
		if len(p.Records) == 0 {
			return n
		}
		n += uint64(len(p.Records))
	}
}

func sameRecord(t *testing.T, got, sent signet.Record, leaf []byte) {
	t.Helper()
	if !bytes.Equal(got.Head, sent.Head) || !bytes.Equal(got.Blob, sent.Blob) || !bytes.Equal(got.Leaf, leaf) {
		t.Fatalf("record with a head of %d, a blob of %d bytes, leaf %x; appended %d, %d, %x",
			len(got.Head), len(got.Blob), got.Leaf, len(sent.Head), len(sent.Blob), leaf)
	}
}

func appendIsReadBack(t *testing.T, s Subject) {
	r, c := s.add(t)
	for _, from := range []signet.Log{s.Session, s.Second} {
		p, err := from.Read(within(t), s.Log, c.Position, signet.Whole)
		must(t, err)
		if p.Log != s.Log || p.From != c.Position || len(p.Records) != 1 || len(p.Checkpoint) == 0 {
			t.Fatalf("page of %s from %d with %d records", p.Log, p.From, len(p.Records))
		}
		sameRecord(t, p.Records[0], r, c.Leaf)
	}
}

func appendTwice(t *testing.T, s Subject) {
	r, sent := s.Next(t)
	a, err := s.Session.Append(within(t), s.Log, r, sent)
	must(t, err)
	b, err := s.Session.Append(within(t), s.Log, r, sent)
	must(t, err)
	if a.Position != b.Position || !bytes.Equal(a.Leaf, b.Leaf) {
		t.Fatalf("appended at %d, then at %d", a.Position, b.Position)
	}
	if n := s.size(t); n != a.Position+1 {
		t.Fatalf("log of %d records after one append at %d", n, a.Position)
	}
}

func readPages(t *testing.T, s Subject) {
	start := s.size(t)
	var want []signet.Record
	var leaves [][]byte
	for range 130 {
		r, c := s.add(t)
		if c.Position != start+uint64(len(want)) {
			t.Fatalf("append %d got position %d", len(want), c.Position)
		}
		want, leaves = append(want, r), append(leaves, c.Leaf)
	}
	at := 0
	for at < len(want) {
		p, err := s.Second.Read(within(t), s.Log, start+uint64(at), signet.Whole)
		must(t, err)
		if len(p.Records) == 0 || p.From != start+uint64(at) {
			t.Fatalf("page from %d with %d records, asked from %d", p.From, len(p.Records), start+uint64(at))
		}
		for _, r := range p.Records {
			sameRecord(t, r, want[at], leaves[at])
			at++
		}
	}
}

func readParts(t *testing.T, s Subject) {
	r, c := s.add(t)
	for _, parts := range []signet.Parts{signet.LeafOnly, signet.WithHead, signet.WithBlob, signet.Whole} {
		p, err := s.Session.Read(within(t), s.Log, c.Position, parts)
		must(t, err)
		want := r
		if parts&signet.WithHead == 0 {
			want.Head = nil
		}
		if parts&signet.WithBlob == 0 {
			want.Blob = nil
		}
		sameRecord(t, p.Records[0], want, c.Leaf)
	}
}

func readEnd(t *testing.T, s Subject) {
	_, c := s.add(t)
	p, err := s.Session.Read(within(t), s.Log, c.Position+1, signet.Whole)
	must(t, err)
	if len(p.Records) != 0 || len(p.Checkpoint) == 0 {
		t.Fatalf("%d records and a checkpoint of %d bytes", len(p.Records), len(p.Checkpoint))
	}
}

func readUnknown(t *testing.T, s Subject) {
	var id signet.RegionID
	rand.Read(id[:])
	_, err := s.Session.Read(within(t), signet.Journal(id), 0, signet.Whole)
	if !errors.Is(err, signet.ErrNotFound) && !errors.Is(err, signet.ErrNotAllowed) {
		t.Fatalf("got %v", err)
	}
}

var errEnough = errors.New("enough")

func waitWakes(t *testing.T, s Subject) {
	_, first := s.add(t)
	heads := map[signet.LogID]uint64{s.Log: first.Position}
	seen, last := first.Position, first.Position
	err := s.Second.Wait(within(t), heads, func(p signet.Page) error {
		if p.Log != s.Log {
			return nil
		}
		if p.From > seen || len(p.Checkpoint) == 0 {
			t.Errorf("page from %d, seen up to %d", p.From, seen)
		}
		seen = max(seen, p.From+uint64(len(p.Records)))
		if seen <= last {
			return nil
		}
		// What was there has come: the next must come by itself.
		if last == first.Position+3 {
			return errEnough
		}
		_, c := s.add(t)
		last = c.Position
		return nil
	}, nil)
	if !errors.Is(err, errEnough) {
		t.Fatalf("wait ended with %v", err)
	}
}

func waitOffers(t *testing.T, s Subject) {
	_, c := s.add(t)
	var made signet.LogID
	err := s.Second.Wait(within(t), map[signet.LogID]uint64{s.Log: c.Position}, func(p signet.Page) error {
		if p.Log == s.Log && made.Kind == 0 {
			made = s.NewLog(t)
		}
		if made.Kind != 0 && p.Log == made {
			if p.From != 0 {
				t.Errorf("a new log is offered from %d", p.From)
			}
			return errEnough
		}
		return nil
	}, nil)
	if !errors.Is(err, errEnough) {
		t.Fatalf("wait ended with %v", err)
	}
}

func waitSays(t *testing.T, s Subject) {
	s.add(t)
	seen := false
	err := s.Second.Wait(within(t), nil, func(p signet.Page) error {
		seen = seen || p.Log == s.Log && len(p.Records) > 0
		if p.Log.Kind == signet.DirectoryLog && len(p.Records) == 0 {
			return errEnough
		}
		return nil
	}, nil)
	if !errors.Is(err, errEnough) || !seen {
		t.Fatalf("wait ended with %v; the log was shown before: %v", err, seen)
	}
}

func waitEnds(t *testing.T, s Subject) {
	_, c := s.add(t)
	heads := map[signet.LogID]uint64{s.Log: c.Position}
	if err := s.Second.Wait(within(t), heads, func(signet.Page) error { return errEnough }, nil); !errors.Is(err, errEnough) {
		t.Fatalf("wait whose callback failed ended with %v", err)
	}
	ctx, cancel := context.WithCancel(within(t))
	err := s.Second.Wait(ctx, heads, func(signet.Page) error {
		cancel()
		return nil
	}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled wait ended with %v", err)
	}
}

func showPasses(t *testing.T, s Subject) {
	seen, err := s.Session.Show(within(t), s.Region, []byte("to nobody"))
	must(t, err)
	if seen {
		t.Error("somebody saw what was shown to nobody")
	}
	var got []signet.Glimpse
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	want := [][]byte{[]byte("a glimpse"), make([]byte, transport.MaxGlimpse)}
	err = s.Second.Wait(ctx, nil, func(p signet.Page) error {
		if p.Log.Kind != signet.DirectoryLog || len(p.Records) > 0 {
			return nil
		}
		for _, b := range want { // all that there was is through: the stream waits
			if seen, err := s.Session.Show(within(t), s.Region, b); err != nil || !seen {
				t.Errorf("shown to a stream that waits: %v, %v", seen, err)
			}
		}
		// One's own streams are told nothing.
		if seen, err := s.Second.Show(within(t), s.Region, want[0]); err != nil || seen {
			t.Errorf("shown to itself: %v, %v", seen, err)
		}
		return nil
	}, func(g signet.Glimpse) {
		if got = append(got, g); len(got) == len(want) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(got) != len(want) {
		t.Fatalf("%d of %d were shown: %v", len(got), len(want), err)
	}
	for i, g := range got {
		if g.Region != s.Region || g.From != s.Device || !bytes.Equal(g.Sealed, want[i]) {
			t.Errorf("glimpse %d came as %d bytes of %s in %s", i, len(g.Sealed), g.From, g.Region)
		}
	}
	if _, err := s.Session.Show(within(t), s.Region, make([]byte, transport.MaxGlimpse+1)); err == nil {
		t.Error("one that is too large was taken")
	}
}

// random makes an object of n bytes.
func random(n int) ([]byte, signet.ObjectID) {
	b := make([]byte, n)
	rand.Read(b)
	return b, sha256.Sum256(b)
}

func randoms(sizes ...int) (objects [][]byte, ids []signet.ObjectID) {
	for _, n := range sizes {
		b, id := random(n)
		objects, ids = append(objects, b), append(ids, id)
	}
	return objects, ids
}

// got reads objects and checks each against its id.
func (s *Subject) got(t *testing.T, from signet.Chunks, ids []signet.ObjectID) {
	t.Helper()
	seen := make(map[signet.ObjectID]int)
	err := from.Get(within(t), s.Region, ids, func(id signet.ObjectID, o []byte) error {
		if sha256.Sum256(o) != id {
			t.Errorf("%s came with other bytes", id)
		}
		seen[id]++
		return nil
	})
	if err != nil {
		t.Error(err)
		return
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("%s came %d times", id, seen[id])
		}
	}
}

func putGet(t *testing.T, s Subject) {
	objects, ids := randoms(1, 100, 1000, 64<<10)
	missing, err := s.Session.Have(within(t), s.Region, ids)
	must(t, err)
	if len(missing) != len(ids) {
		t.Fatalf("%d of %d objects are there before they were put", len(ids)-len(missing), len(ids))
	}
	must(t, s.Session.Put(within(t), s.Region, objects[1:]))
	missing, err = s.Session.Have(within(t), s.Region, ids)
	must(t, err)
	if len(missing) != 1 || missing[0] != ids[0] {
		t.Fatalf("missing are %v, want %s alone", missing, ids[0])
	}
	s.got(t, s.Session, ids[1:])
}

func bigObjects(t *testing.T, s Subject) {
	objects, ids := randoms(4<<20+200<<10, 3<<20, 300<<10, 4<<20, 4<<20, 5<<20, 1)
	must(t, s.Session.Put(within(t), s.Region, objects))
	// Other bytes through the same buffers must not touch what is kept.
	more, moreIDs := randoms(4<<20, 4<<20)
	must(t, s.Session.Put(within(t), s.Region, more))
	s.got(t, s.Session, append(ids, moreIDs...))
}

func smallObjects(t *testing.T, s Subject) {
	sizes := make([]int, 5000)
	for i := range sizes {
		sizes[i] = 40 + i%700
	}
	objects, ids := randoms(sizes...)
	must(t, s.Session.Put(within(t), s.Region, objects))
	missing, err := s.Session.Have(within(t), s.Region, ids)
	must(t, err)
	if len(missing) != 0 {
		t.Fatalf("%d objects are missing", len(missing))
	}
	s.got(t, s.Session, ids)
}

func putTwice(t *testing.T, s Subject) {
	objects, ids := randoms(500, 700)
	must(t, s.Session.Put(within(t), s.Region, objects))
	must(t, s.Session.Put(within(t), s.Region, append(objects, objects[0])))
	s.got(t, s.Session, ids)
}

func getMissing(t *testing.T, s Subject) {
	objects, ids := randoms(500, 700, 900)
	must(t, s.Session.Put(within(t), s.Region, objects[:2]))
	err := s.Session.Get(within(t), s.Region, ids, func(signet.ObjectID, []byte) error { return nil })
	if !errors.Is(err, signet.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func getEnds(t *testing.T, s Subject) {
	objects, ids := randoms(500, 700, 900)
	must(t, s.Session.Put(within(t), s.Region, objects))
	err := s.Session.Get(within(t), s.Region, ids, func(signet.ObjectID, []byte) error { return errEnough })
	if !errors.Is(err, errEnough) {
		t.Fatalf("got %v", err)
	}
	s.got(t, s.Session, ids)
}

func sideBySide(t *testing.T, s Subject) {
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			objects, ids := randoms(1<<20, 200<<10, 40, 3000)
			if err := s.Session.Put(within(t), s.Region, objects); err != nil {
				t.Error(err)
				return
			}
			s.got(t, s.Session, ids)
		})
	}
	wg.Wait()
}

func sealedRecords(t *testing.T, s Subject) {
	owner, record := s.Sealed(t)
	must(t, s.Session.PutRecord(within(t), record))
	records, err := s.Session.Records(within(t), owner)
	must(t, err)
	for _, r := range records {
		if bytes.Equal(r, record) {
			return
		}
	}
	t.Fatalf("%d records of the owner, not the one that was put", len(records))
}

func usage(t *testing.T, s Subject) {
	u, err := s.Session.Usage(within(t), s.Region)
	must(t, err)
	if u.Region < 0 || u.Used < u.Region || u.Limit < 0 {
		t.Errorf("usage %+v", u)
	}
}

func notRestored(t *testing.T, s Subject) {
	logs, err := s.Session.Recovering(within(t))
	must(t, err)
	if len(logs) != 0 {
		t.Errorf("%d logs wait for re-offers", len(logs))
	}
}
