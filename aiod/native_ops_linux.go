package aiod

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// onName carries out an operation on names in the running daemon.
func (n *native) onName(ctx context.Context, r controlRequest) (controlAnswer, error) {
	if r.op != OpSymlink { // whose path1 is text
		r.path1 = n.rel(r.path1)
	}
	r.path2 = n.rel(r.path2)
	l, err := n.live()
	if err != nil {
		return controlAnswer{}, err
	}
	a, fd, err := l.call(ctx, r, -1, nil)
	if fd >= 0 {
		unix.Close(fd)
	}
	return a, err
}

func (n *native) change(ctx context.Context, op Op, path1, path2 string, mode uint32) error {
	r := controlRequest{op: op, path1: path1, path2: path2, mode: mode}
	_, err := n.onName(ctx, r)
	if op == OpUnlink && err == unix.EISDIR {
		r.op = opRmdir
		_, err = n.onName(ctx, r)
	}
	return err
}

func (n *native) stat(ctx context.Context, name string, follow bool) (*Stat, error) {
	r := controlRequest{op: OpLstat, path1: name}
	if follow {
		r.op = OpStat
	}
	a, err := n.onName(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(a.payload) != nativeStatSize {
		return nil, fmt.Errorf("%w: stat of %d bytes", ErrProtocol, len(a.payload))
	}
	return decodeNativeStat(a.payload), nil
}

func (n *native) statvfs(ctx context.Context, name string) (*Statvfs, error) {
	a, err := n.onName(ctx, controlRequest{op: OpStatvfs, path1: name})
	if err != nil {
		return nil, err
	}
	if len(a.payload) != statvfsSize {
		return nil, fmt.Errorf("%w: statvfs of %d bytes", ErrProtocol, len(a.payload))
	}
	return decodeStatvfs(a.payload), nil
}

func (n *native) readlink(ctx context.Context, name string) (string, error) {
	a, err := n.onName(ctx, controlRequest{op: OpReadlink, path1: name})
	return string(a.payload), err
}

func (n *native) getcwd(ctx context.Context, name string) (string, error) {
	a, err := n.onName(ctx, controlRequest{op: OpGetcwd, path1: name})
	return string(a.payload), err
}

// nativeFile is an open file. This side keeps a descriptor too: a new daemon
// is given it, whatever has become of the name.
type nativeFile struct {
	n    *native
	name string
	fd   *os.File

	mu     sync.Mutex
	life   *life // that the handle belongs to
	handle uint64
}

func (n *native) open(ctx context.Context, name string, flag int, perm uint32) (handle, error) {
	l, err := n.live()
	if err != nil {
		return nil, err
	}
	r := controlRequest{op: OpOpen, path1: n.rel(name), flags: uint32(flag), mode: perm}
	a, fd, err := l.call(ctx, r, -1, func(a controlAnswer, fd int) {
		if fd >= 0 { // opened, but nobody wants it any more
			unix.Close(fd)
			l.ask(context.Background(), Submission{Op: uint32(nativeClose), Handle: a.handle})
		}
	})
	if err != nil {
		return nil, err
	}
	if fd < 0 {
		return nil, fmt.Errorf("%w: open without a descriptor", ErrProtocol)
	}
	return n.keep(&nativeFile{n: n, name: name, fd: os.NewFile(uintptr(fd), name), life: l, handle: a.handle})
}

// adopt gives the daemon a file that is open here.
func (n *native) adopt(ctx context.Context, f *os.File) (handle, error) {
	l, err := n.live()
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	own := &nativeFile{n: n, name: f.Name(), fd: os.NewFile(uintptr(fd), f.Name())}
	if _, err := own.adopted(l); err != nil {
		own.fd.Close()
		return nil, err
	}
	return n.keep(own)
}

func (n *native) keep(f *nativeFile) (handle, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		f.fd.Close()
		return nil, ErrClosed
	}
	n.files[f] = struct{}{}
	return f, nil
}

// adopted returns the file's handle in the given life, passing the descriptor
// if that life does not have it yet.
func (f *nativeFile) adopted(l *life) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life == l {
		return f.handle, nil
	}
	a, fd, err := l.call(context.Background(), controlRequest{op: opAdopt}, int(f.fd.Fd()), nil)
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil {
		return 0, err
	}
	f.life, f.handle = l, a.handle
	return f.handle, nil
}

