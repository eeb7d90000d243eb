package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"loomstore/fault"
	"loomstore/loom"
)

// unreadable is one step of a job on a store one of whose pages can not be read
// from the disk.
type unreadable struct {
	Step    string // "make", "open", "touch", "heal"
	Tracker fault.Kind
	Page    int
}

const unreadablePages = 80

// held is the store that the child has open from step to step.
var held *loom.Loom

func (u unreadable) do(dir string) answer {
	if err := u.step(dir); err != nil {
		return answer{What: unavailable, Err: fmt.Sprintf("%s, %s: %v", u.Tracker, u.Step, err)}
	}
	return answer{}
}

func (u unreadable) step(dir string) (err error) {
	ctx := context.Background()
	switch u.Step {
	case "make":
		l, err := u.open(dir)
		if err != nil {
			return err
		}
		for p := range unreadablePages {
			fill(l.Bytes()[p*pageSize:(p+1)*pageSize], 1, p)
		}
		_, err = l.Checkpoint(ctx)
		return errors.Join(err, l.Close())
	case "open":
		held, err = u.open(dir)
		return err
	case "touch":
		return u.touch(ctx)
	}
	// Healed: the same memory reads again, and so does the store when it is
	// opened again.
	if err := u.compare(held); err != nil {
		return err
	}
	// What the sick disk did to Close is its affair.
	_ = held.Close()
	l, err := u.open(dir)
	if err != nil {
		return err
	}
	if err := u.compare(l); err != nil {
		return err
	}
	fill(l.Bytes()[u.Page*pageSize:(u.Page+1)*pageSize], 1, u.Page)
	_, err = l.Checkpoint(ctx)
	return errors.Join(err, l.Close())
}

func (u unreadable) open(dir string) (*loom.Loom, error) {
	return loom.Open(dir, &loom.Options{Size: 2 * unreadablePages * pageSize, Tracker: u.Tracker})
}

// touch loads from and stores to a page that can not be read, and lets the
// engine look at it.
func (u unreadable) touch(ctx context.Context) error {
	mem := held.Bytes()[u.Page*pageSize : (u.Page+1)*pageSize]
	for name, f := range map[string]func() error{
		"load":  func() error { _ = bytes.Clone(mem); return nil },
		"store": func() error { mem[0]++; return nil },
	} {
		err := held.Do(f)
		var pe *loom.PageError
		if !errors.Is(err, loom.ErrPage) || !errors.As(err, &pe) || pe.Page != u.Page {
			return fmt.Errorf("%s through Do: %v", name, err)
		}
	}
	// The engine may read the page itself. It may fail, and it may not die.
	_, checkpoint := held.Checkpoint(ctx)
	rollback := held.Rollback()
	_ = errors.Join(checkpoint, rollback, held.Wait(ctx), held.Trim())
	return nil
}

func (u unreadable) compare(l *loom.Loom) error {
	want := make([]byte, pageSize)
	return l.Do(func() error {
		for p := range unreadablePages {
			fill(want, 1, p)
			if !bytes.Equal(l.Bytes()[p*pageSize:(p+1)*pageSize], want) {
				return fmt.Errorf("page %d holds something else", p)
			}
		}
		return nil
	})
}

// survivesUnreadablePages lets the disk fail under a mapped page of an open
// store, with every tracker: an error, not a dead process; and the store is
// usable again when the disk is healed.
func (c *campaign) survivesUnreadablePages(ctx context.Context, list []filesystem) error {
	for _, f := range list {
		err := c.on(f, func(r *rig, _ *checker) error {
			for i, tracker := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare} {
				if err := r.unreadable(ctx, tracker, unreadablePages/2+4*i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("unreadable page on %s: %w", f.name, err)
		}
	}
	c.printf("unreadable pages: an error through Do on every file system with every tracker, and usable again when healed\n")
	return nil
}

func (r *rig) unreadable(ctx context.Context, tracker fault.Kind, page int) error {
	r.disk.reset(r.blank, nil)
	want := make([]byte, pageSize)
	fill(want, 1, page)
	step := func(k *child, name string) error {
		a, err := k.do(job{Dir: r.store(), Unreadable: &unreadable{name, tracker, page}})
		if err != nil {
			return fmt.Errorf("%s, %s: the process died: %w", tracker, name, err)
		}
		if a.Err != "" {
			return errors.New(a.Err)
		}
		return nil
	}
	with := func(steps func(*child) error) error {
		if err := r.mount(); err != nil {
			return err
		}
		k, err := newChild(ctx)
		if err != nil {
			return errors.Join(err, r.umount())
		}
		return errors.Join(steps(k), k.end(), r.umount())
	}
	if err := with(func(k *child) error { return step(k, "make") }); err != nil {
		return err
	}
	// Mounted anew, so that the page comes from the disk.
	return with(func(k *child) error {
		// Before it opens: what it reads of other pages must not bring in
		// this one.
		defer r.disk.inject(nil, nil, nil)
		r.disk.inject(nil, nil, func(_ int64, p []byte) bool { return bytes.Contains(p, want[:sectorSize]) })
		if err := step(k, "open"); err != nil {
			return err
		}
		if err := step(k, "touch"); err != nil {
			return err
		}
		r.disk.inject(nil, nil, nil)
		return step(k, "heal")
	})
}
