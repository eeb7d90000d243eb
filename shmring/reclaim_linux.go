package shmring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// errNotControl reports an object that is not a control block of this version.
var errNotControl = errors.New("shmring: not a control block")

// controlRecord is what a control block says about its rings.
type controlRecord struct{ push, pop uint64 }

// readControl opens an object and reads its fixed part: not through a mapping,
// since its length is anybody's.
func readControl(path string) (*os.File, controlRecord, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0) // as openObject
	if err != nil {
		return nil, controlRecord{}, err
	}
	var b [32]byte
	info, err := f.Stat()
	if err == nil {
		if _, err = f.ReadAt(b[:], 0); err == io.EOF || info.Size() != controlSize {
			err = errNotControl
		}
	}
	if err == nil && (binary.LittleEndian.Uint64(b[magicAt:]) != controlMagic || binary.LittleEndian.Uint32(b[versionAt:]) != controlVersion) {
		err = errNotControl
	}
	if err != nil {
		_ = f.Close()
		return nil, controlRecord{}, fmt.Errorf("read control block %s: %w", path, err)
	}
	return f, controlRecord{
		push: binary.LittleEndian.Uint64(b[pushInodeAt:]),
		pop:  binary.LittleEndian.Uint64(b[popInodeAt:]),
	}, nil
}

// reclaim removes what a creator that died left under a name (D17): only the
// very objects that its control block names, and only under its lock, which a
// live creator holds and two reclaimers can not share. It reports false, and
// why, when the name is somebody's.
func reclaim(name string) (ok bool, why error) {
	block := path(name, controlSuffix)
	f, rec, err := readControl(block)
	if errors.Is(err, os.ErrNotExist) {
		if inode(path(name, pushSuffix)) == 0 && inode(path(name, popSuffix)) == 0 {
			return true, nil // gone since
		}
		return false, errors.New("no control block says who owns it")
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if ok, err := lock(f, creator); err != nil {
		return false, err
	} else if !ok {
		return false, ErrOwned
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	if inode(block) != st.Ino {
		return true, nil // somebody else reclaimed it meanwhile: look again
	}
	o := objects{inodes: [3]uint64{rec.push, rec.pop, st.Ino}}
	foreign := false
	for i, suffix := range []string{pushSuffix, popSuffix} {
		if ino := inode(path(name, suffix)); ino != 0 && ino != o.inodes[i] {
			foreign = true
		}
	}
	if err := o.unlink(name); err != nil {
		return false, err
	}
	if foreign {
		return false, errors.New("a ring that no control block owns")
	}
	return true, nil
}
