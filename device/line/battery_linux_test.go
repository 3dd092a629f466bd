package line

import (
	"os"
	"path/filepath"
	"testing"
)

func TestABatteryCountsWhereItDischargesAndNothingFeedsTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		supplies map[string]map[string]string
		want     bool
	}{
		"a machine without one":                    {nil, false},
		"a laptop at its charger":                  {map[string]map[string]string{"AC": {"type": "Mains", "online": "1"}, "BAT0": {"type": "Battery", "status": "Charging"}}, false},
		"a laptop on the way":                      {map[string]map[string]string{"AC": {"type": "Mains", "online": "0"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, true},
		"a full one at a charger that is too weak": {map[string]map[string]string{"USB": {"type": "USB", "online": "1"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, false},
		"a mouse": {map[string]map[string]string{"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, false},
	} {
		dir := t.TempDir()
		for s, files := range c.supplies {
			if err := os.Mkdir(filepath.Join(dir, s), 0o755); err != nil {
				t.Fatal(err)
			}
			for f, text := range files {
				if err := os.WriteFile(filepath.Join(dir, s, f), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := onBattery(dir); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if onBattery(filepath.Join(t.TempDir(), "none")) {
		t.Error("a system that tells nothing runs on a battery")
	}
}
