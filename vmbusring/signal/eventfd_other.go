//go:build !linux

package signal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// EventFD is not supported here.
type EventFD struct{}

func unsupported() error {
	return fmt.Errorf("signal: eventfd on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// NewEventFD is not supported here.
func NewEventFD() (*EventFD, *EventFD, error) { return nil, nil, unsupported() }

// OverEventFD is not supported here.
func OverEventFD(mine, peer uintptr) (*EventFD, error) { return nil, unsupported() }

// Files returns nothing.
func (e *EventFD) Files() (mine, peer *os.File) { return nil, nil }

// Notify is not supported here.
func (e *EventFD) Notify() error { return unsupported() }

// Wait is not supported here.
func (e *EventFD) Wait(context.Context) error { return unsupported() }

// Close does nothing.
func (e *EventFD) Close() error { return nil }
