package line

import (
	"os"
	"path/filepath"
	"strings"
)

// OnBattery reports whether the machine says that it runs on its battery: one
// discharges, and no mains supply is on line.
func OnBattery() bool { return onBattery("/sys/class/power_supply") }

func onBattery(dir string) bool {
	supplies, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	discharging := false
	for _, s := range supplies {
		of := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(dir, s.Name(), name))
			return strings.TrimSpace(string(b))
		}
		switch of("type") {
		case "Battery": // one of a mouse powers no machine
			discharging = discharging || of("status") == "Discharging" && of("scope") != "Device"
		case "Mains", "USB":
			if of("online") == "1" {
				return false
			}
		}
	}
	return discharging
}
