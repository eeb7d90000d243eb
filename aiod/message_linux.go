package aiod

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// receiveMessage reads one message and up to maxFDs descriptors that come with
// it; more are refused. io.EOF when the peer is gone.
func receiveMessage(socket int, buf []byte, maxFDs int) (int, []int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	var n, oobn, flags int
	err := retry(func() (err error) {
		n, oobn, flags, _, err = unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err == unix.ECONNRESET || err == nil && n == 0 {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, err
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		if got, e := unix.ParseUnixRights(&messages[i]); e == nil {
			fds = append(fds, got...)
		}
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = fmt.Errorf("%w: message cut off", ErrProtocol)
	}
	if err != nil {
		closeAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

// sendMessage sends one message with the descriptor fd, unless that is -1.
func sendMessage(socket int, b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 && fds[0] >= 0 {
		oob = unix.UnixRights(fds...)
	}
	return retry(func() error { return unix.Sendmsg(socket, b, oob, nil, unix.MSG_NOSIGNAL) })
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
