package aiod

import (
	"errors"
	"fmt"
	"io"
)

// Options say how Start starts daemons. The zero value is the compatible mode,
// ABI 2, one daemon.
type Options struct {
	// ABI is the wire format of the compatible mode; 0 is ABI2.
	ABI ABI
	// Daemons is their number; 0 is 1. Native mode has one, with Workers.
	Daemons int
	// Memory is the size of the shared memory in bytes; 0 is 2 MiB, native 8.
	// In compatible mode it is the limit that the memory grows to.
	Memory int
	// Dir is the daemon's working directory; "" is the caller's.
	Dir string
	// TempDir is where the shared file is created in compatible mode; "" is
	// os.TempDir.
	TempDir string
	// Stderr gets what the daemons say; nil discards it.
	Stderr io.Writer
	// Trace makes daemons report every operation on Stderr (AIOD_TRACE).
	Trace bool

	// Native asks for the native mode, which only this package's own server
	// speaks.
	Native bool
	// Workers is how many requests a native daemon carries out at once; 0 is 4.
	Workers int
	// Root, in native mode, is a directory that no name can leave, neither by
	// ".." nor by a link. Absolute names under it are taken as relative to it.
	Root string
}

const (
	maxBlock       = 64 << 10 // of a compatible client's allocator, as the original's
	nativeMaxBlock = 1 << 20
	maxWorkers     = 64
)

// validate fills in defaults.
func (o *Options) validate() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	if v.ABI == 0 {
		v.ABI = ABI2
	}
	if v.Daemons == 0 {
		v.Daemons = 1
	}
	if v.Workers == 0 {
		v.Workers = 4
	}
	block := maxBlock
	if v.Native {
		block = nativeMaxBlock
	}
	if v.Memory == 0 {
		v.Memory = 2 << 20
		if v.Native {
			v.Memory = 8 << 20
		}
	}
	switch {
	case v.ABI != ABI1 && v.ABI != ABI2:
		return v, fmt.Errorf("aiod: no ABI %d", v.ABI)
	case v.Daemons < 0 || v.Daemons > 64:
		return v, fmt.Errorf("aiod: %d daemons", v.Daemons)
	case v.Workers < 0 || v.Workers > maxWorkers:
		return v, fmt.Errorf("aiod: %d workers, at most %d", v.Workers, maxWorkers)
	case v.Memory < 2*block || v.Memory > 1<<30 || v.Memory%block != 0:
		return v, fmt.Errorf("aiod: %d bytes of shared memory, not a multiple of %d from twice that to 1 GiB", v.Memory, block)
	case v.Native && v.Daemons != 1:
		return v, errors.New("aiod: native mode has one daemon; use Workers")
	case !v.Native && v.Root != "":
		return v, errors.New("aiod: Root needs native mode")
	}
	return v, nil
}
