//go:build !unix

package main

import "time"

func worked() time.Duration { return 0 }
