package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// hidesZeroing tries, without any store, what ext4 with data=journal does when
// it can not make the rest of a reserved extent zero. Writing the first block
// of the extent zeroes the others. If that fails, ext4 splits the extent
// instead, and the others stay unwritten on the disk; but its cache of extents
// counts them as written (ext4_ext_convert_to_initialized goes to its fallback
// with zero_ex1 set). Then they are written, journalled, put in place and
// synced, all without an error, and read zero once the file system is mounted
// anew. No store can be told; this is why filesystem.spared is.
func (r *rig) hidesZeroing() (hidden bool, err error) {
	r.disk.reset(r.blank, nil)
	name := filepath.Join(r.mountPoint(), "reserved")
	want := make([]byte, pageSize)
	fill(want, 1, 0)
	if err := r.mount(); err != nil {
		return false, err
	}
	if err := errors.Join(r.writeReserved(name, want), r.umount(), r.mount()); err != nil {
		return false, err
	}
	got, err := os.ReadFile(name)
	return !bytes.Equal(got, want), errors.Join(err, r.umount())
}

// writeReserved makes a file of reserved blocks, writes it while nothing can
// be zeroed, and syncs it.
func (r *rig) writeReserved(name string, content []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	err = errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, int64(len(content))), f.Sync())
	r.disk.inject(nil, func(e event) ([]event, bool) { return nil, e.zeros() }, nil)
	defer r.disk.inject(nil, nil, nil)
	_, writeErr := f.WriteAt(content, 0)
	return errors.Join(err, writeErr, f.Sync(), f.Close())
}

// explainSpared says of the file systems whose zeroing does not fail here
// whether that is still needed.
func (c *campaign) explainSpared(list []filesystem) error {
	for _, f := range list {
		if f.spared == nil {
			continue
		}
		err := c.on(f, func(r *rig, _ *checker) error {
			hidden, err := r.hidesZeroing()
			switch {
			case err != nil:
			case hidden:
				c.printf("control: %s: a file that was reserved, written and synced without an error reads otherwise after a mount, where zeroing failed: so it is not made to fail here\n", f.name)
			default:
				c.printf("control: %s: the kernel no longer hides that zeroing failed: it could be made to fail here\n", f.name)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("failing zeroing: %w", err)
		}
	}
	return nil
}
