package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"signet"
	"signet/core/wire"
)

// Counters are what a Client moved since it was made, in requests, objects and
// bytes of bodies as they were on the wire; a repeated request counts again.
type Counters struct {
	Connections, Requests  uint64
	ObjectsUp, ObjectsDown uint64 // acknowledged; handed to the caller
	BulkUp, BulkDown       uint64 // bytes of object transfers
	OtherUp, OtherDown     uint64 // bytes of everything else: entries, pages, pings
}

type counters struct {
	connections, requests, objectsUp, objectsDown, bulkUp, bulkDown, otherUp, otherDown atomic.Uint64
}

// Counters returns the counters of this moment.
func (c *Client) Counters() Counters {
	n := &c.counters
	return Counters{
		Connections: n.connections.Load(), Requests: n.requests.Load(),
		ObjectsUp: n.objectsUp.Load(), ObjectsDown: n.objectsDown.Load(),
		BulkUp: n.bulkUp.Load(), BulkDown: n.bulkDown.Load(),
		OtherUp: n.otherUp.Load(), OtherDown: n.otherDown.Load(),
	}
}

func bodyOf(b []byte) func() io.ReadCloser {
	return func() io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
}

// Show implements signet.Chunks.
func (c *Client) Show(ctx context.Context, region signet.RegionID, sealed []byte) (seen bool, err error) {
	if len(sealed) > MaxGlimpse {
		return false, Errorf(KindTooLarge, "glimpse of %d bytes, at most %d allowed", len(sealed), MaxGlimpse)
	}
	var w wire.Writer
	w.Raw(region[:])
	w.Vec16(sealed)
	err = c.call(ctx, c.control, pathShow, w.B, 1, func(r *wire.Reader) { seen = takeFlag(r) })
	return seen, err
}

// Have implements signet.Chunks, 4,096 ids at a time.
func (c *Client) Have(ctx context.Context, region signet.RegionID, ids []signet.ObjectID) (missing []signet.ObjectID, err error) {
	for len(ids) > 0 {
		n := min(len(ids), MaxIDs)
		var part []signet.ObjectID
		body := regionIDs(region, ids[:n])
		err := c.call(ctx, c.control, pathHave, body, int64(4+32*n), func(r *wire.Reader) { part = takeIDs(r) })
		if err != nil {
			return nil, err
		}
		missing = append(missing, part...)
		ids = ids[n:]
	}
	return missing, nil
}

func regionIDs(region signet.RegionID, ids []signet.ObjectID) []byte {
	w := wire.Writer{B: make([]byte, 0, 36+32*len(ids))}
	w.Raw(region[:])
	putIDs(&w, ids)
	return w.B
}

