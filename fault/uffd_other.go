//go:build !linux

package fault

import (
	"errors"
	"fmt"
	"runtime"
)

func newUffd(*Arena) (tracker, error) {
	return nil, fmt.Errorf("userfaultfd on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
