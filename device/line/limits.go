package line

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"signet/internal/durable"
)

// Limits are what a person allows a device's line, and what a home keeps of it.
type Limits struct {
	Format   int      `json:"format"`
	Up       int64    `json:"up"`   // bytes a second; 0: no limit
	Down     int64    `json:"down"` // likewise
	Schedule []Window `json:"schedule"`
	// OnBattery pauses all transfers while the machine says that it runs on its
	// battery.
	OnBattery bool `json:"pause_on_battery"`
	// OnMetered does so while it says that the network costs by the byte.
	OnMetered bool `json:"pause_on_metered"`
	// KeepFree is how much of a disk downloads leave free, in bytes; nil: 1 GiB, or 1 %
	// of the disk where that is less.
	KeepFree *int64 `json:"keep_free,omitempty"`
}

// format is the number of the stored form.
const format = 1

// Load reads limits; a file that is not there has none.
func Load(file string) (l Limits, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	} else if err != nil {
		return l, fmt.Errorf("limits: %w", err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return Limits{}, fmt.Errorf("limits: %s: %w", file, err)
	}
	if l.Format != format {
		return Limits{}, fmt.Errorf("limits: %s has format %d, this program knows %d", file, l.Format, format)
	}
	return l, nil
}

// Save keeps limits, durably.
func (l Limits) Save(file string) error {
	l.Format = format
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	return durable.WriteFile(file, append(b, '\n'), 0o600)
}

// A Window is a time of the week with limits of its own.
type Window struct {
	Days  [7]bool // by time.Weekday
	From  int     // minutes since midnight, local time
	To    int     // likewise; up to 24:00, and before From where it ends the day after
	Rates         // that hold then
}

// Rates are limits of both directions in bytes a second: 0 is no limit, -1 is
// not said.
type Rates struct {
	Up, Down int64
	Pause    bool // nothing is transferred at all
}

const unsaid = -1

var days = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// At are the limits at a time, by the clock of its zone. Of windows that overlap
// the last that says something of a direction counts.
func (l Limits) At(t time.Time) Rates {
	r := Rates{Up: l.Up, Down: l.Down}
	for _, w := range l.Schedule {
		if !w.covers(t) {
			continue
		}
		if r.Pause = w.Pause; w.Up != unsaid {
			r.Up = w.Up
		}
		if w.Down != unsaid {
			r.Down = w.Down
		}
	}
	return r
}

func (w Window) covers(t time.Time) bool {
	m, day := t.Hour()*60+t.Minute(), t.Weekday()
	if w.From < w.To {
		return w.Days[day] && m >= w.From && m < w.To
	}
	return w.Days[day] && m >= w.From || w.Days[(day+6)%7] && m < w.To // since yesterday
}

// ParseRate reads a rate in bytes a second: 500K, 2M, 1.5G (of 1,024, as curl and
// rsync count), MB and kB (of 1,000), 10Mbit (of 1,000, an eighth), with or
// without /s, or off for no limit.
func ParseRate(s string) (int64, error) {
	text := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "/s")
	if text == "off" || text == "none" || text == "unlimited" {
		return 0, nil
	}
	v, ok := amount(text)
	if !ok {
		return 0, fmt.Errorf("%q is no rate: write it as 500K, 2M or 10Mbit (a second), or off", s)
	}
	if v < least || v > math.MaxInt64/1024 {
		return 0, fmt.Errorf("a rate of %s is not possible: at least 1K, or off for no limit", s)
	}
	return int64(v), nil
}

// ParseRoom reads how much of a disk is kept free, in bytes: 500M, 5G (of 1,024), 20GB
// (of 1,000), 0. The word default is nil.
func ParseRoom(s string) (*int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if text == "default" {
		return nil, nil
	}
	v, ok := amount(text)
	if !ok || v > math.MaxInt64/1024 || strings.HasSuffix(text, "bit") || strings.HasSuffix(text, "bps") {
		return nil, fmt.Errorf("%q is no size: write it as 500M, 5G or 0, or default", s)
	}
	n := int64(v)
	return &n, nil
}

