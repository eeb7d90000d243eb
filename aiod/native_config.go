package aiod

import "io"

// NativeConfig says what a server in native mode is given.
type NativeConfig struct {
	Control uintptr // descriptor of the control socket
	Workers int     // requests carried out at once
	// Trace, if not nil, gets a line for each operation (AIOD_TRACE).
	Trace io.Writer
}
