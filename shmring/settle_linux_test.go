package shmring

import (
	"testing"
	"time"
)

// A plain pair is left alone until it is 2 ms old, though an object seems to
// be up to 10 ms older than it is; and no clock that was set back makes that
// an hour.
func TestSettle(t *testing.T) {
	for _, tt := range []struct{ seems, want time.Duration }{
		{0, settle},
		{4 * time.Millisecond, settle}, // new, at 250 timer interrupts a second
		{settle + tick - 1, settle},
		{settle + tick, 0},
		{time.Hour, 0},
		{-time.Hour, settle},
	} {
		if got := unsettled(tt.seems); got != tt.want {
			t.Errorf("an object that seems %v old: wait %v, want %v", tt.seems, got, tt.want)
		}
	}
}
