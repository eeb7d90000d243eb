package peer_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"loomstore/bench/peer"
)

const limit = 256

// content is what page p holds after commit e.
func content(p, e int) []byte {
	r := rand.New(rand.NewPCG(uint64(p), uint64(e)))
	b := make([]byte, peer.PageSize)
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b
}

// model says at which commit each page was last written.
type model []int

func (m *model) commit(t *testing.T, s peer.Store, e, pages int, dirty []int) {
	t.Helper()
	for p := len(*m); p < pages; p++ {
		dirty = append(dirty, p)
	}
	dirty = slices.Compact(slices.Sorted(slices.Values(dirty)))
	if err := s.Commit(pages, dirty, func(p int) []byte { return content(p, e) }); err != nil {
		t.Fatal(err)
	}
	*m = append(*m, make([]int, max(0, pages-len(*m)))...)[:pages]
	for _, p := range dirty {
		(*m)[p] = e
	}
}

func (m model) check(t *testing.T, s peer.Store) {
	t.Helper()
	if s.Pages() != len(m) {
		t.Fatalf("%d pages, expected %d", s.Pages(), len(m))
	}
	buf := make([]byte, peer.PageSize)
	for p, e := range m {
		if err := s.Read(p, buf); err != nil {
			t.Fatalf("page %d: %v", p, err)
		}
		if !bytes.Equal(buf, content(p, e)) {
			t.Fatalf("page %d is not that of commit %d", p, e)
		}
	}
}

// Every store gives back what was committed, now and after it was reopened.
func TestConformance(t *testing.T) {
	for _, k := range peer.All() {
		t.Run(k.Name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() peer.Store {
				s, err := k.Open(dir, limit)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			var m model
			m.check(t, s)
			r := rand.New(rand.NewPCG(1, 2))
			steps := []struct{ pages, dirty int }{
				{40, 0}, {40, 1}, {40, 16}, {40, 40}, {200, 10}, {200, 200}, {64, 5}, {100, 3}, {1, 1}, {limit, 1}, {limit, limit},
			}
			for e, step := range steps {
				m.commit(t, s, e+1, step.pages, r.Perm(min(step.pages, max(len(m), 1)))[:min(step.dirty, len(m), step.pages)])
				m.check(t, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open()
				m.check(t, s)
			}
			if c, ok := s.(peer.Checker); ok {
				if err := c.Check(); err != nil {
					t.Errorf("its own check: %v", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if k.Durability == "" {
				t.Error("its durability is not stated")
			}
		})
	}
}

// A store that holds the program's memory saves what was stored to it.
func TestMemory(t *testing.T) {
	for _, k := range peer.All() {
		dir := t.TempDir()
		s, err := k.Open(dir, limit)
		if err != nil {
			t.Fatal(err)
		}
		mem, ok := s.(peer.Memory)
		if !ok {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			var m model
			m.commit(t, s, 1, 10, nil)
			copy(mem.Bytes()[3*peer.PageSize:], content(3, 2))
			m[3] = 2
			if err := mem.Save(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = k.Open(dir, limit); err != nil {
				t.Fatal(err)
			}
			m.check(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestGet(t *testing.T) {
	for _, k := range peer.All() {
		if got, err := peer.Get(k.Name); err != nil || got.Name != k.Name {
			t.Errorf("Get(%q) = %q, %v", k.Name, got.Name, err)
		}
	}
	if _, err := peer.Get("paper"); err == nil {
		t.Error("a kind that does not exist was found")
	}
}
