package line

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRatesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]int64{
		"500K": 500 << 10, "2M": 2 << 20, "1.5m": 3 << 19, "2MiB/s": 2 << 20, "2MB": 2e6, "10Mbit": 1250000, "10 mbit/s": 1250000,
		"1G": 1 << 30, "4096": 4096, "off": 0, "OFF": 0,
	} {
		if got, err := ParseRate(text); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "M", "2X", "-1M", "0", "12", "1e3", "fast", "9999999999G", "NaN"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestSchedulesHoldByTheLocalClock(t *testing.T) {
	l := Limits{Up: 8 << 20}
	for _, s := range []string{"mon-fri 08:00-18:00 up 1M", "fri,sat 22:00-06:00 up off down 2M", "sun 12:00-13:00 pause"} {
		w, err := ParseWindow(s)
		if err != nil {
			t.Fatal(err)
		}
		l.Schedule = append(l.Schedule, w)
	}
	zone := time.FixedZone("here", 5*3600+1800)
	for _, c := range []struct {
		at   string // 2026-11-30 is a Monday
		want Rates
	}{
		{"2026-11-30 07:59", Rates{8 << 20, 0, false}},
		{"2026-11-30 08:00", Rates{1 << 20, 0, false}},
		{"2026-11-30 17:59", Rates{1 << 20, 0, false}},
		{"2026-11-30 18:00", Rates{8 << 20, 0, false}},
		{"2026-12-04 23:00", Rates{0, 2 << 20, false}},
		{"2026-12-05 05:59", Rates{0, 2 << 20, false}}, // Friday's night
		{"2026-12-05 06:00", Rates{8 << 20, 0, false}},
		{"2026-12-06 05:00", Rates{0, 2 << 20, false}}, // Saturday's
		{"2026-12-06 12:30", Rates{8 << 20, 0, true}},
		{"2026-12-07 05:00", Rates{8 << 20, 0, false}}, // Sunday has none
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", c.at, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.At(at); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.at, got, c.want)
		}
	}
}

func TestSchedulesAreRefusedThatSayNothing(t *testing.T) {
	for _, s := range []string{"", "mon", "mon-fri", "08:00-18:00", "mon-fri 08:00 up 1M", "mon-fri 08:00-08:00 up 1M", "mo-fr 08:00-18:00 up 1M",
		"mon-fri 08:00-25:00 up 1M", "08:00-18:00 up", "08:00-18:00 sideways 1M", "08:00-18:00 up fast", "24:00-06:00 pause"} {
		if w, err := ParseWindow(s); err == nil {
			t.Errorf("%q is taken for %s", s, w)
		}
	}
}

func TestLimitsAreKeptAsTheyWereGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.json")
	if l, err := Load(file); err != nil || l.Up != 0 {
		t.Fatalf("without a file: %+v, %v", l, err)
	}
	want := Limits{Up: 2 << 20, OnBattery: true}
	for _, s := range []string{"mon-fri 08:00-18:00 up 1M down 1250000", "mon-sun 00:00-24:00 pause"} {
		w, err := ParseWindow(s)
		if err != nil {
			t.Fatal(err)
		}
		want.Schedule = append(want.Schedule, w)
	}
	if err := want.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	if err != nil || got.Up != want.Up || !got.OnBattery || len(got.Schedule) != 2 || got.Schedule[0] != want.Schedule[0] || got.Schedule[1] != want.Schedule[1] {
		t.Fatalf("kept %+v, %v, want %+v", got, err, want)
	}
	for _, text := range []string{"{", `{"format":2}`, `{"format":1,"schedule":["sometimes"]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Load(file); err == nil {
			t.Errorf("%s is taken for %+v", text, l)
		}
	}
}
