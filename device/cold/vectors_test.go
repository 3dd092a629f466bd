package cold

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"signet"
	"signet/core/ring/ringtest"
	"signet/spec/vectors"
)

var update = flag.Bool("update", false, "write spec/vectors/export anew")

func sumOf(b []byte) [32]byte { return sha256.Sum256(b) }

// outcome names an error as the vectors do.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNewer):
		return "newer"
	case errors.Is(err, ErrDamaged):
		return "damaged"
	case errors.Is(err, signet.ErrNotVerified):
		return "not-verified"
	}
	return err.Error()
}

func runVector(c vectors.Case) string {
	b := c.Files["bytes"]
	if c.Fields["what"] == "segment" {
		var n int
		fmt.Sscan(c.Fields["records"], &n)
		again := []byte(segmentMagic)
		err := eachRecord(b, uint32(n), func(r signet.Record) error { again = appendRecord(again, r); return nil })
		if err == nil && !bytes.Equal(again, b) {
			return "other bytes"
		}
		return outcome(err)
	}
	m, err := ParseManifest(b)
	if err == nil {
		err = m.Verify(ringtest.Key("a").Public())
	}
	return outcome(err)
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
		return
	}
	vectors.Run(t, "export", runVector)
}

func example() *Manifest {
	return &Manifest{Org: signet.OrgID{1}, Region: signet.RegionID{2}, Ring: signet.RingID{3}, Device: signet.DeviceID{4}, ID: [16]byte{5},
		Made: 1_790_000_000_123, Checked: 1_790_000_000_000, Every: 7 * 24 * 60, Place: "bank", Directory: []byte("directory's"), Journal: []byte("journal's"),
		Objects: 3, Bytes: 4096, Missing: []signet.ObjectID{{1}, {2}},
		Segments: []Segment{{signet.DirectoryLog, 0, 3, [32]byte{6}}, {signet.RegionLog, 0, 2, [32]byte{7}}, {signet.RegionLog, 2, 5, [32]byte{8}}}}
}

func writeVectors(t *testing.T) {
	dir := filepath.Join("..", "..", "spec", "vectors", "export")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name, about, what, records string, b []byte) {
		c := vectors.Case{Fields: map[string]string{"what": what, "records": records}, Files: map[string][]byte{"bytes": b}}
		var out bytes.Buffer
		fmt.Fprintf(&out, "about: %s\nexpect: %s\nwhat: %s\n", about, runVector(c), what)
		if records != "" {
			fmt.Fprintf(&out, "records: %s\n", records)
		}
		fmt.Fprintln(&out, "-- bytes.hex --")
		for line := range slices.Chunk(b, 32) {
			fmt.Fprintln(&out, hex.EncodeToString(line))
		}
		if err := os.WriteFile(filepath.Join(dir, name+".txtar"), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(name, about string, change func(m *Manifest), after func(b []byte) []byte) {
		m := example()
		if change != nil {
			change(m)
		}
		b, err := m.Sign(ringtest.Key("a"))
		if err != nil {
			t.Fatal(err)
		}
		if after != nil {
			b = after(b)
		}
		put(name, about, "manifest", "", b)
	}
	manifest("ok", "a manifest of two logs in three segments, signed by a", nil, nil)
	manifest("ok-bare", "without place, rhythm, check or missing objects", func(m *Manifest) { m.Place, m.Every, m.Checked, m.Missing = "", 0, 0, nil }, nil)
	manifest("gap", "a segment that does not follow the one before", func(m *Manifest) { m.Segments[2].From = 3 }, nil)
	manifest("segment-empty", "a segment without records", func(m *Manifest) { m.Segments[2].Count = 0 }, nil)
	manifest("segments-reordered", "a segment of the directory after one of the journal", func(m *Manifest) { m.Segments[2].Kind, m.Segments[2].From = signet.DirectoryLog, 3 }, nil)
	manifest("missing-reordered", "missing objects that do not ascend", func(m *Manifest) { slices.Reverse(m.Missing) }, nil)
	manifest("missing-twice", "a missing object twice", func(m *Manifest) { m.Missing[1] = m.Missing[0] }, nil)
	manifest("place-not-utf8", "a place that is not UTF-8", func(m *Manifest) { m.Place = "\xff" }, nil)
	manifest("negative-time", "made before 1970", func(m *Manifest) { m.Made = -1 }, nil)
	manifest("trailing-byte", "a byte after the signature", nil, func(b []byte) []byte { return append(b, 0) })
	manifest("other-number", "a later format", nil, func(b []byte) []byte { b[len("signet export ")] = '2'; return b })
	manifest("flipped-body", "a bit of the place flipped", nil, func(b []byte) []byte { b[bytes.Index(b, []byte("bank"))] ^= 1; return b })
	manifest("flipped-signature", "a bit of the second signature flipped", nil, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	seg := appendRecord(appendRecord([]byte(segmentMagic), signet.Record{Leaf: []byte("leaf"), Head: []byte("head"), Blob: []byte("blob")}), signet.Record{Leaf: []byte("leaf")})
	put("segment-ok", "two records, the second withheld but for its leaf", "segment", "2", seg)
	put("segment-short", "a record less than the manifest says", "segment", "3", seg)
	put("segment-long", "a record more than the manifest says", "segment", "1", seg)
	put("segment-cut", "cut off in the last record", "segment", "2", seg[:len(seg)-1])
	put("segment-magic", "another kind of file", "segment", "2", append([]byte("signet log 2\n"), seg[len(segmentMagic):]...))
}

func FuzzManifestParsesAndSignsSameBytes(f *testing.F) {
	cases, err := vectors.Load("export")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Files["bytes"])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if o := outcome(err); o != "damaged" && o != "newer" {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(m.body(), m.raw) {
			t.Fatal("another encoding is taken")
		}
	})
}

func FuzzSegmentParsesAndAppendsSameBytes(f *testing.F) {
	f.Add([]byte(segmentMagic), uint32(0))
	f.Add(appendRecord([]byte(segmentMagic), signet.Record{Leaf: []byte("l"), Head: []byte("h")}), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		again := []byte(segmentMagic)
		err := eachRecord(b, n, func(r signet.Record) error { again = appendRecord(again, r); return nil })
		if err == nil && !bytes.Equal(again, b) {
			t.Fatal("another encoding is taken")
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}
