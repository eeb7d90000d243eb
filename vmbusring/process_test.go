//go:build linux

package vmbusring_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// TestTwoProcesses sends mixed packets from one process to another through
// rings from 4 KiB to 2 MiB, in both directions, each packet verified.
func TestTwoProcesses(t *testing.T) {
	packets, limit := 100_000, 2*time.Minute
	switch {
	case soak():
		packets, limit = 10_000_000, time.Hour
	case raceEnabled:
		packets = 10_000
	}
	for _, size := range []int{4096, 12288, 65536, 2 << 20} {
		for _, here := range []string{"produce", "consume"} {
			t.Run(fmt.Sprintf("%s/%d", here, size), func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "ring")
				f, err := vmbusring.OpenFile(name, size)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				done := make(chan error, 1)
				if here == "produce" {
					other := startPeer(t, "consume", nil, name, size, packets)
					w, err := vmbusring.NewWriter(f.Ring(0))
					if err != nil {
						t.Fatal(err)
					}
					go func() { done <- produce(w, size, packets) }()
					if err := limitTime(t, limit, done); err != nil {
						t.Fatal(err)
					}
					if err := other.wait(); err != nil {
						t.Fatal("consumer:", err)
					}
					return
				}
				other := startPeer(t, "produce", nil, name, size, packets)
				r, err := vmbusring.NewReader(f.Ring(0), 0)
				if err != nil {
					t.Fatal(err)
				}
				go func() { done <- consume(r, size, packets) }()
				if err := limitTime(t, limit, done); err != nil {
					t.Fatal(err)
				}
				if err := other.wait(); err != nil {
					t.Fatal("producer:", err)
				}
			})
		}
	}
}

// TestEventFDBetweenProcesses sends a stream to another process, which sends
// it back; both sleep whenever they have nothing to do.
func TestEventFDBetweenProcesses(t *testing.T) {
	const size = 8192
	name := filepath.Join(t.TempDir(), "ring")
	f, err := vmbusring.OpenFile(name, size)
	if err != nil {
		t.Fatal(err)
	}
	here, there, err := signal.NewEventFD()
	if err != nil {
		t.Fatal(err)
	}
	mine, peers := there.Files()
	other := startPeer(t, "echo", []*os.File{mine, peers}, name, size)
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := vmbusring.NewChannel(f.Ring(1), f.Ring(0), here, &vmbusring.Options{Release: f.Close})
	if err != nil {
		t.Fatal(err)
	}
	pipe := vmbusring.NewBytePipe(c)
	defer pipe.Close()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	written := make(chan error)
	go func() {
		_, err := pipe.Write(sent)
		written <- errors.Join(err, pipe.CloseWrite())
	}()
	got, err := io.ReadAll(pipe)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(sent), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if err := other.wait(); err != nil {
		t.Error("echo:", err)
	}
}
