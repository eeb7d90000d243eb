//go:build !linux

package aiod

import (
	"errors"
	"fmt"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("aiod: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// Serve is not supported here.
func Serve(*ServerConfig) error { return unsupported("serve") }

// ServeNative is not supported here.
func ServeNative(*NativeConfig) error { return unsupported("serve") }
