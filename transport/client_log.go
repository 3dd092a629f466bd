package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"signet"
	"signet/core/wire"
)

// Append implements signet.Log.
func (c *Client) Append(ctx context.Context, log signet.LogID, x signet.Record, sent int64) (receipt signet.Receipt, err error) {
	if err := checkRecord(x); err != nil {
		return receipt, err
	}
	w := wire.Writer{B: make([]byte, 0, 64+recordSize(x))}
	putLog(&w, log)
	w.I64(sent)
	putRecord(&w, x)
	err = c.call(ctx, c.control, pathAppend, w.B, maxReceipt, func(r *wire.Reader) { receipt = takeReceipt(r) })
	return receipt, err
}

// Read implements signet.Log. A page has at most a few MiB, or one record.
func (c *Client) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (p signet.Page, err error) {
	var w wire.Writer
	putLog(&w, log)
	w.U64(from)
	w.U8(uint8(parts))
	err = c.call(ctx, c.control, pathRead, w.B, maxPage, func(r *wire.Reader) {
		p = takePage(r)
		if r.Err() == nil && (p.Log != log || p.From != from) {
			r.Fail("page of another place than asked for")
		}
	})
	if err != nil {
		return signet.Page{}, err
	}
	return p, nil
}

// Recovering implements signet.Recovery.
func (c *Client) Recovering(ctx context.Context) (logs []signet.LogID, err error) {
	err = c.call(ctx, c.control, pathLost, nil, 4+33*MaxHeads, func(r *wire.Reader) { logs = takeLogs(r) })
	return logs, err
}

// Reoffer implements signet.Recovery.
func (c *Client) Reoffer(ctx context.Context, o signet.Reoffer) (size uint64, whole bool, err error) {
	if len(o.Proof) > MaxProof {
		return 0, false, Errorf(KindTooLarge, "proof of %d hashes, at most %d allowed", len(o.Proof), MaxProof)
	}
	for _, x := range o.Records {
		if err := checkRecord(x); err != nil {
			return 0, false, err
		}
	}
	var w wire.Writer
	putReoffer(&w, o)
	err = c.call(ctx, c.control, pathReoffer, w.B, 16, func(r *wire.Reader) {
		size = r.U64()
		whole = takeFlag(r)
	})
	return size, whole, err
}

// PutRecord implements Session.
func (c *Client) PutRecord(ctx context.Context, record []byte) error {
	if len(record) > MaxSealedRecord {
		return Errorf(KindTooLarge, "sealed record of %d bytes, at most %d allowed", len(record), MaxSealedRecord)
	}
	return c.call(ctx, c.control, pathRecord, record, 0, nil)
}

// Records implements Session.
func (c *Client) Records(ctx context.Context, owner [32]byte) (records [][]byte, err error) {
	err = c.call(ctx, c.control, pathRecords, owner[:], maxRecords, func(r *wire.Reader) { records = takeRecords(r) })
	return records, err
}

// Usage implements Session.
func (c *Client) Usage(ctx context.Context, region signet.RegionID) (u signet.Usage, err error) {
	err = c.call(ctx, c.control, pathUsage, region[:], 24, func(r *wire.Reader) { u = takeUsage(r) })
	return u, err
}

// maxPing is the longest time between two pings that a service may announce.
const maxPing = 10 * time.Minute

// Wait implements signet.Log: one connection that the service writes to as
// things happen. It returns the context's error, what each returned, or an
// *Error: KindUnavailable where the service goes down, KindUnreachable where
// two and a half pings in a row did not come. It is for the caller to wait a
// little and begin again with its new heads.
func (c *Client) Wait(ctx context.Context, heads map[signet.LogID]uint64, each func(signet.Page) error, shown func(signet.Glimpse)) error {
	if len(heads) > MaxHeads {
		return Errorf(KindTooLarge, "%d logs to wait for, at most %d allowed", len(heads), MaxHeads)
	}
	var w wire.Writer
	putHeads(&w, heads)
	c.counters.otherUp.Add(uint64(len(w.B)))
	res, err := c.send(ctx, c.stream, pathWait, int64(len(w.B)), bodyOf(w.B))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for first := true; ; first = false {
		kind, body, err := c.waitFrame(res.Body)
		if err != nil {
			return c.streamFailure(ctx, pathWait, err)
		}
		if err := c.config.Meter.Message(ctx, Down, frameHeader+len(body)); err != nil {
			return err
		}
		if first != (kind == frameHello) && kind != frameError {
			return notSignet(pathWait, fmt.Errorf("frame %d out of order", kind))
		}
		switch kind {
		case frameHello:
			if len(body) != 4 {
				return notSignet(pathWait, fmt.Errorf("hello of %d bytes", len(body)))
			}
			ping := time.Duration(binary.BigEndian.Uint32(body)) * time.Millisecond
			res.Body.(*watchedBody).watch.limit = min(max(ping, time.Millisecond), maxPing) * 5 / 2
		case framePage:
			r := wire.NewReader(body)
			p := takePage(r)
			if err := r.Done(); err != nil {
				return notSignet(pathWait, err)
			}
			if err := each(p); err != nil {
				return err
			}
		case frameShown:
			r := wire.NewReader(body)
			g := takeGlimpse(r)
			if err := r.Done(); err != nil {
				return notSignet(pathWait, err)
			}
			if shown != nil {
				shown(g)
			}
		case framePing:
		case frameEnd:
			return Errorf(KindUnavailable, "wait: the service is going down")
		case frameError:
			return c.frameError(pathWait, body)
		default:
			return notSignet(pathWait, fmt.Errorf("frame of type %d", kind))
		}
	}
}

// waitFrame reads one frame into memory of its own: pages are kept.
func (c *Client) waitFrame(r io.Reader) (kind uint8, body []byte, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > maxPage {
		return 0, nil, fmt.Errorf("frame of %d bytes: %w", n, wire.ErrMalformed)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	c.counters.otherDown.Add(uint64(n) + frameHeader)
	return h[0], body, err
}

// frameError is the error that the last frame of a stream holds.
func (c *Client) frameError(path string, body []byte) error {
	e, err := decodeError(body)
	if err != nil {
		return notSignet(path, err)
	}
	return e
}

// streamFailure is the failure of a stream that began well: one that just ends
// was cut.
func (c *Client) streamFailure(ctx context.Context, path string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return c.failure(ctx, path, err)
}
