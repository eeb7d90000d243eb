//go:build linux

package vmbusring_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"loomstore/vmbusring"
	"loomstore/vmbusring/packetgen"
)

// peers are what this test binary can be started as: the other end of a ring,
// in a process of its own. Each runs until it is done or its stdin ends, so
// that none outlives its test.
var peers = map[string]func(args []string) error{
	"produce":  produceMain,
	"consume":  consumeMain,
	"scribble": scribbleMain,
	"drain":    drainMain,
	"echo":     echoMain,
}

const peerVariable = "VMBUSRING_TEST_PEER"

func TestMain(m *testing.M) {
	peer := os.Getenv(peerVariable)
	if peer == "" {
		os.Exit(m.Run())
	}
	if peer != "drain" { // which reads it itself
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3) // the test is gone
		}()
	}
	if err := peers[peer](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// peer is a running peer process.
type peer struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

// startPeer starts a peer; it is ended with the test at the latest. extra
// files become descriptors 3 and up.
func startPeer(t testing.TB, name string, extra []*os.File, args ...any) *peer {
	t.Helper()
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = fmt.Sprint(a)
	}
	cmd := exec.Command(os.Args[0], words...)
	cmd.Env = append(os.Environ(), peerVariable+"="+name)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = extra
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{cmd: cmd, stdin: stdin, out: bufio.NewScanner(stdout)}
	t.Cleanup(p.stop)
	return p
}

// wait returns how the peer ended by itself.
func (p *peer) wait() error {
	defer p.stdin.Close()
	return p.cmd.Wait()
}

// stop ends the peer.
func (p *peer) stop() {
	p.stdin.Close()
	_ = p.cmd.Wait()
}

func soak() bool { return os.Getenv("LOOM_SOAK") == "1" }

// stream is the traffic of the two-process tests: mixed types, up to a third
// of the ring a packet.
func stream(size int) packetgen.Stream {
	return packetgen.Stream{Seed: uint64(size), Lo: 0, Hi: min(size/4, 1500), Mixed: true}
}

func openRing(name string, size int) (*vmbusring.File, error) {
	return vmbusring.OpenFile(name, size)
}

// produceMain is a peer: FILE SIZE PACKETS. It writes to ring 0 in batches.
func produceMain(args []string) error {
	size, packets := number(args[1]), number(args[2])
	f, err := openRing(args[0], size)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := vmbusring.NewWriter(f.Ring(0))
	if err != nil {
		return err
	}
	return produce(w, size, packets)
}

func produce(w *vmbusring.Writer, size, packets int) error {
	g := packetgen.New(stream(size))
	var p vmbusring.Packet
	for i := range packets {
		g.Packet(uint64(i), &p)
		for looks := 0; ; looks++ {
			err := w.Append(&p)
			if err == nil {
				break
			}
			if !errors.Is(err, vmbusring.ErrFull) {
				return fmt.Errorf("packet %d: %w", i, err)
			}
			w.Commit()
			pause(looks)
		}
		if i%7 == 0 {
			w.Commit()
		}
	}
	w.Commit()
	return nil
}

// consumeMain is a peer: FILE SIZE PACKETS. It reads and verifies ring 0.
func consumeMain(args []string) error {
	size, packets := number(args[1]), number(args[2])
	f, err := openRing(args[0], size)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := vmbusring.NewReader(f.Ring(0), 0)
	if err != nil {
		return err
	}
	return consume(r, size, packets)
}

func consume(r *vmbusring.Reader, size, packets int) error {
	g := packetgen.New(stream(size))
	batch := make([]vmbusring.Packet, 16)
	var want vmbusring.Packet
	looks := 0
	for i := 0; i < packets; {
		n, err := r.ReadBatch(batch)
		if errors.Is(err, vmbusring.ErrEmpty) {
			pause(looks)
			looks++
			continue
		}
		looks = 0
		if err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
		for k := range batch[:n] {
			g.Packet(uint64(i), &want)
			if err := packetgen.Compare(&batch[k], &want); err != nil {
				return fmt.Errorf("packet %d: %w", i, err)
			}
			i++
		}
		r.Commit()
	}
	var more vmbusring.Packet
	if err := r.Read(&more); !errors.Is(err, vmbusring.ErrEmpty) {
		return fmt.Errorf("after the last packet: %v, expected an empty ring", err)
	}
	return nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err) // our own argument
	}
	return n
}

// limitTime fails the test by name instead of leaving it to the test runner's
// own limit, which kills all of them.
func limitTime(t *testing.T, d time.Duration, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(d):
		t.Fatalf("not done within %v", d)
		return nil
	}
}
