package loom_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"loomstore/fault"
	"loomstore/internal/vfs"
	"loomstore/loom"
)

// privateMemory returns how many bytes of the arena are memory of its own:
// anonymous, whether stored to lately or not.
func privateMemory(t *testing.T, l *loom.Loom) int {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skipf("not run: %v", err)
	}
	defer f.Close()
	var base uint64
	if _, err := fmt.Sscanf(fmt.Sprintf("%p", l.Bytes()), "0x%x", &base); err != nil {
		t.Fatal(err)
	}
	total, inside := 0, false
	for s := bufio.NewScanner(f); s.Scan(); {
		var lo, hi uint64
		var kb int
		if _, err := fmt.Sscanf(s.Text(), "%x-%x ", &lo, &hi); err == nil {
			inside = lo >= base && lo < base+size
		} else if _, err := fmt.Sscanf(s.Text(), "Anonymous: %d kB", &kb); err == nil && inside {
			total += kb << 10
		}
	}
	return total
}

// trimModes are the modes whose image is mapped.
func trimModes(t *testing.T) map[string]func() *loom.Options {
	m := modes(t)
	for name := range m {
		if strings.HasSuffix(name, "/resident") || strings.HasSuffix(name, "/ephemeral") {
			delete(m, name)
		}
	}
	return m
}

// TestTrimGivesMemoryBack: of 600 saved pages that are private, 300 of them
// new to the image, next to nothing is left but what is dirty, and no byte is
// different. Tracking, growth, shrinking and Rollback go on from there.
func TestTrimGivesMemoryBack(t *testing.T) {
	const old, grown = 300, 600
	for name, o := range trimModes(t) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(len(name))))
			dir := t.TempDir()
			fill := func(l *loom.Loom, pages int) {
				if err := l.SetWatermarks(int64(pages)*page, size); err != nil {
					t.Fatal(err)
				}
				for off := 0; off < pages*page; off += 512 {
					l.Bytes()[off] = byte(r.Uint32())
				}
			}
			l := open(t, dir, o())
			fill(l, old)
			save(t, l)
			shut(t, l)

			l = open(t, dir, o())
			fill(l, grown)
			save(t, l)
			saved := bytes.Clone(l.Bytes()[:grown*page])
			if got := privateMemory(t, l); got < grown*page {
				t.Fatalf("%d bytes private before Trim: nothing to measure", got)
			}
			var dirty []int
			for _, p := range []int{0, 5, 6, old - 1, old, old + 1, 400, grown - 1} {
				l.Bytes()[p*page+9]++
				dirty = append(dirty, p)
			}
			live := bytes.Clone(l.Bytes()[:grown*page])
			for range 2 {
				if err := l.Trim(); err != nil {
					t.Fatal(err)
				}
				// mprotect stores to a page of each mapping that it arms.
				if got, most := privateMemory(t, l), (len(dirty)+2)*page; got > most {
					t.Fatalf("%d bytes private after Trim, %d expected", got, most)
				}
				if !bytes.Equal(l.Bytes()[:grown*page], live) {
					t.Fatal("Trim changed memory")
				}
			}
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(l.Bytes()[:grown*page], saved) {
				t.Fatal("rolled back to other bytes")
			}
			for _, pages := range []int{grown, 350, 200, 500} {
				live = append(bytes.Clone(l.Bytes()[:min(pages, 200)*page]), l.Bytes()[min(pages, 200)*page:pages*page]...)
				if err := l.SetWatermarks(int64(pages)*page, size); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					off := r.IntN(pages * page)
					l.Bytes()[off]++
					live[off]++
				}
				save(t, l)
				if err := l.Trim(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(l.Bytes()[:pages*page], live) {
					t.Fatalf("%d pages: other bytes", pages)
				}
			}
			shut(t, l)
			l = open(t, dir, o())
			if !bytes.Equal(l.Bytes()[:len(live)], live) {
				t.Fatal("reopened with other bytes")
			}
			shut(t, l)
		})
	}
}

