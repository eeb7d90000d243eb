//go:build !race

package shmread

const raceEnabled = false
