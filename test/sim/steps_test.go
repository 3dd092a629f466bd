//go:build !race

package sim

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestSameSeedSameSteps(t *testing.T) {
	o := once(t)
	for seed := *firstSeed; seed < *firstSeed+3; seed++ {
		a, b := simulate(t, o, seed, true), simulate(t, o, seed, true)
		if a.digest() == b.digest() {
			continue
		}
		for i := range a.trace {
			if i >= len(b.trace) || a.trace[i] != b.trace[i] {
				from := max(0, i-20)
				t.Errorf("seed %d: step %d of %d:\n%s\nand then\n%s", seed, i, len(a.trace), strings.Join(a.trace[from:i+1], "\n"), strings.Join(b.trace[from:min(i+1, len(b.trace))], "\n"))
				break
			}
		}
	}
}

// A move that another device made was on disk, and not synced, when Signet was killed.
// What ran next found it equal to the journal and noted it as agreed on; then the power
// went, the disk had the old name again, and that was sent as a move that nobody made.
func TestAMoveIsDurableBeforeItIsAgreedOn(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u, other := &user{device: a, rnd: a.rnd}, &user{device: b, rnd: b.rnd}
		name := func(i int) string { return fmt.Sprintf("name %d", i) }
		u.create(name(0), "what was saved")
		time.Sleep(time.Hour) // the disk has it
		a.pass()
		b.pass()
		n := 0
		for step := 1; ; step++ {
			through := 0
			for i := range 8 { // before or after the step; in half of them the power goes with the program
				other.rename(name(n), name(n+1))
				n++
				b.pass()
				a.disk.durable()
				l := &life{crashAt: step, before: i%2 == 0}
				a.live(1, false, l)
				if !l.dead.Load() {
					through++
				}
				a.pass()
				a.disk.nodes = maps.Clone(a.disk.past[0].nodes) // the power goes
				a.disk.durable()
				a.pass()
				b.pass()
				if l := b.disk.listing(); !strings.Contains(l, name(n)) {
					t.Fatalf("killed at step %d, with the power gone after the next pass: b has\n%s", step, l)
				}
				agree(t, a, b, name(n))
			}
			if through > 0 || step == 50 {
				if step < 5 || step == 50 {
					t.Errorf("killed at %d steps", step)
				}
				return
			}
		}
	})
}
