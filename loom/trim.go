package loom

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"loomstore/internal/mapping"
)

// Trim gives back the memory of pages that image.bin holds as well. A page
// that was ever stored to is a private copy, and stays one after it was saved:
// in the long run a program holds its whole image twice, once in memory of its
// own and once in the system's cache. After Trim only dirty pages are private;
// the others are read from image.bin again, and their next first store costs a
// copy.
//
// Pages by which the image grew since Open have no file behind them, and get
// it here. Resident and ephemeral arenas, and stores without files that can be
// mapped, have nothing to give.
//
// It waits for the last checkpoint to be applied, and fails if that fails
// (R11). The program must be stopped. No state is lost, whatever the error.
func (l *Loom) Trim() error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	if err := l.trim(context.Background()); err != nil {
		return fmt.Errorf("loom: trim: %w", err)
	}
	return nil
}

func (l *Loom) trim(ctx context.Context) error {
	if err := l.settleCapture(ctx); err != nil {
		return err
	}
	if err := l.settleApply(ctx); err != nil {
		return err
	}
	fd, mappable := l.store.Image().Fd()
	if l.o.Resident || l.limbo != nil || !mappable {
		return nil
	}
	pages := l.store.Pages()
	var err error
	if l.dirty, err = l.arena.Collect(l.dirty[:0], pages); err != nil {
		return err
	}
	err = l.attach(l.dirty, pages, fd)
	if err == nil {
		err = l.dropClean(l.dirty)
	}
	l.arena.Mark(l.dirty)
	return err
}

// dropClean drops the pages of the file mapping that are clean. The guard page
// is free space, but keeps its content and its dirt like every page of that.
func (l *Loom) dropClean(dirty []int) error {
	if g := l.arena.GuardPage(); g >= 0 && g < l.mapped {
		i, _ := slices.BinarySearch(dirty, g)
		dirty = slices.Insert(slices.Clone(dirty), i, g)
	}
	return eachRun(dirty, 0, l.mapped, func(lo, hi int, kept bool) error {
		if kept {
			return nil
		}
		return l.region.Advise(lo*PageSize, (hi-lo)*PageSize, mapping.DontNeed)
	})
}

// attach extends the file mapping over the pages by which the image has grown,
// up to the guard page, which can not be read. Dirty pages keep their content.
func (l *Loom) attach(dirty []int, pages int, fd uintptr) error {
	from := l.mapped
	if g := l.arena.GuardPage(); g >= from {
		pages = min(pages, g)
	}
	mapFile := func(lo, hi int) error {
		return l.region.MapFile(lo*PageSize, (hi-lo)*PageSize, mapping.ReadWrite, fd, int64(lo)*PageSize, false)
	}
	err := eachRun(dirty, from, pages, func(lo, hi int, kept bool) error {
		if !kept {
			if err := mapFile(lo, hi); err != nil {
				return err
			}
			l.mapped = hi
			return nil
		}
		for ; lo < hi; lo = l.mapped {
			next := min(lo+maxKept, hi)
			if err := l.keep(lo, next, mapFile); err != nil {
				return err
			}
			l.mapped = next
		}
		return nil
	})
	if l.mapped > from {
		err = errors.Join(err, l.arena.SetMapped(l.mapped), l.arena.Forget(from, l.mapped))
	}
	return err
}

// eachRun visits the runs of [lo, hi), in ascending order, whose pages all are,
// or all are not, in the ascending list.
func eachRun(list []int, lo, hi int, visit func(lo, hi int, listed bool) error) error {
	i, _ := slices.BinarySearch(list, lo)
	for list = list[i:]; lo < hi; {
		end, listed := hi, len(list) > 0 && list[0] == lo
		if listed {
			for end = lo; end < hi && len(list) > 0 && list[0] == end; end++ {
				list = list[1:]
			}
		} else if len(list) > 0 {
			end = min(hi, list[0])
		}
		if err := visit(lo, end, listed); err != nil {
			return err
		}
		lo = end
	}
	return nil
}
