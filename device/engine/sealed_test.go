package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"path/filepath"
	"testing"

	"signet"
	"signet/core/seal"
)

// What is known in memory answers as the table does, whenever it was begun.
func TestWhatWasSealedIsFoundWithAndWithoutTheMemory(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	region, other := signet.RegionID{1}, signet.RegionID{2}
	pid := func(i int) [32]byte { return sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i))) }
	ref := func(i int) (r seal.Ref) {
		r.Object, r.Key, r.Size = signet.ObjectID(pid(i+1e6)), pid(i+2e6), uint32(i)
		return r
	}
	note := func(from, to int) {
		t.Helper()
		var rows []sealedRow
		for i := from; i < to; i++ {
			rows = append(rows, sealedRow{pid(i), ref(i)})
		}
		if err := s.noteSealed(region, rows); err != nil {
			t.Fatal(err)
		}
	}
	look := func(when string, to int) {
		t.Helper()
		for i := range to + 50 {
			got, ok, err := s.sealedAs(region, pid(i))
			if err != nil || ok != (i < to) || ok && got != ref(i) {
				t.Fatalf("%s: plaintext %d of %d: %v, %v, %v", when, i, to, got, ok, err)
			}
		}
		if _, ok, err := s.sealedAs(other, pid(0)); ok || err != nil {
			t.Fatalf("%s: another region has it too: %v", when, err)
		}
	}
	note(0, 3*rowsAtOnce+7) // more than whole statements
	look("table", 3*rowsAtOnce+7)
	if err := s.know(region); err != nil {
		t.Fatal(err)
	}
	if s.surelyNew(region, pid(5)) || !s.surelyNew(region, pid(5000)) || s.surelyNew(other, pid(5000)) {
		t.Error("what is in memory is not what is in the table")
	}
	look("memory", 3*rowsAtOnce+7)
	note(3*rowsAtOnce+7, 400)
	look("memory with more", 400)
	if err := s.forgetSealed(region, []signet.ObjectID{ref(399).Object}); err != nil {
		t.Fatal(err)
	}
	look("memory with less", 399)
	s.forget(region)
	if s.surelyNew(region, pid(5000)) {
		t.Error("forgotten, and still sure")
	}
	look("table again", 399)
}

// Who seals a long file asks the memory, which is there for as long as somebody
// does, and not where the table is large.
func TestLittleThatWasSealedIsKeptInMemory(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	region := signet.RegionID{1}
	pid := func(i int) [32]byte { return sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i))) }
	note := func(from, to int) {
		t.Helper()
		var rows []sealedRow
		for i := from; i < to; i++ {
			rows = append(rows, sealedRow{pid(i), seal.Ref{Size: uint32(i)}})
		}
		if err := s.noteSealed(region, rows); err != nil {
			t.Fatal(err)
		}
	}
	few := func() func() {
		t.Helper()
		done, err := s.knowFew(region)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	sure := func(when string, i int, want bool) {
		t.Helper()
		if got := s.surelyNew(region, pid(i)); got != want {
			t.Errorf("%s: plaintext %d is surely new: %v", when, i, got)
		}
	}
	note(0, 10)
	one := few()
	sure("begun", 3, false)
	sure("begun", 20, true)
	note(20, 30)
	sure("noted since", 20, false)
	two := few()
	sure("a second", 25, false)
	one()
	sure("one has ended", 25, false)
	sure("one has ended", 40, true)
	two()
	sure("both have ended", 40, false)
	note(10, manyRows)
	defer few()()
	sure("a large table", manyRows+1, false)
}
