package loom_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"

	"loomstore/loom"
)

// A counter that survives whatever happens to the process.
func Example() {
	dir, err := os.MkdirTemp("", "loom")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 3 { // three runs of a program
		l, err := loom.Open(dir, &loom.Options{Size: 1 << 30})
		if err != nil {
			log.Fatal(err)
		}
		mem := l.Bytes()
		runs := binary.LittleEndian.Uint64(mem) + 1
		binary.LittleEndian.PutUint64(mem, runs) // a plain store
		if _, err := l.Checkpoint(context.Background()); err != nil {
			log.Fatal(err)
		}
		fmt.Println("run", runs, "is durable as checkpoint", l.Epoch())
		if err := l.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// run 1 is durable as checkpoint 1
	// run 2 is durable as checkpoint 2
	// run 3 is durable as checkpoint 3
}
