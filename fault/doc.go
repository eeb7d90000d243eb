// Package fault finds the pages of an arena that were stored to. It owns the
// trackers, the SIGSEGV handler and the guard page of a running program.
//
// # Trackers
//
// An Arena is tracked in one of these ways; Auto takes the first that works.
//
//	uffd      The kernel notes stores by itself: userfaultfd with asynchronous
//	          write protection, and PAGEMAP_SCAN, which reports and re-arms.
//	          No signal, no privilege. Linux from 6.7 on.
//	mprotect  Clean pages are read-only. The first store faults, the handler
//	          marks the page and opens it. Linux on amd64 and arm64.
//	cow       The image is mapped privately and nothing is protected: pages
//	          that /proc/self/pagemap shows to be private are compared with
//	          the committed state. Linux.
//	compare   All pages are compared. Needs nothing, reads everything.
//
// A page is reported if it may differ from the committed state, which the
// engine describes as a Reference. uffd and mprotect report what was stored to,
// the same value again included; the other two report what differs. What was
// marked is always reported. In doubt a page is dirty until it was compared:
// after an error, after Unprotect, and after the kernel's limit of memory areas
// was reached.
//
// uffd is refused by many containers, and by older kernels: Auto then goes on,
// and Reason says so. It needs a descriptor for each arena, which children do
// not inherit; a child made by a raw fork is not tracked. In a shared arena it
// takes 2 MiB of page tables per GiB, so those above 256 GiB are left to
// mprotect; in a private one, nothing that grows with the reservation. It is
// told about new mappings by Forget. Should a part of the arena be mapped over
// without, the next Collect that comes to it registers anew and compares. While
// that is refused, each Collect compares all private pages.
//
// That limit, vm.max_map_count, is met by mprotect at about 32,750 scattered
// dirty pages by default. The handler then opens the whole arena, and the next
// Collect compares the private pages, or all pages where the page tables can
// not be read or the arena is shared; tracking goes on from there. Memory areas
// merge again at each Collect. The Go runtime needs memory areas as well: a
// program that has none left for other reasons dies of that.
//
// # The handler
//
// It is assembly, installed when the first Arena needs it, and stays. Go's
// action is kept but for the handler's address. What is not a refused access
// to an open arena goes to the handler found there, registers intact: nil
// dereferences, stack overflows, signals sent by others and
// debug.SetPanicOnFault are as ever. So is the os/signal package, which does
// not take SIGSEGV from either. A library that puts its own handler in front
// afterwards is left there, and makes the next Open that needs ours fail with
// ErrForeignHandler. 32 arenas can be open at once.
//
// What the handler touches lies outside the Go heap: a table of slots, and the
// bitmaps. It takes no lock, calls nothing, and needs no stack.
//
// A debugger stops at each first store to a page. In gdb:
//
//	handle SIGSEGV nostop noprint pass
//
// # System calls
//
// With mprotect the kernel refuses to store into a clean page: read(2) fails
// with EFAULT and marks nothing. Touch the range first; ExplainEFAULT turns the
// error into one that says so. The other trackers see such stores. No tracker
// sees stores of a transfer that is still in flight while Collect runs, nor of
// buffers registered with io_uring.
//
// # Guard page
//
// Package guard says where it goes. Whoever accesses it moves it to the middle
// of the free space as it is then, and goes on; if it is there already, or two
// free pages are not left, the access is a fault like any other: under
// debug.SetPanicOnFault a panic whose address Exhausted recognises, else the
// end of the process. It works beside every tracker, on the systems that have
// the handler. Code that Go can not unwind, such as compiled WebAssembly, must
// not run into it: that ends the process, too.
//
// # What this package does not do
//
// It maps nothing in the arena, writes no file, and does not stop the program:
// Collect, Forget and the like trust that nobody is storing.
package fault
