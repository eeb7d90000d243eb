package aiod

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// pathCall asks any daemon for a path operation. If its error is nil the
// caller frees the call, whose memory holds the result.
func (c *compat) pathCall(ctx context.Context, op Op, path1, path2 string, room int, mode uint32) (call, error) {
	if strings.IndexByte(path1, 0) >= 0 || strings.IndexByte(path2, 0) >= 0 {
		return call{}, unix.EINVAL
	}
	if len(path1) >= pathMax || len(path2) >= pathMax {
		return call{}, unix.ENAMETOOLONG
	}
	at := offPath
	if op == OpMkdir {
		at = offMkPath
	}
	size := max(room, len(path1)+len(path2)+2)
	k, err := c.begin(ctx, op, at+size, 0)
	if err != nil {
		return k, err
	}
	k.put(offBufSize, uint64(size))
	if op == OpMkdir {
		k.put32(offMkMode, mode)
	}
	copy(k.mem()[at:], path1+"\x00"+path2+"\x00")
	if err := c.next().run(ctx, &k, nil); err != nil {
		return k, err
	}
	if err := k.err(); err != nil {
		k.free()
		return k, err
	}
	return k, nil
}

func (c *compat) change(ctx context.Context, op Op, path1, path2 string, mode uint32) error {
	k, err := c.pathCall(ctx, op, path1, path2, 0, mode)
	if err == nil {
		k.free()
	}
	return err
}

func (c *compat) stat(ctx context.Context, name string, follow bool) (*Stat, error) {
	op := OpLstat
	if follow {
		op = OpStat
	}
	k, err := c.pathCall(ctx, op, name, "", statSize, 0)
	if err != nil {
		return nil, err
	}
	defer k.free()
	return decodeStat(k.mem()[offPath:]), nil
}

func (c *compat) statvfs(ctx context.Context, name string) (*Statvfs, error) {
	k, err := c.pathCall(ctx, OpStatvfs, name, "", statvfsSize, 0)
	if err != nil {
		return nil, err
	}
	defer k.free()
	return decodeStatvfs(k.mem()[offPath:]), nil
}

func (c *compat) readlink(ctx context.Context, name string) (string, error) {
	k, err := c.pathCall(ctx, OpReadlink, name, "", pathMax, 0)
	if err != nil {
		return "", err
	}
	defer k.free()
	n := k.get(offBufSize)
	if n > pathMax {
		return "", fmt.Errorf("%w: link of %d bytes", ErrProtocol, n)
	}
	return string(k.mem()[offPath : offPath+n]), nil
}

func (c *compat) getcwd(ctx context.Context, name string) (string, error) {
	k, err := c.pathCall(ctx, OpGetcwd, name, "", pathMax, 0)
	if err != nil {
		return "", err
	}
	defer k.free()
	dir, _, ok := bytes.Cut(bytes.Clone(k.mem()[offPath:]), []byte{0})
	if !ok {
		return "", fmt.Errorf("%w: path without an end", ErrProtocol)
	}
	return string(dir), nil
}

// compatFile is an open file: a number, an aiod_file in shared memory, and the
// daemon that opened it.
type compatFile struct {
	c    *compat
	d    *daemon
	dir  bool
	file uint64 // offset of the aiod_file
	size int    // of its block
}

func (c *compat) open(ctx context.Context, name string, flag int, perm uint32) (handle, error) {
	return c.openWith(ctx, OpOpen, name, flag, perm)
}

