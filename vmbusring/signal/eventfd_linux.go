package signal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// EventFD is one end of a signal between processes: two eventfd counters, one
// for each direction. The descriptors of both ends share their flags: a peer
// that makes them blocking can hold up Notify, Wait and Close.
type EventFD struct {
	mine, peer *os.File
}

// NewEventFD makes the counters and returns both ends, which share them. Give
// the Files of one end to another process to wake it.
func NewEventFD() (*EventFD, *EventFD, error) {
	var fds [4]int
	for i := range fds {
		fd, err := openCounter(fds[:i])
		if err != nil {
			for _, fd := range fds[:i] {
				unix.Close(fd)
			}
			return nil, nil, err
		}
		fds[i] = fd
	}
	// Non-blocking descriptors go into the runtime's poller.
	file := func(i int) *os.File { return os.NewFile(uintptr(fds[i]), "eventfd") }
	return &EventFD{mine: file(0), peer: file(1)}, &EventFD{mine: file(2), peer: file(3)}, nil
}

// openCounter makes counter 0 and 1, then a second descriptor for 1 and 0.
func openCounter(before []int) (int, error) {
	if i := len(before); i >= 2 {
		fd, err := unix.FcntlInt(uintptr(before[3-i]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("duplicate an eventfd: %w", err)
		}
		return fd, nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("make an eventfd: %w", err)
	}
	return fd, nil
}

// OverEventFD returns the end that waits on mine and wakes the other through
// peer: descriptors inherited from another process. It owns both.
func OverEventFD(mine, peer uintptr) (*EventFD, error) {
	for _, fd := range []uintptr{mine, peer} {
		if err := unix.SetNonblock(int(fd), true); err != nil {
			return nil, fmt.Errorf("eventfd %d: %w", fd, err)
		}
	}
	return &EventFD{mine: os.NewFile(mine, "eventfd"), peer: os.NewFile(peer, "eventfd")}, nil
}

// Files returns the descriptors this end waits on and wakes with, to be passed
// to another process.
func (e *EventFD) Files() (mine, peer *os.File) { return e.mine, e.peer }

// Notify wakes the other end. A counter that takes no more, as a hostile peer
// can make it, has already woken that peer: it is not waited for.
func (e *EventFD) Notify() error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	conn, err := e.peer.SyscallConn()
	if err == nil {
		var failure error
		err = conn.Control(func(fd uintptr) { _, failure = unix.Write(int(fd), one[:]) })
		if !errors.Is(failure, unix.EAGAIN) {
			err = errors.Join(err, failure)
		}
	}
	if err != nil {
		return fmt.Errorf("signal an eventfd: %w", err)
	}
	return nil
}

// Wait returns when the other end called Notify since the last Wait.
func (e *EventFD) Wait(ctx context.Context) error {
	var count [8]byte
	return await(ctx, e.mine, count[:])
}

// Close closes this end's descriptors.
func (e *EventFD) Close() error { return errors.Join(e.mine.Close(), e.peer.Close()) }
