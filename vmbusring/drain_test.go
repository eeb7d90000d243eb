//go:build linux

package vmbusring_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// drainMain is a peer: FILE SIZE LANE PAYLOAD BATCH PACKETS. For each
// line on stdin it says that it is ready, reads that many packets, and says so.
func drainMain(args []string) error {
	size, payload, batch, packets := number(args[1]), number(args[3]), number(args[4]), number(args[5])
	f, err := vmbusring.OpenFile(args[0], size)
	if err != nil {
		return err
	}
	defer f.Close()
	l := newLane(args[2], f.Ring(0), payload, batch)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println("ready")
		l.pop(packets)
		fmt.Println("done")
	}
	return nil
}

// echoMain is a peer: FILE SIZE, with an eventfd to wait on and one to signal
// with as descriptors 3 and 4. It is a host that sends every packet back.
func echoMain(args []string) error {
	f, err := vmbusring.OpenFile(args[0], number(args[1]))
	if err != nil {
		return err
	}
	sig, err := signal.OverEventFD(3, 4)
	if err != nil {
		return err
	}
	c, err := vmbusring.NewChannel(f.Ring(0), f.Ring(1), sig, &vmbusring.Options{Release: f.Close})
	if err != nil {
		return err
	}
	defer c.Close()
	pipe := vmbusring.NewBytePipe(c)
	buf := make([]byte, 1000)
	for {
		n, err := pipe.ReadContext(context.Background(), buf)
		if err != nil {
			return errors.Join(pipe.CloseWrite(), ignoreEOF(err))
		}
		if _, err := pipe.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
