//go:build !loomheap

package mapping

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OnHeap says that regions lie on the Go heap: see region_heap_linux.go.
const OnHeap = false

// Reserve sets aside size bytes of address space, aligned to align, without
// memory behind it. Both must be multiples of the system's page size.
func Reserve(size, align int) (*Region, error) {
	if size <= 0 || align <= 0 || size%SystemPage() != 0 || align%SystemPage() != 0 || size+align < size {
		return nil, fmt.Errorf("reserve %d bytes aligned to %d: %w", size, align, ErrRange)
	}
	whole, err := mmap(0, uintptr(size+align), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, ^uintptr(0), 0)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
	}
	// The mask is computed on the address, the slice from the distance: a
	// mapping is only as aligned as the kernel chose to make it.
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(whole))) & uintptr(align-1))
	return &Region{whole: whole, bytes: whole[skip : skip+size : skip+size]}, nil
}

// Base returns the address of the first byte, for the fault handler.
func (r *Region) Base() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.bytes))) }

// MapAnon replaces [off, off+n) by fresh zero pages. What was there is lost.
// Memory is not reserved for it (MAP_NORESERVE), which is also what lets
// neighbouring areas merge again after mprotect.
func (r *Region) MapAnon(off, n int, prot Prot) error {
	return r.remap("map anonymous", off, n, prot, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, ^uintptr(0), 0)
}

// MapFile replaces [off, off+n) by the file's bytes from fileOff on. A private
// mapping never changes the file; a shared one does. Pages behind the end of
// the file raise SIGBUS when touched.
func (r *Region) MapFile(off, n int, prot Prot, fd uintptr, fileOff int64, shared bool) error {
	flags := unix.MAP_PRIVATE | unix.MAP_NORESERVE
	if shared {
		flags = unix.MAP_SHARED
	}
	return r.remap("map file", off, n, prot, flags, fd, fileOff)
}

func (r *Region) remap(what string, off, n int, prot Prot, flags int, fd uintptr, fileOff int64) error {
	if err := r.check(what, off, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	_, err := mmap(r.Base()+uintptr(off), uintptr(n), protBits(prot), flags|unix.MAP_FIXED, fd, fileOff)
	if err != nil {
		return fmt.Errorf("%s [%d, +%d): %w", what, off, n, err)
	}
	return nil
}

// Protect changes the protection of [off, off+n). It fails with ENOMEM when
// the process has used up its memory areas (vm.max_map_count).
func (r *Region) Protect(off, n int, prot Prot) error {
	if err := r.check("protect", off, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if err := unix.Mprotect(r.bytes[off:off+n], protBits(prot)); err != nil {
		return fmt.Errorf("protect [%d, +%d): %w", off, n, err)
	}
	return nil
}

// Advise gives a hint about [off, off+n).
func (r *Region) Advise(off, n int, a Advice) error {
	if err := r.check("advise", off, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if err := unix.Madvise(r.bytes[off:off+n], adviceBits(a)); err != nil {
		return fmt.Errorf("advise [%d, +%d): %w", off, n, err)
	}
	return nil
}

// Release returns the address range. Every slice of it is invalid afterwards;
// nobody may be storing into it.
func (r *Region) Release() error {
	if r.whole == nil {
		return nil
	}
	err := munmap(r.whole)
	r.whole, r.bytes = nil, nil
	return err
}