func (c *compat) openWith(ctx context.Context, op Op, name string, flag int, perm uint32) (*compatFile, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return nil, unix.EINVAL
	}
	if len(name) >= pathMax {
		return nil, unix.ENAMETOOLONG
	}
	k, err := c.begin(ctx, op, fhopSize, filePath+max(len(name)+1, 8))
	if err != nil {
		return nil, err
	}
	// Numbers are not used again: a CLOSE that is late finds nothing to harm.
	b := k.extra()
	clear(b[:filePath])
	binary.LittleEndian.PutUint32(b[fileHandle:], c.handles.Add(1))
	binary.LittleEndian.PutUint32(b[fileFlags:], uint32(flag))
	copy(b[filePath:], name+"\x00")
	clear(k.mem()[offFH:])
	k.put(offFH, k.at[1])
	k.put32(offMode, perm)

	f := &compatFile{c: c, d: c.next(), dir: op == OpOpendir, file: k.at[1], size: k.sizes[1]}
	if err := f.d.run(ctx, &k, func() { f.end(context.Background(), false) }); err != nil {
		return nil, err
	}
	err = k.err()
	k.sizes[1] = 0 // the aiod_file's block is the file's now
	k.free()
	if err != nil {
		f.close(ctx) // a failed OPEN is closed as well (spec section 2)
		return nil, err
	}
	return f, nil
}

// on starts a request about the file.
func (f *compatFile) on(ctx context.Context, op Op, size int) (call, error) {
	k, err := f.c.begin(ctx, op, size, 0)
	if err == nil {
		clear(k.mem()[offFH:])
		k.put(offFH, f.file)
	}
	return k, err
}

// ask carries out a request about the file that has no result but its error.
func (f *compatFile) ask(ctx context.Context, op Op, arg uint64) error {
	k, err := f.on(ctx, op, fhopSize)
	if err != nil {
		return err
	}
	k.put(offLength, arg)
	if err := f.d.run(ctx, &k, nil); err != nil {
		return err
	}
	defer k.free()
	return k.err()
}

func (f *compatFile) sync(ctx context.Context, _ bool) error { return f.ask(ctx, OpFsync, 0) }

// writeSync sends both requests in one message: a daemon carries out what comes
// by one way in order.
func (f *compatFile) writeSync(ctx context.Context, p []byte, off int64) (n int, writeErr, syncErr error) {
	if len(p) == 0 {
		return 0, nil, f.sync(ctx, false)
	}
	if len(p) > maxBlock {
		return 0, nil, nil
	}
	w, err := f.c.begin(ctx, OpWrite, fhopSize, len(p))
	if err != nil {
		return 0, err, nil
	}
	at, ok := f.c.arena.tryAlloc(fhopSize, 0)
	if !ok {
		w.free()
		return 0, nil, nil
	}
	w.transfers(f, p, off)
	copy(w.extra(), p)
	s := call{c: f.c, sizes: [2]int{fhopSize, 0}, at: at}
	wire, _ := f.c.opts.ABI.encode(OpFsync)
	clear(s.mem())
	s.setOp(wire)
	s.put(offFH, f.file)
	b := newBatch(nil)
	b.calls = append(b.calls, w, s)
	if err := f.d.runBatch(ctx, b); err != nil {
		return 0, err, nil
	}
	defer batches.Put(b)
	defer b.free()
	if err := w.err(); err != nil {
		return 0, err, nil
	}
	done := w.get(offLen)
	if done > uint64(len(p)) {
		return 0, fmt.Errorf("%w: write of %d bytes did %d", ErrProtocol, len(p), done), nil
	}
	return int(done), nil, s.err()
}

// resetSync has nothing to do: the protocol's servers remember no failure.
func (f *compatFile) resetSync(context.Context) error { return nil }

func (f *compatFile) truncate(ctx context.Context, size int64) error {
	return f.ask(ctx, OpFtrunc, uint64(size))
}

func (f *compatFile) stat(ctx context.Context) (*Stat, error) {
	k, err := f.on(ctx, OpFstat, fstatSize)
	if err != nil {
		return nil, err
	}
	if err := f.d.run(ctx, &k, nil); err != nil {
		return nil, err
	}
	defer k.free()
	if err := k.err(); err != nil {
		return nil, err
	}
	return decodeStat(k.mem()[offFstat:]), nil
}

func (f *compatFile) close(ctx context.Context) error { return f.end(ctx, true) }

