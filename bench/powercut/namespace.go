package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const secluded = "POWERCUT_SECLUDED"

// seclude begins the program anew among mounts that nobody else sees. Whoever
// made a copy of all mounts meanwhile, as unshare does, would keep the rig's
// mounted after they were unmounted, and the next state would be mounted with
// what the kernel knows of the one before.
func seclude() error {
	if os.Getenv(secluded) != "" {
		return nil
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), secluded+"=1"))
}
