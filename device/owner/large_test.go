package owner_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"signet"
	"signet/core/seal"
	"signet/core/tree"
)

// A large new file is sealed while it is hashed; what comes of it must be what
// comes of any other file.
func TestLargeFileIsUploadedOnceWhateverItsName(t *testing.T) {
	t.Run("large", func(t *testing.T) { uploadedOnce(t, 9<<20) })
	if !testing.Short() {
		t.Run("long", func(t *testing.T) { uploadedOnce(t, seal.LongFile+9<<20) })
	}
}

func uploadedOnce(t *testing.T, size int) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	big := string(randomBytes(1, size))
	a.write("one.bin", big)
	a.add("Large")
	if c := a.sync(); c.FilesUp != 1 || c.BytesUp < int64(size) || c.BytesUp > int64(size+size/50) {
		t.Errorf("a new file cost %+v", c)
	}
	b.add("Large")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)

	// Bytes that the region has already are not sent, whether the file is a
	// copy, was saved by renaming, or came on the other device.
	a.write("copy.bin", big)
	if c := a.sync(); c.FilesUp != 1 || c.BytesUp > int64(size/50) {
		t.Errorf("a copy cost %+v", c)
	}
	changed := big[:5<<20+77] + "inserted" + big[5<<20+77:]
	a.write(".one.tmp", changed)
	if err := os.Rename(filepath.Join(a.dir, ".one.tmp"), filepath.Join(a.dir, "one.bin")); err != nil {
		t.Fatal(err)
	}
	if c := a.sync(); c.FilesUp != 1 || c.BytesUp > 1<<20 {
		t.Errorf("an insertion cost %+v", c)
	}
	if c := b.sync(); c.FilesDown != 2 || c.BytesDown > int64(1<<20+size) {
		t.Errorf("copy and insertion cost the other device %+v", c)
	}
	same(t, a, b)
	quiet(t, a, b)

	// Two that are new and equal.
	twin := string(randomBytes(2, size+1))
	a.write("twins/left.bin", twin)
	a.write("twins/right.bin", twin)
	a.sync()
	b.sync()
	same(t, a, b)
	quiet(t, a, b)
}

// listed is what a device knows of the SHA-256 of its only region's only file.
func listed(t *testing.T, d *device) (sum [32]byte, ok bool) {
	t.Helper()
	region := d.Engine.Regions()[0].ID
	var file tree.Node
	err := d.Engine.WithListing(region, func(tr *tree.Tree) error {
		for _, n := range tr.Walk() {
			if n.Type == tree.File {
				file = n
			}
		}
		return nil
	})
	if err == nil && file.ID == (signet.NodeID{}) {
		t.Fatal("no file is listed")
	}
	if err == nil {
		sum, ok, err = d.Engine.SHA256(t.Context(), region, file.ID, file.Size, file.Hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sum, ok
}

// Of a long file the log has another hash; people see its SHA-256 all the same.
func TestListingHasTheSHA256OfALongFileThatIsHere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := newWorld(t)
	a, b, c := w.device("a"), w.device("b"), w.device("c")
	long := randomBytes(3, seal.LongFile)
	a.write("long.bin", string(long))
	a.add("Long")
	a.sync()
	b.add("Long")
	b.sync()
	same(t, a, b)
	for _, d := range []*device{a, b} {
		if sum, ok := listed(t, d); !ok || sum != sha256.Sum256(long) {
			t.Errorf("on %s: %x %v", d.dir, sum, ok)
		}
	}
	if err := c.Engine.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sum, ok := listed(t, c); ok {
		t.Errorf("where the file is not: %x", sum)
	}
	// Remembered for these bytes, and for no others.
	long[7]++
	b.write("long.bin", string(long))
	if sum, ok := listed(t, b); !ok || sum == sha256.Sum256(long) {
		t.Errorf("of the version before: %x %v", sum, ok)
	}
	if b.sync(); b.sync().FilesUp != 0 {
		t.Error("still going up")
	}
	if sum, ok := listed(t, b); !ok || sum != sha256.Sum256(long) {
		t.Errorf("of the next version: %x %v", sum, ok)
	}
}