// end sends the CLOSE by the way that the file's other requests took, so that
// it comes behind them. The aiod_file stays where it is until the answer.
func (f *compatFile) end(ctx context.Context, free bool) error {
	op := OpClose
	if f.dir {
		op = OpClosedir
	}
	k, err := f.on(context.WithoutCancel(ctx), op, fhopSize)
	if err != nil {
		return err
	}
	if free {
		k.at[1], k.sizes[1] = f.file, f.size
	}
	if err := f.d.run(ctx, &k, nil); err != nil {
		return err
	}
	defer k.free()
	return k.err()
}

func (f *compatFile) transfer(ctx context.Context, write bool, blocks []Block) error {
	return transferBlocks(ctx, f, write, blocks, maxBlock)
}

// wave carries out as many pieces as there is memory for, at the same time.
func (f *compatFile) wave(ctx context.Context, write bool, pieces []piece) (int, error) {
	op := OpRead
	if write {
		op = OpWrite
	}
	wire, _ := f.c.opts.ABI.encode(op)
	b := newBatch(nil)
	for i := range pieces {
		k, n := call{c: f.c, sizes: [2]int{fhopSize, len(pieces[i].buf)}}, len(pieces[i].buf)
		if i == 0 {
			at, err := f.c.arena.alloc(ctx, fhopSize, n)
			if err != nil {
				return 0, err
			}
			k.at = at
		} else if at, ok := f.c.arena.tryAlloc(fhopSize, n); ok {
			k.at = at
		} else {
			break
		}
		k.setOp(wire)
		k.transfers(f, pieces[i].buf, pieces[i].off)
		if write {
			copy(k.extra(), pieces[i].buf)
		}
		b.calls = append(b.calls, k)
	}
	if err := f.d.runBatch(ctx, b); err != nil {
		return 0, err
	}
	defer batches.Put(b)
	defer b.free()
	for i := range b.calls {
		k, p := &b.calls[i], &pieces[i]
		if p.err = k.err(); p.err != nil {
			continue
		}
		n := k.get(offLen)
		if n > uint64(len(p.buf)) {
			return 0, fmt.Errorf("%w: %v of %d bytes did %d", ErrProtocol, op, len(p.buf), n)
		}
		p.n = int(n)
		if !write {
			copy(p.buf[:n], k.extra())
		}
	}
	return len(b.calls), nil
}

// transfers makes k ask for p at off of f, by way of the room beside it.
func (k *call) transfers(f *compatFile, p []byte, off int64) {
	k.put(offFH, f.file)
	k.put(offPos, uint64(off))
	k.put(offBuf, k.at[1])
	k.put(offLen, uint64(len(p)))
}

// list reads a directory, all of it in one life of one daemon: the position in
// it is the daemon's.
func (c *compat) list(ctx context.Context, name string) (entries []dirent, err error) {
	f, err := c.openWith(ctx, OpOpendir, name, 0, 0)
	if err != nil {
		return nil, err
	}
	first, err := f.d.live()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	for {
		d, more, err := f.next(ctx)
		if err != nil || !more {
			return entries, err
		}
		if l, err := f.d.live(); err != nil || l != first {
			return nil, errors.Join(ErrDied, err)
		}
		if d.name != "." && d.name != ".." {
			entries = append(entries, d)
		}
	}
}

// next asks for one entry.
func (f *compatFile) next(ctx context.Context) (d dirent, more bool, err error) {
	k, err := f.c.begin(ctx, OpReaddir, fhopSize, direntSize)
	if err != nil {
		return d, false, err
	}
	k.put(offFH, f.file)
	k.put(offPos, 0)
	k.put(offBuf, k.at[1])
	k.put(offLen, direntSize)
	if err := f.d.run(ctx, &k, nil); err != nil {
		return d, false, err
	}
	defer k.free()
	if err := k.err(); err != nil || k.get(offLen) == 0 {
		return d, false, err
	}
	// The C library's entry is the kernel's, its record length aside.
	b := bytes.Clone(k.extra()[:direntSize])
	binary.LittleEndian.PutUint16(b[16:], direntSize)
	d, _, ok := nextDirent(b)
	if !ok {
		return d, false, fmt.Errorf("%w: directory entry without an end", ErrProtocol)
	}
	return d, true, nil
}
