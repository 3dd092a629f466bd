package blob_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"signet"
	"signet/service/blob"
	"signet/service/blob/blobtest"
)

func open(t *testing.T, dir string, marks []blob.Mark, found func(blob.Found) error) *blob.Disk {
	t.Helper()
	d, err := blob.Open(dir, marks, found)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiskIsAStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Harness {
		dir := t.TempDir()
		return blobtest.Harness{Open: func(t *testing.T, marks []blob.Mark, found func(blob.Found) error) blob.Store {
			return open(t, dir, marks, found)
		}}
	})
}

func packs(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOpenCutsEveryTornEnd(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil, nil)
	all := blobtest.Objects(3, 2000)
	if _, err := d.Put(signet.RegionID{1}, all); err != nil {
		t.Fatal(err)
	}
	d.Close()
	names := packs(t, dir)
	if len(names) != 1 {
		t.Fatalf("%d packs, want 1", len(names))
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	record := (len(whole) - 16) / 3
	for cut := 0; cut <= len(whole); cut += 97 {
		if err := os.WriteFile(names[0], whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		found := 0
		d := open(t, dir, nil, func(blob.Found) error { found++; return nil })
		if want := max(0, cut-16) / record; found != want {
			t.Fatalf("cut at %d: found %d, want %d", cut, found, want)
		}
		// What is put next must be readable, also after another start.
		places, err := d.Put(signet.RegionID{1}, all[:1])
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		again := 0
		d = open(t, dir, nil, func(f blob.Found) error { again++; return nil })
		if got, err := d.Get(places[0], nil); err != nil || string(got) != string(all[0].Bytes) {
			t.Fatalf("cut at %d: object put afterwards: %v", cut, err)
		}
		if again != found+1 {
			t.Fatalf("cut at %d: second start found %d, want %d", cut, again, found+1)
		}
		d.Close()
	}
}

func TestOpenDropsZeroesThatPowerLossLeft(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil, nil)
	if _, err := d.Put(signet.RegionID{1}, blobtest.Objects(4, 1000)); err != nil {
		t.Fatal(err)
	}
	d.Close()
	name := packs(t, dir)[0]
	b, _ := os.ReadFile(name)
	clear(b[16+1072*2+500:]) // the third record's bytes never arrived
	os.WriteFile(name, b, 0o600)
	found := 0
	d = open(t, dir, nil, func(blob.Found) error { found++; return nil })
	defer d.Close()
	if found != 2 {
		t.Errorf("found %d records, want the 2 whole ones", found)
	}
}

func TestOpenRefusesNewerFormat(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil, nil)
	d.Put(signet.RegionID{1}, blobtest.Objects(1, 10))
	d.Close()
	name := packs(t, dir)[0]
	b, _ := os.ReadFile(name)
	b[len("signet pack ")] = '2'
	os.WriteFile(name, b, 0o600)
	if _, err := blob.Open(dir, nil, nil); !errors.Is(err, blob.ErrNewer) {
		t.Errorf("got %v, want a refusal of the newer format", err)
	}
}

func TestScanReportsFlippedByte(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil, nil)
	d.Put(signet.RegionID{1}, blobtest.Objects(5, 3000))
	marks, _ := d.Sync()
	d.Close()
	name := packs(t, dir)[0]
	b, _ := os.ReadFile(name)
	b[16+3072+1000] ^= 1
	os.WriteFile(name, b, 0o600)
	d = open(t, dir, marks, nil)
	defer d.Close()
	good, bad := 0, 0
	err := d.Scan(func(_ blob.Found, err error) error {
		if err != nil {
			bad++
		} else {
			good++
		}
		return nil
	})
	if err != nil || good != 4 || bad != 1 {
		t.Errorf("scan: %d good, %d bad, %v; want 4, 1", good, bad, err)
	}
}

func TestPackIsLeftWhenFull(t *testing.T) {
	if testing.Short() {
		return // it takes 300 MiB to fill a pack
	}
	dir := t.TempDir()
	d := open(t, dir, nil, nil)
	all := blobtest.Objects(1, 4<<20)
	for range 75 {
		if _, err := d.Put(signet.RegionID{1}, all); err != nil {
			t.Fatal(err)
		}
	}
	marks, err := d.Sync()
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if n := len(packs(t, dir)); n != 2 || len(marks) != 2 {
		t.Errorf("%d packs, %d marks, want 2", n, len(marks))
	}
	for _, n := range packs(t, dir) {
		if info, _ := os.Stat(n); info.Size() > 256<<20+blob.MaxObject {
			t.Errorf("%s has %d bytes", n, info.Size())
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 512 << 10, 4 << 20} {
		b.Run(map[int]string{4 << 10: "4KiB", 512 << 10: "512KiB", 4 << 20: "4MiB"}[size], func(b *testing.B) {
			d, err := blob.Open(b.TempDir(), nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			const writers = 4
			batch := max(1, 1<<20/size)
			raw := make([][]byte, writers*batch)
			for i := range raw {
				raw[i] = make([]byte, size)
				rand.Read(raw[i])
			}
			b.SetBytes(int64(writers * batch * size))
			b.ReportAllocs()
			for b.Loop() {
				var wg sync.WaitGroup
				for w := range writers {
					wg.Go(func() {
						objects := make([]blob.Object, batch)
						for i := range objects {
							objects[i] = blob.Name(raw[w*batch+i])
						}
						if _, err := d.Put(signet.RegionID{1}, objects); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
}
