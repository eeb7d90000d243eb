//go:build race

package shmring

func init() { raceDetector = true }
