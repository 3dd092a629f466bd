package engine

import (
	"context"
	"errors"
	"testing"
)

// Giving back may take as long as the service does: who waits for it waits no longer
// than it was asked to.
func TestWaitingToGiveBackEndsWithItsContext(t *testing.T) {
	d := &Device{giving: newBaton("to give back", nil)}
	if err := d.giving.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.giveBack(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("somebody else gives back: %v", err)
	}
}
