package loom

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"loomstore/image"
	"loomstore/internal/mapping"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// limbo is the scratch file of an ephemeral arena. Its bytes mean nothing
// after exit, so it does not go through the FS of durable bytes.
type limbo struct {
	name string   // absolute: the program may change its directory
	lock vfs.Lock // keeps the file from becoming a second arena's
	file vfs.File
}

// limboByte is the byte of the scratch file that is locked. Byte 0 would say
// that the file's content is the owner.
const limboByte = 1

// openLimbo takes the file and empties it. What a killed process left may be
// taken; what an arena is in, or a store, may not.
func openLimbo(name, store string) (_ *limbo, err error) {
	if name, err = filepath.Abs(name); err != nil {
		return nil, err
	}
	if err := notOf(store, name); err != nil {
		return nil, err
	}
	lock, err := vfs.OS.OpenLock(name)
	if err != nil {
		return nil, err
	}
	if err := lock.TryLock(limboByte, true); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	file, err := vfs.OS.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &limbo{name, lock, file}, nil
}

// notOf refuses a scratch file that is one of the files of the store.
func notOf(store, name string) error {
	scratch, err := os.Stat(name)
	if err != nil {
		return nil // there is none yet, or openLimbo will say what is wrong
	}
	for _, file := range []string{patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile, image.LockFile} {
		if other, err := os.Stat(filepath.Join(store, file)); err == nil && os.SameFile(scratch, other) {
			return fmt.Errorf("the ephemeral arena can not be in %s, which is the store's %s: %w", name, file, ErrOptions)
		}
	}
	return nil
}

// close removes the file, which may be gone already.
func (b *limbo) close() error {
	err := os.Remove(b.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, b.file.Close(), b.lock.Close())
}

// mapLimbo makes the scratch file a copy of the image, of the arena's size,
// and maps all of it, shared.
func (l *Loom) mapLimbo() (err error) {
	if l.limbo, err = openLimbo(l.o.Ephemeral, l.store.Dir()); err != nil {
		return err
	}
	f := l.limbo.file
	if err := copyImage(f, l.store.Image(), int64(l.store.State().Pages)*PageSize); err != nil {
		return fmt.Errorf("copy the image to %s: %w", l.o.Ephemeral, err)
	}
	if err := f.Truncate(int64(l.region.Len())); err != nil {
		return err
	}
	fd, ok := f.Fd()
	if !ok {
		return fmt.Errorf("%s has no descriptor to map: %w", l.o.Ephemeral, errors.ErrUnsupported)
	}
	return l.region.MapFile(0, l.region.Len(), mapping.ReadWrite, fd, 0, true)
}

// copyImage clones src where the file system can, else copies its bytes.
func copyImage(dst, src vfs.File, length int64) error {
	if err := dst.CloneFrom(src); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < length; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), length-off)]
		if _, err := src.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := dst.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}
