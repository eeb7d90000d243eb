//go:build !linux

package uio

import (
	"errors"
	"fmt"
	"runtime"
)

func openHardware(path string) (*hardware, error) {
	return nil, fmt.Errorf("uio on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
