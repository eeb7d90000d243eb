//go:build !amd64 && !arm64

package mapping

// Pause does nothing on this architecture.
func Pause(n uint32) {}
