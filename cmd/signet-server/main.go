// Command signet-server is everything that may not see plaintext: the service
// that stores and orders, and what administers it.
package main

import (
	"os"

	"signet/service/cli"
)

func main() { os.Exit(cli.Main()) }
