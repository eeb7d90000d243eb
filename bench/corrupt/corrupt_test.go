package main

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"loomstore/bench/peer"
)

// The verdicts on stores whose damage is known.
func TestJudge(t *testing.T) {
	heap, err := peer.Get("heap-file") // one file, the pages in order, no hashes
	if err != nil {
		t.Fatal(err)
	}
	full := kinds()[0]
	heapDir, loomDir := filepath.Join(t.TempDir(), "heap"), filepath.Join(t.TempDir(), "loom")
	heapOld, heapNow, err := stored(heap, heapDir, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	_, loomNow, err := stored(full, loomDir, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	byDefault, err := peer.Get("loom")
	if err != nil {
		t.Fatal(err)
	}
	spoilt := append([]byte{}, loomNow["image.bin"]...)
	spoilt[5*peer.PageSize] ^= 1
	flip := append([]byte{}, heapNow["heap"]...)
	flip[5*peer.PageSize] ^= 1
	for _, c := range []struct {
		name string
		kind peer.Kind
		dir  string
		f    files
		want verdict
	}{
		{"sound heap", heap, heapDir, heapNow, exact},
		{"older heap", heap, heapDir, heapOld, older},
		{"no heap", heap, heapDir, files{}, older},
		{"flipped heap", heap, heapDir, heapNow.with("heap", flip), silent},
		{"cut heap", heap, heapDir, heapNow.with("heap", heapNow["heap"][:5*peer.PageSize]), silent},
		{"sound loom", full, loomDir, loomNow, exact},
		{"flipped loom", full, loomDir, loomNow.with("image.bin", spoilt), refused},
		{"flipped loom, not looked at", byDefault, loomDir, loomNow.with("image.bin", spoilt), checked},
		{"flipped loom, scrubbed", scrubKind, loomDir, loomNow.with("image.bin", spoilt), checked},
	} {
		if err := c.f.write(c.dir); err != nil {
			t.Fatal(err)
		}
		if got := judge(c.kind, c.dir); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}

// Damage is damage: what the script makes differs from what it was given, but
// for blocks that happen to be equal.
func TestDamageDiffers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	now := files{"a": make([]byte, 10000), "b": {1, 2, 3}}
	for range 100 {
		f := flipped(rng, now)
		n := 0
		for name := range now {
			for i := range now[name] {
				if f.files[name][i] != now[name][i] {
					n++
				}
			}
		}
		if n != 1 {
			t.Fatalf("%d bytes changed by one flip", n)
		}
		if m := moved(rng, files{}, now); len(m.files["a"]) != 10000 || len(m.files["b"]) != 3 {
			t.Fatal("moving a block changed a length")
		}
	}
}

// What is wrong with our own store fails the run, what is wrong with another's
// is a figure.
func TestViolation(t *testing.T) {
	for _, c := range []struct {
		kind string
		t    tally
		want bool
	}{
		{"loom", tally{exact: 1, refused: 2, named: 3, checked: 4}, false},
		{"loom", tally{silent: 1}, true},
		{"loom", tally{older: 1}, true},
		{"loom", tally{crashed: 1}, true},
		{scrubKind.Name, tally{silent: 1}, true},
		{loomFull, tally{exact: 1, refused: 2, named: 3}, false},
		{loomFull, tally{checked: 1}, true},
		{"bbolt", tally{silent: 1}, false},
	} {
		if err := c.t.violation(c.kind); (err != nil) != c.want {
			t.Errorf("%s, %+v: %v", c.kind, c.t, err)
		}
	}
	if run(1, 1, t.TempDir(), "nobody's", false) == nil {
		t.Error("a kind that there is not was damaged")
	}
}
