package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"loomstore/bench/peer"
)

// reopenSuite measures starting again.
func reopenSuite() suite {
	return suite{
		name:  "reopen",
		title: "Opening a store of 16384 pages, and reading them all",
		note: "Until the first page is read, after an orderly Close and after kill -9 behind a commit of 256 pages; then all pages copied " +
			"out, in order. Warm cache. The floor opens and reads a plain file. loom copies its pages here as the others do; " +
			"a program that uses the arena in place need not.",
		unit: "ms", floor: "floor", columns: []string{"open", "open after kill", "read all"},
		open: openReopen,
	}
}

func openReopen(w *world) (*bench, error) {
	b := new(bench)
	buf := make([]byte, peer.PageSize)
	for _, k := range peers() {
		s, err := w.filled(k) // so that there is one
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		b.cells = append(b.cells, cell{row: k.Name, run: func() (_ map[string]float64, err error) {
			start := time.Now()
			s, err := w.reopened(k, buf)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			values := map[string]float64{"open": since(start)}
			start = time.Now()
			for p := range w.pages {
				if err := s.Read(p, buf); err != nil {
					return nil, err
				}
			}
			values["read all"] = since(start)
			return values, nil
		}})
		b.cells = append(b.cells, cell{row: k.Name,
			before: func() error {
				_, err := w.spawn("leave", k.Name)
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Exited() {
					return fmt.Errorf("child was not killed: %w", err)
				}
				return nil
			},
			run: func() (map[string]float64, error) {
				start := time.Now()
				s, err := w.reopened(k, buf)
				if err != nil {
					return nil, err
				}
				return map[string]float64{"open after kill": since(start)}, s.Close()
			}})
	}
	plain := w.path("plain.tmp")
	if err := writeOnce(plain, w.program(), rangeOf(w.pages)); err != nil {
		return nil, err
	}
	b.defers(func() error { return os.Remove(plain) })
	b.cells = append(b.cells, cell{row: "floor", run: func() (map[string]float64, error) {
		start := time.Now()
		f, err := os.Open(plain)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := f.ReadAt(buf, 0); err != nil {
			return nil, err
		}
		opened := since(start)
		start = time.Now()
		for p := range w.pages {
			if _, err := f.ReadAt(buf, int64(p)*peer.PageSize); err != nil {
				return nil, err
			}
		}
		return map[string]float64{"open": opened, "open after kill": opened, "read all": since(start)}, nil
	}})
	return b, nil
}

// reopened opens the store and reads its first page.
func (w *world) reopened(k peer.Kind, buf []byte) (peer.Store, error) {
	s, err := k.Open(w.path(k.Name), w.pages)
	if err != nil {
		return nil, err
	}
	if s.Pages() != w.pages {
		return nil, errors.Join(fmt.Errorf("%d pages, expected %d", s.Pages(), w.pages), s.Close())
	}
	if err := s.Read(0, buf); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}
