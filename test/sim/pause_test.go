package sim

import (
	"strings"
	"testing"
	"time"

	"signet/device/engine"
)

// A pause of an hour ends after an hour, by itself, and not before; and where the
// daemon began anew meanwhile too.
func TestAPauseEndsAtItsTime(t *testing.T) {
	scene(t, func(r *run, a, b *device) {
		u := &user{device: a, rnd: a.rnd}
		state := func(e *engine.Device) engine.State { return e.VolumeStatus("v").State }
		r.daemon(a, func(e *engine.Device) {
			a.ask(r.t.Context(), e)
			if err := e.PauseUntil("v", time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			u.create("f", "while it is paused")
			time.Sleep(30 * time.Minute)
		})
		r.daemon(a, func(e *engine.Device) {
			time.Sleep(29 * time.Minute)
			if s := state(e); s != engine.Paused {
				t.Errorf("before the hour is over it is %s", s)
			}
			b.pass()
			if l := b.disk.listing(); strings.Contains(l, "f ") {
				t.Errorf("b has\n%s", l)
			}
			time.Sleep(2 * time.Minute)
			if s := state(e); s != engine.InStep {
				t.Errorf("after the hour it is %s", s)
			}
		})
		b.pass()
		if l := b.disk.listing(); !strings.Contains(l, "f ") {
			t.Errorf("b has\n%s", l)
		}
	})
}
