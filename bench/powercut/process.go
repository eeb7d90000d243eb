package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
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

func newChild() (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, childArgument)}
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

func (c *child) do(j job) (answer, error) {
	var a answer
	if err := c.enc.Encode(j); err != nil {
		return a, err
	}
	return a, c.dec.Decode(&a)
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

// end lets the process finish and waits for it.
func (c *child) end() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}

// once does one job in a process of its own. killed reports that it did not
// live to answer; started, if not nil, is told of it before the job.
func once(j job, started func(*child)) (a answer, killed bool, err error) {
	c, err := newChild()
	if err != nil {
		return a, false, err
	}
	if started != nil {
		started(c)
	}
	// A store that tries a failed write again for ever must not fill memory.
	patience := time.AfterFunc(20*time.Second, c.kill)
	a, jobErr := c.do(j)
	patience.Stop()
	err = c.end()
	if exit, ok := err.(*exec.ExitError); ok {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
			return a, true, nil
		}
	}
	if err != nil {
		return a, false, fmt.Errorf("child: %w", err)
	}
	return a, false, jobErr
}
