//go:build race

package vmbusring_test

// The race detector makes the generator ten times slower.
const raceEnabled = true
