package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"loomstore/bench/peer"
)

const (
	pages   = 64
	commits = 6
	// otherStore sets the contents of another store apart.
	otherStore = 1000
)

// content is what page p holds if commit e wrote it: no two are alike.
func content(p, e int) []byte {
	r := rand.New(rand.NewPCG(uint64(p), uint64(e)))
	b := make([]byte, 0, peer.PageSize)
	for len(b) < peer.PageSize {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

// history says, for each commit, which commit last wrote each page.
func history() [][]int {
	rng := rand.New(rand.NewPCG(3, 4))
	all := [][]int{}
	last := make([]int, pages)
	for e := 1; e <= commits; e++ {
		state := append([]int{}, last...)
		for _, p := range rng.Perm(pages)[:pages/8] {
			state[p] = e
		}
		if e == 1 {
			for p := range state {
				state[p] = 1
			}
		}
		all = append(all, state)
		last = state
	}
	return all
}

// stored makes a store with the whole history and returns its files as of the
// last commit but one, and now. Unless it is closed they are as kill -9 would
// leave them once work behind the commits is done.
func stored(k peer.Kind, dir string, base int, closed bool) (old, now files, err error) {
	if err := (files{}).write(dir); err != nil {
		return nil, nil, err
	}
	s, err := k.Open(dir, pages)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	var last []int
	for e, state := range history() {
		var dirty []int
		for p := range state {
			if last == nil || state[p] != last[p] {
				dirty = append(dirty, p)
			}
		}
		if err := s.Commit(pages, dirty, func(p int) []byte { return content(p, base+state[p]) }); err != nil {
			return nil, nil, err
		}
		if b, ok := s.(peer.Settler); ok {
			if err := b.Settle(); err != nil {
				return nil, nil, err
			}
		}
		if e >= commits-2 {
			old = now
			if closed {
				if err := s.Close(); err != nil {
					s = nil
					return nil, nil, err
				}
			}
			now, err = read(dir)
			if err == nil && closed {
				s, err = k.Open(dir, pages)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		last = state
	}
	return old, now, nil
}

// verdict is what became of a damaged store.
type verdict string

const (
	exact   verdict = "exact"   // every page is that of the last commit
	refused verdict = "refused" // Open returned an error
	named   verdict = "named"   // a read did; no other was wrong
	older   verdict = "older"   // the state of an earlier commit or an empty store, without an error
	silent  verdict = "silent"  // other bytes than any commit's, without an error
	checked verdict = "checked" // older or silent, but the store's own check finds damage
	crashed verdict = "crashed" // the process died, panicked, or did not end
)

// judge opens the store and reads all of it.
func judge(k peer.Kind, dir string) (v verdict) {
	defer func() {
		if recover() != nil {
			v = crashed
		}
	}()
	s, err := k.Open(dir, pages)
	if err != nil {
		return refused
	}
	defer func() { _ = s.Close() }()
	buf := make([]byte, peer.PageSize)
	held := make([][]byte, 0, pages)
	failed := false
	for p := range min(s.Pages(), pages) {
		if err := s.Read(p, buf); err != nil {
			failed = true
			held = append(held, nil)
			continue
		}
		held = append(held, bytes.Clone(buf))
	}
	v = compare(held, s.Pages(), failed)
	if c, ok := s.(peer.Checker); ok && (v == silent || v == older) && c.Check() != nil {
		return checked
	}
	return v
}

// compare judges the pages that were read; nil where that failed.
func compare(held [][]byte, count int, failed bool) verdict {
	states := history()
	if count == 0 {
		return older
	}
	for e := len(states) - 1; e >= 0; e-- {
		if count == pages && matches(held, states[e]) {
			switch {
			case failed:
				return named
			case e == len(states)-1:
				return exact
			}
			return older
		}
	}
	return silent
}

// matches reports whether all pages that could be read are those of the state.
func matches(held [][]byte, state []int) bool {
	for p, b := range held {
		if b != nil && !bytes.Equal(b, content(p, state[p])) {
			return false
		}
	}
	return true
}
