package aiod

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"loomstore/internal/mapping"

	"golang.org/x/sys/unix"
)

// Start starts daemons from the program at path, which is this package's
// server (loomctl, by any name) or, in compatible mode, the original aiod. A
// nil Options is the zero value.
func Start(path string, opts *Options) (*Client, error) {
	o, err := opts.validate()
	if err != nil {
		return nil, err
	}
	umask, err := currentUmask()
	if err != nil {
		return nil, fmt.Errorf("aiod: %w", err)
	}
	var b backend
	if o.Native {
		b, err = startNative(path, o)
	} else {
		b, err = startCompat(path, o, umask)
	}
	if err != nil {
		return nil, fmt.Errorf("aiod: start %s: %w", path, err)
	}
	return &Client{b: b, ctx: context.Background()}, nil
}

// startCompat creates the shared file and starts the daemons (spec section 2).
func startCompat(path string, o Options, umask uint32) (*compat, error) {
	shm, err := os.CreateTemp(o.TempDir, "aioshm")
	if err != nil {
		return nil, err
	}
	defer os.Remove(shm.Name()) // nobody needs the name: daemons get descriptors
	view, err := mapShared(shm, o.Memory)
	if err != nil {
		shm.Close()
		return nil, err
	}
	c := &compat{path: path, opts: o, umask: umask, shm: shm, view: view}
	// Not by close: a caller may be looking at its result at that moment.
	runtime.AddCleanup(c, func(v *mapping.View) { v.Close() }, view)
	c.arena = arena{mem: newBuddy(maxBlock), limit: uint64(o.Memory), grow: c.grow}
	if o.Daemons > 1 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			shm.Close()
			return nil, err
		}
		c.pipe = [2]*os.File{os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe")}
	}
	for range o.Daemons {
		c.daemons = append(c.daemons, &daemon{c: c})
	}
	for _, d := range c.daemons {
		if _, err := d.live(); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func mapShared(f *os.File, n int) (*mapping.View, error) {
	if err := f.Truncate(int64(n)); err != nil {
		return nil, err
	}
	return mapping.MapShared(f.Fd(), 0, n, true)
}

// launch starts one daemon. A flock belongs to what open(2) made, so each
// daemon needs a descriptor of its own making.
func (c *compat) launch() (*link, error) {
	shm, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", c.shm.Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer shm.Close()
	if err := sameFile(shm, c.shm); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	defer theirs.Close()
	ch := &pipeChannel{requests: pair[0], socket: pair[0]}
	reader := c.pipe[0]
	var args []string
	if len(c.daemons) == 1 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			ch.close()
			return nil, fmt.Errorf("pipe: %w", err)
		}
		reader = os.NewFile(uintptr(p[0]), "pipe")
		defer reader.Close()
		ch.requests, ch.ownPipe = p[1], true
		if c.opts.ABI != ABI1 { // where the original takes no flag
			args = append(args, "-s")
		}
	}
	name := "aiod" // what tells our server which ABI to speak
	if c.opts.ABI == ABI1 {
		name = "aiod1"
	}
	l := newLink(ch)
	l.cmd = command(c.path, name, &c.opts, args, shm, reader, theirs)
	if err := l.cmd.Start(); err != nil {
		ch.close()
		return nil, err
	}
	go l.reap()
	return l, nil
}

// command prepares a daemon whose last arguments are the numbers of the
// descriptors given to it.
func command(path, name string, o *Options, args []string, fds ...*os.File) *exec.Cmd {
	args = append([]string{name}, args...)
	for i := range fds {
		args = append(args, strconv.Itoa(3+i))
	}
	cmd := &exec.Cmd{Path: path, Args: args, Dir: o.Dir, Stderr: o.Stderr, ExtraFiles: fds}
	if o.Trace {
		cmd.Env = append(os.Environ(), "AIOD_TRACE=1")
	}
	return cmd
}

// sameFile guards against a shared file exchanged under its name.
func sameFile(a, b *os.File) error {
	ia, err := a.Stat()
	if err != nil {
		return err
	}
	ib, err := b.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(ia, ib) {
		return errors.New("the shared file was exchanged for another")
	}
	return nil
}

// grow makes the server write the new memory, so that a full disk is an error
// there and not a SIGBUS here (spec section 2, growth).
func (c *compat) grow(end, n uint64) error {
	ctx := context.Background()
	nop := func(size uint64) (uint64, error) {
		k := call{c: c, sizes: [2]int{nopSize, 0}, at: [2]uint64{end, 0}}
		if size > 0 {
			k.setOp(uint32(OpNop))
			k.put(offNopSize, size)
		}
		// The first one is not even written: a hole reads as NOP of size 0.
		l, err := c.next().live()
		if err != nil {
			return 0, err
		}
		if _, err := l.roundtrip(ctx, []uint64{end}, nil); err != nil {
			return 0, err
		}
		return k.get(offNopSize), k.err()
	}
	if _, err := nop(0); err != nil {
		return fmt.Errorf("grow shared memory: %w", err)
	}
	got, err := nop(n)
	if err == nil && got != n {
		err = unix.ENOSPC
	}
	if err != nil {
		return fmt.Errorf("grow shared memory to %d bytes: %w", end+n, err)
	}
	return nil
}

// patience is how long Close waits for a daemon that is stuck in an operation.
const patience = 10 * time.Second

func (c *compat) close() error {
	var links []*link
	for _, d := range c.daemons {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return nil
		}
		d.closed = true
		if d.link != nil {
			links = append(links, d.link)
		}
		d.mu.Unlock()
	}
	for _, f := range c.pipe {
		f.Close()
	}
	for _, l := range links {
		l.shut()
	}
	for _, l := range links {
		if !ended(l.cmd, l.reaped) {
			return fmt.Errorf("aiod: process %d does not end", l.cmd.Process.Pid)
		}
	}
	return c.shm.Close()
}

// ended waits for a process that was told to end, and kills it if it does not.
func ended(cmd *exec.Cmd, reaped <-chan struct{}) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-reaped:
		return true
	case <-timer.C:
	}
	cmd.Process.Kill()
	timer.Reset(patience)
	select {
	case <-reaped:
		return true
	case <-timer.C:
		return false
	}
}

func (c *compat) masked(perm uint32) uint32 { return perm &^ c.umask }

// currentUmask reads the mask without changing it, as umask(2) would.
func currentUmask() (uint32, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "Umask:"); ok {
			m, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32)
			return uint32(m), err
		}
	}
	return 0, errors.Join(errors.New("no umask in /proc/self/status"), lines.Err())
}
