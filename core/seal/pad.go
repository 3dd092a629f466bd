package seal

import "math/bits"

// padme is the length to which n bytes are padded before they are sealed
// (Padmé: Nikitin and others, "Reducing Metadata Leakage from Encrypted Files
// and Communication with PURBs", 2019): n rounded up so that its low bits are
// zero, at most 12 % more, and under 4 % above 1 MiB. Powers of two stay as
// they are, so a whole piece of a large file is not padded at all.
func padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	if s > e {
		return n
	}
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// zero reports whether b is all zero bytes.
func zero(b []byte) bool {
	var x byte
	for _, c := range b {
		x |= c
	}
	return x == 0
}
