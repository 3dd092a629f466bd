//go:build grants

package journal

const granting = true // for tests of what roles mean: see granting.go
