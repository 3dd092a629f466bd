package owner_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A large new file is sealed while it is hashed; what comes of it must be what
// comes of any other file.
func TestLargeFileIsUploadedOnceWhateverItsName(t *testing.T) {
	const size = 9 << 20
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	big := string(randomBytes(1, size))
	a.write("one.bin", big)
	a.add("Large")
	if c := a.sync(); c.FilesUp != 1 || c.BytesUp < size || c.BytesUp > size+size/50 {
		t.Errorf("a new file cost %+v", c)
	}
	b.add("Large")
	b.sync()
	same(t, a, b)
	quiet(t, a, b)

	// Bytes that the region has already are not sent, whether the file is a
	// copy, was saved by renaming, or came on the other device.
	a.write("copy.bin", big)
	if c := a.sync(); c.FilesUp != 1 || c.BytesUp > size/50 {
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
	if c := b.sync(); c.FilesDown != 2 || c.BytesDown > 1<<20+size {
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
