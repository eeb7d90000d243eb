package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// workerVariable makes this program a worker, for the kind it names.
const workerVariable = "LOOM_CORRUPT_WORKER"

// work reads names of directories and prints a verdict on each.
func work(kind string, in io.Reader, out io.Writer) error {
	for _, k := range kinds() {
		if k.Name != kind {
			continue
		}
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			fmt.Fprintln(out, judge(k, lines.Text()))
		}
		return lines.Err()
	}
	return fmt.Errorf("no kind %q", kind)
}

// worker is the child process that opens damaged stores. One that died is
// replaced, and so is one that has opened many: some leak what they refuse.
type worker struct {
	kind   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    chan string
	opened int
}

const (
	patience  = 20 * time.Second
	maxOpened = 500
)

func (w *worker) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w.cmd = exec.Command(self)
	w.cmd.Env = append(os.Environ(), workerVariable+"="+w.kind)
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	w.out, w.opened = make(chan string), 0
	go func(lines chan<- string) {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}(w.out)
	return w.cmd.Start()
}

func (w *worker) stop() {
	if w.cmd == nil {
		return
	}
	_ = w.in.Close()
	_ = w.cmd.Process.Kill()
	for range w.out { // until it is closed
	}
	_ = w.cmd.Wait()
	w.cmd = nil
}

// examine returns the worker's verdict on the store in dir.
func (w *worker) examine(dir string) (verdict, error) {
	if w.cmd != nil && w.opened >= maxOpened {
		w.stop()
	}
	if w.cmd == nil {
		if err := w.start(); err != nil {
			return "", err
		}
	}
	w.opened++
	if _, err := fmt.Fprintln(w.in, dir); err != nil {
		return "", err
	}
	select {
	case line, ok := <-w.out:
		if !ok {
			w.stop()
			return crashed, nil
		}
		return verdict(strings.TrimSpace(line)), nil
	case <-time.After(patience):
		w.stop()
		return crashed, nil
	}
}

// tally counts verdicts.
type tally struct {
	exact, refused, named, older, crashed, checked, silent int
}

func (t *tally) count(v verdict) {
	switch v {
	case exact:
		t.exact++
	case refused:
		t.refused++
	case named:
		t.named++
	case older:
		t.older++
	case crashed:
		t.crashed++
	case checked:
		t.checked++
	case silent:
		t.silent++
	default:
		panic(fmt.Sprintf("corrupt: nobody knows the verdict %q", v))
	}
}

// violation is what a store of ours may never do (R6), nil for the others'.
func (t *tally) violation(kind string) error {
	switch {
	case kind != "loom" && kind != loomFull && kind != scrubKind.Name:
		return nil
	case t.crashed+t.older+t.silent > 0, kind == loomFull && t.checked > 0:
		return fmt.Errorf("%s broke its promise:%v", kind, t)
	}
	return nil
}

const head = "| store | left | damaged | exact | refused by Open | named when read | crashed | wrong, found by its own check | older or empty, silently | wrong, silently |\n|---|---|---|---|---|---|---|---|---|---|\n"

func (t *tally) String() string {
	all := t.exact + t.refused + t.named + t.crashed + t.older + t.checked + t.silent
	return fmt.Sprintf(" %d | %d | %d | %d | %d | %d | %d | %d |", all, t.exact, t.refused, t.named, t.crashed, t.checked, t.older, t.silent)
}
