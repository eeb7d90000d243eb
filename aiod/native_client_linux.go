package aiod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// native drives one of our servers in native mode, through all its lives.
type native struct {
	path string
	opts Options
	root *os.File // nil: no confinement

	mu     sync.Mutex
	life   *life
	lives  uint32
	closed bool
	files  map[*nativeFile]struct{} // handed to each new daemon
}

func startNative(path string, o Options) (*native, error) {
	n := &native{path: path, opts: o, files: make(map[*nativeFile]struct{})}
	if o.Root != "" {
		abs, err := filepath.Abs(o.Root)
		if err != nil {
			return nil, err
		}
		n.opts.Root = abs
		fd, err := openAt(unix.AT_FDCWD, abs, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", abs, err)
		}
		n.root = os.NewFile(uintptr(fd), abs)
	}
	if _, err := n.live(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// live returns the running daemon, starting one if need be: a new one gets the
// files that are open, by descriptor and not by name.
func (n *native) live() (*life, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	if n.life != nil {
		if !n.life.link.dead() {
			return n.life, nil
		}
		<-n.life.link.reaped // what it was writing is written or never will be
	}
	n.lives++
	l, err := n.launch(n.lives)
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	for f := range n.files {
		if _, err := f.adopted(l); err != nil {
			l.link.shut()
			return nil, fmt.Errorf("hand %s to a new daemon: %w", f.name, err)
		}
	}
	n.life = l
	return l, nil
}

// life is one native daemon: a process, its memory and its two channels.
type life struct {
	link  *link
	ring  *ringChannel
	view  *mapping.View
	arena arena
	control
}

func (n *native) launch(number uint32) (*life, error) {
	size := dataAt + n.opts.Memory
	memfd, err := sealedMemory(size)
	if err != nil {
		return nil, err
	}
	defer memfd.Close()
	view, err := mapping.MapShared(memfd.Fd(), 0, size, true)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		view.Close()
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	l := &life{view: view, control: control{socket: pair[0], calls: make(map[uint64]*controlCall)}}
	runtime.AddCleanup(l, func(v *mapping.View) { v.Close() }, view)
	l.control.room.left = maxControl
	l.ring = newRing(view, l.hangUp)
	l.link = newLink(l.ring)
	l.arena = arena{mem: newBuddy(nativeMaxBlock), limit: uint64(n.opts.Memory)}
	l.arena.mem.extend(uint64(n.opts.Memory))
	args := []string{"--native", "--workers", strconv.Itoa(n.opts.Workers)}
	l.link.cmd = command(n.path, "aiod", &n.opts, args, theirs)
	if err := l.link.cmd.Start(); err != nil {
		l.closeSocket()
		return nil, err
	}
	theirs.Close() // so that its death is the end of the socket
	go l.link.reap()
	if err := l.greet(memfd, n.root, uint64(size), number); err != nil {
		l.link.cmd.Process.Kill()
		<-l.link.reaped
		l.closeSocket()
		return nil, err
	}
	go l.listen(l)
	return l, nil
}

// sealedMemory returns a file in memory that nobody can shrink or grow any
// more: its mapping can not fault.
func sealedMemory(size int) (*os.File, error) {
	fd, err := unix.MemfdCreate("aiod", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal shared memory: %w", err)
	}
	return f, nil
}

// greet agrees with the server on version and sizes.
func (l *life) greet(memfd, root *os.File, size uint64, number uint32) error {
	mine := newHello(size, mapping.SystemPage(), number)
	fds := []int{int(memfd.Fd())}
	if root != nil {
		fds = append(fds, int(root.Fd()))
	}
	if err := sendMessage(l.socket, mine.encode(), fds...); err != nil {
		return fmt.Errorf("%w before the hello: %w", ErrDied, err)
	}
	buf := make([]byte, controlReplyMax)
	k, extra, err := receiveMessage(l.socket, buf, 1)
	closeAll(extra)
	if err == io.EOF {
		return fmt.Errorf("%w in the hello, or is no server of the native mode", ErrDied)
	}
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	theirs, err := decodeHello(buf[:k])
	if err != nil {
		return err
	}
	if theirs.errno != 0 {
		return fmt.Errorf("%w: the server refuses: %w", errHello, unix.Errno(theirs.errno))
	}
	return theirs.agrees(mine)
}

// group is submissions carried out at the same time and, once they are, their
// outcomes.
type group struct {
	l        *life
	subs     []Submission
	ids      []uint64
	outcomes []completion
	buffers  bool // the submissions' Buf and Len are blocks of the arena
}

var groups = sync.Pool{New: func() any { return new(group) }}

func (l *life) group(buffers bool) *group {
	g := groups.Get().(*group)
	*g = group{l: l, subs: g.subs[:0], ids: g.ids[:0], outcomes: g.outcomes[:0], buffers: buffers}
	return g
}

// run carries out the group. After an error it, and the memory that it uses,
// are no longer the caller's.
func (g *group) run(ctx context.Context) error {
	l := g.l
	if err := l.link.credits.take(ctx, len(g.subs)); err != nil {
		g.free()
		return err
	}
	for _, s := range g.subs {
		g.ids = append(g.ids, l.ring.put(s))
	}
	gone, err := l.link.roundtrip(ctx, g.ids, g)
	if gone {
		return err
	}
	if err == nil {
		for _, id := range g.ids {
			g.outcomes = append(g.outcomes, l.ring.outcome(id))
		}
	}
	g.giveBack()
	if err != nil {
		g.free()
	}
	return err
}

// answered comes after the caller gave up.
func (g *group) answered(error) {
	g.giveBack()
	g.free()
}

func (g *group) giveBack() {
	g.l.ring.drop(g.ids)
	g.l.link.credits.give(len(g.ids))
}

// free releases the buffers. A dead daemon's memory is not used again, so this
// need not wait for its last write.
func (g *group) free() {
	if !g.buffers {
		return
	}
	for _, s := range g.subs {
		g.l.arena.release([2]int{int(s.Len), 0}, [2]uint64{s.Buf, 0})
	}
}

// done gives everything back after the outcomes were looked at.
func (g *group) done() {
	g.free()
	groups.Put(g)
}

// ask carries out one submission that uses no memory.
func (l *life) ask(ctx context.Context, s Submission) error {
	g := l.group(false)
	g.subs = append(g.subs, s)
	if err := g.run(ctx); err != nil {
		return err
	}
	defer g.done()
	return g.outcomes[0].err()
}

func (c *completion) err() error {
	if c.errno != 0 {
		return unix.Errno(c.errno)
	}
	return nil
}

func (n *native) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	var err error
	if n.life != nil {
		n.life.link.shut()
		if !ended(n.life.link.cmd, n.life.link.reaped) {
			err = fmt.Errorf("aiod: process %d does not end", n.life.link.cmd.Process.Pid)
		}
	}
	for f := range n.files {
		err = errors.Join(err, f.fd.Close())
	}
	n.files = nil
	if n.root != nil {
		err = errors.Join(err, n.root.Close())
	}
	return err
}

func (n *native) masked(perm uint32) uint32 { return perm } // the daemon has our umask

// rel takes an absolute name to one relative to the root.
func (n *native) rel(name string) string {
	if n.root == nil || !filepath.IsAbs(name) {
		return name
	}
	if clean := filepath.Clean(name); clean == n.opts.Root {
		return "."
	} else if rest, ok := strings.CutPrefix(clean, strings.TrimSuffix(n.opts.Root, "/")+"/"); ok {
		return rest
	}
	return name // the kernel refuses it
}