// parallel runs do(0) … do(n-1) on at most workers goroutines, and returns the
// first error after all have ended; an error ends the others' context.
func parallel(ctx context.Context, workers, n int, do func(context.Context, int) error) error {
	if n == 1 {
		return do(ctx, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		next  atomic.Int64
		once  sync.Once
		first error
		wg    sync.WaitGroup
	)
	for range min(workers, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					once.Do(func() { first = err })
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return first
}

// Bodies of object transfers.
const (
	bodyTarget  = 4<<20 + 64<<10 // a Put with more than 4 MiB of pieces, sealed, is spread over the connections
	bodyLargest = 16 << 20       // and a body is closed before it passes this
	getBatch    = 64             // most ids of one Get request
)

// Put implements signet.Chunks: bodies of at most 16 MiB (or one object) over
// several connections. objects are read until Put returns, not copied.
func (c *Client) Put(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	var total int
	for _, o := range objects {
		if len(o) > MaxObject {
			return Errorf(KindTooLarge, "object of %d bytes, at most %d allowed", len(o), MaxObject)
		}
		total += 4 + len(o)
	}
	target := min(max(total/c.config.Conns, bodyTarget), bodyLargest)
	var bodies [][][]byte
	for len(objects) > 0 {
		n, size := 1, 4+len(objects[0])
		for n < len(objects) && size+4+len(objects[n]) <= target {
			size += 4 + len(objects[n])
			n++
		}
		bodies = append(bodies, objects[:n])
		objects = objects[n:]
	}
	if len(bodies) == 0 {
		return nil
	}
	return parallel(ctx, c.config.Conns, len(bodies), func(ctx context.Context, i int) error {
		return c.putOne(ctx, region, bodies[i])
	})
}

func (c *Client) putOne(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	w := wire.Writer{B: make([]byte, 0, 36)}
	w.Raw(region[:])
	w.U32(uint32(len(objects)))
	length := int64(len(w.B))
	for _, o := range objects {
		length += 4 + int64(len(o))
	}
	// net/http may read a body a little longer than it takes to fail: the
	// caller gets its memory back only after that.
	var reading sync.WaitGroup
	defer reading.Wait()
	end := c.config.Meter.Begin(ctx, Up)
	defer end()
	res, err := c.send(ctx, c.bulk, pathPut, length, func() io.ReadCloser {
		reading.Add(1)
		return &objectsBody{ctx: ctx, c: c, done: sync.OnceFunc(reading.Done), rest: w.B, objects: objects}
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := readBody(res, 0); err != nil {
		return c.failure(ctx, pathPut, err)
	}
	c.counters.objectsUp.Add(uint64(len(objects)))
	return nil
}

// objectsBody is the body of a Put: each object after its length, from the
// caller's memory.
type objectsBody struct {
	ctx     context.Context
	c       *Client
	done    func() // called when nobody reads the objects any more
	rest    []byte // of what is being sent now
	object  []byte // to follow its length, which is in rest
	pending bool
	length  [4]byte
	objects [][]byte // not begun
}

// Read implements io.Reader. It fills p across objects, so that small ones do
// not each cost a TLS record.
func (b *objectsBody) Read(p []byte) (n int, err error) {
	p = p[:min(len(p), meterStep)]
	for n < len(p) {
		if len(b.rest) == 0 && !b.next() {
			break
		}
		k := copy(p[n:], b.rest)
		b.rest = b.rest[k:]
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	// Bytes given out beside an error would be sent, and might be all.
	if err := b.c.move(b.ctx, Up, n); err != nil {
		return 0, err
	}
	b.c.counters.bulkUp.Add(uint64(n))
	return n, nil
}

func (b *objectsBody) next() bool {
	if b.pending {
		b.rest, b.pending = b.object, false
		if len(b.rest) > 0 {
			return true
		}
	}
	if len(b.objects) == 0 {
		return false
	}
	b.object, b.pending = b.objects[0], true
	b.objects = b.objects[1:]
	binary.BigEndian.PutUint32(b.length[:], uint32(len(b.object)))
	b.rest = b.length[:]
	return true
}

// Close implements io.Closer.
func (b *objectsBody) Close() error {
	b.done()
	return nil
}

// meterStep is the most bytes that a Meter is asked for at once.
const meterStep = 64 << 10

func (c *Client) move(ctx context.Context, d Direction, n int) error {
	if n == 0 {
		return nil
	}
	if err := c.config.Meter.Move(ctx, d, n); err != nil {
		return ownError{err}
	}
	return nil
}

// Get implements signet.Chunks over several connections. each is called by one
// goroutine at a time, as objects arrive; an id given twice is answered once.
// To open objects on several cores, call Get from several goroutines.
func (c *Client) Get(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	seen := make(map[signet.ObjectID]bool, len(ids))
	unique := make([]signet.ObjectID, 0, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	if len(unique) == 0 {
		return nil
	}
	const batch = getBatch // a caller that asks for fewer holds one connection, and leaves the others
	var mu sync.Mutex
	one := func(id signet.ObjectID, object []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return each(id, object)
	}
	return parallel(ctx, c.config.Conns, (len(unique)+batch-1)/batch, func(ctx context.Context, i int) error {
		return c.getOne(ctx, region, unique[i*batch:min((i+1)*batch, len(unique))], one)
	})
}

func (c *Client) getOne(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	body := regionIDs(region, ids)
	c.counters.bulkUp.Add(uint64(len(body)))
	if err := c.config.Meter.Message(ctx, Up, len(body)); err != nil {
		return err
	}
	end := c.config.Meter.Begin(ctx, Down)
	defer end()
	res, err := c.send(ctx, c.bulk, pathGet, int64(len(body)), bodyOf(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	wanted := make(map[signet.ObjectID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	f := &frames{c: c, ctx: ctx, r: res.Body, buf: getBuffer(0)}
	defer func() { putBuffer(f.buf) }()
	for {
		kind, body, err := f.next()
		if err != nil {
			return c.streamFailure(ctx, pathGet, err)
		}
		switch kind {
		case frameObject:
			if len(body) < 32 || !wanted[signet.ObjectID(body[:32])] {
				return notSignet(pathGet, errors.New("object that was not asked for"))
			}
			id := signet.ObjectID(body[:32])
			delete(wanted, id)
			if err := each(id, body[32:]); err != nil {
				return err
			}
			c.counters.objectsDown.Add(1)
		case frameError:
			return c.frameError(pathGet, body)
		case frameEnd:
			if len(wanted) != 0 {
				return Errorf(KindNotFound, "get: the service left out %d of %d objects", len(wanted), len(ids))
			}
			// The end of the body is read, so that the connection is kept.
			if _, err := res.Body.Read(make([]byte, 1)); err != io.EOF {
				return notSignet(pathGet, errors.New("bytes after the last frame"))
			}
			return nil
		default:
			return notSignet(pathGet, fmt.Errorf("frame of type %d", kind))
		}
	}
}

// frames reads the frames of a Get into one buffer that grows as needed.
type frames struct {
	c   *Client
	ctx context.Context
	r   io.Reader
	buf *[]byte
}

func (f *frames) next() (kind uint8, body []byte, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(f.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > MaxObject+32 {
		return 0, nil, fmt.Errorf("frame of %d bytes: %w", n, wire.ErrMalformed)
	}
	if int(n) > len(*f.buf) {
		putBuffer(f.buf)
		if f.buf = getBuffer(int64(n)); int(n) > len(*f.buf) {
			b := make([]byte, MaxObject+32)
			f.buf = &b
		}
	}
	body = (*f.buf)[:n]
	f.c.counters.bulkDown.Add(frameHeader)
	return h[0], body, f.fill(body)
}

// fill reads b: at one go, or where there is a meter in steps, so that what
// it holds back is not sent to us either.
func (f *frames) fill(b []byte) error {
	step := len(b)
	if f.c.metered {
		step = meterStep
	}
	for len(b) > 0 {
		part := b[:min(len(b), step)]
		n, err := io.ReadFull(f.r, part)
		f.c.counters.bulkDown.Add(uint64(n))
		if err != nil {
			return err
		}
		if err := f.c.move(f.ctx, Down, n); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
