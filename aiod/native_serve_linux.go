package aiod

import (
	"fmt"
	"io"
	"sync"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// nativeServer is the daemon's side of the native mode: one client, whose data
// operations come through a ring in shared memory, and whose operations on
// names come through the control socket.
type nativeServer struct {
	resolver
	files   fileTable
	view    *mapping.View
	data    []byte
	control int
	// sync is fsync or fdatasync; tests make it fail.
	sync  func(fd int, dataOnly bool) error
	trace io.Writer // nil: silent

	mu       sync.Mutex // of the submission ring
	head     uint32     // submissions taken
	closing  bool       // the client is gone
	end      uint32     // if closing: no submission from here on counts
	spinning bool       // one worker at a time watches the ring awake
	spin     spinner    // that worker's
	lookers  int        // workers that will look at the ring without being woken

	completing sync.Mutex // of the completion ring
	completed  uint32
}

// ServeNative is the daemon in native mode. It returns when the client has
// gone and everything it had published is done; only then are its files closed and their locks given up. It is meant for a process of
// its own and moves it to a new process group, out of the terminal's reach.
func ServeNative(cfg *NativeConfig) error {
	if err := unix.Setpgid(0, 0); err != nil {
		return fmt.Errorf("leave the client's process group: %w", err)
	}
	s, err := newNativeServer(cfg)
	if err != nil {
		return err
	}
	defer s.view.Close()
	return s.serve(cfg.Workers)
}

// newNativeServer agrees with the client on what both understand.
func newNativeServer(cfg *NativeConfig) (*nativeServer, error) {
	s := &nativeServer{control: int(cfg.Control), resolver: resolver{unix.AT_FDCWD}, trace: cfg.Trace}
	s.sync = func(fd int, dataOnly bool) error {
		if dataOnly {
			return unix.Fdatasync(fd)
		}
		return unix.Fsync(fd)
	}
	buf := make([]byte, controlMax)
	n, fds, err := receiveMessage(s.control, buf, 2)
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	theirs, err := decodeHello(buf[:n])
	if err != nil {
		return nil, err
	}
	mine := newHello(theirs.shared, mapping.SystemPage(), theirs.life)
	if err = theirs.agrees(mine); err == nil {
		err = s.share(fds, theirs.shared)
	}
	if err != nil {
		mine.errno = uint32(unix.EPROTO)
	}
	s.files.life = theirs.life
	if sent := sendMessage(s.control, mine.encode(), -1); err == nil {
		err = sent
	}
	return s, err
}

// share maps the client's memory once it is certain that the client can not
// take it away again.
func (s *nativeServer) share(fds []int, size uint64) error {
	if len(fds) == 0 {
		return fmt.Errorf("%w: no descriptor of the shared memory", errHello)
	}
	defer unix.Close(fds[0])
	if len(fds) > 1 {
		s.root = fds[1]
	}
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		return fmt.Errorf("%w: shared memory is not sealed", errHello)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil {
		return err
	}
	if size <= dataAt || size > dataAt+1<<30 || uint64(st.Size) != size {
		return fmt.Errorf("%w: %d bytes shared, said to be %d", errHello, st.Size, size)
	}
	s.view, err = mapping.MapShared(uintptr(fds[0]), 0, int(size), true)
	if err != nil {
		return err
	}
	s.data = s.view.Bytes()[dataAt:]
	return nil
}

func (s *nativeServer) serve(workers int) error {
	var running sync.WaitGroup
	s.lookers = workers
	for range workers {
		running.Go(s.work)
	}
	err := s.serveControl()
	s.mu.Lock()
	s.closing, s.end = true, s.view.Uint32(wordSQTail).Load()
	if s.end-s.head > ringEntries {
		s.end = s.head
	}
	s.mu.Unlock()
	s.view.Uint32(wordSQBell).Add(1)
	s.view.FutexWake(wordSQBell, workers)
	running.Wait()
	return err
}

// take copies the next submission, calling idle before it waits for one. False
// means that there will be none.
func (s *nativeServer) take(b *[submissionSize]byte, idle func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.available() > 0 {
			at := submissionsAt + int(s.head%ringEntries)*submissionSize
			copy(b[:], s.view.Bytes()[at:])
			s.head++
			return true
		}
		if s.closing {
			return false
		}
		s.await(idle)
	}
}

