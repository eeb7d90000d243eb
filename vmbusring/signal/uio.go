package signal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// ErrRevoked reports that the host took the device away. From now on its
// memory must not be touched (spec section 4).
var ErrRevoked = errors.New("signal: device was revoked")

// UIO is the guest's end of a channel that uio_hv_generic opened: reading its
// device gives the count of interrupts, writing it signals the host.
type UIO struct {
	device Event
}

// NewUIO returns the signal of an open UIO device, which it owns. The file
// must be in the runtime's poller for Wait to follow its context.
func NewUIO(device Event) *UIO { return &UIO{device: device} }

// Notify signals the host. The kernel also clears the interrupt mask of the
// incoming ring. A revoked device gives ErrRevoked; it never panics (defect 6).
func (u *UIO) Notify() error {
	var one [4]byte
	binary.NativeEndian.PutUint32(one[:], 1)
	if _, err := u.device.Write(one[:]); err != nil {
		return fmt.Errorf("signal the host: %w", revoked(err))
	}
	return nil
}

// Wait returns when interrupts came since the last Wait, and ErrRevoked when
// none will come again.
func (u *UIO) Wait(ctx context.Context) error {
	var count [4]byte
	return revoked(await(ctx, u.device, count[:]))
}

// Close closes the device. A mapping of it keeps the channel open.
func (u *UIO) Close() error { return u.device.Close() }

// revoked finds the errors of a device that is gone: EIO once the host took
// it, EINVAL from a write once the driver is gone as well.
func revoked(err error) error {
	if errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%w: %w", ErrRevoked, err)
	}
	return err
}
