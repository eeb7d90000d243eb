// Command loomctl runs, inspects, verifies and backs up loom stores.
package main

import (
	"os"

	"loomstore/internal/command"
)

func main() {
	os.Exit(command.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
