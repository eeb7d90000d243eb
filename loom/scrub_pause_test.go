package loom

import (
	"testing"
	"time"
)

// A round takes its time whatever the number of pages.
func TestScrubPause(t *testing.T) {
	for _, c := range []struct {
		pages, batches int
	}{{0, 1}, {1, 1}, {64, 1}, {65, 2}, {6400, 100}} {
		if got := scrubPause(time.Hour, c.pages); got != time.Hour/time.Duration(c.batches) {
			t.Errorf("%d pages: %v between batches, want a %dth of an hour", c.pages, got, c.batches)
		}
	}
}
