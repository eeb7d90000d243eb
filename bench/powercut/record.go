package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// scene is what happens before the power is cut.
type scene int

const (
	plainCut scene = iota // nothing
	killCut               // the process is killed, and another recovers
	failCut               // a write of the disk ends in EIO, and another process recovers
	scenes
)

func (s scene) String() string { return [...]string{"cut", "kill + cut", "EIO + cut"}[s] }

// recording is what a disk saw of a workload.
type recording struct {
	base   content
	ledger ledger // at the beginning
	log    []event
	live   *finding // what was wrong before any power cut
}

// record runs a workload of the driver's under the scene that rng draws.
func (r *rig) record(ctx context.Context, rng *rand.Rand, d driver, s scene, killBefore string) (rec recording, err error) {
	r.disk.reset(r.blank, nil)
	if err := r.mount(); err != nil {
		return rec, err
	}
	defer func() {
		r.disk.inject(nil, nil, nil)
		err = errors.Join(err, r.umount())
		rec.log = r.disk.stop() // with what umount still wrote
	}()
	l := newLedger(d)
	// The set-up is not recorded: a store that was just made, or one with a
	// history, closed or not; or none at all, where creation may be cut.
	if !d.creates || rng.IntN(6) > 0 {
		a, end, err := once(ctx, job{Store: d.name, Dir: r.store(), Ledger: l, Seed: rng.Uint64(), Checkpoints: rng.IntN(4), Leave: rng.IntN(3) == 0}, nil)
		if err == nil && (end != answered || a.Err != "" || a.What != whole) {
			err = fmt.Errorf("set up: %v %s", end, a.Err)
		}
		if err == nil {
			err = r.roomy()
		}
		if err != nil {
			return rec, err
		}
		l = a.Ledger
	}
	if err := r.sync(); err != nil {
		return rec, err
	}
	l.forget()
	rec.base, rec.ledger = r.disk.record(), l.clone()

	j := job{Store: d.name, Dir: r.store(), Ledger: l, Marks: r.marks(), Seed: rng.Uint64(), Checkpoints: 3 + rng.IntN(3)}
	var started func(*child)
	switch s {
	case killCut:
		started = r.killing(rng, d, &j, killBefore)
	case failCut:
		r.disk.inject(nil, failing(rng, r.fs), nil)
		j.Retry = rng.IntN(2) == 0
	}
	a, end, err := once(ctx, j, started)
	r.disk.inject(nil, nil, nil)
	if err != nil {
		return rec, err
	}
	// The marks say the same; what only the answer says is what was seen.
	rec.live = seen(a, end, s)
	if s == plainCut || rec.live != nil || r.dead() {
		return rec, nil
	}
	// The next process finds the page cache as it is.
	j = job{Store: d.name, Dir: r.store(), Ledger: r.ledgerNow(rec), Marks: r.marks(), Seed: rng.Uint64(), Checkpoints: 1 + rng.IntN(3)}
	for tries := 0; ; tries++ {
		if a, end, err = once(ctx, j, nil); err != nil {
			return rec, err
		}
		// The first sync of each file whose write-back failed unseen still
		// reports it, after a restart too.
		if s != failCut || end == silent || end == answered && a.What != unavailable || tries == 4 {
			break
		}
	}
	if s == failCut && r.dead() {
		return rec, nil
	}
	rec.live = seen(a, end, plainCut)
	return rec, nil
}

// seen makes what became of a process a finding, unless it was killed or the
// disk had failed.
func seen(a answer, end fate, s scene) *finding {
	switch {
	case end == killed && s == killCut, end != answered && s == failCut:
	case end != answered:
		return bad(unavailable, "before any power cut: %v", end)
	case a.What == unavailable && s == failCut: // it had to recover from a disk that failed
	case a.What != whole:
		return &finding{a.What, errors.New("before any power cut: " + a.Err)}
	case a.Stopped && s != failCut:
		return &finding{saveFails, errors.New("before any power cut: " + a.Err)}
	}
	return nil
}

// ledgerNow is the ledger after what was recorded so far.
func (r *rig) ledgerNow(rec recording) ledger {
	l := rec.ledger.clone()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	for _, e := range r.disk.events {
		if e.kind == marked {
			l.apply(e.mark)
		}
	}
	return l
}

// killing arranges for the process to be killed: before an operation on its
// files, or when the disk gets one.
func (r *rig) killing(rng *rand.Rand, d driver, j *job, before string) func(*child) {
	switch {
	case before != "":
		j.KillBefore = before
	case d.seam && rng.IntN(2) == 0:
		j.KillAt = 1 + rng.Int64N(60)
	default:
		at := 1 + rng.IntN(80)
		return func(c *child) {
			r.disk.inject(func(n int) {
				if n == at {
					c.kill()
				}
			}, nil, nil)
		}
	}
	return nil
}

// roomy makes sure that the disk is large enough for the store. Some try for
// ever when it is not.
func (r *rig) roomy() error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.mountPoint(), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < r.fs.size/8 {
		return fmt.Errorf("the disk is too small for this store: %d MiB are left", free/mib)
	}
	return nil
}

// failing returns a fault that begins with some write and lasts for a few:
// of pages only, which the file system survives, or of anything that it does
// not hide. Of what failed the medium has taken nothing, everything, or a part.
func failing(rng *rand.Rand, f filesystem) func(event) ([]event, bool) {
	first, n, pagesOnly := rng.IntN(30), 1+rng.IntN(6), rng.IntN(3) > 0
	if !pagesOnly {
		first = rng.IntN(60)
	}
	seen := 0
	return func(e event) ([]event, bool) {
		if pagesOnly && !holdsPages(e) || f.spared != nil && f.spared(e) {
			return nil, false
		}
		seen++
		if seen <= first || seen > first+n {
			return nil, false
		}
		switch n := rng.IntN(4); {
		case n == 0:
			return []event{e}, true
		case n == 1 && !f.whole(e):
			return tear(rng, e), true
		}
		return nil, true
	}
}

var patternBytes = binary.LittleEndian.AppendUint64(nil, pattern)

func holdsPages(e event) bool { return bytes.Contains(e.data, patternBytes) }

// dead reports whether the file system has given up after an error.
func (r *rig) dead() bool {
	name := filepath.Join(r.mountPoint(), "probe")
	f, err := os.Create(name)
	if err != nil {
		return true
	}
	err = f.Sync()
	return errors.Join(err, f.Close(), os.Remove(name)) != nil
}
