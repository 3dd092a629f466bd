package blob

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"signet"
)

// A pack begins with packMagic; then record after record:
//
//	"sobj" ‖ region (32) ‖ object id (32) ‖ length u32 ‖ bytes
//
// The number in packMagic is the format; a newer one is refused.
const (
	packMagic   = "signet pack 1\n\x00\x00"
	packPrefix  = "signet pack "
	recordMagic = "sobj"
	headerSize  = int64(len(packMagic))
	recordSize  = 4 + 32 + 32 + 4

	HeaderSize = headerSize // bytes of a pack that are no record's
	RecordSize = recordSize // bytes of a record besides the object's
)

func putHeader(dst []byte, region signet.RegionID, id signet.ObjectID, length int) {
	copy(dst, recordMagic)
	copy(dst[4:], region[:])
	copy(dst[36:], id[:])
	binary.BigEndian.PutUint32(dst[68:], uint32(length))
}

// ErrNewer says that a pack was written by a newer program.
var ErrNewer = errors.New("written by a newer signet-server")

// readFormat refuses a file that is no pack, or one of a newer format.
func readFormat(f *os.File) error {
	var b [headerSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	switch {
	case string(b[:]) == packMagic:
		return nil
	case string(b[:len(packPrefix)]) == packPrefix:
		return fmt.Errorf("%s: %w: format %q", f.Name(), ErrNewer, strings.TrimRight(string(b[len(packPrefix):]), "\n\x00"))
	}
	return fmt.Errorf("%s: not a pack", f.Name())
}

// scan calls each for every record from byte from on, with err set where the
// record's bytes do not hash to its name. It stops at the first byte that
// begins no record and returns its offset: the pack's length if all is whole.
func scan(f *os.File, pack uint32, from int64, each func(Found, error) error) (end int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return from, err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, size-from), 1<<20)
	var h [recordSize]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return from, ended(err)
		}
		n := int64(binary.BigEndian.Uint32(h[68:]))
		if string(h[:4]) != recordMagic || n > MaxObject || from+recordSize+n > size {
			return from, nil
		}
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return from, ended(err)
		}
		found := Found{
			Region: signet.RegionID(h[4:36]), ID: signet.ObjectID(h[36:68]),
			Place: Place{Pack: pack, Offset: uint32(from + recordSize), Length: uint32(n)},
		}
		var bad error
		if sha256.Sum256(buf) != found.ID {
			bad = fmt.Errorf("pack %08x byte %d: %s does not hash to its name: %w", pack, from, found.ID, ErrTorn)
		}
		if err := each(found, bad); err != nil {
			return from, err
		}
		from += recordSize + n
	}
}

// ended turns the end of a pack, also inside a record, into no error.
func ended(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}
