// Package blobtest is what every blob.Store must do, and a store that fails on
// demand.
package blobtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"

	"signet"
	"signet/service/blob"
)

// A Harness makes stores over one place.
type Harness struct {
	// Open opens the store. marks are what its last Sync calls returned;
	// found gets what lies beyond them.
	Open func(t *testing.T, marks []blob.Mark, found func(blob.Found) error) blob.Store
}

// Run runs the suite; make gives each test a place of its own.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	t.Run("GetReturnsWhatWasPut", func(t *testing.T) { getReturnsWhatWasPut(t, make(t)) })
	t.Run("SyncedObjectsSurviveReopening", func(t *testing.T) { survive(t, make(t)) })
	t.Run("UnmarkedObjectsAreFoundAgain", func(t *testing.T) { foundAgain(t, make(t)) })
	t.Run("WritersDoNotDisturbEachOther", func(t *testing.T) { parallel(t, make(t)) })
	t.Run("FailedAndNothingHappened", func(t *testing.T) { failedNothing(t, make(t)) })
	t.Run("FailedButItDidHappen", func(t *testing.T) { failedHappened(t, make(t)) })
	t.Run("MissingPlaceIsNotFound", func(t *testing.T) { missing(t, make(t)) })
	t.Run("ClosedStoreRefuses", func(t *testing.T) { closed(t, make(t)) })
}

var region = signet.RegionID{1}

// Objects makes n random objects of size bytes.
func Objects(n, size int) []blob.Object {
	out := make([]blob.Object, n)
	for i := range out {
		b := make([]byte, size)
		rand.Read(b)
		out[i] = blob.Name(b)
	}
	return out
}

func nothing(t *testing.T) func(blob.Found) error {
	return func(f blob.Found) error {
		t.Errorf("found %s again, though a mark covers it", f.ID)
		return nil
	}
}

func put(t *testing.T, s blob.Store, objects []blob.Object) []blob.Place {
	t.Helper()
	places, err := s.Put(region, objects)
	if err != nil {
		t.Fatal(err)
	}
	if len(places) != len(objects) {
		t.Fatalf("%d places for %d objects", len(places), len(objects))
	}
	return places
}

func want(t *testing.T, s blob.Store, p blob.Place, o blob.Object) {
	t.Helper()
	got, err := s.Get(p, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != 'x' || !bytes.Equal(got[1:], o.Bytes) {
		t.Fatalf("object at %v differs from what was put", p)
	}
}

func getReturnsWhatWasPut(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	defer s.Close()
	var all []blob.Object
	for _, size := range []int{0, 1, 100, 64 << 10, 1<<20 + 7, 4 << 20} {
		all = append(all, Objects(3, size)...)
	}
	for i, p := range put(t, s, all) {
		want(t, s, p, all[i])
	}
	if _, err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func survive(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	all := Objects(50, 10_000)
	places := put(t, s, all)
	marks, err := s.Sync()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Sync(); err != nil || len(again) != 0 {
		t.Errorf("second sync: %v, %v; want nothing to do", again, err)
	}
	s.Close()
	s = h.Open(t, marks, nothing(t))
	defer s.Close()
	for i, p := range places {
		want(t, s, p, all[i])
	}
}

func foundAgain(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	known := Objects(5, 1000)
	put(t, s, known)
	marks, err := s.Sync()
	if err != nil {
		t.Fatal(err)
	}
	all := Objects(20, 100_000)
	places := put(t, s, all)
	s.Close()
	again := map[signet.ObjectID]blob.Place{}
	s = h.Open(t, marks, func(f blob.Found) error {
		if f.Region != region {
			t.Errorf("found in %s, want %s", f.Region, region)
		}
		again[f.ID] = f.Place
		return nil
	})
	defer s.Close()
	if len(again) != len(all) {
		t.Errorf("found %d again, want %d", len(again), len(all))
	}
	for i, o := range all {
		if again[o.ID] != places[i] {
			t.Errorf("object %d found at %v, was put at %v", i, again[o.ID], places[i])
		}
	}
}

func parallel(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	defer s.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				all := Objects(7, 30_000)
				places, err := s.Put(region, all)
				if err != nil {
					t.Error(err)
					return
				}
				for i, p := range places {
					if got, err := s.Get(p, nil); err != nil || !bytes.Equal(got, all[i].Bytes) {
						t.Errorf("object at %v: %v", p, err)
					}
				}
				if _, err := s.Sync(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func failedNothing(t *testing.T, h Harness) {
	f := &Faulty{Store: h.Open(t, nil, nothing(t))}
	defer f.Close()
	all := Objects(3, 5000)
	f.FailPut = 1
	if _, err := f.Put(region, all); !errors.Is(err, ErrInjected) {
		t.Fatalf("got %v, want the injected failure", err)
	}
	for i, p := range put(t, f, all) {
		want(t, f, p, all[i])
	}
}

func failedHappened(t *testing.T, h Harness) {
	f := &Faulty{Store: h.Open(t, nil, nothing(t)), Happens: true}
	all := Objects(3, 5000)
	f.FailPut = 1
	if _, err := f.Put(region, all); !errors.Is(err, ErrInjected) {
		t.Fatalf("got %v, want the injected failure", err)
	}
	places := put(t, f, all) // again: the same objects twice are harmless
	f.FailSync = 1
	if _, err := f.Sync(); !errors.Is(err, ErrInjected) {
		t.Fatalf("got %v, want the injected failure", err)
	}
	for i, p := range places {
		want(t, f, p, all[i])
	}
	f.Close()
	found := map[signet.ObjectID]int{}
	s := h.Open(t, nil, func(x blob.Found) error { found[x.ID]++; return nil })
	defer s.Close()
	for _, o := range all {
		if found[o.ID] != 2 {
			t.Errorf("%s found %d times, want 2", o.ID, found[o.ID])
		}
	}
}

func missing(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	defer s.Close()
	places := put(t, s, Objects(1, 100))
	beyond := places[0]
	beyond.Offset += 1 << 20
	for _, p := range []blob.Place{{Pack: 999, Offset: 100, Length: 10}, beyond} {
		if _, err := s.Get(p, nil); !errors.Is(err, signet.ErrNotFound) {
			t.Errorf("Get(%v): %v, want ErrNotFound", p, err)
		}
	}
}

func closed(t *testing.T, h Harness) {
	s := h.Open(t, nil, nothing(t))
	s.Close()
	if _, err := s.Put(region, Objects(1, 10)); err == nil {
		t.Error("a closed store took an object")
	}
}

// ErrInjected is what a Faulty store fails with.
var ErrInjected = errors.New("injected failure")

// A Faulty store fails when told, having done its work or not.
type Faulty struct {
	blob.Store
	mu       sync.Mutex
	FailPut  int  // so many calls of Put fail
	FailSync int  // so many calls of Sync fail
	Happens  bool // though what they should do is done
}

func (f *Faulty) fails(n *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *n == 0 {
		return false
	}
	*n--
	return true
}

// Put implements blob.Store.
func (f *Faulty) Put(r signet.RegionID, objects []blob.Object) ([]blob.Place, error) {
	if !f.fails(&f.FailPut) {
		return f.Store.Put(r, objects)
	}
	if f.Happens {
		f.Store.Put(r, slices.Clone(objects))
	}
	return nil, ErrInjected
}

// Sync implements blob.Store.
func (f *Faulty) Sync() ([]blob.Mark, error) {
	if !f.fails(&f.FailSync) {
		return f.Store.Sync()
	}
	if f.Happens {
		f.Store.Sync()
	}
	return nil, ErrInjected
}
