package line

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const step = 64 << 10

// A pipe is a line under test whose far end takes so many bytes a second.
type pipe struct {
	*Line
	rate int64
	free time.Time
}

// carry is a transfer of n bytes: each step waits for its turn, and then for
// the pipe, as a write to a full socket does.
func (p *pipe) carry(t *testing.T, c Class, n int) {
	ctx := With(t.Context(), c)
	end := p.Begin(ctx, Up)
	defer end()
	for ; n > 0; n -= step {
		if err := p.Move(ctx, Up, min(n, step)); err != nil {
			t.Error(err)
			return
		}
		p.mu.Lock()
		if now := time.Now(); p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(min(n, step)) * time.Second / time.Duration(p.rate))
		wait := time.Until(p.free)
		p.mu.Unlock()
		<-time.After(wait)
	}
}

func newPipe(rate int64) *pipe { return &pipe{Line: New(time.Now), rate: rate} }

func TestALimitHoldsForManyTransfersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(100 << 20)
		p.SetLimit(Up, 1<<20)
		start, done := time.Now(), make(chan bool)
		for c := range classes {
			go func() { p.carry(t, c, 3<<20); done <- true }()
		}
		for range classes {
			<-done
		}
		if took := time.Since(start).Seconds(); took < 11.5 || took > 12.2 {
			t.Errorf("12 MiB at 1 MiB a second took %.2f s", took)
		}
	})
}

func TestTheLargestKeepsAFifthOfALineThatNobodyMeasured(t *testing.T) {
	for _, limit := range []int64{0, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipe(1250000)
			p.SetLimit(Up, limit)
			for _, c := range []Class{Small, Small, Largest, Largest, Next} {
				go p.carry(t, c, 60<<20)
			}
			<-time.After(5 * time.Second)
			before := p.Moved(Up)
			<-time.After(20 * time.Second)
			sum, part := int64(0), [classes]float64{}
			for c, n := range p.Moved(Up) {
				sum += n - before[c]
			}
			for c, n := range p.Moved(Up) {
				part[c] = float64(n-before[c]) / float64(sum)
			}
			if part[Largest] < 0.19 || part[Largest] > 0.22 || part[Next] < 0.04 || part[Next] > 0.07 || part[Small] < 0.7 {
				t.Errorf("limit %d: shares %.3f", limit, part)
			}
			t.Log(part)
			want := float64(p.rate)
			if limit > 0 {
				want = float64(limit)
			}
			if p.Rate(Up) < 0.85*want || p.Rate(Up) > 1.1*want {
				t.Errorf("measured %.0f bytes a second, %.0f pass", p.Rate(Up), want)
			}
			<-time.After(10 * time.Minute)
		})
	}
}

func TestWhatWasSavedGoesFirstAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(1 << 20)
		for _, c := range []Class{Small, Small, Next, Largest} {
			go p.carry(t, c, 20<<20)
		}
		<-time.After(10 * time.Second)
		start, before := time.Now(), p.Moved(Up)
		p.carry(t, Saved, 2<<20)
		took, after := time.Since(start).Seconds(), p.Moved(Up)
		if took > 4 { // 65 % of 1 MiB a second
			t.Errorf("2 MiB took %.2f s", took)
		}
		for c := Small; c < classes; c++ {
			if after[c] == before[c] {
				t.Errorf("class %d did not move", c)
			}
		}
		<-time.After(10 * time.Minute)
	})
}

func TestATransferThatMovesNothingHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(1 << 20)
		end := p.Begin(With(t.Context(), Saved), Up)
		defer end()
		start := time.Now()
		p.carry(t, Next, 8<<20)
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("8 MiB took %v beside a transfer that is dead", took)
		}
	})
}

func TestMessagesWaitForNoObjectAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(100 << 20)
		p.SetLimit(Up, 1<<20)
		done := make(chan bool)
		start := time.Now()
		go func() { p.carry(t, Small, 4<<20); done <- true }()
		<-time.After(time.Second)
		for range 8 {
			at := time.Now()
			if err := p.Message(t.Context(), Up, 32<<10); err != nil || time.Since(at) > 0 {
				t.Errorf("a message took %v: %v", time.Since(at), err)
			}
		}
		<-done
		if took := time.Since(start).Seconds(); took < 4.1 || took > 4.5 {
			t.Errorf("4 MiB of objects and 256 KiB of messages took %.2f s", took)
		}
		// Messages alone keep the limit too.
		start = time.Now()
		for range 64 {
			p.Message(t.Context(), Up, 128<<10)
		}
		if took := time.Since(start).Seconds(); took < 6.5 || took > 8.1 {
			t.Errorf("8 MiB of messages took %.2f s", took)
		}
	})
}

func TestWhoGivesUpLetsTheOthersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(time.Now)
		l.SetLimit(Down, 64<<10)
		if err := l.Move(t.Context(), Down, step); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.Move(ctx, Down, step); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		start := time.Now()
		if err := l.Move(t.Context(), Down, step); err != nil || time.Since(start) > time.Second {
			t.Errorf("after one that gave up: %v, %v", time.Since(start), err)
		}
		// A limit that is lifted holds nobody any more.
		freed := make(chan error)
		go func() { freed <- l.Move(t.Context(), Down, step) }()
		synctest.Wait()
		l.SetLimit(Down, 0)
		if err := <-freed; err != nil || time.Since(start) > time.Second {
			t.Errorf("after the limit was lifted: %v, %v", time.Since(start), err)
		}
	})
}
