package engine

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signet"
	"signet/core/seal"
	"signet/core/tree"
)

// A leftover is a staged file that says when it went.
type leftover struct {
	Staged
	gone atomic.Bool
}

func (l *leftover) Discard() error { l.gone.Store(true); return nil }

func glimpseOf(node, reading byte, pieces ...uint32) *seal.Glimpse {
	g := &seal.Glimpse{Node: signet.NodeID{node}, Reading: [8]byte{reading}, Size: seal.LongFile}
	for _, i := range pieces {
		g.Pieces = append(g.Pieces, seal.Placed{Index: i, Ref: seal.Ref{Size: 1000}})
	}
	return g
}

// sketching begins a sketch of a file and fetches what it is shown, never anything.
func sketching(s *sketches, g *seal.Glimpse) (*sketch, *leftover) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &leftover{}
	k := s.begin(g, l, cancel)
	go func() {
		for len(k.next(1)) > 0 && ctx.Err() == nil {
		}
		k.end()
	}()
	return k, l
}

func TestASketchGoesWhenNothingMoreIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sketches{}
		_, l := sketching(s, glimpseOf(1, 1, 0))
		for i := range uint32(5) {
			<-time.After(sketchQuiet - time.Second)
			s.offer(glimpseOf(1, 1, i), time.Now())
		}
		synctest.Wait()
		if l.gone.Load() {
			t.Fatal("it went while more came")
		}
		<-time.After(sketchQuiet + time.Second)
		synctest.Wait()
		if !l.gone.Load() || len(s.under) > 0 {
			t.Fatal("it is there for ever")
		}
	})
}

func TestASketchIsTakenOnceAndMayRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sketches{}
		k, l := sketching(s, glimpseOf(1, 1, 0, 1))
		n := glimpsed(k)
		n.Size++
		if s.take(n) != nil {
			t.Error("a file of another length was taken for it")
		}
		n.Size--
		if s.take(n) != k || s.take(n) != nil {
			t.Fatal("not taken, or twice")
		}
		if err := k.wait(t.Context()); err != nil || l.gone.Load() {
			t.Fatalf("%v, gone: %v", err, l.gone.Load())
		}
		s.rest(k) // the service went away
		<-time.After(sketchQuiet * 2)
		if s.take(n) != k || l.gone.Load() {
			t.Fatal("it did not rest")
		}
		s.rest(k)
		_, l2 := sketching(s, glimpseOf(1, 2, 0)) // the file is read once more
		synctest.Wait()
		if !l.gone.Load() || l2.gone.Load() {
			t.Error("what rested is left where another began, or the other is not")
		}
		s.stop()
		if !l2.gone.Load() {
			t.Error("it is left when all stops")
		}
		s.rest(k)
		if len(s.under) > 0 {
			t.Error("what has gone rests")
		}
	})
}

func TestWhatIsOfferedIsBounded(t *testing.T) {
	s := &sketches{}
	now := time.Now()
	if !s.offer(glimpseOf(1, 1, 0), now) || s.offer(glimpseOf(1, 1, 1), now) {
		t.Error("the first of a file is looked at, and no other")
	}
	if s.offer(glimpseOf(2, 1, 0), now) {
		t.Error("two new files within a second")
	}
	now = now.Add(offerEvery)
	if !s.offer(glimpseOf(2, 1, 0), now) {
		t.Error("a second file is not looked at")
	}
	for i := range byte(100) {
		if now = now.Add(offerEvery); s.offer(glimpseOf(3+i, 1, 0), now) {
			t.Fatalf("%d files at once", 3+i)
		}
	}
	for i := range uint32(2 * mostOffered) {
		s.offer(glimpseOf(1, 1, i), now)
	}
	s.offer(glimpseOf(2, 2, 7), now) // read once more before anybody looked
	list := s.look()
	if len(list) != 2 || list[1].Reading != [8]byte{2} || len(list[0].Pieces) > mostOffered || len(s.look()) != 0 {
		t.Errorf("%d files, %d pieces of the first", len(list), len(list[0].Pieces))
	}
	k, _ := sketching(s, list[0])
	if !s.offer(glimpseOf(1, 2, 0), now.Add(offerEvery)) {
		t.Error("a file that is read once more is not looked at")
	}
	select {
	case <-k.gone:
	case <-time.After(time.Minute):
		t.Error("what was read before is left")
	}
	s.stop()
}

// glimpsed is the node that an entry makes of what was sketched.
func glimpsed(k *sketch) (n tree.Node) {
	n.ID, n.Size = k.node, k.size
	return n
}
