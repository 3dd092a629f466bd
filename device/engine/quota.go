package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// Where the service has no room for what changed here, the volume goes on with
// all else: what others write arrives, and what brings no content is sent, such
// as deletions. What does not fit stays planned; it is weighed again at each turn,
// and goes when there is room.

// kindQuota is the kind of the service's refusal.
const kindQuota = "quota"

// perFile and perEntry are what is stored of a file and of an entry besides
// contents, in bytes, about.
const (
	perFile  = 1 << 10
	perEntry = 16 << 10
)

// How often a volume looks for room: one that waits for it, and one that has much
// to send.
const (
	roomAgain = 20 * time.Second
	roomKnown = 10 * time.Minute
)

// A QuotaError is that of changes for which the service has no room.
type QuotaError struct {
	signet.Usage
	Files int   // that wait
	Bytes int64 // of them, as they are on the disk
}

// Error says what does not fit where.
func (q *QuotaError) Error() string {
	return fmt.Sprintf("the service has no room for %d files of %d bytes: the owner of this region has %d bytes there, at most %d allowed", q.Files, q.Bytes, q.Used, q.Limit)
}

// Unwrap makes it a signet.ErrNotAllowed.
func (q *QuotaError) Unwrap() error { return signet.ErrNotAllowed }

// ErrorKind and ErrorHint are for the command line.
func (q *QuotaError) ErrorKind() string { return kindQuota }
func (q *QuotaError) ErrorHint() string {
	return "they stay on this device alone and go when there is room: signet region collect gives back what nothing kept uses, or ask who runs the service for more"
}

// noRoom reports whether the service refused something for want of room.
func noRoom(err error) bool {
	return errors.Is(err, signet.ErrNotAllowed) && kindOf(err) == kindQuota
}

// crowded is what a volume remembers of a service without room. Of the loop.
type crowded struct {
	full    bool                    // something did not fit
	asked   time.Time               // when the service was asked last
	waits   map[signet.NodeID]bool  // what the last plan left out
	refused map[signet.NodeID]tried // what looked as if it fitted, and did not
}

// tried is what was refused, and with how much room.
type tried struct {
	hash [32]byte
	left int64
}

// Usage asks the service how much it keeps for the owner of a region. Where there is
// more room than there was, what waits for it is tried.
func (d *Device) Usage(ctx context.Context, id signet.RegionID) (signet.Usage, error) {
	u, err := d.Service.Usage(ctx, id)
	if err != nil {
		return u, err
	}
	d.mu.Lock()
	var of []*volume
	for _, v := range d.volumes {
		if v.region.ID() == id {
			of = append(of, v)
		}
	}
	d.mu.Unlock()
	for _, v := range of {
		v.mu.Lock()
		waits := v.status.State == OverQuota
		more := u.Limit == 0 || u.Limit-u.Used > v.status.Limit-v.status.Used
		v.status.Used, v.status.Limit = u.Used, u.Limit
		v.mu.Unlock()
		if waits && more {
			v.wake()
		}
	}
	return u, nil
}

// left is how much room there is as far as is known; none where there is no limit.
func (v *volume) left() (bytes int64, limited bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status.Limit - v.status.Used, v.status.Limit > 0
}

// askRoom asks before a large file is read, which is sent on the way. Where the
// service does not answer it is not asked again for a while, and decides itself.
func (v *volume) askRoom(ctx context.Context) {
	if now := v.d.Now(); now.Sub(v.crowded.asked) > roomKnown {
		v.crowded.asked = now
		_, _ = v.d.Usage(ctx, v.region.ID())
	}
}

// fits reports whether there may be room for a file of a size.
func (v *volume) fits(size int64) bool {
	left, limited := v.left()
	return !limited || size <= left
}

// brings estimates what a file of a plan takes on the service. What an edit
// leaves as it was is there already; a copy is taken for new.
func (v *volume) brings(op tree.Op) int64 {
	size := op.Size
	if b, had := v.index.base.Get(op.Node); had && op.Kind == tree.Edit {
		size = max(size-b.Size, 0)
	}
	return size + size/8 + perFile // sealing makes them so much longer at most
}

// makeFit takes from a plan what the service has no room for, the largest first. It
// asks only where there was no room, or a large file is to be sent.
func (v *volume) makeFit(ctx context.Context, p *plan.Plan) (over *QuotaError, err error) {
	var files []tree.Op
	large := false
	for _, op := range p.Up {
		if content(op) {
			files = append(files, op)
			large = large || op.Size >= heavySize
		}
	}
	c := &v.crowded
	c.waits = nil
	if c.full && len(files) > 0 {
		c.asked = v.d.Now()
		if _, err := v.d.Usage(ctx, v.region.ID()); err != nil {
			return nil, err
		}
	} else if large {
		v.askRoom(ctx)
	}
	room, limited := v.left()
	if !limited || len(files) == 0 {
		c.full, c.refused = false, nil
		return nil, nil
	}
	slices.SortStableFunc(files, func(a, b tree.Op) int { return cmp.Compare(v.brings(a), v.brings(b)) })
	left, waits := room-perEntry, map[signet.NodeID]bool{}
	over = &QuotaError{}
	for _, op := range files {
		t, was := c.refused[op.Node]
		n := v.brings(op)
		if was && t.hash == op.Hash && room <= t.left || n > left {
			waits[op.Node] = true
			over.Files, over.Bytes = over.Files+1, over.Bytes+op.Size
			continue
		}
		left -= n
	}
	if c.full = len(waits) > 0; !c.full {
		return nil, nil
	}
	v.mu.Lock()
	over.Used, over.Limit = v.status.Used, v.status.Limit
	v.mu.Unlock()
	c.waits = waits
	p.Up = slices.DeleteFunc(slices.Clone(p.Up), func(op tree.Op) bool { return content(op) && waits[op.Node] })
	return over, nil
}

// content reports whether an operation brings a file's content.
func content(op tree.Op) bool {
	return op.Type == tree.File && (op.Kind == tree.Create || op.Kind == tree.Edit)
}

// upWithin is up, of a volume that may meet a service without room: then half of
// the files are tried, the smallest, so that one that does not fit keeps no others
// from going. err is nil where that is all that went wrong; more says that the next
// turn is to go on.
func (v *volume) upWithin(ctx context.Context, ops []tree.Op) (sent int, more bool, err error) {
	for {
		n, err := v.up(ctx, ops)
		sent += n
		if !noRoom(err) {
			return sent, more, err
		}
		v.d.fed(v.region) // it was answered
		more, v.crowded.full = true, true
		var files, rest []tree.Op
		for _, op := range ops {
			if content(op) {
				files = append(files, op)
			} else {
				rest = append(rest, op)
			}
		}
		switch {
		case len(files) == 0:
			return sent, false, err
		case n > 0:
			return sent, more, nil // what was sent is planned no more
		case len(files) == 1:
			v.refuse(files[0])
			ops = rest
		default:
			slices.SortStableFunc(files, func(a, b tree.Op) int { return cmp.Compare(v.brings(a), v.brings(b)) })
			half := map[signet.NodeID]bool{}
			for _, op := range files[:len(files)/2] {
				half[op.Node] = true
			}
			ops = slices.DeleteFunc(slices.Clone(ops), func(op tree.Op) bool { return content(op) && !half[op.Node] })
		}
	}
}

// refuse notes that a file does not fit into what room there is.
func (v *volume) refuse(op tree.Op) {
	c := &v.crowded
	if c.refused == nil {
		c.refused = map[signet.NodeID]tried{}
	}
	left, _ := v.left()
	c.refused[op.Node] = tried{op.Hash, left}
}
