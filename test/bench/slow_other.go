//go:build !linux

package main

import (
	"context"
	"errors"
)

func runSlow(context.Context, options, string) error {
	return errors.New("W7 needs Linux: network namespaces")
}
