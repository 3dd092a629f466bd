package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"signet/device/cli/control"
	"signet/device/cli/home"
)

func (a *app) identity() []*cobra.Command { return nil }

func openMethods(context.Context, home.Dir) (control.Methods, io.Closer, error) {
	return control.Methods{}, nil, nil
}