// at returns the running daemon and the file's handle there.
func (f *nativeFile) at() (*life, uint64, error) {
	l, err := f.n.live()
	if err != nil {
		return nil, 0, err
	}
	h, err := f.adopted(l)
	return l, h, err
}

// ask carries out a submission about the file that uses no memory.
func (f *nativeFile) ask(ctx context.Context, s Submission) error {
	l, h, err := f.at()
	if err != nil {
		return err
	}
	s.Handle = h
	return l.ask(ctx, s)
}

func (f *nativeFile) sync(ctx context.Context, dataOnly bool) error {
	op := nativeSync
	if dataOnly {
		op = nativeSyncData
	}
	return f.ask(ctx, Submission{Op: uint32(op)})
}

// writeSync is a sequence of two steps that the caller waits for.
func (f *nativeFile) writeSync(ctx context.Context, p []byte, off int64) (n int, writeErr, syncErr error) {
	const steps = 2 * submissionSize
	if len(p) > nativeMaxBlock-steps {
		return 0, nil, nil
	}
	l, h, err := f.at()
	if err != nil {
		return 0, err, nil
	}
	at, err := l.arena.alloc(ctx, steps+len(p), 0)
	if err != nil {
		return 0, err, nil
	}
	data := l.view.Bytes()[dataAt+at[0]:]
	write := Submission{Op: uint32(nativeWrite), Handle: h, Off: off, Buf: at[0] + steps, Len: uint64(len(p))}
	write.encode(data)
	sync := Submission{Op: uint32(nativeSync), Handle: h}
	sync.encode(data[submissionSize:])
	copy(data[steps:], p)
	g := l.group(true)
	g.subs = append(g.subs, Submission{Op: uint32(nativeSequence), Buf: at[0], Len: steps})
	if err := g.run(ctx); err != nil {
		return 0, err, nil
	}
	defer g.done()
	if c := g.outcomes[0]; c.errno == 0 {
		return len(p), nil, nil
	} else if c.result == 1 {
		return len(p), nil, c.err()
	} else {
		return 0, c.err(), nil
	}
}

func (f *nativeFile) resetSync(ctx context.Context) error {
	return f.ask(ctx, Submission{Op: uint32(nativeReset)})
}

func (f *nativeFile) truncate(ctx context.Context, size int64) error {
	return f.ask(ctx, Submission{Op: uint32(nativeTruncate), Off: size})
}

func (f *nativeFile) allocate(ctx context.Context, off, n int64) error {
	return f.ask(ctx, Submission{Op: uint32(nativeAllocate), Off: off, Len: uint64(n)})
}

func (f *nativeFile) renew(ctx context.Context, off, n int64) error {
	return f.ask(ctx, Submission{Op: uint32(nativeRenew), Off: off, Len: uint64(n)})
}

func (f *nativeFile) flush(ctx context.Context, off, n int64) error {
	return f.ask(ctx, Submission{Op: uint32(nativeFlush), Off: off, Len: uint64(n)})
}

func (f *nativeFile) clone(ctx context.Context, src *nativeFile) error {
	l, h, err := f.at()
	if err != nil {
		return err
	}
	from, err := src.adopted(l)
	if err != nil {
		return err
	}
	return l.ask(ctx, Submission{Op: uint32(nativeClone), Handle: h, Buf: from})
}

