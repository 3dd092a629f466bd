//go:build soak

package e2e

import "testing"

func TestSoakKillsLoseNothingSettled(t *testing.T) {
	for seed := range uint64(10) {
		t.Run("", func(t *testing.T) { killed(t, 20, 2+seed) })
	}
}

func TestSoakKilledUploadGoesOnWhereItWas(t *testing.T) { killedUpload(t, 4<<30, 30) }
