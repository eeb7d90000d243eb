package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const sessionPrefix = "loom-powercut-"

// session is the directory of one run of the rig. It is locked while the run
// lives, so that the next one knows what was left behind.
type session struct {
	dir  string
	lock *os.File
}

func newSession() (*session, error) {
	dir, err := os.MkdirTemp("", sessionPrefix)
	if err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	return &session{dir, lock}, unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func (s *session) close() error {
	return errors.Join(takeDown(s.dir), s.lock.Close())
}

// sweep clears away the sessions of runs that were killed.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), sessionPrefix+"*"))
	for _, dir := range dirs {
		lock, openErr := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if openErr != nil {
			continue // not ours, or just being made
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(err, takeDown(dir))
		}
		err = errors.Join(err, lock.Close())
	}
	return err
}

// takeDown takes down what is mounted and attached below a session's directory,
// and removes it.
func takeDown(dir string) error {
	var errs []error
	loops := attached(dir) // before the names of their files change
	for _, m := range mounted(dir) {
		errs = append(errs, unix.Unmount(m, unix.MNT_DETACH))
	}
	for _, l := range loops {
		errs = append(errs, detach(l))
	}
	if len(mounted(dir)) > 0 {
		return errors.Join(append(errs, fmt.Errorf("%s: still mounted", dir))...)
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// rig is a disk in memory with everything that is built on it: FUSE server,
// loop device, mount point.
type rig struct {
	fs     filesystem
	disk   *disk
	blank  content // the file system just made
	dir    string
	loop   string
	server *fuse.Server
}

// newRig builds one below the session's directory.
func (s *session) newRig(f filesystem) (r *rig, err error) {
	r = &rig{fs: f, dir: filepath.Join(s.dir, f.name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	for _, d := range []string{r.dir, r.serverDir(), r.mountPoint()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return r, err
		}
	}
	if r.blank, err = f.make(filepath.Join(r.dir, "mkfs")); err != nil {
		return r, err
	}
	r.disk = newDisk(f.size, r.blank)
	if r.server, err = serve(r.serverDir(), r.disk); err != nil {
		return r, fmt.Errorf("mount the disk's server: %w", err)
	}
	r.loop, err = attach(filepath.Join(r.serverDir(), diskName))
	return r, err
}

func (r *rig) serverDir() string  { return filepath.Join(r.dir, "server") }
func (r *rig) mountPoint() string { return filepath.Join(r.dir, "mnt") }
func (r *rig) marks() string      { return filepath.Join(r.serverDir(), markName) }

// store is the directory that the workload works in: not the root of the file
// system, which has things of its own.
func (r *rig) store() string { return filepath.Join(r.mountPoint(), "store") }

func (r *rig) close() error {
	var errs []error
	if strings.Contains(strings.Join(mounted(r.dir), "\n"), r.mountPoint()) {
		errs = append(errs, unmount(r.mountPoint()))
	}
	if r.loop != "" {
		errs = append(errs, detach(r.loop))
	}
	if r.server != nil {
		errs = append(errs, r.server.Unmount())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// errUnmountable is a file system that is gone, whatever was in it.
var errUnmountable = errors.New("the file system can not be mounted")

// mount mounts the file system, repaired first if it has no journal.
func (r *rig) mount() error {
	if err := forget(r.loop); err != nil {
		return err
	}
	if r.fs.repair != nil {
		out, err := exec.Command(r.fs.repair[0], append(r.fs.repair[1:], r.loop)...).CombinedOutput()
		// 1 and 2 say that it was repaired.
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() > 2) {
			return fmt.Errorf("%w: %v: %w\n%s", errUnmountable, r.fs.repair, err, out)
		}
	}
	if err := unix.Mount(r.loop, r.mountPoint(), r.fs.kind, 0, r.fs.mount); err != nil {
		return fmt.Errorf("%w: %w", errUnmountable, err)
	}
	return nil
}

func (r *rig) umount() error { return unmount(r.mountPoint()) }

// sync makes everything on the mounted file system durable.
func (r *rig) sync() error {
	d, err := os.Open(r.mountPoint())
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
