package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// attach makes file a block device that does not cache, and returns its name.
func attach(file string) (string, error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("free loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		err = configure(name, backing)
		if errors.Is(err, unix.EBUSY) {
			continue // somebody else took it
		}
		return name, err
	}
}

func configure(name string, backing *os.File) error {
	dev, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	c := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: sectorSize}
	c.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	copy(c.Info.File_name[:], backing.Name())
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), &c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err == nil && info.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		err = errors.New("the kernel caches this loop device: its writes would come in another order")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), detach(name))
	}
	return nil
}

// forget empties the kernel's cache of a device that nobody has mounted. The
// last close does that, but whoever looks at all loop devices meanwhile, as
// losetup does, keeps it open, and blocks of one state would show in the next.
func forget(name string) error {
	dev, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("flush %s: %w", name, err)
	}
	return nil
}

func detach(name string) error {
	dev, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detach %s: %w", name, err)
	}
	return nil
}

// attached lists the loop devices on files below dir.
func attached(dir string) []string {
	var list []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(b), dir+"/") {
			list = append(list, "/dev/"+strings.Split(f, "/")[3])
		}
	}
	return list
}

// unmount waits for what a process that has just ended still holds.
func unmount(dir string) error {
	var err error
	for range 100 {
		if err = unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		return &os.PathError{Op: "umount", Path: dir, Err: err}
	}
	return nil
}

// mounted lists the mount points below dir, the youngest first.
func mounted(dir string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			list = append([]string{f[4]}, list...)
		}
	}
	return list
}
