package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"loomstore/bench/peer"
)

// Some things are measured in a process of their own: this program again, with
// childVariable naming what to do.
const childVariable = "LOOM_BENCH_CHILD"

// child runs what the parent asked for. Its results go to standard output.
func child(what string, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("child: %d arguments", len(args))
	}
	pages, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	w := newWorld(args[1], pages, 1, false, rand.Uint64())
	switch what {
	case "leave":
		return w.leave(args[0])
	case "resident":
		return w.resident(args[0])
	}
	return fmt.Errorf("child: nothing called %q", what)
}

// spawn runs a child on the store of the kind called name.
func (w *world) spawn(what, name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	c := exec.Command(self, name, w.dir, strconv.Itoa(w.pages))
	c.Env = append(os.Environ(), childVariable+"="+what)
	c.Stderr = os.Stderr
	out, err := c.Output()
	return strings.TrimSpace(string(out)), err
}

// leave commits to the store and dies without closing it.
func (w *world) leave(name string) error {
	k, err := peer.Get(name)
	if err != nil {
		return err
	}
	s, err := w.filled(k)
	if err != nil {
		return err
	}
	dirty := w.pick(min(256, w.pages/4))
	w.touch(s, dirty)
	if err := w.commit(s, dirty); err != nil {
		return err
	}
	return errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("still alive"))
}

// resident prints the memory, in KiB, of a program whose state is in the store,
// after it has read all of it and saved a quarter of its pages.
func (w *world) resident(name string) error {
	var s peer.Store
	if name == programAlone {
		w.program()
	} else {
		trim := strings.HasSuffix(name, trimmed)
		k, err := peer.Get(strings.TrimSuffix(name, trimmed))
		if err != nil {
			return err
		}
		if s, err = w.filled(k); err != nil {
			return err
		}
		if err := w.work(s); err != nil {
			return err
		}
		if l, ok := s.(*peer.Loom); ok && trim {
			if err := l.Trim(); err != nil {
				return err
			}
		}
	}
	debug.FreeOSMemory() // what is garbage is nobody's
	anon, file, err := residentMemory()
	if err != nil {
		return err
	}
	fmt.Println(anon, file)
	runtime.KeepAlive(w)
	if s != nil {
		return s.Close()
	}
	return nil
}

func (w *world) work(s peer.Store) error {
	buf := make([]byte, peer.PageSize)
	for p := range w.pages {
		if err := s.Read(p, buf); err != nil {
			return err
		}
		if _, ok := s.(peer.Memory); !ok {
			copy(page(w.program(), p), buf)
		}
	}
	dirty := w.pick(w.pages / 4)
	w.touch(s, dirty)
	return errors.Join(w.commit(s, dirty), settle(s))
}

// residentMemory reads RssAnon and RssFile with RssShmem, in KiB.
func residentMemory() (anon, file int, err error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n int
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if _, err := fmt.Sscan(rest, &n); err != nil {
			continue
		}
		switch name {
		case "RssAnon":
			anon += n
		case "RssFile", "RssShmem":
			file += n
		}
	}
	return anon, file, nil
}
