package control

import (
	"strings"
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
