package fault

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// The interface of userfaultfd, as linux/userfaultfd.h has it.
const (
	userModeOnly = 1 // UFFD_USER_MODE_ONLY: what needs no privilege

	uffdAPI        = 0xaa
	uffdioAPI      = 0xc018aa3f // _IOWR(0xaa, 0x3f, struct uffdio_api)
	uffdioRegister = 0xc020aa00 // _IOWR(0xaa, 0x00, struct uffdio_register)
	uffdioLeave    = 0x8010aa01 // _IOR(0xaa, 0x01, struct uffdio_range): UFFDIO_UNREGISTER

	// Protection against stores, of pages without memory too, that the kernel
	// takes away at a store by itself: Linux 6.7.
	uffdFeatures = 1<<0 | 1<<13 | 1<<15 // WP, WP_UNPOPULATED, WP_ASYNC

	registerProtected = 1 << 1 // UFFDIO_REGISTER_MODE_WP
)

// userfault is the descriptor through which the kernel is told to note stores
// into a region. It must stay open as long as they count.
type userfault struct{ fd int }

// openUserfault fails with an error that wraps errors.ErrUnsupported on older
// kernels, and where a container refuses the call.
func openUserfault() (userfault, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|userModeOnly, 0, 0)
	if errno != 0 {
		return userfault{-1}, fmt.Errorf("userfaultfd: %w (%w)", errno, errors.ErrUnsupported)
	}
	u := userfault{int(fd)}
	api := struct{ api, features, ioctls uint64 }{api: uffdAPI, features: uffdFeatures}
	if err := u.ioctl(uffdioAPI, unsafe.Pointer(&api)); err != nil {
		u.close()
		return userfault{-1}, fmt.Errorf("userfaultfd without asynchronous write protection: %w (%w)", err, errors.ErrUnsupported)
	}
	return u, nil
}

func (u userfault) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u.fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// register makes stores into all of the region be noted. What is registered
// already stays as it is.
func (u userfault) register(r *mapping.Region) error {
	arg := struct{ start, length, mode, ioctls uint64 }{uint64(r.Base()), uint64(r.Len()), registerProtected, 0}
	if err := u.ioctl(uffdioRegister, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("register with userfaultfd: %w", err)
	}
	return nil
}

// forget takes the region's registration away, and with it all protection. The
// kernel does so only for a region that is registered from end to end, so one
// that has lost a part gets it back first.
func (u userfault) forget(r *mapping.Region) error {
	if err := u.register(r); err != nil {
		return err
	}
	arg := struct{ start, length uint64 }{uint64(r.Base()), uint64(r.Len())}
	if err := u.ioctl(uffdioLeave, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("unregister from userfaultfd: %w", err)
	}
	return nil
}

func (u userfault) close() {
	if u.fd >= 0 {
		_ = unix.Close(u.fd) // nothing was written to it
	}
}