// amount reads a number with a unit.
func amount(text string) (v float64, ok bool) {
	n := 0
	for n < len(text) && (text[n] >= '0' && text[n] <= '9' || text[n] == '.') {
		n++
	}
	v, err := strconv.ParseFloat(text[:n], 64)
	factor, ok := rateUnits[strings.TrimSpace(text[n:])]
	return v * factor, ok && err == nil
}

// least is the least limit, in bytes a second: below, requests would not end in
// their time.
const least = 1 << 10

var rateUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
	"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8, "kbps": 1e3 / 8, "mbps": 1e6 / 8, "gbps": 1e9 / 8,
}

// ParseWindow reads a window: days (mon-fri, sat,sun; none: every day), a time
// of the day (08:00-18:00, 22:00-06:00) and what holds then: up R, down R, pause.
func ParseWindow(s string) (w Window, err error) {
	w.Up, w.Down = unsaid, unsaid
	words := strings.Fields(strings.ToLower(s))
	if len(words) > 0 && !strings.Contains(words[0], ":") {
		if w.Days, err = parseDays(words[0]); err != nil {
			return w, err
		}
		words = words[1:]
	} else {
		w.Days = [7]bool{true, true, true, true, true, true, true}
	}
	if len(words) < 2 {
		return w, fmt.Errorf("%q is no schedule: write it as mon-fri 08:00-18:00 up 1M down 2M", s)
	}
	from, to, ok := strings.Cut(words[0], "-")
	var ok1, ok2 bool
	w.From, ok1 = minutes(from)
	w.To, ok2 = minutes(to)
	if !ok || !ok1 || !ok2 || w.From == w.To || w.From == 24*60 {
		return w, fmt.Errorf("%q is no time of the day: write it as 08:00-18:00", words[0])
	}
	for words = words[1:]; len(words) > 0; words = words[1:] {
		to := map[string]*int64{"up": &w.Up, "down": &w.Down}[words[0]]
		switch {
		case words[0] == "pause":
			w.Pause = true
		case to == nil:
			return w, fmt.Errorf("%q in a schedule is neither up, down nor pause", words[0])
		case len(words) < 2:
			return w, fmt.Errorf("a rate is missing after %q", words[0])
		default:
			if *to, err = ParseRate(words[1]); err != nil {
				return w, err
			}
			words = words[1:]
		}
	}
	return w, nil
}

// minutes reads a time of the day, up to 24:00.
func minutes(s string) (int, bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil
}

func parseDays(s string) (set [7]bool, err error) {
	number := func(name string) int {
		for i, d := range days {
			if name == d {
				return i
			}
		}
		return -1
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, span := strings.Cut(part, "-")
		if !span {
			last = first
		}
		a, b := number(first), number(last)
		if a < 0 || b < 0 {
			return set, fmt.Errorf("%q are no days: write them as mon-fri or sat,sun", s)
		}
		for i := a; ; i = (i + 1) % 7 {
			if set[i] = true; i == b {
				break
			}
		}
	}
	return set, nil
}

// String is the window as ParseWindow reads it.
func (w Window) String() string {
	var names []string
	for i := 1; i <= 7; i++ { // a week begins on Monday
		if w.Days[i%7] {
			names = append(names, days[i%7])
		}
	}
	s := strings.Join(names, ",")
	if len(names) == 7 {
		s = "mon-sun"
	}
	s += fmt.Sprintf(" %02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
	if w.Up != unsaid {
		s += " up " + RateString(w.Up)
	}
	if w.Down != unsaid {
		s += " down " + RateString(w.Down)
	}
	if w.Pause {
		s += " pause"
	}
	return s
}

// RateString is a rate as ParseRate reads it.
func RateString(r int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if r > 0 && r%u.size == 0 {
			return strconv.FormatInt(r/u.size, 10) + u.name
		}
	}
	if r == 0 {
		return "off"
	}
	return strconv.FormatInt(r, 10)
}

// MarshalText and UnmarshalText keep a window as it is written.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is the other way of MarshalText.
func (w *Window) UnmarshalText(b []byte) (err error) {
	*w, err = ParseWindow(string(b))
	return err
}
