package shmring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how old a plain pair must be before we push into it. Upstream
// gives its objects names first and then their size and first bytes, which
// takes microseconds; a push in between would be wiped out.
const settle = 2 * time.Millisecond

// tick is how much older than it is an object can seem: the kernel takes its
// times from a clock that stands still between timer interrupts.
const tick = 10 * time.Millisecond

// unsettled returns how long to wait for an object that seems to be of that
// age. A clock that was set back makes it negative, by any amount.
func unsettled(age time.Duration) time.Duration {
	if age < settle+tick {
		return settle
	}
	return 0
}

// open attaches to a pair. It writes nothing into the rings (rule 1).
func open(name string, plain bool) (_ *Pair, err error) {
	var push, pop, block *os.File
	var v views
	defer func() {
		if err != nil {
			for _, f := range []*os.File{push, pop, block} {
				if f != nil {
					_ = f.Close()
				}
			}
			_ = v.close()
		}
	}()
	var o objects
	// The opener's directions are the creator's, turned round.
	if pop, o.inodes[0], err = openObject(path(name, pushSuffix)); err != nil {
		return nil, fmt.Errorf("open pair %s: %w", name, err)
	}
	if push, o.inodes[1], err = openObject(path(name, popSuffix)); err != nil {
		return nil, fmt.Errorf("open pair %s: %w", name, err)
	}
	if !plain {
		if block, err = openControl(name, o); err != nil {
			return nil, fmt.Errorf("open pair %s: %w", name, err)
		}
	}
	if block == nil { // else the creator is ours, whose objects appear complete
		if err = awaitSettled(push, pop); err != nil {
			return nil, fmt.Errorf("open pair %s: %w", name, err)
		}
	}
	if v, err = mapObjects(push, pop, block); err != nil {
		return nil, fmt.Errorf("open pair %s: %w", name, err)
	}
	var p *Pair
	if err = v.guard(func() error {
		var c *control
		if block != nil {
			c = &control{view: v.control, file: block, self: opener}
			if c.life(opener).Load() != partyUnborn {
				return ErrInUse
			}
		}
		var err error
		if p, err = newPair(name, opener, v, c, o); err == nil && c != nil {
			c.attach()
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("open pair %s: %w", name, err)
	}
	p.objects.keep(push, pop, block != nil)
	return p, nil
}

// openObject opens a ring object and checks its size before anybody maps it
// (D9). Anybody may put names into shmDir, so a symbolic link is not followed,
// as in shm_open(3): what is pushed would go into a file of somebody's choice.
func openObject(path string) (*os.File, uint64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Size != ObjectSize {
		_ = f.Close()
		return nil, 0, sizeError(path, st.Size)
	}
	return f, st.Ino, nil
}

// awaitSettled waits until the youngest of the objects is old enough.
func awaitSettled(objects ...*os.File) error {
	var wait time.Duration
	for _, f := range objects {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
		}
		wait = max(wait, unsettled(time.Since(time.Unix(st.Ctim.Unix()))))
	}
	time.Sleep(wait)
	return nil
}

// openControl opens the control block of the two rings and locks the opener's
// byte. It returns nil where there is none, or one left over from another
// pair: then the peer is a plain one.
func openControl(name string, o objects) (_ *os.File, err error) {
	f, rec, err := readControl(path(name, controlSuffix))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotControl) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	alive := locked(f, creator)
	switch {
	case rec.push != o.inodes[0] || rec.pop != o.inodes[1]:
		if alive { // the names changed while we looked
			return nil, fs.ErrNotExist
		}
		return nil, f.Close()
	case !alive:
		return nil, ErrPeerDead
	}
	ok, err := lock(f, opener)
	if err == nil && !ok {
		err = ErrInUse
	}
	return f, err
}
