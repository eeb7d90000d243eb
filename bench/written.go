package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"loomstore/bench/peer"
)

const writtenCommits = 20

// writtenSuite counts what reaches the disk.
func writtenSuite() suite {
	return suite{
		name:  "written",
		title: "Bytes written per byte of dirty pages",
		note: fmt.Sprintf("%d commits of D random pages, then work behind the commits and a sync. Counted are the sectors that the block device "+
			"was told to write, the file system's journal and whatever else the machine wrote included: write_bytes of /proc/self/io counts "+
			"whole folios of the page cache, however small the part that is written.", writtenCommits),
		columns: []string{"1", "16", "256"},
		open:    openWritten,
	}
}

func openWritten(w *world) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	add := func(row string, n int, f func(i int, dirty []int) error, end func() error) {
		for _, d := range []int{1, 16, 256} {
			b.cells = append(b.cells, cell{row: row, run: func() (map[string]float64, error) {
				return w.count(d, n, func() error {
					for i := range n {
						if err := f(i, w.pick(min(d, w.pages))); err != nil {
							return err
						}
					}
					return end()
				})
			}})
		}
	}
	for _, k := range peers() {
		s, err := w.full(k, b)
		if err != nil {
			return nil, err
		}
		add(k.Name, howMany(k, writtenCommits), func(_ int, dirty []int) error {
			w.touch(s, dirty)
			return w.commit(s, dirty)
		}, func() error { return settle(s) })
	}
	name := func(i int) string { return w.path(fmt.Sprintf("floor.%d.tmp", i)) }
	b.defers(func() error {
		for i := range writtenCommits {
			if err := remove(name(i)); err != nil {
				return err
			}
		}
		return nil
	})
	add("floor", writtenCommits, func(i int, dirty []int) error { return writeOnce(name(i), w.program(), dirty) }, func() error { return nil })
	return b, nil
}

// count returns what f has written for each byte of its n commits of d pages.
func (w *world) count(d, n int, f func() error) (map[string]float64, error) {
	before, err := sectorsWritten(w.dir)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	if err := w.sync(); err != nil {
		return nil, err
	}
	after, err := sectorsWritten(w.dir)
	dirty := float64(n * min(d, w.pages) * peer.PageSize)
	return map[string]float64{strconv.Itoa(d): float64(after-before) * 512 / dirty}, err
}

// sectorsWritten returns how many sectors the device of dir has written.
func sectorsWritten(dir string) (int64, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	dev := info.Sys().(*syscall.Stat_t).Dev
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", dev>>8&0xfff, dev&0xff|dev>>12&0xfff00))
	if err != nil {
		return 0, fmt.Errorf("no block device to ask: %w", err)
	}
	fields := strings.Fields(string(b))
	if len(fields) < 7 {
		return 0, fmt.Errorf("block statistics have %d fields", len(fields))
	}
	return strconv.ParseInt(fields[6], 10, 64)
}
