// Package vmbusring speaks the ring protocol of Hyper-V's VMBus: packets of
// variable length in shared memory, one ring for each direction, a signal when
// the other end sleeps, and the pipes that are built on it.
package vmbusring
