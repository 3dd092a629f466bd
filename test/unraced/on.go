//go:build race

package unraced

// Raced reports whether this program is built for the race detector.
const Raced = true
