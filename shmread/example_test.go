package shmread_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"loomstore/shmread"
)

// simulate stands in for the daemon: one record, good for 1000 s.
func simulate() (path string, done func(), err error) {
	dir, err := os.MkdirTemp("", "clockbound")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "shm0")
	w, err := shmread.Create(path)
	if err != nil {
		return "", nil, err
	}
	asOf, err := shmread.CoarseNow()
	if err != nil {
		return "", nil, err
	}
	err = w.Update(&shmread.ClockErrorBound{
		AsOf:        asOf,
		VoidAfter:   shmread.Timespec{Sec: asOf.Sec + 1000},
		BoundNsec:   200_000,
		MaxDriftPPB: 50_000,
		Status:      shmread.Synchronized,
	})
	return path, func() { w.Close(); os.RemoveAll(dir) }, err
}

// Commit-wait: a transaction takes the latest moment it can be now as its
// timestamp, and is not acknowledged before that moment has certainly passed.
// Whatever starts after the acknowledgement, on any machine, then gets a later
// timestamp.
func Example_commitWait() {
	path, done, err := simulate()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer done()

	clock, err := shmread.Open(path, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clock.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := clock.WaitSynchronized(ctx); err != nil {
		fmt.Println(err)
		return
	}

	now, err := clock.Now()
	if err != nil || !now.Status.Trusted() {
		fmt.Println("no timestamp to be had:", now.Status, err)
		return
	}
	timestamp := now.Latest
	for !now.After(timestamp) {
		time.Sleep(now.Width())
		if now, err = clock.Now(); err != nil || !now.Status.Trusted() {
			fmt.Println("can not acknowledge yet:", now.Status, err)
			return
		}
	}
	fmt.Println("acknowledged")
	// Output: acknowledged
}

// Two events are ordered for certain only if their intervals do not overlap.
func ExampleBound_Precedes() {
	at := func(earliest, latest int64) shmread.Bound {
		return shmread.Bound{Earliest: time.UnixMicro(earliest), Latest: time.UnixMicro(latest), Status: shmread.Synchronized}
	}
	write, read, other := at(100, 140), at(150, 190), at(130, 170)
	fmt.Println(write.Precedes(read), write.Precedes(other), other.Precedes(write))
	// Output: true false false
}
