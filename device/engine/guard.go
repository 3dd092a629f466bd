package engine

import (
	"encoding/json"
	"slices"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
)

// guard is what a volume remembers about deletions in great number. It is kept
// in the store: without a daemon the command that asks and the one that
// carries out are two processes. Under the volume's mu.
type guard struct {
	// Up and Down say that deletions, to commit or on the disk, are held. They
	// stay so until a person answers or the files are back: a new file beside
	// them would else make the threshold higher and let them go.
	Up   bool `json:"up,omitempty"`
	Down bool `json:"down,omitempty"`
	Held int  `json:"held,omitempty"` // how many
	// Approved is how many of them may go. More, found later, ask again.
	Approved int `json:"approved,omitempty"`
	// Back are nodes that are to come back instead.
	Back   []signet.NodeID `json:"back,omitempty"`
	Recent []deletion      `json:"recent,omitempty"` // committed or applied without being asked about
}

// A deletion is how many files went at a time.
type deletion struct {
	At time.Time `json:"at"`
	N  int       `json:"n"`
}

// guardWindow is for how long deletions add up for the guard.
const guardWindow = 10 * time.Minute

// A deletion of many files shows bit by bit, so the guard would see the first
// few alone and let them go. While a watch is on, deletions wait until no more
// have come for quiet, but never longer than quietMost.
const (
	quiet     = 300 * time.Millisecond
	quietMost = 5 * time.Second
)

// quietBack is quiet for what is gone here and wanted by others.
const quietBack = time.Second

// dying is how many deletions wait, and since when.
type dying struct {
	n           int
	first, last time.Time // the first came, the last came
}

// until says when n that wait now are due, after quiet: never where they are.
func (d *dying) until(n int, now time.Time, quiet time.Duration) (due time.Time) {
	switch {
	case n == 0:
		*d = dying{}
		return time.Time{}
	case d.n == 0:
		*d = dying{n, now, now}
	case d.n != n:
		d.n, d.last = n, now
	}
	due = d.last.Add(quiet)
	if most := d.first.Add(quietMost); most.Before(due) {
		due = most
	}
	if !due.After(now) {
		*d = dying{}
		return time.Time{}
	}
	return due
}

// hesitate takes deletions that may not be all out of a plan, and says when
// they are due: never where there are none. What makes room for something new
// of the same name goes at once.
func (v *volume) hesitate(p *plan.Plan) (due time.Time) {
	type name struct {
		parent signet.NodeID
		name   string
	}
	taken := map[name]bool{}
	for _, op := range p.Up {
		if op.Kind == tree.Create || op.Kind == tree.Move {
			taken[name{op.Parent, op.Name}] = true
		}
	}
	now, n, rest := v.d.Now(), 0, 0
	waits := func(op tree.Op) bool {
		if op.Kind != tree.Delete {
			return false
		}
		b := v.index.base.of(op.Node)
		if !taken[name{b.Parent, b.Name}] {
			n++
			return true
		}
		if b.Type != tree.Dir {
			rest++
		}
		return false
	}
	up := slices.DeleteFunc(slices.Clone(p.Up), waits)
	if v.hints == nil {
		n = 0
	}
	if due = v.dying.until(n, now, quiet); !due.IsZero() {
		p.Up, p.Guard.Up = up, rest
	}
	return due
}

// hesitateDown takes out of a plan what would bring back what is gone here, and
// others want, and what goes into it, and says when that is due. It may turn up
// under another name: a folder that is renamed over and over is nowhere as long as
// each look comes too late, and brought back it would be two.
func (v *volume) hesitateDown(p *plan.Plan) (due time.Time) {
	waits := map[signet.NodeID]bool{}
	if v.hints != nil {
		for _, a := range p.Down { // parents first
			based := v.index.base.has(a.Node)
			gone := based && v.index.items[a.Node] == nil && (a.Verb == plan.MkDir || a.Verb == plan.Fetch)
			if gone || (a.Verb == plan.MkDir || a.Verb == plan.Fetch || a.Verb == plan.Move) && waits[a.Parent] {
				waits[a.Node] = true
			}
		}
	}
	if due = v.returning.until(len(waits), v.d.Now(), quietBack); !due.IsZero() {
		p.Down = slices.DeleteFunc(slices.Clone(p.Down), func(a plan.Action) bool { return waits[a.Node] })
	}
	return due
}

