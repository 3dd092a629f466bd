package sim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
)

// A world is what one seed decides: in which order steps are done, and what
// goes wrong.
type world struct {
	rnd *rand.Rand // of the scheduler alone

	mu      sync.Mutex
	wanted  []*step
	arrived chan struct{} // something was wanted since it was made
	running int           // actors that have not ended
	steps   int
	sum     hash.Hash
	trace   []string // the steps done, where asked for
	tracing bool
	noting  sync.Mutex
	failed  error // no end: everything is made to end
}

// A step waits to be done.
type step struct {
	who, what string
	more      string // tells apart what is said in the same words
	life      *life
	grant     chan error
}

// A life is one run of a device's program, from its start to its end or its
// crash. After a crash its goroutines find that nothing works any more.
type life struct {
	dead    atomic.Bool
	crashAt int // so many steps from its start; 0: never
	done    int
	before  bool // the last step is not done, else it is done and not known of
	onCrash func()
}

var errDead = errors.New("this program was killed")

func newWorld(seed uint64) *world {
	return &world{rnd: rand.New(rand.NewPCG(seed, 0x5167)), arrived: make(chan struct{}, 1), sum: sha256.New()}
}

// act begins an actor: a goroutine that wants steps.
func (w *world) act(f func()) {
	w.mu.Lock()
	w.running++
	w.mu.Unlock()
	go func() {
		f()
		w.mu.Lock()
		w.running--
		w.mu.Unlock()
		w.ring()
	}()
}

func (w *world) ring() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// do waits for its turn and does one step. A step that a crash comes after is
// done, but whoever wanted it does not learn so.
func (w *world) do(who, what string, l *life, f func()) error {
	return w.doOne(&step{who: who, what: what, life: l, grant: make(chan error)}, f)
}

func (w *world) doOne(s *step, f func()) error {
	l := s.life
	w.mu.Lock()
	w.wanted = append(w.wanted, s)
	w.mu.Unlock()
	w.ring()
	err := <-s.grant
	if err == nil {
		f()
	}
	if l == nil || err != nil {
		return err
	}
	if l.crashAt > 0 && l.done >= l.crashAt {
		l.die()
		return errDead
	}
	return nil
}

func (l *life) die() {
	if !l.dead.Swap(true) {
		l.onCrash()
	}
}

// run does steps until all actors have ended.
func (w *world) run(limit int) error {
	for {
		synctest.Wait()
		// Time passes with every step, a little, so that two changes of one file
		// can have one time, and mostly do not. What it wakes comes to rest first.
		if w.rnd.IntN(4) > 0 {
			time.Sleep(time.Duration(1 + w.rnd.IntN(3_000_000)))
			synctest.Wait()
		}
		w.mu.Lock()
		if w.running == 0 && len(w.wanted) == 0 {
			w.mu.Unlock()
			return w.failed
		}
		if len(w.wanted) == 0 {
			w.mu.Unlock()
			<-w.arrived // lets the clock go on
			continue
		}
		// Who came first is chance; what is wanted is not.
		slices.SortStableFunc(w.wanted, func(a, b *step) int {
			return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.what, b.what), cmp.Compare(a.more, b.more))
		})
		n := len(w.wanted)
		i := w.rnd.IntN(n)
		s := w.wanted[i]
		w.wanted = slices.Delete(w.wanted, i, i+1)
		w.steps++
		line := s.who + " " + s.what
		if w.steps > limit && w.failed == nil {
			w.failed = fmt.Errorf("no end after %d steps; the last: %s", limit, line)
		}
		w.sum.Write([]byte(line + "\n"))
		if w.tracing {
			w.note(fmt.Sprintf("%s (of %d)", line, n))
		}
		w.mu.Unlock()
		var err error
		switch l := s.life; {
		case w.failed != nil:
			err = errDead
		case l == nil:
		case l.dead.Load():
			err = errDead
		default:
			l.done++
			if l.crashAt > 0 && l.done >= l.crashAt && l.before {
				l.die()
				err = errDead
			}
		}
		s.grant <- err
	}
}

// note adds a line to the trace, where there is one.
func (w *world) note(line string) {
	if w.tracing {
		w.noting.Lock()
		defer w.noting.Unlock()
		w.trace = append(w.trace, time.Now().Format("15:04:05.000000 ")+line)
	}
}

// digest stands for all steps that were done.
func (w *world) digest() string { return hex.EncodeToString(w.sum.Sum(nil)[:8]) }
