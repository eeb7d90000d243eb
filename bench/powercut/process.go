package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// childArgument makes the rig's program a child.
const childArgument = "child"

// child is a process that does jobs.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// newChild starts a process that is killed when ctx ends.
func newChild(ctx context.Context) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, childArgument)}
	c.cmd.Stderr = os.Stderr
	// A group of its own: a signal from the terminal is for the rig, which
	// takes everything down in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.enc, c.dec = json.NewEncoder(c.in), json.NewDecoder(out)
	return c, c.cmd.Start()
}

// patience is how long a job may take, of any store. One takes a tenth of a
// second.
var patience = 20 * time.Second

// errSilent reports a process that was killed because it gave no answer.
var errSilent = errors.New("no answer")

// do has the process do a job. One without an answer is killed.
func (c *child) do(j job) (a answer, err error) {
	var late atomic.Bool
	timer := time.AfterFunc(patience, func() { late.Store(true); c.kill() })
	defer timer.Stop()
	if err = c.enc.Encode(j); err == nil {
		err = c.dec.Decode(&a)
	}
	if err != nil && late.Load() {
		err = fmt.Errorf("%w in %v", errSilent, patience)
	}
	return a, err
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

// end lets the process finish and waits for it.
func (c *child) end() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}

// fate is how the process of a job ended.
type fate int

const (
	answered fate = iota
	killed        // by SIGKILL
	silent        // killed because it gave no answer
	died          // of itself
)

func (f fate) String() string {
	return [...]string{"the process answered", "the process was killed", "the process gave no answer", "the process died"}[f]
}

// once does one job in a process of its own; started, if not nil, is told of it
// before the job.
func once(ctx context.Context, j job, started func(*child)) (a answer, f fate, err error) {
	c, err := newChild(ctx)
	if err != nil {
		return a, died, err
	}
	if started != nil {
		started(c)
	}
	a, jobErr := c.do(j)
	endErr := c.end()
	if err := context.Cause(ctx); err != nil {
		return a, killed, err
	}
	exit, ok := endErr.(*exec.ExitError)
	switch {
	case errors.Is(jobErr, errSilent):
		return a, silent, nil
	case ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return a, killed, nil
	case ok:
		return a, died, nil
	}
	return a, answered, errors.Join(jobErr, endErr)
}
