package aiod

import "io"

// ServerConfig says what a server is given by the client that starts it.
type ServerConfig struct {
	ABI ABI
	// Single is the original's -s: no other daemon reads the pipe.
	Single bool
	// SHM, Requests and Replies are the descriptors of the shared file, of
	// the pipe's read end and of the socket: SHMFD, RFD and RWFD.
	SHM, Requests, Replies uintptr
	// Trace, if not nil, gets a line for each operation (AIOD_TRACE).
	Trace io.Writer
}