func (f *nativeFile) close(ctx context.Context) error {
	n := f.n
	n.mu.Lock()
	_, open := n.files[f]
	delete(n.files, f)
	l := n.life
	n.mu.Unlock()
	if !open {
		return ErrClosed // with the client
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.fd.Close()
	if f.life == l && !l.link.dead() {
		err = l.ask(context.WithoutCancel(ctx), Submission{Op: uint32(nativeClose), Handle: f.handle})
	}
	return err
}

func (f *nativeFile) stat(ctx context.Context) (*Stat, error) {
	l, h, err := f.at()
	if err != nil {
		return nil, err
	}
	at, err := l.arena.alloc(ctx, nativeStatSize, 0)
	if err != nil {
		return nil, err
	}
	g := l.group(true)
	g.subs = append(g.subs, Submission{Op: uint32(nativeStat), Handle: h, Buf: at[0], Len: nativeStatSize})
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	defer g.done()
	if err := g.outcomes[0].err(); err != nil {
		return nil, err
	}
	return decodeNativeStat(l.view.Bytes()[dataAt+at[0]:]), nil
}

func (f *nativeFile) transfer(ctx context.Context, write bool, blocks []Block) error {
	return transferBlocks(ctx, f, write, blocks, nativeMaxBlock)
}

// wave carries out as many pieces as there is memory for, at the same time.
func (f *nativeFile) wave(ctx context.Context, write bool, pieces []piece) (int, error) {
	l, h, err := f.at()
	if err != nil {
		return 0, err
	}
	op := nativeRead
	if write {
		op = nativeWrite
	} else if n, err := l.readCached(ctx, h, pieces); n > 0 || err != nil {
		return n, err
	}
	data := l.view.Bytes()[dataAt:]
	first, err := l.arena.alloc(ctx, len(pieces[0].buf), 0)
	if err != nil {
		return 0, err
	}
	g := l.group(true)
	for i := range pieces {
		at, n := first, len(pieces[i].buf)
		if i > 0 {
			var ok bool
			if at, ok = l.arena.tryAlloc(n, 0); !ok {
				break
			}
		}
		if write {
			copy(data[at[0]:], pieces[i].buf)
		}
		g.subs = append(g.subs, Submission{Op: uint32(op), Handle: h, Off: pieces[i].off, Buf: at[0], Len: uint64(n)})
	}
	if err := g.run(ctx); err != nil {
		return 0, err
	}
	defer g.done()
	for i, c := range g.outcomes {
		p := &pieces[i]
		if p.err = c.err(); p.err != nil {
			continue
		}
		if c.result < 0 || c.result > int64(len(p.buf)) {
			return 0, fmt.Errorf("%w: %d of %d bytes done", ErrProtocol, c.result, len(p.buf))
		}
		p.n = int(c.result)
		if !write {
			copy(p.buf[:p.n], data[g.subs[i].Buf:])
		}
	}
	return len(g.subs), nil
}

// readCached reads as many of several pieces as come from the page cache, with
// one request: what is there is done soonest by one worker, one after the
// other, and what is not, by several. It returns how many came.
func (l *life) readCached(ctx context.Context, h uint64, pieces []piece) (int, error) {
	size, many := 0, 0
	for many < len(pieces) && size+submissionSize+len(pieces[many].buf) <= nativeMaxBlock {
		size += submissionSize + len(pieces[many].buf)
		many++
	}
	if many < 2 {
		return 0, nil
	}
	at, err := l.arena.alloc(ctx, size, 0)
	if err != nil {
		return 0, err
	}
	mem := l.view.Bytes()[dataAt:]
	steps := uint64(many * submissionSize)
	buf := at[0] + steps
	for i, p := range pieces[:many] {
		s := Submission{Op: uint32(nativeRead), Handle: h, Off: p.off, Buf: buf, Len: uint64(len(p.buf))}
		s.encode(mem[at[0]+uint64(i*submissionSize):])
		buf += s.Len
	}
	g := l.group(true)
	g.subs = append(g.subs, Submission{Op: uint32(nativeCached), Buf: at[0], Len: steps})
	if err := g.run(ctx); err != nil {
		return 0, err
	}
	defer g.done()
	c := g.outcomes[0]
	if err := c.err(); err != nil {
		return 0, err
	}
	if c.result < 0 || c.result > int64(many) {
		return 0, fmt.Errorf("%w: %d of %d reads done", ErrProtocol, c.result, many)
	}
	buf = at[0] + steps
	for i := range pieces[:c.result] {
		p := &pieces[i]
		p.n = copy(p.buf, mem[buf:])
		buf += uint64(len(p.buf))
	}
	return int(c.result), nil
}

// list reads a directory.
func (n *native) list(ctx context.Context, name string) ([]dirent, error) {
	h, err := n.open(ctx, name, openDir, 0)
	if err != nil {
		return nil, err
	}
	f := h.(*nativeFile)
	defer f.close(ctx)
	l, num, err := f.at()
	if err != nil {
		return nil, err
	}
	var entries []dirent
	for {
		a, _, err := l.call(ctx, controlRequest{op: OpReaddir, handle: num}, -1, nil)
		if err != nil || len(a.payload) == 0 {
			return entries, err
		}
		for rest := a.payload; len(rest) > 0; {
			var d dirent
			var ok bool
			if d, rest, ok = nextDirent(rest); !ok {
				return nil, fmt.Errorf("%w: broken directory entry", ErrProtocol)
			}
			if d.name != "." && d.name != ".." {
				entries = append(entries, d)
			}
		}
	}
}
