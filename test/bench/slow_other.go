//go:build !linux

package main

import (
	"context"
	"errors"
)

func runSlow(context.Context, options, string) error {
	return errors.New("the slow line needs Linux: network namespaces")
}
