package aiod

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// Serve is the daemon: it serves requests until the client closes its ends,
// and finishes what was asked before. It is meant for a process of its own, as
// it sets the umask to 0 and, without Single, moves to a new process group.
func Serve(cfg *ServerConfig) error {
	unix.Umask(0)
	if !cfg.Single {
		if err := unix.Setpgid(0, 0); err != nil {
			return fmt.Errorf("leave the client's process group: %w", err)
		}
	}
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	return s.serve()
}

// server serves one pipe and one socket, a goroutine each, with blocking
// reads: neither signals nor non-blocking descriptors, whose mode an original
// daemon on the same pipe would share.
type server struct {
	executor
	single   bool
	requests int
	replies  int
	writing  sync.Mutex // keeps the replies of both goroutines whole
	busy     sync.Mutex // held by the pipe's goroutine while it works
}

func newServer(cfg *ServerConfig) (*server, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(cfg.SHM), &st); err != nil {
		return nil, fmt.Errorf("shared file, descriptor %d: %w", cfg.SHM, err)
	}
	if st.Size < msgSize || st.Size > 1<<40 {
		return nil, fmt.Errorf("shared file, descriptor %d: %d bytes: %w", cfg.SHM, st.Size, mapping.ErrRange)
	}
	view, err := mapping.MapShared(cfg.SHM, 0, int(st.Size), true)
	if err != nil {
		return nil, fmt.Errorf("shared file: %w", err)
	}
	s := &server{single: cfg.Single, requests: int(cfg.Requests), replies: int(cfg.Replies)}
	s.abi, s.view, s.shmfd = cfg.ABI, view, int(cfg.SHM)
	s.files.files = make(map[fileKey][]*openFile)
	if cfg.Single {
		s.files.known = make(map[fileKey]struct{})
	}
	if cfg.Trace != nil {
		s.trace = func(format string, args ...any) { fmt.Fprintf(cfg.Trace, format, args...) }
	}
	// Only this process and its client share the socket, so its mode is ours.
	if err := unix.SetNonblock(s.replies, false); err != nil {
		view.Close()
		return nil, fmt.Errorf("socket, descriptor %d: %w", s.replies, err)
	}
	return s, nil
}

func (s *server) close() {
	s.files.closeAll()
	s.view.Close()
}

// clientDying is how long after the socket's end the pipe's end may come.
const clientDying = time.Second

// serve returns when the client is gone. What it had asked for by then is done
// first: the bytes stay in pipe and socket when their writer dies.
func (s *server) serve() error {
	pipe, socket := make(chan error, 1), make(chan error, 1)
	go func() { pipe <- s.servePipe() }()
	go func() { socket <- s.serveSocket() }()
	select {
	case err := <-pipe:
		// Ends the socket's goroutine behind what is queued there.
		unix.Shutdown(s.replies, unix.SHUT_RD)
		if other := <-socket; err == nil {
			err = other
		}
		return err
	case err := <-socket:
		// A dead client has closed the pipe as well, a moment before or
		// after. If not, it lives and has given up this daemon only: the
		// requests in the pipe are for others.
		fds := []unix.PollFd{{Fd: int32(s.requests)}}
		n := 0
		retry(func() (e error) { n, e = unix.Poll(fds, int(clientDying/time.Millisecond)); return e })
		if n == 0 {
			s.busy.Lock()
			return err
		}
		if other := <-pipe; err == nil {
			err = other
		}
		return err
	}
}

// maxBatch bounds the requests taken in one read.
const maxBatch = 128

// servePipe reads the pipe that all daemons share. Beside others each message
// is taken under the lock that the original takes.
func (s *server) servePipe() error {
	limit := maxBatch
	if !s.single {
		limit = 1
	}
	buf := make([]byte, limit*msgSize)
	for have := 0; ; {
		n, err := s.take(buf[have:])
		if err != nil {
			return fmt.Errorf("read requests: %w", err)
		}
		if n == 0 {
			return nil
		}
		have += n
		s.busy.Lock()
		have = s.answer(buf[:have])
		s.busy.Unlock()
	}
}

func (s *server) take(p []byte) (int, error) {
	if !s.single {
		if err := retry(func() error { return unix.Flock(s.shmfd, unix.LOCK_EX) }); err != nil {
			return 0, err
		}
		defer unix.Flock(s.shmfd, unix.LOCK_UN)
	}
	return readAt(s.requests, p, -1)
}

// serveSocket reads what is meant for this daemon alone.
func (s *server) serveSocket() error {
	buf := make([]byte, maxBatch*msgSize)
	for have := 0; ; {
		if err := awaitInput(s.replies); err != nil {
			return fmt.Errorf("wait for the socket: %w", err)
		}
		n, err := readAt(s.replies, buf[have:], -1)
		if err == unix.ECONNRESET { // the client died with replies unread
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the socket: %w", err)
		}
		if n == 0 {
			return nil
		}
		have = s.answer(buf[:have+n])
	}
}

// answer serves the whole messages in buf, moves what is left to its start and
// returns how much that is.
func (s *server) answer(buf []byte) int {
	whole := len(buf) / msgSize * msgSize
	replied := 0
	var last Request
	for done := 0; done < whole; {
		// The client can cut the shared file short at any moment.
		err := mapping.Guarded(s.view.Bytes(), func() error {
			for ; done < whole; done += msgSize {
				r, err := DecodeRequest(s.abi, s.view.Bytes(), binary.LittleEndian.Uint64(buf[done:]))
				// Replies wait for each other only as long as nothing can block.
				ready := done
				if r.completes(&last) {
					ready -= msgSize
				}
				if ready > replied && (err != nil || !r.quick() || s.slow.Load()) {
					s.reply(buf[replied:ready])
					replied = ready
				}
				s.perform(&r, err)
				last = r
			}
			return nil
		})
		if err != nil {
			done += msgSize // answered without a result: there is no place for one
		}
	}
	s.reply(buf[replied:whole])
	return copy(buf, buf[whole:])
}

// quick reports whether the request is one that page cache usually serves.
func (r *Request) quick() bool {
	switch r.Op {
	case OpNop, OpRead, OpWrite, OpStat, OpLstat, OpFstat:
		return true
	}
	return false
}

// completes reports whether r is the sync of a write that came with it: who
// asks for both at once waits for both, and needs to be woken once only.
func (r *Request) completes(write *Request) bool {
	return r.Op == OpFsync && write.Op == OpWrite && r.FH == write.FH
}

// reply echoes messages. A client that is gone gets none; its requests are
// carried out all the same.
func (s *server) reply(p []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for len(p) > 0 {
		n, err := writeAt(s.replies, p, -1)
		if err != nil {
			return
		}
		p = p[n:]
	}
}
