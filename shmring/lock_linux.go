package shmring

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a party's byte of the control block for the life of file. It
// reports false when somebody else holds it.
func lock(file *os.File, p party) (bool, error) {
	err := fcntlLock(file, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(p), Len: 1})
	if err == unix.EAGAIN || err == unix.EACCES {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock control block: %w", err)
	}
	return true, nil
}

// unlock gives a party's byte back.
func unlock(file *os.File, p party) error {
	return fcntlLock(file, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: int64(p), Len: 1})
}

// locked tells whether another open file holds a party's byte. Where the
// kernel can not say, the party counts as alive.
func locked(file *os.File, p party) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(p), Len: 1}
	if err := fcntlLock(file, unix.F_OFD_GETLK, &l); err != nil {
		return true
	}
	return l.Type != unix.F_UNLCK
}

func fcntlLock(file *os.File, cmd int, l *unix.Flock_t) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	if err := conn.Control(func(fd uintptr) { errno = unix.FcntlFlock(fd, cmd, l) }); err != nil {
		return err
	}
	return errno
}
