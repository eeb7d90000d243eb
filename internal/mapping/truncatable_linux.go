//go:build amd64 || arm64

package mapping

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// windowPages is how many truncatable views there can be at once: as many as
// the kernel lets a process have memory areas.
const windowPages = 1 << 16

// The window is the address range of all truncatable views, a page each. It is
// reserved once and never given back, so whatever faults in it is one of them.
// The handler reads these words: in BSS, never moved, set before it is
// installed and never again.
var windowBase, windowSize, windowPage uintptr

// nextBusHandler is where every other SIGBUS goes: the handler that was there
// before, which is Go's.
var nextBusHandler uintptr

var slots struct {
	sync.Mutex
	free []uintptr // addresses given back
	used uintptr   // bytes of the window that were given out once
}

// onBus is the signal handler, in assembly: the kernel calls it with the C
// convention. It must not be called from Go.
func onBus()

// onBusPC returns the address of onBus; a Go func value would be that of a
// wrapper.
func onBusPC() uintptr

// MapTruncatable maps the first n bytes of the open file fd, at most a page,
// to be read. It is MapShared for a file that somebody may cut short: where
// that takes the page away, an access does not raise SIGBUS but finds zeros,
// and so does every later one, whatever becomes of the file.
//
// The first call puts a handler in front of Go's for SIGBUS, for the rest of
// the process's life. Faults elsewhere go on to the handler found there,
// registers intact. Errors: ErrForeignHandler, ErrRange, and the system's.
func MapTruncatable(fd uintptr, n int) (*View, error) {
	if n <= 0 || n > SystemPage() {
		return nil, fmt.Errorf("map %d bytes of a page: %w", n, ErrRange)
	}
	at, err := claimSlot()
	if err != nil {
		return nil, err
	}
	// Mapped elsewhere and moved here: a device that refuses to be mapped
	// may leave a hole where the mapping should have been, and a hole in the
	// window would be filled by somebody else's memory.
	mem, err := mmap(0, uintptr(n), unix.PROT_READ, unix.MAP_SHARED, fd, 0)
	if err != nil {
		freeSlot(at)
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	from := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	p, _, errno := unix.Syscall6(unix.SYS_MREMAP, from, uintptr(n), uintptr(n), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, at, 0)
	if errno != 0 { // the slot may be a hole now: it is not used again
		munmap(mem)
		mmap(at, windowPage, unix.PROT_NONE, reserved|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
		return nil, fmt.Errorf("move a mapping of %d bytes: %w", n, errno)
	}
	mem = unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), n)
	return &View{mem: mem, unmap: func([]byte) error { return vacate(at) }}, nil
}

const reserved = unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_NORESERVE

// vacate turns a view's page into address space again, for the next one.
func vacate(at uintptr) error {
	if _, err := mmap(at, windowPage, unix.PROT_NONE, reserved|unix.MAP_FIXED, ^uintptr(0), 0); err != nil {
		return fmt.Errorf("unmap a page: %w", err)
	}
	freeSlot(at)
	return nil
}

func freeSlot(at uintptr) {
	slots.Lock()
	defer slots.Unlock()
	slots.free = append(slots.free, at)
}

// claimSlot sets a page of the window aside and sees to it that the handler is
// installed.
func claimSlot() (uintptr, error) {
	slots.Lock()
	defer slots.Unlock()
	if windowBase == 0 {
		page := uintptr(SystemPage())
		mem, err := mmap(0, windowPages*page, unix.PROT_NONE, reserved, ^uintptr(0), 0)
		if err != nil {
			return 0, fmt.Errorf("reserve %d pages: %w", windowPages, err)
		}
		windowBase, windowSize, windowPage = uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), page
	}
	if err := InFront(unix.SIGBUS, onBusPC(), &nextBusHandler); err != nil {
		return 0, err
	}
	if last := len(slots.free) - 1; last >= 0 {
		at := slots.free[last]
		slots.free = slots.free[:last]
		return at, nil
	}
	if slots.used == windowSize {
		return 0, fmt.Errorf("%d pages are mapped: %w", windowPages, unix.ENOMEM)
	}
	at := windowBase + slots.used
	slots.used += windowPage
	return at, nil
}
