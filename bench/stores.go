package main

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"

	"loomstore/bench/peer"
	"loomstore/fault"
	"loomstore/internal/mapping"
)

//go:embed native/faults.c
var faultsSource []byte

const storesC = "C, mprotect"

// storesSuite measures what tracking adds to a store.
func storesSuite() suite {
	return suite{
		name:  "stores",
		title: "The first store to a page, and the next one after a checkpoint",
		note: "8192 pages of a privately mapped file, warm, one store a page. The floor is the kernel's own copy on write of the same pages, " +
			"tracked by nobody; the second store is compared with it as well. \"" + storesC + "\" is a C program of this bench's own (native/faults.c) with mprotect and a SIGSEGV handler.",
		unit: "ns", floor: "floor", columns: []string{"first, random", "again, random", "first, sequential", "again, sequential"},
		open: openStores,
	}
}

func openStores(w *world) (*bench, error) {
	b := new(bench)
	pages := min(8192, w.pages)
	image, err := os.Create(w.path("stores.tmp"))
	if err != nil {
		return nil, err
	}
	b.defers(func() error { return errors.Join(image.Close(), os.Remove(image.Name())) })
	if _, err := image.Write(w.program()[:pages*peer.PageSize]); err != nil {
		return nil, errors.Join(err, b.shut())
	}
	cc, err := compileFaults(w)
	if err != nil {
		return nil, errors.Join(err, b.shut())
	}
	for _, order := range []struct {
		name  string
		pages []int
	}{{"random", w.rng.Perm(pages)}, {"sequential", rangeOf(pages)}} {
		values := func(first, again float64) map[string]float64 {
			return map[string]float64{"first, " + order.name: first, "again, " + order.name: again}
		}
		for _, k := range []fault.Kind{"", fault.Uffd, fault.Mprotect, fault.Cow} {
			row := string(k)
			if k == "" {
				row = "floor"
			}
			b.cells = append(b.cells, cell{row: row, run: func() (map[string]float64, error) {
				first, again, err := storeTwice(image, k, order.pages)
				return values(first, again), err
			}})
		}
		if cc == "" {
			continue
		}
		file := w.path("order." + order.name)
		if err := writeOrder(file, order.pages); err != nil {
			return nil, errors.Join(err, b.shut())
		}
		b.defers(func() error { return os.Remove(file) })
		b.cells = append(b.cells, cell{row: storesC, run: func() (map[string]float64, error) {
			out, err := exec.Command(cc, image.Name(), strconv.Itoa(pages), file).Output()
			if err != nil {
				return nil, err
			}
			var first, again float64
			if _, err := fmt.Sscan(string(out), &first, &again); err != nil {
				return nil, err
			}
			return values(first, again), nil
		}})
	}
	return b, nil
}

// compileFaults returns the program's name, "" if there is no C compiler.
func compileFaults(w *world) (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		fmt.Fprintf(os.Stderr, "stores: %s not run, there is no C compiler\n", storesC)
		return "", nil
	}
	source, program := w.path("faults.c"), w.path("faults")
	if err := os.WriteFile(source, faultsSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command(cc, "-O2", "-Wall", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w\n%s", err, out)
	}
	return program, nil
}

func writeOrder(name string, order []int) error {
	var b []byte
	for _, p := range order {
		b = binary.NativeEndian.AppendUint32(b, uint32(p))
	}
	return os.WriteFile(name, b, 0o600)
}

func rangeOf(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// cleanly says that every page equals the committed state: with it, cow drops
// all pages at a Collect, so that the second store costs another copy.
type cleanly struct{ pages int }

func (c cleanly) Same(int, []byte) bool { return true }
func (c cleanly) Pages() int            { return c.pages }
func (c cleanly) Applied() bool         { return true }

// storeTwice stores to all pages, collects, and stores again. It returns the
// nanoseconds a store took.
func storeTwice(image *os.File, kind fault.Kind, order []int) (first, again float64, err error) {
	pages := len(order)
	r, err := mapping.Reserve(pages*peer.PageSize, peer.PageSize)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, r.Release()) }()
	if err := r.MapFile(0, pages*peer.PageSize, mapping.ReadWrite, image.Fd(), 0, false); err != nil {
		return 0, 0, err
	}
	mem := r.Bytes()
	sum := byte(rand.Uint32())
	for p := range pages { // warm: page tables filled with the file's pages
		sum += mem[p*peer.PageSize]
	}
	store := func() float64 {
		start := time.Now()
		for _, p := range order {
			mem[p*peer.PageSize] = sum
		}
		return float64(time.Since(start)) / float64(pages)
	}
	if kind == "" {
		first = store()
		return first, first, nil
	}
	a, err := fault.Open(fault.Config{Kind: kind, Region: r, Mapped: pages, Reference: cleanly{pages}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	first = store()
	dirty, err := a.Collect(nil, pages)
	if err == nil && len(dirty) != pages && kind != fault.Cow {
		err = fmt.Errorf("%d pages found dirty, expected %d", len(dirty), pages)
	}
	if err != nil {
		return 0, 0, err
	}
	return first, store(), nil
}
