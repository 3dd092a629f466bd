package blob_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"signet"
	"signet/service/blob"
	"signet/service/blob/blobtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled is a store with two sealed packs of ten objects each.
func filled(t *testing.T, size int) (dir string, d *blob.Disk, all []blob.Object, places []blob.Place, marks []blob.Mark) {
	dir = t.TempDir()
	d = open(t, dir, nil, nil)
	t.Cleanup(func() { d.Close() })
	for range 2 {
		objects := blobtest.Objects(10, size)
		p, err := d.Put(signet.RegionID{1}, objects)
		must(t, err)
		all, places = append(all, objects...), append(places, p...)
		d.Seal(p[0].Pack)
		m, err := d.Sync()
		must(t, err)
		marks = append(marks, m...)
	}
	if len(marks) != 2 || marks[0].Pack == marks[1].Pack {
		t.Fatalf("marks %v: nothing is put in a sealed pack", marks)
	}
	return dir, d, all, places, marks
}

// liveOf keeps every so manieth of the places.
func liveOf(places []blob.Place, every int) func(blob.Found) (bool, error) {
	live := map[blob.Place]bool{}
	for i, p := range places {
		live[p] = i%every == 0
	}
	return func(f blob.Found) (bool, error) { return live[f.Place], nil }
}

func TestCompactCopiesWhatIsLive(t *testing.T) {
	dir, d, all, places, marks := filled(t, 3000)
	into := d.NextPack()
	c, err := d.Compact(t.Context(), into, marks, liveOf(places, 5))
	must(t, err)
	if c.Objects != 4 || c.Mark != (blob.Mark{Pack: into, End: 16 + 4*3072}) || len(c.Damaged) > 0 {
		t.Fatalf("%+v", c)
	}
	i := 0
	must(t, d.Records(into, func(f blob.Found) error {
		got, err := d.Get(f.Place, nil)
		if o := all[i*5]; err != nil || f.ID != o.ID || f.Region != (signet.RegionID{1}) || !bytes.Equal(got, o.Bytes) {
			t.Errorf("record %d: %+v, %v", i, f, err)
		}
		i++
		return nil
	}))
	gone, err := d.Remove([]uint32{marks[0].Pack, marks[1].Pack, 77})
	if err != nil || len(gone) != 3 || len(packs(t, dir)) != 1 {
		t.Errorf("gone %v, %v, left %v", gone, err, packs(t, dir))
	}
	if _, err := d.Get(places[0], nil); !errors.Is(err, signet.ErrNotFound) {
		t.Errorf("an object of a pack that is gone: %v", err)
	}
	// It is appended to before another pack is made, now and after a start.
	d.Adopt(c.Mark)
	for range 2 {
		p, err := d.Put(signet.RegionID{1}, all[:1])
		must(t, err)
		if p[0].Pack != into || int64(p[0].Offset) != c.Mark.End+72 {
			t.Errorf("put at %+v, room is in %+v", p[0], c.Mark)
		}
		m, err := d.Sync()
		must(t, err)
		must(t, d.Close())
		c.Mark = m[0]
		d = open(t, dir, m, nil)
	}
	d.Close()
}

func TestCompactOfNothingLiveMakesNoPack(t *testing.T) {
	dir, d, _, _, marks := filled(t, 3000)
	c, err := d.Compact(t.Context(), d.NextPack(), marks, func(blob.Found) (bool, error) { return false, nil })
	if err != nil || c.Mark.End != 0 || len(packs(t, dir)) != 2 {
		t.Errorf("%+v, %v, %v", c, err, packs(t, dir))
	}
}