// available is how many submissions wait. A tail that can not be is the
// client's loss: nothing is taken until it is right again.
func (s *nativeServer) available() uint32 {
	end := s.end
	if !s.closing {
		end = s.view.Uint32(wordSQTail).Load()
	}
	if n := end - s.head; n <= ringEntries {
		return n
	}
	return 0
}

// await returns when there may be work. Called and left with mu held.
func (s *nativeServer) await(idle func()) {
	head := s.head
	spin := !s.spinning
	s.spinning = true
	s.mu.Unlock()
	idle()
	tail, bell := s.view.Uint32(wordSQTail), s.view.Uint32(wordSQBell)
	work := false
	if spin {
		work = s.spin.wait(func() bool { return tail.Load() != head })
	}
	s.mu.Lock()
	if spin {
		s.spinning = false
	}
	if work || s.closing || s.available() > 0 {
		return
	}
	// The last look comes after the word that asks for a wake-up is raised,
	// and the client looks at that after publishing: one sees the other.
	seen := bell.Load()
	s.look(-1)
	if s.available() == 0 {
		s.mu.Unlock()
		s.view.FutexWait(wordSQBell, seen, 0)
		s.mu.Lock()
	}
	s.look(+1)
}

// look counts a worker that begins or ceases to look at the ring by itself,
// and tells the client whether it has to wake one.
func (s *nativeServer) look(d int) {
	s.lookers += d
	asleep := uint32(0)
	if s.lookers == 0 {
		asleep = 1
	}
	s.view.Uint32(wordSQAsleep).Store(asleep)
}

// wake wakes one sleeper on a bell if the word says that all are asleep. Only
// one of several wakers does.
func wake(v *mapping.View, asleep, bell int) {
	if v.Uint32(asleep).Load() != 0 && v.Uint32(asleep).Swap(0) != 0 {
		v.Uint32(bell).Add(1)
		v.FutexWake(bell, 1)
	}
}

// maxQuiet is how many completions may be published before the client is
// woken.
const maxQuiet = 16

// work takes submissions and completes them until the client is gone.
func (s *nativeServer) work() {
	var b [submissionSize]byte
	quiet := 0
	tell := func() {
		if quiet > 0 {
			quiet = 0
			wake(s.view, wordCQAsleep, wordCQBell)
		}
	}
	for {
		ok := s.take(&b, tell)
		if !ok {
			tell()
			return
		}
		sub, err := DecodeSubmission(&b, uint64(len(s.data)))
		c := completion{id: sub.ID}
		if err == nil {
			away := false
			c.result, err = s.perform(&sub, func() {
				tell()
				s.leave()
				away = true
			})
			if away {
				s.comeBack()
			}
		}
		if err != nil {
			c.errno = errnoFor(err)
		}
		s.complete(&c)
		if quiet++; quiet == maxQuiet {
			tell()
		}
	}
}

// leave lets others take over the ring while this worker is busy for longer.
func (s *nativeServer) leave() {
	s.mu.Lock()
	s.look(-1)
	waiting := s.available() > 0
	s.mu.Unlock()
	if waiting {
		wake(s.view, wordSQAsleep, wordSQBell)
	}
}

func (s *nativeServer) comeBack() {
	s.mu.Lock()
	s.look(+1)
	s.mu.Unlock()
}

// complete publishes a completion. The client bounds what is in flight, so the
// ring has room; one that does not only overwrites what it has not read.
func (s *nativeServer) complete(c *completion) {
	s.completing.Lock()
	at := completionsAt + int(s.completed%ringEntries)*completionSize
	c.encode(s.view.Bytes()[at:])
	s.completed++
	s.view.Uint32(wordCQTail).Store(s.completed)
	s.completing.Unlock()
}
