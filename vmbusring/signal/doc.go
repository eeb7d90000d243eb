// Package signal wakes the other end of a channel, and waits for it to do so.
//
// There is one type for each way to do that: Local between goroutines, EventFD
// between processes, UIO between a guest and its host, Monitor for a host that
// polls a page instead of taking an interrupt. All of them have the methods
// that vmbusring.Signal asks for:
//
//	Notify() error                 // tell the peer; does not wait for it
//	Wait(ctx context.Context) error // until the peer told us since the last Wait
//	Close() error                  // after the last Wait returned
//
// A Wait may return although nothing happened, and many Notify may become one
// Wait: a signal says "look", never how much there is. Notify may be called by
// many goroutines, Wait by one at a time.
//
// The package knows nothing about rings: when to signal is decided by whoever
// owns one.
package signal
