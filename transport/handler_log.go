package transport

import (
	"context"
	"errors"
	"fmt"

	"signet"
	"signet/core/wire"
)

func (c *call) enrol() error {
	sent, x, err := c.takeOffer(nil)
	if err != nil {
		return err
	}
	receipt, err := c.backend.Enrol(c.r.Context(), x, sent)
	if err != nil {
		return err
	}
	return c.answerReceipt(receipt)
}

func (c *call) append() error {
	var log signet.LogID
	sent, x, err := c.takeOffer(&log)
	if err != nil {
		return err
	}
	// An append that has begun is finished whether or not the device is
	// still there: it will ask again, and get the receipt.
	receipt, err := c.ch.session.Append(context.WithoutCancel(c.r.Context()), log, x, sent)
	if err != nil {
		return err
	}
	return c.answerReceipt(receipt)
}

// takeOffer reads the body of an append (log not nil) or enrolment.
func (c *call) takeOffer(log *signet.LogID) (sent int64, x signet.Record, err error) {
	r, err := c.body()
	if err != nil {
		return 0, x, err
	}
	if log != nil {
		*log = takeLog(r)
	}
	sent = r.I64()
	x = takeRecord(r)
	if err := r.Done(); err != nil {
		return 0, x, malformed(err)
	}
	return sent, x, nil
}

func (c *call) answerReceipt(x signet.Receipt) error {
	if len(x.Leaf) > MaxLeaf || len(x.Checkpoint) > MaxCheckpoint || len(x.Proof) > MaxProof {
		return fmt.Errorf("receipt is over its limits: leaf %d, checkpoint %d bytes, proof %d", len(x.Leaf), len(x.Checkpoint), len(x.Proof))
	}
	var w wire.Writer
	putReceipt(&w, x)
	return c.answer(w.B)
}

func (c *call) read() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	log, from, parts := takeLog(r), r.U64(), signet.Parts(r.U8())
	if parts&^signet.Whole != 0 {
		r.Fail("parts %d", parts)
	}
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	page, err := c.ch.session.Read(c.r.Context(), log, from, parts)
	if err != nil {
		return err
	}
	if err := checkPage(page); err != nil {
		return err
	}
	var w wire.Writer
	putPage(&w, page)
	return c.answer(w.B)
}

// checkPage finds what a Backend must not hand out because no client takes it.
func checkPage(p signet.Page) error {
	if len(p.Checkpoint) > MaxCheckpoint {
		return fmt.Errorf("checkpoint of %d bytes", len(p.Checkpoint))
	}
	for _, x := range p.Records {
		if err := checkRecord(x); err != nil {
			return fmt.Errorf("%s: stored record: %s", p.Log, err)
		}
	}
	return nil
}

func (c *call) usage() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	var region signet.RegionID
	r.Raw(region[:])
	if err := r.Done(); err != nil {
		return Errorf(KindBadRequest, "%v", err)
	}
	u, err := c.ch.session.Usage(c.r.Context(), region)
	if err != nil {
		return err
	}
	var w wire.Writer
	putUsage(&w, u)
	return c.answer(w.B)
}

func (c *call) recovering() error {
	logs, err := c.ch.session.Recovering(c.r.Context())
	if err != nil {
		return err
	}
	var w wire.Writer
	putLogs(&w, logs[:min(len(logs), MaxHeads)])
	return c.answer(w.B)
}

func (c *call) reoffer() error {
	// A page is as large as what a Put holds, and is held to the same number.
	if c.r.ContentLength > smallBuffer {
		if err := c.uploads.begin(c.r.Context(), c.ch.device); err != nil {
			return err
		}
		defer c.uploads.end(c.ch.device)
	}
	r, err := c.body()
	if err != nil {
		return err
	}
	o := takeReoffer(r)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	size, whole, err := c.ch.session.Reoffer(context.WithoutCancel(c.r.Context()), o)
	if err != nil {
		return err
	}
	var w wire.Writer
	w.U64(size)
	w.U8(flag(whole))
	return c.answer(w.B)
}

func (c *call) putRecord() error {
	b := make([]byte, c.r.ContentLength)
	if err := c.fill(b); err != nil {
		return err
	}
	if err := c.ch.session.PutRecord(context.WithoutCancel(c.r.Context()), b); err != nil {
		return err
	}
	return c.answer(nil)
}

func (c *call) records() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	var owner [32]byte
	r.Raw(owner[:])
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	records, err := c.ch.session.Records(c.r.Context(), owner)
	if err != nil {
		return err
	}
	if len(records) > MaxRecords {
		return fmt.Errorf("%d sealed records of one owner", len(records))
	}
	for _, x := range records {
		if len(x) > MaxSealedRecord {
			return fmt.Errorf("stored sealed record of %d bytes", len(x))
		}
	}
	var w wire.Writer
	putRecords(&w, records)
	return c.answer(w.B)
}

func (c *call) relayPut() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	place, slot := takePlace(r)
	message := r.Vec24(MaxRelay)
	if slot == InvitationSlot {
		r.Fail("slot %d", slot)
	}
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	if err := c.backend.RelayPut(c.r.Context(), place, slot, message); err != nil {
		return err
	}
	return c.answer(nil)
}

// relayGet waits for a message as long as between two pings; then it answers
// that there is none yet, and the device asks again.
func (c *call) relayGet() error {
	r, err := c.body()
	if err != nil {
		return err
	}
	place, slot := takePlace(r)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.limits.Ping)
	defer cancel()
	go func() {
		select {
		case <-c.ch.server.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	message, err := c.backend.RelayGet(ctx, place, slot)
	var w wire.Writer
	switch {
	case err == nil && len(message) > MaxRelay:
		return fmt.Errorf("relayed message of %d bytes", len(message))
	case err == nil:
		w.U8(1)
		w.Vec24(message)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		w.U8(0)
		w.Vec24(nil)
	default:
		return err
	}
	return c.answer(w.B)
}

func takePlace(r *wire.Reader) (place [32]byte, slot uint8) {
	r.Raw(place[:])
	if slot = r.U8(); slot > MaxSlot {
		r.Fail("slot %d", slot)
	}
	return place, slot
}
