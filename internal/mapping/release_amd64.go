//go:build !race

package mapping

// Every store of amd64 is a release. What is left to prevent is that the
// compiler moves it or splits it: it does neither with the only store of a
// function that it may not inline. Assembly would say the same, and cost two
// calls and a dozen stores to the stack.

//go:noinline
func releaseUint64(p *uint64, x uint64) { *p = x }

//go:noinline
func releaseUint16(p *uint16, x uint16) { *p = x }
