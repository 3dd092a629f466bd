package control

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Name is how a name that may be any bytes goes into JSON: as it is, or with
// U+FFFD for what is not UTF-8 and the exact bytes beside it (encoding/json
// writes those in base64).
func Name(s string) (text string, exact []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return strings.ToValidUTF8(s, "\uFFFD"), []byte(s)
}

// A Time is a moment in results: RFC 3339 in UTC with nanoseconds, null where
// it is not known.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000000000Z"

// Milliseconds is the Time of milliseconds since 1970; 0 is not known.
func Milliseconds(ms int64) Time {
	if ms == 0 {
		return Time{}
	}
	return Time{time.UnixMilli(ms)}
}

// String is the time as it stands in results, without quotes.
func (t Time) String() string { return t.UTC().Format(timeLayout) }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(t.UTC().Format(`"` + timeLayout + `"`)), nil
}
