//go:build !linux || (!amd64 && !arm64)

package fault

import (
	"errors"
	"fmt"
	"runtime"
)

func newMprotect(*Arena) (tracker, error) {
	return nil, fmt.Errorf("fault handler on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}
