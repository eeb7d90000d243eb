// Package mapping owns memory that the Go heap does not: reserved address
// ranges, views of shared files, and the words in them. It is the only package
// besides fault that imports unsafe or calls mmap, mprotect and madvise.
//
// A Region moves between the states of the Go runtime's own memory allocator:
// Reserve gives address space that may not be touched (Reserved), MapAnon and
// MapFile make parts of it usable (Ready), Release returns everything (None).
// Its base is aligned and never changes, so slices into it stay valid until
// Release.
//
// A View is a fixed-length window onto memory that somebody else may change at
// any moment: a shared file mapping, or heap memory standing in for one. Words
// of a View are read and written only through the sync/atomic types that
// Uint32 and Uint64 return, which makes the ordering right on arm64 as well as
// amd64: a Load is an acquire, a Store a release.
//
// Reading a mapping whose file was truncated, or whose device fails, raises
// SIGBUS. Guarded turns that fault into an error instead of a dead process. A
// view of MapTruncatable has no such fault: a signal handler, which the first
// one installs, maps zeros where the file is gone.
//
// What this package does not do: decide what is mapped where, track stores, or
// interpret a single byte.
package mapping
