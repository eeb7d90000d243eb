//go:build !race

package mapping

// STLR and STLRH. Go has no way to say so: its atomic stores are full fences,
// its plain stores promise nothing to another processor.

//go:noescape
func releaseUint64(p *uint64, x uint64)

//go:noescape
func releaseUint16(p *uint16, x uint16)
