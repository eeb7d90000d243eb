//go:build !race

package vmbusring_test

const raceEnabled = false