func TestFailedCompactLeavesNothing(t *testing.T) {
	dir, d, _, _, marks := filled(t, 3000)
	boom := errors.New("boom")
	n := 0
	_, err := d.Compact(t.Context(), d.NextPack(), marks, func(blob.Found) (bool, error) {
		if n++; n > 12 {
			return false, boom
		}
		return true, nil
	})
	if !errors.Is(err, boom) || len(packs(t, dir)) != 2 {
		t.Errorf("%v, %v", err, packs(t, dir))
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = d.Compact(ctx, d.NextPack(), marks, func(blob.Found) (bool, error) { cancel(); return true, nil })
	if !errors.Is(err, context.Canceled) || len(packs(t, dir)) != 2 {
		t.Errorf("%v, %v", err, packs(t, dir))
	}
}

// Of a damaged pack nothing is copied, whatever its damage and wherever it comes
// among others.
func TestCompactLeavesDamagedPacksAlone(t *testing.T) {
	const size = 300_000 // more than is written at once
	for name, damage := range map[string]func([]byte) []byte{
		"flipped byte": func(b []byte) []byte { b[16+5*(72+size)+900] ^= 1; return b },
		"no record":    func(b []byte) []byte { b[16+5*(72+size)] ^= 1; return b },
		"cut off":      func(b []byte) []byte { return b[:16+7*(72+size)+40] },
	} {
		for which := range 2 {
			dir, d, _, places, marks := filled(t, size)
			file := packs(t, dir)[which]
			b, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(file, damage(b), 0o600))
			c, err := d.Compact(t.Context(), d.NextPack(), marks, liveOf(places, 1))
			must(t, err)
			if len(c.Damaged) != 1 || !c.Damaged[marks[which].Pack] || c.Objects != 10 || c.Mark.End != 16+10*(72+size) {
				t.Errorf("%s of pack %d: %+v", name, which, c)
			}
			info, err := os.Stat(packs(t, dir)[2])
			must(t, err)
			if info.Size() != c.Mark.End {
				t.Errorf("%s: the new pack has %d bytes, %d are said", name, info.Size(), c.Mark.End)
			}
			must(t, d.Records(c.Mark.Pack, func(f blob.Found) error {
				if _, err := d.Get(f.Place, nil); err != nil {
					t.Error(err)
				}
				return nil
			}))
		}
	}
}

// A flipped byte in what is dead is nobody's loss.
func TestDamageInDeadBytesDoesNotMatter(t *testing.T) {
	dir, d, _, places, marks := filled(t, 3000)
	file := packs(t, dir)[0]
	b, err := os.ReadFile(file)
	must(t, err)
	b[16+3072+900] ^= 1 // the second object
	must(t, os.WriteFile(file, b, 0o600))
	c, err := d.Compact(t.Context(), d.NextPack(), marks, liveOf(places, 5))
	if err != nil || len(c.Damaged) > 0 || c.Objects != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRemoveWaitsForWhoHoldsPacks(t *testing.T) {
	dir, d, all, places, marks := filled(t, 3000)
	one, err := blob.Hold(t.Context(), dir)
	must(t, err)
	two, err := blob.Hold(t.Context(), dir)
	must(t, err)
	one()
	if gone, err := d.Remove([]uint32{marks[0].Pack}); !errors.Is(err, blob.ErrInUse) || len(gone) > 0 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if got, err := d.Get(places[0], nil); err != nil || !bytes.Equal(got, all[0].Bytes) {
		t.Errorf("a pack that is held: %v", err)
	}
	two()
	if gone, err := d.Remove([]uint32{marks[0].Pack}); err != nil || len(gone) != 1 {
		t.Errorf("removed %v, %v", gone, err)
	}
}

// What a cut-off compaction left counts for nothing at the next start, and its
// number is not given again.
func TestOpenLeavesReservedPacksAlone(t *testing.T) {
	dir, d, _, places, marks := filled(t, 3000)
	c, err := d.Compact(t.Context(), d.NextPack(), marks, liveOf(places, 2))
	must(t, err)
	must(t, d.Close())
	d = open(t, dir, append(marks, blob.Mark{Pack: c.Mark.Pack, End: -1}), func(f blob.Found) error {
		t.Errorf("found %+v", f)
		return nil
	})
	if !d.Left(c.Mark.Pack) || d.Left(d.NextPack()) {
		t.Error("it is appended to, or one that is not made yet is nobody's")
	}
	must(t, os.Remove(packs(t, dir)[2]))
	must(t, d.Close())
	d = open(t, dir, append(marks, blob.Mark{Pack: c.Mark.Pack}), nil)
	defer d.Close()
	if n := d.NextPack(); n <= c.Mark.Pack {
		t.Errorf("number %d after %d", n, c.Mark.Pack)
	}
}
