package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"signet/device/cli/control"
)

// size writes a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for units := "KMGTPE"; v >= 1<<10 && unit < len(units); unit++ {
		v /= 1 << 10
	}
	// 1023.96 KiB would round to four digits.
	if v >= 999.95 && unit < 6 {
		v /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit-1])
}

// span writes a duration for people: at most two units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// parseSpan reads a duration, with d and w beside what Go has.
func parseSpan(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	for unit, d := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		n, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(n, 64)
		if err != nil || !(v >= 0 && v <= 36500) { // NaN is neither
			return 0, badSpan(s)
		}
		return time.Duration(v * float64(d)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, badSpan(s)
	}
	return d, nil
}

func badSpan(s string) error {
	return control.Hinted(control.Usagef("%q is no duration", s), "write it as 90s, 10m, 2h or 3d")
}

// parseTime reads a TIME: RFC 3339, a local date with or without a time, or a
// duration before now.
func parseTime(s string, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if d, err := parseSpan(strings.TrimSpace(strings.TrimSuffix(text, "ago"))); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, control.Hinted(control.Usagef("%q is no time", s), "write it as 2026-09-12T16:30:00Z, \"2026-09-12 16:30\", or 2h or 3d for that long ago")
}
