package shmring

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	// crowded SIZE: creates a pair in a shmDir of its own with room for SIZE
	// bytes, and fills it.
	roles["crowded"] = func(args []string) error {
		if err := unix.Mount("tmpfs", shmDir, "tmpfs", 0, "size="+args[0]); err != nil {
			return errors.Join(errNoNamespace, err)
		}
		pair, p, _, err := attach(true, "crowded", nil)
		if err != nil {
			return err
		}
		defer pair.Close()
		return p.TryPush(message(MaxMessage, 1))
	}
}

var errNoNamespace = errors.New("no file systems of its own for a process")

// A process whose /dev/shm is full gets an error: nobody is killed by a store.
func TestCreateWithoutRoom(t *testing.T) {
	for _, tt := range []struct{ size, want string }{
		{"4k", unix.ENOSPC.Error()},   // not one object fits
		{"100k", unix.ENOSPC.Error()}, // the first fits
		{"1m", ""},
	} {
		c := exec.Command(os.Args[0], tt.size)
		c.Env = append(os.Environ(), roleVar+"=crowded")
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || strings.Contains(string(out), errNoNamespace.Error()) {
			t.Skipf("no /dev/shm of its own for a process: a full one was not tried: %v %s", err, out)
		}
		if got := string(out); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "fault") {
			t.Errorf("/dev/shm of %s: %v, want %q: %s", tt.size, err, tt.want, got)
		}
	}
}
