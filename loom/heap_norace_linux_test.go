//go:build loomheap && !race

package loom_test

const raceDetector = false
