//go:build !linux

package shmring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("shmring: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

func create(name string, plain bool) (*Pair, error) { return nil, unsupported("create a pair") }

func open(name string, plain bool) (*Pair, error) { return nil, unsupported("open a pair") }

func locked(file *os.File, p party) bool { return false }

func unlock(file *os.File, p party) error { return nil }

func (o objects) unlink(name string) error { return nil }

func (o objects) unlinked() bool { return false }
