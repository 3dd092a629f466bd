// Command signet is everything that may see plaintext: the command, its
// daemon, and what is served from an open region.
package main

import (
	"os"

	"signet/device/cli"
)

func main() { os.Exit(cli.Main()) }