// TestTrimKeepsWhatIsNotApplied: while an apply fails, image.bin does not hold
// the checkpoint, and no private copy is dropped (R11).
func TestTrimKeepsWhatIsNotApplied(t *testing.T) {
	for name, o := range trimModes(t) {
		t.Run(name, func(t *testing.T) {
			bad := &switchable{err: syscall.EIO, kind: vfs.Write, name: "image.bin"}
			opts := o()
			failing(opts, bad)
			l := open(t, t.TempDir(), opts)
			for p := range 10 {
				l.Bytes()[p*page] = 1
			}
			save(t, l)
			if err := l.Trim(); err != nil {
				t.Fatal(err)
			}
			bad.set(true)
			l.Bytes()[3*page], l.Bytes()[20*page] = 2, 2
			save(t, l)
			if err := l.Trim(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Trim over a failed apply: %v", err)
			}
			if l.Bytes()[3*page] != 2 || l.Bytes()[20*page] != 2 {
				t.Fatalf("Trim lost %d and %d", l.Bytes()[3*page], l.Bytes()[20*page])
			}
			bad.set(false)
			if err := l.Trim(); err != nil {
				t.Fatal(err)
			}
			if l.Bytes()[3*page] != 2 || l.Bytes()[20*page] != 2 {
				t.Fatal("Trim lost the checkpoint")
			}
			shut(t, l)
		})
	}
}

// TestTrimKeepsFailedAndFreePages: what was collected and not saved is dirty,
// and stays in memory.
func TestTrimKeepsFailedAndFreePages(t *testing.T) {
	for name, o := range trimModes(t) {
		t.Run(name, func(t *testing.T) {
			full := &switchable{err: syscall.ENOSPC, kind: vfs.Allocate}
			opts := o()
			failing(opts, full)
			opts.Free = func(p int) bool { return p == 4 }
			l := open(t, t.TempDir(), opts)
			for p := range 10 {
				l.Bytes()[p*page] = 1
			}
			save(t, l)
			l.Bytes()[4*page], l.Bytes()[5*page] = 2, 2
			full.set(true)
			if _, err := l.Checkpoint(ctx); !errors.Is(err, loom.ErrNoSpace) {
				t.Fatal(err)
			}
			if err := l.Trim(); err != nil {
				t.Fatal(err)
			}
			if l.Bytes()[4*page] != 2 || l.Bytes()[5*page] != 2 {
				t.Fatalf("Trim lost %d and %d", l.Bytes()[4*page], l.Bytes()[5*page])
			}
			full.set(false)
			if c := save(t, l); c.Pages != 1 {
				t.Fatalf("%d pages saved", c.Pages)
			}
			shut(t, l)
		})
	}
}

// TestGuardInsideTheImage: the image is cut short and the guard stands where
// it was, in the file mapping or in what the image has grown by. Neither the
// cut nor Trim runs into it, and Trim keeps what was stored there before.
func TestGuardInsideTheImage(t *testing.T) {
	const pages, middle = size / page, (100 + size/page) / 2
	watermark := func(l *loom.Loom, low int64) {
		t.Helper()
		if err := l.SetWatermarks(low*page, size); err != nil {
			t.Fatal(err)
		}
		if err := l.Ward(); err != nil {
			t.Fatal(err)
		}
	}
	trim := func(l *loom.Loom) {
		t.Helper()
		if err := l.Trim(); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []fault.Kind{fault.Uffd, fault.Mprotect, fault.Cow, fault.Compare} {
		for _, reopened := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/reopened=%v", kind, reopened), func(t *testing.T) {
				dir := t.TempDir()
				o := func() *loom.Options { return &loom.Options{Tracker: kind, Guard: true} }
				l := open(t, dir, o())
				watermark(l, pages-10)
				l.Bytes()[0], l.Bytes()[(pages-20)*page] = 1, 1
				save(t, l)
				if reopened {
					shut(t, l)
					l = open(t, dir, o())
				}
				l.Bytes()[middle*page] = 7
				watermark(l, 100)
				trim(l)
				watermark(l, pages-10)
				if l.Bytes()[middle*page] != 7 {
					t.Fatalf("the guard page held 7, then %d", l.Bytes()[middle*page])
				}
				watermark(l, 100)
				l.Bytes()[50*page] = 5
				save(t, l)
				trim(l)
				if l.Bytes()[0] != 1 || l.Bytes()[50*page] != 5 {
					t.Fatal("lost")
				}
				shut(t, l)
			})
		}
	}
}