func guardNote(volume string) string { return "guard:" + volume }

// loadGuard reads what an earlier process left.
func (v *volume) loadGuard() error {
	b, err := v.d.Store.Note(guardNote(v.id))
	if err != nil || b == nil {
		return err
	}
	json.Unmarshal(b, &v.guard) // a note that cannot be read is one that asks again
	v.status.HeldDeletes = max(v.guard.Held-v.guard.Approved, 0)
	return nil
}

// regard changes the guard, and stores it if that made a difference.
func (v *volume) regard(f func(*guard)) error {
	v.mu.Lock()
	before, _ := json.Marshal(v.guard)
	f(&v.guard)
	after, err := json.Marshal(v.guard)
	v.mu.Unlock()
	if err != nil || string(before) == string(after) {
		return err
	}
	return v.d.Store.SetNote(guardNote(v.id), after)
}

// weigh decides whether deletions that a plan counts are held. With the
// device's lock held.
func (v *volume) weigh(g plan.Guard) (up, down bool, err error) {
	now, held := v.d.Now(), 0
	err = v.regard(func(s *guard) {
		s.Recent = slices.DeleteFunc(s.Recent, func(d deletion) bool { return now.Sub(d.At) > guardWindow })
		lately := 0
		for _, d := range s.Recent {
			lately += d.N
		}
		s.Up = g.Up > 0 && (s.Up || plan.Exceeds(g.Up+lately, g.Total+lately))
		s.Down = g.Down > 0 && (s.Down || plan.Exceeds(g.Down+lately, g.Total+lately))
		s.Held = 0
		if s.Up {
			s.Held += g.Up
		}
		if s.Down {
			s.Held += g.Down
		}
		if s.Held == 0 {
			s.Approved = 0
		}
		up, down = s.Up, s.Down
		if held = s.Held; held <= s.Approved {
			up, down, held = false, false, 0
		}
	})
	v.set(func(s *VolumeStatus) { s.HeldDeletes = held })
	v.heldUp = up
	return up, down, err
}

// guarded notes that files were deleted, for the guard; those that a person
// approved do not count.
func (v *volume) guarded(n int) {
	if n > 0 {
		v.regard(func(s *guard) {
			if s.Approved == 0 {
				s.Recent = append(s.Recent, deletion{v.d.Now(), n})
			}
		})
	}
}

// bringBack forgets the base of nodes that a person wants back.
func (v *volume) bringBack() error {
	v.mu.Lock()
	nodes := v.guard.Back
	v.mu.Unlock()
	if len(nodes) == 0 {
		return nil
	}
	for _, n := range nodes {
		if v.index.items[n] == nil {
			v.index.forget(n)
		}
	}
	// The index first: a crash between finds them forgotten, and forgets again.
	if err := v.d.Store.flush(v.id, v.index); err != nil {
		return err
	}
	return v.regard(func(s *guard) { s.Back = slices.Clone(s.Back[len(nodes):]) })
}

// ApproveDeletes lets the deletions go that the guard holds in a volume, and
// returns how many these are.
func (d *Device) ApproveDeletes(id string) (n int, err error) {
	v, err := d.volume(id)
	if err != nil {
		return 0, err
	}
	err = v.regard(func(s *guard) { s.Approved = s.Held; n = s.Held })
	v.wake()
	return n, err
}

// BringBack makes a volume take nodes that are gone from its disk as never
// seen there: what the journal has of them comes back. For deletions that are
// held.
func (d *Device) BringBack(id string, nodes []signet.NodeID) error {
	v, err := d.volume(id)
	if err != nil {
		return err
	}
	err = v.regard(func(s *guard) { s.Back = append(s.Back, nodes...) })
	v.wake()
	return err
}
