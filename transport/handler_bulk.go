package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"signet"
	"signet/core/wire"
)

func (c *call) have() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	region, ids, err := takeRegionIDs(r)
	if err != nil {
		return err
	}
	missing, err := c.ch.session.Have(c.r.Context(), region, ids)
	if err != nil {
		return err
	}
	if len(missing) > len(ids) {
		return fmt.Errorf("%d of %d objects missing", len(missing), len(ids))
	}
	var w wire.Writer
	putIDs(&w, missing)
	return c.answer(w.B)
}

func takeRegionIDs(r *wire.Reader) (region signet.RegionID, ids []signet.ObjectID, err error) {
	r.Raw(region[:])
	ids = takeIDs(r)
	if err := r.Done(); err != nil {
		return region, nil, malformed(err)
	}
	return region, ids, nil
}

// Buffers of transfers. The middle size holds an object of the pieces of files of
// up to a GiB and fits a core's cache, the large one any object of full pieces and
// what frames it; larger objects get a buffer of their own.
const (
	smallBuffer  = 256 << 10
	middleBuffer = 512<<10 + 64<<10
	largeBuffer  = 4<<20 + 512<<10
)

var (
	smallBuffers  = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	middleBuffers = sync.Pool{New: func() any { b := make([]byte, middleBuffer); return &b }}
	largeBuffers  = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// getBuffer returns a buffer for n bytes, or the large one where n is more.
func getBuffer(n int64) *[]byte {
	switch {
	case n <= smallBuffer:
		return smallBuffers.Get().(*[]byte)
	case n <= middleBuffer:
		return middleBuffers.Get().(*[]byte)
	}
	return largeBuffers.Get().(*[]byte)
}

func putBuffer(b *[]byte) {
	switch len(*b) {
	case smallBuffer:
		smallBuffers.Put(b)
	case middleBuffer:
		middleBuffers.Put(b)
	case largeBuffer:
		largeBuffers.Put(b)
	}
}

// show passes a glimpse to those who wait.
func (c *call) show() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	var region signet.RegionID
	r.Raw(region[:])
	sealed := r.Vec16(MaxGlimpse)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	seen, err := c.ch.session.Show(c.r.Context(), region, sealed)
	if err != nil {
		return err
	}
	var w wire.Writer
	w.U8(flag(seen))
	return c.answer(w.B)
}

// put takes objects as they come and hands them on a buffer at a time, so that
// what a Put holds does not grow with what it sends.
func (c *call) put() error {
	var head [36]byte
	if err := c.fill(head[:]); err != nil {
		return err
	}
	region, count := signet.RegionID(head[:32]), binary.BigEndian.Uint32(head[32:])
	rest := c.r.ContentLength - int64(len(head))
	if int64(count)*4 > rest {
		return malformed(fmt.Errorf("%d objects in %d bytes", count, rest))
	}
	if rest > smallBuffer {
		if err := c.uploads.begin(c.r.Context(), c.ch.device); err != nil {
			return err
		}
		defer c.uploads.end(c.ch.device)
	}
	// One that is hashed and written right after it came is still in the core's
	// cache.
	buf := getBuffer(min(rest, middleBuffer))
	defer func() { putBuffer(buf) }()
	var objects [][]byte
	used := 0
	flush := func() error {
		if len(objects) == 0 {
			return nil
		}
		err := c.ch.session.Put(c.r.Context(), region, objects)
		objects, used = objects[:0], 0
		return err
	}
	for range count {
		var length [4]byte
		if err := c.fill(length[:]); err != nil {
			return err
		}
		rest -= 4
		n := int(binary.BigEndian.Uint32(length[:]))
		if n > MaxObject {
			return Errorf(KindTooLarge, "object of %d bytes, at most %d allowed", n, MaxObject)
		}
		if int64(n) > rest {
			return malformed(fmt.Errorf("object of %d bytes, %d left", n, rest))
		}
		if used+n > len(*buf) {
			if err := flush(); err != nil {
				return err
			}
			if n > len(*buf) {
				putBuffer(buf)
				if buf = getBuffer(int64(n)); n > len(*buf) {
					b := make([]byte, MaxObject)
					buf = &b
				}
			}
		}
		object := (*buf)[used : used+n : used+n]
		if err := c.fill(object); err != nil {
			return err
		}
		used += n
		rest -= int64(n)
		objects = append(objects, object)
	}
	if rest != 0 {
		return malformed(fmt.Errorf("%d bytes left over", rest))
	}
	if err := flush(); err != nil {
		return err
	}
	return c.answer(nil)
}

// get streams objects, small ones gathered in one buffer, large ones from
// where the service has them.
func (c *call) get() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	region, ids, err := takeRegionIDs(r)
	if err != nil {
		return err
	}
	buf := getBuffer(0)
	defer putBuffer(buf)
	s := &stream{c: c, buf: (*buf)[:0]}
	err = c.ch.session.Get(c.r.Context(), region, ids, func(id signet.ObjectID, object []byte) error {
		if len(object) > MaxObject {
			return fmt.Errorf("stored object %s has %d bytes", id, len(object))
		}
		return s.frame(frameObject, id[:], object)
	})
	if s.failed != nil {
		return s.failed
	}
	// Nothing was sent yet: the error can be an answer of its own.
	if err != nil && !c.answered {
		return err
	}
	return s.last(err)
}

// A stream is an answer made of frames.
type stream struct {
	c      *call
	buf    []byte // frames not written yet
	failed error  // the connection's error: nothing more can be sent
}

// frame queues a frame whose body is a followed by b.
func (s *stream) frame(kind uint8, a, b []byte) error {
	n := len(a) + len(b)
	if len(s.buf)+frameHeader+n > cap(s.buf) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.buf = append(s.buf, kind)
	s.buf = binary.BigEndian.AppendUint32(s.buf, uint32(n))
	s.buf = append(s.buf, a...)
	if len(s.buf)+len(b) <= cap(s.buf) {
		s.buf = append(s.buf, b...)
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.write(b)
}

func (s *stream) flush() error {
	err := s.write(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *stream) write(b []byte) error {
	if s.failed != nil || len(b) == 0 {
		return s.failed
	}
	if !s.c.answered {
		s.c.answered = true
		s.c.w.Header()["Content-Type"] = []string{contentType}
	}
	s.c.deadline(len(b))
	s.c.ch.gather()
	n, err := s.c.w.Write(b)
	if ferr := s.c.ch.flush(); err == nil {
		err = ferr
	}
	s.c.out += int64(n)
	if err != nil {
		s.failed = fmt.Errorf("answer: %w", io.ErrClosedPipe)
	}
	return s.failed
}

// last ends the stream: with the error, if there is one, else well. It returns
// err, or what kept it from being sent.
func (s *stream) last(err error) error {
	if err != nil {
		s.frame(frameError, encodeError(answerOf(err), s.c.id), nil)
	} else {
		s.frame(frameEnd, nil, nil)
	}
	if ferr := s.flush(); ferr != nil {
		return ferr
	}
	return err
}
