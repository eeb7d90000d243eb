//go:build race

package shmread

// raceEnabled: the race detector does atomic loads in its own C code, where Go
// can not turn a fault into a panic.
const raceEnabled = true
