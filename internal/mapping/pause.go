//go:build amd64 || arm64

package mapping

// Pause tells the processor n times that this is a spin loop, which leaves
// the core's resources to the other thread on it and saves power. On amd64 one
// PAUSE takes 10 to 150 cycles, depending on the model.
//
//go:noescape
func Pause(n uint32)
