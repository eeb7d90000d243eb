package signal

import (
	"context"
	"fmt"

	"loomstore/internal/mapping"
)

// The trigger words of a monitor page (spec section 4): one bit an id.
const (
	monitorTriggers = 8
	monitorStride   = 8
	monitorIDs      = 128
)

// Waiter is the half of a signal that receives.
type Waiter interface {
	Wait(ctx context.Context) error
	Close() error
}

// Monitor signals a host that polls a page of memory, which all channels of
// the guest share, instead of taking an interrupt for each signal. Interrupts
// from the host arrive as without it.
type Monitor struct {
	Waiter
	page *mapping.View
	word int
	bit  uint32
}

// NewMonitor returns a signal that sets the bit of the monitor id in page and
// waits as events does, which it owns. The page must stay mapped until the
// last Notify.
func NewMonitor(page []byte, id uint32, events Waiter) (*Monitor, error) {
	if id >= monitorIDs {
		return nil, fmt.Errorf("signal: monitor id %d, expected less than %d", id, monitorIDs)
	}
	view, err := mapping.Over(page)
	if err != nil {
		return nil, fmt.Errorf("monitor page: %w", err)
	}
	word := monitorTriggers + monitorStride*int(id/32)
	if word+4 > view.Len() {
		return nil, fmt.Errorf("signal: monitor page of %d bytes has no word for id %d", view.Len(), id)
	}
	return &Monitor{Waiter: events, page: view, word: word, bit: 1 << (id % 32)}, nil
}

// Notify sets the bit. The host sees it when it looks next; others set theirs
// in the same word at the same time.
func (m *Monitor) Notify() error {
	m.page.Uint32(m.word).Or(m.bit)
	return nil
}
