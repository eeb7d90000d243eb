package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"loomstore/internal/vfs"
)

// job is what a child process does: take checkpoints on a store, marking them,
// or examine one. Stores run in processes of their own because they are
// killed, and because a process that maps a file of its own FUSE server can
// wait for itself.
type job struct {
	Store       string
	Dir         string
	Ledger      ledger
	Examine     bool
	Marks       string // the mark file; "" is nobody to tell
	Seed        uint64
	Checkpoints int
	Retry       bool // a checkpoint that failed is tried once more
	Leave       bool // do not close
	KillAt      int64
	KillBefore  string
	Unreadable  *unreadable // instead of all that
}

// answer is a child's.
type answer struct {
	What   outcome // whole if there is nothing to report
	Err    string
	Ledger ledger // as the child left it
	// Stopped: a checkpoint or close ended in an error, as it may when the
	// disk has failed.
	Stopped bool
}

// serveJobs answers jobs until there are no more.
func serveJobs(in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var j job
		if err := dec.Decode(&j); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := enc.Encode(j.do()); err != nil {
			return err
		}
	}
}

func (j job) do() answer {
	if j.Unreadable != nil {
		return j.Unreadable.do(j.Dir)
	}
	d, err := driverNamed(j.Store)
	if err != nil {
		return answer{What: unavailable, Err: err.Error()}
	}
	var f *finding
	if j.Examine {
		f = examine(d, j.Dir, &j.Ledger)
	} else {
		f, err = j.work(d)
	}
	a := answer{Ledger: j.Ledger}
	if err != nil {
		a.Stopped, a.Err = true, err.Error()
	}
	if f != nil {
		a.What, a.Err = f.what, f.err.Error()
	}
	return a
}

// work opens the store, judges it and takes checkpoints. An error is one of
// the store after it had opened.
func (j *job) work(d driver) (*finding, error) {
	note := func(m mark) error { j.Ledger.apply(m); return nil }
	if j.Marks != "" {
		marks, err := os.OpenFile(j.Marks, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer marks.Close()
		note = func(m mark) error {
			j.Ledger.apply(m)
			b, err := json.Marshal(m)
			if err == nil {
				_, err = marks.Write(b)
			}
			return err
		}
	}
	fsys := vfs.OS
	if j.KillAt > 0 || j.KillBefore != "" {
		fsys = &killer{FS: vfs.OS, at: j.KillAt, before: j.KillBefore}
	}
	s, err := d.open(j.Dir, fsys)
	if err != nil {
		return bad(unavailable, "%w", err), nil
	}
	g, f := judge(s, &j.Ledger)
	if f != nil {
		return f, s.close()
	}
	if err := note(mark{Kind: "open", Epoch: g}); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(j.Seed, j.Ledger.Life))
	for range j.Checkpoints {
		err := take(s, &j.Ledger, randomChange(rng, s.pages(), d), note)
		if err != nil && j.Retry {
			err = j.retry(s, note)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("checkpoint %d: %w", j.Ledger.Begun, err), s.close())
		}
	}
	if j.Leave {
		return nil, nil
	}
	return nil, s.close()
}

// retry takes the checkpoint that failed once more: the same pages.
func (j *job) retry(s store, note func(mark) error) error {
	state, _ := j.Ledger.at(j.Ledger.Begun)
	again := change{Pages: len(state)}
	for p, key := range state {
		if key == j.Ledger.key() {
			again.Dirty = append(again.Dirty, p)
		}
	}
	if err := s.commit(again, j.Ledger.page); err != nil {
		return err
	}
	return note(mark{Kind: "ack"})
}
