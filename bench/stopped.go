package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"loomstore/bench/peer"
)

// stoppedSuite measures how long the program stands still.
func stoppedSuite() suite {
	return suite{
		name:  "stopped",
		title: "How long the program is stopped to save D of 16384 pages",
		note: "Checkpoint stops it until the pages are durable, CheckpointAsync until they are captured; heap-file until the whole heap " +
			"is on disk. The floor is a memcpy of the pages into fresh memory.",
		unit: "ms", floor: "memcpy", columns: []string{"16", "256", "4096", "16384"},
		open: openStopped,
	}
}

func openStopped(w *world) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	ours, err := w.get("loom", b)
	if err != nil {
		return nil, err
	}
	heap, err := w.get("heap-file", b)
	if err != nil {
		return nil, err
	}
	l := ours.(*peer.Loom)
	ctx := context.Background()
	var dirty map[int][]int
	b.round = func() {
		dirty = map[int][]int{}
		for _, d := range dirtySizes[1:] {
			dirty[d] = w.pick(min(d, w.pages))
		}
	}
	for _, d := range dirtySizes[1:] {
		add := func(row string, s peer.Store, stop func() error) {
			b.cells = append(b.cells, cell{row: row,
				before: func() error { w.touch(s, dirty[d]); return nil },
				run: func() (map[string]float64, error) {
					start := time.Now()
					err := stop()
					return map[string]float64{strconv.Itoa(d): since(start)}, err
				},
				after: func() error { return settle(s) }})
		}
		add("Checkpoint", l, l.Save)
		var pending interface{ Wait(context.Context) error }
		add("CheckpointAsync", l, func() (err error) { pending, err = l.CheckpointAsync(ctx); return err })
		last := &b.cells[len(b.cells)-1]
		last.after = func() error { return errors.Join(pending.Wait(ctx), settle(l)) }
		add("heap-file", heap, heap.(peer.Memory).Save)
		add("memcpy", l, func() error {
			fresh := make([]byte, len(dirty[d])*peer.PageSize)
			for i, p := range dirty[d] {
				copy(page(fresh, i), page(l.Bytes(), p))
			}
			return nil
		})
		b.cells[len(b.cells)-1].after = func() error { return errors.Join(l.Save(), settle(l)) }
	}
	return b, nil
}

func (w *world) get(name string, b *bench) (peer.Store, error) {
	k, err := peer.Get(name)
	if err != nil {
		return nil, err
	}
	return w.full(k, b)
}
