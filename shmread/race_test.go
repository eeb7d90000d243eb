//go:build race

package shmread

// raceEnabled: the race detector makes atomic stores in its own C code, where
// Go can not turn a writer's fault into a panic.
const raceEnabled = true
